//! Infrastructure definitions.

use std::sync::Arc;

use async_graphql::{InputObject, Object};
use manifold_control::Snapshot;
use manifold_control::model::entity;

use super::environment::Environment;
use super::filter::{
    DeploymentType, DeploymentTypeFilter, IdFilter, TagEntityType, TagInput, admits, tagged,
};
use super::scalar::DateTime;

/// An infrastructure definition.
#[derive(Clone, Debug)]
pub struct InfrastructureDefinition {
    /// The catalog it was read from.
    pub snapshot: Arc<Snapshot>,
    /// It.
    pub entity: Arc<entity::InfrastructureDefinition>,
}

/// An infrastructure definition.
#[Object]
impl InfrastructureDefinition {
    async fn id(&self) -> String {
        self.entity.id.to_string()
    }

    async fn name(&self) -> String {
        self.entity.name.clone()
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.snapshot.created_at(&self.entity.id))
    }

    async fn deployment_type(&self) -> Option<DeploymentType> {
        DeploymentType::of(&self.entity.deployment_type)
    }

    /// Ids of the services it is scoped to; names that no service has are left out.
    async fn scoped_to_services(&self) -> Vec<String> {
        self.entity
            .scoped_services
            .iter()
            .filter_map(|name| self.snapshot.catalog.service_named(&self.entity.application, name))
            .map(|service| service.id.to_string())
            .collect()
    }

    async fn environment(&self) -> Option<Environment> {
        let entity = self.snapshot.catalog.environments.get(&self.entity.environment)?;
        Some(Environment { snapshot: self.snapshot.clone(), entity: entity.clone() })
    }

    /// Type of the infrastructure item, as in YAML.
    async fn item_type(&self) -> String {
        self.entity.item_type.clone()
    }

    async fn cloud_provider_name(&self) -> Option<String> {
        self.entity.cloud_provider_name.clone()
    }
}

/// A condition on tags of infrastructure definitions.
#[derive(InputObject, Clone, Debug)]
pub struct InfrastructureDefinitionTagFilter {
    /// On what the tag stands.
    pub entity_type: Option<TagEntityType>,
    /// Tags; one must be there.
    pub tags: Option<Vec<Option<TagInput>>>,
}

/// Which infrastructure definitions.
#[derive(InputObject, Clone, Debug)]
pub struct InfrastructureDefinitionFilter {
    /// Environment.
    pub environment: Option<IdFilter>,
    /// Infrastructure definition.
    pub infrastructure_definition: Option<IdFilter>,
    /// Deployment type.
    pub deployment_type: Option<DeploymentTypeFilter>,
    /// Tags, of the environment.
    pub tag: Option<InfrastructureDefinitionTagFilter>,
}

impl InfrastructureDefinitionFilter {
    /// Whether a definition passes.
    #[must_use]
    pub fn admits(&self, snapshot: &Snapshot, definition: &entity::InfrastructureDefinition) -> bool {
        admits(self.environment.as_ref(), definition.environment.as_str())
            && admits(self.infrastructure_definition.as_ref(), definition.id.as_str())
            && self.deployment_type.as_ref().is_none_or(|filter| filter.admits(&definition.deployment_type))
            && self.tag.as_ref().is_none_or(|filter| {
                snapshot.catalog.environments.get(&definition.environment).is_some_and(|environment| {
                    tagged(filter.tags.as_deref().unwrap_or_default(), &environment.tags)
                })
            })
    }
}
