//! A pipeline execution: a thin parent of legs. It creates the legs of a stage, hears of their ends, and goes on when all have ended
//! (`behaviour.md` 4, 9).

use std::collections::BTreeMap;
use std::sync::Arc;

use manifold_expression::{Lookup, Scope, Value, condition};
use manifold_model::entity::StageSkip;
use manifold_model::event::{Event, EventKind, LegEnd, Published, PublishedValue};
use manifold_model::execution::RowState;
use manifold_model::plan::{ElementPlan, FleetPlan, Plan, StagePlan};
use manifold_model::request::{Action, Cause, Request};
use manifold_model::wait::{Wait, WaitReason};
use manifold_model::{ExecutionId, Failure, FailureClass, Millis, Status, code};

use crate::advance::{Advance, Command, Input};
use crate::render::{holds, unresolved};
use crate::rollback::because;
use crate::scope;
use crate::view::{ElementView, LegStatus, PipelineView, StageView};

/// Most legs that one advance creates, so that they fit one transaction (`design.md` 4.3).
pub const LEGS_PER_ADVANCE: u32 = 500;

/// An element of a stage that was looked at.
#[derive(Clone, PartialEq, Debug, Default)]
struct Element {
    skipped: Option<String>,
    failed: Option<Failure>,
    created: u32,
    ended: BTreeMap<u32, LegEnd>,
}

/// A stage that began.
#[derive(Clone, PartialEq, Debug, Default)]
struct Stage {
    started_at: Millis,
    ended: Option<(Millis, Status)>,
    elements: BTreeMap<u32, Element>,
}

/// Somebody's request that holds.
#[derive(Clone, PartialEq, Debug)]
struct Asked {
    by: String,
    reason: String,
    at: Millis,
}

/// The fold of the journal.
#[derive(Clone, PartialEq, Debug, Default)]
struct State {
    seq: u64,
    started: Option<(Millis, Cause)>,
    began_at: Option<Millis>,
    /// First stage that runs, of a resumed run.
    first: u32,
    stages: BTreeMap<u32, Stage>,
    outputs: Published,
    abort: Option<Asked>,
    paused: Option<Asked>,
    end: Option<(Millis, Status, Option<Failure>)>,
}

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

/// Legs that an element starts.
fn planned(element: &ElementPlan) -> u32 {
    element.fleet.as_ref().map_or(0, |fleet| u32::try_from(fleet.legs.len()).unwrap_or(u32::MAX))
}

impl Element {
    fn running(&self) -> u32 {
        self.created.saturating_sub(u32::try_from(self.ended.len()).unwrap_or(u32::MAX))
    }

    fn is_decided(&self) -> bool {
        self.skipped.is_some() || self.failed.is_some()
    }

    fn is_over(&self, plan: &ElementPlan) -> bool {
        self.status(plan).is_some()
    }

    /// The final status: of a skipped one, of one that could not start, or the worst of all legs.
    fn status(&self, plan: &ElementPlan) -> Option<Status> {
        if self.skipped.is_some() {
            return Some(Status::Skipped);
        }
        if self.failed.is_some() {
            return Some(Status::Failed);
        }
        let planned = planned(plan) as usize;
        (planned > 0 && self.ended.len() >= planned).then(|| self.worst()).flatten()
    }

    fn worst(&self) -> Option<Status> {
        Status::worst(self.ended.values().map(|end| end.status))
    }
}

impl State {
    fn fold(&mut self, event: &Event, plan: &Plan) {
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

    fn element(&mut self, stage: u32, element: u32) -> &mut Element {
        self.stages.entry(stage).or_default().elements.entry(element).or_default()
    }

    /// Takes a leg's end in. Legs of the run that was resumed are there for display.
    fn leg_ended(&mut self, end: &LegEnd, plan: &Plan, resumed: bool) {
        let Some(element) = plan.element(end.place.stage, end.place.element) else { return };
        let planned = planned(element);
        let state = self.element(end.place.stage, end.place.element);
        if resumed {
            state.created = planned;
        }
        state.ended.entry(end.place.leg).or_insert_with(|| end.clone());
    }

    fn is_known(&self, end: &LegEnd) -> bool {
        let element =
            self.stages.get(&end.place.stage).and_then(|stage| stage.elements.get(&end.place.element));
        element.is_none_or(|element| {
            end.place.leg >= element.created || element.ended.contains_key(&end.place.leg)
        })
    }

    /// Adds what the legs of a stage published: one publisher's variables as they are, several legs' by infrastructure name (D11).
    fn publish(&mut self, stage: u32, plan: &Plan) {
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

    fn open_stage(&self) -> Option<(u32, &Stage)> {
        self.stages.iter().find(|(_, stage)| stage.ended.is_none()).map(|(index, stage)| (*index, stage))
    }

    fn running(&self) -> u32 {
        self.stages.values().flat_map(|stage| stage.elements.values()).map(Element::running).sum()
    }

    fn status(&self, plan: &Plan) -> Status {
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

    fn waits(&self, plan: &Plan) -> Vec<Wait> {
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
            let reason = WaitReason::Limit { name: "executions that begin at once".to_owned(), allowed: 1 };
            waits.push(wait(*started, reason));
        }
        waits
    }
}

/// Name of the infrastructure of a leg; its ordinal when it has none.
fn infrastructure_name(plan: &Plan, fleet: &FleetPlan, leg: u32) -> String {
    fleet
        .legs
        .get(leg as usize)
        .and_then(|leg| plan.infrastructures.get(leg.infrastructure? as usize))
        .map_or_else(|| leg.to_string(), |infrastructure| infrastructure.name.clone())
}

/// One advance in the making.
struct Decider<'a> {
    plan: &'a Plan,
    id: &'a ExecutionId,
    state: &'a mut State,
    now: Millis,
    /// Legs that may still be created in this advance.
    room: u32,
    out: Advance,
}

impl Decider<'_> {
    fn emit(&mut self, kind: EventKind) {
        let event = Event { seq: self.state.seq + 1, at: self.now, kind };
        self.state.fold(&event, self.plan);
        self.out.events.push(event);
    }

