//! What a screen shows of an execution: its plan with the state beside every part.

use std::collections::BTreeMap;

use manifold_model::event::RollbackMark;
use manifold_model::kind::KindName;
use manifold_model::plan::{SectionPlan, StepKey, StepPlan};
use manifold_model::task::{Task, UnitStatus};
use manifold_model::wait::Wait;
use manifold_model::{ElementId, ExecutionId, Failure, LogId, Millis, Status, TaskId};
use serde::Serialize;

use crate::place::{Map, Part};
use crate::row;
use crate::state::{Attempt, Lock, Selection, Settled, State, StepState, TaskState, TaskVerdict};

/// A workflow execution.
#[derive(Clone, PartialEq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct LegView {
    /// Inner status.
    pub status: Status,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// How its rollback went.
    pub rollback: Option<RollbackMark>,
    /// Parts in the order of the plan: pre-deployment, phases, rollback phases that began (newest first), post-deployment.
    pub phases: Vec<PhaseView>,
}

/// Pre-deployment steps, a phase, a rollback phase or post-deployment steps.
#[derive(Clone, PartialEq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct PhaseView {
    /// Name.
    pub name: String,
    /// Index of the phase; `None` for pre- and post-deployment steps.
    pub phase: Option<u32>,
    /// Whether it is a rollback phase.
    pub rollback: bool,
    /// Status.
    pub status: Status,
    /// Hosts selected so far.
    pub hosts: Vec<String>,
    /// Sections.
    pub sections: Vec<SectionView>,
}

/// A section.
#[derive(Clone, PartialEq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct SectionView {
    /// Name.
    pub name: String,
    /// Type.
    pub kind: String,
    /// Whether its steps run at once.
    pub parallel: bool,
    /// Status.
    pub status: Status,
    /// Steps.
    pub steps: Vec<StepView>,
}

/// A step.
#[derive(Clone, PartialEq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Key; `None` for the implicit step Acquire Resource Lock.
    pub key: Option<StepKey>,
    /// Name.
    pub name: String,
    /// Step type.
    pub kind: KindName,
    /// Status.
    pub status: Status,
    /// When its first attempt began.
    pub started_at: Option<Millis>,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// Why it was skipped, or how its failure was answered (`ignored`).
    pub note: Option<String>,
    /// What it waits for.
    pub waits: Vec<Wait>,
    /// Attempts.
    pub attempts: Vec<AttemptView>,
}

/// An attempt of a step.
#[derive(Clone, PartialEq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct AttemptView {
    /// Number, from 1.
    pub attempt: u32,
    /// Status.
    pub status: Status,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// When it began.
    pub started_at: Millis,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// Expressions used, with their values; secrets masked.
    pub values: BTreeMap<String, String>,
    /// Its tasks.
    pub instances: Vec<InstanceView>,
}

/// One task of an attempt.
#[derive(Clone, PartialEq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct InstanceView {
    /// Task.
    pub task: TaskId,
    /// Host, for tasks per instance.
    pub instance: Option<String>,
    /// Log.
    pub log: LogId,
    /// Status.
    pub status: Status,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// When it was handed out.
    pub started_at: Millis,
    /// When its outcome came.
    pub ended_at: Option<Millis>,
    /// Units of a command.
    pub units: Vec<UnitStatus>,
}

/// A pipeline execution.
#[derive(Clone, PartialEq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct PipelineView {
    /// Inner status.
    pub status: Status,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Stages.
    pub stages: Vec<StageView>,
}

/// A stage.
#[derive(Clone, PartialEq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct StageView {
    /// Index.
    pub stage: u32,
    /// Name.
    pub name: String,
    /// Status: of all its legs together.
    pub status: Status,
    /// When it began.
    pub started_at: Option<Millis>,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// Elements.
    pub elements: Vec<ElementView>,
}

/// An element of a stage.
#[derive(Clone, PartialEq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct ElementView {
    /// Index.
    pub element: u32,
    /// Id.
    pub id: ElementId,
    /// Name.
    pub name: String,
    /// Status.
    pub status: Status,
    /// Why it was skipped.
    pub skipped: Option<String>,
    /// Why it could not be started.
    pub failure: Option<Failure>,
    /// Legs in the plan.
    pub planned: u32,
    /// Legs created so far.
    pub created: u32,
    /// Legs that have ended, by ordinal. Of the others the pipeline only knows that they were created.
    pub ended: Vec<LegStatus>,
}

