//! Where the store reads the time: an injected clock (`design.md` 4.5), so that tests and the simulation own it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use manifold_model::Millis;

/// Tells the time. Any `Fn() -> Millis` is one.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970 UTC; never less than an earlier answer.
    fn now(&self) -> Millis;
}

impl<F: Fn() -> Millis + Send + Sync + 'static> Clock for F {
    fn now(&self) -> Millis {
        self()
    }
}

/// The machine's clock, kept from going back.
#[derive(Debug, Default)]
pub struct SystemClock {
    last: AtomicI64,
}

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        let machine = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| Millis::try_from(since.as_millis()).ok())
            .unwrap_or_default();
        self.last.fetch_max(machine, Ordering::Relaxed).max(machine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back() {
        let clock = SystemClock { last: AtomicI64::new(Millis::MAX - 1) };
        assert_eq!(clock.now(), Millis::MAX - 1);
        assert!(SystemClock::default().now() > 1_600_000_000_000);
    }
}
