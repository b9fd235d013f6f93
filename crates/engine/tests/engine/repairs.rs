//! Failure strategies and rollback (`behaviour.md` 7).

use manifold_model::entity::{FailureStrategy, RepairAction};
use manifold_model::event::RollbackMark;
use manifold_model::plan::{PhasePlan, SectionPlan};
use manifold_model::request::Action;
use manifold_model::task::{Outcome, Payload, TaskResult};
use manifold_model::wait::WaitReason;
use manifold_model::{FailureClass, Status};
use serde_json::json;

use crate::build::*;
use crate::runner::*;

fn deploying(name: &str, step: &str, back: &str) -> PhasePlan {
    phase(name, vec![section("Deploy", vec![deploy(step)])], vec![undo("Undo", "Deploy", vec![noop(back)])])
}

fn two_phases(strategies: Vec<FailureStrategy>) -> Runner {
    let phases = vec![deploying("Phase 1", "one", "back one"), deploying("Phase 2", "two", "back two")];
    Runner::new(plan(workflow(phases, strategies)))
}

fn with_section(strategies: Vec<FailureStrategy>, workflow_level: Vec<FailureStrategy>) -> Runner {
    let mut first = section("Deploy", vec![deploy("one"), deploy("two")]);
    first.strategies = strategies;
    let phase = phase("Phase 1", vec![first], vec![undo("Undo", "Deploy", vec![noop("back")])]);
    Runner::new(plan(workflow(vec![phase], workflow_level)))
}

fn mark(runner: &Runner) -> Option<RollbackMark> {
    runner.row().rollback
}

#[test]
fn rollback_workflow_rolls_back_all_begun_phases_newest_first() {
    let mut runner = two_phases(vec![strategy(RepairAction::RollbackWorkflow)]).failing(&["two"]);
    runner.run();
    assert_eq!(runner.status(), Status::Failed);
    assert_eq!(runner.issued, ["one#1", "two#1", "back two#1", "back one#1"]);
    assert_eq!(mark(&runner), Some(RollbackMark::RolledBack));
    assert_eq!(runner.row().failure.unwrap().message, "step `two`: it went wrong");
    let view = runner.leg.view();
    let names: Vec<(&str, Status)> =
        view.phases.iter().map(|phase| (phase.name.as_str(), phase.status)).collect();
    assert_eq!(
        names,
        [
            ("Phase 1", Status::Success),
            ("Phase 2", Status::Failed),
            ("Rollback Phase 2", Status::Success),
            ("Rollback Phase 1", Status::Success)
        ]
    );
}

#[test]
fn phases_that_did_not_begin_are_not_rolled_back() {
    let mut runner = two_phases(vec![strategy(RepairAction::RollbackWorkflow)]).failing(&["one"]);
    runner.run();
    assert_eq!(runner.issued, ["one#1", "back one#1"]);
}

#[test]
fn rollback_phase_and_phase_scope_roll_back_the_failing_phase_only() {
    let scoped = FailureStrategy { phase_scope: true, ..strategy(RepairAction::RollbackWorkflow) };
    for strategy in [strategy(RepairAction::RollbackPhase), scoped] {
        let mut runner = two_phases(vec![strategy]).failing(&["two"]);
        runner.run();
        assert_eq!(runner.status(), Status::Failed);
        assert_eq!(runner.issued, ["one#1", "two#1", "back two#1"]);
    }
}

#[test]
fn without_a_matching_strategy_the_leg_fails_and_nothing_is_rolled_back() {
    let other = only(RepairAction::RollbackWorkflow, FailureClass::Connectivity);
    for strategies in [vec![], vec![other]] {
        let mut runner = two_phases(strategies).failing(&["two"]);
        runner.run();
        assert_eq!((runner.status(), mark(&runner)), (Status::Failed, None));
        assert_eq!(runner.issued, ["one#1", "two#1"]);
    }
}

#[test]
fn the_first_strategy_that_matches_the_class_acts() {
    let strategies = vec![
        only(RepairAction::Ignore, FailureClass::Connectivity),
        strategy(RepairAction::AbortWorkflowExecution),
        strategy(RepairAction::RollbackWorkflow),
    ];
    let mut runner = two_phases(strategies).failing(&["two"]);
    runner.run();
    assert_eq!(runner.status(), Status::Aborted);
    assert_eq!(runner.issued, ["one#1", "two#1"]);
}

