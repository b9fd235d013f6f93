//! Traces of executions that ended: one trace for a pipeline execution with its legs, read from their journals, so that it is complete whatever
//! crashed meanwhile, and holds only what the journal may hold: never a secret. Whoever exports them is the binary's; when it is slow, traces
//! are dropped and counted, and nothing waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use manifold_model::event::{Event, EventKind};
use manifold_model::execution::ExecutionRow;
use manifold_model::plan::{Plan, SectionPlan, StepKey, StepPlan};
use manifold_model::request::ExecutionType;
use manifold_model::task::TaskResult;
use manifold_model::{ExecutionId, Failure, Millis, Status, TaskId};
use tokio::sync::mpsc;

use crate::Shared;
use crate::run;

/// Executions whose traces wait to be made.
pub(crate) const WAITING: usize = 10_000;
/// Events of one execution that are looked at.
const MOST_EVENTS: usize = 200_000;
/// Events read at once.
const PAGE: u32 = 5_000;

/// A span, as any protocol of traces has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Span {
    /// Trace.
    pub trace: [u8; 16],
    /// Span.
    pub id: [u8; 8],
    /// The span that it is a part of.
    pub parent: Option<[u8; 8]>,
    /// Name.
    pub name: String,
    /// When it began.
    pub from: Millis,
    /// When it ended.
    pub to: Millis,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// More about it.
    pub attributes: Vec<(&'static str, String)>,
}

/// Makes traces of the executions that are named until the shutdown.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut ended: mpsc::Receiver<ExecutionId>,
    exporter: mpsc::Sender<Vec<Span>>,
) {
    loop {
        let id = tokio::select! {
            () = shared.shutdown.cancelled() => return,
            id = ended.recv() => match id {
                Some(id) => id,
                None => return,
            },
        };
        match read(&shared, &id).await {
            Ok(Some(spans)) => {
                if exporter.try_send(spans).is_err() {
                    shared.meters.trace_dropped();
                }
            }
            Ok(None) => {}
            Err(error) => {
                shared.meters.trace_dropped();
                tracing::warn!(execution = %id, error = &error as &dyn std::error::Error, "an execution was not traced");
            }
        }
    }
}

async fn read(shared: &Shared, id: &ExecutionId) -> Result<Option<Vec<Span>>, run::LoadError> {
    let store = &*shared.store;
    let Some(row) = store.execution(id).await? else { return Ok(None) };
    let plan = shared.plans.get(store, &row.plan).await?;
    let mut events: Vec<Event> = Vec::new();
    while events.len() < MOST_EVENTS {
        let after = events.last().map_or(0, |event| event.seq);
        let page = store.events(id, after, PAGE).await?;
        if page.is_empty() {
            break;
        }
        events.extend(page);
    }
    Ok(Some(spans(&row, steps_of(&row, &plan), &events)))
}

/// The spans of an execution that ended, from its journal.
pub(crate) fn spans(row: &ExecutionRow, steps: BTreeMap<StepKey, &StepPlan>, events: &[Event]) -> Vec<Span> {
    let mut making = Making::new(row, steps);
    events.iter().for_each(|event| making.add(event));
    making.finish(events)
}

struct Making<'a> {
    row: &'a ExecutionRow,
    steps: BTreeMap<StepKey, &'a StepPlan>,
    trace: [u8; 16],
    root: [u8; 8],
    /// The phase that is open: its key.
    phase: Option<String>,
    open: BTreeMap<String, Span>,
    /// When tasks were issued.
    issued: BTreeMap<TaskId, Millis>,
    done: Vec<Span>,
    failure: Option<String>,
    status: Option<Status>,
}

impl<'a> Making<'a> {
    fn new(row: &'a ExecutionRow, steps: BTreeMap<StepKey, &'a StepPlan>) -> Self {
        let whole = row.parent.as_ref().unwrap_or(&row.id);
        Self {
            row,
            steps,
            trace: trace_id(whole),
            root: span_id(&row.id, "execution"),
            phase: None,
            open: BTreeMap::new(),
            issued: BTreeMap::new(),
            done: Vec::new(),
            failure: None,
            status: None,
        }
    }

