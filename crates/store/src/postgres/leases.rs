//! Leases of servers and of the delegates' connections to them. What a lost lease held goes back to the queue.
//!
//! Whoever writes under a lease shares its guard until COMMIT; whoever takes it away holds the guard alone: it waits for writes in flight, and
//! later ones find the lease gone. Who joins or leaves holds [`Guard::Servers`] before that, one at a time.

use std::collections::HashSet;

use manifold_model::{DelegateId, Millis};

use super::db::Db;
use super::guards::{self, Guard};
use super::writing::Writing;
use super::{count, int};
use crate::{
    DELEGATE_DEAD_MS, Hint, LEASE_MS, Lease, Result, ServerRow, Standing, StoreError, delegate_holder,
    server_holder,
};

const HELD: &str = "SELECT holder, fence FROM leases WHERE fence = ANY($1)";

pub(super) async fn join(writing: &mut Writing<'_>, node: &str, program: &str) -> Result<Lease> {
    writing.hold(&[Guard::Servers]).await?;
    fence_node(writing, node).await?;
    let lease = new_lease(writing, server_holder(node), node).await?;
    let now = clock(&writing.db).await?;
    writing
        .db
        .run(
            "INSERT INTO servers (node, program, since, fence, expires_at) VALUES ($1, $2, $3, $4, $5)",
            &[&node, &program, &now, &int(lease.fence), &now.saturating_add(LEASE_MS)],
        )
        .await?;
    writing.hint(Hint::Servers);
    Ok(lease)
}

/// Keeps a server's lease; says how things stand, and whether other servers' leases have run out ([`take_late`]).
pub(super) async fn renew(writing: &mut Writing<'_>, server: &Lease) -> Result<(Standing, bool)> {
    must_hold(writing, server).await?;
    let now = clock(&writing.db).await?;
    writing
        .db
        .run(
            "UPDATE servers SET expires_at = $2 WHERE fence = $1",
            &[&int(server.fence), &now.saturating_add(LEASE_MS)],
        )
        .await?;
    let late = writing.db.maybe("SELECT 1 FROM servers WHERE expires_at < $1 LIMIT 1", &[&now]).await?;
    Ok((standing(&writing.db).await?, late.is_some()))
}

/// Takes from every server whose lease has run out everything that it holds; a transaction of its own, for whoever renews shares the guard
/// of its own lease, and two that are late could wait for each other. Says how things stand then.
pub(super) async fn take_late(writing: &mut Writing<'_>) -> Result<Standing> {
    writing.hold(&[Guard::Servers]).await?;
    let now = clock(&writing.db).await?;
    let late = writing
        .db
        .rows("SELECT node, fence FROM servers WHERE expires_at < $1 ORDER BY node", &[&now])
        .await?;
    for row in &late {
        let (node, fence): (String, i64) = (row.get(0), row.get(1));
        // It may renew its lease at this moment: then it keeps it.
        writing.hold(&[Guard::Lease(count(fence))]).await?;
        let still = writing
            .db
            .maybe("SELECT 1 FROM servers WHERE node = $1 AND expires_at < $2", &[&node, &now])
            .await?;
        if still.is_some() {
            fence_node(writing, &node).await?;
            writing.hint(Hint::Servers);
        }
    }
    standing(&writing.db).await
}

async fn standing(db: &Db<'_>) -> Result<Standing> {
    let rows = db.rows("SELECT node, program, since, fence FROM servers ORDER BY node", &[]).await?;
    let servers = rows
        .iter()
        .map(|row| {
            let node: String = row.get(0);
            let lease = Lease { holder: server_holder(&node), fence: count(row.get(3)) };
            ServerRow { node, program: row.get(1), since: row.get(2), lease }
        })
        .collect();
    let delegates = db.maybe("SELECT value FROM counters WHERE name = 'delegates'", &[]).await?;
    let delegates = count(delegates.map_or(0, |row| row.get(0)));
    Ok(Standing { now: clock(db).await?, servers, delegates })
}

pub(super) async fn lease(writing: &mut Writing<'_>, server: &Lease, delegate: &DelegateId) -> Result<Lease> {
    writing.hold(&[Guard::Servers]).await?;
    must_hold(writing, server).await?;
    let row = writing.db.one("SELECT node FROM leases WHERE fence = $1", &[&int(server.fence)]).await?;
    let node: String = row.get(0);
    let holder = delegate_holder(delegate);
    take(writing, OF_HOLDER, &holder).await?;
    new_lease(writing, holder, &node).await
}

pub(super) async fn release(writing: &mut Writing<'_>, lease: &Lease) -> Result<()> {
    writing.hold(&[Guard::Servers, Guard::Lease(lease.fence)]).await?;
    if !held(&writing.db, &[lease.fence]).await?.contains(lease) {
        return Err(fenced(lease));
    }
    if let Some(node) = lease.holder.strip_prefix("server/") {
        writing.hint(Hint::Servers);
        return fence_node(writing, node).await;
    }
    take(writing, OF_HOLDER, &lease.holder).await
}

