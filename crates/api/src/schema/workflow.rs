//! Workflows.

use std::sync::Arc;

use async_graphql::{Context, Enum, InputObject, Object};
use manifold_control::Snapshot;
use manifold_control::model::entity;
use manifold_control::model::request::ExecutionType;

use super::application::{Application, Tag, User, tags};
use super::filter::{EnumOperator, IdFilter, TagEntityType, TagInput, admits, tagged};
use super::scalar::DateTime;
use super::variable::Variable;
use super::{actor_of, control_of};
use crate::error;

/// Types of workflows.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "as in YAML")]
pub enum OrchestrationWorkflowType {
    Build,
    Basic,
    Canary,
    MultiService,
    BlueGreen,
    Rolling,
    Custom,
}

impl From<entity::WorkflowType> for OrchestrationWorkflowType {
    fn from(kind: entity::WorkflowType) -> Self {
        match kind {
            entity::WorkflowType::Basic => Self::Basic,
            entity::WorkflowType::Canary => Self::Canary,
            entity::WorkflowType::Rolling => Self::Rolling,
            entity::WorkflowType::BlueGreen => Self::BlueGreen,
            entity::WorkflowType::MultiService => Self::MultiService,
            entity::WorkflowType::Build => Self::Build,
            entity::WorkflowType::Custom => Self::Custom,
        }
    }
}

/// A workflow.
#[derive(Clone, Debug)]
pub struct Workflow {
    /// The catalog it was read from.
    pub snapshot: Arc<Snapshot>,
    /// It.
    pub entity: Arc<entity::Workflow>,
}

/// A workflow.
#[Object]
impl Workflow {
    async fn id(&self) -> String {
        self.entity.id.to_string()
    }

    async fn name(&self) -> String {
        self.entity.name.clone()
    }

    async fn description(&self) -> Option<String> {
        Some(self.entity.description.clone())
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.snapshot.created_at(&self.entity.id))
    }

    async fn created_by(&self) -> Option<User> {
        None
    }

    #[graphql(name = "type")]
    async fn kind(&self) -> OrchestrationWorkflowType {
        self.entity.kind.into()
    }

    async fn application(&self) -> Option<Application> {
        let entity = self.snapshot.catalog.applications.get(&self.entity.application)?;
        Some(Application { snapshot: self.snapshot.clone(), entity: entity.clone() })
    }

    async fn tags(&self) -> Vec<Tag> {
        tags(&self.entity.tags)
    }

    /// What must or may be given when it is deployed.
    async fn workflow_variables(&self, ctx: &Context<'_>) -> async_graphql::Result<Vec<Variable>> {
        let inputs = control_of(ctx)?
            .inputs(actor_of(ctx)?, &self.entity.application, &self.entity.id, ExecutionType::Workflow)
            .await
            .map_err(error::graphql)?;
        Ok(inputs.into_iter().map(Variable::from).collect())
    }
}

/// A condition on tags of workflows.
#[derive(InputObject, Clone, Debug)]
pub struct WorkflowTagFilter {
    /// On what the tag stands.
    pub entity_type: Option<TagEntityType>,
    /// Tags; one must be there.
    pub tags: Option<Vec<Option<TagInput>>>,
}

/// A condition on the type of a workflow.
#[derive(InputObject, Clone, Debug)]
pub struct OrchestrationWorkflowTypeFilter {
    /// How.
    pub operator: EnumOperator,
    /// With what.
    pub values: Option<Vec<Option<OrchestrationWorkflowType>>>,
}

/// Which workflows.
#[derive(InputObject, Clone, Debug)]
pub struct WorkflowFilter {
    /// Application.
    pub application: Option<IdFilter>,
    /// Workflow.
    pub workflow: Option<IdFilter>,
    /// Tags.
    pub tag: Option<WorkflowTagFilter>,
    /// Type.
    pub orchestration_workflow_type: Option<OrchestrationWorkflowTypeFilter>,
}

impl WorkflowFilter {
    /// Whether a workflow passes.
    #[must_use]
    pub fn admits(&self, workflow: &entity::Workflow) -> bool {
        admits(self.application.as_ref(), workflow.application.as_str())
            && admits(self.workflow.as_ref(), workflow.id.as_str())
            && self
                .tag
                .as_ref()
                .is_none_or(|filter| tagged(filter.tags.as_deref().unwrap_or_default(), &workflow.tags))
            && self.orchestration_workflow_type.as_ref().is_none_or(|filter| {
                let kind = OrchestrationWorkflowType::from(workflow.kind);
                filter.values.iter().flatten().flatten().any(|wanted| *wanted == kind)
            })
    }
}
