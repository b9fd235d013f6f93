//! The use cases, one file per verb: authorisation, validation, queries. No HTTP, no loops of its own; the road of a request is
//! `authenticate` → `authorise` → a verb (`start`, `abort`, `import`, …) → the store.

pub mod abort;
pub mod actor;
pub mod answer;
pub mod authenticate;
pub mod authorise;
pub mod clock;
pub mod error;
pub mod executions;
pub mod kinds;
pub mod limits;
pub mod pause;
pub mod plans;
pub mod request;
pub mod resume;
pub mod rollback;
pub mod run;

use std::sync::Arc;

use manifold_model::Millis;
use manifold_store::Store;

pub use actor::Actor;
pub use clock::{Clock, SystemClock};
pub use error::{Error, Result};
pub use kinds::KindsOnOffer;
pub use limits::Limits;

/// What the use cases stand on.
pub struct Parts {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Kinds of steps that somebody can play now.
    pub kinds: Arc<dyn KindsOnOffer>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Account id.
    pub account: String,
    /// Limits.
    pub limits: Limits,
}

/// The use cases.
pub struct Control {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) kinds: Arc<dyn KindsOnOffer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) account: String,
    pub(crate) limits: Limits,
    pub(crate) keys: authenticate::KeyList,
    pub(crate) plans: plans::PlanCache,
}

impl Control {
    /// The use cases over these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            store: parts.store,
            kinds: parts.kinds,
            clock: parts.clock,
            account: parts.account,
            limits: parts.limits,
            keys: authenticate::KeyList::default(),
            plans: plans::PlanCache::default(),
        }
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

    /// The store, for what runs beside the use cases (streams of events wait for its hints).
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub(crate) fn now(&self) -> Millis {
        self.clock.now()
    }
}
