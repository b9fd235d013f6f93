//! Rows of executions as the database has them: columns for what is filtered and sorted, JSON for the rest.

use std::collections::HashMap;

use manifold_model::ExecutionId;
use manifold_model::execution::{ExecutionRow, RowState};
use manifold_model::request::{Cause, ExecutionType};
use tokio_postgres::Row;

use super::db::{Db, Param};
use super::writing::Writing;
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
    /// Its parent.
    pub(super) parent: Option<String>,
}

/// Locks executions for appending, all in one order, and reads them as they are now. One that is not there is left out.
pub(super) const LOCK: &str =
    "SELECT number, id, seq, parent FROM executions WHERE id = ANY($1) ORDER BY number FOR NO KEY UPDATE";

/// Rows of [`LOCK`], by id.
pub(super) fn known(rows: Vec<Row>) -> HashMap<String, Known> {
    rows.into_iter()
        .map(|row| (row.get(1), Known { number: row.get(0), seq: count(row.get(2)), parent: row.get(3) }))
        .collect()
}

/// Number of an execution.
pub(super) async fn number(db: &Db<'_>, id: &ExecutionId) -> Result<i64> {
    let row = db.maybe("SELECT number FROM executions WHERE id = $1", &[&id.as_str()]).await?;
    row.map(|row| row.get(0)).ok_or_else(|| missing(id))
}

/// Numbers of executions; one that is not there is [`StoreError::Missing`].
pub(super) async fn numbers<'i>(
    db: &Db<'_>,
    ids: impl Iterator<Item = &'i ExecutionId> + Clone,
) -> Result<HashMap<ExecutionId, i64>> {
    let wanted: Vec<&str> = ids.clone().map(ExecutionId::as_str).collect();
    let rows = db.rows("SELECT id, number FROM executions WHERE id = ANY($1)", &[&wanted]).await?;
    let numbers: HashMap<ExecutionId, i64> =
        rows.iter().map(|row| (row.get::<_, String>(0).into(), row.get(1))).collect();
    match ids.into_iter().find(|id| !numbers.contains_key(*id)) {
        Some(id) => Err(missing(id)),
        None => Ok(numbers),
    }
}

pub(super) fn missing(id: &ExecutionId) -> StoreError {
    StoreError::Missing(format!("execution {id}"))
}

/// Id of the execution with this number.
pub(super) async fn id_of(db: &Db<'_>, number: i64) -> Result<ExecutionId> {
    let row = db.one("SELECT id FROM executions WHERE number = $1", &[&number]).await?;
    Ok(row.get::<_, String>(0).into())
}

pub(super) fn type_name(kind: ExecutionType) -> &'static str {
    match kind {
        ExecutionType::Workflow => "WORKFLOW",
        ExecutionType::Pipeline => "PIPELINE",
    }
}

/// Columns of new rows, one list each.
#[derive(Default)]
struct Columns<'r> {
    ids: Vec<&'r str>,
    kinds: Vec<&'r str>,
    applications: Vec<&'r str>,
    entities: Vec<&'r str>,
    parents: Vec<Option<&'r str>>,
    elements: Vec<Option<&'r str>>,
    stages: Vec<Option<i64>>,
    stage_elements: Vec<Option<i64>>,
    legs: Vec<Option<i64>>,
    environments: Vec<Option<&'r str>>,
    infrastructures: Vec<Option<&'r str>>,
    infrastructure_names: Vec<Option<&'r str>>,
    infrastructure_sorts: Vec<Option<String>>,
    causes: Vec<&'r str>,
    resumed_by: Vec<Option<&'r str>>,
    created_at: Vec<i64>,
    statuses: Vec<&'r str>,
    finals: Vec<bool>,
    started_at: Vec<Option<i64>>,
    ended_at: Vec<Option<i64>>,
    seqs: Vec<i64>,
    states: Vec<Vec<u8>>,
}

impl<'r> Columns<'r> {
    fn push(&mut self, row: &'r ExecutionRow) -> Result<()> {
        let place = row.place;
        let infrastructure_name = row.infrastructure.as_ref().map(|named| named.name.as_str());
        self.ids.push(row.id.as_str());
        self.kinds.push(type_name(row.kind));
        self.applications.push(row.application.id.as_str());
        self.entities.push(row.entity.id.as_str());
        self.parents.push(row.parent.as_ref().map(ExecutionId::as_str));
        self.elements.push(row.element.as_ref().map(AsRef::<str>::as_ref));
        self.stages.push(place.map(|place| place.stage.into()));
        self.stage_elements.push(place.map(|place| place.element.into()));
        self.legs.push(place.map(|place| place.leg.into()));
        self.environments.push(row.environment.as_ref().map(|named| named.id.as_str()));
        self.infrastructures.push(row.infrastructure.as_ref().map(|named| named.id.as_str()));
        self.infrastructure_names.push(infrastructure_name);
        self.infrastructure_sorts.push(infrastructure_name.map(str::to_lowercase));
        self.causes.push(match &row.cause {
            Cause::ApiKey { id, .. } | Cause::User { id, .. } => id.as_str(),
            Cause::Pipeline { execution } => execution.as_str(),
        });
        self.resumed_by.push(row.resumed_by.as_ref().map(ExecutionId::as_str));
        self.created_at.push(row.created_at);
        let state = &row.state;
        self.statuses.push(state.status.name());
        self.finals.push(state.status.is_final());
        self.started_at.push(state.started_at);
        self.ended_at.push(state.ended_at);
        self.seqs.push(int(state.seq));
        self.states.push(to_json(state)?);
        Ok(())
    }
}

