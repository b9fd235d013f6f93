//! Infrastructure locks: first come, first served, all keys at once (`behaviour.md` 8.1, D25).

use manifold_model::ExecutionId;
use manifold_model::target::LockKey;
use rusqlite::{Connection, OptionalExtension, params};

use super::writer::Writing;
use super::{inbox, rows};
use crate::{InboxItem, LockAnswer, Result};

/// Takes all keys at once, or queues for all, or, when a queue is full, does nothing. Asking again tells how it stands.
pub(super) fn take(
    writing: &Writing<'_>,
    execution: i64,
    id: &ExecutionId,
    keys: &[LockKey],
    queue_limit: u32,
) -> Result<LockAnswer> {
    if let Some(answer) = standing(writing.db, id.as_str())? {
        return Ok(answer);
    }
    let mut free = true;
    let mut room = true;
    for key in keys {
        let (there, waiting): (i64, i64) = writing
            .sql("SELECT count(*), count(*) FILTER (WHERE granted = 0) FROM locks WHERE key = ?1")?
            .query_row([&key.key], |row| Ok((row.get(0)?, row.get(1)?)))?;
        free &= there == 0;
        room &= waiting < i64::from(queue_limit);
    }
    if !free && !room {
        return Ok(LockAnswer::Full);
    }
    let ticket = next_ticket(writing)?;
    for key in keys {
        writing
            .sql("INSERT OR IGNORE INTO locks (execution, key, ticket, granted) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![execution, key.key, ticket, free])?;
    }
    // Without keys there is nothing to wait for.
    Ok(standing(writing.db, id.as_str())?.unwrap_or(LockAnswer::Granted))
}

pub(super) fn next_ticket(writing: &Writing<'_>) -> Result<i64> {
    Ok(writing
        .sql(
            "INSERT INTO counters (name, value) VALUES ('ticket', 1) \
             ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
        )?
        .query_row([], |row| row.get(0))?)
}

/// Gives all keys, or all places in the queue, back, and hands the keys to whoever is first on all of theirs.
pub(super) fn give_back(writing: &mut Writing<'_>, execution: i64) -> Result<()> {
    let keys: Vec<String> = writing
        .sql("DELETE FROM locks WHERE execution = ?1 RETURNING key")?
        .query_map([execution], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for key in &keys {
        let first: Option<(i64, bool)> = writing
            .sql("SELECT execution, granted FROM locks WHERE key = ?1 ORDER BY ticket LIMIT 1")?
            .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some((next, false)) = first
            && first_everywhere(writing, next)?
        {
            writing.sql("UPDATE locks SET granted = 1 WHERE execution = ?1")?.execute([next])?;
            let id = rows::id_of(writing.db, next)?;
            inbox::put(writing, next, id.as_str(), &InboxItem::LockGranted {})?;
        }
    }
    Ok(())
}

fn first_everywhere(writing: &Writing<'_>, execution: i64) -> Result<bool> {
    let behind = writing
        .sql(
            "SELECT 1 FROM locks mine JOIN locks other ON other.key = mine.key AND other.ticket < mine.ticket \
             WHERE mine.execution = ?1 LIMIT 1",
        )?
        .exists([execution])?;
    Ok(!behind)
}

/// How an execution stands: `None` when it neither holds nor waits.
fn standing(db: &Connection, id: &str) -> Result<Option<LockAnswer>> {
    Ok(place(db, id)?.map(|(holder, place)| match place {
        0 => LockAnswer::Granted,
        place => LockAnswer::Queued { holder, place },
    }))
}

/// A holder of one of its keys, and its place in the longest of their queues from 1; 0 when it holds them itself.
pub(super) fn place(db: &Connection, id: &str) -> Result<Option<(Option<ExecutionId>, u32)>> {
    let granted: Option<bool> = db
        .prepare_cached(
            "SELECT granted FROM locks WHERE execution = (SELECT number FROM executions WHERE id = ?1) LIMIT 1",
        )?
        .query_row([id], |row| row.get(0))
        .optional()?;
    match granted {
        None => return Ok(None),
        Some(true) => return Ok(Some((Some(id.into()), 0))),
        Some(false) => {}
    }
    let ahead: u32 = db
        .prepare_cached(
            "SELECT coalesce(max(ahead), 0) FROM (SELECT count(other.key) AS ahead FROM locks mine LEFT JOIN locks \
             other ON other.key = mine.key AND other.ticket < mine.ticket AND other.granted = 0 \
             WHERE mine.execution = (SELECT number FROM executions WHERE id = ?1) GROUP BY mine.key)",
        )?
        .query_row([id], |row| row.get(0))?;
    let holder: Option<String> = db
        .prepare_cached(
            "SELECT e.id FROM locks mine JOIN locks other ON other.key = mine.key AND other.granted = 1 \
             JOIN executions e ON e.number = other.execution \
             WHERE mine.execution = (SELECT number FROM executions WHERE id = ?1) ORDER BY other.ticket LIMIT 1",
        )?
        .query_row([id], |row| row.get(0))
        .optional()?;
    Ok(Some((holder.map(ExecutionId::from), ahead + 1)))
}
