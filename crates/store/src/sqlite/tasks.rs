//! Tasks. A task of an execution is deleted when it ends: its outcome is in the journal.

use manifold_model::task::{Outcome, Task, TaskResult};
use manifold_model::{ExecutionId, Millis, TaskId};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::leases::must_hold;
use super::writer::Writing;
use super::{count, from_json, inbox, int, to_json};
use crate::{ClaimOffer, Hint, InboxItem, Lease, Result, StoreError, TaskRow, needs};

// States, as columns hold them. Conditions say the number itself: a bound one makes SQLite parse the statement anew each time, to see whether
// the index of queued tasks would serve.
const QUEUED: i64 = 0;
const LEASED: i64 = 1;
const ENDED: i64 = 2;
/// How long the outcome of a task without an execution is kept for whoever asked (24 h).
const KEEP_ENDED: Millis = 24 * 60 * 60 * 1000;
/// Different sets of needs that one claim looks at; tasks beyond wait until earlier ones are taken.
const NEEDS_SEEN: usize = 1024;

const COLUMNS: &str = "t.body, (SELECT id FROM executions e WHERE e.number = t.execution), t.holder, t.fence, \
                       t.deliveries, t.queued_at, t.outcome, t.cancelled, t.held_by, t.reserved_until";

// ---------------------------------------------------------------- queueing and ending

/// Queues a task, or hands it to a holder at once, who was seen to hold the lease ([`must_hold`]) in this transaction.
pub(super) fn add(
    writing: &mut Writing<'_>,
    execution: Option<i64>,
    task: &Task,
    lease: Option<&Lease>,
    now: Millis,
) -> Result<()> {
    let added = writing
        .sql(
            "INSERT INTO tasks (id, execution, kind, needs, state, holder, fence, queued_at, body, on_delegate) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            task.id.as_str(),
            execution,
            task.kind.as_str(),
            needs::of(task)?,
            if lease.is_some() { LEASED } else { QUEUED },
            lease.map(|lease| lease.holder.as_str()),
            lease.map(|lease| int(lease.fence)),
            now,
            to_json(task)?,
            task.lives_on_delegate()
        ])?;
    if added == 0 {
        return Err(StoreError::Exists(format!("task {}", task.id)));
    }
    if lease.is_none() {
        writing.hint(Hint::Tasks);
    }
    Ok(())
}

/// Ends a task of an execution under its lease, which was seen to be held ([`must_hold`]) in this transaction.
pub(super) fn end_in_journal(
    writing: &Writing<'_>,
    execution: i64,
    task: &TaskId,
    lease: &Lease,
) -> Result<()> {
    let ended = writing
        .sql(
            "DELETE FROM tasks WHERE id = ?1 AND execution = ?2 AND state = 1 AND holder = ?3 AND fence = ?4",
        )?
        .execute(params![task.as_str(), execution, lease.holder, int(lease.fence)])?;
    if ended == 0 {
        return Err(StoreError::Fenced { what: format!("task {task}"), fence: lease.fence });
    }
    forget_bars(writing, task)
}

