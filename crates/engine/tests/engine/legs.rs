//! The road of a leg that goes well, and the small ways in which it may not.

use manifold_engine::{Command, HOSTS_IN_FLIGHT, Input};
use manifold_model::event::EventKind;
use manifold_model::task::Payload;
use manifold_model::wait::WaitReason;
use manifold_model::{ExecutionId, FailureClass, Status};
use serde_json::json;

use crate::build::*;
use crate::runner::*;

#[test]
fn one_step_runs_and_the_leg_ends_well() {
    let mut runner = Runner::new(plan(workflow(
        vec![phase("Phase 1", vec![section("Deploy", vec![deploy("Roll out")])], vec![])],
        vec![],
    )));
    assert_eq!(runner.row().status, Status::Queued);
    runner.run();
    assert_eq!(runner.status(), Status::Success);
    assert_eq!(runner.issued, ["Roll out#1"]);
    let row = runner.row();
    assert_eq!((row.steps_done, row.steps_total), (1, 1));
    let end = runner.completed.clone().unwrap();
    assert_eq!(end.status, Status::Success);
    let deployed = runner.commands.iter().find_map(|command| match command {
        Command::Deployed(deployed) => Some(deployed.clone()),
        _ => None,
    });
    let deployed = deployed.unwrap();
    assert_eq!((deployed.release_no, deployed.status), (5, Status::Success));
    assert_eq!(deployed.artifact.unwrap().build_no, "2.0");
    assert!(runner.commands.contains(&Command::LeaveBarriers { well: true }));
    assert!(!runner.commands.contains(&Command::Unlock));
}

#[test]
fn parts_run_in_order_and_parallel_steps_at_once() {
    let mut both = section("Both", vec![noop("left"), noop("right")]);
    both.parallel = true;
    let mut whole = workflow(
        vec![
            phase("Phase 1", vec![both, section("Then", vec![noop("then")])], vec![]),
            phase("Phase 2", vec![section("Last", vec![noop("last")])], vec![]),
        ],
        vec![],
    );
    whole.pre_deployment = Some(section("Pre", vec![noop("before")]));
    whole.post_deployment = Some(section("Post", vec![noop("after")]));
    let mut runner = Runner::new(plan(whole));
    runner.run();
    assert_eq!(runner.status(), Status::Success);
    assert_eq!(runner.issued, ["before#1", "left#1", "right#1", "then#1", "last#1", "after#1"]);
    assert_eq!(runner.most_open, 2);
}

#[test]
fn the_lock_is_taken_once_with_all_keys_after_pre_deployment_and_held_to_the_end() {
    let mut whole = workflow(
        vec![
            phase("Phase 1", vec![section("Deploy", vec![noop("one")])], vec![]),
            phase("Phase 2", vec![section("Deploy", vec![noop("two")])], vec![]),
        ],
        vec![],
    );
    whole.locks = true;
    whole.pre_deployment = Some(section("Pre", vec![noop("before")]));
    let mut runner = Runner::new(plan(whole));
    runner.grant = false;
    runner.run();
    assert_eq!(runner.issued, ["before#1"]);
    assert_eq!(runner.status(), Status::Waiting);
    assert_eq!(runner.row().doing.as_deref(), Some("Acquire Resource Lock"));
    assert!(matches!(runner.row().waits[0].reason, WaitReason::Lock { .. }));
    // Both phases deploy the same service to the same target: one key.
    assert_eq!(runner.locked.len(), 1);
    assert_eq!(runner.leg.recover(), [Command::Lock { keys: runner.locked.clone() }]);
    runner.advance(&[Input::LockGranted, Input::LockGranted]);
    runner.run();
    assert_eq!(runner.status(), Status::Success);
    assert_eq!(runner.commands.iter().filter(|command| matches!(command, Command::Unlock)).count(), 1);
    let order: Vec<&str> = runner.leg.view().phases[1].sections[0].steps.iter().map(|_| "step").collect();
    assert_eq!(order.len(), 2, "the implicit lock step is shown");
}

