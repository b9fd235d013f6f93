//! The clock that everybody in a run reads: tokio's paused time, and what it was set forward by.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use manifold_model::Millis;
use tokio::time::Instant;

/// When every run begins, milliseconds since 1970.
pub(crate) const BEGIN: Millis = 1_790_000_000_000;

/// The clock of a run.
pub(crate) struct SimClock {
    started: Instant,
    jumped: AtomicI64,
}

thread_local! {
    /// The clock of the run on this thread, for delegates: they take a plain function.
    static HERE: RefCell<Option<Arc<SimClock>>> = const { RefCell::new(None) };
}

impl SimClock {
    /// A clock that starts now, and is the one of this thread.
    pub(crate) fn start() -> Arc<Self> {
        let clock = Arc::new(Self { started: Instant::now(), jumped: AtomicI64::new(0) });
        HERE.with(|here| *here.borrow_mut() = Some(Arc::clone(&clock)));
        clock
    }

    /// The time, milliseconds since 1970.
    pub(crate) fn now(&self) -> Millis {
        let since = Millis::try_from(self.started.elapsed().as_millis()).unwrap_or(Millis::MAX / 2);
        BEGIN.saturating_add(since).saturating_add(self.jumped.load(Ordering::Relaxed))
    }

    /// Time that went by, jumps not counted.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Sets the clock forward: somebody corrected it.
    pub(crate) fn jump(&self, by: Duration) {
        let by = Millis::try_from(by.as_millis()).unwrap_or(0);
        self.jumped.fetch_add(by, Ordering::Relaxed);
    }
}

/// The time of the run on this thread.
pub(crate) fn here() -> Millis {
    HERE.with(|here| here.borrow().as_ref().map_or(BEGIN, |clock| clock.now()))
}
