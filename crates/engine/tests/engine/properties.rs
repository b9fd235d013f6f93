//! What holds for every workflow and every order in which things happen.

use std::sync::Arc;

use manifold_engine::{Command, Input, kinds};
use manifold_model::entity::{FailureStrategy, RepairAction};
use manifold_model::kind::Player;
use manifold_model::plan::{PhasePlan, Plan, SectionPlan, StepPlan};
use manifold_model::request::Action;
use manifold_model::task::{Outcome, TaskResult};
use manifold_model::wait::WaitReason;
use manifold_model::{FailureClass, Status};
use proptest::prelude::*;

use crate::build::*;
use crate::runner::*;

const ACTIONS: [RepairAction; 8] = [
    RepairAction::ManualIntervention,
    RepairAction::RollbackWorkflow,
    RepairAction::RollbackPhase,
    RepairAction::RollbackProvisionerAfterPhases,
    RepairAction::Ignore,
    RepairAction::Retry,
    RepairAction::EndExecution,
    RepairAction::AbortWorkflowExecution,
];

fn a_strategy() -> impl Strategy<Value = FailureStrategy> {
    let action = || proptest::sample::select(ACTIONS.to_vec());
    (action(), 0u32..3, proptest::option::of(action()), proptest::option::of(action()), any::<bool>())
        .prop_map(|(action, retry_count, after_retry, after_timeout, phase_scope)| FailureStrategy {
            retry_count,
            retry_intervals: vec![1, 2],
            action_after_retry: after_retry,
            action_after_timeout: after_timeout,
            phase_scope,
            ..strategy(action)
        })
}

fn a_step() -> impl Strategy<Value = StepPlan> {
    (0u32..10).prop_map(|choice| match choice {
        8 => guard("Guard", serde_json::json!({ "holdingScope": "PHASE" })),
        9 => guard("Guard", serde_json::json!({ "resourceUnit": "${infra.name}", "permits": "2" })),
        0 => on_hosts("hosts", "x"),
        1 => barrier("Gate", "all"),
        2 => StepPlan { needs_artifact: true, ..deploy("needs artifact") },
        3 | 4 => deploy("deploy"),
        5 => step("Check", "ARTIFACT_CHECK", Player::Engine, serde_json::json!({})),
        _ => noop("noop"),
    })
}

fn a_section(name: &'static str, undone: Option<&'static str>) -> impl Strategy<Value = SectionPlan> {
    (
        proptest::collection::vec(a_step(), 0..4),
        any::<bool>(),
        proptest::collection::vec(a_strategy(), 0..2),
        prop_oneof![4 => Just(0u64), 1 => Just(3u64)],
        proptest::sample::select(vec!["", "", "", "${infra.name} == 'east'", "${gone}"]),
    )
        .prop_map(move |(steps, parallel, strategies, wait_seconds, condition)| {
            let skips = if condition.is_empty() { vec![] } else { vec![skip(&["noop"], condition)] };
            SectionPlan {
                parallel,
                strategies,
                wait_seconds,
                skips,
                rolls_back: undone.map(str::to_owned),
                ..section(name, steps)
            }
        })
}

fn a_phase() -> impl Strategy<Value = PhasePlan> {
    (
        a_section("One", None),
        a_section("Two", None),
        a_section("Undo two", Some("Two")),
        a_section("Undo one", Some("One")),
    )
        .prop_map(|(one, two, undo_two, undo_one)| phase("Phase", vec![one, two], vec![undo_two, undo_one]))
}

fn a_plan() -> impl Strategy<Value = Plan> {
    (
        proptest::collection::vec(a_phase(), 1..3),
        proptest::collection::vec(a_strategy(), 0..3),
        any::<bool>(),
        proptest::option::of(a_section("Pre", None)),
        proptest::option::of(a_section("Post", None)),
    )
        .prop_map(|(phases, strategies, locks, pre, post)| {
            let mut whole = workflow(phases, strategies);
            whole.locks = locks;
            whole.pre_deployment = pre;
            whole.post_deployment = post;
            plan(whole)
        })
}

/// What happens next around the leg.
#[derive(Clone, Debug)]
enum Move {
    End(prop::sample::Index, u8),
    Fire,
    Barrier(bool),
    Permits(bool),
    Lock(bool),
    Answer(prop::sample::Index),
    Ask(u8),
}

fn a_move() -> impl Strategy<Value = Move> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        10 => (index(), 0u8..10).prop_map(|(task, how)| Move::End(task, how)),
        4 => Just(Move::Fire),
        2 => any::<bool>().prop_map(Move::Barrier),
        2 => prop_oneof![3 => Just(true), 1 => Just(false)].prop_map(Move::Permits),
        2 => prop_oneof![9 => Just(true), 1 => Just(false)].prop_map(Move::Lock),
        3 => index().prop_map(Move::Answer),
        1 => (0u8..8).prop_map(Move::Ask),
    ]
}

fn outcome(how: u8) -> Outcome {
    match how {
        0..=5 => Outcome::succeeded(),
        6 => failed(FailureClass::Application),
        7 => failed(FailureClass::Timeout),
        8 => Outcome::of(TaskResult::Cancelled),
        _ => Outcome::of(TaskResult::Unknown { seen: "nothing".to_owned() }),
    }
}

