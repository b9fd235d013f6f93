//! Delegates of the account and the tokens with which they join.

use manifold_model::DelegateId;
use manifold_model::delegate::{DelegateStatus, Scopes};
use tokio_postgres::Row;

use super::db::Db;
use super::writing::Writing;
use super::{count, from_json, leases, to_json};
use crate::values::delegate_status;
use crate::{DelegateRow, DelegateTokenRow, Lease, Result, StoreError, delegate_holder};

const COLUMNS: &str = "d.id, d.name, d.status, d.key, d.token, d.announced, d.scopes, d.created_at, d.seen, \
                       l.holder, l.fence, l.node";
const FROM: &str = "FROM delegates d LEFT JOIN leases l ON l.holder = 'delegate/' || d.id";

pub(super) async fn enrol(writing: &mut Writing<'_>, new: &DelegateRow) -> Result<DelegateRow> {
    writing
        .db
        .run(
            "INSERT INTO delegates (id, name, status, key, token, announced, scopes, created_at, seen) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO UPDATE SET \
             name = excluded.name, announced = excluded.announced, seen = excluded.seen",
            &[
                &new.id.as_str(),
                &new.name,
                &new.status.as_str(),
                &new.key,
                &new.token,
                &to_json(&new.announced)?,
                &to_json(&new.scopes)?,
                &new.created_at,
                &new.seen,
            ],
        )
        .await?;
    leases::delegates_changed(writing).await?;
    one(&writing.db, &new.id).await?.ok_or_else(|| missing(&new.id))
}

pub(super) async fn all(db: &Db<'_>) -> Result<Vec<DelegateRow>> {
    let found = db.rows(&format!("SELECT {COLUMNS} {FROM} ORDER BY d.number"), &[]).await?;
    found.iter().map(delegate).collect()
}

pub(super) async fn one(db: &Db<'_>, id: &DelegateId) -> Result<Option<DelegateRow>> {
    let found = db.maybe(&format!("SELECT {COLUMNS} {FROM} WHERE d.id = $1"), &[&id.as_str()]).await?;
    found.map(|row| delegate(&row)).transpose()
}

pub(super) async fn set_status(
    writing: &mut Writing<'_>,
    id: &DelegateId,
    status: DelegateStatus,
) -> Result<()> {
    let changed = writing
        .db
        .run("UPDATE delegates SET status = $2 WHERE id = $1", &[&id.as_str(), &status.as_str()])
        .await?;
    if changed == 0 {
        return Err(missing(id));
    }
    if status != DelegateStatus::Enabled {
        leases::take_from(writing, &delegate_holder(id)).await?;
    }
    leases::delegates_changed(writing).await
}

pub(super) async fn set_scopes(writing: &mut Writing<'_>, id: &DelegateId, scopes: &Scopes) -> Result<()> {
    let changed = writing
        .db
        .run("UPDATE delegates SET scopes = $2 WHERE id = $1", &[&id.as_str(), &to_json(scopes)?])
        .await?;
    if changed == 0 { Err(missing(id)) } else { leases::delegates_changed(writing).await }
}

pub(super) async fn seen(writing: &mut Writing<'_>, ids: &[DelegateId]) -> Result<()> {
    // In one order: servers say so of the same delegates when one changes from one to another.
    let mut ids: Vec<&str> = ids.iter().map(DelegateId::as_str).collect();
    ids.sort_unstable();
    for id in ids {
        writing.db.run("UPDATE delegates SET seen = $2 WHERE id = $1", &[&id, &writing.now()]).await?;
    }
    Ok(())
}

pub(super) async fn create_token(writing: &mut Writing<'_>, token: &DelegateTokenRow) -> Result<()> {
    let added = writing
        .db
        .run(
            "INSERT INTO delegate_tokens (id, name, hash, approval_required, created_at, revoked_at) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            &[
                &token.id,
                &token.name,
                &token.hash,
                &token.approval_required,
                &token.created_at,
                &token.revoked_at,
            ],
        )
        .await?;
    if added == 0 {
        return Err(StoreError::Exists(format!("the delegate token {}", token.name)));
    }
    leases::delegates_changed(writing).await
}

pub(super) async fn tokens(db: &Db<'_>) -> Result<Vec<DelegateTokenRow>> {
    let found = db
        .rows(
            "SELECT id, name, hash, approval_required, created_at, revoked_at FROM delegate_tokens ORDER BY name",
            &[],
        )
        .await?;
    let one = |row: &Row| DelegateTokenRow {
        id: row.get(0),
        name: row.get(1),
        hash: row.get(2),
        approval_required: row.get(3),
        created_at: row.get(4),
        revoked_at: row.get(5),
    };
    Ok(found.iter().map(one).collect())
}

pub(super) async fn revoke_token(writing: &mut Writing<'_>, id: &str) -> Result<()> {
    let changed = writing
        .db
        .run(
            "UPDATE delegate_tokens SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1",
            &[&id, &writing.now()],
        )
        .await?;
    if changed == 0 {
        return Err(StoreError::Missing(format!("the delegate token {id}")));
    }
    leases::delegates_changed(writing).await
}

fn delegate(row: &Row) -> Result<DelegateRow> {
    let lease: Option<String> = row.get(9);
    let fence: Option<i64> = row.get(10);
    let node: Option<String> = row.get(11);
    Ok(DelegateRow {
        id: row.get::<_, String>(0).into(),
        name: row.get(1),
        status: delegate_status(row.get(2))?,
        key: row.get(3),
        token: row.get(4),
        announced: from_json(row.get(5))?,
        scopes: from_json(row.get(6))?,
        created_at: row.get(7),
        seen: row.get(8),
        connection: lease.zip(fence).map(|(holder, fence)| Lease { holder, fence: count(fence) }).zip(node),
    })
}

fn missing(id: &DelegateId) -> StoreError {
    StoreError::Missing(format!("the delegate {id}"))
}
