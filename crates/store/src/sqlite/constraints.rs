//! Resource constraints (`behaviour.md` 8.2): permits are taken, queued for and freed with the events that say so. Each unit of a constraint
//! has the whole capacity and a queue of its own.

use manifold_model::ExecutionId;
use manifold_model::constraint::{
    ConstraintRecord, ConstraintStrategy, HoldingScope, PermitHolder, PermitRefusal, PermitRequest,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rows::Known;
use super::writer::Writing;
use super::{count, inbox, int, locks, misuse, rows};
use crate::{
    InboxItem, PERMIT_HOLDERS_SHOWN, PERMIT_QUEUE_LIMIT, Page, PermitAnswer, PermitChange, PermitPlace,
    PermitRow, Result, StoreError,
};

const COLUMNS: &str = "id, name, capacity, strategy, created_at";

fn record(row: &Row<'_>) -> rusqlite::Result<ConstraintRecord> {
    let strategy: String = row.get(3)?;
    Ok(ConstraintRecord {
        id: row.get::<_, String>(0)?.into(),
        name: row.get(1)?,
        capacity: row.get(2)?,
        strategy: ConstraintStrategy::parse(&strategy).unwrap_or_default(),
        created_at: row.get(4)?,
    })
}

// ---------------------------------------------------------------- the account's constraints

pub(super) fn all(db: &Connection) -> Result<Vec<ConstraintRecord>> {
    Ok(db
        .prepare_cached(&format!("SELECT {COLUMNS} FROM constraints ORDER BY name"))?
        .query_map([], record)?
        .collect::<rusqlite::Result<_>>()?)
}

fn one(db: &Connection, id: &str) -> Result<Option<ConstraintRecord>> {
    Ok(db
        .prepare_cached(&format!("SELECT {COLUMNS} FROM constraints WHERE id = ?1"))?
        .query_row([id], record)
        .optional()?)
}

fn known(db: &Connection, id: &str) -> Result<ConstraintRecord> {
    one(db, id)?.ok_or_else(|| StoreError::Missing(format!("resource constraint {id}")))
}

fn refuse_taken(writing: &Writing<'_>, record: &ConstraintRecord) -> Result<()> {
    let taken = writing
        .sql("SELECT 1 FROM constraints WHERE name = ?1 AND id <> ?2")?
        .exists([record.name.as_str(), record.id.as_str()])?;
    if taken { Err(StoreError::Exists(format!("resource constraint {}", record.name))) } else { Ok(()) }
}

pub(super) fn create(writing: &Writing<'_>, record: &ConstraintRecord) -> Result<()> {
    refuse_taken(writing, record)?;
    if one(writing.db, record.id.as_str())?.is_some() {
        return Err(StoreError::Exists(format!("resource constraint {}", record.id)));
    }
    writing
        .sql(
            "INSERT INTO constraints (id, name, capacity, strategy, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            record.id.as_str(),
            record.name,
            record.capacity,
            record.strategy.name(),
            record.created_at
        ])?;
    Ok(())
}

/// Writes name, capacity and strategy; whoever fits now gets its permits.
pub(super) fn update(writing: &mut Writing<'_>, record: &ConstraintRecord) -> Result<()> {
    known(writing.db, record.id.as_str())?;
    refuse_taken(writing, record)?;
    let too_large: Option<i64> = writing
        .sql(
            "SELECT execution FROM permits WHERE constraint_id = ?1 AND granted = 0 AND permits > ?2 LIMIT 1",
        )?
        .query_row(params![record.id.as_str(), record.capacity], |row| row.get(0))
        .optional()?;
    if let Some(execution) = too_large {
        let what = format!("{} permits of resource constraint {}", record.capacity, record.name);
        let by = format!("{}, which waits for more", rows::id_of(writing.db, execution)?);
        return Err(StoreError::Used { what, by });
    }
    writing
        .sql("UPDATE constraints SET name = ?2, capacity = ?3, strategy = ?4 WHERE id = ?1")?
        .execute(params![record.id.as_str(), record.name, record.capacity, record.strategy.name()])?;
    let units: Vec<String> = writing
        .sql("SELECT DISTINCT unit FROM permits WHERE constraint_id = ?1 AND granted = 0")?
        .query_map([record.id.as_str()], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for unit in units {
        admit(writing, &Queue { constraint: record.id.to_string(), unit })?;
    }
    Ok(())
}

pub(super) fn delete(writing: &Writing<'_>, id: &str) -> Result<()> {
    let record = known(writing.db, id)?;
    let user: Option<i64> = writing
        .sql("SELECT execution FROM permits WHERE constraint_id = ?1 LIMIT 1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    if let Some(execution) = user {
        let by = rows::id_of(writing.db, execution)?.to_string();
        return Err(StoreError::Used { what: format!("resource constraint {}", record.name), by });
    }
    writing.sql("DELETE FROM constraints WHERE id = ?1")?.execute([id])?;
    Ok(())
}

// ---------------------------------------------------------------- permits

/// Where requests stand in line.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Queue {
    constraint: String,
    unit: String,
}

