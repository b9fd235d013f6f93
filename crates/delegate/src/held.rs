//! The delegate's places: every task from its hand-over until its acknowledgement.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use manifold_link::{Lease, TaskOutcome};
use manifold_model::TaskId;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

/// A task that has a place.
pub(crate) struct Place {
    /// Lease under which it was last handed out; its outcome names it.
    pub(crate) lease: Lease,
    /// While it runs; `None` once it has ended.
    pub(crate) work: Option<Work>,
}

/// A running task.
pub(crate) struct Work {
    pub(crate) cancel: CancellationToken,
    /// `None` for the moment between taking the place and starting.
    pub(crate) abort: Option<AbortHandle>,
}

/// All places.
pub(crate) struct Held {
    places: Mutex<BTreeMap<TaskId, Place>>,
    /// Raised whenever a place becomes free.
    count: watch::Sender<usize>,
}

impl Held {
    /// Outcomes that an earlier life of the delegate left in the spool have their places from the start.
    pub(crate) fn new(kept: Vec<TaskOutcome>) -> Self {
        let places: BTreeMap<TaskId, Place> =
            kept.into_iter().map(|kept| (kept.task, Place { lease: kept.lease, work: None })).collect();
        Self { count: watch::Sender::new(places.len()), places: Mutex::new(places) }
    }

    /// Looks at and changes the places; never holds them over a wait.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut BTreeMap<TaskId, Place>) -> T) -> T {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let before = places.len();
        let result = change(&mut places);
        let after = places.len();
        if after != before {
            self.count.send_replace(after);
        }
        result
    }

    pub(crate) fn len(&self) -> usize {
        self.with(|places| places.len())
    }

    pub(crate) fn running(&self) -> usize {
        self.with(|places| places.values().filter(|place| place.work.is_some()).count())
    }

    /// Waits until no place is taken.
    pub(crate) async fn empty(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        drop(self.count.subscribe().wait_for(|count| *count == 0).await);
    }

    /// Leaves everything that runs to itself: commands outlive the delegate and are found again by their markers.
    pub(crate) fn abandon(&self) {
        self.with(|places| {
            for place in places.values_mut() {
                if let Some(abort) = place.work.take().and_then(|work| work.abort) {
                    abort.abort();
                }
            }
            places.clear();
        });
    }
}
