//! The configuration tree as config-as-code clients walk it (`wire.md` 4.1, 4.2).

use std::collections::BTreeMap;
use std::sync::Arc;

use manifold_model::path::{DocumentKind, DocumentPath};
use manifold_model::{EntityId, Problem, code};
use manifold_store::DocumentRow;

use crate::authorise::{Action, Resource, authorise};
use crate::{Actor, Control, Error, Result, Snapshot};

/// Folders of the root, in the order that clients know.
const ROOT: [&str; 9] = [
    "Applications",
    "Cloud Providers",
    "Artifact Servers",
    "Collaboration Providers",
    "Source Repo Providers",
    "Verification Providers",
    "Notification Groups",
    "Governance",
    "Template Library",
];

/// A folder, document or file of the tree.
#[derive(Clone, Debug)]
pub struct TreeNode {
    /// Last segment of its path.
    pub name: String,
    /// Path.
    pub path: String,
    /// What it is.
    pub item: Item,
    /// Application it lies under.
    pub application: Option<EntityId>,
    /// What lies in it.
    pub children: Vec<TreeNode>,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Item {
    /// A folder.
    Folder,
    /// A document.
    Document {
        /// Id.
        id: EntityId,
        /// Kind.
        kind: DocumentKind,
        /// `type`.
        type_name: String,
    },
    /// Bytes.
    File {
        /// Id.
        id: EntityId,
    },
}

#[derive(Default)]
struct Folder {
    folders: BTreeMap<String, Folder>,
    documents: Vec<Arc<DocumentRow>>,
}

impl Control {
    /// The tree; with an application, only that one's folder among the applications. An application that is not there leaves the tree without (R8).
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn tree(&self, actor: &Actor, application: Option<&EntityId>) -> Result<TreeNode> {
        authorise(actor, Action::Read, Resource::Account)?;
        let snapshot = self.snapshot().await?;
        let only = application.map(|id| {
            let name =
                snapshot.catalog.applications.get(id).map_or("", |application| application.name.as_str());
            format!("Setup/Applications/{name}/")
        });
        let mut root = Folder::default();
        for row in snapshot.documents.values() {
            let other = row.path.starts_with("Setup/Applications/")
                && only.as_ref().is_some_and(|only| !row.path.starts_with(only.as_str()));
            if !other {
                root.add(row);
            }
        }
        let mut setup = root.folders.remove("Setup").unwrap_or_default();
        for name in ROOT {
            setup.folders.entry(name.to_owned()).or_default();
        }
        Ok(setup.node("Setup".to_owned(), "Setup".to_owned(), &snapshot))
    }

    /// A document or file by id.
    ///
    /// # Errors
    /// When there is none.
    pub async fn document(&self, actor: &Actor, id: &EntityId) -> Result<Arc<DocumentRow>> {
        authorise(actor, Action::Read, Resource::Account)?;
        let snapshot = self.snapshot().await?;
        snapshot
            .by_id
            .get(id)
            .cloned()
            .ok_or_else(|| Error::not_found(format!("the document {id} does not exist")))
    }

    /// A document or file by path.
    ///
    /// # Errors
    /// When there is none.
    pub async fn document_at(&self, actor: &Actor, path: &str) -> Result<Arc<DocumentRow>> {
        authorise(actor, Action::Read, Resource::Account)?;
        let snapshot = self.snapshot().await?;
        snapshot
            .documents
            .get(path)
            .cloned()
            .ok_or_else(|| Error::not_found(format!("{path} does not exist")))
    }

    /// All documents and files, of one application or of the account, for an export.
    ///
    /// # Errors
    /// When there is no such application.
    pub async fn export(&self, actor: &Actor, application: Option<&str>) -> Result<Vec<Arc<DocumentRow>>> {
        authorise(actor, Action::Read, Resource::Account)?;
        let snapshot = self.snapshot().await?;
        let folder = match application {
            None => "Setup/".to_owned(),
            Some(name) => {
                let known = snapshot.catalog.application_named(name);
                let known = known.or_else(|| snapshot.catalog.applications.get(&name.into()));
                let known = known.ok_or_else(|| {
                    Error::refused(
                        Problem::new(code!("ENTITY_UNKNOWN"), format!("there is no application {name:?}"))
                            .item(name),
                    )
                })?;
                format!("Setup/Applications/{}/", known.name)
            }
        };
        Ok(snapshot.under(&folder).cloned().collect())
    }
}

impl Folder {
    fn add(&mut self, row: &Arc<DocumentRow>) {
        let mut at = self;
        let mut segments = row.path.split('/').peekable();
        while let Some(segment) = segments.next() {
            if segments.peek().is_none() {
                at.documents.push(Arc::clone(row));
                return;
            }
            at = at.folders.entry(segment.to_owned()).or_default();
        }
    }

    fn node(self, name: String, path: String, snapshot: &Snapshot) -> TreeNode {
        let mut documents: Vec<TreeNode> = self.documents.iter().map(leaf).collect();
        // An application's Index.yaml has its id and must come before everything else that shows it (`wire.md` 4.1).
        documents.sort_by(|a, b| rank(&a.name).cmp(&rank(&b.name)).then_with(|| a.name.cmp(&b.name)));
        let mut folders: Vec<(String, Folder)> = self.folders.into_iter().collect();
        if path == "Setup" {
            folders
                .sort_by_key(|(name, _)| ROOT.iter().position(|known| known == name).unwrap_or(ROOT.len()));
        }
        let below = folders.into_iter().map(|(name, folder)| {
            let path = format!("{path}/{name}");
            folder.node(name, path, snapshot)
        });
        documents.extend(below);
        let application = path
            .strip_prefix("Setup/Applications/")
            .and_then(|rest| rest.split('/').next())
            .and_then(|name| snapshot.catalog.application_named(name))
            .map(|application| application.id.clone());
        TreeNode { name, path, item: Item::Folder, application, children: documents }
    }
}

fn rank(name: &str) -> u8 {
    match name {
        "Index.yaml" => 0,
        "Defaults.yaml" => 1,
        _ => 2,
    }
}

fn leaf(row: &Arc<DocumentRow>) -> TreeNode {
    let name = row.path.rsplit('/').next().unwrap_or_default().to_owned();
    let kind = DocumentPath::parse(&row.path).map(|path| path.kind);
    let item = match kind {
        Ok(kind) if !row.is_file => Item::Document { id: row.id.clone(), kind, type_name: row.kind.clone() },
        _ => Item::File { id: row.id.clone() },
    };
    TreeNode {
        name,
        path: row.path.clone(),
        item,
        application: row.application.clone(),
        children: Vec::new(),
    }
}
