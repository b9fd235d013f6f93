//! Creating executions, and reading single ones.

use std::sync::Arc;

use manifold_model::event::Event;
use manifold_model::execution::ExecutionRow;
use manifold_model::request::ExecutionType;
use manifold_model::{ExecutionId, PlanDigest};
use rusqlite::{Connection, OptionalExtension, params};

use super::writer::Writing;
use super::{count, int, journal, misuse, rows};
use crate::{Hint, IDEMPOTENCY_WINDOW_MS, NewExecution, Result, StoreError};

pub(super) fn create(writing: &mut Writing<'_>, new: &NewExecution) -> Result<ExecutionId> {
    if let Some(earlier) = earlier(writing, new)? {
        return Ok(earlier);
    }
    let id = &new.row.id;
    if rows::find(writing, id)?.is_some() {
        return Err(StoreError::Exists(format!("execution {id}")));
    }
    insert(writing, new)?;
    if let Some(key) = &new.idempotency {
        writing
            .sql("INSERT OR REPLACE INTO idempotency (key, execution) VALUES (?1, ?2)")?
            .execute([key.as_str(), id.as_str()])?;
    }
    Ok(id.clone())
}

pub(super) fn resume(
    writing: &mut Writing<'_>,
    old: &ExecutionId,
    new: &NewExecution,
) -> Result<ExecutionId> {
    if let Some(earlier) = earlier(writing, new)? {
        return Ok(earlier);
    }
    rows::known(writing, old)?;
    let marked = writing
        .sql("UPDATE executions SET resumed_by = ?2 WHERE id = ?1 AND resumed_by IS NULL")?
        .execute([old.as_str(), new.row.id.as_str()])?;
    if marked == 0 {
        return Err(StoreError::Exists(format!("a newer run of execution {old}")));
    }
    create(writing, new)
}

fn earlier(writing: &Writing<'_>, new: &NewExecution) -> Result<Option<ExecutionId>> {
    let Some(key) = &new.idempotency else { return Ok(None) };
    let earlier: Option<String> = writing
        .sql(
            "SELECT execution FROM idempotency JOIN executions ON executions.id = execution \
             WHERE key = ?1 AND created_at > ?2",
        )?
        .query_row((key, new.row.created_at.saturating_sub(IDEMPOTENCY_WINDOW_MS)), |row| row.get(0))
        .optional()?;
    Ok(earlier.map(ExecutionId::from))
}

/// Inserts plan, row and first events; returns the number.
pub(super) fn insert(writing: &mut Writing<'_>, new: &NewExecution) -> Result<i64> {
    let row = &new.row;
    if row.state.seq != last_seq(&new.events) {
        return Err(misuse(
            "create an execution",
            format!("its row says event {}, its events end at {}", row.state.seq, last_seq(&new.events)),
        ));
    }
    keep_plan(writing, &row.plan, new.plan.as_deref())?;
    let number = rows::insert(writing, row)?;
    if row.parent.is_none() {
        writing
            .sql("INSERT INTO plan_uses (plan, execution) VALUES (?1, ?2)")?
            .execute(params![&*row.plan.0, number])?;
    }
    journal::insert_events(writing, number, 0, &new.events)?;
    if row.kind == ExecutionType::Workflow {
        writing
            .sql(
                "INSERT INTO counters (name, value) VALUES ('runs/' || ?1, 1) \
                 ON CONFLICT (name) DO UPDATE SET value = value + 1",
            )?
            .execute([row.entity.id.as_str()])?;
    }
    writing.hint(Hint::Execution(row.id.clone()));
    // Legs are told by whoever creates them.
    if row.parent.is_none() {
        writing.hint(Hint::Inbox(row.id.clone()));
    }
    writing.hint(Hint::Rows(row.parent.clone()));
    Ok(number)
}

fn last_seq(events: &[Event]) -> u64 {
    events.last().map_or(0, |event| event.seq)
}

fn keep_plan(writing: &Writing<'_>, digest: &PlanDigest, body: Option<&[u8]>) -> Result<()> {
    let there: Option<i64> = writing
        .sql("SELECT 1 FROM plans WHERE digest = ?1")?
        .query_row([&*digest.0], |row| row.get(0))
        .optional()?;
    match (there, body) {
        (Some(_), _) => Ok(()),
        (None, Some(body)) => {
            writing
                .sql("INSERT INTO plans (digest, body) VALUES (?1, ?2)")?
                .execute(params![&*digest.0, body])?;
            Ok(())
        }
        (None, None) => Err(StoreError::Missing(format!("plan {digest}"))),
    }
}

pub(super) fn plan(db: &Connection, digest: &str) -> Result<Option<Arc<[u8]>>> {
    let body: Option<Vec<u8>> = db
        .prepare_cached("SELECT body FROM plans WHERE digest = ?1")?
        .query_row([digest], |row| row.get(0))
        .optional()?;
    Ok(body.map(Arc::from))
}

pub(super) fn one(db: &Connection, id: &str) -> Result<Option<ExecutionRow>> {
    db.prepare_cached(&format!(
        "SELECT {} FROM executions e JOIN execution_rows r ON r.execution = e.number WHERE e.id = ?1",
        rows::COLUMNS
    ))?
    .query_and_then([id], rows::execution)?
    .next()
    .transpose()
}

/// Parents before legs, so that a restart first knows the wholes.
pub(super) fn unfinished(db: &Connection) -> Result<Vec<ExecutionId>> {
    ids(db, "SELECT id FROM executions WHERE final = 0 ORDER BY parent IS NOT NULL, number", u32::MAX)
}

pub(super) fn with_inbox(db: &Connection, limit: u32) -> Result<Vec<ExecutionId>> {
    ids(
        db,
        "SELECT id FROM executions WHERE final = 0 AND number IN (SELECT execution FROM inbox) ORDER BY number",
        limit,
    )
}

fn ids(db: &Connection, sql: &str, limit: u32) -> Result<Vec<ExecutionId>> {
    Ok(db
        .prepare_cached(&format!("{sql} LIMIT ?1"))?
        .query_map([limit], |row| row.get::<_, String>(0))?
        .map(|id| id.map(ExecutionId::from))
        .collect::<rusqlite::Result<_>>()?)
}

pub(super) fn next_release_no(db: &Connection, workflow: &str) -> Result<u64> {
    let runs: Option<i64> = db
        .prepare_cached("SELECT value FROM counters WHERE name = 'runs/' || ?1")?
        .query_row([workflow], |row| row.get(0))
        .optional()?;
    Ok(count(runs.unwrap_or_default()) + 1)
}

/// Events after a sequence number. Journal rows hold an append each, so the first may begin earlier and the last end later.
pub(super) fn events(db: &Connection, id: &str, after: u64, limit: u32) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    let mut statement = db.prepare_cached(
        "SELECT j.events FROM journal j WHERE j.execution = (SELECT number FROM executions WHERE id = ?1) \
         AND j.last_seq > ?2 ORDER BY j.last_seq",
    )?;
    let mut appends = statement.query(params![id, int(after)])?;
    while let Some(append) = appends.next()? {
        let batch: Vec<Event> =
            super::from_json(append.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?;
        for event in batch {
            if events.len() >= limit as usize {
                return Ok(events);
            }
            if event.seq > after {
                events.push(event);
            }
        }
    }
    Ok(events)
}
