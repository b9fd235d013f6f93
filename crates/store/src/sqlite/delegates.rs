//! Delegates of the account and the tokens with which they join.

use manifold_model::delegate::{DelegateStatus, Scopes};
use manifold_model::{DelegateId, Millis};
use rusqlite::{Connection, Row, params};

use super::writer::Writing;
use super::{count, from_json, leases, to_json};
use crate::values::delegate_status;
use crate::{DelegateRow, DelegateTokenRow, Lease, Result, StoreError, delegate_holder};

const COLUMNS: &str = "d.id, d.name, d.status, d.key, d.token, d.announced, d.scopes, d.created_at, d.seen, \
                       l.holder, l.fence, l.node";
const FROM: &str = "FROM delegates d LEFT JOIN leases l ON l.holder = 'delegate/' || d.id";

pub(super) fn enrol(writing: &mut Writing<'_>, new: &DelegateRow) -> Result<DelegateRow> {
    writing
        .sql(
            "INSERT INTO delegates (id, name, status, key, token, announced, scopes, created_at, seen) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (id) DO UPDATE SET \
             name = excluded.name, announced = excluded.announced, seen = excluded.seen",
        )?
        .execute(params![
            new.id.as_str(),
            new.name,
            new.status.as_str(),
            new.key,
            new.token,
            to_json(&new.announced)?,
            to_json(&new.scopes)?,
            new.created_at,
            new.seen
        ])?;
    leases::delegates_changed(writing)?;
    one(writing.db, &new.id)?.ok_or_else(|| missing(&new.id))
}

pub(super) fn all(db: &Connection) -> Result<Vec<DelegateRow>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} {FROM} ORDER BY d.number"))?
        .query_and_then([], delegate)?
        .collect()
}

pub(super) fn one(db: &Connection, id: &DelegateId) -> Result<Option<DelegateRow>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} {FROM} WHERE d.id = ?1"))?
        .query_and_then([id.as_str()], delegate)?
        .next()
        .transpose()
}

pub(super) fn set_status(writing: &mut Writing<'_>, id: &DelegateId, status: DelegateStatus) -> Result<()> {
    let changed = writing
        .sql("UPDATE delegates SET status = ?2 WHERE id = ?1")?
        .execute([id.as_str(), status.as_str()])?;
    if changed == 0 {
        return Err(missing(id));
    }
    if status != DelegateStatus::Enabled {
        leases::take_from(writing, &delegate_holder(id))?;
    }
    leases::delegates_changed(writing)
}

pub(super) fn set_scopes(writing: &mut Writing<'_>, id: &DelegateId, scopes: &Scopes) -> Result<()> {
    let changed = writing
        .sql("UPDATE delegates SET scopes = ?2 WHERE id = ?1")?
        .execute(params![id.as_str(), to_json(scopes)?])?;
    if changed == 0 { Err(missing(id)) } else { leases::delegates_changed(writing) }
}

pub(super) fn seen(writing: &Writing<'_>, ids: &[DelegateId]) -> Result<()> {
    let now = writing.now();
    for id in ids {
        writing.sql("UPDATE delegates SET seen = ?2 WHERE id = ?1")?.execute(params![id.as_str(), now])?;
    }
    Ok(())
}

pub(super) fn create_token(writing: &mut Writing<'_>, token: &DelegateTokenRow) -> Result<()> {
    let taken = writing
        .sql("SELECT 1 FROM delegate_tokens WHERE id = ?1 OR name = ?2")?
        .exists([&token.id, &token.name])?;
    if taken {
        return Err(StoreError::Exists(format!("the delegate token {}", token.name)));
    }
    writing
        .sql(
            "INSERT INTO delegate_tokens (id, name, hash, approval_required, created_at, revoked_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            token.id,
            token.name,
            token.hash,
            token.approval_required,
            token.created_at,
            token.revoked_at
        ])?;
    leases::delegates_changed(writing)
}

pub(super) fn tokens(db: &Connection) -> Result<Vec<DelegateTokenRow>> {
    Ok(db
        .prepare_cached(
            "SELECT id, name, hash, approval_required, created_at, revoked_at FROM delegate_tokens ORDER BY name",
        )?
        .query_map([], |row| {
            Ok(DelegateTokenRow {
                id: row.get(0)?,
                name: row.get(1)?,
                hash: row.get(2)?,
                approval_required: row.get(3)?,
                created_at: row.get(4)?,
                revoked_at: row.get(5)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?)
}

pub(super) fn revoke_token(writing: &mut Writing<'_>, id: &str) -> Result<()> {
    let now: Millis = writing.now();
    let changed = writing
        .sql("UPDATE delegate_tokens SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1")?
        .execute(params![id, now])?;
    if changed == 0 {
        return Err(StoreError::Missing(format!("the delegate token {id}")));
    }
    let joined: Vec<String> = writing
        .sql("SELECT id FROM delegates WHERE token = ?1")?
        .query_map([id], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for delegate in joined {
        leases::take_from(writing, &delegate_holder(&delegate.into()))?;
    }
    leases::delegates_changed(writing)
}

fn delegate(row: &Row<'_>) -> Result<DelegateRow> {
    let lease: Option<String> = row.get(9)?;
    let fence: Option<i64> = row.get(10)?;
    let node: Option<String> = row.get(11)?;
    Ok(DelegateRow {
        id: row.get::<_, String>(0)?.into(),
        name: row.get(1)?,
        status: delegate_status(&row.get::<_, String>(2)?)?,
        key: row.get(3)?,
        token: row.get(4)?,
        announced: from_json(&row.get::<_, Vec<u8>>(5)?)?,
        scopes: from_json(&row.get::<_, Vec<u8>>(6)?)?,
        created_at: row.get(7)?,
        seen: row.get(8)?,
        connection: lease.zip(fence).map(|(holder, fence)| Lease { holder, fence: count(fence) }).zip(node),
    })
}

fn missing(id: &DelegateId) -> StoreError {
    StoreError::Missing(format!("the delegate {id}"))
}
