//! Who asks.

use manifold_model::KeyId;
use manifold_model::request::Cause;

/// Somebody whose key was checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Actor {
    key: KeyId,
    name: String,
}

impl Actor {
    /// The holder of an API key.
    #[must_use]
    pub fn key(id: KeyId, name: impl Into<String>) -> Self {
        Self { key: id, name: name.into() }
    }

    /// Id of the key.
    #[must_use]
    pub fn id(&self) -> &str {
        self.key.as_str()
    }

    /// Name, for people and for the author of revisions.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As the cause of an execution.
    #[must_use]
    pub fn cause(&self) -> Cause {
        Cause::ApiKey { id: self.key.to_string(), name: self.name.clone() }
    }
}