/// A leg as its pipeline knows it.
#[derive(Clone, PartialEq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct LegStatus {
    /// Ordinal.
    pub leg: u32,
    /// Execution.
    pub execution: ExecutionId,
    /// Final status.
    pub status: Status,
    /// Why it did not end well.
    pub failure: Option<Failure>,
}

/// The view of a workflow execution.
pub(crate) fn of(state: &State, map: Option<Map<'_>>, id: &ExecutionId) -> LegView {
    let waits = row::waits(state);
    let viewer = Viewer { state, id };
    LegView {
        status: row::status(state, &waits),
        failure: state.end.as_ref().and_then(|end| end.failure.clone()),
        rollback: state.rollback.as_ref().and_then(|rollback| rollback.mark),
        phases: map.map(|map| viewer.phases(map)).unwrap_or_default(),
    }
}

struct Viewer<'s> {
    state: &'s State,
    id: &'s ExecutionId,
}

impl Viewer<'_> {
    fn phases(&self, map: Map<'_>) -> Vec<PhaseView> {
        let mut views = Vec::new();
        let mut back = Vec::new();
        for part in map.parts() {
            let exists = match part {
                Part::Pre | Part::Post => !map.sections(part).is_empty(),
                Part::Phase(_) => true,
                Part::Rollback(phase) => self.state.phases.contains_key(&(phase, true)),
            };
            if !exists {
                continue;
            }
            if part == Part::Post {
                back.reverse();
                views.append(&mut back);
            }
            let view = self.phase(map, part);
            if part.is_rollback() { back.push(view) } else { views.push(view) }
        }
        back.reverse();
        views.append(&mut back);
        self.add_lock(map, &mut views);
        views
    }

    fn phase(&self, map: Map<'_>, part: Part) -> PhaseView {
        let sections: Vec<SectionView> =
            map.sections(part).iter().map(|section| self.section(section)).collect();
        let plan = part.phase().and_then(|phase| map.phase(phase));
        let name = match (part, plan) {
            (Part::Pre, _) => "Pre-Deployment".to_owned(),
            (Part::Post, _) => "Post-Deployment".to_owned(),
            (Part::Rollback(_), Some(plan)) => plan.rollback_name.as_ref().unwrap_or(&plan.name).clone(),
            (_, Some(plan)) => plan.name.clone(),
            (_, None) => String::new(),
        };
        let key = part.phase().map(|phase| (phase, part.is_rollback()));
        let phase = key.and_then(|key| self.state.phases.get(&key));
        let status = match (key, phase) {
            (None, _) => Status::together(sections.iter().map(|section| section.status)),
            (Some(_), None) => Status::Queued,
            (Some(_), Some(phase)) => phase.ended.map_or(Status::Running, |(_, status)| status),
        };
        let of_phase = |selection: &&Selection| Some(selection.phase) == part.phase();
        let hosts =
            self.state.selections.iter().filter(of_phase).flat_map(|selection| selection.hosts.clone());
        PhaseView {
            name,
            phase: part.phase(),
            rollback: part.is_rollback(),
            status,
            hosts: hosts.collect(),
            sections,
        }
    }

    fn section(&self, section: &SectionPlan) -> SectionView {
        let steps: Vec<StepView> = section.steps.iter().map(|step| self.step(step)).collect();
        SectionView {
            name: section.name.clone(),
            kind: section.kind.clone(),
            parallel: section.parallel,
            status: Status::together(steps.iter().map(|step| step.status)),
            steps,
        }
    }

    fn step(&self, step: &StepPlan) -> StepView {
        let empty = StepState::default();
        let state = self.state.steps.get(&step.key).unwrap_or(&empty);
        let mut waits = Vec::new();
        if self.state.end.is_none() && state.settled.is_none() {
            row::of_step(step.key, state, &mut waits);
        }
        let note = match &state.settled {
            Some(Settled::Passed(note) | Settled::Skipped(note)) => Some(note.clone()),
            _ => None,
        };
        StepView {
            key: Some(step.key),
            name: step.name.clone(),
            kind: step.kind.clone(),
            status: step_status(state, &waits),
            started_at: state.attempts.first().map(|attempt| attempt.started_at),
            ended_at: state.settled_at.or_else(|| Some(state.last()?.ended.as_ref()?.0)),
            note,
            waits,
            attempts: state.attempts.iter().map(|attempt| self.attempt(step, attempt)).collect(),
        }
    }

    fn attempt(&self, step: &StepPlan, attempt: &Attempt) -> AttemptView {
        let did_not_run = attempt.tasks.iter().any(|task| task.verdict() == TaskVerdict::DidNotRun);
        let (status, failure) = match &attempt.ended {
            Some((_, status, failure)) => (*status, failure.clone()),
            None if did_not_run && attempt.open == 0 => (Status::Aborted, None),
            None => (Status::Running, None),
        };
        let instance = |task: &TaskState| InstanceView {
            task: task.id.clone(),
            instance: task.instance.clone(),
            log: Task::log_of(self.id, step.key, attempt.number, task.instance.as_deref()),
            status: task_status(task),
            failure: match task.verdict() {
                TaskVerdict::Failed(failure) => Some(failure.clone()),
                _ => None,
            },
            started_at: task.issued_at,
            ended_at: task.outcome.as_ref().map(|(at, _)| *at),
            units: task.outcome.as_ref().map(|(_, outcome)| outcome.units.clone()).unwrap_or_default(),
        };
        AttemptView {
            attempt: attempt.number,
            status,
            failure,
            started_at: attempt.started_at,
            ended_at: attempt.ended.as_ref().map(|(at, ..)| *at),
            values: attempt.values.clone(),
            instances: attempt.tasks.iter().map(instance).collect(),
        }
    }

    /// Shows the implicit step Acquire Resource Lock in the first section of the first phase, even without contention (`behaviour.md` 8.1).
    fn add_lock(&self, map: Map<'_>, views: &mut [PhaseView]) {
        let (status, started, ended) = match &self.state.lock {
            Lock::NotAsked if map.workflow.locks && self.state.end.is_none() => (Status::Queued, None, None),
            Lock::NotAsked => return,
            Lock::Asked { at, .. } if self.state.end.is_some() => (Status::Aborted, Some(*at), None),
            Lock::Asked { at, .. } => (Status::Waiting, Some(*at), None),
            Lock::Held { asked, at, .. } => (Status::Success, Some(*asked), Some(*at)),
            Lock::Refused { at, .. } => (Status::Failed, Some(*at), Some(*at)),
        };
        let first = views.iter_mut().find(|view| view.phase == Some(0) && !view.rollback);
        let Some(section) = first.and_then(|phase| phase.sections.first_mut()) else { return };
        section.steps.insert(
            0,
            StepView {
                key: None,
                name: row::LOCK_STEP.to_owned(),
                kind: KindName::from("RESOURCE_CONSTRAINT"),
                status,
                started_at: started,
                ended_at: ended,
                note: None,
                waits: Vec::new(),
                attempts: Vec::new(),
            },
        );
    }
}

fn step_status(state: &StepState, waits: &[Wait]) -> Status {
    match &state.settled {
        Some(Settled::Succeeded | Settled::Passed(_)) => Status::Success,
        Some(Settled::Skipped(_)) => Status::Skipped,
        Some(Settled::Lost) => match state.last().and_then(|last| last.ended.as_ref()) {
            Some((_, Status::Aborted, _)) => Status::Aborted,
            _ => Status::Failed,
        },
        None if !state.began() => Status::Queued,
        None => match waits.first() {
            Some(_) if waits.iter().any(|wait| wait.reason.status() == Status::Running) => Status::Running,
            Some(wait) => wait.reason.status(),
            None => match state.last().and_then(|last| last.ended.as_ref()) {
                Some((_, status, _)) => *status,
                None => Status::Running,
            },
        },
    }
}

fn task_status(task: &TaskState) -> Status {
    match task.verdict() {
        TaskVerdict::Open => Status::Running,
        TaskVerdict::Succeeded => Status::Success,
        TaskVerdict::Failed(_) => Status::Failed,
        TaskVerdict::Cancelled | TaskVerdict::DidNotRun => Status::Aborted,
        TaskVerdict::Unknown(_) => Status::Paused,
    }
}
