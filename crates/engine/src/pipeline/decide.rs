//! What comes next in a pipeline execution.

use manifold_expression::{Scope, condition};
use manifold_model::entity::StageSkip;
use manifold_model::event::{Event, EventKind, LegEnd};
use manifold_model::plan::{ElementPlan, Plan, StagePlan};
use manifold_model::request::{Action, Request};
use manifold_model::{ExecutionId, Failure, FailureClass, Millis, Status, code};

use super::scope::PipelineScope;
use super::state::{Asked, Element, State, planned};
use crate::advance::{Advance, Command, Input};
use crate::render::{holds, unresolved};
use crate::rollback::because;

/// One advance in the making.
pub(super) struct Decider<'a> {
    pub plan: &'a Plan,
    pub id: &'a ExecutionId,
    pub state: &'a mut State,
    pub now: Millis,
    /// Legs that may still be created in this advance.
    pub room: u32,
    pub out: Advance,
}

impl Decider<'_> {
    pub(super) fn emit(&mut self, kind: EventKind) {
        let event = Event { seq: self.state.seq + 1, at: self.now, kind };
        self.state.fold(&event, self.plan);
        self.out.events.push(event);
    }

    pub(super) fn receive(&mut self, input: &Input) {
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

    pub(super) fn requested(&mut self, request: &Request) {
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

    pub(super) fn decide(&mut self) {
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
        self.end(Status::Success, None);
    }

    /// Waits for the legs that run; the others are never created.
    pub(super) fn abort(&mut self, asked: &Asked) {
        if self.state.running() > 0 {
            return;
        }
        if let Some(stage) = self.state.open_stage().map(|(index, _)| index) {
            self.emit(EventKind::StageEnded { stage, status: Status::Aborted });
        }
        let message = format!("aborted by {}{}", asked.by, because(&asked.reason));
        let failure = Failure::new(FailureClass::Application, code!("ABORTED_ON_REQUEST"), message);
        self.end(Status::Aborted, Some(failure));
    }

    /// Goes on with a stage; its final status when it is over.
    pub(super) fn stage(&mut self, index: u32, plan: &StagePlan) -> Option<Status> {
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
    pub(super) fn begin_element(&mut self, stage: u32, place: u32, element: &ElementPlan) {
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

    pub(super) fn skip(&self, stage: u32, element: &ElementPlan) -> Result<Option<String>, Failure> {
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
    pub(super) fn finish(&mut self, status: Status, stage: u32) {
        let failure = self.failure_of(stage, status);
        self.end(status, Some(failure));
    }

    /// Ends, and frees what legs held until now.
    fn end(&mut self, status: Status, failure: Option<Failure>) {
        self.emit(EventKind::Finished { status, failure });
        self.out.commands.push(Command::LeaveConstraints);
    }

    pub(super) fn failure_of(&self, index: u32, status: Status) -> Failure {
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
