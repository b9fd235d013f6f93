//! Every event of a journal. State is a fold of these (`design.md` 4). Kinds are only ever added; old journals replay for ever.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::artifact::Artifact;
use crate::constraint::{PermitRefusal, PermitRequest};
use crate::entity::RepairAction;
use crate::plan::StepKey;
use crate::request::{Cause, Request};
use crate::target::{LockKey, MappingKey, Target};
use crate::task::{Outcome, OutputValue};
use crate::{ElementId, ExecutionId, Failure, Millis, PlanDigest, Status, TaskId};

/// One event. `seq` is dense per execution, from 1: the public cursor.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Sequence number, from 1.
    pub seq: u64,
    /// When it was decided.
    pub at: Millis,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(tag = "event", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum EventKind {
    // ---- any execution
    /// First event of a pipeline execution.
    PipelineStarted {
        /// Digest of the frozen plan.
        plan: PlanDigest,
        /// Who started it.
        cause: Cause,
        /// Notes.
        notes: String,
        /// For a resumed run: from what.
        resume: Option<Resume>,
    },
    /// First event of a workflow execution (leg or alone).
    WorkflowStarted {
        /// Digest of the frozen plan.
        plan: PlanDigest,
        /// Where in the plan.
        place: LegPlace,
        /// The pipeline execution, for legs.
        parent: Option<ExecutionId>,
        /// The first run of a chain of resumed ones, for legs: `${workflow.pipelineResumeUuid}`. Absent: `parent` itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        original: Option<ExecutionId>,
        /// Who started it.
        cause: Cause,
        /// Outputs published at PIPELINE scope by earlier stages.
        outputs: Published,
        /// `${workflow.releaseNo}`.
        release_no: u64,
    },
    /// Somebody asked for something.
    Requested {
        /// What.
        request: Request,
    },
    /// Last event: the execution has ended.
    Finished {
        /// Final status.
        status: Status,
        /// Why, when it did not end well.
        failure: Option<Failure>,
    },

    // ---- pipeline
    /// A stage begins.
    StageStarted {
        /// Index of the stage.
        stage: u32,
    },
    /// An element is not run.
    ElementSkipped {
        /// Index of the stage.
        stage: u32,
        /// Index of the element.
        element: u32,
        /// Why: `Skip always`, or the assertion with its values.
        reason: String,
    },
    /// An element could not be started (its skip condition cannot be evaluated, …).
    ElementFailed {
        /// Index of the stage.
        stage: u32,
        /// Index of the element.
        element: u32,
        /// Why.
        failure: Failure,
    },
    /// Legs were created, queued; ids follow from parent, element, ordinal and attempt.
    LegsCreated {
        /// Index of the stage.
        stage: u32,
        /// Index of the element.
        element: u32,
        /// First ordinal.
        from: u32,
        /// After the last ordinal.
        to: u32,
    },
    /// Legs ended; consumed from the completion rows in batches.
    LegsEnded {
        /// Their ends.
        ends: Vec<LegEnd>,
    },
    /// A stage ended.
    StageEnded {
        /// Index of the stage.
        stage: u32,
        /// Worst of its legs.
        status: Status,
    },

    // ---- leg
    /// The targets of the leg's phases, with expressions resolved.
    TargetsResolved {
        /// Per phase.
        phases: Vec<Option<ResolvedPhase>>,
    },
    /// The infrastructure lock was asked for (implicit step Acquire Resource Lock).
    LockRequested {
        /// All keys at once, sorted.
        keys: Vec<LockKey>,
    },
    /// The lock is held.
    LockGranted {},
    /// The queue for the lock is full.
    LockRefused {
        /// Its limit.
        limit: u32,
    },
    /// What was last deployed well on each mapping.
    LastGoodRecalled {
        /// By mapping; mappings never deployed to are absent.
        last_good: Vec<LastGood>,
    },
    /// A phase begins.
    PhaseStarted {
        /// Index of the phase.
        phase: u32,
        /// Whether it is its rollback.
        rollback: bool,
    },
    /// A phase ended.
    PhaseEnded {
        /// Index of the phase.
        phase: u32,
        /// Whether it is its rollback.
        rollback: bool,
        /// How.
        status: Status,
    },
    /// A section with a wait interval begins its wait.
    DelayStarted {
        /// First step of the section.
        step: StepKey,
        /// When it is over.
        due: Millis,
    },
    /// The wait is over.
    DelayEnded {
        /// First step of the section.
        step: StepKey,
    },
    /// A step is not run.
    StepSkipped {
        /// Step.
        step: StepKey,
        /// Why: assertion with values, no last good artifact, ….
        reason: String,
    },
    /// Intent: an attempt of a step begins.
    StepStarted {
        /// Step.
        step: StepKey,
        /// Attempt, from 1.
        attempt: u32,
        /// Expressions used and their values; secrets masked.
        values: BTreeMap<String, String>,
    },
    /// Intent: these tasks have been handed to the store for delegates.
    TasksIssued {
        /// Step.
        step: StepKey,
        /// Attempt.
        attempt: u32,
        /// Tasks.
        tasks: Vec<TaskIntent>,
    },
    /// Outcome of one task.
    TaskEnded {
        /// Step.
        step: StepKey,
        /// Attempt.
        attempt: u32,
        /// Task.
        task: TaskId,
        /// Host, for tasks per instance.
        instance: Option<String>,
        /// How.
        outcome: Outcome,
    },
    /// Outcome of an attempt of a step.
    StepEnded {
        /// Step.
        step: StepKey,
        /// Attempt.
        attempt: u32,
        /// How.
        status: Status,
        /// Why it failed.
        failure: Option<Failure>,
        /// What it published.
        published: Option<Publication>,
    },
    /// A node selection chose hosts for the rest of the phase.
    HostsSelected {
        /// Step.
        step: StepKey,
        /// Phase.
        phase: u32,
        /// Hosts.
        hosts: Vec<String>,
        /// Not to be chosen by later phases.
        exclude_from_future: bool,
    },
    /// A failure strategy acts on a failed attempt.
    StrategyChosen {
        /// Step.
        step: StepKey,
        /// Attempt.
        attempt: u32,
        /// Action.
        action: RepairAction,
        /// Where it stands: section or workflow level, which strategy, or why none applies.
        why: String,
    },
    /// No failure strategy applies to a failed attempt: the execution ends FAILED and nothing is rolled back.
    StrategyMissing {
        /// Step.
        step: StepKey,
        /// Attempt.
        attempt: u32,
        /// Why none applies.
        why: String,
    },
    /// The next attempt waits for its time.
    RetryScheduled {
        /// Step.
        step: StepKey,
        /// The attempt that comes.
        attempt: u32,
        /// Attempts allowed in all.
        #[serde(default)]
        of: u32,
        /// When.
        due: Millis,
    },
    /// Somebody is asked what to do.
    InterventionAsked {
        /// Step.
        step: StepKey,
        /// Attempt.
        attempt: u32,
        /// What may be answered.
        options: Vec<RepairAction>,
        /// When `after_timeout` is taken.
        until: Millis,
        /// Action after timeout.
        after_timeout: RepairAction,
    },
    /// The answer, or the action after timeout.
    InterventionAnswered {
        /// Step.
        step: StepKey,
        /// Attempt.
        attempt: u32,
        /// Answer.
        answer: RepairAction,
        /// By whom; `timeout` when nobody answered.
        by: String,
    },
    /// A person says whether an unsafe task ran.
    UnknownOutcomeAnswered {
        /// Step.
        step: StepKey,
        /// Attempt.
        attempt: u32,
        /// Host.
        instance: Option<String>,
        /// It ran.
        ran: bool,
        /// By whom.
        by: String,
    },
    /// The leg stands at a barrier.
    BarrierArrived {
        /// Step.
        step: StepKey,
        /// Identifier.
        identifier: String,
        /// When the wait fails.
        until: Millis,
    },
    /// All crossed.
    BarrierCrossed {
        /// Step.
        step: StepKey,
    },
    /// A sibling failed before it.
    BarrierBroken {
        /// Step.
        step: StepKey,
        /// Who.
        by: Option<ExecutionId>,
    },
    /// A step asked for permits of a resource constraint.
    PermitsRequested {
        /// What it asked for.
        request: PermitRequest,
        /// When the wait fails.
        until: Millis,
    },
    /// The step holds its permits.
    PermitsGranted {
        /// Step.
        step: StepKey,
    },
    /// The step gets no permits, however long it waits.
    PermitsRefused {
        /// Step.
        step: StepKey,
        /// Why.
        refusal: PermitRefusal,
    },
    /// The phase until whose end the step held its permits is over. What is held longer is freed with the end of the execution or its parent.
    PermitsReleased {
        /// Step.
        step: StepKey,
    },
    /// Rollback begins, newest phase first.
    RollbackStarted {
        /// Only this phase, or all begun ones.
        phase: Option<u32>,
        /// Only what deployed something (END_EXECUTION).
        deployed_only: bool,
        /// Why.
        why: String,
    },
    /// Rollback ended.
    RollbackEnded {
        /// How it went.
        mark: RollbackMark,
    },
}

/// Names the kinds: whoever adds one is told here, and by what is made of the list (crash points).
macro_rules! names {
    ($($kind:ident => $name:literal,)*) => {
        impl EventKind {
            /// Names of all kinds, as they stand in journals.
            pub const NAMES: &[&str] = &[$($name),*];

            /// Its name, as it stands in journals.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$kind { .. } => $name,)*
                }
            }
        }
    };
}

