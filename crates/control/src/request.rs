//! Requests to executions that run: what abort, pause, continue, rollback and the answers have in common.

use manifold_model::crash::{self, Point};
use manifold_model::execution::ExecutionRow;
use manifold_model::request::{Action, Request};
use manifold_model::{ExecutionId, Problem, code};
use manifold_store::InboxItem;

use crate::authorise::{self, Resource, authorise};
use crate::{Actor, Control, Error, Result};

/// Longest reason that is kept, characters.
pub const LONGEST_REASON: usize = 4_000;

impl Control {
    /// The row of an execution.
    ///
    /// # Errors
    /// With the phrase of `wire.md` 1.5 when there is none.
    pub(crate) async fn row(&self, id: &ExecutionId) -> Result<ExecutionRow> {
        self.store.execution(id).await?.ok_or_else(no_execution)
    }

    /// The row of an execution that may still be asked for something.
    pub(crate) async fn running_row(&self, actor: &Actor, id: &ExecutionId) -> Result<ExecutionRow> {
        let row = self.row(id).await?;
        authorise(actor, authorise::Action::Execute, Resource::Application(&row.application.id))?;
        if row.state.status.is_final() {
            return Err(Error::refused(
                Problem::new(
                    code!("EXECUTION_ENDED"),
                    format!("the execution has ended already with {}", row.state.status.name()),
                )
                .item(id.as_str()),
            ));
        }
        Ok(row)
    }

    /// Puts a request into an execution's inbox.
    pub(crate) async fn ask(
        &self,
        actor: &Actor,
        id: &ExecutionId,
        action: Action,
        reason: &str,
    ) -> Result<()> {
        if reason.chars().count() > LONGEST_REASON {
            return Err(Error::refused(Problem::new(
                code!("VALUE_TOO_LONG"),
                format!("the reason has more than {LONGEST_REASON} characters"),
            )));
        }
        let request = Request { action, by: actor.name().to_owned(), reason: reason.to_owned() };
        crash::point(Point::BeforeInbox);
        self.store.send(id, InboxItem::Request { request }).await?;
        crash::point(Point::AfterInbox);
        Ok(())
    }
}

/// What clients match: the Go SDK looks for the first half, people know the second.
pub(crate) fn no_execution() -> Error {
    Error::not_found("execution does not exist: Execution does not exist or access is denied")
}
