//! Plays everything around a leg: answers commands, fires timers in order, and checks after every advance what must always hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use manifold_engine::{Advance, Command, Input, Leg};
use manifold_model::constraint::{PermitRefusal, PermitRequest};
use manifold_model::event::{Event, EventKind, LastGood, LegEnd, LegPlace, Published};
use manifold_model::execution::RowState;
use manifold_model::plan::Plan;
use manifold_model::request::{Action, Cause, Request};
use manifold_model::target::LockKey;
use manifold_model::task::{Outcome, Task};
use manifold_model::wait::WaitReason;
use manifold_model::{ExecutionId, Failure, FailureClass, Millis, PlanDigest, Status, TaskId, code};

pub fn failed(class: FailureClass) -> Outcome {
    Outcome::failed(Failure::new(class, code!("COMMAND_FAILED"), "it went wrong"))
}

pub fn request(action: Action) -> Input {
    Input::Request(Request { action, by: "Ada".to_owned(), reason: String::new() })
}

/// Outcome of a task; `None` leaves it running.
type Script = Box<dyn FnMut(&Task) -> Option<Outcome>>;

pub struct Runner {
    pub plan: Arc<Plan>,
    pub leg: Leg,
    pub now: Millis,
    pub events: Vec<Event>,
    /// Tasks that are out.
    pub open: BTreeMap<TaskId, Task>,
    pub timers: BTreeMap<String, Millis>,
    /// `name#attempt` or `name#attempt@host`, in the order of issue.
    pub issued: Vec<String>,
    pub tasks: Vec<Task>,
    pub locked: Vec<LockKey>,
    pub grant: bool,
    pub last_good: Vec<LastGood>,
    pub arrived: Vec<String>,
    /// Permits as the store has them: what each step asked for and has not given back, and whether it was granted.
    pub permits: BTreeMap<u32, (PermitRequest, bool)>,
    /// What was held or waited for until the end.
    pub left: Vec<PermitRequest>,
    pub commands: Vec<Command>,
    pub completed: Option<LegEnd>,
    ids: BTreeSet<TaskId>,
    script: Script,
    pub most_open: usize,
}

impl Runner {
    pub fn new(plan: Plan) -> Self {
        Self::with_parent(plan, Some(ExecutionId::from("parent")))
    }

    pub fn with_parent(plan: Plan, parent: Option<ExecutionId>) -> Self {
        let plan = Arc::new(plan);
        let id = ExecutionId::from("leg");
        let mut runner = Self {
            leg: Leg::new(Arc::clone(&plan), id),
            plan,
            now: 1_000_000,
            events: Vec::new(),
            open: BTreeMap::new(),
            timers: BTreeMap::new(),
            issued: Vec::new(),
            tasks: Vec::new(),
            locked: Vec::new(),
            grant: true,
            last_good: Vec::new(),
            arrived: Vec::new(),
            permits: BTreeMap::new(),
            left: Vec::new(),
            commands: Vec::new(),
            completed: None,
            ids: BTreeSet::new(),
            script: Box::new(|_| Some(Outcome::succeeded())),
            most_open: 0,
        };
        let first = Event {
            seq: 1,
            at: runner.now,
            kind: EventKind::WorkflowStarted {
                plan: PlanDigest::of(b"plan"),
                place: LegPlace { stage: 0, element: 0, leg: 0 },
                parent,
                original: None,
                cause: Cause::User { id: "1".to_owned(), name: "Ada".to_owned(), email: String::new() },
                outputs: Published::new(),
                release_no: 5,
            },
        };
        runner.leg.fold(&first);
        runner.events.push(first);
        runner
    }

    /// What tasks come to.
    pub fn script(mut self, script: impl FnMut(&Task) -> Option<Outcome> + 'static) -> Self {
        self.script = Box::new(script);
        self
    }

