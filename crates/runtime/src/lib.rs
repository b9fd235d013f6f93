//! What runs by itself: advancing executions, handing tasks to delegates, timers, the one list of chores. No HTTP.
//!
//! ```text
//! hint, outcome, timer ─► advance (one worker per execution) ─► engine decides ─► one transaction ─► dispatch ─► link ─► delegate
//! ```
//!
//! Every execution belongs to one server ([`membership`]) and there to one worker (by the hash of its id), so its events are decided by one task
//! only. Should two servers disagree for a moment whose it is, the sequence number and the lease that each append names keep them apart.

mod admit;
mod advance;
mod chores;
mod connection;
mod delegates;
mod dispatch;
mod legs;
mod membership;
mod meters;
mod offer;
mod reach;
mod retention;
mod run;
mod scope;
mod serve;
mod trace;
mod untaken;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use manifold_control::Control;
use manifold_model::crash::{self, Point};
use manifold_model::{ExecutionId, Millis};
use manifold_store::Store;
use manifold_store::clock::StoreClock;
use manifold_store::logs::LogStore;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use admit::Origin;
pub use delegates::Delegates;
use membership::Membership;
pub use offer::Offer;
pub use retention::Retention;
pub use serve::{ServeError, serve_delegate};
pub use trace::Span;

/// Milliseconds since the epoch, from a clock that never goes back.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

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
    /// Clock: the store's. A store that servers share has a clock of its own; theirs follows it (`store_clock`).
    pub clock: Clock,
    /// The clock that is told what the store says the time is, when `clock` reads it.
    pub store_clock: Option<Arc<StoreClock>>,
    /// How long executions and logs are kept.
    pub retention: Retention,
    /// Where the spans of executions that ended go, if anybody wants them.
    pub traces: Option<tokio::sync::mpsc::Sender<Vec<Span>>>,
}

/// Everything the parts of the runtime share.
pub(crate) struct Shared {
    pub store: Arc<dyn Store>,
    pub logs: LogStore,
    pub control: Arc<Control>,
    pub delegates: Arc<Delegates>,
    pub config: Config,
    /// This server's lease, which every append names, and who else is there.
    pub membership: membership::Membership,
    pub workers: worker::Workers,
    pub plans: run::Plans,
    pub meters: meters::Meters,
    /// Executions that ended and are to be traced.
    pub traced: Option<tokio::sync::mpsc::Sender<ExecutionId>>,
    pub handshakes: Arc<admit::Handshakes>,
    /// Told when hints were lost: somebody has to look at everything.
    pub overlooked: Notify,
    pub shutdown: CancellationToken,
}

impl Shared {
    pub fn now(&self) -> Millis {
        (self.config.clock)()
    }

    /// Lets the worker of an execution look at it, if this server advances it.
    pub fn wake(&self, execution: &ExecutionId) {
        if self.membership.owns(execution) {
            self.workers.wake(execution);
        }
    }

    /// Journals were extended, or not: counts it, and lets executions that ended be traced.
    pub fn appended(
        &self,
        intended: Vec<meters::Intended>,
        results: &[manifold_store::Result<manifold_store::Appended>],
        took: Duration,
    ) {
        self.meters.appended(&intended, results, took);
        let Some(traced) = &self.traced else { return };
        let ended = intended.into_iter().zip(results).filter(|(_, result)| result.is_ok());
        for execution in ended.filter_map(|(one, _)| one.finished) {
            if traced.try_send(execution).is_err() {
                self.meters.trace_dropped();
            }
        }
    }

    /// How long a task waits for a delegate that may take it, milliseconds.
    pub fn delegate_wait_ms(&self) -> Millis {
        Millis::try_from(self.config.delegate_wait.as_millis()).unwrap_or(Millis::MAX)
    }
}

/// The running runtime.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) shared: Arc<Shared>,
    tracker: TaskTracker,
}

impl Runtime {
    /// Joins the servers of the store and starts the workers and chores. Executions of this server that were running go on.
    ///
    /// # Errors
    /// The store cannot be used.
    pub async fn start(
        store: Arc<dyn Store>,
        logs: LogStore,
        control: Arc<Control>,
        delegates: Arc<Delegates>,
        config: Config,
        shutdown: CancellationToken,
    ) -> manifold_store::Result<Self> {
        let (membership, standing) = Membership::join(&*store, &config.node).await?;
        crash::point(Point::ServerLeased);
        if let Some(clock) = &config.store_clock {
            clock.set(standing.now);
        }
        let (workers, receivers) = worker::Workers::new(config.workers.max(1));
        let (traced, to_trace) = match &config.traces {
            Some(exporter) => {
                let (traced, to_trace) = tokio::sync::mpsc::channel(trace::WAITING);
                (Some(traced), Some((to_trace, exporter.clone())))
            }
            None => (None, None),
        };
        let shared = Arc::new(Shared {
            store,
            logs,
            control,
            delegates,
            config,
            membership,
            workers,
            plans: run::Plans::default(),
            meters: meters::Meters::default(),
            traced,
            handshakes: Arc::default(),
            overlooked: Notify::new(),
            shutdown,
        });
        delegates::refresh(&shared).await?;
        let tracker = TaskTracker::new();
        for receiver in receivers {
            tracker.spawn(worker::Worker::new(Arc::clone(&shared), receiver).run());
        }
        chores::start(&shared, &tracker);
        if let Some((to_trace, exporter)) = to_trace {
            tracker.spawn(trace::run(Arc::clone(&shared), to_trace, exporter));
        }
        for execution in shared.store.unfinished().await? {
            shared.wake(&execution);
        }
        crash::point(Point::UnfinishedWoken);
        tracker.close();
        Ok(Self { shared, tracker })
    }

    /// Waits until the workers and chores have ended after a shutdown, and leaves the servers of the store: others take over at once.
    pub async fn ended(&self) {
        self.tracker.wait().await;
        self.shared.membership.leave(&*self.shared.store).await;
    }

    /// Nodes that hold a lease as far as this server knows, in order; itself among them.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        self.shared.membership.nodes()
    }

    /// What this server did and what its store holds, as OpenMetrics text without the end mark.
    pub async fn metrics(&self) -> String {
        let gauges = self.shared.store.gauges().await;
        self.shared.meters.text(gauges, self.shared.membership.unconfirmed_for())
    }

    /// Whether this server holds its lease and the store confirmed it lately.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.shared.membership.stands()
    }
}
