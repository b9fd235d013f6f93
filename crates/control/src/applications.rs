//! Applications through GraphQL: documents like everything else (`wire.md` 2.1).

use manifold_model::name::check_new_entity_name;
use manifold_model::path::DocumentPath;
use manifold_model::{EntityId, Problem, code};
use serde_json::json;

use crate::authorise::{Action, Resource, authorise};
use crate::import::{Incoming, Source};
use crate::{Actor, Control, Error, Result};

impl Control {
    /// Makes an application: its `Index.yaml`, whose id is the application's.
    ///
    /// # Errors
    /// When its name is bad or taken.
    pub async fn create_application(&self, actor: &Actor, name: &str, description: &str) -> Result<EntityId> {
        authorise(actor, Action::Configure, Resource::Account)?;
        check_new_entity_name(name).map_err(|problem| Error::refused(*problem))?;
        if self.snapshot().await?.catalog.application_named(name).is_some() {
            return Err(Error::refused(
                Problem::new(code!("NAME_TAKEN"), format!("an application named {name:?} exists already"))
                    .item(name),
            ));
        }
        self.write_application(actor, name, description).await
    }

    /// Renames an application or changes its description; an empty name is no change.
    ///
    /// # Errors
    /// When there is none, or the name is bad or taken.
    pub async fn update_application(
        &self,
        actor: &Actor,
        id: &EntityId,
        name: Option<&str>,
        description: Option<&str>,
    ) -> Result<()> {
        authorise(actor, Action::Configure, Resource::Application(id))?;
        let snapshot = self.snapshot().await?;
        let before = snapshot.catalog.applications.get(id).cloned().ok_or_else(no_application)?;
        let name = name.filter(|name| !name.is_empty()).unwrap_or(&before.name);
        if name != before.name {
            self.rename(actor, id, name).await?;
        }
        if let Some(description) = description.filter(|description| *description != before.description) {
            self.describe(actor, id, description).await?;
        }
        Ok(())
    }

    /// Deletes an application with everything in it; executions that run go on with their frozen plans.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delete_application(&self, actor: &Actor, id: &EntityId) -> Result<()> {
        authorise(actor, Action::Configure, Resource::Application(id))?;
        if !self.snapshot().await?.catalog.applications.contains_key(id) {
            return Err(no_application());
        }
        self.delete_entity(actor, id, Source::Graphql).await
    }

    async fn write_application(&self, actor: &Actor, name: &str, description: &str) -> Result<EntityId> {
        let document = json!({"harnessApiVersion": "1.0", "type": "APPLICATION", "description": description});
        let file =
            Incoming { path: DocumentPath::of_application(name), bytes: document.to_string().into_bytes() };
        self.write_one(actor, file, Source::Graphql).await
    }

    /// Changes the description and leaves every other key as it is.
    async fn describe(&self, actor: &Actor, id: &EntityId, description: &str) -> Result<()> {
        let snapshot = self.snapshot().await?;
        let row = snapshot.by_id.get(id).ok_or_else(no_application)?;
        let path = DocumentPath::parse(&row.path).map_err(|problem| Error::refused(*problem))?;
        let mut document = manifold_model::document::Document::parse(id.clone(), path, &row.body)
            .map_err(|problem| Error::refused(*problem))?;
        if let Some(root) = document.root.as_mapping_mut() {
            root.set("description", manifold_model::node::Node::text(description));
        }
        let file = Incoming { path: row.path.clone(), bytes: document.canonical().into_bytes() };
        self.write_one(actor, file, Source::Graphql).await?;
        Ok(())
    }
}

/// What clients match: the Go SDK falls back to the configuration tree when it hears this (`wire.md` 1.5).
#[must_use]
pub fn no_application() -> Error {
    Error::not_found("User not authorized: the application does not exist or access is denied")
}
