//! The use cases, one file per verb: authorisation, validation, queries. No HTTP, no loops of its own; the road of a request is
//! `authenticate` → `authorise` → a verb (`start`, `abort`, `import`, …) → the store.

pub mod abort;
pub mod actor;
mod announcement;
pub mod answer;
pub mod applications;
pub mod authenticate;
pub mod authorise;
pub mod cloud_providers;
pub mod collect;
pub mod constraints;
pub mod delegate_tokens;
pub mod delegates;
pub mod delete;
pub mod error;
pub mod executions;
pub mod import;
pub mod inputs;
pub mod kinds;
pub mod limits;
pub mod logs;
pub mod mentions;
pub mod open;
pub mod pause;
pub mod plans;
pub mod referrers;
pub mod rename;
pub mod request;
pub mod resume;
pub mod rollback;
pub mod run;
pub mod secrets;
pub mod snapshot;
pub mod start;
pub mod tree;
pub mod upsert;
pub mod vault;
mod waits;

use std::sync::Arc;

use manifold_model::{ExecutionId, Millis};
use manifold_secrets::{BuiltIn, Key};
pub use manifold_store::Hint;
use manifold_store::Store;
use manifold_store::logs::LogStore;

pub use actor::Actor;
pub use error::{Error, Result};
pub use kinds::KindsOnOffer;
pub use limits::Limits;
pub use manifold_model as model;
pub use manifold_secrets::{ExposeSecret, SecretBytes, SecretString};
pub use manifold_store::clock::{Clock, SystemClock};
pub use snapshot::Snapshot;

/// What the use cases stand on.
pub struct Parts {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Logs of steps.
    pub logs: LogStore,
    /// The key that seals secrets.
    pub vault: Key,
    /// Kinds of steps that somebody can play now.
    pub kinds: Arc<dyn KindsOnOffer>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Account id.
    pub account: String,
    /// How people reach this server, without a slash at the end.
    pub public_url: String,
    /// Limits.
    pub limits: Limits,
}

/// The use cases.
pub struct Control {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) logs: LogStore,
    pub(crate) manager: BuiltIn<vault::StoredSecrets>,
    pub(crate) kinds: Arc<dyn KindsOnOffer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) account: String,
    pub(crate) public_url: String,
    pub(crate) limits: Limits,
    pub(crate) keys: authenticate::KeyList,
    pub(crate) plans: plans::PlanCache,
    pub(crate) head: snapshot::Head,
    pub(crate) references: referrers::ReferenceCache,
}

impl Control {
    /// The use cases over these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            manager: BuiltIn::new(parts.vault, vault::StoredSecrets(Arc::clone(&parts.store))),
            store: parts.store,
            logs: parts.logs,
            kinds: parts.kinds,
            clock: parts.clock,
            account: parts.account,
            public_url: parts.public_url,
            limits: parts.limits,
            keys: authenticate::KeyList::default(),
            plans: plans::PlanCache::default(),
            head: snapshot::Head::default(),
            references: referrers::ReferenceCache::default(),
        }
    }

    /// Where people look at an execution (`ui.md` 3.2).
    #[must_use]
    pub fn execution_url(&self, execution: &ExecutionId) -> String {
        format!("{}/a/{}/executions/{execution}", self.public_url, self.account)
    }

    /// Account id.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.account
    }

    /// Limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Wake-up hints from now on: lost ones cost time, never work, so whoever waits for one polls too.
    #[must_use]
    pub fn hints(&self) -> tokio::sync::broadcast::Receiver<Hint> {
        self.store.hints()
    }

    pub(crate) fn now(&self) -> Millis {
        self.clock.now()
    }
}
