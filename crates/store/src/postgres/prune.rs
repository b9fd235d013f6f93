//! Forgetting executions that ended long ago: legs before their parents, plans with their last execution. Deployment history stays.

use manifold_model::{ExecutionId, Millis};

use super::writing::Writing;
use crate::{Hint, Result};

pub(super) async fn executions(
    writing: &mut Writing<'_>,
    ended_before: Millis,
    limit: u32,
) -> Result<Vec<ExecutionId>> {
    // Rows that another server is pruning at this moment are left to it.
    let old = writing
        .db
        .rows(
            "SELECT e.number, e.id FROM executions e LEFT JOIN executions p ON p.id = e.parent \
             WHERE e.final AND e.ended_at < $1 AND (p.id IS NULL OR (p.final AND p.ended_at < $1)) \
             AND NOT EXISTS (SELECT 1 FROM executions leg WHERE leg.parent = e.id) \
             ORDER BY e.ended_at, e.number LIMIT $2 FOR UPDATE OF e SKIP LOCKED",
            &[&ended_before, &i64::from(limit)],
        )
        .await?;
    let numbers: Vec<i64> = old.iter().map(|row| row.get(0)).collect();
    let ids: Vec<String> = old.iter().map(|row| row.get(1)).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let db = &writing.db;
    for table in
        ["journal", "execution_rows", "execution_services", "inbox", "timers", "locks", "permits", "tasks"]
    {
        db.run(&format!("DELETE FROM {table} WHERE execution = ANY($1)"), &[&numbers]).await?;
    }
    db.run("DELETE FROM completions WHERE parent = ANY($1) OR leg = ANY($2)", &[&numbers, &ids]).await?;
    for table in ["seats", "idempotency"] {
        db.run(&format!("DELETE FROM {table} WHERE execution = ANY($1)"), &[&ids]).await?;
    }
    // Scopes of barriers are `PARENT/STAGE`.
    for table in ["barriers", "seats"] {
        let sql = format!(
            "DELETE FROM {table} t USING unnest($1::text[]) AS gone (id) \
             WHERE t.scope >= gone.id || '/' COLLATE \"C\" AND t.scope < gone.id || '0' COLLATE \"C\""
        );
        db.run(&sql, &[&ids]).await?;
    }
    plans(writing, &numbers).await?;
    writing.db.run("DELETE FROM executions WHERE number = ANY($1)", &[&numbers]).await?;
    writing.hint(Hint::Rows(None));
    Ok(ids.into_iter().map(ExecutionId::from).collect())
}

/// Plans that nothing uses any more. Whoever creates an execution with one of them has locked it, so it is locked here before it is looked at
/// whether it is used.
async fn plans(writing: &Writing<'_>, numbers: &[i64]) -> Result<()> {
    let db = &writing.db;
    let gone = db.rows("DELETE FROM plan_uses WHERE execution = ANY($1) RETURNING plan", &[&numbers]).await?;
    let mut gone: Vec<String> = gone.iter().map(|row| row.get(0)).collect();
    gone.sort();
    gone.dedup();
    db.rows("SELECT 1 FROM plans WHERE digest = ANY($1) ORDER BY digest FOR UPDATE", &[&gone]).await?;
    db.run(
        "DELETE FROM plans WHERE digest = ANY($1) \
         AND NOT EXISTS (SELECT 1 FROM plan_uses WHERE plan_uses.plan = plans.digest)",
        &[&gone],
    )
    .await?;
    Ok(())
}