names! {
    PipelineStarted => "PIPELINE_STARTED",
    WorkflowStarted => "WORKFLOW_STARTED",
    Requested => "REQUESTED",
    Finished => "FINISHED",
    StageStarted => "STAGE_STARTED",
    ElementSkipped => "ELEMENT_SKIPPED",
    ElementFailed => "ELEMENT_FAILED",
    LegsCreated => "LEGS_CREATED",
    LegsEnded => "LEGS_ENDED",
    StageEnded => "STAGE_ENDED",
    TargetsResolved => "TARGETS_RESOLVED",
    LockRequested => "LOCK_REQUESTED",
    LockGranted => "LOCK_GRANTED",
    LockRefused => "LOCK_REFUSED",
    LastGoodRecalled => "LAST_GOOD_RECALLED",
    PhaseStarted => "PHASE_STARTED",
    PhaseEnded => "PHASE_ENDED",
    DelayStarted => "DELAY_STARTED",
    DelayEnded => "DELAY_ENDED",
    StepSkipped => "STEP_SKIPPED",
    StepStarted => "STEP_STARTED",
    TasksIssued => "TASKS_ISSUED",
    TaskEnded => "TASK_ENDED",
    StepEnded => "STEP_ENDED",
    HostsSelected => "HOSTS_SELECTED",
    StrategyChosen => "STRATEGY_CHOSEN",
    StrategyMissing => "STRATEGY_MISSING",
    RetryScheduled => "RETRY_SCHEDULED",
    InterventionAsked => "INTERVENTION_ASKED",
    InterventionAnswered => "INTERVENTION_ANSWERED",
    UnknownOutcomeAnswered => "UNKNOWN_OUTCOME_ANSWERED",
    BarrierArrived => "BARRIER_ARRIVED",
    BarrierCrossed => "BARRIER_CROSSED",
    BarrierBroken => "BARRIER_BROKEN",
    PermitsRequested => "PERMITS_REQUESTED",
    PermitsGranted => "PERMITS_GRANTED",
    PermitsRefused => "PERMITS_REFUSED",
    PermitsReleased => "PERMITS_RELEASED",
    RollbackStarted => "ROLLBACK_STARTED",
    RollbackEnded => "ROLLBACK_ENDED",
}

