//! Pipelines: stages, fan-out, the worst leg decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use manifold_engine::{Advance, Command, Input, LEGS_PER_ADVANCE, PipelineRun};
use manifold_model::entity::StageSkip;
use manifold_model::event::{Event, EventKind, LegEnd, LegPlace, Published, PublishedValue, Resume};
use manifold_model::plan::{Plan, StagePlan};
use manifold_model::request::{Action, Cause};
use manifold_model::task::OutputValue;
use manifold_model::wait::WaitReason;
use manifold_model::{ExecutionId, Failure, FailureClass, PlanDigest, Status, code};

use crate::build::*;
use crate::runner::request;

struct Parent {
    plan: Arc<Plan>,
    run: PipelineRun,
    events: Vec<Event>,
    created: Vec<LegPlace>,
    sent: Vec<Action>,
    now: i64,
}

fn stages(elements: Vec<Vec<manifold_model::plan::ElementPlan>>, infrastructures: u32) -> Plan {
    let stages =
        (1..).zip(elements).map(|(n, elements)| StagePlan { name: format!("STAGE {n}"), elements }).collect();
    let one = workflow(vec![phase("P", vec![section("S", vec![noop("one")])], vec![])], vec![]);
    plan_of(one, stages, (0..infrastructures).map(|n| infrastructure(&format!("infra{n}"), &["a"])).collect())
}

impl Parent {
    fn new(plan: Plan) -> Self {
        Self::resumed(plan, None)
    }

    fn resumed(plan: Plan, resume: Option<Resume>) -> Self {
        let plan = Arc::new(plan);
        let mut run = PipelineRun::new(Arc::clone(&plan), ExecutionId::from("parent"));
        let cause = Cause::ApiKey { id: "1".to_owned(), name: "ci".to_owned() };
        let kind =
            EventKind::PipelineStarted { plan: PlanDigest::of(b"p"), cause, notes: String::new(), resume };
        let first = Event { seq: 1, at: 1, kind };
        run.fold(&first);
        Self { plan, run, events: vec![first], created: Vec::new(), sent: Vec::new(), now: 1 }
    }

    fn advance(&mut self, inputs: &[Input]) -> Advance {
        self.now += 1;
        let advance = self.run.advance(inputs, self.now);
        self.events.extend(advance.events.clone());
        let mut created = 0;
        for command in &advance.commands {
            match command {
                Command::CreateLegs { stage, element, from, to } => {
                    created += to - from;
                    self.created.extend((*from..*to).map(|leg| LegPlace {
                        stage: *stage,
                        element: *element,
                        leg,
                    }));
                }
                Command::LeaveConstraints => assert!(self.run.row().status.is_final()),
                Command::SendToLegs(request) => self.sent.push(request.action.clone()),
                other => panic!("a pipeline does not command {other:?}"),
            }
        }
        assert!(created <= LEGS_PER_ADVANCE);
        let mut replayed = PipelineRun::new(Arc::clone(&self.plan), ExecutionId::from("parent"));
        self.events.iter().for_each(|event| replayed.fold(event));
        assert!(replayed == self.run);
        if !advance.more {
            assert_eq!(replayed.advance(&[], self.now), Advance::default());
        }
        let row = self.run.row();
        assert_eq!(row.status.is_final(), row.waits.is_empty(), "{row:?}");
        assert_eq!(self.run.view().status, row.status);
        advance
    }

    fn end(&self, place: LegPlace, status: Status) -> LegEnd {
        let failure = (!status.is_good())
            .then(|| Failure::new(FailureClass::Application, code!("COMMAND_FAILED"), "it went wrong"));
        LegEnd {
            execution: ExecutionId::from(format!("leg{}", place.leg)),
            place,
            element: self.plan.element(place.stage, place.element).unwrap().id.clone(),
            status,
            failure,
            outputs: BTreeMap::new(),
        }
    }

    /// All legs that were created and not ended end like this.
    fn end_all(&mut self, status: impl Fn(u32) -> Status) {
        let ends: Vec<LegEnd> = self
            .created
            .drain(..)
            .collect::<Vec<_>>()
            .into_iter()
            .map(|at| self.end(at, status(at.leg)))
            .collect();
        self.advance(&[Input::LegsEnded(ends)]);
    }

    fn status(&self) -> Status {
        self.run.row().status
    }
}