    fn add(&mut self, event: &Event) {
        let at = event.at;
        match &event.kind {
            EventKind::StageStarted { stage } => {
                self.begin(format!("stage {stage}"), None, format!("stage {}", stage + 1), at, Vec::new());
            }
            EventKind::StageEnded { stage, status } => {
                self.end(&format!("stage {stage}"), at, failed(*status))
            }
            EventKind::PhaseStarted { phase, rollback } => {
                let key = phase_key(*phase, *rollback);
                let name = format!("{} {}", if *rollback { "rollback of phase" } else { "phase" }, phase + 1);
                self.begin(key.clone(), None, name, at, Vec::new());
                self.phase = Some(key);
            }
            EventKind::PhaseEnded { phase, rollback, status } => {
                self.end(&phase_key(*phase, *rollback), at, failed(*status));
                self.phase = None;
            }
            EventKind::StepStarted { step, attempt, .. } => self.begin_step(*step, *attempt, at),
            EventKind::StepEnded { step, attempt, status, failure, .. } => {
                let why = failure.as_ref().map(told).or_else(|| failed(*status));
                self.end(&step_key(*step, *attempt), at, why);
            }
            EventKind::TasksIssued { tasks, .. } => {
                self.issued.extend(tasks.iter().map(|task| (task.task.clone(), at)));
            }
            EventKind::TaskEnded { .. } => self.task(event),
            EventKind::Finished { status, failure } => {
                self.status = Some(*status);
                self.failure = failure.as_ref().map(told).or_else(|| failed(*status));
            }
            _ => {}
        }
    }

    fn begin_step(&mut self, step: StepKey, attempt: u32, at: Millis) {
        let planned = self.steps.get(&step);
        let name = planned.map_or_else(|| format!("step {step}"), |planned| planned.name.clone());
        let kind = planned.map(|planned| ("manifold.kind", planned.kind.to_string()));
        let more = kind.into_iter().chain([("manifold.attempt", attempt.to_string())]).collect();
        self.begin(step_key(step, attempt), self.phase.clone(), name, at, more);
    }

    /// A task's span: on the delegate, if it says when it began and ended there.
    fn task(&mut self, event: &Event) {
        let EventKind::TaskEnded { step, attempt, task, instance, outcome } = &event.kind else { return };
        let issued = self.issued.remove(task).unwrap_or(event.at);
        let from = if outcome.started_at > 0 { outcome.started_at } else { issued };
        let to = if outcome.ended_at > 0 { outcome.ended_at } else { event.at };
        let error = match &outcome.result {
            TaskResult::Succeeded => None,
            TaskResult::Failed { failure } => Some(told(failure)),
            TaskResult::Cancelled => Some("CANCELLED".to_owned()),
            TaskResult::Unknown { .. } => Some("UNKNOWN".to_owned()),
        };
        let mut attributes = vec![("manifold.task", task.to_string())];
        attributes.extend(instance.iter().map(|instance| ("manifold.instance", instance.clone())));
        attributes.push(("manifold.queued_ms", from.saturating_sub(issued).max(0).to_string()));
        let parent = span_id(&self.row.id, &step_key(*step, *attempt));
        let id = span_id(&self.row.id, &format!("task {task}"));
        let name =
            instance.as_ref().map_or_else(|| "task".to_owned(), |instance| format!("task on {instance}"));
        self.done.push(Span {
            trace: self.trace,
            id,
            parent: Some(parent),
            name,
            from,
            to: to.max(from),
            error,
            attributes,
        });
    }