/// How a rollback went, a field of its own beside the status (`behaviour.md` 13.1).
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RollbackMark {
    /// All rollback steps ended well.
    RolledBack,
    /// Nothing could be rolled back (no last good artifact).
    NotRolledBack,
    /// A rollback step failed.
    RollbackFailed,
}

/// Place of a leg in its plan.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
pub struct LegPlace {
    /// Index of the stage.
    pub stage: u32,
    /// Index of the element.
    pub element: u32,
    /// Ordinal of the leg.
    pub leg: u32,
}

/// A resumed run (`behaviour.md` 9.7).
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Resume {
    /// The run that is resumed.
    pub from: ExecutionId,
    /// The first run of the chain: `${workflow.pipelineResumeUuid}`.
    pub original: ExecutionId,
    /// First stage that runs again.
    pub stage: u32,
    /// Statuses of the stages before.
    pub statuses: Vec<Status>,
    /// Legs of the stages before, for display.
    pub legs: Vec<LegEnd>,
    /// What the stages before published at PIPELINE scope.
    pub outputs: Published,
}

/// Outputs by publish name, then by variable.
pub type Published = BTreeMap<String, PublishedValue>;

/// What stands under a publish name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub enum PublishedValue {
    /// Variables of one publisher.
    Values(BTreeMap<String, OutputValue>),
    /// Of several legs, by infrastructure name (D11).
    PerInfrastructure(BTreeMap<String, BTreeMap<String, OutputValue>>),
}

