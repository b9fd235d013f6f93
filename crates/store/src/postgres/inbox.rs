//! What came for an execution from outside: inbox items, and the completions of its legs.
//!
//! That completions are there has no row of its own, as it has on SQLite: [`list`] says it as long as there are any. A row would have to be put
//! by legs that end while the parent's append takes it away, each not seeing what the other does.

use manifold_model::ExecutionId;
use manifold_model::event::LegEnd;

use super::db::{Db, Param};
use super::writing::Writing;
use super::{count, from_json, int, rows, to_json};
use crate::{InboxItem, Inboxed, Result};

/// Number of the item that says that completions are there: after all others.
const COMPLETIONS: u64 = i64::MAX as u64;

/// Puts an item for the execution with this number; one that has ended takes nothing any more, and nothing is left lying for it.
pub(super) async fn put(writing: &mut Writing<'_>, execution: i64, id: &str, item: &InboxItem) -> Result<()> {
    if !matches!(item, InboxItem::Completions {}) {
        writing
            .db
            .run(
                "INSERT INTO inbox (execution, item) SELECT $1, $2 \
                 WHERE EXISTS (SELECT 1 FROM executions WHERE number = $1 AND NOT final)",
                &[&execution, &to_json(item)?],
            )
            .await?;
    }
    writing.hint_inbox(id);
    Ok(())
}

/// Puts an item by id.
pub(super) async fn send(writing: &mut Writing<'_>, to: &ExecutionId, item: &InboxItem) -> Result<()> {
    let number = rows::number(&writing.db, to).await?;
    put(writing, number, to.as_str(), item).await
}

/// Puts items for executions, in their order.
pub(super) async fn send_all(writing: &mut Writing<'_>, items: &[(&ExecutionId, &InboxItem)]) -> Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let numbers = rows::numbers(&writing.db, items.iter().map(|(to, _)| *to)).await?;
    let (mut executions, mut bodies) = (Vec::new(), Vec::new());
    for (to, item) in items {
        writing.hint_inbox(to.as_str());
        if let (Some(number), false) = (numbers.get(*to), matches!(item, InboxItem::Completions {})) {
            executions.push(*number);
            bodies.push(to_json(item)?);
        }
    }
    put_all(&writing.db, &executions, &bodies).await
}

/// Puts items of executions by number, in their order.
pub(super) async fn put_all(db: &Db<'_>, executions: &[i64], items: &[Vec<u8>]) -> Result<()> {
    db.run(
        "INSERT INTO inbox (execution, item) SELECT put.execution, put.item \
         FROM unnest($1::bigint[], $2::bytea[]) WITH ORDINALITY AS put(execution, item, place) \
         JOIN executions e ON e.number = put.execution WHERE NOT e.final ORDER BY put.place",
        &[&executions, &items],
    )
    .await?;
    Ok(())
}

pub(super) async fn list(db: &Db<'_>, id: &str, limit: u32) -> Result<Vec<Inboxed>> {
    let (limit, params) = (limit as usize, i64::from(limit));
    let items = db
        .rows(
            "(SELECT number, item FROM inbox WHERE execution = (SELECT number FROM executions WHERE id = $1) \
             ORDER BY number LIMIT $2) UNION ALL (SELECT NULL, NULL FROM completions \
             WHERE parent = (SELECT number FROM executions WHERE id = $1) LIMIT 1)",
            &[&id, &params],
        )
        .await?;
    items
        .iter()
        .take(limit)
        .map(|row| match row.get::<_, Option<i64>>(0) {
            Some(number) => Ok(Inboxed { number: count(number), item: from_json(row.get(1))? }),
            None => Ok(Inboxed { number: COMPLETIONS, item: InboxItem::Completions {} }),
        })
        .collect()
}

/// What appends take out of inboxes.
#[derive(Default)]
pub(super) struct Taken {
    /// Items: number, execution.
    numbers: Vec<i64>,
    of: Vec<i64>,
    /// Completions: parent, up to which number.
    parents: Vec<i64>,
    up_to: Vec<i64>,
    /// Executions that ended.
    ended: Vec<i64>,
}

impl Taken {
    /// Takes items; one that is not there was consumed before.
    pub(super) fn items(&mut self, execution: i64, numbers: &[u64]) {
        self.numbers.extend(numbers.iter().map(|number| int(*number)));
        self.of.resize(self.numbers.len(), execution);
    }

