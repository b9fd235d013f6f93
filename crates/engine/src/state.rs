//! State of a workflow execution: what its events say, and nothing else.

use std::collections::BTreeMap;

use manifold_model::entity::RepairAction;
use manifold_model::event::{
    Event, EventKind, LastGood, LegPlace, Publication, PublishedValue, ResolvedPhase, RollbackMark, Scope,
    TaskIntent,
};
use manifold_model::plan::{Plan, StepKey};
use manifold_model::request::{Action, Cause, Request};
use manifold_model::target::{LockKey, MappingKey};
use manifold_model::task::{Outcome, TaskResult};
use manifold_model::{ExecutionId, Failure, Millis, Status, TaskId};

use crate::hosts;

/// How long running tasks are given to stop after an abort or a rollback request, milliseconds.
pub(crate) const STOP_GRACE_MS: i64 = 60_000;

/// Key of the timer of [`STOP_GRACE_MS`].
pub(crate) const STOP_TIMER: &str = "stop";

/// What the first event said.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Start {
    pub place: LegPlace,
    pub parent: Option<ExecutionId>,
    pub cause: Cause,
    pub outputs: BTreeMap<String, PublishedValue>,
    pub release_no: u64,
    /// When it was queued.
    pub at: Millis,
}

/// The infrastructure lock.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) enum Lock {
    #[default]
    NotAsked,
    Asked {
        keys: Vec<LockKey>,
        at: Millis,
    },
    Held {
        keys: Vec<LockKey>,
        asked: Millis,
        at: Millis,
    },
    Refused {
        limit: u32,
        at: Millis,
    },
}

/// A phase or a rollback phase that began.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct PhaseState {
    pub started_at: Millis,
    pub ended: Option<(Millis, Status)>,
}

/// One task.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct TaskState {
    pub id: TaskId,
    pub instance: Option<String>,
    pub issued_at: Millis,
    pub outcome: Option<(Millis, Outcome)>,
    /// A person's word after an unknown outcome: whether it ran.
    pub ran: Option<bool>,
}

impl TaskState {
    /// What became of it, a person's word about an unknown outcome included.
    pub(crate) fn verdict(&self) -> TaskVerdict<'_> {
        match self.outcome.as_ref().map(|(_, outcome)| &outcome.result) {
            None => TaskVerdict::Open,
            Some(TaskResult::Succeeded) => TaskVerdict::Succeeded,
            Some(TaskResult::Failed { failure }) => TaskVerdict::Failed(failure),
            Some(TaskResult::Cancelled) => TaskVerdict::Cancelled,
            Some(TaskResult::Unknown { seen }) => match self.ran {
                None => TaskVerdict::Unknown(seen),
                Some(true) => TaskVerdict::Succeeded,
                Some(false) => TaskVerdict::DidNotRun,
            },
        }
    }
}

/// What became of a task.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum TaskVerdict<'a> {
    Open,
    Succeeded,
    Failed(&'a Failure),
    Cancelled,
    Unknown(&'a str),
    DidNotRun,
}

/// One attempt of a step.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Attempt {
    pub number: u32,
    pub started_at: Millis,
    pub values: BTreeMap<String, String>,
    pub tasks: Vec<TaskState>,
    /// Tasks without an outcome.
    pub open: u32,
    pub ended: Option<(Millis, Status, Option<Failure>)>,
}

/// A strategy's decision about the last attempt.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Repair {
    pub attempt: u32,
    /// `None`: no strategy applies.
    pub action: Option<RepairAction>,
    pub why: String,
}

/// A question to a person.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Intervention {
    pub attempt: u32,
    pub options: Vec<RepairAction>,
    pub since: Millis,
    pub until: Millis,
    pub after_timeout: RepairAction,
}

/// The next attempt's time.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct RetryWait {
    pub attempt: u32,
    pub of: u32,
    pub since: Millis,
    pub due: Millis,
}

/// A stand at a barrier.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct BarrierState {
    pub identifier: String,
    pub since: Millis,
    pub until: Millis,
    pub crossed: bool,
    /// Broken, and by whom.
    pub broken: Option<Option<ExecutionId>>,
}

/// How a step has been settled.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Settled {
    /// It succeeded.
    Succeeded,
    /// It counts as passed though it failed; how that came.
    Passed(String),
    /// It was not run; why.
    Skipped(String),
    /// It failed and the execution cannot go on, or it was stopped.
    Lost,
}

/// A step that was looked at.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct StepState {
    pub attempts: Vec<Attempt>,
    pub repair: Option<Repair>,
    pub intervention: Option<Intervention>,
    pub retry: Option<RetryWait>,
    pub barrier: Option<BarrierState>,
    pub settled: Option<Settled>,
    pub settled_at: Option<Millis>,
}

