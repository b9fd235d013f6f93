//! Where outcomes rest until the server has recorded them.

mod disk;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Mutex, PoisonError};

use manifold_link::{Lease, LogChunk, OutcomeAck, TaskOutcome};
use manifold_model::TaskId;

use crate::limits::MAX_STALE_OUTCOMES;

pub use disk::DiskSpool;

/// Keeps outcomes until they are acknowledged. On disk for a delegate of its own; inside the server memory suffices, because a command's
/// marker tells the outcome after a crash (`design.md` 6). Bounded by the delegate's places.
pub trait Spool: Send + Sync {
    /// Makes an outcome outlive the delegate, with the log chunks of its task that the server does not have yet. Blocks on the disk; comes before
    /// [`Spool::keep`]. The log of a task that runs needs none of this: what the delegate finds running after a crash tells its output again.
    ///
    /// # Errors
    /// The disk takes nothing.
    fn persist(&self, _ended: &TaskOutcome, _chunks: &[LogChunk]) -> io::Result<()> {
        Ok(())
    }

    /// Log chunks that an earlier life of the delegate left.
    fn chunks(&self) -> Vec<LogChunk> {
        Vec::new()
    }

    /// Keeps an outcome; replaces an earlier one of the same task.
    fn keep(&self, outcome: TaskOutcome);
    /// Takes an acknowledgement; `true` when it was for the outcome kept. A stale outcome is set aside: it is not sent again, but found
    /// by [`Spool::take_over`].
    fn acknowledge(&self, ack: &OutcomeAck) -> bool;
    /// The task was handed out again: its outcome, if one is kept or set aside, from now on under the new lease.
    fn take_over(&self, task: &TaskId, lease: &Lease) -> Option<TaskOutcome>;
    /// What has to be sent again on a new connection.
    fn unacknowledged(&self) -> Vec<TaskOutcome>;
}

/// A spool in memory.
#[derive(Default)]
pub struct MemorySpool {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: HashMap<TaskId, TaskOutcome>,
    stale: HashMap<TaskId, TaskOutcome>,
    /// Order in which outcomes went stale; may name tasks that were taken over since.
    stale_order: VecDeque<TaskId>,
}

/// What an acknowledgement did.
struct Taken {
    /// It was for the outcome kept.
    known: bool,
    /// Tasks whose outcomes nobody needs any more.
    forgotten: Vec<TaskId>,
}

impl MemorySpool {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_ack(&self, ack: &OutcomeAck) -> Taken {
        let mut state = self.state();
        let nothing = Taken { known: false, forgotten: Vec::new() };
        if state.kept.get(&ack.task).is_none_or(|kept| kept.lease.fence != ack.fence) {
            return nothing;
        }
        let Some(outcome) = state.kept.remove(&ack.task) else { return nothing };
        if ack.recorded {
            return Taken { known: true, forgotten: vec![ack.task.clone()] };
        }
        let mut forgotten = Vec::new();
        state.stale_order.push_back(ack.task.clone());
        state.stale.insert(ack.task.clone(), outcome);
        while state.stale_order.len() > MAX_STALE_OUTCOMES {
            if let Some(oldest) = state.stale_order.pop_front()
                && state.stale.remove(&oldest).is_some()
            {
                forgotten.push(oldest);
            }
        }
        Taken { known: true, forgotten }
    }
}

impl Spool for MemorySpool {
    fn keep(&self, outcome: TaskOutcome) {
        self.state().kept.insert(outcome.task.clone(), outcome);
    }

    fn acknowledge(&self, ack: &OutcomeAck) -> bool {
        self.take_ack(ack).known
    }

    fn take_over(&self, task: &TaskId, lease: &Lease) -> Option<TaskOutcome> {
        let mut state = self.state();
        let mut outcome = match state.kept.remove(task) {
            Some(outcome) => outcome,
            None => state.stale.remove(task)?,
        };
        outcome.lease = lease.clone();
        state.kept.insert(task.clone(), outcome.clone());
        Some(outcome)
    }

    fn unacknowledged(&self) -> Vec<TaskOutcome> {
        self.state().kept.values().cloned().collect()
    }
}
