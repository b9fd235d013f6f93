//! Folding events into the state. What does not fit is ignored: an old journal must never stop a server.

use manifold_model::entity::RepairAction;
use manifold_model::event::{Event, EventKind, LastGood, Publication, TaskIntent};
use manifold_model::plan::{Plan, StepKey};
use manifold_model::request::{Action, Request};
use manifold_model::task::Outcome;
use manifold_model::{Failure, Millis, Status, TaskId};

use crate::hosts;
use crate::state::*;

impl State {
    /// Folds the next event. What does not fit is ignored: an old journal must never stop a server.
    pub(crate) fn fold(&mut self, event: &Event, plan: &Plan) {
        self.seq = event.seq;
        let at = event.at;
        if self.began_at.is_none() && self.start.is_some() {
            self.began_at = Some(at);
        }
        match &event.kind {
            EventKind::WorkflowStarted { place, parent, original, cause, outputs, release_no, .. } => {
                self.start = Some(Start {
                    place: *place,
                    parent: parent.clone(),
                    original: original.clone().or_else(|| parent.clone()),
                    cause: cause.clone(),
                    outputs: outputs.clone(),
                    release_no: *release_no,
                    at,
                });
            }
            EventKind::Requested { request } => self.requested(request, at),
            EventKind::Finished { status, failure } => {
                self.end = Some(End { at, status: *status, failure: failure.clone() });
                self.paused = None;
                self.open.clear();
                self.timers.clear();
            }
            EventKind::TargetsResolved { phases } => {
                self.hosts = hosts::of_targets(phases, plan.specific_hosts.as_deref());
                self.targets = Some(phases.clone());
                self.targets_at = at;
            }
            EventKind::LockRequested { keys } => self.lock = Lock::Asked { keys: keys.clone(), at },
            EventKind::LockGranted {} => {
                if let Lock::Asked { keys, at: asked } = &self.lock {
                    self.lock = Lock::Held { keys: keys.clone(), asked: *asked, at };
                }
            }
            EventKind::LockRefused { limit } => self.lock = Lock::Refused { limit: *limit, at },
            EventKind::LastGoodRecalled { last_good } => {
                let by_mapping = |one: &LastGood| (one.mapping.clone(), one.clone());
                self.last_good = Some(last_good.iter().map(by_mapping).collect());
            }
            EventKind::PhaseStarted { phase, rollback } => {
                self.phases.insert((*phase, *rollback), PhaseState { started_at: at, ended: None });
            }
            EventKind::PhaseEnded { phase, rollback, status } => {
                if let Some(state) = self.phases.get_mut(&(*phase, *rollback)) {
                    state.ended = Some((at, *status));
                }
            }
            EventKind::DelayStarted { step, due } => {
                self.delays.insert(*step, (at, *due, false));
                self.timers.insert(delay_timer(*step), *due);
            }
            EventKind::DelayEnded { step } => {
                if let Some(delay) = self.delays.get_mut(step) {
                    delay.2 = true;
                }
                self.timers.remove(&delay_timer(*step));
            }
            other => self.fold_step(other, at),
        }
    }

    fn requested(&mut self, request: &Request, at: Millis) {
        let asked = Asked { by: request.by.clone(), reason: request.reason.clone(), at };
        match request.action {
            Action::Abort => {
                self.paused = None;
                self.timers.clear();
                self.timers.insert(STOP_TIMER.to_owned(), at + STOP_GRACE_MS);
                self.drop_waits();
                self.abort = Some(asked);
            }
            Action::Rollback => {
                self.paused = None;
                self.timers.clear();
                self.timers.insert(STOP_TIMER.to_owned(), at + STOP_GRACE_MS);
                self.drop_waits();
                self.rollback_asked = Some(asked);
            }
            Action::Pause => self.paused = Some(asked),
            Action::Continue => self.paused = None,
            Action::AnswerIntervention { .. } | Action::AnswerUnknownOutcome { .. } => {}
        }
    }

    /// Forgets what steps wait for, but not their open tasks: nothing new begins any more.
    fn drop_waits(&mut self) {
        for (key, step) in &mut self.steps {
            if let Some(retry) = step.retry.take() {
                self.timers.remove(&retry_timer(*key, retry.attempt));
            }
            if let Some(question) = step.intervention.take() {
                self.timers.remove(&intervention_timer(*key, question.attempt));
            }
        }
        for (key, delay) in &mut self.delays {
            if !delay.2 {
                delay.2 = true;
                self.timers.remove(&delay_timer(*key));
            }
        }
    }

