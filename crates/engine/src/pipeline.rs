//! A pipeline execution: a thin parent of legs.

use std::sync::Arc;

use manifold_model::event::{Event, Published};
use manifold_model::execution::RowState;
use manifold_model::plan::Plan;
use manifold_model::{ExecutionId, Millis};

use crate::advance::{Advance, Command, Input};
use crate::view::PipelineView;

/// Most legs that one advance creates, so that they fit one transaction (`design.md` 4.3).
pub const LEGS_PER_ADVANCE: u32 = 500;

/// State of a pipeline execution.
#[derive(Clone, Debug)]
pub struct PipelineRun {
    plan: Arc<Plan>,
    id: ExecutionId,
    seq: u64,
    outputs: Published,
}

impl PipelineRun {
    /// A pipeline execution of this plan: nothing has been folded yet.
    #[must_use]
    pub fn new(plan: Arc<Plan>, id: ExecutionId) -> Self {
        Self { plan, id, seq: 0, outputs: Published::new() }
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

    /// The row for lists.
    #[must_use]
    pub fn row(&self) -> RowState {
        RowState { seq: self.seq, ..RowState::default() }
    }
}

impl PipelineRun {
    /// For a screen.
    #[must_use]
    pub fn view(&self) -> PipelineView {
        let _ = (&self.plan, &self.id);
        PipelineView { status: self.row().status, failure: None, stages: Vec::new() }
    }

    /// What the legs of a stage are started with: the outputs published at PIPELINE scope by the stages before it.
    #[must_use]
    pub fn outputs(&self) -> &Published {
        &self.outputs
    }
}
