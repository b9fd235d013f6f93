//! Executions (`wire.md` 3.3).

use std::sync::Arc;

use async_graphql::{Context, Interface, Object, SimpleObject, Union};
use manifold_control::Snapshot;
use manifold_control::executions::{LegFilter, Order};
use manifold_control::model::execution::{ExecutionRow, Named};
use manifold_control::model::request::{Cause, ExecutionType};
use manifold_control::model::{EntityId, ExecutionId, Failure};

use super::application::{Application, Tag, User};
use super::artifact::Artifact;
use super::environment::Environment;
use super::infrastructure::InfrastructureDefinition;
use super::page::{Connection, Window, cost};
use super::pipeline::Pipeline;
use super::scalar::{DateTime, Json};
use super::service::Service;
use super::stage::{PipelineStageExecution, StepExecution};
use super::workflow::Workflow;
use super::{actor_of, control_of, snapshot_of};
use crate::error;

/// Legs that `memberExecutions` shows when no limit is given.
const MEMBERS: i64 = 1_000;

/// One execution.
#[derive(Interface, Clone, Debug)]
#[graphql(
    field(name = "id", ty = "String"),
    field(name = "application", ty = "Option<Application>"),
    field(name = "created_at", ty = "DateTime"),
    field(name = "started_at", ty = "Option<DateTime>"),
    field(name = "ended_at", ty = "Option<DateTime>"),
    field(name = "status", ty = "ExecutionStatus"),
    field(name = "inner_status", ty = "String"),
    field(name = "waits", ty = "Vec<Wait>"),
    field(name = "failure_details", ty = "Option<String>"),
    field(name = "failure", ty = "Option<FailureInfo>"),
    field(name = "notes", ty = "Option<String>"),
    field(name = "tags", ty = "Vec<Tag>"),
    field(name = "cause", ty = "Option<CauseOf>"),
    field(name = "execution_url", ty = "Option<String>"),
    field(name = "seq", ty = "i64"),
    field(name = "steps_done", ty = "i64"),
    field(name = "steps_total", ty = "i64"),
    field(name = "doing", ty = "Option<String>")
)]
pub enum Execution {
    /// Of a workflow.
    Workflow(WorkflowExecution),
    /// Of a pipeline.
    Pipeline(PipelineExecution),
}

impl Execution {
    /// The row as an execution of its type.
    #[must_use]
    pub fn of(snapshot: &Arc<Snapshot>, row: ExecutionRow) -> Self {
        let snapshot = Arc::clone(snapshot);
        match row.kind {
            ExecutionType::Workflow => Self::Workflow(WorkflowExecution { snapshot, row }),
            ExecutionType::Pipeline => Self::Pipeline(PipelineExecution { snapshot, row }),
        }
    }
}

/// Statuses as existing clients know them; WAITING and RESUMED are accepted in filters and never printed.
#[derive(async_graphql::Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ExecutionStatus {
    Aborted,
    Error,
    Expired,
    Failed,
    Paused,
    Queued,
    Rejected,
    Resumed,
    Running,
    Skipped,
    Success,
    Waiting,
}

impl ExecutionStatus {
    /// What clients see of an inner status.
    #[must_use]
    pub fn of(status: manifold_control::model::Status) -> Self {
        match status.public_name() {
            "ABORTED" => Self::Aborted,
            "EXPIRED" => Self::Expired,
            "FAILED" => Self::Failed,
            "PAUSED" => Self::Paused,
            "QUEUED" => Self::Queued,
            "REJECTED" => Self::Rejected,
            "RUNNING" => Self::Running,
            "SKIPPED" => Self::Skipped,
            "SUCCESS" => Self::Success,
            _ => Self::Error,
        }
    }
}

/// Why something is not being done right now.
#[derive(SimpleObject, Clone, Debug)]
pub struct Wait {
    /// Step that waits; none when the execution as a whole does.
    pub step: Option<i64>,
    /// Since when.
    pub since: DateTime,
    /// For what: LOCK, BARRIER, CONSTRAINT, RETRY, DELAY, INTERVENTION, UNKNOWN_OUTCOME, DELEGATE, TASK, LEGS, PAUSED, STOPPING, TURN, LIMIT.
    pub reason: String,
    /// All that is known of it: who holds the lock or the permits, when the retry is due, what may be answered, ….
    pub detail: Json,
}

impl Wait {
    fn of(wait: &manifold_control::model::wait::Wait) -> Self {
        let detail = serde_json::to_value(&wait.reason).unwrap_or_default();
        let reason = detail.get("for").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        Self { step: wait.step.map(i64::from), since: DateTime(wait.since), reason, detail: Json(detail) }
    }
}