    fn fold_step(&mut self, kind: &EventKind, at: Millis) {
        match kind {
            EventKind::StepSkipped { step, reason } => {
                self.settle(*step, Settled::Skipped(reason.clone()), at);
            }
            EventKind::StepStarted { step, attempt, values } => {
                let state = self.steps.entry(*step).or_default();
                let attempt = Attempt {
                    number: *attempt,
                    started_at: at,
                    values: values.clone(),
                    tasks: Vec::new(),
                    open: 0,
                    ended: None,
                };
                state.attempts.push(attempt);
                state.repair = None;
                state.intervention = None;
                if let Some(retry) = state.retry.take() {
                    self.timers.remove(&retry_timer(*step, retry.attempt));
                }
            }
            EventKind::TasksIssued { step, tasks, .. } => self.issued(*step, tasks, at),
            EventKind::TaskEnded { task, outcome, .. } => self.task_ended(task, outcome, at),
            EventKind::UnknownOutcomeAnswered { step, attempt, instance, ran, .. } => {
                let task = self
                    .steps
                    .get_mut(step)
                    .and_then(|state| state.attempts.last_mut())
                    .filter(|last| last.number == *attempt)
                    .and_then(|last| last.tasks.iter_mut().find(|task| task.instance == *instance));
                if let Some(task) = task {
                    task.ran = Some(*ran);
                }
            }
            EventKind::StepEnded { step, status, failure, published, .. } => {
                self.step_ended(*step, *status, failure.as_ref(), published.as_ref(), at);
            }
            EventKind::HostsSelected { step, phase, hosts, exclude_from_future } => {
                self.selections.push(Selection {
                    step: *step,
                    phase: *phase,
                    hosts: hosts.clone(),
                    exclude_from_future: *exclude_from_future,
                });
            }
            other => self.fold_repair(other, at),
        }
    }

    fn issued(&mut self, step: StepKey, tasks: &[TaskIntent], at: Millis) {
        let Some(attempt) = self.steps.get_mut(&step).and_then(|state| state.attempts.last_mut()) else {
            return;
        };
        for intent in tasks {
            self.open.insert(intent.task.clone(), (step, attempt.tasks.len()));
            attempt.open += 1;
            attempt.tasks.push(TaskState {
                id: intent.task.clone(),
                instance: intent.instance.clone(),
                issued_at: at,
                outcome: None,
                ran: None,
            });
        }
    }

    fn task_ended(&mut self, task: &TaskId, outcome: &Outcome, at: Millis) {
        let Some((step, place)) = self.open.remove(task) else { return };
        let attempt = self.steps.get_mut(&step).and_then(|state| state.attempts.last_mut());
        if let Some(attempt) = attempt
            && let Some(state) = attempt.tasks.get_mut(place)
        {
            attempt.open = attempt.open.saturating_sub(1);
            state.outcome = Some((at, outcome.clone()));
        }
    }

    fn step_ended(
        &mut self,
        step: StepKey,
        status: Status,
        failure: Option<&Failure>,
        published: Option<&Publication>,
        at: Millis,
    ) {
        let state = self.steps.entry(step).or_default();
        if let Some(attempt) = state.attempts.last_mut() {
            attempt.ended = Some((at, status, failure.cloned()));
            for task in &attempt.tasks {
                self.open.remove(&task.id);
            }
            attempt.open = 0;
        }
        if state.barrier.take().is_some() {
            self.timers.remove(&barrier_timer(step));
        }
        self.timers.remove(&permit_timer(step));
        if status != Status::Success {
            state.permits = None;
        }
        if let Some(publication) = published {
            self.published
                .push(PublishedBy { phase: self.current_phase(), publication: publication.clone() });
        }
        match status {
            Status::Success => self.settle(step, Settled::Succeeded, at),
            Status::Failed => {}
            _ => self.settle(step, Settled::Lost, at),
        }
    }

    /// The phase that is open, rollback or not: publications at PHASE scope belong to it.
    fn current_phase(&self) -> Option<u32> {
        self.phases.iter().find(|(_, state)| state.ended.is_none()).map(|((phase, _), _)| *phase)
    }

    fn settle(&mut self, step: StepKey, settled: Settled, at: Millis) {
        let state = self.steps.entry(step).or_default();
        state.settled = Some(settled);
        state.settled_at = Some(at);
    }

