//! Pipelines.

use std::sync::Arc;

use async_graphql::{Context, InputObject, Object};
use manifold_control::Snapshot;
use manifold_control::model::entity;
use manifold_control::model::request::ExecutionType;

use super::application::{Application, Tag, User, tags};
use super::filter::{IdFilter, TagEntityType, TagInput, admits, tagged};
use super::scalar::DateTime;
use super::variable::Variable;
use super::{actor_of, control_of};
use crate::error;

/// A pipeline.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// The catalog it was read from.
    pub snapshot: Arc<Snapshot>,
    /// It.
    pub entity: Arc<entity::Pipeline>,
}

/// A pipeline.
#[Object]
impl Pipeline {
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

    async fn application(&self) -> Option<Application> {
        let entity = self.snapshot.catalog.applications.get(&self.entity.application)?;
        Some(Application { snapshot: self.snapshot.clone(), entity: entity.clone() })
    }

    async fn tags(&self) -> Vec<Tag> {
        tags(&self.entity.tags)
    }

    /// What must or may be given when it is deployed.
    async fn pipeline_variables(&self, ctx: &Context<'_>) -> async_graphql::Result<Vec<Variable>> {
        let inputs = control_of(ctx)?
            .inputs(actor_of(ctx)?, &self.entity.application, &self.entity.id, ExecutionType::Pipeline)
            .await
            .map_err(error::graphql)?;
        Ok(inputs.into_iter().map(Variable::from).collect())
    }
}

/// A condition on tags of pipelines.
#[derive(InputObject, Clone, Debug)]
pub struct PipelineTagFilter {
    /// On what the tag stands.
    pub entity_type: Option<TagEntityType>,
    /// Tags; one must be there.
    pub tags: Option<Vec<Option<TagInput>>>,
}

/// Which pipelines.
#[derive(InputObject, Clone, Debug)]
pub struct PipelineFilter {
    /// Application.
    pub application: Option<IdFilter>,
    /// Pipeline.
    pub pipeline: Option<IdFilter>,
    /// Tags.
    pub tag: Option<PipelineTagFilter>,
}

impl PipelineFilter {
    /// Whether a pipeline passes.
    #[must_use]
    pub fn admits(&self, pipeline: &entity::Pipeline) -> bool {
        admits(self.application.as_ref(), pipeline.application.as_str())
            && admits(self.pipeline.as_ref(), pipeline.id.as_str())
            && self
                .tag
                .as_ref()
                .is_none_or(|filter| tagged(filter.tags.as_deref().unwrap_or_default(), &pipeline.tags))
    }
}
