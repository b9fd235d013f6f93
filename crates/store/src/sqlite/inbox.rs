//! What came for an execution from outside: inbox items, and the completions of its legs.

use manifold_model::ExecutionId;
use manifold_model::event::LegEnd;
use rusqlite::{Connection, params};

use super::writer::Writing;
use super::{count, from_json, int, rows, to_json};
use crate::{InboxItem, Inboxed, Result};

/// Puts an item for the execution with this number; one that has ended takes nothing any more, and nothing is left lying for it.
pub(super) fn put(writing: &mut Writing<'_>, execution: i64, id: &str, item: &InboxItem) -> Result<()> {
    if matches!(item, InboxItem::Completions {}) {
        return put_completes(writing, execution, id);
    }
    let put = writing
        .sql(
            "INSERT INTO inbox (execution, completes, item) SELECT ?1, 0, ?2 \
             WHERE EXISTS (SELECT 1 FROM executions WHERE number = ?1 AND final = 0)",
        )?
        .execute(params![execution, to_json(item)?])?;
    if put > 0 {
        writing.hint_inbox(id);
    }
    Ok(())
}

/// Puts an item by id.
pub(super) fn send(writing: &mut Writing<'_>, to: &ExecutionId, item: &InboxItem) -> Result<()> {
    let number = rows::number(writing, to)?;
    put(writing, number, to.as_str(), item)
}

/// One item says that completions are there, however many: 10,000 legs make no 10,000 items.
fn put_completes(writing: &mut Writing<'_>, parent: i64, id: &str) -> Result<()> {
    writing
        .sql(
            "INSERT INTO inbox (execution, completes, item) SELECT ?1, 1, ?2 WHERE NOT EXISTS \
             (SELECT 1 FROM inbox WHERE execution = ?1 AND completes = 1)",
        )?
        .execute(params![parent, to_json(&InboxItem::Completions {})?])?;
    writing.hint_inbox(id);
    Ok(())
}

pub(super) fn list(db: &Connection, id: &str, limit: u32) -> Result<Vec<Inboxed>> {
    db.prepare_cached(
        "SELECT number, item FROM inbox WHERE execution = (SELECT number FROM executions WHERE id = ?1) \
         ORDER BY number LIMIT ?2",
    )?
    .query_and_then(params![id, limit], |row| {
        Ok(Inboxed { number: count(row.get(0)?), item: from_json(&row.get::<_, Vec<u8>>(1)?)? })
    })?
    .collect()
}

/// Consumes items; one that is not there was consumed before.
pub(super) fn consume(writing: &Writing<'_>, execution: i64, numbers: &[u64]) -> Result<()> {
    for number in numbers {
        writing
            .sql("DELETE FROM inbox WHERE number = ?1 AND execution = ?2")?
            .execute([int(*number), execution])?;
    }
    Ok(())
}

/// Drops everything that an ended execution can no longer take.
pub(super) fn empty(writing: &Writing<'_>, execution: i64) -> Result<()> {
    writing.sql("DELETE FROM inbox WHERE execution = ?1")?.execute([execution])?;
    writing.sql("DELETE FROM timers WHERE execution = ?1")?.execute([execution])?;
    Ok(())
}

/// A leg's end for its parent; written once.
pub(super) fn complete(writing: &mut Writing<'_>, parent: &ExecutionId, end: &LegEnd) -> Result<()> {
    let number = rows::number(writing, parent)?;
    let new = writing
        .sql("INSERT OR IGNORE INTO completions (parent, leg, body) VALUES (?1, ?2, ?3)")?
        .execute(params![number, end.execution.as_str(), to_json(end)?])?;
    if new > 0 {
        put_completes(writing, number, parent.as_str())?;
    }
    Ok(())
}

pub(super) fn completions(
    db: &Connection,
    parent: &str,
    after: u64,
    limit: u32,
) -> Result<Vec<(u64, LegEnd)>> {
    db.prepare_cached(
        "SELECT number, body FROM completions WHERE parent = (SELECT number FROM executions WHERE id = ?1) \
         AND number > ?2 ORDER BY number LIMIT ?3",
    )?
    .query_and_then(params![parent, int(after), limit], |row| {
        Ok((count(row.get(0)?), from_json(&row.get::<_, Vec<u8>>(1)?)?))
    })?
    .collect()
}

/// Drops completions that events hold now; what came since keeps an inbox item, so that no leg's end is forgotten.
pub(super) fn consume_completions(
    writing: &mut Writing<'_>,
    parent: i64,
    id: &str,
    up_to: u64,
) -> Result<()> {
    writing
        .sql("DELETE FROM completions WHERE parent = ?1 AND number <= ?2")?
        .execute([parent, int(up_to)])?;
    keep_completes(writing, parent, id)
}

/// Puts the item that completions are there, if they are.
pub(super) fn keep_completes(writing: &mut Writing<'_>, parent: i64, id: &str) -> Result<()> {
    let more = writing.sql("SELECT 1 FROM completions WHERE parent = ?1 LIMIT 1")?.exists([parent])?;
    if more { put_completes(writing, parent, id) } else { Ok(()) }
}