    fn fold_repair(&mut self, kind: &EventKind, at: Millis) {
        match kind {
            EventKind::StrategyChosen { step, attempt, action, why } => {
                let repair = Repair { attempt: *attempt, action: Some(*action), why: why.clone() };
                self.steps.entry(*step).or_default().repair = Some(repair);
                match action {
                    RepairAction::ManualIntervention | RepairAction::Retry => {}
                    action => self.act(*step, Some(*action), why, at),
                }
            }
            EventKind::StrategyMissing { step, attempt, why } => {
                let repair = Repair { attempt: *attempt, action: None, why: why.clone() };
                self.steps.entry(*step).or_default().repair = Some(repair);
                self.act(*step, None, why, at);
            }
            EventKind::RetryScheduled { step, attempt, of, due } => {
                let wait = RetryWait { attempt: *attempt, of: *of, since: at, due: *due };
                self.steps.entry(*step).or_default().retry = Some(wait);
                self.timers.insert(retry_timer(*step, *attempt), *due);
            }
            EventKind::InterventionAsked { step, attempt, options, until, after_timeout } => {
                self.steps.entry(*step).or_default().intervention = Some(Intervention {
                    attempt: *attempt,
                    options: options.clone(),
                    since: at,
                    until: *until,
                    after_timeout: *after_timeout,
                });
                self.timers.insert(intervention_timer(*step, *attempt), *until);
            }
            EventKind::InterventionAnswered { step, attempt, answer, by } => {
                self.steps.entry(*step).or_default().intervention = None;
                self.timers.remove(&intervention_timer(*step, *attempt));
                self.act(*step, Some(*answer), &format!("answered by {by}"), at);
            }
            other => self.fold_permits(other, at),
        }
    }

    fn fold_permits(&mut self, kind: &EventKind, at: Millis) {
        let (step, answer) = match kind {
            EventKind::PermitsRequested { request, until } => {
                let asked = PermitState { request: request.clone(), since: at, until: *until, answer: None };
                self.timers.insert(permit_timer(request.step), *until);
                self.steps.entry(request.step).or_default().permits = Some(asked);
                return;
            }
            EventKind::PermitsReleased { step } => {
                if let Some(state) = self.steps.get_mut(step) {
                    state.permits = None;
                }
                return;
            }
            EventKind::PermitsGranted { step } => (*step, PermitAnswer::Granted),
            EventKind::PermitsRefused { step, refusal } => (*step, PermitAnswer::Refused(*refusal)),
            other => return self.fold_barrier_or_rollback(other, at),
        };
        if let Some(asked) = self.steps.get_mut(&step).and_then(|state| state.permits.as_mut()) {
            asked.answer = Some(answer);
        }
    }

    /// Barriers and rollback.
    fn fold_barrier_or_rollback(&mut self, kind: &EventKind, at: Millis) {
        match kind {
            EventKind::BarrierArrived { step, identifier, until } => {
                self.steps.entry(*step).or_default().barrier = Some(BarrierState {
                    identifier: identifier.clone(),
                    since: at,
                    until: *until,
                    crossed: false,
                    broken: None,
                });
                self.timers.insert(barrier_timer(*step), *until);
            }
            EventKind::BarrierCrossed { step } => {
                if let Some(barrier) = self.steps.get_mut(step).and_then(|state| state.barrier.as_mut()) {
                    barrier.crossed = true;
                }
            }
            EventKind::BarrierBroken { step, by } => {
                if let Some(barrier) = self.steps.get_mut(step).and_then(|state| state.barrier.as_mut()) {
                    barrier.broken = Some(by.clone());
                }
            }
            EventKind::RollbackStarted { phase, deployed_only, .. } => {
                self.drop_waits();
                self.timers.remove(STOP_TIMER);
                self.rollback =
                    Some(Rollback { phase: *phase, deployed_only: *deployed_only, at, mark: None });
            }
            EventKind::RollbackEnded { mark } => {
                if let Some(rollback) = &mut self.rollback {
                    rollback.mark = Some(*mark);
                }
            }
            _ => {}
        }
    }

    /// An action, by a strategy or a person, on a failed step.
    fn act(&mut self, step: StepKey, action: Option<RepairAction>, why: &str, at: Millis) {
        match action {
            Some(RepairAction::Ignore) => self.settle(step, Settled::Passed(format!("ignored: {why}")), at),
            Some(RepairAction::MarkAsSuccess) => {
                self.settle(step, Settled::Passed(format!("marked as success: {why}")), at);
            }
            Some(RepairAction::Retry) => {
                if let Some(state) = self.steps.get_mut(&step) {
                    let attempt = state.last().map_or(1, |last| last.number + 1);
                    state.retry = Some(RetryWait { attempt, of: attempt, since: at, due: at });
                }
            }
            Some(RepairAction::ManualIntervention) => {}
            fatal => {
                self.settle(step, Settled::Lost, at);
                if self.rollback.is_none() && self.verdict.is_none() {
                    self.verdict = Some(Verdict { step, action: fatal });
                    self.drop_waits();
                } else if fatal == Some(RepairAction::AbortWorkflowExecution) {
                    self.verdict = Some(Verdict { step, action: fatal });
                }
            }
        }
    }
}
