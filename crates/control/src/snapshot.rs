//! The catalog at its head, as one immutable snapshot that every reader shares; read again only when its revision has changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use manifold_model::catalog::Catalog;
use manifold_model::{EntityId, Millis};
use manifold_store::DocumentRow;
use tokio::sync::RwLock;

use crate::{Control, Result};

/// The configuration as of one revision.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Typed views.
    pub catalog: Catalog,
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

    /// Documents whose path lies under a folder, in path order.
    pub fn under<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a Arc<DocumentRow>> + 'a {
        self.documents
            .range(folder.to_owned()..)
            .map(|(_, row)| row)
            .take_while(move |row| row.path.starts_with(folder))
    }
}

/// The snapshot read last.
#[derive(Debug, Default)]
pub(crate) struct Head(RwLock<Option<Arc<Snapshot>>>);

impl Control {
    /// The catalog at its head.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn snapshot(&self) -> Result<Arc<Snapshot>> {
        let revision = self.store.catalog_revision().await?;
        if let Some(snapshot) = self.head.0.read().await.as_ref()
            && snapshot.revision() >= revision
        {
            return Ok(Arc::clone(snapshot));
        }
        let mut head = self.head.0.write().await;
        if let Some(snapshot) = head.as_ref()
            && snapshot.revision() >= revision
        {
            return Ok(Arc::clone(snapshot));
        }
        let snapshot = Arc::new(self.read_snapshot(head.as_deref()).await?);
        *head = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }
}
