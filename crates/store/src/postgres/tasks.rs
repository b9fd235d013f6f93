//! Tasks. A task of an execution is deleted when it ends: its outcome is in the journal.

use manifold_model::task::{Outcome, Task, TaskResult};
use manifold_model::{ExecutionId, Millis, TaskId};
use tokio_postgres::Row;

use super::db::{Db, Param};
use super::leases::must_hold;
use super::writing::Writing;
use super::{count, from_json, inbox, int, small, to_json};
use crate::{ClaimOffer, Hint, InboxItem, Lease, Result, StoreError, TaskRow, needs};

// States, as columns hold them. Conditions say the number itself, so that the indexes of queued and of leased tasks serve.
const QUEUED: i64 = 0;
const LEASED: i64 = 1;
const ENDED: i64 = 2;
/// How long the outcome of a task without an execution is kept for whoever asked (24 h).
const KEEP_ENDED: Millis = 24 * 60 * 60 * 1000;
/// Different sets of needs that one claim looks at; tasks beyond wait until earlier ones are taken.
const NEEDS_SEEN: i64 = 1024;
/// Tasks that a claim looks at, for each that it wants: others may claim the oldest at the same moment.
const CANDIDATES: u32 = 4;
/// And so many more.
const CANDIDATES_MORE: u32 = 16;

const COLUMNS: &str = "t.body, (SELECT id FROM executions e WHERE e.number = t.execution), t.holder, t.fence, \
                       t.deliveries, t.queued_at, t.outcome, t.cancelled, t.held_by, t.reserved_until, t.number";

// ---------------------------------------------------------------- queueing and ending

/// New tasks, one list a column.
#[derive(Default)]
pub(super) struct New<'t> {
    ids: Vec<&'t str>,
    executions: Vec<Option<i64>>,
    kinds: Vec<&'t str>,
    needs: Vec<String>,
    states: Vec<i64>,
    holders: Vec<Option<&'t str>>,
    fences: Vec<Option<i64>>,
    bodies: Vec<Vec<u8>>,
    on_delegate: Vec<bool>,
    queued: bool,
}

impl<'t> New<'t> {
    /// Queues a task, or hands it to a holder at once, who was seen to hold the lease in this transaction.
    pub(super) fn push(
        &mut self,
        execution: Option<i64>,
        task: &'t Task,
        lease: Option<&'t Lease>,
    ) -> Result<()> {
        self.ids.push(task.id.as_str());
        self.executions.push(execution);
        self.kinds.push(task.kind.as_str());
        self.needs.push(needs::of(task)?);
        self.states.push(if lease.is_some() { LEASED } else { QUEUED });
        self.holders.push(lease.map(|lease| lease.holder.as_str()));
        self.fences.push(lease.map(|lease| int(lease.fence)));
        self.bodies.push(to_json(task)?);
        self.on_delegate.push(task.lives_on_delegate());
        self.queued |= lease.is_none();
        Ok(())
    }

    /// Whether somebody has to be told that tasks are queued.
    pub(super) fn is_queued(&self) -> bool {
        self.queued
    }

    pub(super) async fn write(&self, db: &Db<'_>, now: Millis) -> Result<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let added = db
            .rows(
                "INSERT INTO tasks (id, execution, kind, needs, state, holder, fence, queued_at, body, on_delegate) \
                 SELECT n.id, n.execution, n.kind, n.needs, n.state, n.holder, n.fence, $10, n.body, n.on_delegate \
                 FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::text[], \
                 $7::bigint[], $8::bytea[], $9::bool[]) \
                 AS n (id, execution, kind, needs, state, holder, fence, body, on_delegate) \
                 ON CONFLICT (id) DO NOTHING RETURNING id",
                &[
                    &self.ids,
                    &self.executions,
                    &self.kinds,
                    &self.needs,
                    &self.states,
                    &self.holders,
                    &self.fences,
                    &self.bodies,
                    &self.on_delegate,
                    &now,
                ],
            )
            .await?;
        if added.len() == self.ids.len() {
            return Ok(());
        }
        let there = self.ids.iter().find(|id| added.iter().all(|row| row.get::<_, &str>(0) != **id));
        Err(StoreError::Exists(format!("task {}", there.unwrap_or(&"named twice"))))
    }
}

/// Queues a task without an execution.
pub(super) async fn enqueue(writing: &mut Writing<'_>, task: &Task, now: Millis) -> Result<()> {
    let mut new = New::default();
    new.push(None, task, None)?;
    new.write(&writing.db, now).await?;
    writing.hint(Hint::Tasks);
    Ok(())
}

