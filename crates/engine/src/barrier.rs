//! Standing at a barrier until all siblings do (`behaviour.md` 8.3).

use manifold_model::event::EventKind;
use manifold_model::{Failure, FailureClass, Status, code};

use crate::advance::Command;
use crate::decide::Decider;
use crate::hosts;
use crate::place::Spot;
use crate::render::text;
use crate::state::barrier_timer;

/// How long a leg stands at a barrier without a `timeoutMillis`, milliseconds (FirstGen's example).
const BARRIER_TIMEOUT_MS: u64 = 600_000;

impl<'a> Decider<'a> {
    /// Arrives at the barrier of a step whose attempt has begun.
    pub(crate) fn arrive(&mut self, spot: Spot<'_>) {
        let step = spot.step;
        let identifier = text(&step.properties, "identifier").unwrap_or_default().to_owned();
        let timeout = hosts::number(&step.properties, "timeoutMillis").unwrap_or(BARRIER_TIMEOUT_MS);
        let until = self.now.saturating_add(i64::try_from(timeout).unwrap_or(i64::MAX));
        self.emit(EventKind::BarrierArrived { step: step.key, identifier: identifier.clone(), until });
        if self.state.start.as_ref().is_some_and(|start| start.parent.is_some()) {
            self.commands.push(Command::ArriveBarrier { identifier });
        } else {
            // An execution alone has no siblings to wait for (`behaviour.md` 8.3).
            self.emit(EventKind::BarrierCrossed { step: step.key });
            self.emit(EventKind::StepEnded {
                step: step.key,
                attempt: self.attempt_number(step.key),
                status: Status::Success,
                failure: None,
                published: None,
            });
        }
    }

    /// Goes on when the barrier was crossed or broken, or its time is over.
    pub(crate) fn follow_barrier(&mut self, spot: Spot<'a>, attempt: u32) {
        let key = spot.step.key;
        let Some(barrier) = self.state.steps.get(&key).and_then(|state| state.barrier.clone()) else {
            return;
        };
        if self.is_closing() {
            let why = format!("no longer waits at barrier `{}`: another step failed", barrier.identifier);
            self.give_up(key, attempt, &why);
        } else if barrier.crossed {
            self.end_attempt(spot, attempt, Ok(()));
        } else if let Some(by) = barrier.broken {
            let by = by.map_or_else(|| "another execution".to_owned(), |by| format!("execution {by}"));
            let message = format!("{by} failed before barrier `{}`", barrier.identifier);
            let failure = Failure::new(FailureClass::Application, code!("BARRIER_BROKEN"), message)
                .hint("see why the other execution failed");
            self.end_attempt(spot, attempt, Err(failure));
        } else if self.is_due(barrier.until, &barrier_timer(key)) {
            let message = format!("not all executions reached barrier `{}` in time", barrier.identifier);
            let failure = Failure::new(FailureClass::Timeout, code!("BARRIER_TIMEOUT"), message)
                .hint("see where the other executions of the stage stand, or give the barrier more time");
            self.end_attempt(spot, attempt, Err(failure));
        }
    }
}
