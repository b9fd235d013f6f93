//! Rows of executions as the database has them: columns for what is filtered and sorted, JSON for the rest.

use manifold_model::ExecutionId;
use manifold_model::execution::{ExecutionRow, RowState};
use manifold_model::request::{Cause, ExecutionType};
use rusqlite::{OptionalExtension, Row, params};

use super::writer::Writing;
use super::{count, from_json, int, to_json};
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

pub(super) fn find(writing: &Writing<'_>, id: &ExecutionId) -> Result<Option<Known>> {
    Ok(writing
        .sql("SELECT number, seq, status, parent FROM executions WHERE id = ?1")?
        .query_row([id.as_str()], |row| {
            Ok(Known {
                number: row.get(0)?,
                seq: count(row.get(1)?),
                status: row.get(2)?,
                parent: row.get(3)?,
            })
        })
        .optional()?)
}

pub(super) fn known(writing: &Writing<'_>, id: &ExecutionId) -> Result<Known> {
    find(writing, id)?.ok_or_else(|| StoreError::Missing(format!("execution {id}")))
}

pub(super) fn number(writing: &Writing<'_>, id: &ExecutionId) -> Result<i64> {
    Ok(known(writing, id)?.number)
}

/// Id of the execution with this number.
pub(super) fn id_of(db: &rusqlite::Connection, number: i64) -> Result<ExecutionId> {
    let id: String = db
        .prepare_cached("SELECT id FROM executions WHERE number = ?1")?
        .query_row([number], |row| row.get(0))?;
    Ok(id.into())
}

pub(super) fn type_name(kind: ExecutionType) -> &'static str {
    match kind {
        ExecutionType::Workflow => "WORKFLOW",
        ExecutionType::Pipeline => "PIPELINE",
    }
}

/// Inserts a row; returns its number.
pub(super) fn insert(writing: &Writing<'_>, row: &ExecutionRow) -> Result<i64> {
    let caused_by = match &row.cause {
        Cause::ApiKey { id, .. } | Cause::User { id, .. } => id.as_str(),
        Cause::Pipeline { execution } => execution.as_str(),
    };
    let infrastructure_name = row.infrastructure.as_ref().map(|named| named.name.as_str());
    let state = &row.state;
    writing
        .sql(
            "INSERT INTO executions (id, kind, application, entity, parent, element, stage, stage_element, leg, \
             environment, infrastructure, infrastructure_name, infrastructure_sort, caused_by, resumed_by, \
             created_at, status, final, started_at, ended_at, seq, state) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, \
             ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)",
        )?
        .execute(params![
            row.id.as_str(),
            type_name(row.kind),
            row.application.id.as_str(),
            row.entity.id.as_str(),
            row.parent.as_ref().map(ExecutionId::as_str),
            row.element.as_ref().map(AsRef::<str>::as_ref),
            row.place.map(|place| place.stage),
            row.place.map(|place| place.element),
            row.place.map(|place| place.leg),
            row.environment.as_ref().map(|named| named.id.as_str()),
            row.infrastructure.as_ref().map(|named| named.id.as_str()),
            infrastructure_name,
            infrastructure_name.map(str::to_lowercase),
            caused_by,
            row.resumed_by.as_ref().map(ExecutionId::as_str),
            row.created_at,
            state.status.name(),
            state.status.is_final(),
            state.started_at,
            state.ended_at,
            int(state.seq),
            to_json(state)?
        ])?;
    let number = writing.db.last_insert_rowid();
    let fixed = ExecutionRow { state: RowState::default(), ..row.clone() };
    writing
        .sql("INSERT INTO execution_rows (execution, body) VALUES (?1, ?2)")?
        .execute(params![number, to_json(&fixed)?])?;
    for service in &row.services {
        writing
            .sql("INSERT OR IGNORE INTO execution_services (execution, service) VALUES (?1, ?2)")?
            .execute(params![number, service.id.as_str()])?;
    }
    Ok(number)
}

/// Writes the changing part. The status has an index, so it is written only when it changed.
pub(super) fn update(writing: &Writing<'_>, known: &Known, state: &RowState, seq: u64) -> Result<()> {
    let body = to_json(state)?;
    if known.status == state.status.name() {
        writing
            .sql("UPDATE executions SET started_at = ?2, ended_at = ?3, seq = ?4, state = ?5 WHERE number = ?1")?
            .execute(params![known.number, state.started_at, state.ended_at, int(seq), body])?;
        return Ok(());
    }
    writing
        .sql(
            "UPDATE executions SET started_at = ?2, ended_at = ?3, seq = ?4, state = ?5, status = ?6, final = ?7 \
             WHERE number = ?1",
        )?
        .execute(params![
            known.number,
            state.started_at,
            state.ended_at,
            int(seq),
            body,
            state.status.name(),
            state.status.is_final()
        ])?;
    Ok(())
}

/// Writes the number of the last event alone.
pub(super) fn update_seq(writing: &Writing<'_>, known: &Known, seq: u64) -> Result<()> {
    writing
        .sql("UPDATE executions SET seq = ?2 WHERE number = ?1")?
        .execute(params![known.number, int(seq)])?;
    Ok(())
}

/// Reads [`COLUMNS`].
pub(super) fn execution(row: &Row<'_>) -> Result<ExecutionRow> {
    let mut execution: ExecutionRow = from_json(&row.get::<_, Vec<u8>>(0)?)?;
    execution.state = from_json(&row.get::<_, Vec<u8>>(1)?)?;
    execution.state.seq = count(row.get(2)?);
    execution.resumed_by = row.get::<_, Option<String>>(3)?.map(ExecutionId::from);
    Ok(execution)
}