#[test]
fn a_full_lock_queue_fails_the_leg() {
    let mut whole =
        workflow(vec![phase("Phase 1", vec![section("Deploy", vec![noop("one")])], vec![])], vec![]);
    whole.locks = true;
    let mut runner = Runner::new(plan(whole));
    runner.grant = false;
    runner.run();
    runner.advance(&[Input::LockRefused { limit: 20 }]);
    assert_eq!((runner.status(), runner.code().as_str()), (Status::Failed, "LOCK_QUEUE_FULL"));
    assert!(runner.issued.is_empty());
}

#[test]
fn skip_conditions_skip_and_broken_ones_fail() {
    let mut some = section("Deploy", vec![noop("one"), noop("two"), noop("three")]);
    some.skips = vec![skip(&["two"], "${infra.name} == 'east'"), skip(&[], "${env.name} == 'other'")];
    let mut runner = Runner::new(plan(workflow(vec![phase("Phase 1", vec![some], vec![])], vec![])));
    runner.run();
    assert_eq!(runner.issued, ["one#1", "three#1"]);
    assert_eq!(runner.step_status("two"), Status::Skipped);
    let reason = runner.leg.view().phases[0].sections[0].steps[1].note.clone().unwrap();
    assert!(reason.contains("east == 'east'"), "{reason}");
    assert_eq!(runner.row().steps_done, 3);

    let mut broken = section("Deploy", vec![noop("one")]);
    broken.skips = vec![skip(&[], "${nothing.here} == 1")];
    let mut runner = Runner::new(plan(workflow(vec![phase("Phase 1", vec![broken], vec![])], vec![])));
    runner.run();
    assert_eq!(runner.status(), Status::Failed);
    let failure = runner.row().failure.unwrap();
    assert_eq!(failure.class, FailureClass::Application);
    assert!(failure.message.contains("skip condition"), "{}", failure.message);
    assert!(runner.issued.is_empty());
}

#[test]
fn a_section_waits_its_interval_before_it_begins() {
    let mut later = section("Later", vec![noop("late")]);
    later.wait_seconds = 30;
    let mut runner = Runner::new(plan(workflow(
        vec![phase("P", vec![section("Now", vec![noop("now")]), later], vec![])],
        vec![],
    )));
    runner.advance(&[]);
    runner.step();
    assert_eq!(runner.issued, ["now#1"]);
    assert!(matches!(runner.row().waits[0].reason, WaitReason::Delay { .. }));
    let before = runner.now;
    runner.run();
    assert_eq!(runner.status(), Status::Success);
    assert!(runner.now >= before + 30_000);
    assert_eq!(runner.issued, ["now#1", "late#1"]);
}

#[test]
fn canary_phases_take_hosts_cumulatively_and_rollback_keeps_to_them() {
    let canary = |name: &str, percent: u32, step: &str, back: &str| {
        let select = nodes(json!({"instanceCount": percent, "instanceUnitType": "PERCENTAGE"}));
        phase(
            name,
            vec![section("Prepare", vec![select]), section("Deploy", vec![on_hosts(step, "install")])],
            vec![undo("Undo", "Deploy", vec![on_hosts(back, "uninstall")])],
        )
    };
    let phases =
        vec![canary("Phase 1", 25, "first", "back first"), canary("Phase 2", 50, "second", "back second")];
    let mut runner = Runner::new(plan(workflow(phases.clone(), vec![])));
    runner.run();
    assert_eq!(runner.status(), Status::Success);
    assert_eq!(runner.issued, ["first#1@a", "second#1@b"]);

    let strategies = vec![strategy(manifold_model::entity::RepairAction::RollbackWorkflow)];
    let mut runner = Runner::new(plan(workflow(phases, strategies))).failing(&["second"]);
    runner.run();
    assert_eq!(runner.status(), Status::Failed);
    assert_eq!(runner.issued, ["first#1@a", "second#1@b", "back second#1@b", "back first#1@a"]);
}

