//! The run view: what the screens show of one execution, from its row, its frozen plan and its journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use manifold_model::artifact::Artifact;
use manifold_model::event::{Event, EventKind, LegPlace};
use manifold_model::execution::ExecutionRow;
use manifold_model::plan::{FleetPlan, Plan, SectionPlan, StepKey, StepPlan, WorkflowPlan};
use manifold_model::task::{Task, UnitStatus};
use manifold_model::{ElementId, ExecutionId, Failure, Millis, Status};
use manifold_store::Order;

use crate::executions::{LegFilter, STAGE_ROWS};
use crate::logs::public_name;
use crate::{Actor, Control, Result};

/// Events read at once.
const EVENTS_AT_ONCE: u32 = 1_000;

/// One row of `pipelineStageExecutions`: a leg, or an element that has no leg (yet).
#[derive(Clone, Debug)]
pub struct StageRow {
    /// Element.
    pub element: ElementId,
    /// Index of the stage.
    pub stage: u32,
    /// Stage name.
    pub stage_name: String,
    /// Step name.
    pub step_name: String,
    /// The leg, once it exists.
    pub leg: Option<ExecutionRow>,
    /// Inner status: of the leg, or of the element as a whole.
    pub status: Status,
    /// Why the element was not run.
    pub skipped: Option<String>,
    /// Why the element could not be started.
    pub failure: Option<Failure>,
    /// Workflow variables as this row has them: names of entities or text.
    pub variables: BTreeMap<String, String>,
}

/// A step of a workflow execution.
#[derive(Clone, Debug)]
pub struct StepRun {
    /// Key.
    pub key: StepKey,
    /// Name.
    pub name: String,
    /// Kind, as in YAML.
    pub kind: String,
    /// Phase, or the empty string in pre- and post-deployment steps.
    pub phase: String,
    /// Section.
    pub section: String,
    /// Whether it belongs to a rollback phase.
    pub rollback: bool,
    /// Inner status.
    pub status: Status,
    /// Attempts so far.
    pub attempt: u32,
    /// When the first attempt began.
    pub started_at: Option<Millis>,
    /// When the last attempt ended.
    pub ended_at: Option<Millis>,
    /// Why it was skipped.
    pub skipped: Option<String>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Tasks of the attempts, in order.
    pub tasks: Vec<TaskRun>,
}

/// One task of a step: an attempt on an instance, or on the delegate.
#[derive(Clone, Debug)]
pub struct TaskRun {
    /// Attempt, from 1.
    pub attempt: u32,
    /// Host, for tasks per instance.
    pub instance: Option<String>,
    /// Public name of its log.
    pub log: String,
    /// Inner status.
    pub status: Status,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Status per unit of a command.
    pub units: Vec<UnitStatus>,
    /// When it was handed out.
    pub started_at: Millis,
    /// When its outcome came.
    pub ended_at: Option<Millis>,
}

impl Control {
    /// All events of an execution.
    async fn journal(&self, id: &ExecutionId) -> Result<Vec<Event>> {
        let mut events: Vec<Event> = Vec::new();
        loop {
            let after = events.last().map_or(0, |event| event.seq);
            let page = self.store.events(id, after, EVENTS_AT_ONCE).await?;
            if page.is_empty() {
                return Ok(events);
            }
            events.extend(page);
        }
    }

    /// Rows of `pipelineStageExecutions`: one per leg, with the element's identity repeated (`behaviour.md` 4, Representation); one row for an
    /// element without legs. At most [`STAGE_ROWS`].
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn stage_rows(&self, actor: &Actor, row: &ExecutionRow) -> Result<Vec<StageRow>> {
        let plan = self.plan(&row.plan).await?;
        let events = self.journal(&row.id).await?;
        let mut legs = BTreeMap::<(u32, u32), Vec<ExecutionRow>>::new();
        for leg in self.all_legs(actor, row, &events).await? {
            if let Some(place) = leg.place {
                legs.entry((place.stage, place.element)).or_default().push(leg);
            }
        }
        let mut rows = Vec::new();
        for (stage_index, stage) in (0..).zip(&plan.stages) {
            for (element_index, element) in (0..).zip(&stage.elements) {
                let blank = StageRow {
                    element: element.id.clone(),
                    stage: stage_index,
                    stage_name: stage.name.clone(),
                    step_name: element.name.clone(),
                    leg: None,
                    status: Status::Queued,
                    skipped: None,
                    failure: None,
                    variables: element
                        .fleet
                        .as_ref()
                        .map(|fleet| fleet.variables.clone())
                        .unwrap_or_default(),
                };
                match legs.remove(&(stage_index, element_index)).filter(|legs| !legs.is_empty()) {
                    None => rows.push(without_legs(blank, element_index, &events, row)),
                    Some(legs) => rows.extend(legs.into_iter().map(|leg| with_leg(&blank, leg, &plan))),
                }
            }
        }
        rows.truncate(STAGE_ROWS as usize);
        Ok(rows)
    }

