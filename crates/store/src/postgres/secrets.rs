//! Secret records and their sealed values; the store never sees a value.

use manifold_model::secret::{SecretRecord, SecretType};
use tokio_postgres::Row;

use super::db::Db;
use super::guards::Guard;
use super::writing::Writing;
use super::{from_json, to_json};
use crate::values::secret_type;
use crate::{Result, SecretRow, StoreError};

pub(super) async fn put(writing: &mut Writing<'_>, secret: &SecretRow) -> Result<()> {
    let record = &secret.record;
    let (id, kind) = (record.id.as_str(), secret_type(record.kind));
    writing.hold(&[Guard::Records]).await?;
    let namesake = writing
        .db
        .maybe(
            "SELECT 1 FROM secrets WHERE name = $1 AND kind = $2 AND id <> $3",
            &[&record.name, &kind, &id],
        )
        .await?;
    if namesake.is_some() {
        return Err(StoreError::Exists(format!("a secret {} of type {kind}", record.name)));
    }
    writing
        .db
        .run(
            "INSERT INTO secrets (id, kind, name, record, sealed) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) \
             DO UPDATE SET kind = excluded.kind, name = excluded.name, record = excluded.record, \
             sealed = excluded.sealed",
            &[&id, &kind, &record.name, &to_json(record)?, &secret.sealed],
        )
        .await?;
    Ok(())
}

pub(super) async fn by_id(db: &Db<'_>, id: &str) -> Result<Option<SecretRow>> {
    db.maybe("SELECT record, sealed FROM secrets WHERE id = $1", &[&id])
        .await?
        .map(|row| secret(&row))
        .transpose()
}

pub(super) async fn named(db: &Db<'_>, name: &str, kind: Option<SecretType>) -> Result<Option<SecretRow>> {
    db.maybe(
        "SELECT record, sealed FROM secrets WHERE name = $1 AND ($2::text IS NULL OR kind = $2) \
         ORDER BY kind LIMIT 1",
        &[&name, &kind.map(secret_type)],
    )
    .await?
    .map(|row| secret(&row))
    .transpose()
}

pub(super) async fn records(db: &Db<'_>) -> Result<Vec<SecretRecord>> {
    let found = db.rows("SELECT record FROM secrets ORDER BY name, kind", &[]).await?;
    found.iter().map(|row| from_json(row.get(0))).collect()
}

pub(super) async fn delete(writing: &mut Writing<'_>, id: &str) -> Result<()> {
    match writing.db.run("DELETE FROM secrets WHERE id = $1", &[&id]).await? {
        0 => Err(StoreError::Missing(format!("secret {id}"))),
        _ => Ok(()),
    }
}

fn secret(row: &Row) -> Result<SecretRow> {
    Ok(SecretRow { record: from_json(row.get(0))?, sealed: row.get(1) })
}
