//! Resource constraints (`behaviour.md` 8.2): permits are taken, queued for and freed with the events that say so. Each unit of a constraint
//! has the whole capacity and a queue of its own.
//!
//! Whoever changes a queue holds the rows of its constraint, together with others, and then the guard of the queue; whoever changes a
//! constraint holds its row alone. Both are taken in one order.

use std::collections::BTreeSet;

use manifold_model::ExecutionId;
use manifold_model::constraint::{
    ConstraintRecord, ConstraintStrategy, HoldingScope, PermitHolder, PermitRefusal, PermitRequest,
};
use tokio_postgres::Row;

use super::db::{Db, Params};
use super::guards::Guard;
use super::rows::Known;
use super::writing::Writing;
use super::{count, inbox, int, locks, misuse, rows, small};
use crate::{
    InboxItem, PERMIT_HOLDERS_SHOWN, PERMIT_QUEUE_LIMIT, Page, PermitAnswer, PermitChange, PermitPlace,
    PermitRow, Result, StoreError,
};

const COLUMNS: &str = "id, name, capacity, strategy, created_at";

fn record(row: &Row) -> ConstraintRecord {
    ConstraintRecord {
        id: row.get::<_, String>(0).into(),
        name: row.get(1),
        capacity: small(row.get(2)),
        strategy: ConstraintStrategy::parse(row.get(3)).unwrap_or_default(),
        created_at: row.get(4),
    }
}

// ---------------------------------------------------------------- the account's constraints

pub(super) async fn all(db: &Db<'_>) -> Result<Vec<ConstraintRecord>> {
    let found = db.rows(&format!("SELECT {COLUMNS} FROM constraints ORDER BY name"), &[]).await?;
    Ok(found.iter().map(record).collect())
}

async fn one(db: &Db<'_>, id: &str) -> Result<Option<ConstraintRecord>> {
    let found = db.maybe(&format!("SELECT {COLUMNS} FROM constraints WHERE id = $1"), &[&id]).await?;
    Ok(found.map(|row| record(&row)))
}

/// A constraint that nobody else changes, asks or frees until the transaction ends.
async fn known(db: &Db<'_>, id: &str) -> Result<ConstraintRecord> {
    let sql = format!("SELECT {COLUMNS} FROM constraints WHERE id = $1 FOR UPDATE");
    let found = db.maybe(&sql, &[&id]).await?;
    found.map(|row| record(&row)).ok_or_else(|| StoreError::Missing(format!("resource constraint {id}")))
}

async fn refuse_taken(db: &Db<'_>, record: &ConstraintRecord) -> Result<()> {
    let taken = db
        .maybe("SELECT 1 FROM constraints WHERE name = $1 AND id <> $2", &[&record.name, &record.id.as_str()])
        .await?;
    match taken {
        Some(_) => Err(StoreError::Exists(format!("resource constraint {}", record.name))),
        None => Ok(()),
    }
}

pub(super) async fn create(writing: &mut Writing<'_>, record: &ConstraintRecord) -> Result<()> {
    writing.hold(&[Guard::Records]).await?;
    refuse_taken(&writing.db, record).await?;
    let added = writing
        .db
        .run(
            "INSERT INTO constraints (id, name, capacity, strategy, created_at) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (id) DO NOTHING",
            &[
                &record.id.as_str(),
                &record.name,
                &i64::from(record.capacity),
                &record.strategy.name(),
                &record.created_at,
            ],
        )
        .await?;
    match added {
        0 => Err(StoreError::Exists(format!("resource constraint {}", record.id))),
        _ => Ok(()),
    }
}

/// Writes name, capacity and strategy; whoever fits now gets its permits.
pub(super) async fn update(writing: &mut Writing<'_>, record: &ConstraintRecord) -> Result<()> {
    let id = record.id.as_str();
    writing.hold(&[Guard::Records]).await?;
    known(&writing.db, id).await?;
    refuse_taken(&writing.db, record).await?;
    refuse_waiting_for_more(&writing.db, record).await?;
    let capacity = i64::from(record.capacity);
    writing
        .db
        .run(
            "UPDATE constraints SET name = $2, capacity = $3, strategy = $4 WHERE id = $1",
            &[&id, &record.name, &capacity, &record.strategy.name()],
        )
        .await?;
    let waiting = writing
        .db
        .rows(
            "SELECT DISTINCT unit FROM permits WHERE constraint_id = $1 AND NOT granted ORDER BY unit",
            &[&id],
        )
        .await?;
    let queues: BTreeSet<Queue> =
        waiting.iter().map(|row| Queue { constraint: record.id.to_string(), unit: row.get(0) }).collect();
    hold(writing, &queues).await?;
    for queue in &queues {
        admit(writing, queue).await?;
    }
    Ok(())
}

