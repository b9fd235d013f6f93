//! Resource constraints in a leg: asked for, waited for, held, given back.

use manifold_engine::{Command, Input};
use manifold_model::constraint::{HoldingScope, PermitRefusal};
use manifold_model::entity::RepairAction;
use manifold_model::event::EventKind;
use manifold_model::plan::{Plan, StepPlan};
use manifold_model::request::Action;
use manifold_model::task::Outcome;
use manifold_model::wait::WaitReason;
use manifold_model::{FailureClass, Status};
use serde_json::{Value, json};

use crate::build::*;
use crate::runner::*;

/// A phase that is guarded, then a second one; each with a rollback.
fn guarded(guard: StepPlan) -> Plan {
    let rolls_back = strategy(RepairAction::RollbackWorkflow);
    plan(workflow(
        vec![
            phase(
                "One",
                vec![section("S", vec![guard, deploy("one")])],
                vec![undo("U", "S", vec![noop("undo one")])],
            ),
            phase(
                "Two",
                vec![section("S", vec![deploy("two")])],
                vec![undo("U", "S", vec![noop("undo two")])],
            ),
        ],
        vec![rolls_back],
    ))
}

fn waiting(more: Value) -> Runner {
    let mut runner = Runner::new(guarded(guard("Guard", more)));
    runner.grant = false;
    runner.advance(&[]);
    runner
}

#[test]
fn a_step_waits_until_it_holds_its_permits() {
    let mut runner = waiting(json!({ "permits": 2, "resourceUnit": "${infra.name}-${service.name}" }));
    assert_eq!(runner.status(), Status::Waiting);
    let (request, _) = runner.permits.values().next().unwrap().clone();
    assert_eq!((request.unit.as_str(), request.permits, request.attempt), ("east-cart", 2, 1));
    assert_eq!((request.constraint.as_str(), request.scope), ("c", HoldingScope::Workflow));
    let waits = runner.row().waits;
    assert!(matches!(&waits[..], [one] if matches!(&one.reason,
        WaitReason::Constraint { constraint, unit, permits: 2, until, .. }
            if constraint == "licences" && unit == "east-cart" && *until == runner.now + 60_000)));
    let values = runner.events.iter().find_map(|event| match &event.kind {
        EventKind::StepStarted { values, .. } => Some(values.clone()),
        _ => None,
    });
    assert_eq!(values.unwrap()["infra.name"], "east");
    assert_eq!(runner.leg.recover(), [Command::AskPermits(request)]);
    let step = runner.key("Guard");
    runner.advance(&[Input::PermitsGranted { step: step + 1, attempt: 1 }]);
    runner.advance(&[Input::PermitsGranted { step, attempt: 2 }]);
    assert_eq!(runner.status(), Status::Waiting, "answers to others change nothing");
    runner.grant_permits();
    runner.run();
    assert_eq!(runner.status(), Status::Success);
    assert_eq!(runner.left.len(), 1, "held until the end");
    assert!(!runner.commands.contains(&Command::GiveBackPermits { step }));
}

#[test]
fn a_wait_that_is_over_fails_the_step_and_rolls_back() {
    let mut runner = waiting(json!({}));
    let step = runner.key("Guard");
    runner.run();
    assert_eq!((runner.status(), runner.code().as_str()), (Status::Failed, "CONSTRAINT_TIMEOUT"));
    assert_eq!(runner.row().failure.unwrap().class, FailureClass::Timeout);
    assert_eq!(runner.issued, ["undo one#1"]);
    assert!(runner.commands.contains(&Command::GiveBackPermits { step }), "the request is withdrawn");
    assert!(runner.left.is_empty());
}

#[test]
fn a_later_attempt_asks_anew_and_hears_only_its_own_answer() {
    let mut plan = guarded(guard("Guard", json!({})));
    plan.workflows[0].strategies = vec![retry(1, &[5], Some(RepairAction::EndExecution))];
    let mut runner = Runner::new(plan);
    runner.grant = false;
    runner.advance(&[]);
    let step = runner.key("Guard");
    runner.fire();
    assert!(
        runner.permits.is_empty() && runner.row().waits.len() == 1,
        "between two attempts it has no place"
    );
    runner.fire();
    assert_eq!(runner.permits[&step].0.attempt, 2);
    // The grant of the first attempt was on its way when its time was over.
    runner.advance(&[Input::PermitsGranted { step, attempt: 1 }]);
    assert_eq!(runner.status(), Status::Waiting);
    runner.grant_permits();
    runner.run();
    assert_eq!(runner.status(), Status::Success);
}

