//! The configuration tree: documents at the head, every revision of each, and who refers to whom.

use std::sync::Arc;

use manifold_model::EntityId;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::writer::Writing;
use super::{count, int};
use crate::{
    CatalogChange, CatalogRows, DocumentPut, DocumentRevision, DocumentRow, Hint, Result, StoreError,
};

const COLUMNS: &str = "id, path, application, kind, body, is_file, revision, created_at";

pub(super) fn revision(db: &Connection) -> Result<u64> {
    let head: Option<i64> =
        db.prepare_cached("SELECT max(revision) FROM catalog_revisions")?.query_row([], |row| row.get(0))?;
    Ok(count(head.unwrap_or_default()))
}

pub(super) fn head(db: &Connection) -> Result<CatalogRows> {
    let documents = db
        .prepare_cached(&format!("SELECT {COLUMNS} FROM documents ORDER BY path"))?
        .query_map([], document)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(CatalogRows { revision: revision(db)?, documents })
}

pub(super) fn since(db: &Connection, after: u64) -> Result<(CatalogRows, Vec<EntityId>)> {
    let documents = db
        .prepare_cached(&format!("SELECT {COLUMNS} FROM documents WHERE revision > ?1 ORDER BY path"))?
        .query_map([int(after)], document)?
        .collect::<rusqlite::Result<_>>()?;
    let deleted = db
        .prepare_cached(
            "SELECT DISTINCT id FROM document_revisions r WHERE revision > ?1 AND body IS NULL \
             AND NOT EXISTS (SELECT 1 FROM documents d WHERE d.id = r.id) ORDER BY id",
        )?
        .query_map([int(after)], |row| row.get::<_, String>(0))?
        .map(|id| id.map(EntityId::from))
        .collect::<rusqlite::Result<_>>()?;
    Ok((CatalogRows { revision: revision(db)?, documents }, deleted))
}

pub(super) fn referrers(db: &Connection, id: &str) -> Result<Vec<EntityId>> {
    Ok(db
        .prepare_cached("SELECT referrer FROM refs WHERE referred = ?1 ORDER BY referrer")?
        .query_map([id], |row| row.get::<_, String>(0))?
        .map(|id| id.map(EntityId::from))
        .collect::<rusqlite::Result<_>>()?)
}

pub(super) fn history(db: &Connection, id: &str, limit: u32) -> Result<Vec<DocumentRevision>> {
    Ok(db
        .prepare_cached(
            "SELECT d.revision, d.path, d.body, c.author, c.source, c.reason, c.at FROM document_revisions d \
             JOIN catalog_revisions c ON c.revision = d.revision WHERE d.id = ?1 \
             ORDER BY d.revision DESC LIMIT ?2",
        )?
        .query_map(params![id, limit], |row| {
            Ok(DocumentRevision {
                revision: count(row.get(0)?),
                path: row.get(1)?,
                body: row.get::<_, Option<Vec<u8>>>(2)?.map(Arc::from),
                author: row.get(3)?,
                source: row.get(4)?,
                reason: row.get(5)?,
                at: row.get(6)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?)
}

/// The document that had this path at that revision; a document renamed away or deleted by then is not it.
pub(super) fn at(db: &Connection, path: &str, revision: u64) -> Result<Option<Arc<[u8]>>> {
    let body: Option<Vec<u8>> = db
        .prepare_cached(
            "SELECT body FROM document_revisions d WHERE path = ?1 AND revision <= ?2 AND body IS NOT NULL \
             AND NOT EXISTS (SELECT 1 FROM document_revisions n WHERE n.id = d.id AND n.revision > d.revision \
             AND n.revision <= ?2) ORDER BY revision DESC LIMIT 1",
        )?
        .query_row(params![path, int(revision)], |row| row.get(0))
        .optional()?;
    Ok(body.map(Arc::from))
}

pub(super) fn commit(writing: &mut Writing<'_>, change: &CatalogChange) -> Result<u64> {
    let found = revision(writing.db)?;
    if let Some(expected) = change.expected
        && expected != found
    {
        return Err(StoreError::Conflict { expected, found });
    }
    let revision = found + 1;
    writing
        .sql("INSERT INTO catalog_revisions (revision, author, source, reason, at) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![int(revision), change.author, change.source, change.reason, change.at])?;
    for id in &change.deletes {
        delete(writing, id.as_str(), revision)?;
    }
    for put in &change.puts {
        write(writing, put, revision, change.at)?;
    }
    for put in &change.puts {
        refuse_shared_path(writing, &put.path)?;
    }
    writing.hint(Hint::Catalog(revision));
    Ok(revision)
}

fn delete(writing: &Writing<'_>, id: &str, revision: u64) -> Result<()> {
    let path: Option<String> = writing
        .sql("DELETE FROM documents WHERE id = ?1 RETURNING path")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    let path = path.ok_or_else(|| StoreError::Missing(format!("document {id}")))?;
    writing.sql("DELETE FROM refs WHERE referrer = ?1")?.execute([id])?;
    keep_revision(writing, id, revision, &path, None)
}

fn write(writing: &Writing<'_>, put: &DocumentPut, revision: u64, at: i64) -> Result<()> {
    let id = put.id.as_str();
    writing
        .sql(
            "INSERT INTO documents (id, path, application, kind, body, is_file, revision, created_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO UPDATE SET path = ?2, application = ?3, \
             kind = ?4, body = ?5, is_file = ?6, revision = ?7",
        )?
        .execute(params![
            id,
            put.path,
            put.application.as_ref().map(EntityId::as_str),
            put.kind,
            &put.body[..],
            put.is_file,
            int(revision),
            at
        ])?;
    writing.sql("DELETE FROM refs WHERE referrer = ?1")?.execute([id])?;
    for referred in &put.refs {
        writing
            .sql("INSERT OR IGNORE INTO refs (referrer, referred) VALUES (?1, ?2)")?
            .execute([id, referred.as_str()])?;
    }
    keep_revision(writing, id, revision, &put.path, Some(&put.body))
}

/// A second write of a document in one change replaces the first: a revision holds each document once.
fn keep_revision(
    writing: &Writing<'_>,
    id: &str,
    revision: u64,
    path: &str,
    body: Option<&[u8]>,
) -> Result<()> {
    writing
        .sql("INSERT OR REPLACE INTO document_revisions (id, revision, path, body) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![id, int(revision), path, body])?;
    Ok(())
}

fn refuse_shared_path(writing: &Writing<'_>, path: &str) -> Result<()> {
    let sharing: i64 =
        writing.sql("SELECT count(*) FROM documents WHERE path = ?1")?.query_row([path], |row| row.get(0))?;
    if sharing > 1 {
        return Err(StoreError::Exists(format!("a document at {path}")));
    }
    Ok(())
}

fn document(row: &Row<'_>) -> rusqlite::Result<DocumentRow> {
    Ok(DocumentRow {
        id: row.get::<_, String>(0)?.into(),
        path: row.get(1)?,
        application: row.get::<_, Option<String>>(2)?.map(EntityId::from),
        kind: row.get(3)?,
        body: row.get::<_, Vec<u8>>(4)?.into(),
        is_file: row.get(5)?,
        revision: count(row.get(6)?),
        created_at: row.get(7)?,
    })
}