/// Ends a task under its lease: the outcome goes into the inbox of its execution, or stays for whoever asks.
pub(super) fn end(writing: &mut Writing<'_>, task: &TaskId, lease: &Lease, outcome: &Outcome) -> Result<()> {
    must_hold(writing, lease)?;
    let execution: Option<(i64, String)> = writing
        .sql(
            "SELECT e.number, e.id FROM tasks t JOIN executions e ON e.number = t.execution WHERE t.id = ?1",
        )?
        .query_row([task.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((execution, id)) = execution else { return end_alone(writing, task, lease, outcome) };
    end_in_journal(writing, execution, task, lease)?;
    let item = InboxItem::TaskEnded { task: task.clone(), outcome: outcome.clone() };
    inbox::put(writing, execution, &id, &item)
}

/// Ends a task without an execution, and forgets such tasks that ended long ago.
fn end_alone(writing: &mut Writing<'_>, task: &TaskId, lease: &Lease, outcome: &Outcome) -> Result<()> {
    let now = writing.now();
    let ended = writing
        .sql(
            "UPDATE tasks SET state = ?4, holder = NULL, fence = NULL, cancelled = 0, ended_at = ?5, outcome = ?6 \
             WHERE id = ?1 AND execution IS NULL AND state = 1 AND holder = ?2 AND fence = ?3",
        )?
        .execute(params![
            task.as_str(),
            lease.holder,
            int(lease.fence),
            ENDED,
            now,
            to_json(outcome)?
        ])?;
    if ended == 0 {
        return Err(StoreError::Fenced { what: format!("task {task}"), fence: lease.fence });
    }
    forget_bars(writing, task)?;
    writing
        .sql("DELETE FROM tasks WHERE state = 2 AND ended_at < ?1")?
        .execute([now.saturating_sub(KEEP_ENDED)])?;
    writing.hint(Hint::TaskEnded(task.clone()));
    Ok(())
}

/// Puts a task back, barring its holder from it for a while.
pub(super) fn hand_back(
    writing: &mut Writing<'_>,
    task: &TaskId,
    lease: &Lease,
    barred_until: Millis,
) -> Result<()> {
    must_hold(writing, lease)?;
    let now = writing.now();
    let back = writing
        .sql(
            "UPDATE tasks SET state = 0, held_by = holder, holder = NULL, fence = NULL, \
             deliveries = deliveries + 1, queued_at = ?4 \
             WHERE id = ?1 AND state = 1 AND holder = ?2 AND fence = ?3",
        )?
        .execute(params![task.as_str(), lease.holder, int(lease.fence), now])?;
    if back == 0 {
        return Err(StoreError::Fenced { what: format!("task {task}"), fence: lease.fence });
    }
    bar(writing, task, lease, barred_until)
}

/// Puts a task back that its holder never got, barring it from it for a while.
pub(super) fn put_back(
    writing: &mut Writing<'_>,
    task: &TaskId,
    lease: &Lease,
    barred_until: Millis,
) -> Result<()> {
    must_hold(writing, lease)?;
    let back = writing
        .sql(
            "UPDATE tasks SET state = 0, holder = NULL, fence = NULL \
             WHERE id = ?1 AND state = 1 AND holder = ?2 AND fence = ?3",
        )?
        .execute(params![task.as_str(), lease.holder, int(lease.fence)])?;
    if back == 0 {
        return Err(StoreError::Fenced { what: format!("task {task}"), fence: lease.fence });
    }
    bar(writing, task, lease, barred_until)
}

fn bar(writing: &mut Writing<'_>, task: &TaskId, lease: &Lease, barred_until: Millis) -> Result<()> {
    writing
        .sql("INSERT OR REPLACE INTO bars (task, holder, barred_until) VALUES (?1, ?2, ?3)")?
        .execute(params![task.as_str(), lease.holder, barred_until])?;
    writing.hint(Hint::Tasks);
    Ok(())
}

fn forget_bars(writing: &Writing<'_>, task: &TaskId) -> Result<()> {
    writing.sql("DELETE FROM bars WHERE task = ?1")?.execute([task.as_str()])?;
    Ok(())
}

/// Drops tasks that nobody has begun, telling the execution that they will not run; marks those that somebody has, or may have, begun.
pub(super) fn cancel(
    writing: &mut Writing<'_>,
    execution: i64,
    id: &ExecutionId,
    tasks: &[TaskId],
) -> Result<()> {
    for task in tasks {
        let dropped = writing
            .sql("DELETE FROM tasks WHERE id = ?1 AND execution = ?2 AND state = 0 AND deliveries = 0")?
            .execute(params![task.as_str(), execution])?;
        if dropped > 0 {
            let outcome = Outcome::of(TaskResult::Cancelled);
            let item = InboxItem::TaskEnded { task: task.clone(), outcome };
            inbox::put(writing, execution, id.as_str(), &item)?;
            continue;
        }
        writing
            .sql("UPDATE tasks SET cancelled = 1 WHERE id = ?1 AND execution = ?2")?
            .execute(params![task.as_str(), execution])?;
    }
    Ok(())
}

// ---------------------------------------------------------------- claiming

/// Takes queued tasks, oldest first. Tasks with equal kind and needs stand together in the index, so those that this holder cannot take cost
/// one look for all of them.
pub(super) fn claim(writing: &Writing<'_>, lease: &Lease, offer: &ClaimOffer) -> Result<Vec<TaskRow>> {
    must_hold(writing, lease)?;
    let now = writing.now();
    let mut oldest: Vec<i64> = Vec::new();
    for kind in &offer.kinds {
        for needs in needs_queued(writing, kind)? {
            if !needs::met_by(offer, &needs)? {
                continue;
            }
            let numbers: Vec<i64> = writing
                .sql(
                    "SELECT number FROM tasks WHERE state = 0 AND kind = ?1 AND needs = ?2 \
                     AND (reserved_until IS NULL OR reserved_until <= ?4 OR held_by = ?5) \
                     AND NOT EXISTS (SELECT 1 FROM bars WHERE task = tasks.id AND holder = ?5 AND barred_until > ?4) \
                     ORDER BY number LIMIT ?3",
                )?
                .query_map(params![kind, needs, offer.max, now, lease.holder], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            oldest.extend(numbers);
        }
    }
    oldest.sort_unstable();
    oldest.dedup();
    oldest.truncate(offer.max as usize);
    oldest.into_iter().map(|number| hand_over(writing, number, lease)).collect()
}

/// The different needs among queued tasks of a kind, one seek each.
fn needs_queued(writing: &Writing<'_>, kind: &str) -> Result<Vec<String>> {
    let mut all: Vec<String> = Vec::new();
    let mut after = None;
    while all.len() < NEEDS_SEEN {
        let next: Option<String> = match after {
            None => writing
                .sql("SELECT needs FROM tasks WHERE state = 0 AND kind = ?1 ORDER BY needs LIMIT 1")?
                .query_row([kind], |row| row.get(0))
                .optional()?,
            Some(after) => writing
                .sql(
                    "SELECT needs FROM tasks WHERE state = 0 AND kind = ?1 AND needs > ?2 ORDER BY needs LIMIT 1",
                )?
                .query_row([kind, after], |row| row.get(0))
                .optional()?,
        };
        match next {
            None => break,
            Some(next) => all.push(next),
        }
        after = all.last().map(String::as_str);
    }
    Ok(all)
}

fn hand_over(writing: &Writing<'_>, number: i64, lease: &Lease) -> Result<TaskRow> {
    writing
        .sql("UPDATE tasks SET state = ?2, holder = ?3, fence = ?4 WHERE number = ?1")?
        .execute(params![number, LEASED, lease.holder, int(lease.fence)])?;
    writing
        .sql(&format!("SELECT {COLUMNS} FROM tasks t WHERE t.number = ?1"))?
        .query_row([number], |row| Ok(task(row)))?
}

// ---------------------------------------------------------------- reading

pub(super) fn one(db: &Connection, id: &str) -> Result<Option<TaskRow>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM tasks t WHERE t.id = ?1"))?
        .query_and_then([id], task)?
        .next()
        .transpose()
}

pub(super) fn cancelled(db: &Connection, lease: &Lease) -> Result<Vec<TaskId>> {
    Ok(db
        .prepare_cached(
            "SELECT id FROM tasks WHERE cancelled = 1 AND fence = ?1 AND holder = ?2 ORDER BY number",
        )?
        .query_map(params![int(lease.fence), lease.holder], |row| row.get::<_, String>(0))?
        .map(|id| id.map(TaskId::from))
        .collect::<rusqlite::Result<_>>()?)
}

pub(super) fn waiting(db: &Connection, queued_before: Millis, limit: u32) -> Result<Vec<TaskRow>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM tasks t WHERE t.state = 0 AND t.queued_at < ?1 ORDER BY t.number LIMIT ?2"
    ))?
    .query_and_then(params![queued_before, limit], task)?
    .collect()
}

fn task(row: &Row<'_>) -> Result<TaskRow> {
    let holder: Option<String> = row.get(2)?;
    let fence: Option<i64> = row.get(3)?;
    Ok(TaskRow {
        task: from_json(&row.get::<_, Vec<u8>>(0)?)?,
        execution: row.get::<_, Option<String>>(1)?.map(ExecutionId::from),
        lease: holder.zip(fence).map(|(holder, fence)| Lease { holder, fence: count(fence) }),
        deliveries: row.get(4)?,
        queued_at: row.get(5)?,
        outcome: row.get::<_, Option<Vec<u8>>>(6)?.map(|body| from_json(&body)).transpose()?,
        cancelled: row.get(7)?,
        held_by: row.get(8)?,
        reserved_until: row.get(9)?,
    })
}
