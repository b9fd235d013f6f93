//! Forgetting executions that ended long ago: legs before their parents, plans with their last execution. Deployment history stays.

use manifold_model::{ExecutionId, Millis};
use rusqlite::params;

use super::writer::Writing;
use crate::{Hint, Result};

pub(super) fn executions(
    writing: &mut Writing<'_>,
    ended_before: Millis,
    limit: u32,
) -> Result<Vec<ExecutionId>> {
    let old: Vec<(i64, String)> = writing
        .sql(
            "SELECT e.number, e.id FROM executions e LEFT JOIN executions p ON p.id = e.parent \
             WHERE e.final = 1 AND e.ended_at < ?1 AND (p.id IS NULL OR (p.final = 1 AND p.ended_at < ?1)) \
             AND NOT EXISTS (SELECT 1 FROM executions leg WHERE leg.parent = e.id) ORDER BY e.ended_at LIMIT ?2",
        )?
        .query_map(params![ended_before, limit], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (number, id) in &old {
        execution(writing, *number, id)?;
    }
    if !old.is_empty() {
        let numbers: Vec<i64> = old.iter().map(|(number, _)| *number).collect();
        let numbers = serde_json::to_string(&numbers)?;
        writing
            .sql("DELETE FROM tasks WHERE execution IN (SELECT value FROM json_each(?1))")?
            .execute([numbers])?;
        writing.hint(Hint::Rows(None));
    }
    Ok(old.into_iter().map(|(_, id)| id.into()).collect())
}

fn execution(writing: &Writing<'_>, number: i64, id: &str) -> Result<()> {
    for table in ["journal", "execution_rows", "execution_services", "inbox", "timers", "locks", "permits"] {
        writing.sql(&format!("DELETE FROM {table} WHERE execution = ?1"))?.execute([number])?;
    }
    writing.sql("DELETE FROM completions WHERE parent = ?1 OR leg = ?2")?.execute(params![number, id])?;
    writing.sql("DELETE FROM seats WHERE execution = ?1")?.execute([id])?;
    writing.sql("DELETE FROM idempotency WHERE execution = ?1")?.execute([id])?;
    // Scopes of barriers are `PARENT/STAGE`, and "0" is what follows "/".
    for table in ["barriers", "seats"] {
        writing
            .sql(&format!("DELETE FROM {table} WHERE scope >= ?1 || '/' AND scope < ?1 || '0'"))?
            .execute([id])?;
    }
    let plans: Vec<String> = writing
        .sql("DELETE FROM plan_uses WHERE execution = ?1 RETURNING plan")?
        .query_map([number], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for plan in plans {
        writing
            .sql("DELETE FROM plans WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM plan_uses WHERE plan = ?1)")?
            .execute([plan])?;
    }
    writing.sql("DELETE FROM executions WHERE number = ?1")?.execute([number])?;
    Ok(())
}