#[test]
fn end_execution_rolls_back_only_what_deployed_something() {
    let phases = vec![
        deploying("Phase 1", "one", "back one"),
        phase(
            "Phase 2",
            vec![section("Check", vec![noop("check")])],
            vec![undo("Undo", "Check", vec![noop("back check")])],
        ),
    ];
    let strategies = vec![strategy(RepairAction::EndExecution)];
    let mut runner = Runner::new(plan(workflow(phases, strategies))).failing(&["check"]);
    runner.run();
    assert_eq!(runner.status(), Status::Failed);
    assert_eq!(runner.issued, ["one#1", "check#1", "back one#1"]);
}

#[test]
fn ignored_failures_count_as_passed() {
    let mut runner = two_phases(vec![strategy(RepairAction::Ignore)]).failing(&["one", "two"]);
    runner.run();
    assert_eq!(runner.status(), Status::Success);
    assert_eq!(runner.issued, ["one#1", "two#1"]);
    assert_eq!(runner.step_status("one"), Status::Success);
}

#[test]
fn retry_repeats_with_its_intervals_and_then_succeeds() {
    let mut runner = with_section(vec![retry(3, &[5, 20], None)], vec![]).script(|task| {
        let first = task.step.as_ref().unwrap().name == "one";
        Some(if first && task.attempt < 4 { failed(FailureClass::Application) } else { Outcome::succeeded() })
    });
    let begun = runner.now;
    runner.advance(&[]);
    runner.step();
    assert_eq!(runner.status(), Status::Waiting);
    assert!(matches!(runner.row().waits[0].reason, WaitReason::Retry { attempt: 2, of: 4, .. }));
    runner.run();
    assert_eq!(runner.status(), Status::Success);
    assert_eq!(runner.issued, ["one#1", "one#2", "one#3", "one#4", "two#1"]);
    assert!(runner.now >= begun + 5_000 + 20_000 + 20_000);
}

#[test]
fn a_spent_retry_takes_its_next_action_or_the_workflow_level() {
    let mut runner = with_section(vec![retry(1, &[], Some(RepairAction::Ignore))], vec![]).failing(&["one"]);
    runner.run();
    assert_eq!(runner.status(), Status::Success);
    assert_eq!(runner.issued, ["one#1", "one#2", "two#1"]);

    let workflow_level = vec![strategy(RepairAction::RollbackWorkflow)];
    let mut runner = with_section(vec![retry(1, &[], None)], workflow_level).failing(&["one"]);
    runner.run();
    assert_eq!(runner.status(), Status::Failed);
    assert_eq!(runner.issued, ["one#1", "one#2", "back#1"]);
}

#[test]
fn the_section_level_beats_the_workflow_level_and_may_name_steps() {
    let named = FailureStrategy { specific_steps: vec!["two".to_owned()], ..strategy(RepairAction::Ignore) };
    let workflow_level = vec![strategy(RepairAction::AbortWorkflowExecution)];
    let mut runner = with_section(vec![named.clone()], workflow_level.clone()).failing(&["two"]);
    runner.run();
    assert_eq!(runner.status(), Status::Success);
    let mut runner = with_section(vec![named], workflow_level).failing(&["one"]);
    runner.run();
    assert_eq!(runner.status(), Status::Aborted);
}

#[test]
fn a_retry_repeats_only_the_hosts_that_failed() {
    let mut install = section("Deploy", vec![on_hosts("install", "x")]);
    install.strategies = vec![retry(1, &[], None)];
    let mut runner =
        Runner::new(plan(workflow(vec![phase("P", vec![install], vec![])], vec![]))).script(|task| {
            let host = task.step.as_ref().unwrap().instance.clone().unwrap();
            let bad = task.attempt == 1 && (host == "b" || host == "d");
            Some(if bad { failed(FailureClass::Application) } else { Outcome::succeeded() })
        });
    runner.run();
    assert_eq!(runner.status(), Status::Success);
    assert_eq!(runner.issued[4..], ["install#2@b".to_owned(), "install#2@d".to_owned()]);
}

