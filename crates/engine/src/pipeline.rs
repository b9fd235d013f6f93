//! A pipeline execution: a thin parent of legs. It creates the legs of a stage, hears of their ends, and goes on when all have ended
//! (`behaviour.md` 4, 9).

mod decide;
mod scope;
mod state;

use std::sync::Arc;

use manifold_model::event::{Event, LegEnd, Published};
use manifold_model::execution::RowState;
use manifold_model::plan::{ElementPlan, Plan, StagePlan};
use manifold_model::request::Cause;
use manifold_model::{ExecutionId, Millis, Status};

use crate::advance::{Advance, Command, Input};
use crate::view::{ElementView, LegStatus, PipelineView, StageView};
use decide::Decider;
use state::{Element, State, planned};

/// Most legs that one advance creates, so that they fit one transaction (`design.md` 4.3).
pub const LEGS_PER_ADVANCE: u32 = 500;

/// State of a pipeline execution.
#[derive(Clone, Debug)]
pub struct PipelineRun {
    plan: Arc<Plan>,
    id: ExecutionId,
    state: State,
}

/// Two pipeline executions are the same when their journals say the same.
impl PartialEq for PipelineRun {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.state == other.state
    }
}

impl PipelineRun {
    /// A pipeline execution of this plan: nothing has been folded yet.
    #[must_use]
    pub fn new(plan: Arc<Plan>, id: ExecutionId) -> Self {
        Self { plan, id, state: State::default() }
    }

    /// Folds the next event. An event that does not fit the plan changes nothing but the sequence number.
    pub fn fold(&mut self, event: &Event) {
        self.state.fold(event, &self.plan);
    }

    /// Takes inputs in, then decides until nothing more can be decided now.
    pub fn advance(&mut self, inputs: &[Input], now: Millis) -> Advance {
        if self.state.started.is_none() || self.state.end.is_some() {
            return Advance::default();
        }
        let plan = Arc::clone(&self.plan);
        let mut decider = Decider {
            plan: &plan,
            id: &self.id,
            state: &mut self.state,
            now,
            room: LEGS_PER_ADVANCE,
            out: Advance::default(),
        };
        for input in inputs {
            decider.receive(input);
        }
        decider.decide();
        decider.out
    }

    /// The commands whose answers may have been lost when the process that gave them died. Call it once after folding a stored journal and
    /// carry them out again: each is harmless when repeated.
    #[must_use]
    pub fn recover(&self) -> Vec<Command> {
        // Legs, requests to them and their completions are rows; nothing is answered from memory.
        Vec::new()
    }

    /// What the legs of the next stage are started with: the outputs published at PIPELINE scope by the stages that have ended.
    #[must_use]
    pub fn outputs(&self) -> &Published {
        &self.state.outputs
    }

    /// Who started it: what its legs answer to `${deploymentTriggeredBy}`, so their first event should name the same.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        self.state.started.as_ref().map(|(_, cause)| cause)
    }

    /// The first run of the chain when this one resumes another: what its legs answer to `${workflow.pipelineResumeUuid}`.
    #[must_use]
    pub fn original(&self) -> Option<&ExecutionId> {
        self.state.original.as_ref()
    }

    /// The row for lists.
    #[must_use]
    pub fn row(&self) -> RowState {
        let waits = self.state.waits(&self.plan);
        let open = self.state.open_stage();
        let end = self.state.end.as_ref();
        let (mut done, mut total) = (0, 0);
        for (index, stage) in (0..).zip(&self.plan.stages) {
            total += u32::try_from(stage.elements.len()).unwrap_or(u32::MAX);
            let begun = self.state.stages.get(&index);
            for (place, element) in (0..).zip(&stage.elements) {
                let ended = begun.and_then(|stage| stage.elements.get(&place));
                done +=
                    u32::from(index < self.state.first || ended.is_some_and(|ended| ended.is_over(element)));
            }
        }
        RowState {
            status: self.state.status(&self.plan),
            started_at: self.state.began_at,
            ended_at: end.map(|(at, ..)| *at),
            doing: open
                .filter(|_| end.is_none())
                .and_then(|(index, _)| self.plan.stages.get(index as usize))
                .map(|stage| stage.name.clone()),
            waits,
            failure: end.and_then(|(_, _, failure)| failure.clone()),
            rollback: None,
            steps_done: done,
            steps_total: total,
            seq: self.state.seq,
        }
    }

    /// For a screen.
    #[must_use]
    pub fn view(&self) -> PipelineView {
        let stages =
            (0..).zip(&self.plan.stages).map(|(index, stage)| self.stage_view(index, stage)).collect();
        let failure = self.state.end.as_ref().and_then(|(_, _, failure)| failure.clone());
        PipelineView { status: self.state.status(&self.plan), failure, stages }
    }

    fn stage_view(&self, index: u32, plan: &StagePlan) -> StageView {
        let state = self.state.stages.get(&index);
        let elements: Vec<ElementView> = (0..)
            .zip(&plan.elements)
            .map(|(place, element)| {
                element_view(place, element, state.and_then(|stage| stage.elements.get(&place)))
            })
            .collect();
        let status = match state.and_then(|stage| stage.ended) {
            Some((_, status)) => status,
            None if state.is_some() => {
                let together = Status::together(elements.iter().map(|element| element.status));
                if together.is_final() || together == Status::Queued { Status::Running } else { together }
            }
            None => Status::Queued,
        };
        StageView {
            stage: index,
            name: plan.name.clone(),
            status,
            started_at: state.map(|stage| stage.started_at).filter(|_| index >= self.state.first),
            ended_at: state
                .and_then(|stage| stage.ended)
                .map(|(at, _)| at)
                .filter(|_| index >= self.state.first),
            elements,
        }
    }
}

fn element_view(place: u32, plan: &ElementPlan, state: Option<&Element>) -> ElementView {
    let empty = Element::default();
    let state = state.unwrap_or(&empty);
    let leg = |(leg, end): (&u32, &LegEnd)| LegStatus {
        leg: *leg,
        execution: end.execution.clone(),
        status: end.status,
        failure: end.failure.clone(),
    };
    let status = match state.status(plan) {
        Some(status) => status,
        None if state.created > 0 => Status::Running,
        None => Status::Queued,
    };
    ElementView {
        element: place,
        id: plan.id.clone(),
        name: plan.name.clone(),
        status,
        skipped: state.skipped.clone(),
        failure: state.failed.clone(),
        planned: planned(plan),
        created: state.created,
        ended: state.ended.iter().map(leg).collect(),
    }
}
