//! Creating executions, and reading single ones.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use manifold_model::event::Event;
use manifold_model::execution::ExecutionRow;
use manifold_model::request::ExecutionType;
use manifold_model::{ExecutionId, Millis};

use super::db::Db;
use super::guards::Guard;
use super::journal::Lines;
use super::writing::Writing;
use super::{count, from_json, int, misuse, rows};
use crate::{Hint, IDEMPOTENCY_WINDOW_MS, NewExecution, Result, StoreError};

pub(super) async fn create(writing: &mut Writing<'_>, new: &NewExecution) -> Result<ExecutionId> {
    if let Some(earlier) = earlier(writing, new).await? {
        return Ok(earlier);
    }
    create_new(writing, new).await
}

async fn create_new(writing: &mut Writing<'_>, new: &NewExecution) -> Result<ExecutionId> {
    let id = &new.row.id;
    if insert(writing, &[new]).await?.is_empty() {
        return Err(StoreError::Exists(format!("execution {id}")));
    }
    if let Some(key) = &new.idempotency {
        writing
            .db
            .run(
                "INSERT INTO idempotency (key, execution) VALUES ($1, $2) \
                 ON CONFLICT (key) DO UPDATE SET execution = excluded.execution",
                &[key, &id.as_str()],
            )
            .await?;
    }
    Ok(id.clone())
}

pub(super) async fn resume(
    writing: &mut Writing<'_>,
    old: &ExecutionId,
    new: &NewExecution,
) -> Result<ExecutionId> {
    if let Some(earlier) = earlier(writing, new).await? {
        return Ok(earlier);
    }
    rows::number(&writing.db, old).await?;
    let marked = writing
        .db
        .run(
            "UPDATE executions SET resumed_by = $2 WHERE id = $1 AND resumed_by IS NULL",
            &[&old.as_str(), &new.row.id.as_str()],
        )
        .await?;
    if marked == 0 {
        return Err(StoreError::Exists(format!("a newer run of execution {old}")));
    }
    create_new(writing, new).await
}

/// The execution that was created with the same key a moment ago. Of two creations at once with one key the second waits for the first.
async fn earlier(writing: &Writing<'_>, new: &NewExecution) -> Result<Option<ExecutionId>> {
    let Some(key) = &new.idempotency else { return Ok(None) };
    writing.hold(&[Guard::Idempotency(key)]).await?;
    let since: Millis = new.row.created_at.saturating_sub(IDEMPOTENCY_WINDOW_MS);
    let earlier = writing
        .db
        .maybe(
            "SELECT execution FROM idempotency JOIN executions ON executions.id = execution \
             WHERE key = $1 AND created_at > $2",
            &[key, &since],
        )
        .await?;
    Ok(earlier.map(|row| row.get::<_, String>(0).into()))
}

/// Inserts plans, rows and first events of executions; returns the numbers of those that were not there.
pub(super) async fn insert(writing: &mut Writing<'_>, all: &[&NewExecution]) -> Result<HashMap<String, i64>> {
    for new in all {
        let (said, end) = (new.row.state.seq, last_seq(&new.events));
        if said != end {
            let why = format!("its row says event {said}, its events end at {end}");
            return Err(misuse("create an execution", why));
        }
    }
    keep_plans(writing, all).await?;
    let new_rows: Vec<&ExecutionRow> = all.iter().map(|new| &new.row).collect();
    let numbers = rows::insert(writing, &new_rows).await?;
    use_plans(writing, all, &numbers).await?;
    let mut lines = Lines::default();
    let mut runs: BTreeMap<String, i64> = BTreeMap::new();
    for new in all {
        let Some(number) = numbers.get(new.row.id.as_str()) else { continue };
        lines.push(*number, 0, &new.events)?;
        if new.row.kind == ExecutionType::Workflow {
            *runs.entry(format!("runs/{}", new.row.entity.id)).or_default() += 1;
        }
        hint(writing, &new.row);
    }
    lines.write(&writing.db).await?;
    count_runs(writing, runs).await?;
    Ok(numbers)
}

fn hint(writing: &mut Writing<'_>, row: &ExecutionRow) {
    writing.hint(Hint::Execution(row.id.clone()));
    // Legs are told by whoever creates them.
    if row.parent.is_none() {
        writing.hint(Hint::Inbox(row.id.clone()));
    }
    writing.hint(Hint::Rows(row.parent.clone()));
}

/// Counts runs, all transactions in one order; a counter stays locked until the end, so it comes last.
async fn count_runs(writing: &Writing<'_>, runs: BTreeMap<String, i64>) -> Result<()> {
    let (names, more): (Vec<String>, Vec<i64>) = runs.into_iter().unzip();
    writing
        .db
        .run(
            "INSERT INTO counters AS c (name, value) SELECT * FROM unnest($1::text[], $2::bigint[]) \
             ON CONFLICT (name) DO UPDATE SET value = c.value + excluded.value",
            &[&names, &more],
        )
        .await?;
    Ok(())
}

