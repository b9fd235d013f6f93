//! State of a pipeline execution: what its events say, and nothing else.

use std::collections::BTreeMap;

use manifold_model::event::{Event, EventKind, LegEnd, Published, PublishedValue};
use manifold_model::plan::{ElementPlan, FleetPlan, Plan};
use manifold_model::request::{Action, Cause};
use manifold_model::wait::{Wait, WaitReason};
use manifold_model::{ExecutionId, Failure, Millis, Status};

/// An element of a stage that was looked at.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Element {
    pub skipped: Option<String>,
    pub failed: Option<Failure>,
    pub created: u32,
    pub ended: BTreeMap<u32, LegEnd>,
}

/// A stage that began.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Stage {
    pub started_at: Millis,
    pub ended: Option<(Millis, Status)>,
    pub elements: BTreeMap<u32, Element>,
}

/// Somebody's request that holds.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Asked {
    pub by: String,
    pub reason: String,
    pub at: Millis,
}

/// The fold of the journal.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct State {
    pub seq: u64,
    pub started: Option<(Millis, Cause)>,
    pub began_at: Option<Millis>,
    /// First stage that runs, of a resumed run.
    pub first: u32,
    /// First run of the chain, of a resumed run.
    pub original: Option<ExecutionId>,
    pub stages: BTreeMap<u32, Stage>,
    pub outputs: Published,
    pub abort: Option<Asked>,
    pub paused: Option<Asked>,
    pub end: Option<(Millis, Status, Option<Failure>)>,
}

/// Legs that an element starts.
pub(super) fn planned(element: &ElementPlan) -> u32 {
    element.fleet.as_ref().map_or(0, |fleet| u32::try_from(fleet.legs.len()).unwrap_or(u32::MAX))
}

impl Element {
    pub(super) fn running(&self) -> u32 {
        self.created.saturating_sub(u32::try_from(self.ended.len()).unwrap_or(u32::MAX))
    }

    pub(super) fn is_decided(&self) -> bool {
        self.skipped.is_some() || self.failed.is_some()
    }

    pub(super) fn is_over(&self, plan: &ElementPlan) -> bool {
        self.status(plan).is_some()
    }

    /// The final status: of a skipped one, of one that could not start, or the worst of all legs.
    pub(super) fn status(&self, plan: &ElementPlan) -> Option<Status> {
        if self.skipped.is_some() {
            return Some(Status::Skipped);
        }
        if self.failed.is_some() {
            return Some(Status::Failed);
        }
        let planned = planned(plan) as usize;
        (planned > 0 && self.ended.len() >= planned).then(|| self.worst()).flatten()
    }

    pub(super) fn worst(&self) -> Option<Status> {
        Status::worst(self.ended.values().map(|end| end.status))
    }
}

impl State {
    pub(super) fn fold(&mut self, event: &Event, plan: &Plan) {
        self.seq = event.seq;
        let at = event.at;
        if self.began_at.is_none() && self.started.is_some() {
            self.began_at = Some(at);
        }
        match &event.kind {
            EventKind::PipelineStarted { cause, resume, .. } => {
                self.started = Some((at, cause.clone()));
                let Some(resume) = resume else { return };
                self.first = resume.stage;
                self.original = Some(resume.original.clone());
                self.outputs = resume.outputs.clone();
                for (stage, status) in (0..resume.stage).zip(&resume.statuses) {
                    let ended = Some((at, *status));
                    self.stages.insert(stage, Stage { started_at: at, ended, elements: BTreeMap::new() });
                }
                for end in &resume.legs {
                    self.leg_ended(end, plan, true);
                }
            }
            EventKind::Requested { request } => {
                let asked = Asked { by: request.by.clone(), reason: request.reason.clone(), at };
                match request.action {
                    Action::Abort => {
                        self.paused = None;
                        self.abort = Some(asked);
                    }
                    Action::Pause => self.paused = Some(asked),
                    Action::Continue => self.paused = None,
                    _ => {}
                }
            }
            EventKind::StageStarted { stage } => {
                let begun = Stage { started_at: at, ..Stage::default() };
                self.stages.insert(*stage, begun);
            }
            EventKind::ElementSkipped { stage, element, reason } => {
                self.element(*stage, *element).skipped = Some(reason.clone());
            }
            EventKind::ElementFailed { stage, element, failure } => {
                self.element(*stage, *element).failed = Some(failure.clone());
            }
            EventKind::LegsCreated { stage, element, to, .. } => {
                self.element(*stage, *element).created = *to;
            }
            EventKind::LegsEnded { ends } => ends.iter().for_each(|end| self.leg_ended(end, plan, false)),
            EventKind::StageEnded { stage, status } => {
                if let Some(stage) = self.stages.get_mut(stage) {
                    stage.ended = Some((at, *status));
                }
                self.publish(*stage, plan);
            }
            EventKind::Finished { status, failure } => {
                self.end = Some((at, *status, failure.clone()));
                self.paused = None;
            }
            _ => {}
        }
    }