impl StepState {
    pub(crate) fn last(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// Attempts that failed; one of which a person said that it did not run is none.
    pub(crate) fn failures(&self) -> u32 {
        let failed = |attempt: &&Attempt| matches!(attempt.ended, Some((_, Status::Failed, _)));
        u32::try_from(self.attempts.iter().filter(failed).count()).unwrap_or(u32::MAX)
    }

    /// Whether a task was ever handed out: an attempt that could not be rendered did nothing.
    pub(crate) fn handed_out(&self) -> bool {
        self.attempts.iter().any(|attempt| !attempt.tasks.is_empty())
    }

    /// Whether an attempt was ever begun.
    pub(crate) fn began(&self) -> bool {
        !self.attempts.is_empty()
    }
}

/// Why nothing new is begun in the forward direction.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Verdict {
    pub step: StepKey,
    pub action: Option<RepairAction>,
}

/// A rollback.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Rollback {
    pub phase: Option<u32>,
    pub deployed_only: bool,
    pub at: Millis,
    pub mark: Option<RollbackMark>,
}

/// Somebody's request that holds.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Asked {
    pub by: String,
    pub reason: String,
    pub at: Millis,
}

/// The end.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct End {
    pub at: Millis,
    pub status: Status,
    pub failure: Option<Failure>,
}

/// Hosts chosen by a node selection.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Selection {
    pub step: StepKey,
    pub phase: u32,
    pub hosts: Vec<String>,
    pub exclude_from_future: bool,
}

/// Something published, and by which phase (`None`: pre- or post-deployment).
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct PublishedBy {
    pub phase: Option<u32>,
    pub publication: Publication,
}

/// The fold of a journal.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct State {
    pub seq: u64,
    pub start: Option<Start>,
    /// Time of the first event after the start.
    pub began_at: Option<Millis>,
    pub end: Option<End>,
    pub targets: Option<Vec<Option<ResolvedPhase>>>,
    /// Hosts of each phase's infrastructure.
    pub hosts: Vec<Vec<String>>,
    pub targets_at: Millis,
    pub lock: Lock,
    pub last_good: Option<BTreeMap<MappingKey, LastGood>>,
    pub phases: BTreeMap<(u32, bool), PhaseState>,
    /// Waits of sections by their first step: since, due, whether over.
    pub delays: BTreeMap<StepKey, (Millis, Millis, bool)>,
    pub steps: BTreeMap<StepKey, StepState>,
    /// Open tasks: step and place in its last attempt.
    pub open: BTreeMap<TaskId, (StepKey, usize)>,
    pub selections: Vec<Selection>,
    pub published: Vec<PublishedBy>,
    pub verdict: Option<Verdict>,
    pub rollback: Option<Rollback>,
    pub abort: Option<Asked>,
    pub rollback_asked: Option<Asked>,
    pub paused: Option<Asked>,
    /// Timers that are set.
    pub timers: BTreeMap<String, Millis>,
}

/// Key of the timer of a section's wait.
fn delay_timer(step: StepKey) -> String {
    format!("delay/{step}")
}

/// Key of the timer of a retry.
pub(crate) fn retry_timer(step: StepKey, attempt: u32) -> String {
    format!("retry/{step}/{attempt}")
}

/// Key of the timer of a question.
pub(crate) fn intervention_timer(step: StepKey, attempt: u32) -> String {
    format!("intervention/{step}/{attempt}")
}

/// Key of the timer of a barrier.
pub(crate) fn barrier_timer(step: StepKey) -> String {
    format!("barrier/{step}")
}

impl State {
    /// Folds the next event. What does not fit is ignored: an old journal must never stop a server.
    pub(crate) fn fold(&mut self, event: &Event, plan: &Plan) {
        self.seq = event.seq;
        let at = event.at;
        if self.began_at.is_none() && self.start.is_some() {
            self.began_at = Some(at);
        }
        match &event.kind {
            EventKind::WorkflowStarted { place, parent, cause, outputs, release_no, .. } => {
                self.start = Some(Start {
                    place: *place,
                    parent: parent.clone(),
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

    /// What the leg published at PIPELINE scope.
    pub(crate) fn pipeline_outputs(
        &self,
    ) -> BTreeMap<String, BTreeMap<String, manifold_model::task::OutputValue>> {
        let mut outputs: BTreeMap<String, BTreeMap<_, _>> = BTreeMap::new();
        for PublishedBy { publication, .. } in &self.published {
            if publication.scope == Scope::Pipeline {
                outputs.entry(publication.name.clone()).or_default().extend(publication.values.clone());
            }
        }
        outputs
    }
}