/// Why something failed.
#[derive(SimpleObject, Clone, Debug)]
pub struct FailureInfo {
    /// Class, as failure strategies name it.
    pub class: String,
    /// Stable code.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl From<&Failure> for FailureInfo {
    fn from(failure: &Failure) -> Self {
        Self {
            class: failure.class.name().to_owned(),
            code: failure.code.to_string(),
            message: failure.message.clone(),
            hint: failure.hint.clone(),
        }
    }
}

/// How an execution was asked for.
#[derive(async_graphql::Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[graphql(name = "ExecuteOptions")]
pub enum Using {
    /// The web UI.
    #[graphql(name = "WEB_UI")]
    WebUi,
    /// The API.
    #[graphql(name = "GRAPHQL_API")]
    GraphqlApi,
}

/// An API key, not the key itself.
#[derive(SimpleObject, Clone, Debug)]
pub struct ApiKey {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
}

/// A user started it.
#[derive(SimpleObject, Clone, Debug)]
pub struct ExecutedByUser {
    /// Who.
    pub user: Option<User>,
    /// How.
    pub using: Using,
}

/// An API key started it.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(name = "ExecutedByAPIKey")]
pub struct ExecutedByApiKey {
    /// Which.
    pub api_key: Option<ApiKey>,
    /// How.
    pub using: Using,
}

/// A trigger.
#[derive(SimpleObject, Clone, Debug)]
pub struct Trigger {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
}

/// A trigger started it.
#[derive(SimpleObject, Clone, Debug)]
pub struct ExecutedByTrigger {
    /// Which.
    pub trigger: Option<Trigger>,
}

/// It is part of a pipeline execution.
#[derive(Clone, Debug)]
pub struct ExecutedAlongPipeline {
    parent: ExecutionId,
}

/// It is part of a pipeline execution.
#[Object]
impl ExecutedAlongPipeline {
    /// That execution.
    async fn execution(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<PipelineExecution>> {
        let row = control_of(ctx)?.execution(actor_of(ctx)?, &self.parent).await.map_err(error::graphql)?;
        Ok(Some(PipelineExecution { snapshot: snapshot_of(ctx).await?, row }))
    }
}

/// What caused an execution.
#[derive(Union, Clone, Debug)]
#[graphql(name = "Cause")]
pub enum CauseOf {
    /// A user.
    User(ExecutedByUser),
    /// An API key.
    Key(ExecutedByApiKey),
    /// A trigger.
    Trigger(ExecutedByTrigger),
    /// A pipeline execution.
    Pipeline(ExecutedAlongPipeline),
}

impl CauseOf {
    fn of(cause: &Cause) -> Self {
        match cause {
            Cause::ApiKey { id, name } => Self::Key(ExecutedByApiKey {
                api_key: Some(ApiKey { id: id.clone(), name: name.clone() }),
                using: Using::GraphqlApi,
            }),
            Cause::User { id, name, email } => Self::User(ExecutedByUser {
                user: Some(User {
                    id: id.clone(),
                    name: name.clone(),
                    email: email.clone(),
                    external_user_id: None,
                }),
                using: Using::WebUi,
            }),
            Cause::Pipeline { execution } => {
                Self::Pipeline(ExecutedAlongPipeline { parent: execution.clone() })
            }
        }
    }
}

/// A name with its value.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(name = "NameValuePair")]
pub struct NameValue {
    /// Name.
    pub name: String,
    /// Value.
    pub value: Option<String>,
}

/// What a workflow execution brought where.
#[derive(Clone, Debug)]
pub struct DeploymentOutcome {
    execution: WorkflowExecution,
    service: Option<EntityId>,
}

/// What a workflow execution brought where.
#[Object]
impl DeploymentOutcome {
    async fn execution(&self) -> Option<Execution> {
        Some(Execution::Workflow(self.execution.clone()))
    }

    async fn service(&self) -> Option<Service> {
        let snapshot = &self.execution.snapshot;
        let entity = snapshot.catalog.services.get(self.service.as_ref()?)?;
        Some(Service { snapshot: snapshot.clone(), entity: entity.clone() })
    }

    async fn environment(&self) -> Option<Environment> {
        self.execution.environment_entity()
    }

