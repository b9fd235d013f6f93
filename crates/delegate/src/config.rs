//! What a delegate is told about itself.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use manifold_link::Credentials;
use manifold_model::delegate::DelegateType;
use manifold_model::{DelegateId, Millis};

use crate::limits::MAX_TASKS;
use crate::spool::{MemorySpool, Spool};

/// Configuration of a delegate.
#[derive(Clone)]
pub struct DelegateConfig {
    /// Id; stays the same over restarts.
    pub id: DelegateId,
    /// Name.
    pub name: String,
    /// Selectors; the name is always one of them and need not be listed.
    pub selectors: Vec<String>,
    /// Capabilities beside those of the drivers (`helm`).
    pub capabilities: Vec<String>,
    /// What it proves itself with to a server on another machine; `None` inside the server.
    pub credentials: Option<Credentials>,
    /// Whether it has joined before: then its token is not told.
    pub joined: bool,
    /// What else it says of itself.
    pub facts: Facts,
    /// Tasks at once.
    pub max_tasks: u32,
    /// How long a driver may take to stop after a cancel or a deadline; then it is left alone.
    pub cancel_grace: Duration,
    /// How long a shutdown waits for running tasks and for acknowledgements. What runs on outlives the delegate and is found again.
    pub shutdown_grace: Duration,
    /// Where outcomes rest until the server has them.
    pub spool: Arc<dyn Spool>,
    /// The time, milliseconds since 1970: a seam for simulation.
    pub clock: fn() -> Millis,
}

/// What a delegate says of itself for people.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// How it was installed.
    pub kind: DelegateType,
    /// Host name.
    pub host: String,
    /// Private address.
    pub address: String,
    /// Words of whoever started it.
    pub description: String,
}

impl DelegateConfig {
    /// The usual configuration.
    #[must_use]
    pub fn new(id: DelegateId, name: impl Into<String>) -> Self {
        Self {
            id,
            name: name.into(),
            selectors: Vec::new(),
            capabilities: Vec::new(),
            credentials: None,
            joined: false,
            facts: Facts::default(),
            max_tasks: MAX_TASKS,
            cancel_grace: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(10),
            spool: Arc::new(MemorySpool::default()),
            clock: system_clock,
        }
    }
}

fn system_clock() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}
