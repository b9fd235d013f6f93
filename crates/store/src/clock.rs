//! Where the store reads the time: an injected clock (`design.md` 4.5), so that tests and the simulation own it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

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

/// How far the store's clock may fall behind this one and still be followed, milliseconds; the time then stands still until it has caught up.
const CATCH_UP_MS: Millis = 10_000;

/// The store's time on a server that shares the store with others: told now and then ([`StoreClock::set`]), going on by the machine's monotonic
/// clock in between, never back.
///
/// What somebody does to the machine's wall clock does not matter to it. When the store's own clock jumps forward, everything due by then is due
/// at once, as after a pause. When it is set back by more than ten seconds, this clock is not: it goes on at its own pace from where it is, so
/// that a mistaken clock never holds up timers, until the store is ahead again or the server restarts.
#[derive(Debug)]
pub struct StoreClock {
    began: Instant,
    /// The store's time at `began`.
    origin: AtomicI64,
    last: AtomicI64,
}

impl StoreClock {
    /// A clock that shows this time now.
    #[must_use]
    pub fn new(now: Millis) -> Self {
        Self { began: Instant::now(), origin: AtomicI64::new(now), last: AtomicI64::new(now) }
    }

    /// The store said that it is `now`.
    pub fn set(&self, now: Millis) {
        if now >= self.now().saturating_sub(CATCH_UP_MS) {
            self.origin.store(now.saturating_sub(self.elapsed()), Ordering::Release);
        }
    }

    fn elapsed(&self) -> Millis {
        Millis::try_from(self.began.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }
}

impl Clock for StoreClock {
    fn now(&self) -> Millis {
        let now = self.origin.load(Ordering::Acquire).saturating_add(self.elapsed());
        self.last.fetch_max(now, Ordering::AcqRel).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stores_time_is_followed_but_never_back() {
        let clock = StoreClock::new(1_000_000);
        assert!((1_000_000..1_060_000).contains(&clock.now()));
        clock.set(9_000_000);
        let ahead = clock.now();
        assert!((9_000_000..9_060_000).contains(&ahead), "a jump forward is taken over");
        clock.set(ahead - CATCH_UP_MS / 2);
        assert!(clock.now() >= ahead, "it stands still until the store has caught up");
        clock.set(1_000_000);
        let later = clock.now();
        assert!(later >= ahead && later < ahead + 60_000, "a store set back is not followed");
    }

    #[test]
    fn time_never_goes_back() {
        let clock = SystemClock { last: AtomicI64::new(Millis::MAX - 1) };
        assert_eq!(clock.now(), Millis::MAX - 1);
        assert!(SystemClock::default().now() > 1_600_000_000_000);
    }
}