    fn begin(
        &mut self,
        key: String,
        within: Option<String>,
        name: String,
        at: Millis,
        attributes: Vec<(&'static str, String)>,
    ) {
        let parent = within.map_or(self.root, |within| span_id(&self.row.id, &within));
        let id = span_id(&self.row.id, &key);
        let span = Span {
            trace: self.trace,
            id,
            parent: Some(parent),
            name,
            from: at,
            to: at,
            error: None,
            attributes,
        };
        self.open.insert(key, span);
    }

    fn end(&mut self, key: &str, at: Millis, error: Option<String>) {
        if let Some(mut span) = self.open.remove(key) {
            span.to = at.max(span.from);
            span.error = error;
            self.done.push(span);
        }
    }

    fn finish(mut self, events: &[Event]) -> Vec<Span> {
        let from = events.first().map_or(self.row.created_at, |event| event.at).min(self.row.created_at);
        let to = events.last().map_or(from, |event| event.at).max(from);
        // What the end of the execution cut short.
        let left: Vec<String> = self.open.keys().cloned().collect();
        for key in left {
            self.end(&key, to, None);
        }
        let row = self.row;
        let mut attributes = vec![
            ("manifold.execution", row.id.to_string()),
            ("manifold.application", row.application.name.clone()),
            ("manifold.status", self.status.unwrap_or(row.state.status).name().to_owned()),
        ];
        attributes.extend(row.infrastructure.iter().map(|one| ("manifold.infrastructure", one.name.clone())));
        attributes.extend(row.environment.iter().map(|one| ("manifold.environment", one.name.clone())));
        let kind = if row.kind == ExecutionType::Pipeline { "pipeline" } else { "workflow" };
        self.done.push(Span {
            trace: self.trace,
            id: self.root,
            parent: row.parent.as_ref().map(|parent| span_id(parent, "execution")),
            name: format!("{kind} {}", row.entity.name),
            from,
            to,
            error: self.failure,
            attributes,
        });
        self.done
    }
}

/// The steps of the workflow that an execution runs.
fn steps_of<'a>(row: &ExecutionRow, plan: &'a Plan) -> BTreeMap<StepKey, &'a StepPlan> {
    if row.kind == ExecutionType::Pipeline {
        return BTreeMap::new();
    }
    let (stage, element) = row.place.map_or((0, 0), |place| (place.stage, place.element));
    let fleet = plan.element(stage, element).and_then(|element| element.fleet.as_ref());
    let Some(workflow) = fleet.and_then(|fleet| plan.workflows.get(fleet.workflow as usize)) else {
        return BTreeMap::new();
    };
    let phases = workflow.phases.iter().flat_map(|phase| phase.sections.iter().chain(&phase.rollback));
    let sections = phases.chain(&workflow.pre_deployment).chain(&workflow.post_deployment);
    sections.flat_map(|section: &SectionPlan| &section.steps).map(|step| (step.key, step)).collect()
}

fn phase_key(phase: u32, rollback: bool) -> String {
    format!("{} {phase}", if rollback { "rollback" } else { "phase" })
}

fn step_key(step: StepKey, attempt: u32) -> String {
    format!("step {step} {attempt}")
}

/// A failure in few words: its code. Its text may name what a log masks.
fn told(failure: &Failure) -> String {
    format!("{} {}", failure.class.name(), failure.code)
}

fn failed(status: Status) -> Option<String> {
    (!status.is_good()).then(|| status.name().to_owned())
}

/// The trace of a whole: the same on every server and after every restart.
pub(crate) fn trace_id(whole: &ExecutionId) -> [u8; 16] {
    bytes(&ExecutionId::derived(&["trace", whole.as_str()]))
}

fn span_id(execution: &ExecutionId, what: &str) -> [u8; 8] {
    let long: [u8; 16] = bytes(&ExecutionId::derived(&["span", execution.as_str(), what]));
    let mut short = [0; 8];
    short.iter_mut().zip(long).for_each(|(to, from)| *to = from);
    short
}

