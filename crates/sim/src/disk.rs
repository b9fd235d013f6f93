//! How the disk behaves now: how late it answers, and whether it takes writes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use manifold_store::StoreError;

use crate::Sim;

/// Most that a healthy disk takes, milliseconds.
const USUAL_MS: u64 = 4;
/// Writes of a hundred that a failing disk refuses.
const REFUSED: u64 = 40;
/// Writes of a hundred whose answer a failing disk loses.
const LOST: u64 = 10;

/// The disk of a run.
#[derive(Default)]
pub(crate) struct Disk {
    /// Most that a call takes now beyond the usual, milliseconds.
    pub(crate) slow_ms: AtomicU64,
    /// Whether it refuses writes now.
    pub(crate) failing: AtomicBool,
}

impl Disk {
    /// Takes its time.
    pub(crate) async fn wait(&self, sim: &Sim) {
        let most = USUAL_MS + self.slow_ms.load(Ordering::Relaxed);
        let ms = sim.chance.within(0..most);
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }

    /// Refuses a write now and then.
    pub(crate) fn takes(&self, sim: &Sim) -> Result<(), StoreError> {
        if self.failing.load(Ordering::Relaxed) && sim.chance.percent(REFUSED) {
            sim.trace.fault("write refused");
            return Err(refused("the disk is full"));
        }
        Ok(())
    }

    /// Loses the answer to a write that was done, now and then.
    pub(crate) fn answers(&self, sim: &Sim) -> Result<(), StoreError> {
        if self.failing.load(Ordering::Relaxed) && sim.chance.percent(LOST) {
            sim.trace.fault("answer lost");
            return Err(refused("the answer was lost"));
        }
        Ok(())
    }
}

fn refused(why: &'static str) -> StoreError {
    StoreError::Broken { action: "commit", cause: why.into() }
}