impl Queue {
    fn of(request: &PermitRequest) -> Self {
        Self { constraint: request.constraint.to_string(), unit: request.unit.clone() }
    }

    /// Permits held.
    fn held(&self, db: &Connection) -> Result<u64> {
        Ok(db
            .prepare_cached(
                "SELECT coalesce(sum(permits), 0) FROM permits \
                 WHERE constraint_id = ?1 AND unit = ?2 AND granted = 1",
            )?
            .query_row([&self.constraint, &self.unit], |row| row.get(0).map(count))?)
    }

    /// Requests that wait.
    fn waiting(&self, db: &Connection) -> Result<u64> {
        Ok(db
            .prepare_cached(
                "SELECT count(*) FROM permits WHERE constraint_id = ?1 AND unit = ?2 AND granted = 0",
            )?
            .query_row([&self.constraint, &self.unit], |row| row.get(0).map(count))?)
    }
}

/// Carries out the changes of an append in their order; answers to requests by step and attempt.
pub(super) fn change(
    writing: &mut Writing<'_>,
    known: &Known,
    changes: &[PermitChange],
) -> Result<Vec<(u32, u32, PermitAnswer)>> {
    let mut answers = Vec::new();
    for change in changes {
        match change {
            PermitChange::Ask(request) => {
                answers.push((request.step, request.attempt, ask(writing, known, request)?));
            }
            PermitChange::GiveBack { step } => give_back(writing, known.number, *step)?,
            PermitChange::Leave => leave(writing, known.number)?,
        }
    }
    Ok(answers)
}

/// Grants or queues a request. Asking again for the same attempt tells how it stands.
fn ask(writing: &mut Writing<'_>, known: &Known, request: &PermitRequest) -> Result<PermitAnswer> {
    if request.permits == 0 {
        return Err(misuse("take permits", format!("step {} asked for none", request.step)));
    }
    let standing: Option<(u32, bool)> = writing
        .sql("SELECT attempt, granted FROM permits WHERE execution = ?1 AND step = ?2")?
        .query_row(params![known.number, request.step], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match standing {
        Some((attempt, granted)) if attempt == request.attempt => {
            return Ok(if granted { PermitAnswer::Granted } else { PermitAnswer::Queued });
        }
        Some(_) => give_back(writing, known.number, request.step)?,
        None => {}
    }
    let Some(constraint) = one(writing.db, request.constraint.as_str())? else {
        return Ok(PermitAnswer::Refused(PermitRefusal::Gone {}));
    };
    let capacity = constraint.capacity;
    if request.permits > capacity {
        return Ok(PermitAnswer::Refused(PermitRefusal::OverCapacity { capacity }));
    }
    let queue = Queue::of(request);
    let waiting = queue.waiting(writing.db)?;
    let fits = queue.held(writing.db)? + u64::from(request.permits) <= u64::from(capacity);
    let granted = fits && (constraint.strategy == ConstraintStrategy::Asap || waiting == 0);
    if !granted && waiting >= u64::from(PERMIT_QUEUE_LIMIT) {
        return Ok(PermitAnswer::Refused(PermitRefusal::QueueFull { limit: PERMIT_QUEUE_LIMIT }));
    }
    insert(writing, known, request, granted)?;
    Ok(if granted { PermitAnswer::Granted } else { PermitAnswer::Queued })
}

fn insert(writing: &Writing<'_>, known: &Known, request: &PermitRequest, granted: bool) -> Result<()> {
    let owner = match (&known.parent, request.scope) {
        (Some(parent), HoldingScope::Pipeline) => rows::number(writing, &parent.as_str().into())?,
        _ => known.number,
    };
    writing
        .sql(
            "INSERT INTO permits (execution, step, attempt, step_name, constraint_id, unit, permits, scope, owner, \
             ticket, granted, since) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            known.number,
            request.step,
            request.attempt,
            request.step_name,
            request.constraint.as_str(),
            request.unit,
            request.permits,
            request.scope.name(),
            owner,
            locks::next_ticket(writing)?,
            granted,
            writing.now(),
        ])?;
    Ok(())
}

/// Frees what a step holds, or withdraws its request.
fn give_back(writing: &mut Writing<'_>, execution: i64, step: u32) -> Result<()> {
    freed(
        writing,
        "DELETE FROM permits WHERE execution = ?1 AND step = ?2 RETURNING constraint_id, unit",
        params![execution, step],
    )
}

/// An execution has ended: its requests and what it held go, but for what is its parent's, and what its legs held for it.
fn leave(writing: &mut Writing<'_>, execution: i64) -> Result<()> {
    freed(
        writing,
        "DELETE FROM permits WHERE owner = ?1 OR (execution = ?1 AND granted = 0) RETURNING constraint_id, unit",
        params![execution],
    )
}

