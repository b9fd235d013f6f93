//! What an execution consists of: the stages of a pipeline's, the steps of a workflow's.

use async_graphql::{Enum, Interface, Object, SimpleObject};
use manifold_control::run::{StageRow, StepRun, TaskRun};

use super::execution::{ExecutionStatus, FailureInfo, NameValue};
use super::scalar::DateTime;
use super::variable::Variable;

/// One row of a stage.
#[derive(Interface, Clone, Debug)]
#[graphql(
    field(name = "pipeline_step_name", ty = "String"),
    field(name = "pipeline_stage_name", ty = "String"),
    field(name = "pipeline_stage_element_id", ty = "String"),
    field(name = "status", ty = "ExecutionStatus")
)]
pub enum PipelineStageExecution {
    /// An approval.
    Approval(ApprovalStageExecution),
    /// A workflow: one leg, or an element that has none yet.
    Workflow(WorkflowStageExecution),
}

impl PipelineStageExecution {
    /// A row of the run view.
    #[must_use]
    pub fn of(row: StageRow) -> Self {
        Self::Workflow(WorkflowStageExecution { row })
    }
}

/// Who decides an approval.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ApprovalStepType {
    Jira,
    #[graphql(name = "SERVICENOW")]
    ServiceNow,
    ShellScript,
    UserGroup,
}

/// An approval of a pipeline. Pipelines with an approval are refused at start for now, so none is made; the type is there because
/// existing clients name it in every query.
#[derive(Clone, Debug)]
pub struct ApprovalStageExecution {
    row: StageRow,
    kind: ApprovalStepType,
}

/// An approval of a pipeline.
#[Object]
impl ApprovalStageExecution {
    async fn pipeline_step_name(&self) -> String {
        self.row.step_name.clone()
    }

    async fn pipeline_stage_name(&self) -> String {
        self.row.stage_name.clone()
    }

    async fn pipeline_stage_element_id(&self) -> String {
        self.row.element.to_string()
    }

    async fn status(&self) -> ExecutionStatus {
        ExecutionStatus::of(self.row.status)
    }

    async fn approval_step_type(&self) -> ApprovalStepType {
        self.kind
    }
}

/// A workflow of a pipeline: one leg, or an element that has none yet.
#[derive(Clone, Debug)]
pub struct WorkflowStageExecution {
    row: StageRow,
}

/// A workflow of a pipeline: one leg, or an element that has none yet.
#[Object]
impl WorkflowStageExecution {
    async fn pipeline_step_name(&self) -> String {
        self.row.step_name.clone()
    }

    async fn pipeline_stage_name(&self) -> String {
        self.row.stage_name.clone()
    }

    /// The same for all legs of the element.
    async fn pipeline_stage_element_id(&self) -> String {
        self.row.element.to_string()
    }

    async fn status(&self) -> ExecutionStatus {
        ExecutionStatus::of(self.row.status)
    }

    /// The leg; null before it exists.
    async fn workflow_execution_id(&self) -> Option<String> {
        self.row.leg.as_ref().map(|leg| leg.id.to_string())
    }

    async fn input_variables(&self) -> Vec<NameValue> {
        self.row
            .variables
            .iter()
            .map(|(name, value)| NameValue { name: name.clone(), value: Some(value.clone()) })
            .collect()
    }

    async fn runtime_input_variables(&self) -> Vec<Variable> {
        Vec::new()
    }

    /// Infrastructure of the leg, by its name then.
    async fn infrastructure_name(&self) -> Option<String> {
        Some(self.row.leg.as_ref()?.infrastructure.as_ref()?.name.clone())
    }

    /// Why it was not run.
    async fn skip_reason(&self) -> Option<String> {
        self.row.skipped.clone()
    }

    /// Why it did not end well.
    async fn failure(&self) -> Option<FailureInfo> {
        let of_leg = self.row.leg.as_ref().and_then(|leg| leg.state.failure.as_ref());
        of_leg.or(self.row.failure.as_ref()).map(FailureInfo::from)
    }
}

/// A step of a workflow execution.
#[derive(Clone, Debug)]
pub struct StepExecution(pub StepRun);

/// A step of a workflow execution.
#[Object]
impl StepExecution {
    /// Number of the step, unique in the workflow.
    async fn step(&self) -> i64 {
        i64::from(self.0.key)
    }

    async fn name(&self) -> String {
        self.0.name.clone()
    }

    /// Step type, as in YAML.
    #[graphql(name = "type")]
    async fn kind(&self) -> String {
        self.0.kind.clone()
    }

    /// Phase; empty in pre- and post-deployment steps.
    async fn phase(&self) -> String {
        self.0.phase.clone()
    }

    async fn section(&self) -> String {
        self.0.section.clone()
    }

    /// Whether it belongs to a rollback phase.
    async fn rollback(&self) -> bool {
        self.0.rollback
    }

    /// Inner status.
    async fn status(&self) -> String {
        self.0.status.name().to_owned()
    }

    /// Attempts so far.
    async fn attempt(&self) -> i64 {
        i64::from(self.0.attempt)
    }

    async fn started_at(&self) -> Option<DateTime> {
        self.0.started_at.map(DateTime)
    }

    async fn ended_at(&self) -> Option<DateTime> {
        self.0.ended_at.map(DateTime)
    }

    async fn skip_reason(&self) -> Option<String> {
        self.0.skipped.clone()
    }

    async fn failure(&self) -> Option<FailureInfo> {
        self.0.failure.as_ref().map(FailureInfo::from)
    }

    /// Its tasks: per attempt, one per instance or one on a delegate.
    async fn tasks(&self) -> Vec<TaskExecution> {
        self.0.tasks.iter().map(TaskExecution::from).collect()
    }
}

/// One task of a step.
#[derive(SimpleObject, Clone, Debug)]
pub struct TaskExecution {
    /// Attempt of the step, from 1.
    pub attempt: i64,
    /// Host.
    pub instance: Option<String>,
    /// Its log.
    pub log_id: String,
    /// Inner status.
    pub status: String,
    /// Why it failed.
    pub failure: Option<FailureInfo>,
    /// Units of a command.
    pub units: Vec<UnitExecution>,
    /// When it was handed out.
    pub started_at: DateTime,
    /// When its outcome came.
    pub ended_at: Option<DateTime>,
}

impl From<&TaskRun> for TaskExecution {
    fn from(task: &TaskRun) -> Self {
        Self {
            attempt: i64::from(task.attempt),
            instance: task.instance.clone(),
            log_id: task.log.clone(),
            status: task.status.name().to_owned(),
            failure: task.failure.as_ref().map(FailureInfo::from),
            units: task
                .units
                .iter()
                .map(|unit| UnitExecution {
                    name: unit.name.clone(),
                    status: unit.status.clone(),
                    exit_code: unit.exit_code.map(i64::from),
                    duration_ms: i64::try_from(unit.duration_ms).unwrap_or(i64::MAX),
                })
                .collect(),
            started_at: DateTime(task.started_at),
            ended_at: task.ended_at.map(DateTime),
        }
    }
}

/// One unit of a command.
#[derive(SimpleObject, Clone, Debug)]
pub struct UnitExecution {
    /// Name.
    pub name: String,
    /// SUCCESS, FAILURE or QUEUED.
    pub status: String,
    /// Exit code of a script.
    pub exit_code: Option<i64>,
    /// How long, milliseconds.
    pub duration_ms: i64,
}