#[test]
fn phase_permits_are_freed_with_the_phase() {
    let mut runner = Runner::new(guarded(guard("Guard", json!({ "holdingScope": "phase" }))));
    runner.advance(&[]);
    let first = runner.open.keys().next().unwrap().clone();
    assert_eq!(runner.permits.len(), 1, "held while the phase runs");
    runner.end(&first, Outcome::succeeded());
    assert!(runner.permits.is_empty(), "and no longer");
    let released = |runner: &Runner| {
        runner.events.iter().filter(|event| matches!(event.kind, EventKind::PermitsReleased { .. })).count()
    };
    assert_eq!(
        (released(&runner), runner.issued.as_slice()),
        (1, &["one#1".to_owned(), "two#1".to_owned()][..])
    );
    runner.run();
    assert_eq!((runner.status(), released(&runner), runner.left.len()), (Status::Success, 1, 0));
}

#[test]
fn a_phase_that_fails_keeps_its_permits_until_it_has_been_rolled_back() {
    let whole = guarded(guard("Guard", json!({ "holdingScope": "PHASE" })));
    let mut runner = Runner::new(whole).script(|task| {
        let name = task.step.as_ref().unwrap().name.clone();
        (name == "one").then(|| failed(FailureClass::Application))
    });
    runner.run();
    assert_eq!(runner.issued.last().unwrap(), "undo one#1");
    assert_eq!(runner.permits.len(), 1, "while it is rolled back");
    let undo = runner.open.keys().next().unwrap().clone();
    runner.end(&undo, Outcome::succeeded());
    assert_eq!((runner.status(), runner.left.len()), (Status::Failed, 0), "freed before the end");

    let mut runner = Runner::new(guarded(guard("Guard", json!({})))).failing(&["two"]);
    runner.run();
    assert_eq!(runner.issued.last().unwrap(), "undo one#1");
    assert_eq!((runner.status(), runner.left.len()), (Status::Failed, 1), "held through the rollback");
}

#[test]
fn an_abort_or_a_rollback_leaves_no_request_behind() {
    let mut runner = waiting(json!({}));
    runner.ask(Action::Abort);
    assert_eq!((runner.status(), runner.permits.len()), (Status::Aborted, 0));
    assert!(runner.commands.contains(&Command::LeaveConstraints));
    let mut runner = waiting(json!({}));
    runner.ask(Action::Rollback);
    assert!(runner.permits.is_empty(), "withdrawn before the rollback");
    runner.run();
    assert_eq!(runner.status(), Status::Failed);
}

#[test]
fn another_step_that_fails_ends_the_wait() {
    let mut whole = guarded(guard("Guard", json!({})));
    whole.workflows[0].phases[0].sections[0].parallel = true;
    let mut runner = Runner::new(whole).failing(&["one"]);
    runner.grant = false;
    runner.run();
    assert_eq!((runner.status(), runner.step_status("Guard")), (Status::Failed, Status::Aborted));
    assert!(runner.left.is_empty());
}

#[test]
fn what_cannot_be_asked_or_granted_fails_the_step() {
    let of = |more: Value| {
        let mut runner = Runner::new(guarded(guard("Guard", more)));
        runner.run();
        (runner.status(), runner.code())
    };
    assert_eq!(of(json!({ "resourceUnit": "${gone.away}" })).0, Status::Failed);
    assert_eq!(of(json!({ "permits": "${infra.name}" })), (Status::Failed, "CONSTRAINT_PERMITS".to_owned()));
    assert_eq!(
        of(json!({ "resourceUnit": "x".repeat(1_025) })),
        (Status::Failed, "CONSTRAINT_UNIT".to_owned())
    );
    for (refusal, code) in [
        (PermitRefusal::Gone {}, "CONSTRAINT_UNKNOWN"),
        (PermitRefusal::OverCapacity { capacity: 1 }, "CONSTRAINT_PERMITS"),
        (PermitRefusal::QueueFull { limit: 1 }, "CONSTRAINT_QUEUE_FULL"),
    ] {
        let mut runner = waiting(json!({}));
        let step = runner.key("Guard");
        runner.permits.clear();
        runner.advance(&[Input::PermitsRefused { step, attempt: 1, refusal }]);
        runner.run();
        assert_eq!((runner.status(), runner.code().as_str()), (Status::Failed, code));
    }
}
