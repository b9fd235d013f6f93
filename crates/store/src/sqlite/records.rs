//! Account records: settings, API keys, artifacts.

use manifold_model::artifact::Artifact;
use rusqlite::{Connection, OptionalExtension, params};

use super::writer::Writing;
use super::{count, from_json, int, to_json};
use crate::{ApiKeyRow, Page, Result, StoreError};

pub(super) fn setting(db: &Connection, name: &str) -> Result<Option<String>> {
    Ok(db
        .prepare_cached("SELECT value FROM settings WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?)
}

pub(super) fn put_setting(writing: &Writing<'_>, name: &str, value: &str, only_new: bool) -> Result<String> {
    if only_new && let Some(there) = setting(writing.db, name)? {
        return Ok(there);
    }
    writing.sql("INSERT OR REPLACE INTO settings (name, value) VALUES (?1, ?2)")?.execute([name, value])?;
    Ok(value.to_owned())
}

pub(super) fn api_keys(db: &Connection) -> Result<Vec<ApiKeyRow>> {
    Ok(db
        .prepare_cached("SELECT id, name, hash, created_at FROM api_keys ORDER BY name, id")?
        .query_map([], |row| {
            Ok(ApiKeyRow {
                id: row.get::<_, String>(0)?.into(),
                name: row.get(1)?,
                hash: row.get(2)?,
                created_at: row.get(3)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?)
}

pub(super) fn put_api_key(writing: &Writing<'_>, key: &ApiKeyRow) -> Result<()> {
    writing
        .sql("INSERT OR REPLACE INTO api_keys (id, name, hash, created_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![key.id.as_str(), key.name, key.hash, key.created_at])?;
    Ok(())
}

pub(super) fn delete_api_key(writing: &Writing<'_>, id: &str) -> Result<()> {
    match writing.sql("DELETE FROM api_keys WHERE id = ?1")?.execute([id])? {
        0 => Err(StoreError::Missing(format!("API key {id}"))),
        _ => Ok(()),
    }
}

pub(super) fn put_artifacts(writing: &Writing<'_>, artifacts: &[Artifact]) -> Result<u32> {
    let mut new = 0;
    for artifact in artifacts {
        let there: Option<Vec<u8>> = writing
            .sql("SELECT body FROM artifacts WHERE id = ?1")?
            .query_row([artifact.id.as_str()], |row| row.get(0))
            .optional()?;
        let Some(there) = there else {
            writing
                .sql("INSERT INTO artifacts (id, source, collected_at, body) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![
                    artifact.id.as_str(),
                    artifact.source.as_str(),
                    artifact.collected_at,
                    to_json(artifact)?
                ])?;
            new += 1;
            continue;
        };
        let there: Artifact = from_json(&there)?;
        let merged = Artifact { collected_at: there.collected_at, ..artifact.clone() };
        if merged != there {
            writing
                .sql("UPDATE artifacts SET body = ?2 WHERE id = ?1")?
                .execute(params![artifact.id.as_str(), to_json(&merged)?])?;
        }
    }
    Ok(new)
}

pub(super) fn artifact(db: &Connection, id: &str) -> Result<Option<Artifact>> {
    let body: Option<Vec<u8>> = db
        .prepare_cached("SELECT body FROM artifacts WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    body.map(|body| from_json(&body)).transpose()
}

/// Builds collected together keep the order in which they came: newest first (`Outcome::builds`).
pub(super) fn artifacts(db: &Connection, source: &str, offset: u64, limit: u32) -> Result<Page<Artifact>> {
    let total: i64 = db
        .prepare_cached("SELECT count(*) FROM artifacts WHERE source = ?1")?
        .query_row([source], |row| row.get(0))?;
    let items = db
        .prepare_cached(
            "SELECT body FROM artifacts WHERE source = ?1 ORDER BY collected_at DESC, number LIMIT ?2 OFFSET ?3",
        )?
        .query_and_then(params![source, limit, int(offset)], |row| from_json(&row.get::<_, Vec<u8>>(0)?))?
        .collect::<Result<_>>()?;
    Ok(Page { items, total: count(total) })
}