/// Tasks of executions that ended under leases which were seen to be held in this transaction.
#[derive(Default)]
pub(super) struct Over<'t> {
    ids: Vec<&'t str>,
    executions: Vec<i64>,
    holders: Vec<&'t str>,
    fences: Vec<i64>,
}

impl<'t> Over<'t> {
    pub(super) fn push(&mut self, execution: i64, task: &'t TaskId, lease: &'t Lease) {
        self.ids.push(task.as_str());
        self.executions.push(execution);
        self.holders.push(&lease.holder);
        self.fences.push(int(lease.fence));
    }

    /// Takes them away; [`StoreError::Fenced`] when one is no longer its holder's.
    pub(super) async fn write(&self, db: &Db<'_>) -> Result<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let mine: [Param<'_>; 4] = [&self.ids, &self.executions, &self.holders, &self.fences];
        let barred: [Param<'_>; 1] = [&self.ids];
        let (ended, _) = futures::try_join!(
            db.rows(
                "DELETE FROM tasks t USING unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[]) \
                 AS o (id, execution, holder, fence) WHERE t.id = o.id AND t.execution = o.execution \
                 AND t.state = 1 AND t.holder = o.holder AND t.fence = o.fence RETURNING t.id",
                &mine,
            ),
            db.run("DELETE FROM bars WHERE task = ANY($1)", &barred),
        )?;
        let still = self
            .ids
            .iter()
            .zip(&self.fences)
            .find(|(id, _)| ended.iter().all(|row| row.get::<_, &str>(0) != **id));
        match still {
            Some((id, fence)) => Err(StoreError::Fenced { what: format!("task {id}"), fence: count(*fence) }),
            None => Ok(()),
        }
    }
}

/// Ends a task under its lease: the outcome goes into the inbox of its execution, or stays for whoever asks.
pub(super) async fn end(
    writing: &mut Writing<'_>,
    task: &TaskId,
    lease: &Lease,
    outcome: &Outcome,
) -> Result<()> {
    must_hold(writing, lease).await?;
    let execution = writing
        .db
        .maybe(
            "SELECT e.number, e.id FROM tasks t JOIN executions e ON e.number = t.execution WHERE t.id = $1",
            &[&task.as_str()],
        )
        .await?;
    let Some(execution) = execution else { return end_alone(writing, task, lease, outcome).await };
    let (execution, id): (i64, String) = (execution.get(0), execution.get(1));
    let mut over = Over::default();
    over.push(execution, task, lease);
    over.write(&writing.db).await?;
    let item = InboxItem::TaskEnded { task: task.clone(), outcome: outcome.clone() };
    inbox::put(writing, execution, &id, &item).await
}

/// Ends a task without an execution, and forgets such tasks that ended long ago.
async fn end_alone(writing: &mut Writing<'_>, task: &TaskId, lease: &Lease, outcome: &Outcome) -> Result<()> {
    let now = writing.now();
    let ended = writing
        .db
        .run(
            "UPDATE tasks SET state = $4, holder = NULL, fence = NULL, cancelled = FALSE, ended_at = $5, \
             outcome = $6 WHERE id = $1 AND execution IS NULL AND state = 1 AND holder = $2 AND fence = $3",
            &[&task.as_str(), &lease.holder, &int(lease.fence), &ENDED, &now, &to_json(outcome)?],
        )
        .await?;
    if ended == 0 {
        return Err(StoreError::Fenced { what: format!("task {task}"), fence: lease.fence });
    }
    writing.db.run("DELETE FROM bars WHERE task = $1", &[&task.as_str()]).await?;
    // Two that end at once do not wait for each other's forgetting.
    writing
        .db
        .run(
            "DELETE FROM tasks WHERE number IN (SELECT number FROM tasks WHERE state = 2 AND ended_at < $1 \
             FOR UPDATE SKIP LOCKED)",
            &[&now.saturating_sub(KEEP_ENDED)],
        )
        .await?;
    writing.hint(Hint::TaskEnded(task.clone()));
    Ok(())
}

