//! Timers: rows with a due time that become inbox items.

use std::collections::BTreeMap;

use manifold_model::{ExecutionId, Millis};

use super::db::Db;
use super::writing::Writing;
use super::{inbox, to_json};
use crate::{Hint, InboxItem, Result};

/// Changes of timers by appends.
#[derive(Default)]
pub(super) struct Changes {
    /// Timers to drop, then those to set: by execution and key, so that each stands once.
    dropped: Vec<(i64, String)>,
    set: BTreeMap<(i64, String), Millis>,
}

impl Changes {
    pub(super) fn drop(&mut self, execution: i64, keys: &[String]) {
        self.dropped.extend(keys.iter().map(|key| (execution, key.clone())));
    }

    pub(super) fn set(&mut self, writing: &mut Writing<'_>, execution: i64, timers: &[(String, Millis)]) {
        for (key, due) in timers {
            self.set.insert((execution, key.clone()), *due);
            writing.hint(Hint::Timer(*due));
        }
    }

    pub(super) async fn write(self, db: &Db<'_>) -> Result<()> {
        if !self.dropped.is_empty() {
            let (executions, keys): (Vec<i64>, Vec<String>) = self.dropped.into_iter().unzip();
            db.run(
                "DELETE FROM timers t USING unnest($1::bigint[], $2::text[]) AS d (execution, key) \
                 WHERE t.execution = d.execution AND t.key = d.key",
                &[&executions, &keys],
            )
            .await?;
        }
        if !self.set.is_empty() {
            let (keys, due): (Vec<(i64, String)>, Vec<Millis>) = self.set.into_iter().unzip();
            let (executions, keys): (Vec<i64>, Vec<String>) = keys.into_iter().unzip();
            db.run(
                "INSERT INTO timers (execution, key, due) \
                 SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[]) \
                 ON CONFLICT (execution, key) DO UPDATE SET due = excluded.due",
                &[&executions, &keys, &due],
            )
            .await?;
        }
        Ok(())
    }
}

/// Turns due timers into items. Timers that another server fires, or an append moves, at this moment are left to it.
pub(super) async fn fire(
    writing: &mut Writing<'_>,
    now: Millis,
    limit: u32,
) -> Result<(Vec<ExecutionId>, Option<Millis>)> {
    let mut due: Vec<(Millis, i64, String, String)> = writing
        .db
        .rows(
            "WITH due AS MATERIALIZED (SELECT execution, key FROM timers WHERE due <= $1 ORDER BY due LIMIT $2 \
             FOR UPDATE SKIP LOCKED) \
             DELETE FROM timers t USING due, executions e WHERE t.execution = due.execution AND t.key = due.key \
             AND e.number = t.execution RETURNING t.due, t.execution, t.key, e.id",
            &[&now, &i64::from(limit)],
        )
        .await?
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect();
    due.sort();
    let (mut woken, mut executions, mut items) = (Vec::new(), Vec::new(), Vec::new());
    for (_, execution, key, id) in due {
        executions.push(execution);
        items.push(to_json(&InboxItem::Timer { key })?);
        writing.hint_inbox(&id);
        let id = ExecutionId::from(id);
        if !woken.contains(&id) {
            woken.push(id);
        }
    }
    if !items.is_empty() {
        inbox::put_all(&writing.db, &executions, &items).await?;
    }
    let next = writing.db.one("SELECT min(due) FROM timers", &[]).await?;
    Ok((woken, next.get(0)))
}
