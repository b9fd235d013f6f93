//! Dials out, fills the last holes of a task, runs drivers, keeps results until acknowledged (`design.md` 6): inside the server or near the
//! infrastructure; nothing in it knows which.

mod ask;
mod config;
mod connection;
mod error;
mod expression;
mod files;
mod held;
pub mod limits;
mod log;
mod mask;
mod outbox;
mod resolver;
mod spool;
mod work;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use manifold_driver::Driver;
use manifold_model::kind::{KindName, KindSpec};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use config::{DelegateConfig, Facts};
pub use error::DelegateError;
pub use spool::{DiskSpool, MemorySpool, Spool};

/// A delegate. What runs on it outlives its connections; dropping it leaves running commands to themselves.
pub struct Delegate {
    shared: Arc<Shared>,
    /// Held by the connection being served.
    connected: tokio::sync::Mutex<()>,
}

/// How a connection ended well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The server closed it: dial again.
    ServerClosed,
    /// The server asked the delegate to finish and go: dial again, it may lead to another server.
    Drained,
    /// The delegate was shut down.
    Shutdown,
}

pub(crate) struct Shared {
    pub(crate) config: DelegateConfig,
    pub(crate) drivers: HashMap<KindName, Arc<dyn Driver>>,
    pub(crate) kinds: Vec<KindSpec>,
    pub(crate) held: Arc<held::Held>,
    pub(crate) outbox: Arc<outbox::Outbox>,
    pub(crate) asks: Arc<ask::Asks>,
    pub(crate) files: Arc<files::Files>,
    /// Whether it has joined: then its token is not told any more.
    pub(crate) joined: AtomicBool,
    /// How often it was welcomed.
    pub(crate) welcomes: watch::Sender<u64>,
}

impl Delegate {
    /// A delegate with these drivers. When two offer the same kind, the first plays it.
    #[must_use]
    pub fn new(config: DelegateConfig, drivers: Vec<Arc<dyn Driver>>) -> Self {
        let mut players = HashMap::new();
        let mut kinds = Vec::new();
        for driver in drivers {
            for kind in driver.kinds() {
                if !players.contains_key(&kind.name) {
                    players.insert(kind.name.clone(), driver.clone());
                    kinds.push(kind);
                }
            }
        }
        let outbox = Arc::new(outbox::Outbox::new(config.spool.chunks()));
        let held = Arc::new(held::Held::new(config.spool.unacknowledged()));
        let asks = Arc::new(ask::Asks::new(outbox.clone(), held.clone()));
        let shared = Shared {
            joined: AtomicBool::new(config.joined),
            welcomes: watch::Sender::new(0),
            config,
            drivers: players,
            kinds,
            held,
            outbox,
            asks,
            files: Arc::default(),
        };
        Self { shared: Arc::new(shared), connected: tokio::sync::Mutex::new(()) }
    }

    /// The kinds it offers.
    #[must_use]
    pub fn kinds(&self) -> &[KindSpec] {
        &self.shared.kinds
    }

    /// How often a server has welcomed it, from now on.
    #[must_use]
    pub fn welcomes(&self) -> watch::Receiver<u64> {
        self.shared.welcomes.subscribe()
    }

    /// A server does not know it though it has joined before: it tells its token again. `false` when it did so anyway.
    pub fn join_anew(&self) -> bool {
        self.shared.joined.swap(false, Ordering::SeqCst)
    }

    /// Tasks that have a place: running, or ended and not acknowledged.
    #[must_use]
    pub fn held(&self) -> usize {
        self.shared.held.len()
    }

    /// Serves one connection until it ends. After [`Ended::ServerClosed`], [`Ended::Drained`] and errors call it again with a new stream: tasks
    /// run on meanwhile, and their outcomes are sent then. One connection at a time: another call waits for the first to end.
    ///
    /// # Errors
    /// [`DelegateError`]: the link broke, the server refused or broke the protocol.
    pub async fn run<S>(&self, stream: S, shutdown: CancellationToken) -> Result<Ended, DelegateError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let _one = self.connected.lock().await;
        connection::serve(&self.shared, stream, shutdown).await
    }
}

impl Drop for Delegate {
    fn drop(&mut self) {
        self.shared.held.abandon();
    }
}
