//! What a screen shows of an execution: its plan with the state beside every part.

use std::collections::BTreeMap;

use manifold_model::event::RollbackMark;
use manifold_model::kind::KindName;
use manifold_model::plan::StepKey;
use manifold_model::task::UnitStatus;
use manifold_model::wait::Wait;
use manifold_model::{ElementId, ExecutionId, Failure, LogId, Millis, Status, TaskId};
use serde::Serialize;

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