#[test]
fn a_fan_out_creates_all_legs_and_ends_with_the_last() {
    let mut parent = Parent::new(stages(vec![vec![element("deploy", 2, 1)]], 2));
    assert_eq!(parent.status(), Status::Queued);
    parent.advance(&[]);
    assert_eq!(parent.created.len(), 2);
    assert_eq!(parent.run.row().waits[0].reason, WaitReason::Legs { done: 0, of: 2 });
    assert_eq!(parent.run.row().doing.as_deref(), Some("STAGE 1"));
    let first = parent.end(parent.created[0], Status::Success);
    parent.advance(&[Input::LegsEnded(vec![first.clone()])]);
    parent.advance(&[Input::LegsEnded(vec![first.clone(), first])]);
    assert_eq!(parent.status(), Status::Running);
    assert_eq!(parent.run.row().waits[0].reason, WaitReason::Legs { done: 1, of: 2 });
    let second = parent.end(parent.created[1], Status::Success);
    parent.advance(&[Input::LegsEnded(vec![second])]);
    assert_eq!(parent.status(), Status::Success);
}

#[test]
fn the_worst_leg_decides_and_later_stages_never_start() {
    for (worst, expected) in [
        (Status::Failed, Status::Failed),
        (Status::Aborted, Status::Aborted),
        (Status::Error, Status::Failed),
    ] {
        let mut parent = Parent::new(stages(vec![vec![element("a", 2, 1)], vec![element("b", 1, 1)]], 2));
        parent.advance(&[]);
        parent.end_all(|leg| if leg == 0 { worst } else { Status::Success });
        assert_eq!(parent.status(), expected);
        assert!(parent.created.is_empty());
        let failure = parent.run.row().failure.unwrap();
        assert!(failure.message.contains("1 of 2 legs"), "{}", failure.message);
        assert_eq!(parent.run.view().stages[1].status, Status::Queued);
    }
}

#[test]
fn stages_follow_each_other_and_elements_of_a_stage_run_together() {
    let stages = stages(vec![vec![element("a", 1, 1), element("b", 2, 1)], vec![element("c", 1, 1)]], 2);
    let mut parent = Parent::new(stages);
    parent.advance(&[]);
    assert_eq!(parent.created.len(), 3);
    parent.end_all(|_| Status::Success);
    assert_eq!(parent.created, [LegPlace { stage: 1, element: 0, leg: 0 }]);
    parent.end_all(|_| Status::Success);
    assert_eq!(parent.status(), Status::Success);
    assert_eq!(parent.run.row().steps_done, 3);
}

#[test]
fn ten_thousand_legs_are_created_in_batches() {
    let mut parent = Parent::new(stages(vec![vec![element("wide", 1200, 1)]], 1200));
    let mut advances = 1;
    while parent.advance(&[]).more {
        advances += 1;
    }
    assert_eq!((advances, parent.created.len()), (3, 1200));
    parent.end_all(|_| Status::Success);
    assert_eq!(parent.status(), Status::Success);
}

#[test]
fn a_rollout_policy_bounds_legs_at_once() {
    let mut wide = element("wide", 5, 1);
    wide.fleet.as_mut().unwrap().policy.max_parallel = Some(2);
    let mut parent = Parent::new(stages(vec![vec![wide]], 5));
    parent.advance(&[]);
    assert_eq!(parent.created.len(), 2);
    let mut batches = 1;
    while !parent.status().is_final() {
        parent.end_all(|_| Status::Success);
        batches += 1;
        assert!(parent.created.len() <= 2);
    }
    assert_eq!(batches, 4);
}

#[test]
fn skipped_elements_count_as_success_and_broken_conditions_fail() {
    let with = |skip: StageSkip| {
        let mut first = element("a", 1, 1);
        first.skip = skip;
        Parent::new(stages(vec![vec![first], vec![element("b", 1, 1)]], 1))
    };
    for skip in [StageSkip::Always, StageSkip::When("${app.name} == 'Shop'".to_owned())] {
        let mut parent = with(skip);
        parent.advance(&[]);
        assert_eq!(parent.created, [LegPlace { stage: 1, element: 0, leg: 0 }]);
        assert_eq!(parent.run.view().stages[0].elements[0].status, Status::Skipped);
        parent.end_all(|_| Status::Success);
        assert_eq!(parent.status(), Status::Success);
    }
    let mut parent = with(StageSkip::When("${pipeline.name} == 'other'".to_owned()));
    parent.advance(&[]);
    assert_eq!(parent.created[0].stage, 0);
    let mut parent = with(StageSkip::When("${nothing.at.all}".to_owned()));
    parent.advance(&[]);
    assert_eq!(parent.status(), Status::Failed);
    assert!(parent.run.row().failure.unwrap().message.contains("skip condition"));
}