/// Writes down which plans the executions have that somebody started; their legs have the same.
async fn use_plans(
    writing: &Writing<'_>,
    all: &[&NewExecution],
    numbers: &HashMap<String, i64>,
) -> Result<()> {
    let top = all.iter().filter(|new| new.row.parent.is_none());
    let (plans, executions): (Vec<&str>, Vec<i64>) =
        top.filter_map(|new| Some((&*new.row.plan.0, *numbers.get(new.row.id.as_str())?))).unzip();
    if plans.is_empty() {
        return Ok(());
    }
    writing
        .db
        .run(
            "INSERT INTO plan_uses (plan, execution) SELECT * FROM unnest($1::text[], $2::bigint[])",
            &[&plans, &executions],
        )
        .await?;
    Ok(())
}

fn last_seq(events: &[Event]) -> u64 {
    events.last().map_or(0, |event| event.seq)
}

/// Writes plans down that are not there, each once.
async fn keep_plans(writing: &Writing<'_>, all: &[&NewExecution]) -> Result<()> {
    let mut wanted: BTreeMap<&str, Option<&[u8]>> = BTreeMap::new();
    for new in all {
        let body = wanted.entry(&new.row.plan.0).or_default();
        *body = body.or(new.plan.as_deref());
    }
    let digests: Vec<&str> = wanted.keys().copied().collect();
    // Locked until this transaction ends, so that nobody forgets them meanwhile.
    let there = writing
        .db
        .rows("SELECT digest FROM plans WHERE digest = ANY($1) ORDER BY digest FOR KEY SHARE", &[&digests])
        .await?;
    let there: HashSet<String> = there.iter().map(|row| row.get(0)).collect();
    for (digest, body) in wanted {
        if there.contains(digest) {
            continue;
        }
        let Some(body) = body else { return Err(StoreError::Missing(format!("plan {digest}"))) };
        writing
            .db
            .run("INSERT INTO plans (digest, body) VALUES ($1, $2) ON CONFLICT DO NOTHING", &[&digest, &body])
            .await?;
    }
    Ok(())
}

pub(super) async fn plan(db: &Db<'_>, digest: &str) -> Result<Option<Arc<[u8]>>> {
    let row = db.maybe("SELECT body FROM plans WHERE digest = $1", &[&digest]).await?;
    Ok(row.map(|row| Arc::from(row.get::<_, &[u8]>(0))))
}

pub(super) async fn one(db: &Db<'_>, id: &str) -> Result<Option<ExecutionRow>> {
    let sql = format!(
        "SELECT {} FROM executions e JOIN execution_rows r ON r.execution = e.number WHERE e.id = $1",
        rows::COLUMNS
    );
    db.maybe(&sql, &[&id]).await?.map(|row| rows::execution(&row)).transpose()
}

/// Parents before legs, so that a restart first knows the wholes.
pub(super) async fn unfinished(db: &Db<'_>) -> Result<Vec<ExecutionId>> {
    let sql = "SELECT id FROM executions WHERE NOT final ORDER BY parent IS NOT NULL, number";
    Ok(ids(&db.rows(sql, &[]).await?))
}

pub(super) async fn with_inbox(db: &Db<'_>, limit: u32) -> Result<Vec<ExecutionId>> {
    let rows = db
        .rows(
            "SELECT e.id FROM (SELECT execution FROM inbox UNION SELECT parent FROM completions) AS waiting \
             JOIN executions e ON e.number = waiting.execution WHERE NOT e.final ORDER BY e.number LIMIT $1",
            &[&i64::from(limit)],
        )
        .await?;
    Ok(ids(&rows))
}

fn ids(rows: &[tokio_postgres::Row]) -> Vec<ExecutionId> {
    rows.iter().map(|row| row.get::<_, String>(0).into()).collect()
}

pub(super) async fn next_release_no(db: &Db<'_>, workflow: &str) -> Result<u64> {
    let runs = db.maybe("SELECT value FROM counters WHERE name = 'runs/' || $1::text", &[&workflow]).await?;
    Ok(count(runs.map_or(0, |row| row.get(0))) + 1)
}

/// Events after a sequence number. Journal rows hold an append each, so the first may begin earlier and the last end later.
pub(super) async fn events(db: &Db<'_>, id: &str, after: u64, limit: u32) -> Result<Vec<Event>> {
    let appends = db
        .rows(
            "SELECT j.events FROM journal j WHERE j.execution = (SELECT number FROM executions WHERE id = $1) \
             AND j.last_seq > $2 ORDER BY j.last_seq LIMIT $3",
            &[&id, &int(after), &i64::from(limit)],
        )
        .await?;
    let mut events = Vec::new();
    for append in &appends {
        let batch: Vec<Event> = from_json(append.get(0))?;
        events.extend(batch.into_iter().filter(|event| event.seq > after));
    }
    events.truncate(limit as usize);
    Ok(events)
}
