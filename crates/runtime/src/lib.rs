//! What runs by itself: advancing executions, handing tasks to delegates, timers, the one list of chores. No HTTP.
//!
//! ```text
//! hint, outcome, timer ─► advance (one worker per execution) ─► engine decides ─► one transaction ─► dispatch ─► link ─► delegate
//! ```
//!
//! Every execution belongs to one worker (by the hash of its id), so its events are decided by one task only; two servers are kept apart by the
//! sequence number that each append names.

mod advance;
mod chores;
mod delegates;
mod dispatch;
mod legs;
mod offer;
mod run;
mod serve;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use manifold_control::Control;
use manifold_model::crash::{self, Point};
use manifold_store::Store;
use manifold_store::logs::LogStore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use delegates::Delegates;
pub use offer::Offer;
pub use serve::serve_delegate;

/// Milliseconds since the epoch, from a clock that never goes back.
pub type Clock = Arc<dyn Fn() -> manifold_model::Millis + Send + Sync>;

/// How the runtime runs.
#[derive(Clone)]
pub struct Config {
    /// Node id: the same after a restart, so that a restarted server fences its predecessor at once.
    pub node: String,
    /// Workers that advance executions.
    pub workers: usize,
    /// How long a task waits for a delegate that may take it (`behaviour.md` 19).
    pub delegate_wait: Duration,
    /// Longest queue for one infrastructure lock (`behaviour.md` 24.1).
    pub lock_queue_limit: u32,
    /// Clock.
    pub clock: Clock,
}

/// Everything the parts of the runtime share.
pub(crate) struct Shared {
    pub store: Arc<dyn Store>,
    pub logs: LogStore,
    pub control: Arc<Control>,
    pub delegates: Arc<Delegates>,
    pub config: Config,
    /// This server's lease; every append names it.
    pub lease: manifold_store::Lease,
    pub workers: worker::Workers,
    pub plans: run::Plans,
    pub shutdown: CancellationToken,
}

impl Shared {
    pub fn now(&self) -> manifold_model::Millis {
        (self.config.clock)()
    }
}

/// The running runtime.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) shared: Arc<Shared>,
    tracker: TaskTracker,
}

impl Runtime {
    /// Starts the workers and chores. Executions that were running go on.
    ///
    /// # Errors
    /// The store cannot list what is unfinished.
    pub async fn start(
        store: Arc<dyn Store>,
        logs: LogStore,
        control: Arc<Control>,
        delegates: Arc<Delegates>,
        config: Config,
        shutdown: CancellationToken,
    ) -> manifold_store::Result<Self> {
        let lease = store.join(&config.node, env!("CARGO_PKG_VERSION")).await?;
        crash::point(Point::ServerLeased);
        let (workers, receivers) = worker::Workers::new(config.workers.max(1));
        let shared = Arc::new(Shared {
            store,
            logs,
            control,
            delegates,
            config,
            lease,
            workers,
            plans: run::Plans::default(),
            shutdown,
        });
        let tracker = TaskTracker::new();
        for receiver in receivers {
            tracker.spawn(worker::Worker::new(Arc::clone(&shared), receiver).run());
        }
        chores::start(&shared, &tracker);
        for execution in shared.store.unfinished().await? {
            shared.workers.wake(&execution);
        }
        crash::point(Point::UnfinishedWoken);
        tracker.close();
        Ok(Self { shared, tracker })
    }

    /// Waits until the workers and chores have ended after a shutdown.
    pub async fn ended(&self) {
        self.tracker.wait().await;
    }
}