    async fn infrastructure_definition(&self) -> Option<InfrastructureDefinition> {
        self.execution.infrastructure_entity()
    }
}

/// What came of an execution.
#[derive(Union, Clone, Debug)]
pub enum Outcome {
    /// A deployment.
    Deployment(DeploymentOutcome),
}

/// An entity as it was named when the execution began.
#[derive(SimpleObject, Clone, Debug)]
pub struct EntityName {
    /// Id.
    pub id: String,
    /// Name then.
    pub name: String,
}

impl From<&Named> for EntityName {
    fn from(named: &Named) -> Self {
        Self { id: named.id.to_string(), name: named.name.clone() }
    }
}

/// The application: as it is, or, when it was deleted since, by its name then.
fn application(snapshot: &Arc<Snapshot>, named: &Named) -> Application {
    let entity = snapshot.catalog.applications.get(&named.id).cloned().unwrap_or_else(|| {
        Arc::new(manifold_control::model::entity::Application {
            id: named.id.clone(),
            name: named.name.clone(),
            description: String::new(),
            defaults: std::collections::BTreeMap::new(),
            tags: Vec::new(),
        })
    });
    Application { snapshot: Arc::clone(snapshot), entity }
}

/// Execution of a workflow, alone or as a leg.
#[derive(Clone, Debug)]
pub struct WorkflowExecution {
    /// The catalog in which entities are looked up.
    pub snapshot: Arc<Snapshot>,
    /// Its row.
    pub row: ExecutionRow,
}

impl WorkflowExecution {
    fn environment_entity(&self) -> Option<Environment> {
        let entity = self.snapshot.catalog.environments.get(&self.row.environment.as_ref()?.id)?;
        Some(Environment { snapshot: self.snapshot.clone(), entity: entity.clone() })
    }

    fn infrastructure_entity(&self) -> Option<InfrastructureDefinition> {
        let entity = self.snapshot.catalog.infrastructures.get(&self.row.infrastructure.as_ref()?.id)?;
        Some(InfrastructureDefinition { snapshot: self.snapshot.clone(), entity: entity.clone() })
    }

    fn shown(&self, artifacts: Vec<manifold_control::model::artifact::Artifact>) -> Vec<Artifact> {
        artifacts
            .into_iter()
            .map(|artifact| Artifact { snapshot: Arc::clone(&self.snapshot), artifact })
            .collect()
    }
}

/// Execution of a workflow, alone or as a leg of a pipeline's fan-out.
#[Object]
impl WorkflowExecution {
    async fn id(&self) -> String {
        self.row.id.to_string()
    }

    async fn application(&self) -> Option<Application> {
        Some(application(&self.snapshot, &self.row.application))
    }

    /// The workflow; null when it was deleted since.
    async fn workflow(&self) -> Option<Workflow> {
        let entity = self.snapshot.catalog.workflows.get(&self.row.entity.id)?;
        Some(Workflow { snapshot: self.snapshot.clone(), entity: entity.clone() })
    }

    /// Workflow by its name then.
    async fn workflow_name(&self) -> String {
        self.row.entity.name.clone()
    }

    /// When it was queued.
    async fn created_at(&self) -> DateTime {
        DateTime(self.row.created_at)
    }

    /// When it began.
    async fn started_at(&self) -> Option<DateTime> {
        self.row.state.started_at.map(DateTime)
    }

    async fn ended_at(&self) -> Option<DateTime> {
        self.row.state.ended_at.map(DateTime)
    }

    async fn status(&self) -> ExecutionStatus {
        ExecutionStatus::of(self.row.state.status)
    }

    /// The status with everything that existing clients cannot tell apart: STARTING, WAITING, PAUSING, ABORTING.
    async fn inner_status(&self) -> String {
        self.row.state.status.name().to_owned()
    }

    /// What it waits for.
    async fn waits(&self, ctx: &Context<'_>) -> async_graphql::Result<Vec<Wait>> {
        let waits = control_of(ctx)?.waits_of(&self.row).await.map_err(error::graphql)?;
        Ok(waits.iter().map(Wait::of).collect())
    }

    async fn failure_details(&self) -> Option<String> {
        self.row.state.failure.as_ref().map(|failure| failure.message.clone())
    }

    async fn failure(&self) -> Option<FailureInfo> {
        self.row.state.failure.as_ref().map(FailureInfo::from)
    }

    async fn notes(&self) -> Option<String> {
        Some(self.row.notes.clone())
    }

    async fn tags(&self) -> Vec<Tag> {
        Vec::new()
    }

    async fn cause(&self) -> Option<CauseOf> {
        Some(match &self.row.parent {
            Some(parent) => CauseOf::Pipeline(ExecutedAlongPipeline { parent: parent.clone() }),
            None => CauseOf::of(&self.row.cause),
        })
    }

