//! The configuration as one immutable snapshot of typed views, for planning and lookups.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::EntityId;
use crate::entity::{
    Application, Connector, Environment, InfrastructureDefinition, Pipeline, Service, Workflow,
};

/// All that planning needs to know, as of one revision.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Catalog revision; 0 is the empty catalog.
    pub revision: u64,
    /// Account id.
    pub account: Arc<str>,
    /// `Setup/Defaults.yaml`: `${account.defaults.X}`.
    pub account_defaults: BTreeMap<String, String>,
    /// Applications by id.
    pub applications: HashMap<EntityId, Arc<Application>>,
    /// Services by id.
    pub services: HashMap<EntityId, Arc<Service>>,
    /// Environments by id.
    pub environments: HashMap<EntityId, Arc<Environment>>,
    /// Infrastructure definitions by id.
    pub infrastructures: HashMap<EntityId, Arc<InfrastructureDefinition>>,
    /// Workflows by id.
    pub workflows: HashMap<EntityId, Arc<Workflow>>,
    /// Pipelines by id.
    pub pipelines: HashMap<EntityId, Arc<Pipeline>>,
    /// Cloud providers by id.
    pub cloud_providers: HashMap<EntityId, Arc<Connector>>,
    /// Artifact servers by id.
    pub artifact_servers: HashMap<EntityId, Arc<Connector>>,
    /// (scope, name) → id, made by [`Catalog::index`].
    pub names: Names,
}

/// Lookup by name. The scope is the application for services, environments, workflows and pipelines, the environment for infrastructure
/// definitions.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Application name → id.
    pub applications: HashMap<String, EntityId>,
    /// (application, name) → service.
    pub services: HashMap<(EntityId, String), EntityId>,
    /// (application, name) → environment.
    pub environments: HashMap<(EntityId, String), EntityId>,
    /// (environment, name) → infrastructure definition.
    pub infrastructures: HashMap<(EntityId, String), EntityId>,
    /// (application, name) → workflow.
    pub workflows: HashMap<(EntityId, String), EntityId>,
    /// (application, name) → pipeline.
    pub pipelines: HashMap<(EntityId, String), EntityId>,
    /// Cloud provider name → id.
    pub cloud_providers: HashMap<String, EntityId>,
    /// Artifact server name → id.
    pub artifact_servers: HashMap<String, EntityId>,
}

impl Catalog {
    /// Fills [`Catalog::names`] from the entities. Call after changing them.
    pub fn index(&mut self) {
        let mut names = Names::default();
        for (id, entity) in &self.applications {
            names.applications.insert(entity.name.clone(), id.clone());
        }
        for (id, entity) in &self.services {
            names.services.insert((entity.application.clone(), entity.name.clone()), id.clone());
        }
        for (id, entity) in &self.environments {
            names.environments.insert((entity.application.clone(), entity.name.clone()), id.clone());
        }
        for (id, entity) in &self.infrastructures {
            names.infrastructures.insert((entity.environment.clone(), entity.name.clone()), id.clone());
        }
        for (id, entity) in &self.workflows {
            names.workflows.insert((entity.application.clone(), entity.name.clone()), id.clone());
        }
        for (id, entity) in &self.pipelines {
            names.pipelines.insert((entity.application.clone(), entity.name.clone()), id.clone());
        }
        for (id, entity) in &self.cloud_providers {
            names.cloud_providers.insert(entity.name.clone(), id.clone());
        }
        for (id, entity) in &self.artifact_servers {
            names.artifact_servers.insert(entity.name.clone(), id.clone());
        }
        self.names = names;
    }

    /// An application by name.
    #[must_use]
    pub fn application_named(&self, name: &str) -> Option<&Arc<Application>> {
        self.applications.get(self.names.applications.get(name)?)
    }

    /// A service by name.
    #[must_use]
    pub fn service_named(&self, application: &EntityId, name: &str) -> Option<&Arc<Service>> {
        self.services.get(self.names.services.get(&(application.clone(), name.to_owned()))?)
    }

    /// An environment by name.
    #[must_use]
    pub fn environment_named(&self, application: &EntityId, name: &str) -> Option<&Arc<Environment>> {
        self.environments.get(self.names.environments.get(&(application.clone(), name.to_owned()))?)
    }

    /// An infrastructure definition by name.
    #[must_use]
    pub fn infrastructure_named(
        &self,
        environment: &EntityId,
        name: &str,
    ) -> Option<&Arc<InfrastructureDefinition>> {
        self.infrastructures.get(self.names.infrastructures.get(&(environment.clone(), name.to_owned()))?)
    }

    /// A workflow by name.
    #[must_use]
    pub fn workflow_named(&self, application: &EntityId, name: &str) -> Option<&Arc<Workflow>> {
        self.workflows.get(self.names.workflows.get(&(application.clone(), name.to_owned()))?)
    }

    /// A pipeline by name.
    #[must_use]
    pub fn pipeline_named(&self, application: &EntityId, name: &str) -> Option<&Arc<Pipeline>> {
        self.pipelines.get(self.names.pipelines.get(&(application.clone(), name.to_owned()))?)
    }

    /// A cloud provider by name.
    #[must_use]
    pub fn cloud_provider_named(&self, name: &str) -> Option<&Arc<Connector>> {
        self.cloud_providers.get(self.names.cloud_providers.get(name)?)
    }

    /// An artifact server by name.
    #[must_use]
    pub fn artifact_server_named(&self, name: &str) -> Option<&Arc<Connector>> {
        self.artifact_servers.get(self.names.artifact_servers.get(name)?)
    }
}
