//! Many legs of one plan, one after another: each step is issued once. With `--nocapture` it says what a step costs the engine.

use std::time::Instant;

use manifold_engine::{Command, Input, Leg};
use manifold_model::ExecutionId;
use manifold_model::event::{Event, EventKind, LegPlace, Published};
use manifold_model::request::Cause;
use manifold_model::task::Outcome;

use crate::build::*;

/// Legs played.
const LEGS: u32 = 2_000;

#[test]
fn many_legs_issue_each_step_once() {
    let steps = (0..5).map(|step| noop(&format!("step {step}"))).collect();
    let plan =
        std::sync::Arc::new(plan(workflow(vec![phase("P", vec![section("S", steps)], vec![])], vec![])));
    let begun = Instant::now();
    let mut issued = 0;
    for leg in 0..LEGS {
        let mut leg = Leg::new(std::sync::Arc::clone(&plan), ExecutionId::from(format!("leg{leg}")));
        leg.fold(&Event {
            seq: 1,
            at: 1,
            kind: EventKind::WorkflowStarted {
                plan: manifold_model::PlanDigest::of(b"plan"),
                place: LegPlace { stage: 0, element: 0, leg: 0 },
                parent: Some(ExecutionId::from("parent")),
                original: None,
                cause: Cause::Pipeline { execution: ExecutionId::from("parent") },
                outputs: Published::new(),
                release_no: 1,
            },
        });
        let mut inputs = vec![];
        loop {
            let advance = leg.advance(&inputs, 2);
            inputs.clear();
            for command in advance.commands {
                match command {
                    Command::Issue(task) => {
                        issued += 1;
                        inputs.push(Input::TaskEnded { task: task.id, outcome: Outcome::succeeded() });
                    }
                    Command::RecallLastGood(_) => inputs.push(Input::LastGood(vec![])),
                    _ => {}
                }
            }
            if leg.row().status.is_final() {
                break;
            }
        }
    }
    assert_eq!(issued, LEGS * 5);
    println!("{:?} a step", begun.elapsed() / issued);
}