    /// Where people look at it.
    async fn execution_url(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<String>> {
        Ok(Some(control_of(ctx)?.execution_url(&self.row.id)))
    }

    /// Sequence number of its last event.
    async fn seq(&self) -> i64 {
        i64::try_from(self.row.state.seq).unwrap_or(i64::MAX)
    }

    async fn steps_done(&self) -> i64 {
        i64::from(self.row.state.steps_done)
    }

    async fn steps_total(&self) -> i64 {
        i64::from(self.row.state.steps_total)
    }

    /// What it is doing now.
    async fn doing(&self) -> Option<String> {
        self.row.state.doing.clone()
    }

    /// How its rollback went: ROLLED_BACK, NOT_ROLLED_BACK, ROLLBACK_FAILED; null when there was none.
    async fn rollback(&self) -> Option<String> {
        use manifold_control::model::event::RollbackMark;
        let mark = match self.row.state.rollback? {
            RollbackMark::RolledBack => "ROLLED_BACK",
            RollbackMark::NotRolledBack => "NOT_ROLLED_BACK",
            RollbackMark::RollbackFailed => "ROLLBACK_FAILED",
        };
        Some(mark.to_owned())
    }

    /// The pipeline execution of which it is a leg.
    async fn pipeline_execution_id(&self) -> Option<String> {
        self.row.parent.as_ref().map(ToString::to_string)
    }

    /// Ordinal of the leg in its stage, from 0.
    async fn leg(&self) -> Option<i64> {
        self.row.parent.as_ref()?;
        self.row.place.map(|place| i64::from(place.leg))
    }

    /// Environment by its name then.
    async fn environment(&self) -> Option<EntityName> {
        self.row.environment.as_ref().map(EntityName::from)
    }

    /// Infrastructure by its name then: exactly one in a leg.
    async fn infrastructure(&self) -> Option<EntityName> {
        self.row.infrastructure.as_ref().map(EntityName::from)
    }

    /// Services by their names then.
    async fn services(&self) -> Vec<EntityName> {
        self.row.services.iter().map(EntityName::from).collect()
    }

    async fn artifacts(&self, ctx: &Context<'_>) -> async_graphql::Result<Vec<Artifact>> {
        Ok(self.shown(control_of(ctx)?.artifacts_of(&self.row).await.map_err(error::graphql)?))
    }

    async fn rollback_artifacts(&self, ctx: &Context<'_>) -> async_graphql::Result<Vec<Artifact>> {
        Ok(self.shown(control_of(ctx)?.rollback_artifacts_of(&self.row).await.map_err(error::graphql)?))
    }

    /// Workflow variables as this execution has them; a leg's infrastructure variable holds its one infrastructure.
    async fn input_variables(&self, ctx: &Context<'_>) -> async_graphql::Result<Vec<NameValue>> {
        let variables = control_of(ctx)?.variables_of(&self.row).await.map_err(error::graphql)?;
        Ok(variables.into_iter().map(|(name, value)| NameValue { name, value: Some(value) }).collect())
    }

    async fn outcomes(
        &self,
        limit: Option<i64>,
        offset: Option<i64>,
    ) -> async_graphql::Result<Connection<Outcome>> {
        let outcome = |service: Option<EntityId>| {
            Outcome::Deployment(DeploymentOutcome { execution: self.clone(), service })
        };
        let outcomes: Vec<Outcome> = match self.row.services.as_slice() {
            [] => vec![outcome(None)],
            services => services.iter().map(|service| outcome(Some(service.id.clone()))).collect(),
        };
        Ok(Window::of(limit.unwrap_or(MEMBERS), offset)?.cut(outcomes))
    }

    /// Its steps, in the order of the plan, with their tasks and logs.
    #[graphql(complexity = "20 * child_complexity + 1")]
    async fn steps(&self, ctx: &Context<'_>) -> async_graphql::Result<Vec<StepExecution>> {
        let steps = control_of(ctx)?.steps(&self.row).await.map_err(error::graphql)?;
        Ok(steps.into_iter().map(StepExecution).collect())
    }
}

/// Execution of a pipeline.
#[derive(Clone, Debug)]
pub struct PipelineExecution {
    /// The catalog in which entities are looked up.
    pub snapshot: Arc<Snapshot>,
    /// Its row.
    pub row: ExecutionRow,
}

/// Execution of a pipeline.
#[Object]
impl PipelineExecution {
    async fn id(&self) -> String {
        self.row.id.to_string()
    }

