//! Leases of servers and of the delegates' connections to them. What a lost lease held goes back to the queue.

use manifold_model::{DelegateId, Millis};
use rusqlite::params;

use super::writer::Writing;
use super::{count, int};
use crate::{
    DELEGATE_DEAD_MS, Hint, LEASE_MS, Lease, Result, ServerRow, Standing, StoreError, delegate_holder,
    server_holder,
};

pub(super) fn join(writing: &mut Writing<'_>, node: &str, program: &str) -> Result<Lease> {
    fence_node(writing, node)?;
    let lease = new_lease(writing, server_holder(node), node)?;
    let now = writing.now();
    writing
        .sql("INSERT OR REPLACE INTO servers (node, program, since, fence, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![node, program, now, int(lease.fence), now.saturating_add(LEASE_MS)])?;
    writing.hint(Hint::Servers);
    Ok(lease)
}

pub(super) fn renew(writing: &mut Writing<'_>, server: &Lease) -> Result<Standing> {
    must_hold(writing, server)?;
    let now = writing.now();
    writing
        .sql("UPDATE servers SET expires_at = ?2 WHERE fence = ?1")?
        .execute(params![int(server.fence), now.saturating_add(LEASE_MS)])?;
    let late: Vec<String> = writing
        .sql("SELECT node FROM servers WHERE expires_at < ?1")?
        .query_map([now], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for node in late {
        fence_node(writing, &node)?;
        writing.hint(Hint::Servers);
    }
    standing(writing, now)
}

fn standing(writing: &Writing<'_>, now: Millis) -> Result<Standing> {
    let servers = writing
        .sql("SELECT node, program, since, fence FROM servers ORDER BY node")?
        .query_map([], |row| {
            let node: String = row.get(0)?;
            let lease = Lease { holder: server_holder(&node), fence: count(row.get(3)?) };
            Ok(ServerRow { node, program: row.get(1)?, since: row.get(2)?, lease })
        })?
        .collect::<rusqlite::Result<_>>()?;
    let delegates = writing
        .sql("SELECT value FROM counters WHERE name = 'delegates'")?
        .query_map([], |row| row.get(0))?
        .next()
        .transpose()?
        .unwrap_or(0);
    Ok(Standing { now, servers, delegates: count(delegates) })
}

pub(super) fn lease(writing: &mut Writing<'_>, server: &Lease, delegate: &DelegateId) -> Result<Lease> {
    must_hold(writing, server)?;
    let node: String = writing
        .sql("SELECT node FROM leases WHERE fence = ?1")?
        .query_row([int(server.fence)], |row| row.get(0))?;
    let holder = delegate_holder(delegate);
    take(writing, "SELECT fence FROM leases WHERE holder = ?1", &holder)?;
    new_lease(writing, holder, &node)
}

pub(super) fn release(writing: &mut Writing<'_>, lease: &Lease) -> Result<()> {
    must_hold(writing, lease)?;
    if let Some(node) = lease.holder.strip_prefix("server/") {
        writing.hint(Hint::Servers);
        return fence_node(writing, node);
    }
    take(writing, "SELECT fence FROM leases WHERE holder = ?1", &lease.holder)
}

/// Takes the lease of a holder, if it has one.
pub(super) fn take_from(writing: &mut Writing<'_>, holder: &str) -> Result<()> {
    take(writing, "SELECT fence FROM leases WHERE holder = ?1", holder)
}

/// Takes everything from a node: its own lease and those of the connections to it.
fn fence_node(writing: &mut Writing<'_>, node: &str) -> Result<()> {
    writing.sql("DELETE FROM servers WHERE node = ?1")?.execute([node])?;
    take(writing, "SELECT fence FROM leases WHERE node = ?1", node)
}

/// Takes the leases that a query names.
fn take(writing: &mut Writing<'_>, query: &str, of: &str) -> Result<()> {
    let fences: Vec<i64> =
        writing.sql(query)?.query_map([of], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for fence in fences {
        writing.sql("DELETE FROM leases WHERE fence = ?1")?.execute([fence])?;
        requeue(writing, fence)?;
        delegates_changed(writing)?;
    }
    Ok(())
}

fn new_lease(writing: &mut Writing<'_>, holder: String, node: &str) -> Result<Lease> {
    let fence = counted(writing, "fence")?;
    writing
        .sql("INSERT INTO leases (holder, node, fence) VALUES (?1, ?2, ?3)")?
        .execute(params![holder, node, fence])?;
    delegates_changed(writing)?;
    Ok(Lease { holder, fence: count(fence) })
}

/// Says that delegates, their connections or their tokens changed.
pub(super) fn delegates_changed(writing: &mut Writing<'_>) -> Result<()> {
    counted(writing, "delegates")?;
    writing.hint(Hint::Delegates);
    Ok(())
}

/// The next number of a counter.
fn counted(writing: &Writing<'_>, name: &str) -> Result<i64> {
    Ok(writing
        .sql(
            "INSERT INTO counters (name, value) VALUES (?1, 1) \
             ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
        )?
        .query_row([name], |row| row.get(0))?)
}

/// Puts the tasks of a fenced lease back; whoever takes them must look before it acts. What lives on the delegate that had it waits for it.
fn requeue(writing: &mut Writing<'_>, fence: i64) -> Result<()> {
    let now = writing.now();
    let requeued = writing
        .sql(
            "UPDATE tasks SET state = 0, held_by = holder, holder = NULL, fence = NULL, \
             deliveries = deliveries + 1, queued_at = ?2, \
             reserved_until = CASE WHEN on_delegate = 1 THEN ?3 END WHERE fence = ?1 AND state = 1",
        )?
        .execute(params![fence, now, now.saturating_add(DELEGATE_DEAD_MS)])?;
    if requeued > 0 {
        writing.hint(Hint::Tasks);
    }
    Ok(())
}

/// Fails with [`StoreError::Fenced`] when somebody took the lease over.
pub(super) fn must_hold(writing: &Writing<'_>, lease: &Lease) -> Result<()> {
    let held = writing
        .sql("SELECT 1 FROM leases WHERE holder = ?1 AND fence = ?2")?
        .exists(params![lease.holder, int(lease.fence)])?;
    if held { Ok(()) } else { Err(fenced(lease)) }
}

fn fenced(lease: &Lease) -> StoreError {
    StoreError::Fenced { what: format!("the lease of {}", lease.holder), fence: lease.fence }
}
