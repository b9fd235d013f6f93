//! Deployment history per mapping: what runs where, and what ran well last.

use manifold_model::event::LastGood;
use manifold_model::target::MappingKey;
use rusqlite::{Connection, params};

use super::writer::Writing;
use super::{from_json, to_json};
use crate::{Deployment, Result};

/// Adds lines; an execution has one line a mapping, the last one written.
pub(super) fn add(writing: &Writing<'_>, deployed: &[Deployment]) -> Result<()> {
    for line in deployed {
        writing
            .sql(
                "INSERT OR REPLACE INTO deployments (mapping, status, execution, body) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                line.mapping.0,
                line.status.name(),
                line.execution.as_str(),
                to_json(line)?
            ])?;
    }
    Ok(())
}

/// The newest SUCCESS on each mapping; mappings without one are left out.
pub(super) fn last_good(db: &Connection, mappings: &[MappingKey]) -> Result<Vec<LastGood>> {
    let mut statement = db.prepare_cached(
        "SELECT body FROM deployments WHERE mapping = ?1 AND status = 'SUCCESS' ORDER BY number DESC LIMIT 1",
    )?;
    let mut found = Vec::new();
    for mapping in mappings {
        let newest = statement
            .query_and_then([&mapping.0], |row| from_json::<Deployment>(&row.get::<_, Vec<u8>>(0)?))?
            .next()
            .transpose()?;
        found.extend(newest.map(Deployment::into_last_good));
    }
    Ok(found)
}