/// Puts a task back, barring its holder from it for a while.
pub(super) async fn hand_back(
    writing: &mut Writing<'_>,
    task: &TaskId,
    lease: &Lease,
    barred_until: Millis,
) -> Result<()> {
    must_hold(writing, lease).await?;
    let now = writing.now();
    let back = writing
        .db
        .run(
            "UPDATE tasks SET state = 0, held_by = holder, holder = NULL, fence = NULL, \
             deliveries = deliveries + 1, queued_at = $4 \
             WHERE id = $1 AND state = 1 AND holder = $2 AND fence = $3",
            &[&task.as_str(), &lease.holder, &int(lease.fence), &now],
        )
        .await?;
    if back == 0 {
        return Err(StoreError::Fenced { what: format!("task {task}"), fence: lease.fence });
    }
    bar(writing, task, lease, barred_until).await
}

/// Puts a task back that its holder never got, barring it from it for a while.
pub(super) async fn put_back(
    writing: &mut Writing<'_>,
    task: &TaskId,
    lease: &Lease,
    barred_until: Millis,
) -> Result<()> {
    must_hold(writing, lease).await?;
    let back = writing
        .db
        .run(
            "UPDATE tasks SET state = 0, holder = NULL, fence = NULL \
             WHERE id = $1 AND state = 1 AND holder = $2 AND fence = $3",
            &[&task.as_str(), &lease.holder, &int(lease.fence)],
        )
        .await?;
    if back == 0 {
        return Err(StoreError::Fenced { what: format!("task {task}"), fence: lease.fence });
    }
    bar(writing, task, lease, barred_until).await
}

async fn bar(writing: &mut Writing<'_>, task: &TaskId, lease: &Lease, barred_until: Millis) -> Result<()> {
    writing
        .db
        .run(
            "INSERT INTO bars (task, holder, barred_until) VALUES ($1, $2, $3) \
             ON CONFLICT (task, holder) DO UPDATE SET barred_until = excluded.barred_until",
            &[&task.as_str(), &lease.holder, &barred_until],
        )
        .await?;
    writing.hint(Hint::Tasks);
    Ok(())
}

/// Drops tasks that nobody has begun, telling the execution that they will not run; marks those that somebody has, or may have, begun.
pub(super) async fn cancel(
    writing: &mut Writing<'_>,
    execution: i64,
    id: &ExecutionId,
    tasks: &[TaskId],
) -> Result<()> {
    if tasks.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = tasks.iter().map(TaskId::as_str).collect();
    let dropped = writing
        .db
        .rows(
            "DELETE FROM tasks WHERE id = ANY($1) AND execution = $2 AND state = 0 AND deliveries = 0 RETURNING id",
            &[&ids, &execution],
        )
        .await?;
    // What somebody claimed at this very moment is still there.
    writing
        .db
        .run("UPDATE tasks SET cancelled = TRUE WHERE id = ANY($1) AND execution = $2", &[&ids, &execution])
        .await?;
    let mut items = Vec::new();
    for task in tasks.iter().filter(|task| dropped.iter().any(|row| row.get::<_, &str>(0) == task.as_str())) {
        let outcome = Outcome::of(TaskResult::Cancelled);
        items.push(to_json(&InboxItem::TaskEnded { task: task.clone(), outcome })?);
        writing.hint_inbox(id.as_str());
    }
    inbox::put_all(&writing.db, &vec![execution; items.len()], &items).await
}

// ---------------------------------------------------------------- claiming

/// Which queued tasks a holder may have: not those that are kept for another, nor those that it is barred from.
const FREE: &str = "t.state = 0 AND (t.reserved_until IS NULL OR t.reserved_until <= $3 OR t.held_by = $4) \
                    AND NOT EXISTS (SELECT 1 FROM bars b WHERE b.task = t.id AND b.holder = $4 AND b.barred_until > $3)";

/// Takes queued tasks, oldest first. Tasks with equal kind and needs stand together in the index, so those that this holder cannot take cost
/// one look for all of them. What others claim at the same moment is left to them.
pub(super) async fn claim(
    writing: &mut Writing<'_>,
    lease: &Lease,
    offer: &ClaimOffer,
) -> Result<Vec<TaskRow>> {
    must_hold(writing, lease).await?;
    let now = writing.now();
    let (mut kinds, mut wanted) = (Vec::new(), Vec::new());
    for (kind, needs) in queued(&writing.db, &offer.kinds).await? {
        if needs::met_by(offer, &needs)? {
            kinds.push(kind);
            wanted.push(needs);
        }
    }
    if kinds.is_empty() || offer.max == 0 {
        return Ok(Vec::new());
    }
    let looked_at = offer.max.saturating_mul(CANDIDATES).saturating_add(CANDIDATES_MORE);
    let oldest: Vec<i64> = writing
        .db
        .rows(
            &format!(
                "SELECT oldest.number FROM unnest($1::text[], $2::text[]) AS w (kind, needs) CROSS JOIN LATERAL \
                 (SELECT t.number FROM tasks t WHERE t.kind = w.kind AND t.needs = w.needs AND {FREE} \
                 ORDER BY t.number LIMIT $5) AS oldest ORDER BY oldest.number LIMIT $5"
            ),
            &[&kinds, &wanted, &now, &lease.holder, &i64::from(looked_at)],
        )
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect();
    if oldest.is_empty() {
        return Ok(Vec::new());
    }
    hand_over(writing, &oldest, lease, offer.max).await
}

