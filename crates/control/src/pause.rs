//! Pause and continue (`behaviour.md` 13.2).

use manifold_model::execution::ExecutionRow;
use manifold_model::request::Action;
use manifold_model::{ExecutionId, Problem, Status, code};

use crate::{Actor, Control, Error, Result};

impl Control {
    /// Asks an execution to start nothing new; steps in flight end first.
    ///
    /// # Errors
    /// When there is no such execution or it has ended.
    pub async fn pause(&self, actor: &Actor, id: &ExecutionId, reason: &str) -> Result<ExecutionRow> {
        let row = self.running_row(actor, id).await?;
        if row.state.status == Status::Aborting {
            return Err(Error::refused(Problem::new(
                code!("EXECUTION_ABORTING"),
                "the execution is being aborted and cannot be paused",
            )));
        }
        self.ask(actor, id, Action::Pause, reason).await?;
        Ok(row)
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// When there is no such execution or it has ended.
    pub async fn resume_paused(&self, actor: &Actor, id: &ExecutionId, reason: &str) -> Result<ExecutionRow> {
        let row = self.running_row(actor, id).await?;
        self.ask(actor, id, Action::Continue, reason).await?;
        Ok(row)
    }
}
