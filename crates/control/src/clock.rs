//! The time that use cases write down.

use std::sync::atomic::{AtomicI64, Ordering};

use manifold_model::Millis;

/// A source of time.
pub trait Clock: Send + Sync + 'static {
    /// Now; never earlier than what it said before.
    fn now(&self) -> Millis;
}

/// The machine's clock, held still while the machine sets it back.
#[derive(Debug, Default)]
pub struct SystemClock {
    last: AtomicI64,
}

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        let now = jiff::Timestamp::now().as_millisecond();
        self.last.fetch_max(now, Ordering::Relaxed).max(now)
    }
}
