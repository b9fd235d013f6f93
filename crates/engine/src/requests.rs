//! What people ask of a running execution; what no longer fits changes nothing.

use manifold_model::entity::RepairAction;
use manifold_model::event::EventKind;
use manifold_model::plan::StepKey;
use manifold_model::request::{Action, Request};

use crate::advance::Command;
use crate::decide::Decider;
use crate::state::TaskVerdict;

impl Decider<'_> {
    /// A person's request; what no longer fits changes nothing.
    pub(crate) fn requested(&mut self, request: &Request) {
        let state = &*self.state;
        if state.end.is_some() || state.start.is_none() {
            return;
        }
        let holds = match &request.action {
            Action::Abort => state.abort.is_none(),
            Action::Pause => state.abort.is_none() && state.paused.is_none(),
            Action::Continue => state.paused.is_some(),
            Action::Rollback => {
                state.abort.is_none() && state.rollback.is_none() && state.rollback_asked.is_none()
            }
            Action::AnswerIntervention { step, answer } => {
                self.answer_intervention(*step, *answer, request);
                return;
            }
            Action::AnswerUnknownOutcome { step, instance, ran } => {
                self.answer_unknown(*step, instance.as_deref(), *ran, request);
                return;
            }
        };
        if !holds {
            return;
        }
        self.emit(EventKind::Requested { request: request.clone() });
        if matches!(request.action, Action::Abort | Action::Rollback) && !self.state.open.is_empty() {
            self.commands.push(Command::CancelTasks(self.state.open.keys().cloned().collect()));
        }
    }

    fn answer_intervention(&mut self, step: StepKey, answer: RepairAction, request: &Request) {
        let question = self.state.steps.get(&step).and_then(|state| state.intervention.clone());
        let Some(question) = question.filter(|question| question.options.contains(&answer)) else { return };
        self.emit(EventKind::Requested { request: request.clone() });
        let (attempt, by) = (question.attempt, request.by.clone());
        self.emit(EventKind::InterventionAnswered { step, attempt, answer, by });
    }

    fn answer_unknown(&mut self, step: StepKey, instance: Option<&str>, ran: bool, request: &Request) {
        let attempt = self.state.steps.get(&step).filter(|state| state.settled.is_none());
        let Some(last) = attempt.and_then(|state| state.last()) else { return };
        let asked = last.ended.is_none()
            && last.tasks.iter().any(|task| {
                task.instance.as_deref() == instance && matches!(task.verdict(), TaskVerdict::Unknown(_))
            });
        if !asked {
            return;
        }
        let attempt = last.number;
        self.emit(EventKind::Requested { request: request.clone() });
        self.emit(EventKind::UnknownOutcomeAnswered {
            step,
            attempt,
            instance: instance.map(str::to_owned),
            ran,
            by: request.by.clone(),
        });
    }
}
