//! The shared tables of a plan: each entity once, referred to by index.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use manifold_model::EntityId;
use manifold_model::artifact::Artifact;
use manifold_model::catalog::Catalog;
use manifold_model::entity::{ArtifactSource, Environment, InfrastructureDefinition, Service};
use manifold_model::plan::{EnvironmentPlan, InfrastructurePlan, ServicePlan, SourcePlan};

use crate::manifests::Shelf;

/// Entities in order of first use.
pub(crate) struct Table<T> {
    rows: Vec<Arc<T>>,
    index: HashMap<EntityId, u32>,
}

impl<T> Table<T> {
    pub(crate) fn new() -> Self {
        Self { rows: Vec::new(), index: HashMap::new() }
    }

    /// All entities.
    pub(crate) fn rows(&self) -> &[Arc<T>] {
        &self.rows
    }

    /// The index of an entity, new or known. A plan has far fewer than 2^32 rows of anything.
    pub(crate) fn index(&mut self, id: &EntityId, entity: &Arc<T>) -> u32 {
        if let Some(index) = self.index.get(id) {
            return *index;
        }
        let index = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.rows.push(Arc::clone(entity));
        self.index.insert(id.clone(), index);
        index
    }
}

/// All tables but the workflows'.
pub(crate) struct Tables {
    pub(crate) services: Table<Service>,
    pub(crate) environments: Table<Environment>,
    pub(crate) infrastructures: Table<InfrastructureDefinition>,
}

impl Tables {
    pub(crate) fn new() -> Self {
        Self { services: Table::new(), environments: Table::new(), infrastructures: Table::new() }
    }

    pub(crate) fn services(
        &self,
        catalog: &Catalog,
        artifacts: &mut BTreeMap<EntityId, Artifact>,
        shelf: &Shelf<'_>,
    ) -> Vec<ServicePlan> {
        let plan = |row: &Arc<Service>| {
            let manifests = shelf.plan_of(&row.id);
            ServicePlan { manifests, ..service(catalog, row, artifacts.remove(&row.id)) }
        };
        self.services.rows.iter().map(plan).collect()
    }

    pub(crate) fn environments(&self, shelf: &Shelf<'_>) -> Vec<EnvironmentPlan> {
        let plan =
            |row: &Arc<Environment>| EnvironmentPlan { values: shelf.values_of(row), ..environment(row) };
        self.environments.rows.iter().map(plan).collect()
    }

    pub(crate) fn infrastructures(&self, catalog: &Catalog) -> Vec<InfrastructurePlan> {
        self.infrastructures.rows.iter().map(|row| infrastructure(catalog, row)).collect()
    }
}

fn service(catalog: &Catalog, service: &Service, artifact: Option<Artifact>) -> ServicePlan {
    ServicePlan {
        id: service.id.clone(),
        name: service.name.clone(),
        description: service.description.clone(),
        deployment_type: service.deployment_type.clone(),
        artifact_type: service.artifact_type.clone(),
        variables: service.variables.clone(),
        commands: service.commands.clone(),
        config_files: service.config_files.clone(),
        artifact,
        sources: service.sources.iter().map(|one| source(catalog, one)).collect(),
        manifests: None,
    }
}

/// Some sources (registries of clouds) name a cloud provider as their server.
fn source(catalog: &Catalog, source: &ArtifactSource) -> SourcePlan {
    let server = source
        .server_name
        .as_deref()
        .and_then(|name| catalog.artifact_server_named(name).or_else(|| catalog.cloud_provider_named(name)));
    SourcePlan {
        id: source.id.clone(),
        name: source.name.clone(),
        kind: source.kind.clone(),
        properties: source.properties.clone(),
        server_kind: server.map(|server| server.kind.clone()),
        server: server.map(|server| server.properties.clone()).unwrap_or_default(),
    }
}

fn environment(environment: &Environment) -> EnvironmentPlan {
    EnvironmentPlan {
        id: environment.id.clone(),
        name: environment.name.clone(),
        description: environment.description.clone(),
        environment_type: environment.environment_type,
        overrides: environment.overrides.clone(),
        config_files: environment.config_files.clone(),
        values: Vec::new(),
    }
}

fn infrastructure(catalog: &Catalog, definition: &InfrastructureDefinition) -> InfrastructurePlan {
    let provider =
        definition.cloud_provider_name.as_deref().and_then(|name| catalog.cloud_provider_named(name));
    InfrastructurePlan {
        id: definition.id.clone(),
        name: definition.name.clone(),
        cloud_provider_type: definition.cloud_provider_type.clone(),
        deployment_type: definition.deployment_type.clone(),
        item_type: definition.item_type.clone(),
        properties: definition.properties.clone(),
        cloud_provider: definition.cloud_provider_name.clone(),
        cloud_provider_properties: provider.map(|one| one.properties.clone()).unwrap_or_default(),
    }
}