async fn refuse_waiting_for_more(db: &Db<'_>, record: &ConstraintRecord) -> Result<()> {
    let too_large = db
        .maybe(
            "SELECT execution FROM permits WHERE constraint_id = $1 AND NOT granted AND permits > $2 \
             ORDER BY execution, step LIMIT 1",
            &[&record.id.as_str(), &i64::from(record.capacity)],
        )
        .await?;
    let Some(row) = too_large else { return Ok(()) };
    let what = format!("{} permits of resource constraint {}", record.capacity, record.name);
    let by = format!("{}, which waits for more", rows::id_of(db, row.get(0)).await?);
    Err(StoreError::Used { what, by })
}

pub(super) async fn delete(writing: &mut Writing<'_>, id: &str) -> Result<()> {
    let record = known(&writing.db, id).await?;
    let user = writing
        .db
        .maybe(
            "SELECT execution FROM permits WHERE constraint_id = $1 ORDER BY execution, step LIMIT 1",
            &[&id],
        )
        .await?;
    if let Some(row) = user {
        let by = rows::id_of(&writing.db, row.get(0)).await?.to_string();
        return Err(StoreError::Used { what: format!("resource constraint {}", record.name), by });
    }
    writing.db.run("DELETE FROM constraints WHERE id = $1", &[&id]).await?;
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

    fn read(row: &Row) -> Self {
        Self { constraint: row.get(0), unit: row.get(1) }
    }

    /// Permits held, and requests that wait.
    async fn held_and_waiting(&self, db: &Db<'_>) -> Result<(u64, u64)> {
        let sums = db
            .one(
                "SELECT coalesce(sum(permits) FILTER (WHERE granted), 0)::bigint, \
                 count(*) FILTER (WHERE NOT granted) FROM permits WHERE constraint_id = $1 AND unit = $2",
                &[&self.constraint, &self.unit],
            )
            .await?;
        Ok((count(sums.get(0)), count(sums.get(1))))
    }
}

/// Holds constraints and queues until the transaction ends.
async fn hold(writing: &Writing<'_>, queues: &BTreeSet<Queue>) -> Result<()> {
    let constraints: BTreeSet<&str> = queues.iter().map(|queue| queue.constraint.as_str()).collect();
    let constraints: Vec<&str> = constraints.into_iter().collect();
    if constraints.is_empty() {
        return Ok(());
    }
    let sql = "SELECT 1 FROM constraints WHERE id = ANY($1) ORDER BY id FOR SHARE";
    writing.db.rows(sql, &[&constraints]).await?;
    let guards: Vec<Guard<'_>> = queues
        .iter()
        .map(|queue| Guard::Permits { constraint: &queue.constraint, unit: &queue.unit })
        .collect();
    writing.hold(&guards).await
}

/// Holds all that the changes of an append will touch.
async fn hold_all(
    writing: &Writing<'_>,
    execution: i64,
    changes: &[PermitChange],
) -> Result<BTreeSet<Queue>> {
    let asked = changes.iter().filter_map(|change| match change {
        PermitChange::Ask(request) => Some(Queue::of(request)),
        PermitChange::GiveBack { .. } | PermitChange::Leave => None,
    });
    let mut queues: BTreeSet<Queue> = asked.collect();
    let mine = writing
        .db
        .rows(
            "SELECT DISTINCT constraint_id, unit FROM permits WHERE execution = $1 OR owner = $1",
            &[&execution],
        )
        .await?;
    queues.extend(mine.iter().map(Queue::read));
    hold(writing, &queues).await?;
    Ok(queues)
}

/// Carries out the changes of an append in their order; answers to requests by step and attempt.
pub(super) async fn change(
    writing: &mut Writing<'_>,
    known: &Known,
    changes: &[PermitChange],
) -> Result<Vec<(u32, u32, PermitAnswer)>> {
    let mut answers = Vec::new();
    if changes.is_empty() {
        return Ok(answers);
    }
    let held = hold_all(writing, known.number, changes).await?;
    for change in changes {
        match change {
            PermitChange::Ask(request) => {
                let answer = ask(writing, known, &held, request).await?;
                answers.push((request.step, request.attempt, answer));
            }
            PermitChange::GiveBack { step } => give_back(writing, &held, known.number, *step).await?,
            PermitChange::Leave => leave(writing, &held, known.number).await?,
        }
    }
    Ok(answers)
}

