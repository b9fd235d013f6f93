//! A workflow execution: a leg of a fan-out, or one started alone.

use std::sync::Arc;

use manifold_model::event::Event;
use manifold_model::execution::RowState;
use manifold_model::plan::Plan;
use manifold_model::{ExecutionId, Millis, TaskId};

use crate::advance::{Advance, Command, Input};
use crate::view::LegView;

/// State of a workflow execution.
#[derive(Clone, Debug)]
pub struct Leg {
    plan: Arc<Plan>,
    id: ExecutionId,
    seq: u64,
}

impl Leg {
    /// A workflow execution of this plan: nothing has been folded yet.
    #[must_use]
    pub fn new(plan: Arc<Plan>, id: ExecutionId) -> Self {
        Self { plan, id, seq: 0 }
    }

    /// Folds the next event. An event that does not fit the plan changes nothing but the sequence number.
    pub fn fold(&mut self, event: &Event) {
        self.seq = event.seq;
    }

    /// Takes inputs in, then decides until nothing more can be decided now.
    pub fn advance(&mut self, _inputs: &[Input], _now: Millis) -> Advance {
        Advance::default()
    }

    /// The commands whose answers may have been lost when the process that gave them died. Call it once after folding a stored journal and
    /// carry them out again: each is harmless when repeated.
    #[must_use]
    pub fn recover(&self) -> Vec<Command> {
        Vec::new()
    }

    /// Tasks that were handed out and have not ended, in the order of their intents.
    #[must_use]
    pub fn outstanding(&self) -> Vec<TaskId> {
        Vec::new()
    }

    /// The row for lists.
    #[must_use]
    pub fn row(&self) -> RowState {
        RowState { seq: self.seq, ..RowState::default() }
    }
}

impl Leg {
    /// For a screen.
    #[must_use]
    pub fn view(&self) -> LegView {
        let _ = (&self.plan, &self.id);
        LegView { status: self.row().status, failure: None, rollback: None, phases: Vec::new() }
    }
}