/// The 16 bytes of a derived id.
fn bytes(id: &ExecutionId) -> [u8; 16] {
    let mut out = [0; 16];
    let decoded = BASE64URL_NOPAD.decode(id.as_str().as_bytes()).unwrap_or_default();
    out.iter_mut().zip(decoded).for_each(|(to, from)| *to = from);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use manifold_model::event::{LegPlace, TaskIntent};
    use manifold_model::execution::{Named, RowState};
    use manifold_model::request::Cause;
    use manifold_model::task::Outcome;
    use manifold_model::{FailureClass, PlanDigest, code};

    use super::*;

    fn row(id: &str, parent: Option<&str>) -> ExecutionRow {
        let named = |name: &str| Named { id: name.into(), name: name.to_owned() };
        ExecutionRow {
            id: id.into(),
            kind: if parent.is_some() { ExecutionType::Workflow } else { ExecutionType::Pipeline },
            application: named("shop"),
            entity: named("roll"),
            plan: PlanDigest::of(b""),
            parent: parent.map(Into::into),
            element: None,
            place: parent.map(|_| LegPlace { stage: 0, element: 0, leg: 0 }),
            environment: None,
            infrastructure: parent.map(|_| named("eu")),
            services: vec![],
            cause: Cause::ApiKey { id: "key".to_owned(), name: "ci".to_owned() },
            notes: String::new(),
            resumed_from: None,
            resumed_by: None,
            created_at: 90,
            state: RowState::default(),
        }
    }

    fn events(kinds: Vec<EventKind>) -> Vec<Event> {
        let times = (100..).step_by(10);
        (1..).zip(kinds).zip(times).map(|((seq, kind), at)| Event { seq, at, kind }).collect()
    }

    #[test]
    fn a_leg_is_a_part_of_its_pipelines_trace() {
        let failure = Failure::new(FailureClass::Timeout, code!("COMMAND_TIMEOUT"), "took a secret too long");
        let outcome = Outcome { started_at: 115, ended_at: 118, ..Outcome::failed(failure.clone()) };
        let journal = events(vec![
            EventKind::PhaseStarted { phase: 0, rollback: false },
            EventKind::StepStarted { step: 7, attempt: 1, values: BTreeMap::new() },
            EventKind::TasksIssued {
                step: 7,
                attempt: 1,
                tasks: vec![TaskIntent { task: "t".into(), instance: Some("h1".to_owned()) }],
            },
            EventKind::TaskEnded {
                step: 7,
                attempt: 1,
                task: "t".into(),
                instance: Some("h1".to_owned()),
                outcome,
            },
            EventKind::StepEnded {
                step: 7,
                attempt: 1,
                status: Status::Failed,
                failure: Some(failure.clone()),
                published: None,
            },
            EventKind::Finished { status: Status::Failed, failure: Some(failure) },
        ]);
        let leg = spans(&row("leg", Some("run")), BTreeMap::new(), &journal);
        let parent = events(vec![
            EventKind::StageStarted { stage: 0 },
            EventKind::StageEnded { stage: 0, status: Status::Failed },
            EventKind::Finished { status: Status::Failed, failure: None },
        ]);
        let parent = spans(&row("run", None), BTreeMap::new(), &parent);
        let names: Vec<&str> = leg.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["task on h1", "step 7", "phase 1", "workflow roll"]);
        let [task, step, phase, root] = leg.as_slice() else { panic!("{leg:?}") };
        assert_eq!((task.parent, step.parent, phase.parent), (Some(step.id), Some(phase.id), Some(root.id)));
        assert_eq!((task.from, task.to, step.from, step.to), (115, 118, 110, 140));
        assert_eq!((phase.to, root.from, root.to), (150, 90, 150), "what the end cuts short ends with it");
        let whole = parent.last().unwrap();
        assert_eq!((root.parent, whole.parent), (Some(whole.id), None));
        assert!(leg.iter().chain(&parent).all(|span| span.trace == whole.trace && span.trace != [0; 16]));
        assert_eq!(root.error.as_deref(), Some("TIMEOUT_ERROR COMMAND_TIMEOUT"));
        assert!(!format!("{leg:?}").contains("secret"), "texts of failures stay in the journal");
        assert_eq!(spans(&row("leg", Some("run")), BTreeMap::new(), &journal), leg, "always the same ids");
    }
}