/// Grants or queues a request. Asking again for the same attempt tells how it stands.
async fn ask(
    writing: &mut Writing<'_>,
    known: &Known,
    held: &BTreeSet<Queue>,
    request: &PermitRequest,
) -> Result<PermitAnswer> {
    if request.permits == 0 {
        return Err(misuse("take permits", format!("step {} asked for none", request.step)));
    }
    let standing = writing
        .db
        .maybe(
            "SELECT attempt, granted FROM permits WHERE execution = $1 AND step = $2",
            &[&known.number, &i64::from(request.step)],
        )
        .await?;
    match standing {
        Some(row) if small(row.get(0)) == request.attempt => {
            return Ok(if row.get(1) { PermitAnswer::Granted } else { PermitAnswer::Queued });
        }
        Some(_) => give_back(writing, held, known.number, request.step).await?,
        None => {}
    }
    let Some(constraint) = one(&writing.db, request.constraint.as_str()).await? else {
        return Ok(PermitAnswer::Refused(PermitRefusal::Gone {}));
    };
    let capacity = constraint.capacity;
    if request.permits > capacity {
        return Ok(PermitAnswer::Refused(PermitRefusal::OverCapacity { capacity }));
    }
    let (taken, waiting) = Queue::of(request).held_and_waiting(&writing.db).await?;
    let fits = taken + u64::from(request.permits) <= u64::from(capacity);
    let granted = fits && (constraint.strategy == ConstraintStrategy::Asap || waiting == 0);
    if !granted && waiting >= u64::from(PERMIT_QUEUE_LIMIT) {
        return Ok(PermitAnswer::Refused(PermitRefusal::QueueFull { limit: PERMIT_QUEUE_LIMIT }));
    }
    insert(writing, known, request, granted).await?;
    Ok(if granted { PermitAnswer::Granted } else { PermitAnswer::Queued })
}

async fn insert(writing: &Writing<'_>, known: &Known, request: &PermitRequest, granted: bool) -> Result<()> {
    let owner = match (&known.parent, request.scope) {
        (Some(parent), HoldingScope::Pipeline) => rows::number(&writing.db, &parent.as_str().into()).await?,
        _ => known.number,
    };
    writing
        .db
        .run(
            "INSERT INTO permits (execution, step, attempt, step_name, constraint_id, unit, permits, scope, owner, \
             ticket, granted, since) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            &[
                &known.number,
                &i64::from(request.step),
                &i64::from(request.attempt),
                &request.step_name,
                &request.constraint.as_str(),
                &request.unit,
                &i64::from(request.permits),
                &request.scope.name(),
                &owner,
                &locks::next_ticket(&writing.db).await?,
                &granted,
                &writing.now(),
            ],
        )
        .await?;
    Ok(())
}

/// Frees what a step holds, or withdraws its request.
async fn give_back(
    writing: &mut Writing<'_>,
    held: &BTreeSet<Queue>,
    execution: i64,
    step: u32,
) -> Result<()> {
    freed(
        writing,
        held,
        "DELETE FROM permits WHERE execution = $1 AND step = $2 RETURNING constraint_id, unit",
        &[&execution, &i64::from(step)],
    )
    .await
}

/// An execution has ended: its requests and what it held go, but for what is its parent's, and what its legs held for it.
async fn leave(writing: &mut Writing<'_>, held: &BTreeSet<Queue>, execution: i64) -> Result<()> {
    freed(
        writing,
        held,
        "DELETE FROM permits WHERE owner = $1 OR (execution = $1 AND NOT granted) RETURNING constraint_id, unit",
        &[&execution],
    )
    .await
}

/// Deletes rows, and lets those in who fit now.
async fn freed(writing: &mut Writing<'_>, held: &BTreeSet<Queue>, sql: &str, of: Params<'_>) -> Result<()> {
    let gone = writing.db.rows(sql, of).await?;
    let queues: BTreeSet<Queue> = gone.iter().map(Queue::read).collect();
    // A leg may have taken some for its parent since.
    let more: BTreeSet<Queue> = queues.difference(held).cloned().collect();
    hold(writing, &more).await?;
    for queue in &queues {
        admit(writing, queue).await?;
    }
    Ok(())
}