    /// Tasks whose name is in the list fail.
    pub fn failing(self, names: &'static [&'static str]) -> Self {
        self.script(|task| {
            let name = &task.step.as_ref().unwrap().name;
            Some(if names.contains(&name.as_str()) {
                failed(FailureClass::Application)
            } else {
                Outcome::succeeded()
            })
        })
    }

    pub fn with_last_good(mut self, build: &str) -> Self {
        let mapping = {
            let place = &self.plan.infrastructures[0];
            let target = manifold_model::target::Target::of(
                &place.item_type,
                place.cloud_provider.as_deref(),
                &place.properties,
            );
            target.mapping(&self.plan.services[0].id, &place.id)
        };
        self.last_good.push(LastGood {
            mapping,
            artifact: Some(crate::build::artifact(build)),
            release_no: 4,
            display_name: "earlier".to_owned(),
            execution: ExecutionId::from("earlier"),
        });
        self
    }

    /// One advance with everything that must hold after it; the commands that wait for no task are answered.
    pub fn advance(&mut self, inputs: &[Input]) {
        let mut inputs = inputs.to_vec();
        loop {
            let advance = self.leg.advance(&inputs, self.now);
            inputs = self.obey(advance);
            self.check();
            if inputs.is_empty() {
                return;
            }
        }
    }

    fn obey(&mut self, advance: Advance) -> Vec<Input> {
        for (event, seq) in advance.events.iter().zip(self.events.len() as u64 + 1..) {
            assert_eq!(event.seq, seq);
        }
        self.events.extend(advance.events);
        let mut answers = Vec::new();
        for command in advance.commands {
            self.commands.push(command.clone());
            match command {
                Command::Issue(task) => self.issue(*task),
                Command::AskPermits(request) => {
                    let again = self.permits.insert(request.step, (request.clone(), self.grant));
                    assert!(again.is_none(), "asked while it holds or waits: {request:?}");
                    if self.grant {
                        let PermitRequest { step, attempt, .. } = request;
                        answers.push(Input::PermitsGranted { step, attempt });
                    }
                }
                Command::GiveBackPermits { step } => drop(self.permits.remove(&step)),
                Command::LeaveConstraints => {
                    self.left = self.permits.values().map(|(request, _)| request.clone()).collect();
                    self.permits.clear();
                }
                Command::CancelTasks(_)
                | Command::Unlock
                | Command::LeaveBarriers { .. }
                | Command::Deployed(_) => {}
                Command::SetTimer { key, due } => drop(self.timers.insert(key, due)),
                Command::DropTimer { key } => drop(self.timers.remove(&key)),
                Command::Lock { keys } => {
                    self.locked = keys;
                    if self.grant {
                        answers.push(Input::LockGranted);
                    }
                }
                Command::RecallLastGood(_) => answers.push(Input::LastGood(self.last_good.clone())),
                Command::ArriveBarrier { identifier } => self.arrived.push(identifier),
                Command::Complete(end) => self.completed = Some(end),
                other => panic!("a leg does not command {other:?}"),
            }
        }
        answers
    }

    fn issue(&mut self, task: Task) {
        assert!(self.ids.insert(task.id.clone()), "task issued twice: {task:?}");
        let step = task.step.as_ref().unwrap();
        let host = step.instance.as_ref().map(|host| format!("@{host}")).unwrap_or_default();
        self.issued.push(format!("{}#{}{host}", step.name, task.attempt));
        self.tasks.push(task.clone());
        self.open.insert(task.id.clone(), task);
        self.most_open = self.most_open.max(self.open.len());
    }

    /// The journal alone makes the same state, which decides nothing more; whoever waits says for what.
    pub fn check(&self) {
        let replayed = replay(&self.plan, &self.events);
        assert!(replayed == self.leg, "the replay differs");
        let mut again = replayed;
        assert_eq!(again.advance(&[], self.now).events, Vec::new());
        let row = self.row();
        assert_eq!(row.status.is_final(), row.waits.is_empty(), "{row:?}");
        assert_eq!(self.leg.view().status, row.status);
        self.check_timers(&row);
        self.check_attempts(row.status.is_final());
        self.check_permits(&row);
        if row.status.is_final() {
            assert!(self.timers.is_empty(), "timers left: {:?}", self.timers);
            assert!(self.leg.outstanding().is_empty());
        }
    }

    /// Every timer that is set belongs to something that is waited for.
    fn check_timers(&self, row: &RowState) {
        for key in self.timers.keys() {
            let mut parts = key.split('/');
            let kind = parts.next().unwrap();
            let step: Option<u32> = parts.next().map(|step| step.parse().unwrap());
            let holds = row.waits.iter().any(|wait| {
                wait.step == step
                    && matches!(
                        (kind, &wait.reason),
                        ("retry", WaitReason::Retry { .. })
                            | ("delay", WaitReason::Delay { .. })
                            | ("intervention", WaitReason::Intervention { .. })
                            | ("barrier", WaitReason::Barrier { .. })
                            | ("permits", WaitReason::Constraint { .. })
                            | ("stop", WaitReason::Stopping { .. })
                    )
            });
            assert!(holds, "timer {key} belongs to nothing: {row:?}");
        }
    }

    /// Permits are out only for steps that wait for them or have got them, and none after the end.
    fn check_permits(&self, row: &RowState) {
        assert!(self.permits.is_empty() || !row.status.is_final(), "permits left: {:?}", self.permits);
        let granted = |step: u32| {
            let of_step = self.events.iter().rev().find_map(|event| match &event.kind {
                EventKind::StepEnded { step: ended, status, .. } if *ended == step => Some(*status),
                _ => None,
            });
            of_step == Some(Status::Success)
        };
        for (step, (request, _)) in &self.permits {
            let waits = row
                .waits
                .iter()
                .any(|wait| wait.step == Some(*step) && matches!(wait.reason, WaitReason::Constraint { .. }));
            let stops = row.waits.iter().any(|wait| matches!(wait.reason, WaitReason::Stopping { .. }));
            assert!(waits || stops || granted(*step), "permits out for nothing: {request:?} in {row:?}");
        }
    }

    /// The store grants what a step waits for.
    pub fn grant_permits(&mut self) {
        let waiting: Vec<(u32, u32)> = self
            .permits
            .values_mut()
            .filter(|(_, granted)| !*granted)
            .map(|(request, granted)| {
                *granted = true;
                (request.step, request.attempt)
            })
            .collect();
        for (step, attempt) in waiting {
            self.advance(&[Input::PermitsGranted { step, attempt }]);
        }
    }

    /// The store refuses what the first step that waits has asked for.
    pub fn refuse_permits(&mut self) {
        let waiting = self.permits.values().find(|(_, granted)| !*granted);
        let Some((step, attempt)) = waiting.map(|(request, _)| (request.step, request.attempt)) else {
            return;
        };
        self.permits.remove(&step);
        let refusal = PermitRefusal::OverCapacity { capacity: 1 };
        self.advance(&[Input::PermitsRefused { step, attempt, refusal }]);
    }

    /// At the end no attempt runs, and no rollback began while one did.
    fn check_attempts(&self, ended: bool) {
        let view = self.leg.view();
        let rolls_back = view.phases.iter().any(|phase| phase.rollback);
        for phase in view.phases.iter().filter(|phase| ended || (rolls_back && !phase.rollback)) {
            for step in phase.sections.iter().flat_map(|section| &section.steps) {
                for attempt in &step.attempts {
                    assert!(attempt.status.is_final(), "{} runs still: {attempt:?}", step.name);
                }
            }
        }
    }

    /// Until the end, or until only somebody else can go on.
    pub fn run(&mut self) -> &mut Self {
        self.advance(&[]);
        for _ in 0..10_000 {
            if self.row().status.is_final() || !self.step() {
                return self;
            }
        }
        panic!("it does not end: {:?}", self.row());
    }

    /// Answers one task, or fires the next timer. False when there is neither.
    pub fn step(&mut self) -> bool {
        let outstanding: Vec<Task> = self.open.values().cloned().collect();
        for task in outstanding {
            if let Some(outcome) = (self.script)(&task) {
                self.end(&task.id, outcome);
                return true;
            }
        }
        self.fire()
    }

    pub fn end(&mut self, task: &TaskId, outcome: Outcome) {
        self.open.remove(task);
        self.now += 10;
        self.advance(&[Input::TaskEnded { task: task.clone(), outcome }]);
    }

    /// Fires the next timer.
    pub fn fire(&mut self) -> bool {
        let Some((key, due)) =
            self.timers.iter().min_by_key(|(_, due)| **due).map(|(key, due)| (key.clone(), *due))
        else {
            return false;
        };
        self.timers.remove(&key);
        self.now = self.now.max(due);
        self.advance(&[Input::Timer { key }]);
        true
    }

    pub fn ask(&mut self, action: Action) -> &mut Self {
        self.now += 1;
        self.advance(&[request(action)]);
        self
    }

    pub fn row(&self) -> RowState {
        self.leg.row()
    }

    pub fn status(&self) -> Status {
        self.row().status
    }

    pub fn code(&self) -> String {
        self.row().failure.map(|failure| failure.code.to_string()).unwrap_or_default()
    }

    pub fn key(&self, name: &str) -> u32 {
        let view = self.leg.view();
        view.phases
            .iter()
            .flat_map(|phase| &phase.sections)
            .flat_map(|section| &section.steps)
            .find(|step| step.name == name)
            .and_then(|step| step.key)
            .unwrap()
    }

    pub fn step_status(&self, name: &str) -> Status {
        let view = self.leg.view();
        view.phases
            .iter()
            .flat_map(|phase| &phase.sections)
            .flat_map(|section| &section.steps)
            .find(|step| step.name == name)
            .map_or(Status::Queued, |step| step.status)
    }
}

pub fn replay(plan: &Arc<Plan>, events: &[Event]) -> Leg {
    let mut leg = Leg::new(Arc::clone(plan), ExecutionId::from("leg"));
    for event in events {
        leg.fold(event);
    }
    leg
}
