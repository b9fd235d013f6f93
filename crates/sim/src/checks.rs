//! What must hold of every journal, looked at with every append; and what must be left when all has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use manifold_engine::{Leg, PipelineRun};
use manifold_model::event::{Event, EventKind};
use manifold_model::execution::RowState;
use manifold_model::kind::Class;
use manifold_model::plan::{Plan, StepKey};
use manifold_model::request::ExecutionType;
use manifold_model::task::{Outcome, Task, TaskResult};
use manifold_model::{ExecutionId, TaskId};
use manifold_store::{Append, Appended, NewExecution};

use crate::Sim;
use crate::trace::note;

const LEGAL: &str = "every prefix of a journal folds legally";
const REASON: &str = "nothing waits without a reason";

/// All journals, as the appends made them.
pub(crate) struct Checks {
    plan: Arc<Plan>,
    journals: Mutex<BTreeMap<ExecutionId, Journal>>,
}

/// One journal.
struct Journal {
    run: Run,
    seq: u64,
    finished: bool,
    /// Last attempt of each step, and whether it is open.
    attempts: BTreeMap<StepKey, (u32, bool)>,
    tasks: BTreeMap<TaskId, Issued>,
    /// The task that a step has now, when it has one.
    current: BTreeMap<StepKey, TaskId>,
    legs: BTreeSet<ExecutionId>,
    lock_asked: bool,
}

/// A task that was issued.
struct Issued {
    step: StepKey,
    attempt: u32,
    class: Class,
    outcome: Option<Outcome>,
}

enum Run {
    Leg(Box<Leg>),
    Pipeline(Box<PipelineRun>),
}

impl Run {
    fn fold(&mut self, event: &Event) {
        match self {
            Self::Leg(leg) => leg.fold(event),
            Self::Pipeline(run) => run.fold(event),
        }
    }

    fn row(&self) -> RowState {
        match self {
            Self::Leg(leg) => leg.row(),
            Self::Pipeline(run) => run.row(),
        }
    }
}

impl Checks {
    pub(crate) fn new(plan: Arc<Plan>) -> Self {
        Self { plan, journals: Mutex::default() }
    }

    /// An execution was created.
    pub(crate) fn created(&self, sim: &Sim, new: &NewExecution) {
        let (plan, id) = (Arc::clone(&self.plan), new.row.id.clone());
        let mut journals = self.journals();
        if journals.contains_key(&id) {
            return;
        }
        let run = match new.row.kind {
            ExecutionType::Workflow => Run::Leg(Box::new(Leg::new(plan, id.clone()))),
            ExecutionType::Pipeline => Run::Pipeline(Box::new(PipelineRun::new(plan, id.clone()))),
        };
        let mut journal = Journal {
            run,
            seq: 0,
            finished: false,
            attempts: BTreeMap::new(),
            tasks: BTreeMap::new(),
            current: BTreeMap::new(),
            legs: BTreeSet::new(),
            lock_asked: false,
        };
        if let Err(why) = new.events.iter().try_for_each(|event| journal.fold(event, &[])) {
            sim.trace.broken(LEGAL, format!("{id}: {why}"));
        }
        journals.insert(id, journal);
    }

    /// An append was accepted.
    pub(crate) fn appended(&self, sim: &Sim, by: &str, append: &Append, appended: &Appended) {
        let Some(id) = &append.execution else { return };
        for leg in &append.legs {
            self.created(sim, leg);
        }
        let mut journals = self.journals();
        let Some(journal) = journals.get_mut(id) else {
            return sim.trace.broken(LEGAL, format!("{id} was never created"));
        };
        let tasks: Vec<&Task> = append.tasks.iter().map(|(task, _)| task).collect();
        for event in &append.events {
            note!(sim, "{by} {id} {} {}", event.seq, said(&event.kind));
            if let Err(why) = journal.fold(event, &tasks) {
                return sim.trace.broken(LEGAL, format!("{id} at {}: {why}", event.seq));
            }
        }
        if append.events.is_empty() {
            note!(sim, "{by} {id} goes on {:?}", appended.lock);
        }
        if let Err(why) = journal.agrees(append.row.as_ref()) {
            sim.trace.broken(LEGAL, format!("{id}: {why}"));
        }
        let row = journal.run.row();
        if !row.status.is_final() && row.waits.is_empty() && !append.events.is_empty() {
            sim.trace.broken(REASON, format!("{id} is {} at {}", row.status.name(), row.seq));
        }
    }

    /// The task of the last attempt of a step.
    pub(crate) fn task_of(&self, execution: &ExecutionId, step: StepKey) -> Option<TaskId> {
        self.journals().get(execution)?.current.get(&step).cloned()
    }

    /// All executions created.
    pub(crate) fn executions(&self) -> Vec<ExecutionId> {
        self.journals().keys().cloned().collect()
    }

    /// Whether every execution has ended.
    pub(crate) fn all_ended(&self) -> bool {
        self.journals().values().all(|journal| journal.finished)
    }

    /// Last sequence number of a journal.
    pub(crate) fn seq(&self, execution: &ExecutionId) -> u64 {
        self.journals().get(execution).map_or(0, |journal| journal.seq)
    }