#[test]
fn an_abort_is_passed_on_and_waits_for_the_legs() {
    let mut parent = Parent::new(stages(vec![vec![element("a", 2, 1)], vec![element("b", 1, 1)]], 2));
    parent.advance(&[]);
    parent.advance(&[request(Action::Abort)]);
    parent.advance(&[request(Action::Abort)]);
    assert_eq!((parent.status(), parent.sent.as_slice()), (Status::Aborting, [Action::Abort].as_slice()));
    parent.end_all(|_| Status::Aborted);
    assert_eq!(parent.status(), Status::Aborted);
    assert_eq!(parent.run.row().failure.unwrap().code.to_string(), "ABORTED_ON_REQUEST");

    let mut early = Parent::new(stages(vec![vec![element("a", 2, 1)]], 2));
    early.advance(&[request(Action::Abort)]);
    assert_eq!(early.status(), Status::Aborted);
    assert!(early.created.is_empty());
}

#[test]
fn a_pause_is_passed_on_and_no_stage_starts_until_it_is_over() {
    let mut parent = Parent::new(stages(vec![vec![element("a", 1, 1)], vec![element("b", 1, 1)]], 1));
    parent.advance(&[]);
    parent.advance(&[request(Action::Pause)]);
    assert_eq!(parent.status(), Status::Pausing);
    parent.end_all(|_| Status::Success);
    assert_eq!(parent.status(), Status::Paused);
    assert!(parent.created.is_empty());
    parent.advance(&[request(Action::Continue)]);
    assert_eq!(parent.created.len(), 1);
    parent.end_all(|_| Status::Success);
    assert_eq!(parent.status(), Status::Success);
    assert_eq!(parent.sent, [Action::Pause]);
}

fn output(value: &str) -> BTreeMap<String, OutputValue> {
    BTreeMap::from([(
        "color".to_owned(),
        OutputValue { value: value.to_owned(), secret: false, sealed: None },
    )])
}

#[test]
fn outputs_of_several_legs_are_kept_by_infrastructure_and_later_conditions_read_them() {
    let mut second = element("b", 1, 1);
    second.skip = StageSkip::When("${context.paint.infra1.color} == 'red'".to_owned());
    let mut parent = Parent::new(stages(vec![vec![element("a", 2, 1)], vec![second]], 2));
    parent.advance(&[]);
    let ends: Vec<LegEnd> = parent
        .created
        .clone()
        .into_iter()
        .map(|place| LegEnd {
            outputs: BTreeMap::from([(
                "paint".to_owned(),
                output(if place.leg == 1 { "red" } else { "blue" }),
            )]),
            ..parent.end(place, Status::Success)
        })
        .collect();
    parent.created.clear();
    parent.advance(&[Input::LegsEnded(ends)]);
    assert_eq!(parent.status(), Status::Success, "the second stage is skipped");
    assert!(parent.created.is_empty());
    let legs = BTreeMap::from([("infra0".to_owned(), output("blue")), ("infra1".to_owned(), output("red"))]);
    assert_eq!(
        *parent.run.outputs(),
        Published::from([("paint".to_owned(), PublishedValue::PerInfrastructure(legs))])
    );
}

#[test]
fn a_resumed_run_starts_at_its_stage_with_the_outputs_of_those_before() {
    let plan = stages(vec![vec![element("a", 1, 1)], vec![element("b", 1, 1)]], 1);
    let outputs = Published::from([("paint".to_owned(), PublishedValue::Values(output("red")))]);
    let original = Parent::new(plan.clone());
    let place = LegPlace { stage: 0, element: 0, leg: 0 };
    let resume = Resume {
        from: ExecutionId::from("old"),
        original: ExecutionId::from("old"),
        stage: 1,
        statuses: vec![Status::Success],
        legs: vec![original.end(place, Status::Success)],
        outputs: outputs.clone(),
    };
    let mut parent = Parent::resumed(plan, Some(resume));
    parent.advance(&[]);
    assert_eq!(parent.created, [LegPlace { stage: 1, element: 0, leg: 0 }]);
    assert_eq!(*parent.run.outputs(), outputs);
    assert_eq!(parent.run.original(), Some(&ExecutionId::from("old")));
    let view = parent.run.view();
    assert_eq!(view.stages[0].status, Status::Success);
    assert_eq!(view.stages[0].elements[0].ended.len(), 1);
    parent.end_all(|_| Status::Success);
    assert_eq!(parent.status(), Status::Success);
}
