//! The catalog at its head, as one immutable snapshot that every reader shares; read again only when its revision has changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use manifold_model::assemble::{CatalogBuilder, Row};
use manifold_model::catalog::Catalog;
use manifold_model::{EntityId, Millis, Problem};
use manifold_plan::{FileState, Files};
use manifold_store::DocumentRow;
use tokio::sync::RwLock;

use crate::{Control, Result};

/// The configuration as of one revision.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Typed views.
    pub catalog: Arc<Catalog>,
    /// What is wrong with documents; those are left out of the views.
    pub problems: Vec<Problem>,
    /// Documents by path.
    pub documents: BTreeMap<String, Arc<DocumentRow>>,
    /// Documents by id.
    pub by_id: HashMap<EntityId, Arc<DocumentRow>>,
}

impl Snapshot {
    /// Revision.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.catalog.revision
    }

    /// When an entity was made; the beginning of time for one that is not there.
    #[must_use]
    pub fn created_at(&self, id: &EntityId) -> Millis {
        self.by_id.get(id).map_or(0, |row| row.created_at)
    }

    fn keep(&mut self, document: DocumentRow) {
        let document = Arc::new(document);
        self.by_id.insert(document.id.clone(), Arc::clone(&document));
        self.documents.insert(document.path.clone(), document);
    }

    /// Documents whose path lies under a folder, in path order.
    pub fn under<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a Arc<DocumentRow>> + 'a {
        self.documents
            .range(folder.to_owned()..)
            .map(|(_, row)| row)
            .take_while(move |row| row.path.starts_with(folder))
    }
}

/// The files as of the snapshot's revision.
impl Files for Snapshot {
    fn text(&self, document: &str) -> FileState<'_> {
        self.documents
            .get(document)
            .filter(|row| row.is_file)
            .map_or(FileState::Missing, |row| FileState::Known(&row.body))
    }
}

/// The snapshot read last, and the views from which the next one is made.
#[derive(Debug, Default)]
pub(crate) struct Head(RwLock<Option<Known>>);

#[derive(Debug)]
struct Known {
    snapshot: Arc<Snapshot>,
    builder: CatalogBuilder,
}

impl Control {
    /// The catalog at its head.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn snapshot(&self) -> Result<Arc<Snapshot>> {
        let revision = self.store.catalog_revision().await?;
        if let Some(known) = self.head.0.read().await.as_ref()
            && known.snapshot.revision() >= revision
        {
            return Ok(Arc::clone(&known.snapshot));
        }
        let mut head = self.head.0.write().await;
        if let Some(known) = head.as_ref()
            && known.snapshot.revision() >= revision
        {
            return Ok(Arc::clone(&known.snapshot));
        }
        let known = match head.take() {
            Some(known) => self.catch_up(known).await?,
            None => self.read_all().await?,
        };
        let snapshot = Arc::clone(&known.snapshot);
        *head = Some(known);
        Ok(snapshot)
    }

    async fn read_all(&self) -> Result<Known> {
        let rows = self.store.catalog().await?;
        let mut builder = CatalogBuilder::new(&self.account);
        let (catalog, problems) = builder.apply(rows.revision, rows.documents.iter().map(row), &[]);
        let mut snapshot = Snapshot { catalog, problems, ..Snapshot::default() };
        for document in rows.documents {
            snapshot.keep(document);
        }
        Ok(Known { snapshot: Arc::new(snapshot), builder })
    }

    async fn catch_up(&self, mut known: Known) -> Result<Known> {
        let (rows, deleted) = self.store.catalog_since(known.snapshot.revision()).await?;
        let (catalog, problems) =
            known.builder.apply(rows.revision, rows.documents.iter().map(row), &deleted);
        let mut snapshot = Snapshot {
            catalog,
            problems,
            documents: known.snapshot.documents.clone(),
            by_id: known.snapshot.by_id.clone(),
        };
        for id in deleted.iter().chain(rows.documents.iter().map(|document| &document.id)) {
            if let Some(old) = snapshot.by_id.remove(id) {
                snapshot.documents.remove(&old.path);
            }
        }
        for document in rows.documents {
            snapshot.keep(document);
        }
        Ok(Known { snapshot: Arc::new(snapshot), builder: known.builder })
    }
}

fn row(document: &DocumentRow) -> Row<'_> {
    Row {
        id: document.id.clone(),
        path: &document.path,
        is_file: document.is_file,
        body: &document.body,
        revision: document.revision,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_see_the_files_of_their_revision_and_no_other_documents() {
        let row = |path: &str, is_file| DocumentRow {
            id: EntityId::from(path),
            path: path.to_owned(),
            application: None,
            kind: String::new(),
            body: Arc::from(&b"text"[..]),
            is_file,
            revision: 1,
            created_at: 0,
        };
        let mut snapshot = Snapshot::default();
        snapshot.keep(row("web.yaml", true));
        snapshot.keep(row("Index.yaml", false));
        assert_eq!(snapshot.text("web.yaml"), FileState::Known(b"text"));
        assert_eq!(snapshot.text("Index.yaml"), FileState::Missing);
        assert_eq!(snapshot.text("none"), FileState::Missing);
    }
}