/// Scope of a publication (`sweepingOutputScope`).
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Scope {
    /// Later stages too.
    Pipeline,
    /// The workflow execution.
    Workflow,
    /// The phase.
    Phase,
}

/// What a step published.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Publication {
    /// Publish name (`sweepingOutputName`).
    pub name: String,
    /// Scope.
    pub scope: Scope,
    /// Variables.
    pub values: BTreeMap<String, OutputValue>,
}

/// A task that was handed out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct TaskIntent {
    /// Id.
    pub task: TaskId,
    /// Host, for tasks per instance.
    pub instance: Option<String>,
}

/// The target of a phase.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedPhase {
    /// Target.
    pub target: Target,
    /// Mapping, when the phase has a service.
    pub mapping: Option<MappingKey>,
    /// Keys of the infrastructure item with expressions resolved.
    pub properties: serde_json::Map<String, serde_json::Value>,
}

/// Newest success on a mapping before this run.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct LastGood {
    /// Mapping.
    pub mapping: MappingKey,
    /// Artifact deployed then, if any.
    pub artifact: Option<Artifact>,
    /// `${workflow.lastGoodReleaseNo}`.
    pub release_no: u64,
    /// `${workflow.lastGoodDeploymentDisplayName}`.
    pub display_name: String,
    /// The execution.
    pub execution: ExecutionId,
}

/// How a leg ended.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct LegEnd {
    /// The leg.
    pub execution: ExecutionId,
    /// Place in the plan.
    pub place: LegPlace,
    /// Element.
    pub element: ElementId,
    /// Final status.
    pub status: Status,
    /// Why, when it did not end well.
    pub failure: Option<Failure>,
    /// What it published at PIPELINE scope.
    pub outputs: BTreeMap<String, BTreeMap<String, OutputValue>>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_are_those_of_journals() {
        let unknown = serde_json::from_value::<EventKind>(serde_json::json!({ "event": "?" })).unwrap_err();
        let unknown = unknown.to_string();
        let known: Vec<&str> = unknown.split('`').skip(3).step_by(2).collect();
        assert_eq!(known, EventKind::NAMES);
        assert_eq!(EventKind::LockGranted {}.name(), "LOCK_GRANTED");
    }
}