    fn receive(&mut self, input: &Input) {
        match input {
            Input::Request(request) => self.requested(request),
            Input::LegsEnded(ends) => {
                let mut fresh: Vec<LegEnd> = Vec::new();
                for end in ends {
                    let again = fresh.iter().any(|known| known.place == end.place);
                    if !again && !self.state.is_known(end) {
                        fresh.push(end.clone());
                    }
                }
                if !fresh.is_empty() {
                    self.emit(EventKind::LegsEnded { ends: fresh });
                }
            }
            _ => {}
        }
    }

    fn requested(&mut self, request: &Request) {
        let holds = match request.action {
            Action::Abort => self.state.abort.is_none(),
            Action::Pause => self.state.abort.is_none() && self.state.paused.is_none(),
            Action::Continue => self.state.paused.is_some(),
            // These are for workflow executions.
            Action::Rollback | Action::AnswerIntervention { .. } | Action::AnswerUnknownOutcome { .. } => {
                false
            }
        };
        if !holds {
            return;
        }
        self.emit(EventKind::Requested { request: request.clone() });
        if self.state.running() > 0 {
            self.out.commands.push(Command::SendToLegs(request.clone()));
        }
    }

    fn decide(&mut self) {
        if let Some(asked) = self.state.abort.clone() {
            self.abort(&asked);
            return;
        }
        let plan = self.plan;
        for (index, stage) in (0..).zip(&plan.stages) {
            if index < self.state.first {
                continue;
            }
            match self.state.stages.get(&index).map(|stage| stage.ended) {
                Some(Some((_, status))) if status.is_good() => continue,
                Some(Some((_, status))) => {
                    self.finish(status, index);
                    return;
                }
                Some(None) => {}
                None if self.state.paused.is_some() => return,
                None => self.emit(EventKind::StageStarted { stage: index }),
            }
            let Some(status) = self.stage(index, stage) else { return };
            self.emit(EventKind::StageEnded { stage: index, status });
            if !status.is_good() {
                self.finish(status, index);
                return;
            }
        }
        self.emit(EventKind::Finished { status: Status::Success, failure: None });
    }

    /// Waits for the legs that run; the others are never created.
    fn abort(&mut self, asked: &Asked) {
        if self.state.running() > 0 {
            return;
        }
        if let Some(stage) = self.state.open_stage().map(|(index, _)| index) {
            self.emit(EventKind::StageEnded { stage, status: Status::Aborted });
        }
        let message = format!("aborted by {}{}", asked.by, because(&asked.reason));
        let failure = Failure::new(FailureClass::Application, code!("ABORTED_ON_REQUEST"), message);
        self.emit(EventKind::Finished { status: Status::Aborted, failure: Some(failure) });
    }

    /// Goes on with a stage; its final status when it is over.
    fn stage(&mut self, index: u32, plan: &StagePlan) -> Option<Status> {
        for (place, element) in (0..).zip(&plan.elements) {
            self.begin_element(index, place, element);
        }
        let state = self.state.stages.get(&index)?;
        let mut statuses = Vec::with_capacity(plan.elements.len());
        for (place, element) in (0..).zip(&plan.elements) {
            statuses.push(state.elements.get(&place)?.status(element)?);
        }
        Status::worst(statuses)
    }

