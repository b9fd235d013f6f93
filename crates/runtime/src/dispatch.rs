//! Hands tasks that wait in the store to connected delegates that have places for them.

use std::sync::Arc;
use std::time::Duration;

use manifold_model::crash::{self, Point};

use crate::Shared;
use crate::delegates::{Connection, Send as Order};
use crate::worker::Message;

/// Most tasks claimed in one transaction.
const CLAIM: u32 = 256;
/// The poll behind the wake-ups.
const POLL: Duration = Duration::from_secs(1);
/// Pause after a store that cannot claim.
const BROKEN_STORE_PAUSE: Duration = Duration::from_millis(500);

/// Claims until the shutdown.
pub async fn run(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.shutdown.cancelled() => return,
            () = shared.delegates.work.notified() => {}
            () = tokio::time::sleep(POLL) => {}
        }
        if let Err(error) = claim_all(&shared).await {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot claim tasks");
            tokio::time::sleep(BROKEN_STORE_PAUSE).await;
        }
    }
}

/// Fills every connection's free places.
async fn claim_all(shared: &Shared) -> manifold_store::Result<()> {
    let mut drained = true;
    for connection in shared.delegates.all() {
        loop {
            let places = connection.take_places(CLAIM);
            if places == 0 {
                drained = false;
                break;
            }
            let claimed = claim(shared, &connection, places).await;
            let taken = *claimed.as_ref().unwrap_or(&0);
            (taken..places).for_each(|_| connection.free_place());
            claimed?;
            if taken < places {
                break;
            }
        }
    }
    if drained {
        shared.delegates.drained();
    }
    Ok(())
}

async fn claim(shared: &Shared, connection: &Arc<Connection>, places: u32) -> manifold_store::Result<u32> {
    crash::point(Point::BeforeClaim);
    let rows = shared.store.claim(&connection.lease, &connection.offer(places)).await?;
    if !rows.is_empty() {
        crash::point(Point::AfterClaim);
    }
    let taken = u32::try_from(rows.len()).unwrap_or(places);
    for row in rows {
        if shared.delegates.was_untaken(&row.task.id)
            && let Some(execution) = &row.execution
        {
            shared.workers.send(execution, Message::Taken(execution.clone(), row.task.id.clone()));
        }
        let task = row.task.id.clone();
        connection.hand_over(Arc::new(row.task), row.deliveries);
        if row.cancelled {
            connection.tell(Order::Cancel(task));
        }
    }
    Ok(taken)
}