/// Takes the lease of a holder, if it has one.
pub(super) async fn take_from(writing: &mut Writing<'_>, holder: &str) -> Result<()> {
    writing.hold(&[Guard::Servers]).await?;
    take(writing, OF_HOLDER, holder).await
}

/// Takes everything from a node: its own lease and those of the connections to it.
async fn fence_node(writing: &mut Writing<'_>, node: &str) -> Result<()> {
    writing.db.run("DELETE FROM servers WHERE node = $1", &[&node]).await?;
    take(writing, "SELECT fence FROM leases WHERE node = $1", node).await
}

const OF_HOLDER: &str = "SELECT fence FROM leases WHERE holder = $1";

/// Takes the leases that a query names, when those who write under them are done. [`Guard::Servers`] is held.
async fn take(writing: &mut Writing<'_>, query: &str, of: &str) -> Result<()> {
    let rows = writing.db.rows(query, &[&of]).await?;
    let fences: Vec<u64> = rows.iter().map(|row| count(row.get(0))).collect();
    if fences.is_empty() {
        return Ok(());
    }
    guards::hold_leases(&writing.db, &fences).await?;
    let fences: Vec<i64> = fences.into_iter().map(int).collect();
    writing.db.run("DELETE FROM leases WHERE fence = ANY($1)", &[&fences]).await?;
    requeue(writing, &fences).await?;
    delegates_changed(writing).await
}

async fn new_lease(writing: &mut Writing<'_>, holder: String, node: &str) -> Result<Lease> {
    let fence = counted(writing, "fence").await?;
    writing
        .db
        .run("INSERT INTO leases (holder, node, fence) VALUES ($1, $2, $3)", &[&holder, &node, &fence])
        .await?;
    delegates_changed(writing).await?;
    Ok(Lease { holder, fence: count(fence) })
}

/// Says that delegates, their connections or their tokens changed.
pub(super) async fn delegates_changed(writing: &mut Writing<'_>) -> Result<()> {
    counted(writing, "delegates").await?;
    writing.hint(Hint::Delegates);
    Ok(())
}

/// The next number of a counter; whoever draws one goes before everybody who draws after it.
async fn counted(writing: &Writing<'_>, name: &str) -> Result<i64> {
    let row = writing
        .db
        .one(
            "INSERT INTO counters AS c (name, value) VALUES ($1, 1) \
             ON CONFLICT (name) DO UPDATE SET value = c.value + 1 RETURNING value",
            &[&name],
        )
        .await?;
    Ok(row.get(0))
}

/// Puts the tasks of fenced leases back; whoever takes them must look before it acts. What lives on the delegate that had it waits for it.
async fn requeue(writing: &mut Writing<'_>, fences: &[i64]) -> Result<()> {
    let now = clock(&writing.db).await?;
    let requeued = writing
        .db
        .run(
            "UPDATE tasks SET state = 0, held_by = holder, holder = NULL, fence = NULL, \
             deliveries = deliveries + 1, queued_at = $2, \
             reserved_until = CASE WHEN on_delegate THEN $3::bigint END WHERE fence = ANY($1) AND state = 1",
            &[&fences, &now, &now.saturating_add(DELEGATE_DEAD_MS)],
        )
        .await?;
    if requeued > 0 {
        writing.hint(Hint::Tasks);
    }
    Ok(())
}

/// The time by the database's clock at this moment; a transaction that waited has begun earlier.
pub(super) async fn clock(db: &Db<'_>) -> Result<Millis> {
    let row = db.one("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint", &[]).await?;
    Ok(row.get(0))
}

/// Fails with [`StoreError::Fenced`] when somebody took the lease over; until the transaction ends nobody can.
pub(super) async fn must_hold(writing: &Writing<'_>, lease: &Lease) -> Result<()> {
    // When both are prepared the second goes right behind the first, and sees what is so when the guard is held.
    prepare(&writing.db).await?;
    let fences = [lease.fence];
    let ((), held) =
        futures::try_join!(guards::share_leases(&writing.db, &fences), held(&writing.db, &fences))?;
    if held.contains(lease) { Ok(()) } else { Err(fenced(lease)) }
}

/// Those of these leases that are held. Their guards are shared, or asked for right before.
pub(super) async fn held(db: &Db<'_>, fences: &[u64]) -> Result<HashSet<Lease>> {
    let fences: Vec<i64> = fences.iter().map(|fence| int(*fence)).collect();
    let rows = db.rows(HELD, &[&fences]).await?;
    Ok(rows.iter().map(|row| Lease { holder: row.get(0), fence: count(row.get(1)) }).collect())
}

/// Prepares [`guards::share_leases`] and [`held`], so that one goes right behind the other.
pub(super) async fn prepare(db: &Db<'_>) -> Result<()> {
    db.prepared(guards::SHARE).await?;
    db.prepared(HELD).await.map(drop)
}

pub(super) fn fenced(lease: &Lease) -> StoreError {
    StoreError::Fenced { what: format!("the lease of {}", lease.holder), fence: lease.fence }
}
