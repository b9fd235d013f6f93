//! Environments.

use std::sync::Arc;

use async_graphql::{InputObject, Object};
use manifold_control::Snapshot;
use manifold_control::model::entity;

use super::application::{Application, Tag, User, tags};
use super::filter::{
    EnvironmentType, EnvironmentTypeFilter, IdFilter, TagEntityType, TagInput, admits, tagged,
};
use super::infrastructure::{InfrastructureDefinition, InfrastructureDefinitionFilter};
use super::named_in;
use super::page::{Connection, Window, cost};
use super::scalar::DateTime;

/// An environment.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The catalog it was read from.
    pub snapshot: Arc<Snapshot>,
    /// It.
    pub entity: Arc<entity::Environment>,
}

/// An environment.
#[Object]
impl Environment {
    async fn id(&self) -> String {
        self.entity.id.to_string()
    }

    async fn name(&self) -> String {
        self.entity.name.clone()
    }

    async fn description(&self) -> Option<String> {
        Some(self.entity.description.clone())
    }

    #[graphql(name = "type")]
    async fn kind(&self) -> EnvironmentType {
        self.entity.environment_type.into()
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

    #[graphql(complexity = "cost(limit, child_complexity)")]
    async fn infrastructure_definitions(
        &self,
        filters: Option<Vec<Option<InfrastructureDefinitionFilter>>>,
        limit: i64,
        offset: Option<i64>,
    ) -> async_graphql::Result<Connection<InfrastructureDefinition>> {
        let found = named_in(
            &self.snapshot.catalog.infrastructures,
            |found| {
                found.environment == self.entity.id
                    && filters.iter().flatten().flatten().all(|filter| filter.admits(&self.snapshot, found))
            },
            |infrastructure| &infrastructure.name,
        );
        Ok(Window::of(limit, offset)?.cut(
            found
                .into_iter()
                .map(|entity| InfrastructureDefinition { snapshot: self.snapshot.clone(), entity }),
        ))
    }
}

/// A condition on tags of environments.
#[derive(InputObject, Clone, Debug)]
pub struct EnvironmentTagFilter {
    /// On what the tag stands; only ENVIRONMENT and APPLICATION make sense.
    pub entity_type: Option<TagEntityType>,
    /// Tags; one must be there.
    pub tags: Option<Vec<Option<TagInput>>>,
}

/// Which environments.
#[derive(InputObject, Clone, Debug)]
pub struct EnvironmentFilter {
    /// Application.
    pub application: Option<IdFilter>,
    /// Environment.
    pub environment: Option<IdFilter>,
    /// Type.
    pub environment_type: Option<EnvironmentTypeFilter>,
    /// Tags.
    pub tag: Option<EnvironmentTagFilter>,
}

impl EnvironmentFilter {
    /// Whether an environment passes.
    #[must_use]
    pub fn admits(&self, environment: &entity::Environment) -> bool {
        admits(self.application.as_ref(), environment.application.as_str())
            && admits(self.environment.as_ref(), environment.id.as_str())
            && self
                .environment_type
                .as_ref()
                .is_none_or(|filter| filter.admits(environment.environment_type.into()))
            && self
                .tag
                .as_ref()
                .is_none_or(|filter| tagged(filter.tags.as_deref().unwrap_or_default(), &environment.tags))
    }
}
