//! One entity document: where it lies, its id, its tree.

use crate::canonical;
use crate::node::Node;
use crate::path::DocumentPath;
use crate::yaml::{self, ENTITY_BUDGET};
use crate::{EntityId, Problem};

/// An entity document that was read.
#[derive(Clone, PartialEq, Debug)]
pub struct Document {
    /// Id; empty while the document has none.
    pub id: EntityId,
    /// Where it lies and what that makes it.
    pub path: DocumentPath,
    /// Its tree.
    pub root: Node,
}

impl Document {
    /// Reads a document's bytes.
    ///
    /// # Errors
    /// One problem with its place when it is not YAML within the budget.
    pub fn parse(id: EntityId, path: DocumentPath, bytes: &[u8]) -> Result<Self, Box<Problem>> {
        let root = yaml::parse(&path.path, bytes, &ENTITY_BUDGET)?.root;
        Ok(Self { id, path, root })
    }

    /// The `type` of the document, empty when it has none.
    #[must_use]
    pub fn type_name(&self) -> &str {
        crate::view::root_text(&self.root, "type").unwrap_or_default()
    }

    /// The canonical text (`wire.md` 4.4).
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut root = self.root.clone();
        canonical::normalise(&mut root);
        canonical::print(&root)
    }
}
