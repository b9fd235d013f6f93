//! Secret records and their sealed values; the store never sees a value.

use manifold_model::secret::{SecretRecord, SecretType};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::writer::Writing;
use super::{from_json, to_json};
use crate::values::secret_type;
use crate::{Result, SecretRow, StoreError};

pub(super) fn put(writing: &Writing<'_>, secret: &SecretRow) -> Result<()> {
    let record = &secret.record;
    let kind = secret_type(record.kind);
    let namesake: Option<i64> = writing
        .sql("SELECT 1 FROM secrets WHERE name = ?1 AND kind = ?2 AND id <> ?3")?
        .query_row([record.name.as_str(), kind, record.id.as_str()], |row| row.get(0))
        .optional()?;
    if namesake.is_some() {
        return Err(StoreError::Exists(format!("a secret {} of type {kind}", record.name)));
    }
    writing
        .sql("INSERT OR REPLACE INTO secrets (id, kind, name, record, sealed) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![record.id.as_str(), kind, record.name, to_json(record)?, secret.sealed])?;
    Ok(())
}

pub(super) fn by_id(db: &Connection, id: &str) -> Result<Option<SecretRow>> {
    db.prepare_cached("SELECT record, sealed FROM secrets WHERE id = ?1")?
        .query_and_then([id], secret)?
        .next()
        .transpose()
}

pub(super) fn named(db: &Connection, name: &str, kind: Option<SecretType>) -> Result<Option<SecretRow>> {
    db.prepare_cached(
        "SELECT record, sealed FROM secrets WHERE name = ?1 AND (?2 IS NULL OR kind = ?2) ORDER BY kind LIMIT 1",
    )?
    .query_and_then(params![name, kind.map(secret_type)], secret)?
    .next()
    .transpose()
}

pub(super) fn records(db: &Connection) -> Result<Vec<SecretRecord>> {
    db.prepare_cached("SELECT record FROM secrets ORDER BY name, kind")?
        .query_and_then([], |row| from_json(&row.get::<_, Vec<u8>>(0)?))?
        .collect()
}

pub(super) fn delete(writing: &Writing<'_>, id: &str) -> Result<()> {
    match writing.sql("DELETE FROM secrets WHERE id = ?1")?.execute([id])? {
        0 => Err(StoreError::Missing(format!("secret {id}"))),
        _ => Ok(()),
    }
}

fn secret(row: &Row<'_>) -> Result<SecretRow> {
    Ok(SecretRow { record: from_json(&row.get::<_, Vec<u8>>(0)?)?, sealed: row.get(1)? })
}
