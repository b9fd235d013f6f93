//! Rows of executions as the database has them: columns for what is filtered and sorted, JSON for the rest.

use manifold_model::ExecutionId;
use manifold_model::execution::ExecutionRow;
use tokio_postgres::Row;

use super::db::Db;
use super::{count, from_json};
use crate::{Result, StoreError};

/// Columns that [`execution`] reads, of `executions e` joined with `execution_rows r`.
pub(super) const COLUMNS: &str = "r.body, e.state, e.seq, e.resumed_by";

/// What a write must know of an execution.
pub(super) struct Known {
    /// Its number in the database.
    pub(super) number: i64,
    /// Number of its last event.
    pub(super) seq: u64,
    /// Its status.
    pub(super) status: String,
    /// Its parent.
    pub(super) parent: Option<String>,
}

/// Number of an execution.
pub(super) async fn number(db: &Db<'_>, id: &ExecutionId) -> Result<i64> {
    let row = db.maybe("SELECT number FROM executions WHERE id = $1", &[&id.as_str()]).await?;
    row.map(|row| row.get(0)).ok_or_else(|| StoreError::Missing(format!("execution {id}")))
}

/// Id of the execution with this number.
pub(super) async fn id_of(db: &Db<'_>, number: i64) -> Result<ExecutionId> {
    let row = db.one("SELECT id FROM executions WHERE number = $1", &[&number]).await?;
    Ok(row.get::<_, String>(0).into())
}

/// Reads [`COLUMNS`].
pub(super) fn execution(row: &Row) -> Result<ExecutionRow> {
    let mut execution: ExecutionRow = from_json(row.get(0))?;
    execution.state = from_json(row.get(1))?;
    execution.state.seq = count(row.get(2));
    execution.resumed_by = row.get::<_, Option<String>>(3).map(ExecutionId::from);
    Ok(execution)
}
