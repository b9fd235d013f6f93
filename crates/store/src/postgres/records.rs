//! Account records: settings, API keys, artifacts.

use manifold_model::artifact::Artifact;
use tokio_postgres::Row;

use super::db::Db;
use super::writing::Writing;
use super::{count, from_json, int, to_json};
use crate::{ApiKeyRow, Page, Result, StoreError};

pub(super) async fn setting(db: &Db<'_>, name: &str) -> Result<Option<String>> {
    Ok(db.maybe("SELECT value FROM settings WHERE name = $1", &[&name]).await?.map(|row| row.get(0)))
}

pub(super) async fn put_setting(
    writing: &mut Writing<'_>,
    name: &str,
    value: &str,
    only_new: bool,
) -> Result<String> {
    // A row that is there is written again even if it stays as it is: so it is read as the last writer left it, whoever that is.
    let sql = if only_new {
        "INSERT INTO settings AS s (name, value) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET value = s.value RETURNING value"
    } else {
        "INSERT INTO settings (name, value) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value RETURNING value"
    };
    Ok(writing.db.one(sql, &[&name, &value]).await?.get(0))
}

pub(super) async fn api_keys(db: &Db<'_>) -> Result<Vec<ApiKeyRow>> {
    let found = db.rows("SELECT id, name, hash, created_at FROM api_keys ORDER BY name, id", &[]).await?;
    let one = |row: &Row| ApiKeyRow {
        id: row.get::<_, String>(0).into(),
        name: row.get(1),
        hash: row.get(2),
        created_at: row.get(3),
    };
    Ok(found.iter().map(one).collect())
}

pub(super) async fn put_api_key(writing: &mut Writing<'_>, key: &ApiKeyRow) -> Result<()> {
    writing
        .db
        .run(
            "INSERT INTO api_keys (id, name, hash, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (id) \
             DO UPDATE SET name = excluded.name, hash = excluded.hash, created_at = excluded.created_at",
            &[&key.id.as_str(), &key.name, &key.hash, &key.created_at],
        )
        .await?;
    Ok(())
}

pub(super) async fn delete_api_key(writing: &mut Writing<'_>, id: &str) -> Result<()> {
    match writing.db.run("DELETE FROM api_keys WHERE id = $1", &[&id]).await? {
        0 => Err(StoreError::Missing(format!("API key {id}"))),
        _ => Ok(()),
    }
}

pub(super) async fn put_artifacts(writing: &mut Writing<'_>, artifacts: &[Artifact]) -> Result<u32> {
    let mut new = 0;
    for artifact in artifacts {
        new += u32::from(put_artifact(&writing.db, artifact).await?);
    }
    Ok(new)
}

/// Whether it was new. One that is there keeps the time at which it was collected first.
async fn put_artifact(db: &Db<'_>, artifact: &Artifact) -> Result<bool> {
    let id = artifact.id.as_str();
    let added = db
        .run(
            "INSERT INTO artifacts (id, source, collected_at, body) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (id) DO NOTHING",
            &[&id, &artifact.source.as_str(), &artifact.collected_at, &to_json(artifact)?],
        )
        .await?;
    if added > 0 {
        return Ok(true);
    }
    let there = db.one("SELECT body FROM artifacts WHERE id = $1 FOR UPDATE", &[&id]).await?;
    let there: Artifact = from_json(there.get(0))?;
    let merged = Artifact { collected_at: there.collected_at, ..artifact.clone() };
    if merged != there {
        db.run("UPDATE artifacts SET body = $2 WHERE id = $1", &[&id, &to_json(&merged)?]).await?;
    }
    Ok(false)
}

pub(super) async fn artifact(db: &Db<'_>, id: &str) -> Result<Option<Artifact>> {
    let body = db.maybe("SELECT body FROM artifacts WHERE id = $1", &[&id]).await?;
    body.map(|row| from_json(row.get(0))).transpose()
}

/// Builds collected together keep the order in which they came: newest first (`Outcome::builds`).
pub(super) async fn artifacts(db: &Db<'_>, source: &str, offset: u64, limit: u32) -> Result<Page<Artifact>> {
    let total = db.one("SELECT count(*) FROM artifacts WHERE source = $1", &[&source]).await?;
    let found = db
        .rows(
            "SELECT body FROM artifacts WHERE source = $1 ORDER BY collected_at DESC, number LIMIT $2 OFFSET $3",
            &[&source, &i64::from(limit), &int(offset)],
        )
        .await?;
    let items = found.iter().map(|row| from_json(row.get(0))).collect::<Result<_>>()?;
    Ok(Page { items, total: count(total.get(0)) })
}
