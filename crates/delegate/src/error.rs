//! Why a connection of the delegate ended otherwise than well.

use manifold_link::LinkError;
use manifold_model::TaskId;

/// An error of [`crate::Delegate::run`]: dial again, unless the server refused.
#[derive(Debug, thiserror::Error)]
pub enum DelegateError {
    /// The link broke.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The server sent more tasks than there are places.
    #[error("the server handed out task {task} though all {places} places are taken")]
    Overfull {
        /// The task too many.
        task: TaskId,
        /// Places.
        places: u32,
    },
}
