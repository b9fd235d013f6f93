//! Answers that executions wait for: manual interventions and unknown outcomes.

use manifold_model::entity::RepairAction;
use manifold_model::execution::ExecutionRow;
use manifold_model::plan::StepKey;
use manifold_model::request::Action;
use manifold_model::wait::WaitReason;
use manifold_model::{ExecutionId, Problem, code};

use crate::{Actor, Control, Error, Result};

impl Control {
    /// Answers a manual intervention of a step.
    ///
    /// # Errors
    /// When the step does not wait for one, or the answer is not among those asked for.
    pub async fn answer_intervention(
        &self,
        actor: &Actor,
        id: &ExecutionId,
        step: StepKey,
        answer: RepairAction,
        reason: &str,
    ) -> Result<ExecutionRow> {
        let row = self.running_row(actor, id).await?;
        let options = row.state.waits.iter().find_map(|wait| match &wait.reason {
            WaitReason::Intervention { options, .. } if wait.step == Some(step) => Some(options),
            _ => None,
        });
        let Some(options) = options else {
            return Err(Error::refused(
                Problem::new(code!("NOTHING_TO_ANSWER"), "the step does not wait for a manual intervention")
                    .item(step.to_string())
                    .hint(
                        "`execution { waits }` lists what is waited for; somebody may have answered already",
                    ),
            ));
        };
        if !options.contains(&answer) {
            let offered: Vec<&str> = options.iter().map(|option| option.name()).collect();
            return Err(Error::refused(
                Problem::new(
                    code!("ANSWER_NOT_OFFERED"),
                    format!("{} is not among the answers", answer.name()),
                )
                .detail(format!("offered: {}", offered.join(", "))),
            ));
        }
        self.ask(actor, id, Action::AnswerIntervention { step, answer }, reason).await?;
        Ok(row)
    }

    /// Says whether a task ran whose outcome nobody knows.
    ///
    /// # Errors
    /// When the step does not wait for that.
    pub async fn answer_unknown_outcome(
        &self,
        actor: &Actor,
        id: &ExecutionId,
        step: StepKey,
        instance: Option<String>,
        ran: bool,
        reason: &str,
    ) -> Result<ExecutionRow> {
        let row = self.running_row(actor, id).await?;
        let waits = row.state.waits.iter().any(|wait| match &wait.reason {
            WaitReason::UnknownOutcome { instance: host, .. } => wait.step == Some(step) && *host == instance,
            _ => false,
        });
        if !waits {
            return Err(Error::refused(
                Problem::new(
                    code!("NOTHING_TO_ANSWER"),
                    "the step does not wait for word about an unknown outcome",
                )
                .item(step.to_string()),
            ));
        }
        self.ask(actor, id, Action::AnswerUnknownOutcome { step, instance, ran }, reason).await?;
        Ok(row)
    }
}
