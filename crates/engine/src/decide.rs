//! What comes next in a workflow execution: the plan is walked from its start on every advance, and the state says what has been done.

use std::collections::BTreeSet;

use manifold_expression::{Scope, condition};
use manifold_model::entity::{RepairAction, WorkflowType};
use manifold_model::event::{Event, EventKind};
use manifold_model::plan::{SectionPlan, StepPlan};
use manifold_model::{ExecutionId, Failure, Millis, Status};

use crate::advance::Command;
use crate::place::{Map, Part, Spot};
use crate::render::{holds, unresolved};
use crate::scope::LegScope;
use crate::state::{Settled, State, delay_timer};

/// One advance in the making.
pub(crate) struct Decider<'a> {
    pub map: Map<'a>,
    pub id: &'a ExecutionId,
    pub state: &'a mut State,
    pub now: Millis,
    /// Keys of timers that fired: they are due whatever the clock says.
    pub fired: BTreeSet<String>,
    pub events: Vec<Event>,
    pub commands: Vec<Command>,
}

/// Whether a part of the plan has been passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pass {
    /// Go on behind it.
    Done,
    /// Something in it is under way or waits.
    Pending,
    /// It failed for good (in a rollback phase; forward, the verdict says so).
    Failed,
}

impl<'a> Decider<'a> {
    /// Folds and records an event.
    pub(crate) fn emit(&mut self, kind: EventKind) {
        let event = Event { seq: self.state.seq + 1, at: self.now, kind };
        self.state.fold(&event, self.map.plan);
        self.events.push(event);
    }

    /// Whether a due time has come.
    pub(crate) fn is_due(&self, due: Millis, timer: &str) -> bool {
        self.now >= due || self.fired.contains(timer)
    }

