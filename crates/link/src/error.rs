//! What can go wrong on the link.

use manifold_model::Failure;

/// An error of the link. All but [`LinkError::TooLarge`] on sending end the connection.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The stream broke.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    /// A message does not fit a frame; nothing was sent.
    #[error("a {what} of {size} bytes is larger than a frame may be ({limit} bytes)")]
    TooLarge {
        /// Sort of message.
        what: &'static str,
        /// Its size, bytes.
        size: usize,
        /// [`crate::limits::MAX_FRAME`].
        limit: usize,
    },
    /// The peer sent something that is no message of this protocol version.
    #[error("the peer sent a malformed frame: {why}")]
    Malformed {
        /// What is wrong with it.
        why: String,
    },
    /// A message that may not come now.
    #[error("the peer sent {found} where {expected} had to come")]
    Unexpected {
        /// Sort of message found.
        found: &'static str,
        /// What had to come.
        expected: &'static str,
    },
    /// The peer closed the connection in the middle of something.
    #[error("the peer closed the connection before {before}")]
    Closed {
        /// What had to come yet.
        before: &'static str,
    },
    /// The peer does not take what is sent, or says nothing.
    #[error("the peer did not {what} within {seconds} seconds")]
    Stalled {
        /// What was waited for.
        what: &'static str,
        /// How long.
        seconds: u64,
    },
    /// The server asks for a proof, and this delegate has no key.
    #[error("the server asks for a proof of identity, and this delegate has no key")]
    NoIdentity,
    /// Somebody has to approve the delegate first.
    #[error("the delegate waits for approval")]
    Waiting,
    /// The server does not want this delegate.
    #[error("the server refused the connection: {} [{}]", .0.message, .0.code)]
    Refused(Box<Failure>),
}

impl LinkError {
    pub(crate) fn malformed(why: impl Into<String>) -> Self {
        Self::Malformed { why: why.into() }
    }
}