/// Inserts rows in their order; returns the numbers of those that were not there by id or by (parent, element, ordinal).
pub(super) async fn insert(writing: &Writing<'_>, rows: &[&ExecutionRow]) -> Result<HashMap<String, i64>> {
    let mut new = Columns::default();
    for row in rows {
        new.push(row)?;
    }
    let inserted = writing
        .db
        .rows(
            "INSERT INTO executions (id, kind, application, entity, parent, element, stage, stage_element, leg, \
             environment, infrastructure, infrastructure_name, infrastructure_sort, caused_by, resumed_by, \
             created_at, status, final, started_at, ended_at, seq, state) \
             SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], \
             $7::bigint[], $8::bigint[], $9::bigint[], $10::text[], $11::text[], $12::text[], $13::text[], \
             $14::text[], $15::text[], $16::bigint[], $17::text[], $18::bool[], $19::bigint[], $20::bigint[], \
             $21::bigint[], $22::bytea[]) ON CONFLICT DO NOTHING RETURNING id, number",
            &[
                &new.ids,
                &new.kinds,
                &new.applications,
                &new.entities,
                &new.parents,
                &new.elements,
                &new.stages,
                &new.stage_elements,
                &new.legs,
                &new.environments,
                &new.infrastructures,
                &new.infrastructure_names,
                &new.infrastructure_sorts,
                &new.causes,
                &new.resumed_by,
                &new.created_at,
                &new.statuses,
                &new.finals,
                &new.started_at,
                &new.ended_at,
                &new.seqs,
                &new.states,
            ],
        )
        .await?;
    let numbers: HashMap<String, i64> = inserted.iter().map(|row| (row.get(0), row.get(1))).collect();
    insert_fixed(writing, rows, &numbers).await?;
    Ok(numbers)
}

/// The part that never changes, and the services.
async fn insert_fixed(
    writing: &Writing<'_>,
    rows: &[&ExecutionRow],
    inserted: &HashMap<String, i64>,
) -> Result<()> {
    let (mut numbers, mut bodies) = (Vec::new(), Vec::new());
    let (mut of, mut services) = (Vec::new(), Vec::new());
    for row in rows {
        let Some(number) = inserted.get(row.id.as_str()) else { continue };
        let fixed = ExecutionRow { state: RowState::default(), ..(*row).clone() };
        numbers.push(*number);
        bodies.push(to_json(&fixed)?);
        for service in &row.services {
            of.push(*number);
            services.push(service.id.as_str());
        }
    }
    let db = &writing.db;
    let (fixed, serviced): ([Param<'_>; 2], [Param<'_>; 2]) = ([&numbers, &bodies], [&of, &services]);
    futures::try_join!(
        db.run(
            "INSERT INTO execution_rows (execution, body) SELECT * FROM unnest($1::bigint[], $2::bytea[])",
            &fixed,
        ),
        db.run(
            "INSERT INTO execution_services (execution, service) SELECT * FROM unnest($1::bigint[], $2::text[]) \
             ON CONFLICT DO NOTHING",
            &serviced,
        ),
    )?;
    Ok(())
}

/// Changing parts of rows, one list a column.
#[derive(Default)]
pub(super) struct Updates {
    numbers: Vec<i64>,
    started_at: Vec<Option<i64>>,
    ended_at: Vec<Option<i64>>,
    seqs: Vec<i64>,
    statuses: Vec<&'static str>,
    finals: Vec<bool>,
    states: Vec<Vec<u8>>,
    /// Executions of which only the number of the last event changes.
    only: Vec<i64>,
    only_seqs: Vec<i64>,
}

impl Updates {
    pub(super) fn push(&mut self, known: &Known, state: Option<&RowState>, seq: u64) -> Result<()> {
        let Some(state) = state else {
            if seq != known.seq {
                self.only.push(known.number);
                self.only_seqs.push(int(seq));
            }
            return Ok(());
        };
        self.numbers.push(known.number);
        self.started_at.push(state.started_at);
        self.ended_at.push(state.ended_at);
        self.seqs.push(int(seq));
        self.statuses.push(state.status.name());
        self.finals.push(state.status.is_final());
        self.states.push(to_json(state)?);
        Ok(())
    }

    /// Writes them. A status that stays as it was costs its index nothing: the database compares.
    pub(super) async fn write(&self, db: &Db<'_>) -> Result<()> {
        if !self.numbers.is_empty() {
            db.run(
                "UPDATE executions e SET started_at = u.started_at, ended_at = u.ended_at, seq = u.seq, \
                 status = u.status, final = u.final, state = u.state \
                 FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bool[], $7::bytea[]) \
                 AS u (number, started_at, ended_at, seq, status, final, state) WHERE e.number = u.number",
                &[
                    &self.numbers,
                    &self.started_at,
                    &self.ended_at,
                    &self.seqs,
                    &self.statuses,
                    &self.finals,
                    &self.states,
                ],
            )
            .await?;
        }
        if !self.only.is_empty() {
            db.run(
                "UPDATE executions e SET seq = u.seq FROM unnest($1::bigint[], $2::bigint[]) AS u (number, seq) \
                 WHERE e.number = u.number",
                &[&self.only, &self.only_seqs],
            )
            .await?;
        }
        Ok(())
    }
}

/// Reads [`COLUMNS`].
pub(super) fn execution(row: &Row) -> Result<ExecutionRow> {
    let mut execution: ExecutionRow = from_json(row.get(0))?;
    execution.state = from_json(row.get(1))?;
    execution.state.seq = count(row.get(2));
    execution.resumed_by = row.get::<_, Option<String>>(3).map(ExecutionId::from);
    Ok(execution)
}