    pub(crate) fn scope<'s>(
        &'s self,
        part: Part,
        step: Option<&'s StepPlan>,
        host: Option<&'s str>,
    ) -> LegScope<'s> {
        LegScope::new(self.map, self.state, self.id, part, step, host)
    }

    /// Decides until nothing more can be decided now.
    pub(crate) fn decide(&mut self) {
        if self.state.end.is_some() || self.state.start.is_none() {
            return;
        }
        if self.state.abort.is_some() {
            self.stop_for_abort();
            return;
        }
        if self.state.rollback.is_some() {
            self.roll_back();
            return;
        }
        if self.state.rollback_asked.is_some() {
            self.stop_for_rollback();
            return;
        }
        if self.state.verdict.is_none() && self.forward() == Pass::Done {
            self.finish(Status::Success, None);
            return;
        }
        if self.state.verdict.is_some() && self.state.end.is_none() {
            self.act_on_verdict();
        }
    }

    /// Pre-deployment, targets, lock, last good, phases, post-deployment.
    fn forward(&mut self) -> Pass {
        if self.part(Part::Pre) != Pass::Done {
            return Pass::Pending;
        }
        if self.prepare() != Pass::Done {
            return Pass::Pending;
        }
        let phases = u32::try_from(self.map.workflow.phases.len()).unwrap_or(u32::MAX);
        for phase in 0..phases {
            if self.phase(phase) != Pass::Done {
                return Pass::Pending;
            }
        }
        self.part(Part::Post)
    }

    fn phase(&mut self, phase: u32) -> Pass {
        match self.state.phases.get(&(phase, false)) {
            Some(state) if state.ended.is_some() => return Pass::Done,
            Some(_) => {}
            None if self.state.paused.is_some() => return Pass::Pending,
            None => self.emit(EventKind::PhaseStarted { phase, rollback: false }),
        }
        let pass = self.part(Part::Phase(phase));
        if pass == Pass::Done {
            self.emit(EventKind::PhaseEnded { phase, rollback: false, status: Status::Success });
            self.free_permits_of_phase(phase);
        }
        pass
    }

    fn part(&mut self, part: Part) -> Pass {
        let map = self.map;
        for section in map.sections(part) {
            let pass = self.section(part, section);
            if pass != Pass::Done {
                return pass;
            }
        }
        Pass::Done
    }

    /// Walks a section; also used for sections of rollback phases.
    pub(crate) fn section(&mut self, part: Part, section: &'a SectionPlan) -> Pass {
        let Some(first) = section.steps.first() else { return Pass::Done };
        if self.delay(section, first) == Pass::Pending {
            return Pass::Pending;
        }
        let mut whole = Pass::Done;
        for step in &section.steps {
            let pass = self.step(Spot { part, section, step });
            if pass != Pass::Done && !section.parallel {
                return pass;
            }
            whole = match (whole, pass) {
                (Pass::Pending, _) | (_, Pass::Pending) => Pass::Pending,
                (Pass::Failed, _) | (_, Pass::Failed) => Pass::Failed,
                _ => Pass::Done,
            };
        }
        whole
    }

    /// The section's `waitInterval`.
    fn delay(&mut self, section: &SectionPlan, first: &StepPlan) -> Pass {
        if section.wait_seconds == 0 || self.forward_is_closed(section) {
            return Pass::Done;
        }
        match self.state.delays.get(&first.key) {
            Some((_, _, true)) => Pass::Done,
            Some((_, due, false)) => {
                if !self.is_due(*due, &delay_timer(first.key)) {
                    return Pass::Pending;
                }
                self.emit(EventKind::DelayEnded { step: first.key });
                Pass::Done
            }
            None if self.state.paused.is_some() => Pass::Pending,
            None => {
                let wait = i64::try_from(section.wait_seconds).unwrap_or(i64::MAX).saturating_mul(1000);
                let due = self.now.saturating_add(wait);
                self.emit(EventKind::DelayStarted { step: first.key, due });
                Pass::Pending
            }
        }
    }

    /// Whether steps of the section have begun already, so that its wait is long over.
    fn forward_is_closed(&self, section: &SectionPlan) -> bool {
        section.steps.iter().any(|step| self.state.steps.contains_key(&step.key))
    }

    fn step(&mut self, spot: Spot<'a>) -> Pass {
        let state = self.state.steps.get(&spot.step.key);
        match state.and_then(|state| state.settled.as_ref()) {
            Some(Settled::Succeeded | Settled::Passed(_) | Settled::Skipped(_)) => return Pass::Done,
            Some(Settled::Lost) => return Pass::Failed,
            None => {}
        }
        if state.is_none_or(|state| state.attempts.is_empty()) {
            if self.may_not_begin() {
                return Pass::Pending;
            }
            self.begin(spot);
        } else {
            self.follow(spot);
        }
        self.settled(spot)
    }

    /// Whether nothing new may be begun now.
    pub(crate) fn may_not_begin(&self) -> bool {
        self.state.paused.is_some() || self.is_closing()
    }

    /// Whether a failure has decided and only what is in flight is waited for.
    pub(crate) fn is_closing(&self) -> bool {
        self.state.verdict.is_some() && self.state.rollback.is_none()
    }

    fn settled(&self, spot: Spot<'_>) -> Pass {
        match self.state.steps.get(&spot.step.key).and_then(|state| state.settled.as_ref()) {
            None => Pass::Pending,
            Some(Settled::Lost) => Pass::Failed,
            Some(_) => Pass::Done,
        }
    }

    /// Evaluates the skip conditions of a step: `Some(reason)` when one holds.
    pub(crate) fn skip_reason(&self, spot: Spot<'_>) -> Result<Option<String>, Failure> {
        for skip in &spot.section.skips {
            if !skip.steps.is_empty() && !skip.steps.contains(&spot.step.name) {
                continue;
            }
            let scope = self.scope(spot.part, Some(spot.step), None);
            match condition(&skip.assertion, &scope as &dyn Scope) {
                Ok(false) => {}
                Ok(true) => return Ok(Some(holds(&skip.assertion, &scope))),
                Err(error) => {
                    let what = format!("skip condition of step `{}`", spot.step.name);
                    return Err(unresolved(&what, &skip.assertion, &[error]));
                }
            }
        }
        Ok(None)
    }

    /// A failure cannot be undone: waits for what is in flight, then rolls back or ends.
    fn act_on_verdict(&mut self) {
        self.follow_in_flight();
        if !self.state.open.is_empty() || self.has_unanswered() {
            return;
        }
        let Some(verdict) = self.state.verdict.clone() else { return };
        let spot = self.map.step(verdict.step);
        let phase = spot.and_then(|spot| spot.part.phase());
        let failure = self.failure_of(verdict.step);
        match verdict.action {
            Some(RepairAction::AbortWorkflowExecution) => self.finish(Status::Aborted, failure),
            None => self.finish(Status::Failed, failure),
            // Build workflows have no rollback phases (`behaviour.md` 7.1).
            Some(_) if self.map.workflow.kind == WorkflowType::Build => self.finish(Status::Failed, failure),
            Some(action) => {
                let only_phase = action == RepairAction::RollbackPhase;
                let deployed_only = action == RepairAction::EndExecution;
                let name = spot.map_or("a step", |spot| spot.step.name.as_str());
                let why = format!("step `{name}` failed and the failure strategy says {}", action.name());
                if only_phase && phase.is_none() {
                    self.finish(Status::Failed, failure);
                } else {
                    self.start_rollback(phase.filter(|_| only_phase), deployed_only, why);
                }
            }
        }
    }

    /// Whether a person still has to say whether a task ran.
    pub(crate) fn has_unanswered(&self) -> bool {
        use crate::state::TaskVerdict::Unknown;
        self.state
            .steps
            .values()
            .filter(|step| step.settled.is_none())
            .filter_map(|step| step.last())
            .filter(|attempt| attempt.ended.is_none())
            .flat_map(|attempt| &attempt.tasks)
            .any(|task| matches!(task.verdict(), Unknown(_)))
    }

    /// The failure with which a step was lost; the message says which step that was.
    pub(crate) fn failure_of(&self, step: manifold_model::plan::StepKey) -> Option<Failure> {
        let attempt = self.state.steps.get(&step)?.last()?;
        let (_, _, failure) = attempt.ended.as_ref()?;
        let mut failure = failure.clone()?;
        if let Some(spot) = self.map.step(step) {
            let named = format!("step `{}`", spot.step.name);
            if !failure.message.contains(&named) {
                failure.message = format!("{named}: {}", failure.message);
            }
        }
        Some(failure)
    }
}
