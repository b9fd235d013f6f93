//! The one list of what runs by itself beside the workers. Each chore is started once, repeats until the shutdown, and can be missed without
//! harm: what it finds is in the store.

use std::sync::Arc;
use std::time::Duration;

use manifold_model::Millis;
use manifold_model::crash::{self, Point};
use manifold_store::Hint;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::worker::Message;
use crate::{Shared, delegates, dispatch, membership, retention, untaken};

/// Longest sleep of the timer chore, milliseconds: the poll behind the hints.
const TIMER_POLL_MS: Millis = 500;
/// How often tasks that nobody takes, and inboxes whose hint was lost, are looked at.
const SWEEP: Duration = Duration::from_secs(1);
/// Shortest time between two sweeps, however many hints were lost.
const SWEEP_PACE: Duration = Duration::from_millis(250);
/// How often everything that is unfinished is looked at when several servers share the store: a new leg has nothing in its inbox by which a sweep
/// would find it, should the hint of the server that made it be lost.
const LOOK: Duration = Duration::from_secs(15);
/// How often the account is told that the delegates of this server are there (`behaviour.md` 19: every minute).
const SEEN: Duration = Duration::from_secs(30);
/// How often logs are written out.
const LOG_FLUSH: Duration = Duration::from_millis(200);
/// How often the write-ahead log is folded into the database.
const CHECKPOINT: Duration = Duration::from_secs(30);
/// Items that one sweep handles.
const SWEEP_LIMIT: u32 = 1_000;

/// Starts all chores.
pub fn start(shared: &Arc<Shared>, tracker: &TaskTracker) {
    tracker.spawn(membership::run(Arc::clone(shared)));
    tracker.spawn(delegates::run(Arc::clone(shared)));
    tracker.spawn(dispatch::run(Arc::clone(shared)));
    // Listening begins now, not when the chore is first run: a hint about a new execution would be missed for ever.
    tracker.spawn(hints(Arc::clone(shared), shared.store.hints()));
    tracker.spawn(timers(Arc::clone(shared)));
    tracker.spawn(sweep(Arc::clone(shared)));
    tracker.spawn(seen(Arc::clone(shared)));
    tracker.spawn(flush_logs(Arc::clone(shared)));
    tracker.spawn(checkpoint(Arc::clone(shared)));
    tracker.spawn(retention::run(Arc::clone(shared)));
}

/// Passes on what hints say: to the workers of this server's executions, the dispatcher, whoever keeps up with servers and delegates.
async fn hints(shared: Arc<Shared>, mut hints: Receiver<Hint>) {
    loop {
        let hint = tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            hint = hints.recv() => hint,
        };
        match hint {
            Ok(Hint::Inbox(execution)) => shared.wake(&execution),
            Ok(Hint::LegPaused(parent)) if shared.membership.owns(&parent) => {
                shared.workers.send(&parent, Message::LegPaused(parent.clone()));
            }
            Ok(Hint::Tasks) => shared.delegates.queued(),
            Ok(Hint::Delegates) => shared.delegates.stale(),
            Ok(Hint::Servers) => shared.membership.look(),
            Ok(Hint::Everything) | Err(RecvError::Lagged(_)) => {
                shared.delegates.queued();
                shared.delegates.stale();
                shared.membership.look();
                shared.overlooked.notify_one();
            }
            Ok(_) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Fires timers when they are due, whosever executions they are for: a timer fires once, and its owner finds it in the inbox.
async fn timers(shared: Arc<Shared>) {
    let mut hints = shared.store.hints();
    // When to look next; the poll stands behind what is known to be due.
    let mut next = shared.now();
    // The earliest timer known.
    let mut earliest: Option<Millis> = None;
    loop {
        if next <= shared.now() {
            let poll = shared.now().saturating_add(TIMER_POLL_MS);
            if earliest.is_some_and(|due| due <= shared.now()) {
                crash::point(Point::TimerDue);
            }
            next = match shared.store.fire_timers(shared.now(), SWEEP_LIMIT).await {
                Ok((executions, due)) => {
                    if !executions.is_empty() {
                        crash::point(Point::TimerFired);
                    }
                    executions.iter().for_each(|execution| shared.wake(execution));
                    earliest = due;
                    due.map_or(poll, |due| due.min(poll))
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "cannot fire timers");
                    poll
                }
            };
        }
        let sleep = (next - shared.now()).clamp(1, TIMER_POLL_MS).unsigned_abs();
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(sleep)) => {}
            hint = hints.recv() => match hint {
                Ok(Hint::Timer(at)) => {
                    earliest = Some(earliest.map_or(at, |due| due.min(at)));
                    next = next.min(at);
                }
                Ok(Hint::Everything) | Err(RecvError::Lagged(_)) => next = shared.now(),
                Ok(_) => {}
                Err(RecvError::Closed) => return,
            },
        }
    }
}

/// Sees to tasks that no delegate takes and to cancelled ones, and finds executions whose hint was lost.
async fn sweep(shared: Arc<Shared>) {
    let mut looked = Instant::now();
    loop {
        let overlooked = tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => false,
            () = shared.overlooked.notified() => true,
        };
        let swept = async {
            for execution in shared.store.executions_with_inbox(SWEEP_LIMIT).await? {
                shared.wake(&execution);
            }
            if overlooked || (shared.membership.shares() && looked.elapsed() >= LOOK) {
                looked = Instant::now();
                look_at_all(&shared).await?;
            }
            cancel_late(&shared).await?;
            untaken::sweep(&shared).await
        };
        if let Err(error) = swept.await {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot sweep");
        }
        tokio::time::sleep(SWEEP_PACE).await;
    }
}

/// Lets workers look at every unfinished execution of this server that they do not hold.
async fn look_at_all(shared: &Shared) -> manifold_store::Result<()> {
    for execution in shared.store.unfinished().await? {
        if shared.membership.owns(&execution) {
            shared.workers.send(&execution, Message::Found(execution.clone()));
        }
    }
    Ok(())
}

/// Stops tasks that were cancelled by another server, or while they were handed out.
async fn cancel_late(shared: &Shared) -> manifold_store::Result<()> {
    for connection in shared.delegates.all() {
        for task in shared.store.cancelled_tasks(&connection.lease).await? {
            shared.delegates.cancel(&task);
        }
    }
    Ok(())
}

/// Says which delegates are there.
async fn seen(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            () = tokio::time::sleep(SEEN) => {}
        }
        let ids: Vec<_> = shared.delegates.all().iter().map(|connection| connection.id.clone()).collect();
        if ids.is_empty() {
            continue;
        }
        if let Err(error) = shared.store.delegates_seen(&ids).await {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot say which delegates are there");
        }
    }
}

async fn flush_logs(shared: Arc<Shared>) {
    loop {
        let ends = tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => true,
            () = tokio::time::sleep(LOG_FLUSH) => false,
            () = shared.logs.due() => false,
        };
        if let Err(error) = shared.logs.flush().await {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot write logs");
        }
        if ends {
            return;
        }
    }
}

async fn checkpoint(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            () = tokio::time::sleep(CHECKPOINT) => {}
        }
        if let Err(error) = shared.store.checkpoint().await {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot checkpoint the store");
        }
    }
}