    pub(super) fn element(&mut self, stage: u32, element: u32) -> &mut Element {
        self.stages.entry(stage).or_default().elements.entry(element).or_default()
    }

    /// Takes a leg's end in. Legs of the run that was resumed are there for display.
    pub(super) fn leg_ended(&mut self, end: &LegEnd, plan: &Plan, resumed: bool) {
        let Some(element) = plan.element(end.place.stage, end.place.element) else { return };
        let planned = planned(element);
        let state = self.element(end.place.stage, end.place.element);
        if resumed {
            state.created = planned;
        }
        state.ended.entry(end.place.leg).or_insert_with(|| end.clone());
    }

    pub(super) fn is_known(&self, end: &LegEnd) -> bool {
        let element =
            self.stages.get(&end.place.stage).and_then(|stage| stage.elements.get(&end.place.element));
        element.is_none_or(|element| {
            end.place.leg >= element.created || element.ended.contains_key(&end.place.leg)
        })
    }

    /// Adds what the legs of a stage published: one publisher's variables as they are, several legs' by infrastructure name (D11).
    pub(super) fn publish(&mut self, stage: u32, plan: &Plan) {
        let Some(state) = self.stages.get(&stage) else { return };
        let mut added = Published::new();
        for (place, element) in &state.elements {
            let Some(fleet) = plan.element(stage, *place).and_then(|element| element.fleet.as_ref()) else {
                continue;
            };
            for end in element.ended.values() {
                for (name, values) in &end.outputs {
                    if fleet.legs.len() <= 1 {
                        added.insert(name.clone(), PublishedValue::Values(values.clone()));
                        continue;
                    }
                    let infrastructure = infrastructure_name(plan, fleet, end.place.leg);
                    let entry = added
                        .entry(name.clone())
                        .or_insert_with(|| PublishedValue::PerInfrastructure(BTreeMap::new()));
                    if let PublishedValue::PerInfrastructure(legs) = entry {
                        legs.insert(infrastructure, values.clone());
                    }
                }
            }
        }
        self.outputs.extend(added);
    }

    pub(super) fn open_stage(&self) -> Option<(u32, &Stage)> {
        self.stages.iter().find(|(_, stage)| stage.ended.is_none()).map(|(index, stage)| (*index, stage))
    }

    pub(super) fn running(&self) -> u32 {
        self.stages.values().flat_map(|stage| stage.elements.values()).map(Element::running).sum()
    }

    pub(super) fn status(&self, plan: &Plan) -> Status {
        if let Some((_, status, _)) = &self.end {
            return *status;
        }
        if self.began_at.is_none() {
            return Status::Queued;
        }
        if self.abort.is_some() {
            return Status::Aborting;
        }
        match &self.paused {
            None => Status::Running,
            Some(_) if self.waits(plan).iter().any(|wait| matches!(wait.reason, WaitReason::Legs { .. })) => {
                Status::Pausing
            }
            Some(_) => Status::Paused,
        }
    }

    pub(super) fn waits(&self, plan: &Plan) -> Vec<Wait> {
        let Some((started, _)) = self.started.as_ref().filter(|_| self.end.is_none()) else {
            return Vec::new();
        };
        let mut waits = Vec::new();
        let wait = |since, reason| Wait { step: None, since, reason };
        if let Some(paused) = self.paused.as_ref() {
            waits.push(wait(paused.at, WaitReason::Paused { by: paused.by.clone() }));
        }
        if let Some((index, stage)) = self.open_stage() {
            let of =
                plan.stages.get(index as usize).map_or(0, |plan| plan.elements.iter().map(planned).sum());
            let done: usize = stage.elements.values().map(|element| element.ended.len()).sum();
            if self.running() > 0 || self.paused.is_none() {
                let done = u32::try_from(done).unwrap_or(u32::MAX);
                waits.push(wait(stage.started_at, WaitReason::Legs { done, of }));
            }
        }
        if waits.is_empty() && self.began_at.is_none() {
            let reason = WaitReason::Turn {};
            waits.push(wait(*started, reason));
        }
        waits
    }
}

/// Name of the infrastructure of a leg; its ordinal when it has none.
pub(super) fn infrastructure_name(plan: &Plan, fleet: &FleetPlan, leg: u32) -> String {
    fleet
        .legs
        .get(leg as usize)
        .and_then(|leg| plan.infrastructures.get(leg.infrastructure? as usize))
        .map_or_else(|| leg.to_string(), |infrastructure| infrastructure.name.clone())
}