#[test]
fn without_a_selection_all_hosts_run_and_one_failed_host_fails_the_step_after_the_others() {
    let mut runner = Runner::new(plan(workflow(
        vec![phase("Phase 1", vec![section("Deploy", vec![on_hosts("install", "x")])], vec![])],
        vec![],
    )))
    .script(|task| {
        let host = task.step.as_ref().unwrap().instance.clone().unwrap();
        Some(if host == "a" {
            failed(FailureClass::Connectivity)
        } else {
            manifold_model::task::Outcome::succeeded()
        })
    });
    runner.run();
    assert_eq!(runner.status(), Status::Failed);
    assert_eq!(runner.issued.len(), 4);
    let failure = runner.row().failure.unwrap();
    assert_eq!(
        (failure.class, failure.message.as_str()),
        (FailureClass::Connectivity, "step `install`: a: it went wrong")
    );
}

#[test]
fn hosts_in_flight_are_bounded() {
    let names: Vec<String> = (0..173).map(|host| format!("host{host}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut plan = plan(workflow(
        vec![phase("Phase 1", vec![section("Deploy", vec![on_hosts("install", "x")])], vec![])],
        vec![],
    ));
    plan.infrastructures[0] = infrastructure("east", &names);
    let mut runner = Runner::new(plan);
    runner.run();
    assert_eq!(runner.status(), Status::Success);
    assert_eq!((runner.issued.len(), runner.most_open), (173, HOSTS_IN_FLIGHT));
}

#[test]
fn specific_hosts_of_the_request_narrow_every_phase() {
    let mut plan = plan(workflow(
        vec![phase("Phase 1", vec![section("Deploy", vec![on_hosts("install", "x")])], vec![])],
        vec![],
    ));
    plan.specific_hosts = Some(vec!["c".to_owned()]);
    let mut runner = Runner::new(plan);
    runner.run();
    assert_eq!(runner.issued, ["install#1@c"]);
}

#[test]
fn an_artifact_check_needs_an_artifact_for_every_service_that_uses_one() {
    let with_check = || {
        let mut install = noop("install");
        install.needs_artifact = true;
        let check = step("Check", "ARTIFACT_CHECK", manifold_model::kind::Player::Engine, json!({}));
        workflow(vec![phase("P", vec![section("Deploy", vec![check, install])], vec![])], vec![])
    };
    let mut runner = Runner::new(plan(with_check()));
    runner.run();
    assert_eq!(runner.status(), Status::Success);
    let mut without = plan(with_check());
    without.services[0].artifact = None;
    let mut runner = Runner::new(without);
    runner.run();
    assert_eq!((runner.status(), runner.code().as_str()), (Status::Failed, "ARTIFACT_MISSING"));
}

#[test]
fn barriers_hold_until_crossed_broken_or_late() {
    let whole = || {
        workflow(
            vec![phase("P", vec![section("S", vec![barrier("Gate", "all"), noop("behind")])], vec![])],
            vec![],
        )
    };
    let mut runner = Runner::new(plan(whole()));
    runner.advance(&[]);
    assert_eq!(runner.arrived, ["all"]);
    assert_eq!(runner.status(), Status::Waiting);
    assert_eq!(runner.leg.recover(), [Command::ArriveBarrier { identifier: "all".to_owned() }]);
    runner.advance(&[Input::Barrier { identifier: "other".to_owned(), broken_by: None }]);
    assert_eq!(runner.status(), Status::Waiting);
    runner.advance(&[Input::Barrier { identifier: "all".to_owned(), broken_by: None }]);
    runner.run();
    assert_eq!(runner.status(), Status::Success);

    let mut runner = Runner::new(plan(whole()));
    runner.advance(&[]);
    let broken_by = Some(ExecutionId::from("sibling"));
    runner.advance(&[Input::Barrier { identifier: "all".to_owned(), broken_by }]);
    assert_eq!((runner.status(), runner.code().as_str()), (Status::Failed, "BARRIER_BROKEN"));
    assert!(runner.commands.contains(&Command::LeaveBarriers { well: false }));

    let mut runner = Runner::new(plan(whole()));
    runner.run();
    assert_eq!((runner.status(), runner.code().as_str()), (Status::Failed, "BARRIER_TIMEOUT"));
    assert_eq!(runner.row().failure.unwrap().class, FailureClass::Timeout);

    let mut alone = Runner::with_parent(plan(whole()), None);
    alone.run();
    assert_eq!(alone.status(), Status::Success);
    assert!(alone.arrived.is_empty() && alone.completed.is_none());
}

