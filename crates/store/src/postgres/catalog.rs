//! The configuration tree: documents at the head, every revision of each, and who refers to whom.

use std::sync::Arc;

use manifold_model::EntityId;
use tokio_postgres::Row;

use super::db::Db;
use super::guards::Guard;
use super::writing::Writing;
use super::{count, int};
use crate::{
    CatalogChange, CatalogRows, DocumentPut, DocumentRevision, DocumentRow, Hint, Result, StoreError,
};

const COLUMNS: &str = "id, path, application, kind, body, is_file, revision, created_at";

pub(super) async fn revision(db: &Db<'_>) -> Result<u64> {
    let head = db.one("SELECT max(revision) FROM catalog_revisions", &[]).await?;
    Ok(count(head.get::<_, Option<i64>>(0).unwrap_or_default()))
}

pub(super) async fn head(db: &Db<'_>) -> Result<CatalogRows> {
    let documents = db.rows(&format!("SELECT {COLUMNS} FROM documents ORDER BY path"), &[]).await?;
    Ok(CatalogRows { revision: revision(db).await?, documents: documents.iter().map(document).collect() })
}

pub(super) async fn since(db: &Db<'_>, after: u64) -> Result<(CatalogRows, Vec<EntityId>)> {
    let changed = format!("SELECT {COLUMNS} FROM documents WHERE revision > $1 ORDER BY path");
    let documents = db.rows(&changed, &[&int(after)]).await?;
    let deleted = db
        .rows(
            "SELECT DISTINCT id FROM document_revisions r WHERE revision > $1 AND body IS NULL \
             AND NOT EXISTS (SELECT 1 FROM documents d WHERE d.id = r.id) ORDER BY id",
            &[&int(after)],
        )
        .await?;
    let rows =
        CatalogRows { revision: revision(db).await?, documents: documents.iter().map(document).collect() };
    Ok((rows, deleted.iter().map(id).collect()))
}

pub(super) async fn referrers(db: &Db<'_>, referred: &str) -> Result<Vec<EntityId>> {
    let found =
        db.rows("SELECT referrer FROM refs WHERE referred = $1 ORDER BY referrer", &[&referred]).await?;
    Ok(found.iter().map(id).collect())
}

pub(super) async fn history(db: &Db<'_>, id: &str, limit: u32) -> Result<Vec<DocumentRevision>> {
    let found = db
        .rows(
            "SELECT d.revision, d.path, d.body, c.author, c.source, c.reason, c.at FROM document_revisions d \
             JOIN catalog_revisions c ON c.revision = d.revision WHERE d.id = $1 \
             ORDER BY d.revision DESC LIMIT $2",
            &[&id, &i64::from(limit)],
        )
        .await?;
    let one = |row: &Row| DocumentRevision {
        revision: count(row.get(0)),
        path: row.get(1),
        body: row.get::<_, Option<&[u8]>>(2).map(Arc::from),
        author: row.get(3),
        source: row.get(4),
        reason: row.get(5),
        at: row.get(6),
    };
    Ok(found.iter().map(one).collect())
}

/// The document that had this path at that revision; a document renamed away or deleted by then is not it.
pub(super) async fn at(db: &Db<'_>, path: &str, revision: u64) -> Result<Option<Arc<[u8]>>> {
    let body = db
        .maybe(
            "SELECT body FROM document_revisions d WHERE path = $1 AND revision <= $2 AND body IS NOT NULL \
             AND NOT EXISTS (SELECT 1 FROM document_revisions n WHERE n.id = d.id AND n.revision > d.revision \
             AND n.revision <= $2) ORDER BY revision DESC LIMIT 1",
            &[&path, &int(revision)],
        )
        .await?;
    Ok(body.map(|row| Arc::from(row.get::<_, &[u8]>(0))))
}