async fn hand_over(writing: &Writing<'_>, oldest: &[i64], lease: &Lease, most: u32) -> Result<Vec<TaskRow>> {
    let mut rows = writing
        .db
        .rows(
            &format!(
                "WITH free AS MATERIALIZED (SELECT t.number FROM tasks t WHERE t.number = ANY($1) AND {FREE} \
                 ORDER BY t.number LIMIT $2 FOR UPDATE SKIP LOCKED) \
                 UPDATE tasks t SET state = 1, holder = $4, fence = $5 FROM free WHERE t.number = free.number \
                 RETURNING {COLUMNS}"
            ),
            &[&oldest, &i64::from(most), &writing.now(), &lease.holder, &int(lease.fence)],
        )
        .await?;
    rows.sort_by_key(|row| row.get::<_, i64>(10));
    rows.iter().map(task).collect()
}

/// The different needs among queued tasks, kind by kind, one seek each.
async fn queued(db: &Db<'_>, kinds: &[String]) -> Result<Vec<(String, String)>> {
    let each = kinds.iter().map(async |kind| {
        let params: [Param<'_>; 2] = [kind, &NEEDS_SEEN];
        let rows = db
            .rows(
                "WITH RECURSIVE seen AS ((SELECT needs FROM tasks WHERE state = 0 AND kind = $1 ORDER BY needs LIMIT 1) \
                 UNION ALL SELECT (SELECT t.needs FROM tasks t WHERE t.state = 0 AND t.kind = $1 AND t.needs > seen.needs \
                 ORDER BY t.needs LIMIT 1) FROM seen WHERE seen.needs IS NOT NULL) \
                 SELECT needs FROM seen WHERE needs IS NOT NULL LIMIT $2",
                &params,
            )
            .await?;
        Ok::<_, StoreError>(rows.iter().map(|row| (kind.clone(), row.get(0))).collect::<Vec<_>>())
    });
    Ok(futures::future::try_join_all(each).await?.into_iter().flatten().collect())
}

// ---------------------------------------------------------------- reading

pub(super) async fn one(db: &Db<'_>, id: &str) -> Result<Option<TaskRow>> {
    let row = db.maybe(&format!("SELECT {COLUMNS} FROM tasks t WHERE t.id = $1"), &[&id]).await?;
    row.map(|row| task(&row)).transpose()
}

pub(super) async fn cancelled(db: &Db<'_>, lease: &Lease) -> Result<Vec<TaskId>> {
    let rows = db
        .rows(
            "SELECT id FROM tasks WHERE cancelled AND fence = $1 AND holder = $2 ORDER BY number",
            &[&int(lease.fence), &lease.holder],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get::<_, String>(0).into()).collect())
}

pub(super) async fn waiting(db: &Db<'_>, queued_before: Millis, limit: u32) -> Result<Vec<TaskRow>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM tasks t WHERE t.state = 0 AND t.queued_at < $1 ORDER BY t.number LIMIT $2"
    );
    let rows = db.rows(&sql, &[&queued_before, &i64::from(limit)]).await?;
    rows.iter().map(task).collect()
}

fn task(row: &Row) -> Result<TaskRow> {
    let holder: Option<String> = row.get(2);
    let fence: Option<i64> = row.get(3);
    Ok(TaskRow {
        task: from_json(row.get(0))?,
        execution: row.get::<_, Option<String>>(1).map(ExecutionId::from),
        lease: holder.zip(fence).map(|(holder, fence)| Lease { holder, fence: count(fence) }),
        deliveries: small(row.get(4)),
        queued_at: row.get(5),
        outcome: row.get::<_, Option<&[u8]>>(6).map(from_json).transpose()?,
        cancelled: row.get(7),
        held_by: row.get(8),
        reserved_until: row.get(9),
    })
}
