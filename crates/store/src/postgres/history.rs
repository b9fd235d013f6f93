//! Deployment history per mapping: what runs where, and what ran well last.

use manifold_model::event::LastGood;
use manifold_model::target::MappingKey;

use super::db::Db;
use super::writing::Writing;
use super::{from_json, to_json};
use crate::{Deployment, Result};

/// Adds lines; an execution has one line a mapping, the last one written.
pub(super) async fn add(writing: &mut Writing<'_>, deployed: &[Deployment]) -> Result<()> {
    for line in deployed {
        writing
            .db
            .run(
                "INSERT INTO deployments (mapping, status, execution, body) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (execution, mapping) DO UPDATE SET number = excluded.number, \
                 status = excluded.status, body = excluded.body",
                &[&line.mapping.0, &line.status.name(), &line.execution.as_str(), &to_json(line)?],
            )
            .await?;
    }
    Ok(())
}

/// The newest SUCCESS on each mapping; mappings without one are left out.
pub(super) async fn last_good(db: &Db<'_>, mappings: &[MappingKey]) -> Result<Vec<LastGood>> {
    let mut found = Vec::new();
    for mapping in mappings {
        let newest = db
            .maybe(
                "SELECT body FROM deployments WHERE mapping = $1 AND status = 'SUCCESS' \
                 ORDER BY number DESC LIMIT 1",
                &[&mapping.0],
            )
            .await?;
        let newest = newest.map(|row| from_json::<Deployment>(row.get(0))).transpose()?;
        found.extend(newest.map(Deployment::into_last_good));
    }
    Ok(found)
}