/// Deletes rows, and lets those in who fit now.
fn freed(writing: &mut Writing<'_>, sql: &str, of: &[&dyn rusqlite::ToSql]) -> Result<()> {
    let mut queues: Vec<Queue> = writing
        .sql(sql)?
        .query_map(of, |row| Ok(Queue { constraint: row.get(0)?, unit: row.get(1)? }))?
        .collect::<rusqlite::Result<_>>()?;
    queues.sort();
    queues.dedup();
    for queue in &queues {
        admit(writing, queue)?;
    }
    Ok(())
}

/// Grants waiting requests as long as they fit.
fn admit(writing: &mut Writing<'_>, queue: &Queue) -> Result<()> {
    let Some(constraint) = one(writing.db, &queue.constraint)? else { return Ok(()) };
    let mut held = queue.held(writing.db)?;
    loop {
        let free = u64::from(constraint.capacity).saturating_sub(held);
        // Who is first in the queue; with ASAP only among those that fit.
        let most = match constraint.strategy {
            ConstraintStrategy::Fifo => i64::MAX,
            ConstraintStrategy::Asap => int(free),
        };
        let first: Option<(i64, u32, u32, u32)> = writing
            .sql(
                "SELECT execution, step, attempt, permits FROM permits WHERE constraint_id = ?1 AND unit = ?2 \
                 AND granted = 0 AND permits <= ?3 ORDER BY ticket LIMIT 1",
            )?
            .query_row(params![queue.constraint, queue.unit, most], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .optional()?;
        let Some((execution, step, attempt, permits)) =
            first.filter(|(.., permits)| u64::from(*permits) <= free)
        else {
            return Ok(());
        };
        writing
            .sql("UPDATE permits SET granted = 1, since = ?3 WHERE execution = ?1 AND step = ?2")?
            .execute(params![execution, step, writing.now()])?;
        held += u64::from(permits);
        let id = rows::id_of(writing.db, execution)?;
        inbox::put(writing, execution, id.as_str(), &InboxItem::PermitsGranted { step, attempt })?;
    }
}

// ---------------------------------------------------------------- looking

/// Holders first, then the queue, unit by unit.
pub(super) fn list(db: &Connection, constraint: &str, offset: u64, limit: u32) -> Result<Page<PermitRow>> {
    let total: i64 = db
        .prepare_cached("SELECT count(*) FROM permits WHERE constraint_id = ?1")?
        .query_row([constraint], |row| row.get(0))?;
    let items = db
        .prepare_cached(
            "SELECT e.id, o.id, p.step, p.step_name, p.unit, p.permits, p.scope, p.granted, p.since FROM permits p \
             JOIN executions e ON e.number = p.execution JOIN executions o ON o.number = p.owner \
             WHERE p.constraint_id = ?1 ORDER BY p.unit, p.granted DESC, p.ticket LIMIT ?2 OFFSET ?3",
        )?
        .query_map(params![constraint, limit, int(offset)], |row| {
            let scope: String = row.get(6)?;
            Ok(PermitRow {
                execution: row.get::<_, String>(0)?.into(),
                until_end_of: row.get::<_, String>(1)?.into(),
                step: row.get(2)?,
                step_name: row.get(3)?,
                unit: row.get(4)?,
                permits: row.get(5)?,
                scope: HoldingScope::parse(&scope).unwrap_or_default(),
                granted: row.get(7)?,
                since: row.get(8)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Page { items, total: count(total) })
}

/// How a step's request stands.
pub(super) fn place(db: &Connection, execution: &ExecutionId, step: u32) -> Result<Option<PermitPlace>> {
    let found: Option<(Queue, i64, bool)> = db
        .prepare_cached(
            "SELECT constraint_id, unit, ticket, granted FROM permits \
             WHERE execution = (SELECT number FROM executions WHERE id = ?1) AND step = ?2",
        )?
        .query_row(params![execution.as_str(), step], |row| {
            Ok((Queue { constraint: row.get(0)?, unit: row.get(1)? }, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((queue, ticket, granted)) = found else { return Ok(None) };
    let ahead: u32 = db
        .prepare_cached(
            "SELECT count(*) FROM permits WHERE constraint_id = ?1 AND unit = ?2 AND granted = 0 AND ticket < ?3",
        )?
        .query_row(params![queue.constraint, queue.unit, ticket], |row| row.get(0))?;
    let holders = db
        .prepare_cached(
            "SELECT e.id, p.permits FROM permits p JOIN executions e ON e.number = p.execution \
             WHERE p.constraint_id = ?1 AND p.unit = ?2 AND p.granted = 1 ORDER BY p.ticket LIMIT ?3",
        )?
        .query_map(params![queue.constraint, queue.unit, PERMIT_HOLDERS_SHOWN], |row| {
            Ok(PermitHolder { execution: row.get::<_, String>(0)?.into(), permits: row.get(1)? })
        })?
        .collect::<rusqlite::Result<_>>()?;
    let capacity = one(db, &queue.constraint)?.map_or(0, |constraint| constraint.capacity);
    let held = u32::try_from(queue.held(db)?).unwrap_or(u32::MAX);
    Ok(Some(PermitPlace {
        capacity,
        free: capacity.saturating_sub(held),
        place: if granted { 0 } else { ahead + 1 },
        holders,
    }))
}
