//! Artifacts: collected builds of an artifact source.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ArtifactId, EntityId, Millis};

/// Types of sources whose builds a delegate can list; of all others the build given is the tag, unchecked.
pub const COLLECTED: [&str; 3] = ["CUSTOM", "SFTP", "HTTP"];

/// One build of an artifact source.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Id; derived from source and build, so collecting twice changes nothing.
    pub id: ArtifactId,
    /// The artifact source.
    pub source: EntityId,
    /// Its name.
    pub source_name: String,
    /// The source's type: DOCKER, CUSTOM, SFTP, HTTP, ….
    pub source_kind: String,
    /// Build number or tag.
    pub build_no: String,
    /// `${artifact.metadata.X}`: `url`, `path`, `fileName`, `size`, `sha256`, `image`, `tag`, ….
    pub metadata: BTreeMap<String, String>,
    /// When it was collected.
    pub collected_at: Millis,
}

impl Artifact {
    /// The id of a build of a source.
    #[must_use]
    pub fn id_of(source: &EntityId, build_no: &str) -> ArtifactId {
        ArtifactId::derived(&["artifact", source.as_str(), build_no])
    }
}
