//! Rollback on request: stop what runs and play the rollback phases (`behaviour.md` 7.2).

use manifold_model::execution::ExecutionRow;
use manifold_model::request::{Action, ExecutionType};
use manifold_model::{ExecutionId, Problem, code};

use crate::{Actor, Control, Error, Result};

impl Control {
    /// Asks a workflow execution (a leg, or one alone) to roll itself back. Its siblings are not touched.
    ///
    /// # Errors
    /// When there is no such execution, it is a pipeline's, or it has ended.
    pub async fn rollback(&self, actor: &Actor, id: &ExecutionId, reason: &str) -> Result<ExecutionRow> {
        let row = self.running_row(actor, id).await?;
        if row.kind == ExecutionType::Pipeline {
            return Err(Error::refused(
                Problem::new(
                    code!("ROLLBACK_OF_PIPELINE"),
                    "a pipeline execution cannot be rolled back as a whole",
                )
                .hint("roll its workflow executions back one by one; `memberExecutions` lists them"),
            ));
        }
        self.ask(actor, id, Action::Rollback, reason).await?;
        Ok(row)
    }
}
