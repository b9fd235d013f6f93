//! Collected artifacts.

use std::sync::Arc;

use async_graphql::{InputObject, Object};
use manifold_control::Snapshot;
use manifold_control::model::artifact;

use super::filter::IdFilter;
use super::scalar::DateTime;
use super::service::ArtifactSource;

/// A build of an artifact source.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// The catalog in which its source is looked up.
    pub snapshot: Arc<Snapshot>,
    /// It.
    pub artifact: artifact::Artifact,
}

/// A build of an artifact source.
#[Object]
impl Artifact {
    async fn id(&self) -> String {
        self.artifact.id.to_string()
    }

    async fn build_no(&self) -> String {
        self.artifact.build_no.clone()
    }

    /// Never null (R10).
    async fn collected_at(&self) -> DateTime {
        DateTime(self.artifact.collected_at)
    }

    /// The source; for one that was deleted since, what is still known of it.
    async fn artifact_source(&self) -> ArtifactSource {
        let found = self
            .snapshot
            .catalog
            .services
            .values()
            .flat_map(|service| &service.sources)
            .find(|source| source.id == self.artifact.source);
        match found {
            Some(source) => ArtifactSource::of(&self.snapshot, source),
            None => ArtifactSource::of(
                &self.snapshot,
                &manifold_control::model::entity::ArtifactSource {
                    id: self.artifact.source.clone(),
                    name: self.artifact.source_name.clone(),
                    kind: self.artifact.source_kind.clone(),
                    server_name: None,
                    properties: serde_json::Map::new(),
                },
            ),
        }
    }
}

/// Which artifacts.
#[derive(InputObject, Clone, Debug)]
pub struct ArtifactFilter {
    /// Artifact.
    pub artifact: Option<IdFilter>,
    /// Artifact source.
    pub artifact_source: Option<IdFilter>,
    /// Type of the source.
    pub artifact_stream_type: Option<IdFilter>,
}