    /// Skips an element, refuses it, or creates as many of its legs as may be now.
    fn begin_element(&mut self, stage: u32, place: u32, element: &ElementPlan) {
        let state = self.state.stages.get(&stage).and_then(|stage| stage.elements.get(&place));
        if state.is_some_and(Element::is_decided) || self.state.paused.is_some() {
            return;
        }
        let (created, running) = state.map_or((0, 0), |state| (state.created, state.running()));
        if created == 0 {
            match self.skip(stage, element) {
                Ok(None) => {}
                Ok(Some(reason)) => {
                    self.emit(EventKind::ElementSkipped { stage, element: place, reason });
                    return;
                }
                Err(failure) => {
                    self.emit(EventKind::ElementFailed { stage, element: place, failure });
                    return;
                }
            }
        }
        let planned = planned(element);
        let allowed = element.fleet.as_ref().and_then(|fleet| fleet.policy.max_parallel).unwrap_or(u32::MAX);
        let more = (planned - created.min(planned)).min(allowed.max(1).saturating_sub(running));
        let now = more.min(self.room);
        if now > 0 {
            let (from, to) = (created, created + now);
            self.room -= now;
            self.emit(EventKind::LegsCreated { stage, element: place, from, to });
            self.out.commands.push(Command::CreateLegs { stage, element: place, from, to });
        }
        self.out.more |= now < more;
    }

    fn skip(&self, stage: u32, element: &ElementPlan) -> Result<Option<String>, Failure> {
        match &element.skip {
            StageSkip::Always => return Ok(Some("skip always".to_owned())),
            StageSkip::When(assertion) => {
                let scope = PipelineScope { plan: self.plan, id: self.id, state: self.state };
                match condition(assertion, &scope as &dyn Scope) {
                    Ok(true) => return Ok(Some(holds(assertion, &scope))),
                    Ok(false) => {}
                    Err(error) => {
                        let what = format!("skip condition of `{}` in stage {}", element.name, stage + 1);
                        return Err(unresolved(&what, assertion, &[error]));
                    }
                }
            }
            StageSkip::Never => {}
        }
        if planned(element) == 0 {
            let message = format!("`{}` has nothing to run: no leg was planned for it", element.name);
            return Err(Failure::new(FailureClass::Application, code!("ELEMENT_WITHOUT_LEGS"), message)
                .hint("start the pipeline again, with a value for every variable of the stage"));
        }
        Ok(None)
    }

    /// Ends as its worst stage did.
    fn finish(&mut self, status: Status, stage: u32) {
        let failure = self.failure_of(stage, status);
        self.emit(EventKind::Finished { status, failure: Some(failure) });
    }

    fn failure_of(&self, index: u32, status: Status) -> Failure {
        let name = self.plan.stages.get(index as usize).map_or("", |stage| stage.name.as_str());
        let elements = self.state.stages.get(&index).map(|stage| &stage.elements);
        let refused =
            elements.into_iter().flat_map(|elements| elements.values()).find_map(|one| one.failed.clone());
        if let Some(failure) = refused {
            return failure;
        }
        let ends =
            || elements.into_iter().flat_map(|elements| elements.values()).flat_map(|one| one.ended.values());
        let bad = ends().filter(|end| !end.status.is_good()).count();
        let mut message =
            format!("stage {name} is {}: {bad} of {} legs did not end well", status.name(), ends().count());
        let first = ends().find(|end| end.status == status).and_then(|end| end.failure.as_ref());
        if let Some(first) = first {
            message.push_str(&format!("; the first: {}", first.message));
        }
        let class = first.map_or(FailureClass::Application, |first| first.class);
        Failure::new(class, code!("STAGE_FAILED"), message).hint("open the legs that failed")
    }
}

/// Values for skip conditions of stages (`behaviour.md` 9.6): nothing that is known only when a workflow runs.
struct PipelineScope<'a> {
    plan: &'a Plan,
    id: &'a ExecutionId,
    state: &'a State,
}

impl PipelineScope<'_> {
    fn input(&self, name: &str) -> Option<Value> {
        let input = self.plan.inputs.iter().find(|input| input.name == name)?;
        Some(Value::from(input.value.as_str()))
    }

    fn context(&self) -> Value {
        Value::map(self.state.outputs.iter().map(|(name, value)| (name.as_str(), scope::published(value))))
    }

    fn workflow(&self) -> Value {
        let inputs = self.plan.inputs.iter().map(|input| (input.name.as_str(), input.value.as_str()));
        Value::map([
            ("variables", Value::map(inputs)),
            ("pipelineDeploymentUuid", Value::from(self.id.as_str())),
        ])
    }
}

impl Scope for PipelineScope<'_> {
    fn lookup(&self, root: &str) -> Lookup {
        let found = match root {
            "account" => Some(scope::account(self.plan)),
            "app" => Some(scope::application(self.plan)),
            "pipeline" => scope::pipeline(self.plan),
            "workflow" => Some(self.workflow()),
            "context" => Some(self.context()),
            "deploymentTriggeredBy" => {
                self.state.started.as_ref().map(|(_, cause)| Value::from(cause.name()))
            }
            "timestampId" => self.state.started.as_ref().map(|(at, _)| Value::from(at.to_string())),
            name => self.state.outputs.get(name).map(scope::published).or_else(|| self.input(name)),
        };
        found.map_or(Lookup::Missing, Lookup::Found)
    }

    fn expands(&self, root: &str) -> bool {
        matches!(root, "account" | "app" | "pipeline")
    }
}
