//! What goes into an execution and what comes out of it.

use manifold_model::artifact::Artifact;
use manifold_model::constraint::{PermitRefusal, PermitRequest};
use manifold_model::event::{Event, LastGood, LegEnd};
use manifold_model::plan::StepKey;
use manifold_model::request::Request;
use manifold_model::target::{LockKey, MappingKey};
use manifold_model::task::{Outcome, Task};
use manifold_model::{EntityId, ExecutionId, Millis, Status, TaskId};

/// Something from outside. What does not fit the state any more (the outcome of a task that is not open, a second answer, a timer that was
/// dropped) changes nothing.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// Somebody asks for something.
    Request(Request),
    /// A task ended.
    TaskEnded {
        /// Task.
        task: TaskId,
        /// How.
        outcome: Outcome,
    },
    /// A timer is due.
    Timer {
        /// Its key.
        key: String,
    },
    /// The lock is held.
    LockGranted,
    /// The queue for the lock is full.
    LockRefused {
        /// Its limit.
        limit: u32,
    },
    /// Answer to [`Command::RecallLastGood`]; mappings never deployed to are absent.
    LastGood(Vec<LastGood>),
    /// A barrier opened or broke.
    Barrier {
        /// Identifier.
        identifier: String,
        /// `None`: all crossed; else who failed before it.
        broken_by: Option<ExecutionId>,
    },
    /// A step's request for permits was granted.
    PermitsGranted {
        /// Step.
        step: StepKey,
        /// Attempt that asked.
        attempt: u32,
    },
    /// A step's request for permits was refused.
    PermitsRefused {
        /// Step.
        step: StepKey,
        /// Attempt that asked.
        attempt: u32,
        /// Why.
        refusal: PermitRefusal,
    },
    /// Legs ended (pipelines). Ends that are known already change nothing.
    LegsEnded(Vec<LegEnd>),
}

/// What the caller does in the transaction that appends the events, or right after it.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// Hand a task out.
    Issue(Box<Task>),
    /// These tasks are no longer wanted; each must still end, as [`manifold_model::task::TaskResult::Cancelled`] when it was stopped.
    CancelTasks(Vec<TaskId>),
    /// Set a timer; setting a key again moves it.
    SetTimer {
        /// Key, unique in the execution.
        key: String,
        /// When.
        due: Millis,
    },
    /// Drop a timer.
    DropTimer {
        /// Key.
        key: String,
    },
    /// Take all these locks at once or queue for them; answered by [`Input::LockGranted`] or [`Input::LockRefused`].
    Lock {
        /// Keys, sorted.
        keys: Vec<LockKey>,
    },
    /// Give all locks back.
    Unlock,
    /// Read the newest success on each mapping; answered by [`Input::LastGood`]. Reading again is harmless.
    RecallLastGood(Vec<MappingKey>),
    /// Arrive at a barrier; answered by [`Input::Barrier`].
    ArriveBarrier {
        /// Identifier.
        identifier: String,
    },
    /// Leave all barriers of the stage.
    LeaveBarriers {
        /// Whether the leg ended well (counts as arrived) or not (breaks those that are not crossed).
        well: bool,
    },
    /// Take permits or queue for them; answered by [`Input::PermitsGranted`] or [`Input::PermitsRefused`].
    AskPermits(PermitRequest),
    /// Give back what a step holds, or its place in the queue.
    GiveBackPermits {
        /// Step.
        step: StepKey,
    },
    /// The execution ended: give back everything but what is held until the parent's end; of a parent, what its legs held until then.
    LeaveConstraints,
    /// Create these legs, queued (pipelines). All such commands of one advance together name at most
    /// [`crate::LEGS_PER_ADVANCE`] legs.
    CreateLegs {
        /// Stage.
        stage: u32,
        /// Element.
        element: u32,
        /// First ordinal.
        from: u32,
        /// After the last ordinal.
        to: u32,
    },
    /// Pass a request on to every leg that has been created and has not ended (pipelines).
    SendToLegs(Request),
    /// Write a line of deployment history.
    Deployed(Deployed),
    /// Tell the parent (legs).
    Complete(LegEnd),
}

/// A line of deployment history: what runs where.
#[derive(Clone, PartialEq, Debug)]
pub struct Deployed {
    /// Mapping.
    pub mapping: MappingKey,
    /// Service.
    pub service: EntityId,
    /// Infrastructure definition.
    pub infrastructure: EntityId,
    /// Artifact, if any.
    pub artifact: Option<Artifact>,
    /// Final status of the execution.
    pub status: Status,
    /// `${workflow.releaseNo}`.
    pub release_no: u64,
    /// `${workflow.displayName}`.
    pub display_name: String,
}

/// What one call decided.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Advance {
    /// Events, numbered on from the last one, already folded into the state.
    pub events: Vec<Event>,
    /// What to do about them, in order.
    pub commands: Vec<Command>,
    /// More can be decided at once, but not in the same transaction (the limit of legs per transaction): call again without inputs.
    pub more: bool,
}