    /// Takes completions that events hold now; what came since stays.
    pub(super) fn completions(&mut self, parent: i64, up_to: u64) {
        self.parents.push(parent);
        self.up_to.push(int(up_to));
    }

    /// Takes everything that an ended execution can no longer use.
    pub(super) fn all_of(&mut self, execution: i64) {
        self.ended.push(execution);
    }

    pub(super) async fn write(&self, db: &Db<'_>) -> Result<()> {
        if !self.numbers.is_empty() {
            db.run(
                "DELETE FROM inbox i USING unnest($1::bigint[], $2::bigint[]) AS t (number, execution) \
                 WHERE i.number = t.number AND i.execution = t.execution",
                &[&self.numbers, &self.of],
            )
            .await?;
        }
        if !self.parents.is_empty() {
            db.run(
                "DELETE FROM completions c USING unnest($1::bigint[], $2::bigint[]) AS t (parent, up_to) \
                 WHERE c.parent = t.parent AND c.number <= t.up_to",
                &[&self.parents, &self.up_to],
            )
            .await?;
        }
        if !self.ended.is_empty() {
            let params: [Param<'_>; 1] = [&self.ended];
            futures::try_join!(
                db.run("DELETE FROM inbox WHERE execution = ANY($1)", &params),
                db.run("DELETE FROM timers WHERE execution = ANY($1)", &params),
            )?;
        }
        Ok(())
    }
}

/// Ends of legs for their parents; each written once.
pub(super) async fn complete(writing: &mut Writing<'_>, ends: &[(&ExecutionId, &LegEnd)]) -> Result<()> {
    if ends.is_empty() {
        return Ok(());
    }
    let numbers = rows::numbers(&writing.db, ends.iter().map(|(parent, _)| *parent)).await?;
    let (mut parents, mut legs, mut bodies) = (Vec::<i64>::new(), Vec::new(), Vec::new());
    for (parent, end) in ends {
        parents.extend(numbers.get(*parent));
        legs.push(end.execution.as_str());
        bodies.push(to_json(end)?);
        writing.hint_inbox(parent.as_str());
    }
    writing
        .db
        .run(
            "INSERT INTO completions (parent, leg, body) \
             SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[]) ON CONFLICT (leg) DO NOTHING",
            &[&parents, &legs, &bodies],
        )
        .await?;
    Ok(())
}

/// Whether there are completions that nobody has read yet.
pub(super) async fn unread(db: &Db<'_>, parent: &str) -> Result<bool> {
    let row = db
        .one(
            "SELECT EXISTS (SELECT 1 FROM completions \
             WHERE parent = (SELECT number FROM executions WHERE id = $1) AND number IS NULL)",
            &[&parent],
        )
        .await?;
    Ok(row.get(0))
}

/// Gives numbers to completions that are read for the first time. The parent is locked, so that numbers appear in their order.
pub(super) async fn give_numbers(writing: &mut Writing<'_>, parent: &str, limit: u32) -> Result<()> {
    let locked =
        writing.db.maybe("SELECT number FROM executions WHERE id = $1 FOR NO KEY UPDATE", &[&parent]).await?;
    let Some(parent) = locked.map(|row| row.get::<_, i64>(0)) else { return Ok(()) };
    writing
        .db
        .run(
            "WITH unread AS MATERIALIZED (SELECT leg, nextval('completion_numbers') AS number FROM \
             (SELECT leg FROM completions WHERE parent = $1 AND number IS NULL ORDER BY written LIMIT $2) AS first) \
             UPDATE completions c SET number = unread.number FROM unread WHERE c.leg = unread.leg",
            &[&parent, &i64::from(limit)],
        )
        .await?;
    Ok(())
}

pub(super) async fn completions(
    db: &Db<'_>,
    parent: &str,
    after: u64,
    limit: u32,
) -> Result<Vec<(u64, LegEnd)>> {
    let rows = db
        .rows(
            "SELECT number, body FROM completions WHERE parent = (SELECT number FROM executions WHERE id = $1) \
             AND number > $2 ORDER BY number LIMIT $3",
            &[&parent, &int(after), &i64::from(limit)],
        )
        .await?;
    rows.iter().map(|row| Ok((count(row.get(0)), from_json(row.get(1))?))).collect()
}