    /// Effects against outcomes, when all has ended.
    pub(crate) fn effects(&self, sim: &Sim) {
        for (id, journal) in self.journals().iter() {
            for (task, issued) in &journal.tasks {
                if let Some(why) = wrong(issued, sim.world.times(task)) {
                    let Issued { step, attempt, class, .. } = issued;
                    let detail =
                        format!("{id} step {step} attempt {attempt} ({class:?}), task {task}: {why}");
                    sim.trace.broken("effects are what the journal says", detail);
                }
            }
        }
    }

    fn journals(&self) -> std::sync::MutexGuard<'_, BTreeMap<ExecutionId, Journal>> {
        self.journals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is wrong with the effects of a task, if anything.
fn wrong(issued: &Issued, times: u32) -> Option<String> {
    let succeeded = issued.outcome.as_ref().is_some_and(|outcome| outcome.result == TaskResult::Succeeded);
    if succeeded && times == 0 {
        return Some("it succeeded without an effect".to_owned());
    }
    if issued.class != Class::Idempotent && times > 1 {
        return Some(format!("its effect happened {times} times"));
    }
    None
}

/// An event, short enough for a line.
fn said(kind: &EventKind) -> String {
    let text = format!("{kind:?}");
    match text.char_indices().nth(160) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned(),
        None => text,
    }
}

impl Journal {
    /// Folds the next event, or says why it must not stand there.
    fn fold(&mut self, event: &Event, tasks: &[&Task]) -> Result<(), String> {
        if event.seq != self.seq + 1 {
            return Err(format!("event {} follows {}", event.seq, self.seq));
        }
        if self.finished {
            return Err("an event after the end".to_owned());
        }
        self.seq = event.seq;
        match &event.kind {
            EventKind::StepStarted { step, attempt, .. } => self.step_started(*step, *attempt)?,
            EventKind::TasksIssued { step, attempt, tasks: intents } => {
                for intent in intents {
                    self.issued(*step, *attempt, &intent.task, tasks)?;
                }
            }
            EventKind::TaskEnded { task, outcome, .. } => self.task_ended(task, outcome)?,
            EventKind::StepEnded { step, attempt, .. } => match self.attempts.get_mut(step) {
                Some((last, open)) if last == attempt && *open => *open = false,
                other => return Err(format!("step {step} ends attempt {attempt}, but had {other:?}")),
            },
            EventKind::LockRequested { .. } => self.lock_asked = true,
            EventKind::LockGranted {} if !self.lock_asked => {
                return Err("a lock was granted that nobody asked for".to_owned());
            }
            EventKind::LegsEnded { ends } => {
                for end in ends {
                    if !self.legs.insert(end.execution.clone()) {
                        return Err(format!("leg {} ended twice", end.execution));
                    }
                }
            }
            EventKind::Finished { .. } => self.finished = true,
            _ => {}
        }
        self.run.fold(event);
        Ok(())
    }

    fn step_started(&mut self, step: StepKey, attempt: u32) -> Result<(), String> {
        let (last, _) = self.attempts.get(&step).copied().unwrap_or_default();
        // A person's word that it did not run begins the next attempt without an end of the one before.
        if attempt != last + 1 {
            return Err(format!("step {step} begins attempt {attempt} after {last}"));
        }
        self.attempts.insert(step, (attempt, true));
        Ok(())
    }

    fn issued(
        &mut self,
        step: StepKey,
        attempt: u32,
        task: &TaskId,
        handed_out: &[&Task],
    ) -> Result<(), String> {
        if self.attempts.get(&step) != Some(&(attempt, true)) {
            return Err(format!("step {step} issues a task for attempt {attempt}, which is not open"));
        }
        let Some(whole) = handed_out.iter().find(|one| one.id == *task) else {
            return Err(format!("task {task} was issued and not put into the store"));
        };
        let issued = Issued { step, attempt, class: whole.class, outcome: None };
        if self.tasks.insert(task.clone(), issued).is_some() {
            return Err(format!("task {task} was issued twice"));
        }
        self.current.insert(step, task.clone());
        Ok(())
    }

    fn task_ended(&mut self, task: &TaskId, outcome: &Outcome) -> Result<(), String> {
        let Some(issued) = self.tasks.get_mut(task) else {
            return Err(format!("task {task} ended and was never issued"));
        };
        if issued.outcome.is_some() {
            return Err(format!("the outcome of task {task} was recorded twice"));
        }
        issued.outcome = Some(outcome.clone());
        Ok(())
    }

    /// The row that was written is that of the fold.
    fn agrees(&self, row: Option<&RowState>) -> Result<(), String> {
        let own = self.run.row();
        if own.status.is_final() != self.finished {
            return Err(format!("it is {} and its journal says otherwise", own.status.name()));
        }
        let Some(row) = row else { return Ok(()) };
        if row.seq != self.seq || row.status.is_final() != self.finished {
            return Err(format!("its row says {} at {}", row.status.name(), row.seq));
        }
        Ok(())
    }
}
