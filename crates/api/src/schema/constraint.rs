//! Resource constraints (`behaviour.md` 8.2), an extension of ours.

use async_graphql::{ComplexObject, Context, Enum, InputObject, Result, SimpleObject};
use manifold_control::constraints::ConstraintChange;
use manifold_control::constraints::PermitRow;
use manifold_control::model::ConstraintId;
use manifold_control::model::constraint::{
    ConstraintRecord, ConstraintStrategy as Strategy, HoldingScope as Scope,
};

use super::execution::Execution;
use super::page::{Connection, Window, cost};
use super::scalar::DateTime;
use super::{actor_of, control_of, snapshot_of};
use crate::error;

/// Who gets permits that come free.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResourceConstraintStrategy {
    /// The first in the queue; who does not fit makes all behind it wait.
    Fifo,
    /// The first in the queue that fits.
    Asap,
}

impl From<ResourceConstraintStrategy> for Strategy {
    fn from(strategy: ResourceConstraintStrategy) -> Self {
        match strategy {
            ResourceConstraintStrategy::Fifo => Self::Fifo,
            ResourceConstraintStrategy::Asap => Self::Asap,
        }
    }
}

impl From<Strategy> for ResourceConstraintStrategy {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::Fifo => Self::Fifo,
            Strategy::Asap => Self::Asap,
        }
    }
}

/// How long permits are held.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResourceConstraintScope {
    /// Until the workflow execution has ended, its rollback included.
    Workflow,
    /// Until the phase has ended well or has been rolled back.
    Phase,
    /// Until the pipeline execution has ended.
    Pipeline,
}

impl From<Scope> for ResourceConstraintScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Workflow => Self::Workflow,
            Scope::Phase => Self::Phase,
            Scope::Pipeline => Self::Pipeline,
        }
    }
}

/// How a consumer stands.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResourceConstraintConsumerState {
    /// It holds its permits.
    Active,
    /// It waits for them.
    Blocked,
}

/// A step that holds permits or waits for them.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(complex)]
pub struct ResourceConstraintConsumer {
    /// Execution of the step.
    pub execution_id: String,
    /// Execution whose end frees the permits at the latest: the pipeline's for the scope PIPELINE.
    pub held_until_end_of: String,
    /// Step, as `waits` names it.
    pub step: i64,
    /// Its name.
    pub step_name: String,
    /// Unit; empty: account-wide.
    pub unit: String,
    /// Permits.
    pub permits: i64,
    /// How long they are held.
    pub holding_scope: ResourceConstraintScope,
    /// Whether it holds them.
    pub state: ResourceConstraintConsumerState,
    /// Since when it is so.
    pub since: DateTime,
}

#[ComplexObject]
impl ResourceConstraintConsumer {
    /// Execution of the step.
    async fn execution(&self, ctx: &Context<'_>) -> Result<Option<Execution>> {
        let id = self.execution_id.as_str().into();
        let row = control_of(ctx)?.execution(actor_of(ctx)?, &id).await.map_err(error::graphql)?;
        Ok(Some(Execution::of(&snapshot_of(ctx).await?, row)))
    }
}

impl From<PermitRow> for ResourceConstraintConsumer {
    fn from(row: PermitRow) -> Self {
        Self {
            execution_id: row.execution.to_string(),
            held_until_end_of: row.until_end_of.to_string(),
            step: i64::from(row.step),
            step_name: row.step_name,
            unit: row.unit,
            permits: i64::from(row.permits),
            holding_scope: row.scope.into(),
            state: if row.granted {
                ResourceConstraintConsumerState::Active
            } else {
                ResourceConstraintConsumerState::Blocked
            },
            since: DateTime(row.since),
        }
    }
}

/// A count of permits that steps of the whole account share.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(complex)]
pub struct ResourceConstraint {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Permits at once, per unit.
    pub capacity: i64,
    /// Who gets permits that come free.
    pub strategy: ResourceConstraintStrategy,
    /// When it was made.
    pub created_at: DateTime,
}

#[ComplexObject]
impl ResourceConstraint {
    /// Who holds and who waits for permits now: unit by unit, holders first, each in the order of their requests.
    #[graphql(complexity = "cost(limit, child_complexity)")]
    async fn consumers(
        &self,
        ctx: &Context<'_>,
        limit: i64,
        offset: Option<i64>,
    ) -> Result<Connection<ResourceConstraintConsumer>> {
        let window = Window::of(limit, offset)?;
        let id = ConstraintId::from(self.id.as_str());
        let page = control_of(ctx)?
            .permits(actor_of(ctx)?, &id, window.offset, window.limit)
            .await
            .map_err(error::graphql)?;
        let nodes: Vec<_> = page.items.into_iter().map(ResourceConstraintConsumer::from).collect();
        Ok(Connection { page_info: window.info(page.total, nodes.len()), nodes })
    }
}

impl From<ConstraintRecord> for ResourceConstraint {
    fn from(record: ConstraintRecord) -> Self {
        Self {
            id: record.id.to_string(),
            name: record.name,
            capacity: i64::from(record.capacity),
            strategy: record.strategy.into(),
            created_at: DateTime(record.created_at),
        }
    }
}

/// A new resource constraint.
#[derive(InputObject, Clone, Debug)]
pub struct CreateResourceConstraintInput {
    /// Name.
    pub name: String,
    /// Permits at once, per unit.
    pub capacity: i64,
    /// Who gets permits that come free; FIFO when absent.
    pub strategy: Option<ResourceConstraintStrategy>,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}

impl CreateResourceConstraintInput {
    pub(crate) fn change(self) -> ConstraintChange {
        ConstraintChange {
            name: Some(self.name),
            capacity: Some(self.capacity),
            strategy: self.strategy.map(Strategy::from),
        }
    }
}

/// Changes of a resource constraint; what is not given stays.
#[derive(InputObject, Clone, Debug)]
pub struct UpdateResourceConstraintInput {
    /// Resource constraint.
    pub resource_constraint_id: String,
    /// New name; refused while workflows name it.
    pub name: Option<String>,
    /// Permits at once, per unit.
    pub capacity: Option<i64>,
    /// Who gets permits that come free.
    pub strategy: Option<ResourceConstraintStrategy>,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}

impl UpdateResourceConstraintInput {
    pub(crate) fn change(self) -> ConstraintChange {
        ConstraintChange {
            name: self.name,
            capacity: self.capacity,
            strategy: self.strategy.map(Strategy::from),
        }
    }
}

/// A resource constraint to delete.
#[derive(InputObject, Clone, Debug)]
pub struct DeleteResourceConstraintInput {
    /// Resource constraint.
    pub resource_constraint_id: String,
    /// Echoed.
    pub client_mutation_id: Option<String>,
}
