//! Timers: rows with a due time that become inbox items.

use manifold_model::{ExecutionId, Millis};
use rusqlite::params;

use super::inbox;
use super::writer::Writing;
use crate::{Hint, InboxItem, Result};

pub(super) fn set(writing: &mut Writing<'_>, execution: i64, timers: &[(String, Millis)]) -> Result<()> {
    for (key, due) in timers {
        writing
            .sql("INSERT OR REPLACE INTO timers (execution, key, due) VALUES (?1, ?2, ?3)")?
            .execute(params![execution, key, due])?;
        writing.hint(Hint::Timer(*due));
    }
    Ok(())
}

pub(super) fn drop(writing: &Writing<'_>, execution: i64, keys: &[String]) -> Result<()> {
    for key in keys {
        writing
            .sql("DELETE FROM timers WHERE execution = ?1 AND key = ?2")?
            .execute(params![execution, key])?;
    }
    Ok(())
}

pub(super) fn fire(
    writing: &mut Writing<'_>,
    now: Millis,
    limit: u32,
) -> Result<(Vec<ExecutionId>, Option<Millis>)> {
    let due: Vec<(i64, String, String)> = writing
        .sql(
            "SELECT t.execution, t.key, e.id FROM timers t JOIN executions e ON e.number = t.execution \
             WHERE t.due <= ?1 ORDER BY t.due LIMIT ?2",
        )?
        .query_map(params![now, limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut woken = Vec::new();
    for (execution, key, id) in due {
        writing
            .sql("DELETE FROM timers WHERE execution = ?1 AND key = ?2")?
            .execute(params![execution, key])?;
        inbox::put(writing, execution, &id, &InboxItem::Timer { key })?;
        let id = ExecutionId::from(id);
        if !woken.contains(&id) {
            woken.push(id);
        }
    }
    let next: Option<Millis> = writing.sql("SELECT min(due) FROM timers")?.query_row([], |row| row.get(0))?;
    Ok((woken, next))
}
