//! Deleting documents: refused while something that stays refers to what goes (`design.md` 3).

use std::collections::BTreeSet;

use manifold_model::path::DocumentPath;
use manifold_model::references::Target;
use manifold_model::{EntityId, Problem, code};
use manifold_store::{CatalogChange, StoreError};

use crate::authorise::{Action, Resource, authorise};
use crate::import::Source;
use crate::{Actor, Control, Error, Result, Snapshot};

/// Referrers named in a refusal.
const REFERRERS_NAMED: usize = 10;
/// How often a deletion is tried again because somebody else changed the catalog in between.
const TRIES: u32 = 5;

impl Control {
    /// Deletes the documents at these paths, together; an `Index.yaml` takes everything below it along. Paths with nothing there are returned.
    ///
    /// # Errors
    /// When something that stays refers to what goes, naming it.
    pub async fn delete_paths(
        &self,
        actor: &Actor,
        paths: &[String],
        source: Source,
        reason: &str,
    ) -> Result<Vec<String>> {
        authorise(actor, Action::Configure, Resource::Account)?;
        for _ in 0..TRIES {
            let snapshot = self.snapshot().await?;
            let missing: Vec<String> =
                paths.iter().filter(|path| !snapshot.documents.contains_key(*path)).cloned().collect();
            let going = going(&snapshot, paths);
            self.check_deletion(&snapshot, &going)?;
            if going.is_empty() {
                return Ok(missing);
            }
            let change = CatalogChange {
                expected: Some(snapshot.revision()),
                puts: Vec::new(),
                deletes: going
                    .iter()
                    .filter_map(|path| Some(snapshot.documents.get(path)?.id.clone()))
                    .collect(),
                author: actor.name().to_owned(),
                source: source.name().to_owned(),
                reason: reason.to_owned(),
                at: self.now(),
            };
            match self.store.commit_catalog(change).await {
                Ok(_) => return Ok(missing),
                Err(StoreError::Conflict { .. }) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Err(Error::Conflict {
            message: "the configuration keeps changing; try again when others have finished".to_owned(),
        })
    }

    /// Deletes an entity with everything below it.
    pub(crate) async fn delete_entity(&self, actor: &Actor, id: &EntityId, source: Source) -> Result<()> {
        let snapshot = self.snapshot().await?;
        let row = snapshot.by_id.get(id).ok_or_else(|| Error::not_found(format!("{id} does not exist")))?;
        self.delete_paths(actor, std::slice::from_ref(&row.path), source, "").await?;
        Ok(())
    }

    fn check_deletion(&self, snapshot: &Snapshot, going: &BTreeSet<String>) -> Result<()> {
        let targets: Vec<Target> =
            going.iter().filter_map(|path| Target::of(&DocumentPath::parse(path).ok()?)).collect();
        let staying: Vec<String> = self
            .referrers(snapshot, &targets)
            .into_iter()
            .filter(|referrer| !referrer.templated && !going.contains(&referrer.row.path))
            .map(|referrer| referrer.row.path.clone())
            .collect();
        if staying.is_empty() {
            return Ok(());
        }
        let named: Vec<&str> = staying.iter().take(REFERRERS_NAMED).map(String::as_str).collect();
        let more = staying.len().saturating_sub(REFERRERS_NAMED);
        let detail =
            if more == 0 { named.join(", ") } else { format!("{} and {more} more", named.join(", ")) };
        let what: Vec<&str> = targets.iter().take(3).map(|target| target.name.as_str()).collect();
        Err(Error::refused(
            Problem::new(code!("STILL_REFERENCED"), format!("{} is still being used", what.join(", ")))
                .detail(format!("used by {detail}"))
                .hint("change what uses it first, or delete both together"),
        ))
    }
}

/// Paths of everything that goes with these.
fn going(snapshot: &Snapshot, paths: &[String]) -> BTreeSet<String> {
    let mut going = BTreeSet::new();
    for path in paths.iter().filter(|path| snapshot.documents.contains_key(*path)) {
        going.insert(path.clone());
        let parsed = DocumentPath::parse(path).ok();
        if let Some(folder) = parsed.as_ref().and_then(DocumentPath::folder) {
            going.extend(snapshot.under(folder).map(|row| row.path.clone()));
        }
    }
    going
}