fn play(runner: &mut Runner, one: &Move) {
    match one {
        Move::End(index, how) => {
            let open: Vec<_> = runner.open.keys().cloned().collect();
            if !open.is_empty() {
                let task = index.get(&open).clone();
                runner.end(&task, outcome(*how));
            }
        }
        Move::Fire => drop(runner.fire()),
        Move::Barrier(well) => {
            let broken_by = (!well).then(|| manifold_model::ExecutionId::from("sibling"));
            runner.advance(&[Input::Barrier { identifier: "all".to_owned(), broken_by }]);
        }
        Move::Permits(true) => runner.grant_permits(),
        Move::Permits(false) => runner.refuse_permits(),
        Move::Lock(true) => runner.advance(&[Input::LockGranted]),
        Move::Lock(false) => runner.advance(&[Input::LockRefused { limit: 20 }]),
        Move::Answer(index) => answer(runner, Some(*index)),
        Move::Ask(which) => {
            let action = match which {
                0 => Action::Abort,
                1 | 2 => Action::Rollback,
                3..=5 => Action::Pause,
                _ => Action::Continue,
            };
            runner.ask(action);
        }
    }
}

/// Answers one question to a person, if there is one; without an index so that the execution comes to its end.
fn answer(runner: &mut Runner, index: Option<prop::sample::Index>) {
    let wait = runner.row().waits.into_iter().find(|wait| {
        matches!(wait.reason, WaitReason::Intervention { .. } | WaitReason::UnknownOutcome { .. })
    });
    let Some(wait) = wait else { return };
    let step = wait.step.unwrap();
    match wait.reason {
        WaitReason::Intervention { options, .. } => {
            let answer = index.map_or(RepairAction::EndExecution, |index| *index.get(&options));
            runner.ask(Action::AnswerIntervention { step, answer });
        }
        WaitReason::UnknownOutcome { instance, .. } => {
            let ran = index.is_none_or(|index| index.index(2) == 0);
            runner.ask(Action::AnswerUnknownOutcome { step, instance, ran });
        }
        _ => {}
    }
}

/// Everything that is owed is given, until the end.
fn finish_fairly(runner: &mut Runner) {
    for _ in 0..5_000 {
        if runner.status().is_final() {
            return;
        }
        runner.ask(Action::Continue);
        runner
            .advance(&[Input::LockGranted, Input::Barrier { identifier: "all".to_owned(), broken_by: None }]);
        runner.grant_permits();
        answer(runner, None);
        let open: Vec<_> = runner.open.keys().cloned().collect();
        for task in open {
            runner.end(&task, Outcome::succeeded());
        }
        runner.fire();
    }
    panic!("a fair schedule does not end: {:?}", runner.row());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Every advance is checked by the runner: the journal replays to the same state, nothing more can be decided, nothing waits without a
    /// reason, no task is issued twice. And whatever happened before, a fair schedule ends.
    #[test]
    fn every_schedule_keeps_the_promises_and_ends(
        plan in a_plan(),
        moves in proptest::collection::vec(a_move(), 0..40),
        grant in any::<bool>(),
    ) {
        let mut runner = Runner::new(plan);
        runner.grant = grant;
        runner.advance(&[]);
        for one in &moves {
            if runner.status().is_final() {
                break;
            }
            play(&mut runner, one);
        }
        finish_fairly(&mut runner);
        every_prefix_replays(&runner);
        prop_assert!(runner.completed.is_some());
        let left = runner.commands.iter().filter(|command| matches!(command, Command::LeaveBarriers { .. })).count();
        prop_assert_eq!(left, 1);
        let left = runner.commands.iter().filter(|command| matches!(command, Command::LeaveConstraints)).count();
        prop_assert_eq!(left, 1);
        let locked = runner.commands.iter().filter(|command| matches!(command, Command::Lock { .. })).count();
        let unlocked = runner.commands.iter().filter(|command| matches!(command, Command::Unlock)).count();
        prop_assert!(locked <= 1 && locked == unlocked);
    }
}

/// A leg that is folded from any prefix of a journal can be shown, and has a reason for not being at its end.
fn every_prefix_replays(runner: &Runner) {
    for upto in 0..=runner.events.len() {
        let leg = replay(&Arc::clone(&runner.plan), &runner.events[..upto]);
        let row = leg.row();
        assert_eq!(row.seq, upto as u64);
        let _ = leg.view();
        assert_eq!(row.status.is_final(), upto == runner.events.len());
    }
    let mut leg = replay(&runner.plan, &runner.events);
    assert_eq!(leg.advance(&[Input::LockGranted, request(Action::Abort)], runner.now), Default::default());
}

#[test]
fn the_engine_offers_what_it_plays_and_no_cloud() {
    let names: Vec<String> = kinds().iter().map(|kind| kind.name.to_string()).collect();
    assert_eq!(names, ["ARTIFACT_CHECK", "BARRIER", "RESOURCE_CONSTRAINT", "DC_NODE_SELECT"]);
    assert!(kinds().iter().all(|kind| kind.player == Player::Engine));
    assert_eq!(Status::Success.name(), "SUCCESS");
}