#[test]
fn manual_intervention_asks_and_does_as_told() {
    let answers = [
        (RepairAction::Ignore, Status::Success, vec!["one#1", "two#1"]),
        (RepairAction::MarkAsSuccess, Status::Success, vec!["one#1", "two#1"]),
        (RepairAction::EndExecution, Status::Failed, vec!["one#1", "back#1"]),
        (RepairAction::AbortWorkflowExecution, Status::Aborted, vec!["one#1"]),
        (RepairAction::RollbackWorkflow, Status::Failed, vec!["one#1", "back#1"]),
    ];
    for (answer, status, issued) in answers {
        let mut runner =
            with_section(vec![strategy(RepairAction::ManualIntervention)], vec![]).failing(&["one"]);
        runner.advance(&[]);
        runner.step();
        assert_eq!(runner.status(), Status::Paused);
        let WaitReason::Intervention { until, .. } = runner.row().waits[0].reason.clone() else { panic!() };
        assert_eq!(until - runner.now, 1_209_600_000);
        let step = runner.key("one");
        // An answer that was not offered changes nothing.
        runner.ask(Action::AnswerIntervention { step, answer: RepairAction::RollbackProvisionerAfterPhases });
        assert_eq!(runner.status(), Status::Paused);
        runner.ask(Action::AnswerIntervention { step, answer });
        runner.run();
        assert_eq!(
            (runner.status(), runner.issued.clone()),
            (status, issued.iter().map(|i| (*i).to_owned()).collect())
        );
    }
}

#[test]
fn manual_intervention_can_retry_and_asks_again() {
    let mut runner = with_section(vec![strategy(RepairAction::ManualIntervention)], vec![]).script(|task| {
        let bad = task.step.as_ref().unwrap().name == "one" && task.attempt < 3;
        Some(if bad { failed(FailureClass::Application) } else { Outcome::succeeded() })
    });
    for attempt in 1..3 {
        runner.advance(&[]);
        runner.step();
        assert_eq!(runner.status(), Status::Paused, "attempt {attempt}");
        let step = runner.key("one");
        runner.ask(Action::AnswerIntervention { step, answer: RepairAction::Retry });
    }
    runner.run();
    assert_eq!(runner.status(), Status::Success);
    assert_eq!(runner.issued, ["one#1", "one#2", "one#3", "two#1"]);
}

#[test]
fn an_unanswered_intervention_takes_its_action_after_the_timeout() {
    let asks = FailureStrategy {
        intervention_timeout_ms: Some(60_000),
        action_after_timeout: Some(RepairAction::Ignore),
        ..strategy(RepairAction::ManualIntervention)
    };
    let mut runner = with_section(vec![asks], vec![]).failing(&["one"]);
    runner.run();
    assert_eq!(runner.status(), Status::Success);
}

#[test]
fn in_a_parallel_section_the_others_finish_before_a_failure_acts() {
    let mut both = section("Deploy", vec![deploy("bad"), deploy("slow"), barrier("Gate", "g")]);
    both.parallel = true;
    let phase = phase("P", vec![both], vec![undo("Undo", "Deploy", vec![noop("back")])]);
    let mut runner = Runner::new(plan(workflow(vec![phase], vec![strategy(RepairAction::RollbackWorkflow)])))
        .script(|task| (task.step.as_ref().unwrap().name == "back").then(Outcome::succeeded));
    runner.advance(&[]);
    let (bad, slow) = (runner.tasks[0].id.clone(), runner.tasks[1].id.clone());
    runner.end(&bad, failed(FailureClass::Application));
    assert_eq!(runner.issued, ["bad#1", "slow#1"]);
    assert_eq!(runner.status(), Status::Running);
    runner.end(&slow, Outcome::succeeded());
    assert_eq!(runner.issued, ["bad#1", "slow#1", "back#1"]);
    runner.run();
    assert_eq!((runner.status(), mark(&runner)), (Status::Failed, Some(RollbackMark::RolledBack)));
    assert_eq!(runner.step_status("slow"), Status::Success);
    assert_eq!(runner.step_status("Gate"), Status::Aborted);
}

#[test]
fn two_failures_in_a_parallel_section_are_one_decision() {
    let mut both = section("Deploy", vec![deploy("bad"), deploy("worse")]);
    both.parallel = true;
    let phase = phase("P", vec![both], vec![undo("Undo", "Deploy", vec![noop("back")])]);
    let strategies = vec![strategy(RepairAction::RollbackWorkflow)];
    let mut runner = Runner::new(plan(workflow(vec![phase], strategies))).failing(&["bad", "worse"]);
    runner.run();
    assert_eq!(runner.issued, ["bad#1", "worse#1", "back#1"]);
    assert_eq!(runner.status(), Status::Failed);
}

