//! The one list of what runs by itself beside the workers. Each chore is started once, repeats until the shutdown, and can be missed without
//! harm: what it finds is in the store.

use std::sync::Arc;
use std::time::Duration;

use manifold_model::crash::{self, Point};
use manifold_model::task::Outcome;
use manifold_model::{Failure, FailureClass, Millis, code};
use manifold_store::{Hint, InboxItem};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::task::TaskTracker;

use crate::{Shared, dispatch};

/// Longest sleep of the timer chore: the poll behind the hints.
const TIMER_POLL: Duration = Duration::from_millis(500);
/// How often tasks that nobody takes, and inboxes whose hint was lost, are looked at.
const SWEEP: Duration = Duration::from_secs(1);
/// How often the server's lease is renewed: several tries fit into the time that it holds.
const RENEW: Duration = Duration::from_secs(2);
/// How often logs are written out.
const LOG_FLUSH: Duration = Duration::from_millis(200);
/// How often the write-ahead log is folded into the database.
const CHECKPOINT: Duration = Duration::from_secs(30);
/// Items that one sweep handles.
const SWEEP_LIMIT: u32 = 1_000;

/// Starts all chores.
pub fn start(shared: &Arc<Shared>, tracker: &TaskTracker) {
    tracker.spawn(dispatch::run(Arc::clone(shared)));
    tracker.spawn(hints(Arc::clone(shared)));
    tracker.spawn(timers(Arc::clone(shared)));
    tracker.spawn(sweep(Arc::clone(shared)));
    tracker.spawn(renew(Arc::clone(shared)));
    tracker.spawn(flush_logs(Arc::clone(shared)));
    tracker.spawn(checkpoint(Arc::clone(shared)));
}

/// Wakes the workers of executions that got something, and the dispatcher when tasks were queued.
async fn hints(shared: Arc<Shared>) {
    let mut hints = shared.store.hints();
    loop {
        let hint = tokio::select! {
            () = shared.shutdown.cancelled() => return,
            hint = hints.recv() => hint,
        };
        match hint {
            Ok(Hint::Inbox(execution)) => shared.workers.wake(&execution),
            Ok(Hint::Tasks) => shared.delegates.queued(),
            Ok(_) => {}
            // The sweep finds what was missed.
            Err(RecvError::Lagged(_)) => shared.delegates.queued(),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Fires timers when they are due.
async fn timers(shared: Arc<Shared>) {
    let mut hints = shared.store.hints();
    let mut due: Option<Millis> = None;
    loop {
        let now = shared.now();
        if due.is_none_or(|due| due <= now) {
            if due.is_some() {
                crash::point(Point::TimerDue);
            }
            due = match shared.store.fire_timers(now, SWEEP_LIMIT).await {
                Ok((executions, next)) => {
                    if !executions.is_empty() {
                        crash::point(Point::TimerFired);
                    }
                    executions.iter().for_each(|execution| shared.workers.wake(execution));
                    next
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "cannot fire timers");
                    None
                }
            };
        }
        let sleep = due
            .map_or(TIMER_POLL, |due| Duration::from_millis((due - shared.now()).max(1).unsigned_abs()))
            .min(TIMER_POLL);
        tokio::select! {
            () = shared.shutdown.cancelled() => return,
            () = tokio::time::sleep(sleep) => due = due.filter(|due| *due > shared.now()),
            hint = hints.recv() => match hint {
                Ok(Hint::Timer(at)) => due = Some(due.map_or(at, |due| due.min(at))),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => due = None,
                Err(RecvError::Closed) => return,
            },
        }
    }
}

/// Fails tasks that no delegate took in time, and wakes executions whose hint was lost.
async fn sweep(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.shutdown.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
        let swept = async {
            for execution in shared.store.executions_with_inbox(SWEEP_LIMIT).await? {
                shared.workers.wake(&execution);
            }
            cancel_late(&shared).await?;
            fail_untaken(&shared).await
        };
        if let Err(error) = swept.await {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot sweep");
        }
    }
}

/// Stops tasks that were handed out while somebody cancelled them.
async fn cancel_late(shared: &Shared) -> manifold_store::Result<()> {
    for connection in shared.delegates.all() {
        for task in shared.store.cancelled_tasks(&connection.lease).await? {
            shared.delegates.cancel(&task);
        }
    }
    Ok(())
}

async fn fail_untaken(shared: &Shared) -> manifold_store::Result<()> {
    let wait = i64::try_from(shared.config.delegate_wait.as_millis()).unwrap_or(i64::MAX);
    for row in shared.store.waiting_tasks(shared.now().saturating_sub(wait), SWEEP_LIMIT).await? {
        let Some(execution) = row.execution else { continue };
        if shared.delegates.all().iter().any(|connection| connection.may_take(&row.task)) {
            continue;
        }
        let failure = Failure::new(
            FailureClass::Delegate,
            code!("NO_ELIGIBLE_DELEGATE"),
            format!(
                "no eligible delegate took the task within {} s: kind {}, selectors [{}]",
                shared.config.delegate_wait.as_secs(),
                row.task.kind,
                row.task.selectors.join(", ")
            ),
        )
        .hint("connect a delegate that offers this kind and has all these selectors");
        shared.delegates.was_untaken(&row.task.id);
        let item = InboxItem::TaskEnded { task: row.task.id, outcome: Outcome::failed(failure) };
        shared.store.send(&execution, item).await?;
    }
    Ok(())
}

/// Keeps this server's lease.
async fn renew(shared: Arc<Shared>) {
    loop {
        if let Err(error) = shared.store.renew(&shared.lease).await {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot keep the server's lease");
        }
        crash::point(Point::LeaseRenewed);
        tokio::select! {
            () = shared.shutdown.cancelled() => return,
            () = tokio::time::sleep(RENEW) => {}
        }
    }
}

async fn flush_logs(shared: Arc<Shared>) {
    loop {
        let ends = tokio::select! {
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
            () = shared.shutdown.cancelled() => return,
            () = tokio::time::sleep(CHECKPOINT) => {}
        }
        if let Err(error) = shared.store.checkpoint().await {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot checkpoint the store");
        }
    }
}
