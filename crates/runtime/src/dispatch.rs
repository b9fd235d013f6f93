//! Hands tasks that wait in the store to connected delegates that have places for them.

use std::sync::Arc;
use std::time::Duration;

use manifold_model::Millis;
use manifold_model::crash::{self, Point};
use manifold_store::{StoreError, TaskRow};

use crate::delegates::{Connection, Handed, Send as Order};
use crate::worker::Message;
use crate::{Shared, scope};

/// Most tasks claimed in one transaction.
const CLAIM: u32 = 256;
/// Most tasks that one of several delegates claims before the next one's turn.
const TURN: u32 = 32;
/// The poll behind the wake-ups.
const POLL: Duration = Duration::from_secs(1);
/// Pause after a store that cannot claim.
const BROKEN_STORE_PAUSE: Duration = Duration::from_millis(500);
/// How long a delegate does not see a task again that its scopes do not admit, milliseconds: so long it may take until changed scopes count for
/// what waits already.
const OUT_OF_SCOPE_MS: Millis = 60_000;

/// Claims until the shutdown.
pub async fn run(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            biased;
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

/// Fills every connection's free places, in turn.
async fn claim_all(shared: &Shared) -> manifold_store::Result<()> {
    let mut drained = true;
    let mut connections = shared.delegates.all();
    while !connections.is_empty() {
        let most = if connections.len() == 1 { CLAIM } else { TURN };
        let mut more = Vec::new();
        for connection in connections {
            let places = connection.take_places(most);
            if places == 0 {
                drained = false;
                continue;
            }
            match claim(shared, &connection, places).await {
                Ok(claimed) if claimed == places => more.push(connection),
                Ok(_) => {}
                Err(StoreError::Fenced { .. }) => {
                    // Its lease is gone: so is what it could take.
                    shared.delegates.end(connection.lease.fence);
                }
                Err(error) => {
                    // It may have been done and only its answer lost: then the tasks come back with the lease.
                    shared.delegates.end(connection.lease.fence);
                    return Err(error);
                }
            }
        }
        connections = more;
    }
    if drained {
        shared.delegates.drained();
    }
    Ok(())
}

/// Claims up to so many tasks, whose places are taken; returns how many the store had.
async fn claim(shared: &Shared, connection: &Arc<Connection>, places: u32) -> manifold_store::Result<u32> {
    crash::point(Point::BeforeClaim);
    let rows = match shared.store.claim(&connection.lease, &connection.offer(places)).await {
        Ok(rows) => rows,
        Err(error) => {
            (0..places).for_each(|_| connection.free_place());
            return Err(error);
        }
    };
    if !rows.is_empty() {
        crash::point(Point::AfterClaim);
    }
    let claimed = u32::try_from(rows.len()).unwrap_or(places);
    shared.meters.claimed(&rows, shared.now());
    (claimed..places).for_each(|_| connection.free_place());
    for row in rows {
        if is_in_scope(shared, connection, &row).await {
            hand_over(shared, connection, row);
            continue;
        }
        connection.free_place();
        let until = shared.now().saturating_add(OUT_OF_SCOPE_MS);
        if let Err(error) = shared.store.put_back(&row.task.id, &connection.lease, until).await {
            let task = &row.task.id;
            tracing::error!(%task, error = &error as &dyn std::error::Error, "cannot put a task back; its delegate has to connect anew");
            // With its lease everything goes back.
            shared.delegates.end(connection.lease.fence);
        }
    }
    Ok(claimed)
}

/// Whether the delegate may be used for a task; not when that cannot be found out.
async fn is_in_scope(shared: &Shared, connection: &Connection, row: &TaskRow) -> bool {
    if connection.is_open() {
        return true;
    }
    match scope::find(shared, row.execution.as_ref()).await {
        Ok(scope) => connection.admits(&scope),
        Err(error) => {
            let task = &row.task.id;
            tracing::error!(%task, error = &error as &dyn std::error::Error, "cannot see where a task belongs");
            false
        }
    }
}

fn hand_over(shared: &Shared, connection: &Arc<Connection>, row: TaskRow) {
    if shared.delegates.was_untaken(&row.task.id)
        && let Some(execution) = &row.execution
    {
        shared.workers.send(execution, Message::Taken(execution.clone(), row.task.id.clone()));
    }
    let task = row.task.id.clone();
    let elsewhere = row.held_by.as_ref().filter(|holder| **holder != connection.lease.holder);
    let elsewhere = elsewhere.map(|holder| shared.delegates.name_of(holder));
    let handed = Handed { task: Arc::new(row.task), deliveries: row.deliveries };
    connection.hand_over(handed, elsewhere);
    if row.cancelled {
        connection.tell(Order::Cancel(task));
    }
}
