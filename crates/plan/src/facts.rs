//! What planning must know beside the catalog.

use std::collections::BTreeSet;

use manifold_model::artifact::Artifact;
use manifold_model::constraint::ConstraintRecord;
use manifold_model::kind::KindSpec;
use manifold_model::{ArtifactId, EntityId, Millis};

/// Infrastructures that one value may name (D6).
pub const MAX_LEGS: usize = 10_000;

/// Executions that may wait for one infrastructure lock (`behaviour.md` 8.1).
pub const LOCK_QUEUE_LIMIT: usize = 20;

/// Artifacts that have been collected.
pub trait Artifacts {
    /// An artifact by id.
    fn by_id(&self, id: &ArtifactId) -> Option<Artifact>;
    /// A build of a source.
    fn by_build(&self, source: &EntityId, build_no: &str) -> Option<Artifact>;
}

/// Nothing has been collected.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoArtifacts;

impl Artifacts for NoArtifacts {
    fn by_id(&self, _: &ArtifactId) -> Option<Artifact> {
        None
    }

    fn by_build(&self, _: &EntityId, _: &str) -> Option<Artifact> {
        None
    }
}

impl Artifacts for Vec<Artifact> {
    fn by_id(&self, id: &ArtifactId) -> Option<Artifact> {
        self.iter().find(|artifact| &artifact.id == id).cloned()
    }

    fn by_build(&self, source: &EntityId, build_no: &str) -> Option<Artifact> {
        self.iter().find(|artifact| &artifact.source == source && artifact.build_no == build_no).cloned()
    }
}

/// What is known of a file document.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileState<'a> {
    /// Its content.
    Known(&'a [u8]),
    /// There is none.
    Missing,
}

/// Contents of file documents as of the catalog's revision.
pub trait Files {
    /// The file document with this path in the catalog.
    fn text(&self, document: &str) -> FileState<'_>;
}

/// No file document exists.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn text(&self, _: &str) -> FileState<'_> {
        FileState::Missing
    }
}

impl Files for std::collections::BTreeMap<String, Vec<u8>> {
    fn text(&self, document: &str) -> FileState<'_> {
        self.get(document).map_or(FileState::Missing, |bytes| FileState::Known(bytes))
    }
}

/// What planning must know beside the catalog.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Kinds on offer: those of all delegates, and those that the engine plays itself. Of two specs of one name the first counts.
    pub kinds: &'a [KindSpec],
    /// Artifacts collected so far.
    pub artifacts: &'a dyn Artifacts,
    /// Contents of manifests and values.
    pub files: &'a dyn Files,
    /// What connected delegates have beside kinds (`helm`); `None`: unknown, so nothing is refused for a missing one.
    pub capabilities: Option<&'a BTreeSet<String>>,
    /// Names of the secrets that exist, SSH credentials among them; `None`: unknown, so nothing is refused for a missing one.
    pub secrets: Option<&'a BTreeSet<String>>,
    /// Resource constraints of the account; `None`: unknown, so nothing is refused for a missing one.
    pub constraints: Option<&'a [ConstraintRecord]>,
    /// Whether the starter may deploy to an environment (D2); asked per leg.
    pub may_deploy: &'a dyn Fn(&EntityId) -> bool,
    /// Infrastructures that one value may name, [`MAX_LEGS`] by default (D6).
    pub max_legs: usize,
    /// Executions that may wait for one lock, [`LOCK_QUEUE_LIMIT`] by default; the one that holds it is not counted.
    pub lock_queue_limit: usize,
    /// When the plan is made, for artifacts that nothing has collected (image tags).
    pub now: Millis,
}

impl<'a> Facts<'a> {
    /// Facts with the default limits, no artifacts, no files, unknown secrets and capabilities, and everything allowed.
    #[must_use]
    pub fn new(kinds: &'a [KindSpec]) -> Self {
        Self {
            kinds,
            artifacts: &NoArtifacts,
            files: &NoFiles,
            capabilities: None,
            secrets: None,
            constraints: None,
            may_deploy: &|_| true,
            max_legs: MAX_LEGS,
            lock_queue_limit: LOCK_QUEUE_LIMIT,
            now: 0,
        }
    }
}