/// Grants waiting requests as long as they fit.
async fn admit(writing: &mut Writing<'_>, queue: &Queue) -> Result<()> {
    let Some(constraint) = one(&writing.db, &queue.constraint).await? else { return Ok(()) };
    let (mut taken, waiting) = queue.held_and_waiting(&writing.db).await?;
    for _ in 0..waiting {
        let free = u64::from(constraint.capacity).saturating_sub(taken);
        // Who is first in the queue; with ASAP only among those that fit.
        let most = match constraint.strategy {
            ConstraintStrategy::Fifo => i64::MAX,
            ConstraintStrategy::Asap => int(free),
        };
        let first = writing
            .db
            .maybe(
                "SELECT p.execution, p.step, p.attempt, p.permits, e.id FROM permits p \
                 JOIN executions e ON e.number = p.execution WHERE p.constraint_id = $1 AND p.unit = $2 \
                 AND NOT p.granted AND p.permits <= $3 ORDER BY p.ticket LIMIT 1",
                &[&queue.constraint, &queue.unit, &most],
            )
            .await?;
        let Some(first) = first.filter(|row| count(row.get(3)) <= free) else { return Ok(()) };
        let (execution, step): (i64, i64) = (first.get(0), first.get(1));
        writing
            .db
            .run(
                "UPDATE permits SET granted = TRUE, since = $3 WHERE execution = $1 AND step = $2",
                &[&execution, &step, &writing.now()],
            )
            .await?;
        taken += count(first.get(3));
        let item = InboxItem::PermitsGranted { step: small(step), attempt: small(first.get(2)) };
        inbox::put(writing, execution, first.get(4), &item).await?;
    }
    Ok(())
}

// ---------------------------------------------------------------- looking

/// Holders first, then the queue, unit by unit.
pub(super) async fn list(db: &Db<'_>, constraint: &str, offset: u64, limit: u32) -> Result<Page<PermitRow>> {
    let total = db.one("SELECT count(*) FROM permits WHERE constraint_id = $1", &[&constraint]).await?;
    let found = db
        .rows(
            "SELECT e.id, o.id, p.step, p.step_name, p.unit, p.permits, p.scope, p.granted, p.since FROM permits p \
             JOIN executions e ON e.number = p.execution JOIN executions o ON o.number = p.owner \
             WHERE p.constraint_id = $1 ORDER BY p.unit, p.granted DESC, p.ticket LIMIT $2 OFFSET $3",
            &[&constraint, &i64::from(limit), &int(offset)],
        )
        .await?;
    let one = |row: &Row| PermitRow {
        execution: row.get::<_, String>(0).into(),
        until_end_of: row.get::<_, String>(1).into(),
        step: small(row.get(2)),
        step_name: row.get(3),
        unit: row.get(4),
        permits: small(row.get(5)),
        scope: HoldingScope::parse(row.get(6)).unwrap_or_default(),
        granted: row.get(7),
        since: row.get(8),
    };
    Ok(Page { items: found.iter().map(one).collect(), total: count(total.get(0)) })
}

/// How a step's request stands.
pub(super) async fn place(db: &Db<'_>, execution: &ExecutionId, step: u32) -> Result<Option<PermitPlace>> {
    let found = db
        .maybe(
            "SELECT constraint_id, unit, ticket, granted FROM permits \
             WHERE execution = (SELECT number FROM executions WHERE id = $1) AND step = $2",
            &[&execution.as_str(), &i64::from(step)],
        )
        .await?;
    let Some(found) = found else { return Ok(None) };
    let queue = Queue::read(&found);
    let ahead = db
        .one(
            "SELECT count(*) FROM permits WHERE constraint_id = $1 AND unit = $2 AND NOT granted AND ticket < $3",
            &[&queue.constraint, &queue.unit, &found.get::<_, i64>(2)],
        )
        .await?;
    let holders = db
        .rows(
            "SELECT e.id, p.permits FROM permits p JOIN executions e ON e.number = p.execution \
             WHERE p.constraint_id = $1 AND p.unit = $2 AND p.granted ORDER BY p.ticket LIMIT $3",
            &[&queue.constraint, &queue.unit, &i64::from(PERMIT_HOLDERS_SHOWN)],
        )
        .await?;
    let holder =
        |row: &Row| PermitHolder { execution: row.get::<_, String>(0).into(), permits: small(row.get(1)) };
    let capacity = one(db, &queue.constraint).await?.map_or(0, |constraint| constraint.capacity);
    let (taken, _) = queue.held_and_waiting(db).await?;
    Ok(Some(PermitPlace {
        capacity,
        free: capacity.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX)),
        place: if found.get(3) { 0 } else { small(ahead.get(0)) + 1 },
        holders: holders.iter().map(holder).collect(),
    }))
}
