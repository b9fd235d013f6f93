//! Which failure strategy acts on a failed step (`behaviour.md` 7.1).
//!
//! A strategy of the step's section comes first, then those of the workflow, in order; the first that matches the class of the failure acts.
//! A section's RETRY that is spent takes its `repairActionCodeAfterRetry`, or else gives way to the workflow's strategies. When none
//! matches, the execution ends FAILED and nothing is rolled back: FirstGen puts Application Error → Rollback Workflow into every new
//! workflow, so a workflow without a matching strategy is one from which somebody took it away.

use manifold_model::entity::{FailureStrategy, RepairAction, WorkflowType};
use manifold_model::event::EventKind;
use manifold_model::{Failure, Millis};

use crate::decide::Decider;
use crate::place::Spot;

/// How long a manual intervention waits without a timeout of its own: 14 days, in milliseconds.
const INTERVENTION_TIMEOUT_MS: u64 = 1_209_600_000;

/// What a strategy decided.
struct Choice {
    action: RepairAction,
    why: String,
    /// For RETRY: seconds until the next attempt, and attempts in all.
    retry: Option<(u64, u32)>,
    /// For MANUAL_INTERVENTION: milliseconds until the action after timeout, and that action.
    question: (u64, RepairAction),
}

impl<'a> Decider<'a> {
    /// Chooses and records what happens about the failure of the last attempt of a step.
    pub(crate) fn choose_strategy(&mut self, spot: Spot<'a>) {
        let step = spot.step.key;
        let Some(state) = self.state.steps.get(&step) else { return };
        let Some(last) = state.last() else { return };
        let attempt = last.number;
        let Some((_, _, Some(failure))) = &last.ended else { return };
        let Some(choice) = self.choice(spot, failure, state.failures()) else {
            let why = if spot.part.is_rollback() {
                "no failure strategy of the section applies; the rollback of this phase has failed".to_owned()
            } else {
                format!("no failure strategy applies to {}", failure.class.name())
            };
            self.emit(EventKind::StrategyMissing { step, attempt, why });
            return;
        };
        let action = choice.action;
        self.emit(EventKind::StrategyChosen { step, attempt, action, why: choice.why });
        match action {
            RepairAction::Retry => {
                let (seconds, of) = choice.retry.unwrap_or((0, attempt + 1));
                let due = later(self.now, seconds.saturating_mul(1000));
                self.emit(EventKind::RetryScheduled { step, attempt: attempt + 1, of, due });
                self.follow(spot);
            }
            RepairAction::ManualIntervention => {
                let (timeout, after_timeout) = choice.question;
                let until = later(self.now, timeout);
                let options = self.options(spot);
                self.emit(EventKind::InterventionAsked { step, attempt, options, until, after_timeout });
            }
            _ => {}
        }
    }

    fn choice(&self, spot: Spot<'_>, failure: &Failure, failures: u32) -> Option<Choice> {
        let matches = |strategy: &&FailureStrategy| {
            strategy.failure_types.is_empty() || strategy.failure_types.contains(&failure.class)
        };
        let of_step = |strategy: &&FailureStrategy| {
            strategy.specific_steps.is_empty() || strategy.specific_steps.contains(&spot.step.name)
        };
        let section = spot.section.strategies.iter().filter(matches).find(of_step);
        if let Some(strategy) = section {
            let place = format!("strategy of section `{}` for {}", spot.section.name, failure.class.name());
            match chosen(strategy, &place, failures) {
                Some(choice) if !spot.part.is_rollback() || goes_on(choice.action) => return Some(choice),
                _ => {}
            }
        }
        if spot.part.is_rollback() || self.map.workflow.kind == WorkflowType::Build {
            return None;
        }
        let strategy = self.map.workflow.strategies.iter().find(matches)?;
        let place = format!("strategy of the workflow for {}", failure.class.name());
        let mut choice = chosen(strategy, &place, failures)?;
        if strategy.phase_scope
            && choice.action == RepairAction::RollbackWorkflow
            && spot.part.phase().is_some()
        {
            choice.action = RepairAction::RollbackPhase;
        }
        Some(choice)
    }

    /// What may be answered to a manual intervention.
    fn options(&self, spot: Spot<'_>) -> Vec<RepairAction> {
        let mut options = vec![RepairAction::Retry, RepairAction::Ignore, RepairAction::MarkAsSuccess];
        options.push(RepairAction::EndExecution);
        options.push(RepairAction::AbortWorkflowExecution);
        if !spot.part.is_rollback() {
            options.push(RepairAction::RollbackWorkflow);
        }
        options
    }
}

/// Actions that a section's strategy may take in a rollback phase; the others would roll back a rollback.
fn goes_on(action: RepairAction) -> bool {
    matches!(
        action,
        RepairAction::Retry
            | RepairAction::Ignore
            | RepairAction::MarkAsSuccess
            | RepairAction::ManualIntervention
            | RepairAction::AbortWorkflowExecution
    )
}

fn chosen(strategy: &FailureStrategy, place: &str, failures: u32) -> Option<Choice> {
    let question = (
        strategy.intervention_timeout_ms.unwrap_or(INTERVENTION_TIMEOUT_MS),
        match strategy.action_after_timeout {
            // Asking or repeating for ever is no end.
            None | Some(RepairAction::ManualIntervention | RepairAction::Retry) => RepairAction::EndExecution,
            Some(action) => action,
        },
    );
    if strategy.action != RepairAction::Retry {
        let why = place.to_owned();
        return Some(Choice { action: strategy.action, why, retry: None, question });
    }
    if failures <= strategy.retry_count {
        let place_of_interval =
            (failures.saturating_sub(1) as usize).min(strategy.retry_intervals.len().saturating_sub(1));
        let seconds = strategy.retry_intervals.get(place_of_interval).copied().unwrap_or_default();
        let why = format!("{place}, retry {failures} of {}", strategy.retry_count);
        let retry = Some((seconds, strategy.retry_count.saturating_add(1)));
        return Some(Choice { action: RepairAction::Retry, why, retry, question });
    }
    let action = strategy.action_after_retry.filter(|action| *action != RepairAction::Retry)?;
    let why = format!("{place}, after {} retries", strategy.retry_count);
    Some(Choice { action, why, retry: None, question })
}

fn later(now: Millis, milliseconds: u64) -> Millis {
    now.saturating_add(i64::try_from(milliseconds).unwrap_or(i64::MAX))
}
