//! Services and their artifact sources (`wire.md` 2.4).

use std::sync::Arc;

use async_graphql::{Context, Enum, InputObject, Interface, Object};
use manifold_control::Snapshot;
use manifold_control::model::entity;

use super::application::{Tag, User, tags};
use super::artifact::Artifact;
use super::filter::{DeploymentType, DeploymentTypeFilter, IdFilter, TagInput, admits, tagged};
use super::page::{Connection, Window, cost};
use super::scalar::DateTime;
use super::{actor_of, control_of};
use crate::error;

/// A service.
#[derive(Clone, Debug)]
pub struct Service {
    /// The catalog it was read from.
    pub snapshot: Arc<Snapshot>,
    /// It.
    pub entity: Arc<entity::Service>,
}

/// A service.
#[Object]
impl Service {
    async fn id(&self) -> String {
        self.entity.id.to_string()
    }

    async fn name(&self) -> String {
        self.entity.name.clone()
    }

    async fn description(&self) -> Option<String> {
        Some(self.entity.description.clone())
    }

    /// As in YAML: DOCKER, WAR, TAR, ….
    async fn artifact_type(&self) -> String {
        self.entity.artifact_type.clone()
    }

    async fn deployment_type(&self) -> Option<DeploymentType> {
        DeploymentType::of(&self.entity.deployment_type)
    }

    async fn artifact_sources(&self) -> Vec<ArtifactSource> {
        self.entity.sources.iter().map(|source| ArtifactSource::of(&self.snapshot, source)).collect()
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.snapshot.created_at(&self.entity.id))
    }

    async fn created_by(&self) -> Option<User> {
        None
    }

    async fn tags(&self) -> Vec<Tag> {
        tags(&self.entity.tags)
    }
}

/// On what a service's tag stands.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServiceTagType {
    /// The application.
    Application,
    /// The service.
    Service,
}

/// A condition on tags of services.
#[derive(InputObject, Clone, Debug)]
pub struct ServiceTagFilter {
    /// On what the tag stands.
    pub entity_type: Option<ServiceTagType>,
    /// Tags; one must be there.
    pub tags: Option<Vec<Option<TagInput>>>,
}

/// Which services.
#[derive(InputObject, Clone, Debug)]
pub struct ServiceFilter {
    /// Application.
    pub application: Option<IdFilter>,
    /// Service.
    pub service: Option<IdFilter>,
    /// Deployment type.
    pub deployment_type: Option<DeploymentTypeFilter>,
    /// Tags.
    pub tag: Option<ServiceTagFilter>,
}

impl ServiceFilter {
    /// Whether a service passes.
    #[must_use]
    pub fn admits(&self, snapshot: &Snapshot, service: &entity::Service) -> bool {
        admits(self.application.as_ref(), service.application.as_str())
            && admits(self.service.as_ref(), service.id.as_str())
            && self.deployment_type.as_ref().is_none_or(|filter| filter.admits(&service.deployment_type))
            && self.tag.as_ref().is_none_or(|filter| {
                let wanted = filter.tags.as_deref().unwrap_or_default();
                match filter.entity_type {
                    Some(ServiceTagType::Application) => snapshot
                        .catalog
                        .applications
                        .get(&service.application)
                        .is_some_and(|application| tagged(wanted, &application.tags)),
                    _ => tagged(wanted, &service.tags),
                }
            })
    }
}

/// Where artifacts of a service come from.
#[derive(Interface, Clone, Debug)]
#[graphql(
    field(name = "id", ty = "String"),
    field(name = "name", ty = "String"),
    field(name = "created_at", ty = "DateTime"),
    field(name = "collection_enabled", ty = "bool"),
    field(
        name = "artifacts",
        ty = "Connection<Artifact>",
        arg(name = "limit", ty = "i64"),
        arg(name = "offset", ty = "Option<i64>")
    )
)]
pub enum ArtifactSource {
    /// Images of a registry.
    Docker(DockerArtifactSource),
    /// A script.
    Custom(CustomArtifactSource),
    /// Files on a server.
    Sftp(SftpArtifactSource),
    /// Files over HTTP.
    Http(HttpArtifactSource),
    /// Any other.
    Other(OtherArtifactSource),
}

impl ArtifactSource {
    /// The type of a source.
    #[must_use]
    pub fn of(snapshot: &Arc<Snapshot>, source: &entity::ArtifactSource) -> Self {
        let common = Source { snapshot: Arc::clone(snapshot), entity: Arc::new(source.clone()) };
        match source.kind.as_str() {
            "DOCKER" => Self::Docker(DockerArtifactSource(common)),
            "CUSTOM" => Self::Custom(CustomArtifactSource(common)),
            "SFTP" => Self::Sftp(SftpArtifactSource(common)),
            "HTTP" => Self::Http(HttpArtifactSource(common)),
            _ => Self::Other(OtherArtifactSource(common)),
        }
    }
}

/// What all sources have in common.
#[derive(Clone, Debug)]
pub struct Source {
    snapshot: Arc<Snapshot>,
    entity: Arc<entity::ArtifactSource>,
}

impl Source {
    async fn artifacts(
        &self,
        ctx: &Context<'_>,
        limit: i64,
        offset: Option<i64>,
    ) -> async_graphql::Result<Connection<Artifact>> {
        let window = Window::of(limit, offset)?;
        let page = control_of(ctx)?
            .artifacts(actor_of(ctx)?, &self.entity.id, window.offset, window.limit)
            .await
            .map_err(error::graphql)?;
        let nodes: Vec<Artifact> = page
            .items
            .into_iter()
            .map(|artifact| Artifact { snapshot: Arc::clone(&self.snapshot), artifact })
            .collect();
        Ok(Connection { page_info: window.info(page.total, nodes.len()), nodes })
    }
}

macro_rules! source {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(Source);

        $(#[$doc])*
        #[Object]
        impl $name {
            async fn id(&self) -> String {
                self.0.entity.id.to_string()
            }

            async fn name(&self) -> String {
                self.0.entity.name.clone()
            }

            async fn created_at(&self) -> DateTime {
                DateTime(self.0.snapshot.created_at(&self.0.entity.id))
            }

            async fn collection_enabled(&self) -> bool {
                self.0.entity.properties.get("collectionEnabled").and_then(serde_json::Value::as_bool).unwrap_or(true)
            }

            /// As in YAML: DOCKER, CUSTOM, SFTP, HTTP, ….
            async fn source_type(&self) -> String {
                self.0.entity.kind.clone()
            }

            #[graphql(complexity = "cost(limit, child_complexity)")]
            async fn artifacts(
                &self,
                ctx: &Context<'_>,
                limit: i64,
                offset: Option<i64>,
            ) -> async_graphql::Result<Connection<Artifact>> {
                self.0.artifacts(ctx, limit, offset).await
            }
        }
    };
}

source!(
    /// Images of a registry.
    DockerArtifactSource
);
source!(
    /// A script lists the builds.
    CustomArtifactSource
);
source!(
    /// Files on an SFTP server.
    SftpArtifactSource
);
source!(
    /// Files over HTTP.
    HttpArtifactSource
);
source!(
    /// Any other source.
    OtherArtifactSource
);
