//! Who refers to whom, from the names in the text. The derived `refs` of the store are made when a document is written; a name that meant nothing
//! then may mean something now, so renames and deletions look at the text.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use manifold_model::EntityId;
use manifold_model::document::Document;
use manifold_model::path::DocumentPath;
use manifold_model::references::{NameReference, Target, of_path, references};
use manifold_store::DocumentRow;

use crate::{Control, Snapshot};

type Known = HashMap<EntityId, (u64, Arc<[NameReference]>)>;

/// Names in documents, by id and revision.
#[derive(Debug, Default)]
pub(crate) struct ReferenceCache(Mutex<Known>);

/// A document that refers to something.
#[derive(Clone, Debug)]
pub(crate) struct Referrer {
    /// It.
    pub(crate) row: Arc<DocumentRow>,
    /// Whether the setting is templated: the name is only what was chosen last.
    pub(crate) templated: bool,
}

impl Control {
    /// Documents that refer to one of these entities, in path order, each once.
    pub(crate) fn referrers(&self, snapshot: &Snapshot, targets: &[Target]) -> Vec<Referrer> {
        let environment_of =
            |application: &str, workflow: &str| environment_of(snapshot, application, workflow);
        let mut known = self.references.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|id, _| snapshot.by_id.contains_key(id));
        let mut found = Vec::new();
        // Of files only those refer to something that lie in a folder of a service's name.
        let candidates =
            snapshot.documents.values().filter(|row| !row.is_file || row.path.contains("/Services/"));
        for row in candidates {
            let names = match known.get(&row.id) {
                Some((revision, names)) if *revision == row.revision => Arc::clone(names),
                _ => {
                    let names = names_in(row);
                    known.insert(row.id.clone(), (row.revision, Arc::clone(&names)));
                    names
                }
            };
            let mut meaning = names
                .iter()
                .filter(|name| targets.iter().any(|target| name.means(target, &environment_of)))
                .peekable();
            if meaning.peek().is_some() {
                let templated = meaning.all(|name| name.templated);
                found.push(Referrer { row: Arc::clone(row), templated });
            }
        }
        found
    }
}

/// The environment of a workflow, by application and name.
pub(crate) fn environment_of(snapshot: &Snapshot, application: &str, workflow: &str) -> Option<String> {
    let application = &snapshot.catalog.application_named(application)?.id;
    snapshot.catalog.workflow_named(application, workflow)?.environment_name.clone()
}

fn names_in(row: &DocumentRow) -> Arc<[NameReference]> {
    if row.is_file {
        return DocumentPath::parse(&row.path).ok().and_then(|path| of_path(&path)).into_iter().collect();
    }
    let parsed =
        DocumentPath::parse(&row.path).and_then(|path| Document::parse(row.id.clone(), path, &row.body));
    match parsed {
        Ok(document) => references(&document.path, &document.root).into(),
        Err(problem) => {
            tracing::warn!(path = row.path, %problem, "a stored document cannot be read; it refers to nothing");
            Arc::from([])
        }
    }
}