    async fn application(&self) -> Option<Application> {
        Some(application(&self.snapshot, &self.row.application))
    }

    /// The pipeline; null when it was deleted since.
    async fn pipeline(&self) -> Option<Pipeline> {
        let entity = self.snapshot.catalog.pipelines.get(&self.row.entity.id)?;
        Some(Pipeline { snapshot: self.snapshot.clone(), entity: entity.clone() })
    }

    /// Pipeline by its name then.
    async fn pipeline_name(&self) -> String {
        self.row.entity.name.clone()
    }

    /// When it was queued.
    async fn created_at(&self) -> DateTime {
        DateTime(self.row.created_at)
    }

    /// When it began.
    async fn started_at(&self) -> Option<DateTime> {
        self.row.state.started_at.map(DateTime)
    }

    async fn ended_at(&self) -> Option<DateTime> {
        self.row.state.ended_at.map(DateTime)
    }

    async fn status(&self) -> ExecutionStatus {
        ExecutionStatus::of(self.row.state.status)
    }

    /// The status with everything that existing clients cannot tell apart: STARTING, WAITING, PAUSING, ABORTING.
    async fn inner_status(&self) -> String {
        self.row.state.status.name().to_owned()
    }

    /// What it waits for.
    async fn waits(&self, ctx: &Context<'_>) -> async_graphql::Result<Vec<Wait>> {
        let waits = control_of(ctx)?.waits_of(&self.row).await.map_err(error::graphql)?;
        Ok(waits.iter().map(Wait::of).collect())
    }

    async fn failure_details(&self) -> Option<String> {
        self.row.state.failure.as_ref().map(|failure| failure.message.clone())
    }

    async fn failure(&self) -> Option<FailureInfo> {
        self.row.state.failure.as_ref().map(FailureInfo::from)
    }

    async fn notes(&self) -> Option<String> {
        Some(self.row.notes.clone())
    }

    async fn tags(&self) -> Vec<Tag> {
        Vec::new()
    }

    async fn cause(&self) -> Option<CauseOf> {
        Some(CauseOf::of(&self.row.cause))
    }

    /// Where people look at it.
    async fn execution_url(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<String>> {
        Ok(Some(control_of(ctx)?.execution_url(&self.row.id)))
    }

    /// Sequence number of its last event.
    async fn seq(&self) -> i64 {
        i64::try_from(self.row.state.seq).unwrap_or(i64::MAX)
    }

    async fn steps_done(&self) -> i64 {
        i64::from(self.row.state.steps_done)
    }

    async fn steps_total(&self) -> i64 {
        i64::from(self.row.state.steps_total)
    }

    /// What it is doing now.
    async fn doing(&self) -> Option<String> {
        self.row.state.doing.clone()
    }

    /// The run that it resumed.
    async fn resumed_from(&self) -> Option<String> {
        self.row.resumed_from.as_ref().map(ToString::to_string)
    }

    /// The run that resumed it.
    async fn resumed_by(&self) -> Option<String> {
        self.row.resumed_by.as_ref().map(ToString::to_string)
    }

    /// One row per leg, one for an element without legs; at most 10,000 (`legs` pages).
    #[graphql(complexity = "20 * child_complexity + 1")]
    async fn pipeline_stage_executions(
        &self,
        ctx: &Context<'_>,
    ) -> async_graphql::Result<Vec<PipelineStageExecution>> {
        let rows = control_of(ctx)?.stage_rows(actor_of(ctx)?, &self.row).await.map_err(error::graphql)?;
        Ok(rows.into_iter().map(PipelineStageExecution::of).collect())
    }

    /// The legs of all stages.
    #[graphql(complexity = "cost(limit.unwrap_or(20), child_complexity)")]
    async fn member_executions(
        &self,
        ctx: &Context<'_>,
        limit: Option<i64>,
        offset: Option<i64>,
    ) -> async_graphql::Result<Connection<Execution>> {
        let window = Window::of(limit.unwrap_or(MEMBERS), offset)?;
        let page = control_of(ctx)?
            .legs(
                actor_of(ctx)?,
                &self.row.id,
                None,
                &LegFilter::default(),
                Order::Place,
                (window.offset, window.limit),
            )
            .await
            .map_err(error::graphql)?;
        let nodes: Vec<Execution> =
            page.items.into_iter().map(|row| Execution::of(&self.snapshot, row)).collect();
        Ok(Connection { page_info: window.info(page.total, nodes.len()), nodes })
    }
}
