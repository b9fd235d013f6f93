//! The one place where it is decided what somebody may do. Every verb asks here before it looks at anything.

use manifold_model::EntityId;

use crate::{Actor, Result};

/// What somebody wants to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Look at configuration, executions, logs.
    Read,
    /// Change configuration documents.
    Configure,
    /// Start, resume, abort, pause, roll back, answer.
    Execute,
    /// Create, change and delete secrets.
    ManageSecrets,
    /// Create, change and delete cloud providers.
    ManageCloudProviders,
    /// Create, change and delete resource constraints.
    ManageConstraints,
    /// Approve, reject, delete and limit delegates; create and revoke the tokens with which they join.
    ManageDelegates,
}

/// On what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource<'a> {
    /// The account as a whole.
    Account,
    /// One application.
    Application(&'a EntityId),
}

/// Whether the actor may do it. An API key of the account may do everything: user groups and their permissions narrow it here, and
/// only here.
///
/// # Errors
/// None yet; callers must already treat a refusal as final.
pub fn authorise(actor: &Actor, action: Action, resource: Resource<'_>) -> Result<()> {
    tracing::trace!(actor = actor.id(), ?action, ?resource, "allowed");
    Ok(())
}