#[test]
fn targets_that_cannot_be_resolved_end_the_leg_before_anything_runs() {
    let mut plan = plan(workflow(vec![phase("P", vec![section("S", vec![noop("one")])], vec![])], vec![]));
    plan.infrastructures[0].properties.insert("namespace".to_owned(), json!("${workflow.variables.nowhere}"));
    let mut runner = Runner::new(plan);
    runner.run();
    assert_eq!(runner.status(), Status::Failed);
    let message = runner.row().failure.unwrap().message;
    assert!(message.contains("namespace") && message.contains("workflow.variables.nowhere"), "{message}");
    assert!(runner.issued.is_empty());
}

#[test]
fn infrastructure_settings_are_resolved_per_leg() {
    let mut plan = plan(workflow(vec![phase("P", vec![section("S", vec![noop("one")])], vec![])], vec![]));
    plan.infrastructures[0]
        .properties
        .insert("namespace".to_owned(), json!("${workflow.variables.infra_variable}-ns"));
    let mut runner = Runner::new(plan);
    runner.run();
    let resolved = runner.events.iter().find_map(|event| match &event.kind {
        EventKind::TargetsResolved { phases } => phases[0].clone(),
        _ => None,
    });
    assert_eq!(resolved.unwrap().properties["namespace"], json!("east-ns"));
}

#[test]
fn a_setting_that_cannot_be_rendered_fails_the_step_before_it_is_issued() {
    let http = step(
        "call",
        "HTTP",
        manifold_model::kind::Player::Delegate,
        json!({"url": "https://${gone.away}/x"}),
    );
    let mut runner =
        Runner::new(plan(workflow(vec![phase("P", vec![section("S", vec![http])], vec![])], vec![])));
    runner.run();
    assert_eq!((runner.status(), runner.code().as_str()), (Status::Failed, "EXPRESSION_UNRESOLVED"));
    assert!(runner.row().failure.unwrap().message.contains("the URL"));
    assert!(runner.issued.is_empty());
}

#[test]
fn outcomes_of_other_tasks_and_second_outcomes_change_nothing() {
    let mut runner = Runner::new(plan(workflow(
        vec![phase("P", vec![section("S", vec![noop("one"), noop("two")])], vec![])],
        vec![],
    )))
    .script(|_| None);
    runner.advance(&[]);
    let first = runner.tasks[0].id.clone();
    let stranger = manifold_model::TaskId::from("stranger");
    let seq = runner.row().seq;
    let outcome = manifold_model::task::Outcome::succeeded();
    runner.advance(&[Input::TaskEnded { task: stranger, outcome: outcome.clone() }]);
    assert_eq!(runner.row().seq, seq);
    let ended = Input::TaskEnded { task: first, outcome };
    runner.advance(&[ended.clone(), ended.clone()]);
    let seq = runner.row().seq;
    runner.advance(&[ended]);
    assert_eq!(runner.row().seq, seq);
    assert_eq!(runner.issued, ["one#1", "two#1"]);
    assert!(matches!(runner.tasks[1].payload, Payload::Noop(_)));
}

#[test]
fn a_leg_that_is_not_in_its_plan_ends_with_an_error() {
    let mut plan = plan(workflow(vec![phase("P", vec![], vec![])], vec![]));
    plan.stages[0].elements[0].fleet.as_mut().unwrap().legs.clear();
    let mut runner = Runner::new(plan);
    runner.run();
    assert_eq!((runner.status(), runner.code().as_str()), (Status::Error, "PLAN_UNUSABLE"));
    assert!(runner.completed.is_some());
}