fn rollback_sections() -> Vec<SectionPlan> {
    vec![
        undo("Disable again", "Enable", vec![noop("disable")]),
        undo("Deploy again", "Deploy", vec![noop("redeploy")]),
        section("Wrap up", vec![noop("wrap up")]),
    ]
}

#[test]
fn a_rollback_section_runs_only_when_what_it_undoes_began() {
    let whole = phase(
        "P",
        vec![section("Deploy", vec![deploy("install")]), section("Enable", vec![deploy("enable")])],
        rollback_sections(),
    );
    let strategies = vec![strategy(RepairAction::RollbackWorkflow)];
    let mut runner =
        Runner::new(plan(workflow(vec![whole.clone()], strategies.clone()))).failing(&["install"]);
    runner.run();
    assert_eq!(runner.issued, ["install#1", "redeploy#1", "wrap up#1"]);
    let mut runner = Runner::new(plan(workflow(vec![whole], strategies))).failing(&["enable"]);
    runner.run();
    assert_eq!(runner.issued, ["install#1", "enable#1", "disable#1", "redeploy#1", "wrap up#1"]);
}

#[test]
fn rollback_steps_deploy_the_last_good_artifact_or_are_skipped_without_one() {
    let whole = || {
        let mut back = noop("back");
        back.properties =
            json!({"outputs": {"now": "${artifact.buildNo}", "old": "${rollbackArtifact.buildNo}"}})
                .as_object()
                .unwrap()
                .clone();
        back.needs_artifact = true;
        let phase = phase(
            "P",
            vec![section("Deploy", vec![deploy("install")])],
            vec![undo("U", "Deploy", vec![back])],
        );
        workflow(vec![phase], vec![strategy(RepairAction::RollbackWorkflow)])
    };
    let mut runner = Runner::new(plan(whole())).failing(&["install"]).with_last_good("1.0");
    runner.run();
    assert_eq!(mark(&runner), Some(RollbackMark::RolledBack));
    let Payload::Noop(noop) = &runner.tasks[1].payload else { panic!() };
    assert_eq!((noop.outputs["now"].as_str(), noop.outputs["old"].as_str()), ("1.0", "1.0"));

    let mut runner = Runner::new(plan(whole())).failing(&["install"]);
    runner.run();
    assert_eq!((runner.status(), mark(&runner)), (Status::Failed, Some(RollbackMark::NotRolledBack)));
    assert_eq!(runner.issued, ["install#1"]);
    assert_eq!(runner.step_status("back"), Status::Skipped);
}

#[test]
fn a_failed_rollback_step_lets_older_phases_roll_back() {
    let mut runner = two_phases(vec![strategy(RepairAction::RollbackWorkflow)]).failing(&["two", "back two"]);
    runner.run();
    assert_eq!((runner.status(), mark(&runner)), (Status::Failed, Some(RollbackMark::RollbackFailed)));
    assert_eq!(runner.issued, ["one#1", "two#1", "back two#1", "back one#1"]);
    // What made the leg fail is the step, not its rollback.
    assert_eq!(runner.row().failure.unwrap().message, "step `two`: it went wrong");
}

#[test]
fn strategies_of_rollback_sections_are_honoured() {
    for (strategy_of_undo, mark_then, issued) in [
        (retry(1, &[], None), RollbackMark::RolledBack, vec!["one#1", "back#1", "back#2"]),
        (strategy(RepairAction::Ignore), RollbackMark::RolledBack, vec!["one#1", "back#1"]),
        (strategy(RepairAction::RollbackWorkflow), RollbackMark::RollbackFailed, vec!["one#1", "back#1"]),
    ] {
        let mut undo = undo("Undo", "Deploy", vec![noop("back")]);
        undo.strategies = vec![strategy_of_undo];
        let phase = phase("P", vec![section("Deploy", vec![deploy("one")])], vec![undo]);
        let mut runner =
            Runner::new(plan(workflow(vec![phase], vec![strategy(RepairAction::RollbackWorkflow)]))).script(
                |task| {
                    let bad = task.step.as_ref().unwrap().name == "one" || task.attempt == 1;
                    Some(if bad { failed(FailureClass::Application) } else { Outcome::succeeded() })
                },
            );
        runner.run();
        assert_eq!((runner.status(), mark(&runner)), (Status::Failed, Some(mark_then)));
        assert_eq!(runner.issued, issued);
    }
}