    /// Rows of the legs of a run: its own, and those of the stages that a resumed run took over.
    async fn all_legs(
        &self,
        actor: &Actor,
        row: &ExecutionRow,
        events: &[Event],
    ) -> Result<Vec<ExecutionRow>> {
        let mut legs = Vec::new();
        for event in events {
            if let EventKind::PipelineStarted { resume: Some(resume), .. } = &event.kind {
                for leg in &resume.legs {
                    legs.extend(self.store.execution(&leg.execution).await?);
                }
            }
        }
        let all = LegFilter::default();
        let mut offset = 0;
        loop {
            let page = self
                .legs(actor, &row.id, None, &all, Order::Place, (offset, crate::executions::LONGEST_PAGE))
                .await?;
            offset += page.items.len() as u64;
            let done = page.items.is_empty() || offset >= page.total.min(u64::from(STAGE_ROWS));
            legs.extend(page.items);
            if done {
                return Ok(legs);
            }
        }
    }

    /// The steps of a workflow execution in the order of the plan, rollback steps after their phase; rollback steps that never
    /// began are left out.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn steps(&self, row: &ExecutionRow) -> Result<Vec<StepRun>> {
        let Some((_, workflow)) = self.workflow_of(row).await? else { return Ok(Vec::new()) };
        let mut steps = planned_steps(&workflow);
        let index: BTreeMap<StepKey, usize> =
            steps.iter().enumerate().map(|(at, step)| (step.key, at)).collect();
        for event in self.journal(&row.id).await? {
            if let Some(step) = step_of(&event.kind).and_then(|key| steps.get_mut(*index.get(&key)?)) {
                fold(step, &row.id, event);
            }
        }
        for wait in &row.state.waits {
            if let Some(step) = wait.step.and_then(|key| steps.get_mut(*index.get(&key)?))
                && !step.status.is_final()
            {
                step.status = wait.reason.status();
            }
        }
        steps.retain(|step| !step.rollback || step.started_at.is_some() || step.skipped.is_some());
        Ok(steps)
    }

    /// The workflow of a workflow execution, and its plan.
    async fn workflow_of(&self, row: &ExecutionRow) -> Result<Option<(Arc<Plan>, WorkflowPlan)>> {
        let plan = self.plan(&row.plan).await?;
        let workflow =
            fleet_of(&plan, row.place).and_then(|fleet| plan.workflows.get(fleet.workflow as usize)).cloned();
        Ok(workflow.map(|workflow| (plan, workflow)))
    }

    /// Workflow variables of a workflow execution: names of entities or text, the leg's own infrastructure among them.
    ///
    /// # Errors
    /// When the plan cannot be read.
    pub async fn variables_of(&self, row: &ExecutionRow) -> Result<BTreeMap<String, String>> {
        let plan = self.plan(&row.plan).await?;
        Ok(leg_variables(&plan, row))
    }

    /// Artifacts that a workflow execution deploys, one per service of its phases; `None` services have none.
    ///
    /// # Errors
    /// When the plan cannot be read.
    pub async fn artifacts_of(&self, row: &ExecutionRow) -> Result<Vec<Artifact>> {
        let plan = self.plan(&row.plan).await?;
        let mut artifacts: Vec<Artifact> = Vec::new();
        for service in
            plan.services.iter().filter(|service| row.services.iter().any(|named| named.id == service.id))
        {
            if let Some(artifact) = &service.artifact
                && artifacts.iter().all(|known| known.id != artifact.id)
            {
                artifacts.push(artifact.clone());
            }
        }
        Ok(artifacts)
    }

    /// Artifacts that a rollback of this workflow execution goes back to.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn rollback_artifacts_of(&self, row: &ExecutionRow) -> Result<Vec<Artifact>> {
        let mut artifacts = Vec::new();
        for event in self.journal(&row.id).await? {
            if let EventKind::LastGoodRecalled { last_good } = event.kind {
                artifacts.extend(last_good.into_iter().filter_map(|good| good.artifact));
            }
        }
        Ok(artifacts)
    }
}

fn fleet_of(plan: &Plan, place: Option<LegPlace>) -> Option<&FleetPlan> {
    let place = place.unwrap_or(LegPlace { stage: 0, element: 0, leg: 0 });
    plan.element(place.stage, place.element)?.fleet.as_ref()
}

fn leg_variables(plan: &Plan, row: &ExecutionRow) -> BTreeMap<String, String> {
    let Some(fleet) = fleet_of(plan, row.place) else { return BTreeMap::new() };
    let mut variables = fleet.variables.clone();
    if let (Some(name), Some(infrastructure)) = (&fleet.fan_out, &row.infrastructure) {
        variables.insert(name.clone(), infrastructure.name.clone());
    }
    variables
}

fn with_leg(blank: &StageRow, leg: ExecutionRow, plan: &Plan) -> StageRow {
    StageRow {
        status: leg.state.status,
        variables: leg_variables(plan, &leg),
        leg: Some(leg),
        ..blank.clone()
    }
}

