//! A workflow execution: a leg of a fan-out, or one started alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use manifold_model::event::{Event, EventKind, LegEnd};
use manifold_model::execution::RowState;
use manifold_model::plan::Plan;
use manifold_model::{ExecutionId, Failure, FailureClass, Millis, Status, TaskId, code};

use crate::advance::{Advance, Command, Input};
use crate::decide::Decider;
use crate::place::Map;
use crate::state::{Lock, State};
use crate::view::LegView;
use crate::{row, view};

/// State of a workflow execution.
#[derive(Clone, Debug)]
pub struct Leg {
    plan: Arc<Plan>,
    id: ExecutionId,
    pub(crate) state: State,
}

/// Two executions are the same when their journals say the same.
impl PartialEq for Leg {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.state == other.state
    }
}

impl Leg {
    /// A workflow execution of this plan: nothing has been folded yet.
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
        let plan = Arc::clone(&self.plan);
        let Some(map) = Map::of(&plan, &self.state) else { return self.give_up(now) };
        let timers = self.state.timers.clone();
        let mut decider = Decider {
            map,
            id: &self.id,
            state: &mut self.state,
            now,
            fired: BTreeSet::new(),
            events: Vec::new(),
            commands: Vec::new(),
        };
        for input in inputs {
            decider.receive(input);
        }
        decider.decide();
        let Decider { events, commands, .. } = decider;
        let mut commands = commands;
        self.change_timers(&timers, inputs, &mut commands);
        Advance { events, commands, more: false }
    }

    /// Ends an execution whose place is not in its plan: nothing can be decided about it, and it must not wait for ever.
    fn give_up(&mut self, now: Millis) -> Advance {
        let Some(start) = self.state.start.as_ref().filter(|_| self.state.end.is_none()) else {
            return Advance::default();
        };
        let (place, parent) = (start.place, start.parent.is_some());
        let message = "the place of this execution is not in its plan".to_owned();
        let failure = Failure::new(FailureClass::Application, code!("PLAN_UNUSABLE"), message);
        let kind = EventKind::Finished { status: Status::Error, failure: Some(failure.clone()) };
        let event = Event { seq: self.state.seq + 1, at: now, kind };
        self.fold(&event);
        let element = self.plan.element(place.stage, place.element).map(|element| element.id.clone());
        let end = element.filter(|_| parent).map(|element| {
            Command::Complete(LegEnd {
                execution: self.id.clone(),
                place,
                element,
                status: Status::Error,
                failure: Some(failure),
                outputs: BTreeMap::new(),
            })
        });
        Advance { events: vec![event], commands: end.into_iter().collect(), more: false }
    }

    /// Timers are part of the state; what changed is told to the caller. One that fired is gone already.
    fn change_timers(
        &self,
        before: &BTreeMap<String, Millis>,
        inputs: &[Input],
        commands: &mut Vec<Command>,
    ) {
        let fired = |key: &String| {
            inputs.iter().any(|input| matches!(input, Input::Timer { key: fired } if fired == key))
        };
        for (key, due) in &self.state.timers {
            // A timer that fired, but that a pause keeps waiting, is not set again: continuing looks at the clock.
            if before.get(key) != Some(due) {
                commands.push(Command::SetTimer { key: key.clone(), due: *due });
            }
        }
        for key in before.keys().filter(|key| !self.state.timers.contains_key(*key) && !fired(key)) {
            commands.push(Command::DropTimer { key: key.clone() });
        }
    }

    /// The commands whose answers may have been lost when the process that gave them died. Call it once after folding a stored journal and
    /// carry them out again: each is harmless when repeated.
    #[must_use]
    pub fn recover(&self) -> Vec<Command> {
        let mut commands = Vec::new();
        if self.state.end.is_some() {
            return commands;
        }
        if let Lock::Asked { keys, .. } = &self.state.lock {
            commands.push(Command::Lock { keys: keys.clone() });
        }
        for barrier in self.state.steps.values().filter_map(|step| step.barrier.as_ref()) {
            if !barrier.crossed && barrier.broken.is_none() {
                commands.push(Command::ArriveBarrier { identifier: barrier.identifier.clone() });
            }
        }
        for asked in self.state.steps.values().filter_map(|step| step.permits.as_ref()) {
            if asked.answer.is_none() {
                commands.push(Command::AskPermits(asked.request.clone()));
            }
        }
        commands
    }

    /// Tasks that were handed out and have not ended.
    #[must_use]
    pub fn outstanding(&self) -> Vec<TaskId> {
        self.state.open.keys().cloned().collect()
    }

    /// The row for lists.
    #[must_use]
    pub fn row(&self) -> RowState {
        row::of(&self.state, Map::of(&self.plan, &self.state))
    }

    /// For a screen.
    #[must_use]
    pub fn view(&self) -> LegView {
        view::of(&self.state, Map::of(&self.plan, &self.state), &self.id)
    }
}

impl Decider<'_> {
    /// Takes one input in; what no longer fits the state changes nothing.
    fn receive(&mut self, input: &Input) {
        if self.state.end.is_some() {
            return;
        }
        match input {
            Input::Request(request) => self.requested(request),
            Input::TaskEnded { task, outcome } => {
                let Some((step, place)) = self.state.open.get(task).copied() else { return };
                let Some(last) = self.state.steps.get(&step).and_then(|state| state.last()) else { return };
                let instance = last.tasks.get(place).and_then(|task| task.instance.clone());
                let attempt = last.number;
                self.emit(EventKind::TaskEnded {
                    step,
                    attempt,
                    task: task.clone(),
                    instance,
                    outcome: outcome.clone(),
                });
            }
            Input::Timer { key } => {
                if self.state.timers.contains_key(key) {
                    self.fired.insert(key.clone());
                }
            }
            Input::LockGranted => {
                if matches!(self.state.lock, Lock::Asked { .. }) {
                    self.emit(EventKind::LockGranted {});
                }
            }
            Input::LockRefused { limit } => {
                if matches!(self.state.lock, Lock::Asked { .. }) {
                    self.emit(EventKind::LockRefused { limit: *limit });
                }
            }
            Input::LastGood(last_good) => {
                if self.awaits_last_good() {
                    self.emit(EventKind::LastGoodRecalled { last_good: last_good.clone() });
                }
            }
            Input::Barrier { identifier, broken_by } => self.barrier_answered(identifier, broken_by.as_ref()),
            Input::PermitsGranted { step, attempt } => self.permits_answered(*step, *attempt, None),
            Input::PermitsRefused { step, attempt, refusal } => {
                self.permits_answered(*step, *attempt, Some(*refusal));
            }
            Input::LegsEnded(_) => {}
        }
    }

    fn awaits_last_good(&self) -> bool {
        let locked = match self.state.lock {
            Lock::NotAsked | Lock::Held { .. } => true,
            Lock::Asked { .. } | Lock::Refused { .. } => false,
        };
        self.state.targets.is_some() && self.state.last_good.is_none() && locked
    }

    fn barrier_answered(&mut self, identifier: &str, broken_by: Option<&ExecutionId>) {
        let waiting = self.state.steps.iter().find(|(_, state)| {
            state.barrier.as_ref().is_some_and(|barrier| {
                barrier.identifier == identifier && !barrier.crossed && barrier.broken.is_none()
            })
        });
        let Some(step) = waiting.map(|(step, _)| *step) else { return };
        match broken_by {
            None => self.emit(EventKind::BarrierCrossed { step }),
            Some(by) => self.emit(EventKind::BarrierBroken { step, by: Some(by.clone()) }),
        }
    }
}
