//! Abort, pause, continue and rollback on request.

use manifold_engine::{Command, Input};
use manifold_model::Status;
use manifold_model::event::RollbackMark;
use manifold_model::request::Action;
use manifold_model::task::{Outcome, TaskResult};
use manifold_model::wait::WaitReason;

use crate::build::*;
use crate::runner::*;

fn two_steps() -> Runner {
    let phase = phase(
        "P",
        vec![section("S", vec![deploy("one"), deploy("two")])],
        vec![undo("U", "S", vec![noop("back")])],
    );
    Runner::new(plan(workflow(vec![phase], vec![])))
}

fn cancelled() -> Outcome {
    Outcome::of(TaskResult::Cancelled)
}

#[test]
fn an_abort_cancels_waits_and_rolls_nothing_back() {
    let mut runner = two_steps().script(|_| None);
    runner.advance(&[]);
    let task = runner.tasks[0].id.clone();
    runner.ask(Action::Abort);
    assert_eq!(runner.status(), Status::Aborting);
    assert!(runner.commands.contains(&Command::CancelTasks(vec![task.clone()])));
    assert!(matches!(runner.row().waits[0].reason, WaitReason::Stopping { running: 1, .. }));
    runner.ask(Action::Abort).ask(Action::Pause).ask(Action::Continue).ask(Action::Rollback);
    assert_eq!(runner.status(), Status::Aborting);
    runner.end(&task, cancelled());
    assert_eq!((runner.status(), runner.code().as_str()), (Status::Aborted, "ABORTED_ON_REQUEST"));
    assert_eq!(runner.step_status("one"), Status::Aborted);
    assert_eq!(runner.issued, ["one#1"]);
    assert!(runner.commands.contains(&Command::LeaveBarriers { well: false }));
    assert!(runner.commands.iter().any(|command| matches!(command, Command::Deployed(_))));
}

#[test]
fn an_abort_does_not_wait_for_ever_for_tasks_that_do_not_stop() {
    let mut runner = two_steps().script(|_| None);
    runner.advance(&[]);
    runner.ask(Action::Abort);
    let asked = runner.now;
    assert!(runner.fire());
    assert_eq!(runner.now, asked + 60_000);
    assert_eq!((runner.status(), runner.code().as_str()), (Status::Aborted, "ABORTED_WITH_TASKS_RUNNING"));
    assert!(runner.row().failure.unwrap().message.contains("1 tasks did not stop"));
    let seq = runner.row().seq;
    let late = runner.tasks[0].id.clone();
    runner.advance(&[Input::TaskEnded { task: late, outcome: Outcome::succeeded() }]);
    assert_eq!(runner.row().seq, seq);
}

#[test]
fn an_abort_before_the_beginning_ends_at_once() {
    let mut runner = two_steps();
    runner.ask(Action::Abort);
    assert_eq!(runner.status(), Status::Aborted);
    assert!(runner.issued.is_empty());
}

#[test]
fn a_pause_lets_running_steps_finish_and_starts_nothing() {
    let mut runner = two_steps();
    runner.advance(&[]);
    runner.ask(Action::Pause);
    assert_eq!(runner.status(), Status::Pausing);
    runner.run();
    assert_eq!(runner.status(), Status::Paused);
    assert_eq!(runner.issued, ["one#1"]);
    runner.ask(Action::Continue);
    runner.run();
    assert_eq!(runner.status(), Status::Success);
    assert_eq!(runner.issued, ["one#1", "two#1"]);
}

#[test]
fn a_pause_before_the_beginning_takes_no_lock() {
    let mut whole = workflow(vec![phase("P", vec![section("S", vec![noop("one")])], vec![])], vec![]);
    whole.locks = true;
    let mut runner = Runner::new(plan(whole));
    runner.ask(Action::Pause);
    runner.run();
    assert_eq!(runner.status(), Status::Paused);
    assert!(runner.locked.is_empty());
    runner.ask(Action::Continue);
    runner.run();
    assert_eq!(runner.status(), Status::Success);
}

#[test]
fn a_retry_whose_time_comes_in_a_pause_begins_when_it_is_over() {
    let mut one = section("S", vec![noop("one")]);
    one.strategies = vec![retry(1, &[10], None)];
    let mut runner =
        Runner::new(plan(workflow(vec![phase("P", vec![one], vec![])], vec![]))).script(|task| {
            Some(if task.attempt == 1 {
                failed(manifold_model::FailureClass::Application)
            } else {
                Outcome::succeeded()
            })
        });
    runner.advance(&[]);
    runner.step();
    runner.ask(Action::Pause);
    runner.fire();
    assert_eq!(runner.status(), Status::Paused);
    assert_eq!(runner.issued, ["one#1"]);
    runner.ask(Action::Continue);
    runner.run();
    assert_eq!(runner.status(), Status::Success);
}

#[test]
fn a_rollback_request_stops_and_rolls_back() {
    let mut runner =
        two_steps().script(|task| (task.step.as_ref().unwrap().name == "back").then(Outcome::succeeded));
    runner.advance(&[]);
    let task = runner.tasks[0].id.clone();
    runner.ask(Action::Rollback);
    assert!(matches!(runner.row().waits[0].reason, WaitReason::Stopping { .. }));
    runner.end(&task, cancelled());
    runner.run();
    assert_eq!((runner.status(), runner.code().as_str()), (Status::Failed, "ROLLED_BACK_ON_REQUEST"));
    assert_eq!(runner.row().rollback, Some(RollbackMark::RolledBack));
    assert_eq!(runner.issued, ["one#1", "back#1"]);
    assert!(runner.row().failure.unwrap().message.contains("by Ada"));
}

#[test]
fn an_abort_stops_a_rollback() {
    let mut runner = two_steps().script(|_| None);
    runner.advance(&[]);
    let task = runner.tasks[0].id.clone();
    runner.ask(Action::Rollback);
    runner.end(&task, cancelled());
    assert_eq!(runner.issued, ["one#1", "back#1"]);
    runner.ask(Action::Abort);
    let back = runner.tasks[1].id.clone();
    runner.end(&back, cancelled());
    assert_eq!(runner.status(), Status::Aborted);
    assert_eq!(runner.row().rollback, Some(RollbackMark::RollbackFailed));
}