#[test]
fn manual_intervention_in_a_rollback_can_abort_it() {
    let mut undo = undo("Undo", "Deploy", vec![noop("back"), noop("back too")]);
    undo.strategies = vec![strategy(RepairAction::ManualIntervention)];
    let phase = phase("P", vec![section("Deploy", vec![deploy("one")])], vec![undo]);
    let mut runner = Runner::new(plan(workflow(vec![phase], vec![strategy(RepairAction::RollbackWorkflow)])))
        .failing(&["one", "back"]);
    runner.advance(&[]);
    runner.step();
    runner.step();
    assert_eq!(runner.status(), Status::Paused);
    let step = runner.key("back");
    runner.ask(Action::AnswerIntervention { step, answer: RepairAction::RollbackWorkflow });
    assert_eq!(runner.status(), Status::Paused);
    runner.ask(Action::AnswerIntervention { step, answer: RepairAction::AbortWorkflowExecution });
    runner.run();
    assert_eq!((runner.status(), mark(&runner)), (Status::Aborted, Some(RollbackMark::RollbackFailed)));
    assert_eq!(runner.issued, ["one#1", "back#1"]);
}

#[test]
fn failures_outside_phases_roll_back_what_began() {
    let mut whole = workflow(
        vec![deploying("Phase 1", "one", "back one")],
        vec![strategy(RepairAction::RollbackWorkflow)],
    );
    whole.pre_deployment = Some(section("Pre", vec![noop("before")]));
    whole.post_deployment = Some(section("Post", vec![noop("after")]));
    let mut runner = Runner::new(plan(whole.clone())).failing(&["before"]);
    runner.run();
    assert_eq!((runner.status(), mark(&runner)), (Status::Failed, None));
    assert_eq!(runner.issued, ["before#1"]);
    let mut runner = Runner::new(plan(whole)).failing(&["after"]);
    runner.run();
    assert_eq!((runner.status(), mark(&runner)), (Status::Failed, Some(RollbackMark::RolledBack)));
    assert_eq!(runner.issued, ["before#1", "one#1", "after#1", "back one#1"]);
}

#[test]
fn an_unknown_outcome_waits_for_a_word_and_runs_again_when_it_did_not_run() {
    let unknown = || Outcome::of(TaskResult::Unknown { seen: "no marker".to_owned() });
    for (ran, issued) in [(true, vec!["one#1", "two#1"]), (false, vec!["one#1", "one#2", "two#1"])] {
        let mut runner = with_section(vec![], vec![]).script(move |task| {
            let first = task.step.as_ref().unwrap().name == "one" && task.attempt == 1;
            Some(if first { unknown() } else { Outcome::succeeded() })
        });
        runner.run();
        assert_eq!(runner.status(), Status::Paused);
        assert!(matches!(runner.row().waits[0].reason, WaitReason::UnknownOutcome { .. }));
        let step = runner.key("one");
        runner.ask(Action::AnswerUnknownOutcome { step, instance: None, ran });
        runner.ask(Action::AnswerUnknownOutcome { step, instance: None, ran: !ran });
        runner.run();
        assert_eq!(
            (runner.status(), runner.issued.clone()),
            (Status::Success, issued.iter().map(|i| (*i).to_owned()).collect())
        );
    }
}

#[test]
fn an_unknown_outcome_on_one_host_repeats_that_host_only() {
    let mut runner = Runner::new(plan(workflow(
        vec![phase("P", vec![section("Deploy", vec![on_hosts("install", "x")])], vec![])],
        vec![],
    )))
    .script(|task| {
        let host = task.step.as_ref().unwrap().instance.clone().unwrap();
        let unknown = host == "c" && task.attempt == 1;
        Some(if unknown {
            Outcome::of(TaskResult::Unknown { seen: "gone".to_owned() })
        } else {
            Outcome::succeeded()
        })
    });
    runner.run();
    let step = runner.key("install");
    runner.ask(Action::AnswerUnknownOutcome { step, instance: Some("a".to_owned()), ran: false });
    assert_eq!(runner.status(), Status::Paused);
    runner.ask(Action::AnswerUnknownOutcome { step, instance: Some("c".to_owned()), ran: false });
    runner.run();
    assert_eq!(runner.status(), Status::Success);
    assert_eq!(runner.issued[4..], ["install#2@c".to_owned()]);
}