pub(super) async fn commit(writing: &mut Writing<'_>, change: &CatalogChange) -> Result<u64> {
    // One change at a time, on whichever server: the next sees what this one wrote.
    writing.hold(&[Guard::Catalog]).await?;
    let found = revision(&writing.db).await?;
    if let Some(expected) = change.expected
        && expected != found
    {
        return Err(StoreError::Conflict { expected, found });
    }
    let revision = found + 1;
    writing
        .db
        .run(
            "INSERT INTO catalog_revisions (revision, author, source, reason, at) VALUES ($1, $2, $3, $4, $5)",
            &[&int(revision), &change.author, &change.source, &change.reason, &change.at],
        )
        .await?;
    for id in &change.deletes {
        delete(&writing.db, id.as_str(), revision).await?;
    }
    for put in &change.puts {
        write(&writing.db, put, revision, change.at).await?;
    }
    refuse_shared_paths(&writing.db, &change.puts).await?;
    writing.hint(Hint::Catalog(revision));
    Ok(revision)
}

async fn delete(db: &Db<'_>, id: &str, revision: u64) -> Result<()> {
    let deleted = db.maybe("DELETE FROM documents WHERE id = $1 RETURNING path", &[&id]).await?;
    let path: String =
        deleted.map(|row| row.get(0)).ok_or_else(|| StoreError::Missing(format!("document {id}")))?;
    db.run("DELETE FROM refs WHERE referrer = $1", &[&id]).await?;
    keep_revision(db, id, revision, &path, None).await
}

async fn write(db: &Db<'_>, put: &DocumentPut, revision: u64, at: i64) -> Result<()> {
    let id = put.id.as_str();
    db.run(
        "INSERT INTO documents (id, path, application, kind, body, is_file, revision, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET path = $2, application = $3, \
         kind = $4, body = $5, is_file = $6, revision = $7",
        &[
            &id,
            &put.path,
            &put.application.as_ref().map(EntityId::as_str),
            &put.kind,
            &&*put.body,
            &put.is_file,
            &int(revision),
            &at,
        ],
    )
    .await?;
    db.run("DELETE FROM refs WHERE referrer = $1", &[&id]).await?;
    if !put.refs.is_empty() {
        let referred: Vec<&str> = put.refs.iter().map(EntityId::as_str).collect();
        db.run(
            "INSERT INTO refs (referrer, referred) SELECT $1, referred FROM unnest($2::text[]) AS referred \
             ON CONFLICT DO NOTHING",
            &[&id, &referred],
        )
        .await?;
    }
    keep_revision(db, id, revision, &put.path, Some(&put.body)).await
}

/// A second write of a document in one change replaces the first: a revision holds each document once.
async fn keep_revision(db: &Db<'_>, id: &str, revision: u64, path: &str, body: Option<&[u8]>) -> Result<()> {
    db.run(
        "INSERT INTO document_revisions (id, revision, path, body) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (id, revision) DO UPDATE SET path = excluded.path, body = excluded.body",
        &[&id, &int(revision), &path, &body],
    )
    .await?;
    Ok(())
}

/// Of the paths written, names the first that two documents have now.
async fn refuse_shared_paths(db: &Db<'_>, puts: &[DocumentPut]) -> Result<()> {
    let paths: Vec<&str> = puts.iter().map(|put| put.path.as_str()).collect();
    let shared = db
        .rows("SELECT path FROM documents WHERE path = ANY($1) GROUP BY path HAVING count(*) > 1", &[&paths])
        .await?;
    let shared: Vec<&str> = shared.iter().map(|row| row.get(0)).collect();
    match paths.iter().find(|path| shared.contains(path)) {
        Some(path) => Err(StoreError::Exists(format!("a document at {path}"))),
        None => Ok(()),
    }
}

fn document(row: &Row) -> DocumentRow {
    DocumentRow {
        id: row.get::<_, String>(0).into(),
        path: row.get(1),
        application: row.get::<_, Option<String>>(2).map(EntityId::from),
        kind: row.get(3),
        body: row.get::<_, &[u8]>(4).into(),
        is_file: row.get(5),
        revision: count(row.get(6)),
        created_at: row.get(7),
    }
}

fn id(row: &Row) -> EntityId {
    row.get::<_, String>(0).into()
}
