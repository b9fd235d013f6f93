//! Abort: stop without rollback (`behaviour.md` 9.3, 13.2).

use manifold_model::ExecutionId;
use manifold_model::execution::ExecutionRow;
use manifold_model::request::Action;

use crate::{Actor, Control, Result};

impl Control {
    /// Asks an execution to stop; legs of a pipeline stop with it. Nothing is rolled back.
    ///
    /// # Errors
    /// When there is no such execution or it has ended.
    pub async fn abort(&self, actor: &Actor, id: &ExecutionId, reason: &str) -> Result<ExecutionRow> {
        let row = self.running_row(actor, id).await?;
        self.ask(actor, id, Action::Abort, reason).await?;
        Ok(row)
    }
}
