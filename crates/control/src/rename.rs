//! Renaming an entity: its path, everything below it, and every name that means it, in one transaction. Ids stay.

use std::collections::BTreeMap;
use std::sync::Arc;

use manifold_model::document::Document;
use manifold_model::name::check_new_entity_name;
use manifold_model::path::DocumentPath;
use manifold_model::references::{Target, of_path, references, rename};
use manifold_model::{EntityId, Problem, code};
use manifold_store::{CatalogChange, DocumentPut, DocumentRow, StoreError};

use crate::authorise::{Action, Resource, authorise};
use crate::import::Source;
use crate::referrers::environment_of;
use crate::{Actor, Control, Error, Result, Snapshot};

/// How often a rename is tried again because somebody else changed the catalog in between.
const TRIES: u32 = 5;

impl Control {
    /// Gives an entity another name.
    ///
    /// # Errors
    /// When there is none, the name is bad or taken, or the entity cannot be renamed.
    pub async fn rename(&self, actor: &Actor, id: &EntityId, name: &str) -> Result<()> {
        authorise(actor, Action::Configure, Resource::Account)?;
        check_new_entity_name(name).map_err(|problem| Error::refused(*problem))?;
        for _ in 0..TRIES {
            let snapshot = self.snapshot().await?;
            let row =
                snapshot.by_id.get(id).ok_or_else(|| Error::not_found(format!("{id} does not exist")))?;
            let old = DocumentPath::parse(&row.path).map_err(|problem| Error::refused(*problem))?;
            if old.name == name {
                return Ok(());
            }
            let puts = self.renamed(&snapshot, row, &old, name)?;
            let change = CatalogChange {
                expected: Some(snapshot.revision()),
                puts,
                deletes: Vec::new(),
                author: actor.name().to_owned(),
                source: Source::Graphql.name().to_owned(),
                reason: format!("renamed from {}", old.name),
                at: self.now(),
            };
            match self.store.commit_catalog(change).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict { .. }) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Err(Error::Conflict {
            message: "the configuration keeps changing; try again when others have finished".to_owned(),
        })
    }

    /// All rows that a rename writes.
    fn renamed(
        &self,
        snapshot: &Snapshot,
        row: &Arc<DocumentRow>,
        old: &DocumentPath,
        name: &str,
    ) -> Result<Vec<DocumentPut>> {
        let new = old.renamed(name).ok_or_else(|| {
            Error::refused(Problem::new(
                code!("RENAME_UNSUPPORTED"),
                format!("{} cannot be renamed", old.path),
            ))
        })?;
        if snapshot.documents.contains_key(&new) {
            return Err(Error::refused(
                Problem::new(code!("NAME_TAKEN"), format!("{new} exists already"))
                    .hint("choose another name")
                    .item(name),
            ));
        }
        let mut rows = BTreeMap::from([(row.id.clone(), (Arc::clone(row), new.clone()))]);
        if let (Some(old_folder), Some(new_folder)) = (old.folder(), new.strip_suffix("Index.yaml")) {
            for below in snapshot.under(old_folder) {
                let moved = below.path.replacen(old_folder, new_folder, 1);
                rows.insert(below.id.clone(), (Arc::clone(below), moved));
            }
        } else if let Some(content) = snapshot.documents.get(old.path.trim_end_matches(".yaml")) {
            // A config file's content lies beside its document under the same name.
            let moved = new.trim_end_matches(".yaml").to_owned();
            rows.insert(content.id.clone(), (Arc::clone(content), moved));
        }
        let target = Target::of(old);
        let referrers = target.as_ref().map(|target| self.referrers(snapshot, std::slice::from_ref(target)));
        for referrer in referrers.into_iter().flatten() {
            let path = target.as_ref().and_then(|target| moved(&referrer.row.path, target, name));
            let path = path.unwrap_or_else(|| referrer.row.path.clone());
            rows.entry(referrer.row.id.clone()).or_insert((referrer.row, path));
        }
        rows.into_values().map(|(row, path)| rewritten(snapshot, &row, path, target.as_ref(), name)).collect()
    }
}

/// The path of an override that lies in a folder named after the service that gets another name.
fn moved(path: &str, target: &Target, name: &str) -> Option<String> {
    let path = DocumentPath::parse(path).ok()?;
    let meant = of_path(&path)?;
    let same =
        meant.kind == target.kind && meant.name == target.name && meant.application == target.application;
    if same { path.for_service(name) } else { None }
}

/// A row at its new path, its text with the new name.
fn rewritten(
    snapshot: &Snapshot,
    row: &DocumentRow,
    path: String,
    target: Option<&Target>,
    name: &str,
) -> Result<DocumentPut> {
    let mut put = DocumentPut {
        id: row.id.clone(),
        path,
        application: row.application.clone(),
        kind: row.kind.clone(),
        body: Arc::clone(&row.body),
        is_file: row.is_file,
        refs: Vec::new(),
    };
    let old = DocumentPath::parse(&row.path).map_err(|problem| Error::refused(*problem))?;
    if row.is_file {
        put.refs = of_path(&old).and_then(|name| name.resolve(&snapshot.catalog)).into_iter().collect();
        return Ok(put);
    }
    let mut document =
        Document::parse(row.id.clone(), old, &row.body).map_err(|problem| Error::refused(*problem))?;
    let mut refs: Vec<EntityId> = references(&document.path, &document.root)
        .iter()
        .filter_map(|reference| reference.resolve(&snapshot.catalog))
        .collect();
    refs.sort();
    refs.dedup();
    put.refs = refs;
    if let Some(target) = target {
        let environment = |application: &str, workflow: &str| environment_of(snapshot, application, workflow);
        if rename(&document.path.clone(), &mut document.root, target, name, &environment) > 0 {
            put.body = document.canonical().into_bytes().into();
        }
    }
    Ok(put)
}
