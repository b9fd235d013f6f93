//! Why something is not being done right now. No state waits without one (`design.md` 4.8).

use serde::{Deserialize, Serialize};

use crate::constraint::PermitHolder;
use crate::plan::StepKey;
use crate::{ExecutionId, Millis, Status};

/// One wait of an execution.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Wait {
    /// The step that waits; `None` when the execution as a whole does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepKey>,
    /// Since when.
    pub since: Millis,
    /// For what.
    pub reason: WaitReason,
}

/// For what something waits, and what ends the wait.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "for", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum WaitReason {
    /// The infrastructure lock on service × target.
    Lock {
        /// What is locked, as shown to people.
        target: String,
        /// Who holds it, when known.
        holder: Option<ExecutionId>,
        /// Place in the queue, from 1, when known.
        place: Option<u32>,
    },
    /// The siblings at a barrier.
    Barrier {
        /// Barrier identifier.
        identifier: String,
        /// How many have arrived.
        arrived: u32,
        /// How many take part.
        of: u32,
        /// When the wait fails.
        until: Millis,
    },
    /// Permits of a resource constraint.
    Constraint {
        /// Name of the constraint.
        constraint: String,
        /// Unit; empty: account-wide.
        unit: String,
        /// Permits wanted.
        permits: u32,
        /// Permits that nobody holds, when known.
        free: Option<u32>,
        /// The first few that hold some, when known.
        #[serde(default)]
        holders: Vec<PermitHolder>,
        /// Place in the queue, from 1, when known.
        place: Option<u32>,
        /// When the wait fails.
        until: Millis,
    },
    /// The next attempt of a retried step.
    Retry {
        /// The attempt that comes next, from 1.
        attempt: u32,
        /// Attempts allowed in all.
        of: u32,
        /// When it is due.
        due: Millis,
    },
    /// A section's `waitInterval`.
    Delay {
        /// When it ends.
        due: Millis,
    },
    /// Somebody's decision about a failed step.
    Intervention {
        /// What was wrong.
        failure: String,
        /// The actions that may be answered.
        options: Vec<crate::entity::RepairAction>,
        /// When the strategy's action after timeout is taken.
        until: Millis,
    },
    /// Somebody's word whether an unsafe task ran.
    UnknownOutcome {
        /// Host, when the task had one.
        instance: Option<String>,
        /// What was found.
        seen: String,
    },
    /// A delegate to take the task.
    Delegate {
        /// Selectors wanted.
        selectors: Vec<String>,
        /// Why those that are there did not take it.
        detail: String,
        /// When it fails.
        until: Millis,
    },
    /// A task to come back from a delegate.
    Task {
        /// How many tasks of the step are out.
        running: u32,
    },
    /// The legs of a stage.
    Legs {
        /// Ended so far.
        done: u32,
        /// In all.
        of: u32,
    },
    /// Continue after a pause.
    Paused {
        /// Who paused.
        by: String,
    },
    /// Running tasks to stop after an abort.
    Stopping {
        /// How many have not stopped.
        running: u32,
        /// When the execution counts as stuck.
        until: Millis,
    },
    /// The store's answer to what was last deployed on the targets.
    History {},
    /// Its turn: the server is about to take it up.
    Turn {},
    /// A limit on how much runs at once.
    Limit {
        /// Which.
        name: String,
        /// How many may.
        allowed: u32,
    },
}

impl WaitReason {
    /// The inner status of an execution that waits for this alone (`behaviour.md` 13.1): people's decisions pause it, a task or legs
    /// in flight run, everything else waits.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Intervention { .. } | Self::UnknownOutcome { .. } | Self::Paused { .. } => Status::Paused,
            Self::Task { .. } | Self::Legs { .. } => Status::Running,
            Self::Stopping { .. } => Status::Aborting,
            _ => Status::Waiting,
        }
    }
}
