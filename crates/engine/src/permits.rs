//! Taking permits of a resource constraint, waiting for them, and giving them back (`behaviour.md` 8.2).

use std::collections::BTreeMap;

use manifold_model::constraint::{
    HoldingScope, PermitRefusal, PermitRequest, PermitsWanted, UNIT_LIMIT, permits_wanted,
};
use manifold_model::event::EventKind;
use manifold_model::plan::StepKey;
use manifold_model::{Failure, FailureClass, code};

use crate::advance::Command;
use crate::decide::Decider;
use crate::place::{Part, Spot};
use crate::render::{Renderer, text};
use crate::state::{PermitAnswer, permit_timer};

impl<'a> Decider<'a> {
    /// Begins an attempt of a step that takes permits.
    pub(crate) fn ask_permits(&mut self, spot: Spot<'a>, attempt: u32) {
        let key = spot.step.key;
        match self.permit_request(spot, attempt) {
            Err(failure) => {
                self.start_step(key, attempt, BTreeMap::new());
                self.end_attempt(spot, attempt, Err(failure));
            }
            Ok((request, values)) => {
                self.start_step(key, attempt, values);
                let wait = i64::try_from(spot.step.timeout_ms).unwrap_or(i64::MAX);
                let until = self.now.saturating_add(wait);
                self.emit(EventKind::PermitsRequested { request: request.clone(), until });
                self.commands.push(Command::AskPermits(request));
            }
        }
    }

    /// What the step asks for, and the values of its expressions.
    fn permit_request(
        &self,
        spot: Spot<'_>,
        attempt: u32,
    ) -> Result<(PermitRequest, BTreeMap<String, String>), Failure> {
        let properties = &spot.step.properties;
        let scope = self.scope(spot.part, Some(spot.step), None);
        let mut renderer = Renderer { scope: &scope, values: BTreeMap::new() };
        let unit = renderer.known("resourceUnit", text(properties, "resourceUnit").unwrap_or_default())?;
        let unit = unit.trim().to_owned();
        if unit.chars().count() > UNIT_LIMIT {
            let message = format!("resourceUnit has more than {UNIT_LIMIT} characters");
            return Err(Failure::new(FailureClass::Application, code!("CONSTRAINT_UNIT"), message)
                .hint("let the unit name one place, such as a cluster and a namespace"));
        }
        let permits = permits(&mut renderer, permits_wanted(properties))?;
        // The plan has put both names there.
        let name = text(properties, "resourceConstraintName").unwrap_or_default().to_owned();
        let request = PermitRequest {
            step: spot.step.key,
            step_name: spot.step.name.clone(),
            attempt,
            constraint: text(properties, "resourceConstraintId").unwrap_or_default().into(),
            name,
            unit,
            permits,
            scope: text(properties, "holdingScope").and_then(HoldingScope::parse).unwrap_or_default(),
        };
        let values = renderer.values;
        Ok((request, values))
    }

    /// Goes on when the permits are held or refused, or the time is over.
    pub(crate) fn follow_permits(&mut self, spot: Spot<'a>, attempt: u32) {
        let key = spot.step.key;
        let Some(asked) = self.state.steps.get(&key).and_then(|state| state.permits.clone()) else { return };
        let name = &asked.request.name;
        if self.is_closing() {
            let why = format!("no longer waits for resource constraint `{name}`: another step failed");
            self.give_up(key, attempt, &why);
            return;
        }
        match asked.answer {
            Some(PermitAnswer::Granted) => self.end_attempt(spot, attempt, Ok(())),
            Some(PermitAnswer::Refused(refusal)) => {
                self.end_attempt(spot, attempt, Err(refused(&asked.request, refusal)));
            }
            None if self.is_due(asked.until, &permit_timer(key)) => {
                let message = format!(
                    "{} permits of resource constraint `{name}`{} did not come free in time",
                    asked.request.permits,
                    of_unit(&asked.request.unit)
                );
                let failure = Failure::new(FailureClass::Timeout, code!("CONSTRAINT_TIMEOUT"), message)
                    .hint("see who holds them, or give the step more time");
                self.end_attempt(spot, attempt, Err(failure));
            }
            None => {}
        }
    }

    /// Withdraws the request of an attempt that does not end well, or frees what it got without our knowing.
    pub(crate) fn withdraw_permits(&mut self, step: StepKey) {
        if self.state.steps.get(&step).is_some_and(|state| state.permits.is_some()) {
            self.commands.push(Command::GiveBackPermits { step });
        }
    }

    /// A phase has ended well or has been rolled back: frees what its steps hold until then.
    pub(crate) fn free_permits_of_phase(&mut self, phase: u32) {
        let map = self.map;
        for part in [Part::Phase(phase), Part::Rollback(phase)] {
            for step in map.sections(part).iter().flat_map(|section| &section.steps) {
                let held = self.state.steps.get(&step.key).and_then(|state| state.permits.as_ref());
                if held.is_some_and(|held| held.request.scope == HoldingScope::Phase) {
                    self.emit(EventKind::PermitsReleased { step: step.key });
                    self.commands.push(Command::GiveBackPermits { step: step.key });
                }
            }
        }
    }

    /// The store granted or refused the request of an attempt.
    pub(crate) fn permits_answered(&mut self, step: StepKey, attempt: u32, refusal: Option<PermitRefusal>) {
        let asked = self.state.steps.get(&step).and_then(|state| state.permits.as_ref());
        let waits = asked.is_some_and(|asked| asked.request.attempt == attempt && asked.answer.is_none());
        match refusal {
            _ if !waits => {}
            None => self.emit(EventKind::PermitsGranted { step }),
            Some(refusal) => self.emit(EventKind::PermitsRefused { step, refusal }),
        }
    }
}

/// The number of permits, an expression evaluated.
fn permits(renderer: &mut Renderer<'_>, wanted: PermitsWanted<'_>) -> Result<u32, Failure> {
    let text = match wanted {
        PermitsWanted::Literal(number) => return Ok(number),
        PermitsWanted::Invalid(text) => text,
        PermitsWanted::Expression(text) => renderer.known("permits", text)?,
    };
    match text.trim().parse() {
        Ok(number @ 1..) => Ok(number),
        _ => {
            let message = format!("permits must be a whole number from 1, and is `{text}`");
            Err(Failure::new(FailureClass::Application, code!("CONSTRAINT_PERMITS"), message)
                .hint("let the expression come to a whole number"))
        }
    }
}

fn of_unit(unit: &str) -> String {
    if unit.is_empty() { String::new() } else { format!(" for `{unit}`") }
}

fn refused(request: &PermitRequest, refusal: PermitRefusal) -> Failure {
    let PermitRequest { name, permits, unit, .. } = request;
    let failure = |code, message| Failure::new(FailureClass::Application, code, message);
    match refusal {
        PermitRefusal::Gone {} => failure(
            code!("CONSTRAINT_UNKNOWN"),
            format!("resource constraint `{name}` has been deleted since the start"),
        )
        .hint("create it again and start anew, or take the step out"),
        PermitRefusal::OverCapacity { capacity } => failure(
            code!("CONSTRAINT_PERMITS"),
            format!("the step wants {permits} permits of resource constraint `{name}`, which has {capacity}"),
        )
        .hint("ask for fewer permits, or raise the capacity"),
        PermitRefusal::QueueFull { limit } => failure(
            code!("CONSTRAINT_QUEUE_FULL"),
            format!("{limit} steps wait for resource constraint `{name}`{} already", of_unit(unit)),
        )
        .hint("start it again when some of them have ended"),
    }
}