/// A row for an element that has no legs: not begun, skipped, or failed before it had any.
fn without_legs(mut row: StageRow, element_index: u32, events: &[Event], parent: &ExecutionRow) -> StageRow {
    let stage_index = row.stage;
    for event in events {
        match &event.kind {
            EventKind::ElementSkipped { stage, element, reason }
                if (*stage, *element) == (stage_index, element_index) =>
            {
                row.status = Status::Skipped;
                row.skipped = Some(reason.clone());
            }
            EventKind::ElementFailed { stage, element, failure }
                if (*stage, *element) == (stage_index, element_index) =>
            {
                row.status = Status::Failed;
                row.failure = Some(failure.clone());
            }
            EventKind::StageStarted { stage } if *stage == stage_index && row.status == Status::Queued => {
                row.status = Status::Running;
            }
            EventKind::PipelineStarted { resume: Some(resume), .. } if stage_index < resume.stage => {
                if let Some(status) = resume.statuses.get(stage_index as usize) {
                    row.status = *status;
                }
            }
            _ => {}
        }
    }
    // A stage that its pipeline never reached stays queued in the journal; to people it will never run.
    if parent.state.status.is_final() && !row.status.is_final() {
        row.status = if row.status == Status::Queued { Status::Skipped } else { parent.state.status };
    }
    row
}

fn planned_steps(workflow: &WorkflowPlan) -> Vec<StepRun> {
    let mut steps = Vec::new();
    let mut add = |phase: &str, section: &SectionPlan, rollback: bool| {
        steps.extend(section.steps.iter().map(|step| blank(phase, section, step, rollback)));
    };
    if let Some(section) = &workflow.pre_deployment {
        add("", section, false);
    }
    for phase in &workflow.phases {
        for section in &phase.sections {
            add(&phase.name, section, false);
        }
        let rollback_name = phase.rollback_name.as_deref().unwrap_or(&phase.name);
        for section in &phase.rollback {
            add(rollback_name, section, true);
        }
    }
    if let Some(section) = &workflow.post_deployment {
        add("", section, false);
    }
    steps
}

fn blank(phase: &str, section: &SectionPlan, step: &StepPlan, rollback: bool) -> StepRun {
    StepRun {
        key: step.key,
        name: step.name.clone(),
        kind: step.kind.to_string(),
        phase: phase.to_owned(),
        section: section.name.clone(),
        rollback,
        status: Status::Queued,
        attempt: 0,
        started_at: None,
        ended_at: None,
        skipped: None,
        failure: None,
        tasks: Vec::new(),
    }
}

fn step_of(kind: &EventKind) -> Option<StepKey> {
    match kind {
        EventKind::StepSkipped { step, .. }
        | EventKind::StepStarted { step, .. }
        | EventKind::TasksIssued { step, .. }
        | EventKind::TaskEnded { step, .. }
        | EventKind::StepEnded { step, .. }
        | EventKind::RetryScheduled { step, .. } => Some(*step),
        _ => None,
    }
}

fn fold(run: &mut StepRun, execution: &ExecutionId, event: Event) {
    match event.kind {
        EventKind::StepSkipped { reason, .. } => {
            run.status = Status::Skipped;
            run.skipped = Some(reason);
            run.ended_at = Some(event.at);
        }
        EventKind::StepStarted { attempt, .. } => {
            run.status = Status::Running;
            run.attempt = attempt;
            run.started_at = run.started_at.or(Some(event.at));
            run.ended_at = None;
        }
        EventKind::TasksIssued { step, attempt, tasks } => {
            run.tasks.extend(tasks.into_iter().map(|task| TaskRun {
                attempt,
                log: public_name(
                    execution,
                    &Task::log_of(execution, step, attempt, task.instance.as_deref()),
                ),
                instance: task.instance,
                status: Status::Running,
                failure: None,
                units: Vec::new(),
                started_at: event.at,
                ended_at: None,
            }));
        }
        EventKind::TaskEnded { attempt, instance, outcome, .. } => {
            let task = run.tasks.iter_mut().find(|task| task.attempt == attempt && task.instance == instance);
            if let Some(task) = task {
                (task.status, task.failure) = ended(outcome.result);
                task.units = outcome.units;
                task.ended_at = Some(event.at);
            }
        }
        EventKind::StepEnded { status, failure, .. } => {
            run.status = status;
            run.failure = failure;
            run.ended_at = Some(event.at);
        }
        EventKind::RetryScheduled { .. } => run.status = Status::Waiting,
        _ => {}
    }
}

fn ended(result: manifold_model::task::TaskResult) -> (Status, Option<Failure>) {
    use manifold_model::task::TaskResult;
    match result {
        TaskResult::Succeeded => (Status::Success, None),
        TaskResult::Failed { failure } => (Status::Failed, Some(failure)),
        TaskResult::Cancelled => (Status::Aborted, None),
        TaskResult::Unknown { .. } => (Status::Paused, None),
    }
}
