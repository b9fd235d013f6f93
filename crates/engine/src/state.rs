//! State of a workflow execution: what its events say, and nothing else.

use std::collections::BTreeMap;

use manifold_model::constraint::{PermitRefusal, PermitRequest};
use manifold_model::entity::RepairAction;
use manifold_model::event::{
    LastGood, LegPlace, Publication, PublishedValue, ResolvedPhase, RollbackMark, Scope,
};
use manifold_model::plan::StepKey;
use manifold_model::request::Cause;
use manifold_model::target::{LockKey, MappingKey};
use manifold_model::task::{Outcome, OutputValue, TaskResult};
use manifold_model::{ExecutionId, Failure, Millis, Status, TaskId};

/// How long running tasks are given to stop after an abort or a rollback request, milliseconds.
pub(crate) const STOP_GRACE_MS: i64 = 60_000;

/// Key of the timer of [`STOP_GRACE_MS`].
pub(crate) const STOP_TIMER: &str = "stop";

/// What the first event said.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Start {
    pub place: LegPlace,
    pub parent: Option<ExecutionId>,
    pub original: Option<ExecutionId>,
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

/// What the store said to a request for permits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PermitAnswer {
    Granted,
    Refused(PermitRefusal),
}

/// Permits that a step waits for or holds.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct PermitState {
    pub request: PermitRequest,
    pub since: Millis,
    pub until: Millis,
    pub answer: Option<PermitAnswer>,
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
    /// Asked for, then held until they are released or the execution ends.
    pub permits: Option<PermitState>,
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
pub(crate) fn delay_timer(step: StepKey) -> String {
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

/// Key of the timer of a request for permits.
pub(crate) fn permit_timer(step: StepKey) -> String {
    format!("permits/{step}")
}

impl State {
    /// What the leg published at PIPELINE scope.
    pub(crate) fn pipeline_outputs(&self) -> BTreeMap<String, BTreeMap<String, OutputValue>> {
        let mut outputs: BTreeMap<String, BTreeMap<_, _>> = BTreeMap::new();
        for PublishedBy { publication, .. } in &self.published {
            if publication.scope == Scope::Pipeline {
                outputs.entry(publication.name.clone()).or_default().extend(publication.values.clone());
            }
        }
        outputs
    }
}
