//! Applications (`wire.md` 2.1).

use std::sync::Arc;

use async_graphql::{InputObject, Object, SimpleObject};
use manifold_control::Snapshot;
use manifold_control::model::entity;

use super::environment::Environment;
use super::filter::{IdFilter, TagEntityType, TagInput, admits, tagged};
use super::named_in;
use super::page::{Connection, Window, cost};
use super::pipeline::Pipeline;
use super::scalar::DateTime;
use super::service::Service;
use super::workflow::Workflow;

/// A tag of an entity.
#[derive(SimpleObject, Clone, Debug)]
pub struct Tag {
    /// Key.
    pub name: String,
    /// Value.
    pub value: Option<String>,
}

/// Tags as the wire has them.
#[must_use]
pub fn tags(tags: &[entity::Tag]) -> Vec<Tag> {
    tags.iter().map(|tag| Tag { name: tag.name.clone(), value: Some(tag.value.clone()) }).collect()
}

/// Somebody.
#[derive(SimpleObject, Clone, Debug)]
pub struct User {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// E-mail.
    pub email: String,
    /// Id in another system.
    pub external_user_id: Option<String>,
}

/// How an application follows a repository.
#[derive(SimpleObject, Clone, Debug)]
pub struct GitSyncConfig {
    /// Branch.
    pub branch: Option<String>,
    /// Connector.
    pub git_connector: Option<GitConnector>,
    /// Repository.
    pub repository_name: Option<String>,
    /// Whether it is on.
    pub sync_enabled: Option<bool>,
}

/// A repository.
#[derive(SimpleObject, Clone, Debug)]
pub struct GitConnector {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Branch.
    pub branch: Option<String>,
}

/// An application.
#[derive(Clone, Debug)]
pub struct Application {
    /// The catalog it was read from.
    pub snapshot: Arc<Snapshot>,
    /// It.
    pub entity: Arc<entity::Application>,
}

/// An application.
#[Object]
impl Application {
    async fn id(&self) -> String {
        self.entity.id.to_string()
    }

    async fn name(&self) -> String {
        self.entity.name.clone()
    }

    async fn description(&self) -> Option<String> {
        Some(self.entity.description.clone())
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.snapshot.created_at(&self.entity.id))
    }

    async fn created_by(&self) -> Option<User> {
        None
    }

    async fn git_sync_config(&self) -> Option<GitSyncConfig> {
        None
    }

    async fn tags(&self) -> Vec<Tag> {
        tags(&self.entity.tags)
    }

    async fn is_manual_trigger_authorized(&self) -> bool {
        false
    }

    async fn are_web_hook_secrets_mandated(&self) -> bool {
        false
    }

    async fn disable_triggers(&self) -> bool {
        false
    }

    #[graphql(complexity = "cost(limit, child_complexity)")]
    async fn services(&self, limit: i64, offset: Option<i64>) -> async_graphql::Result<Connection<Service>> {
        let of = &self.entity.id;
        let services =
            named_in(&self.snapshot.catalog.services, |service| service.application == *of, |s| &s.name);
        Ok(Window::of(limit, offset)?
            .cut(services.into_iter().map(|entity| Service { snapshot: self.snapshot.clone(), entity })))
    }

    #[graphql(complexity = "cost(limit, child_complexity)")]
    async fn environments(
        &self,
        limit: i64,
        offset: Option<i64>,
    ) -> async_graphql::Result<Connection<Environment>> {
        let of = &self.entity.id;
        let found =
            named_in(&self.snapshot.catalog.environments, |found| found.application == *of, |e| &e.name);
        Ok(Window::of(limit, offset)?
            .cut(found.into_iter().map(|entity| Environment { snapshot: self.snapshot.clone(), entity })))
    }

    #[graphql(complexity = "cost(limit, child_complexity)")]
    async fn workflows(
        &self,
        limit: i64,
        offset: Option<i64>,
    ) -> async_graphql::Result<Connection<Workflow>> {
        let of = &self.entity.id;
        let found = named_in(&self.snapshot.catalog.workflows, |found| found.application == *of, |w| &w.name);
        Ok(Window::of(limit, offset)?
            .cut(found.into_iter().map(|entity| Workflow { snapshot: self.snapshot.clone(), entity })))
    }

    #[graphql(complexity = "cost(limit, child_complexity)")]
    async fn pipelines(
        &self,
        limit: i64,
        offset: Option<i64>,
    ) -> async_graphql::Result<Connection<Pipeline>> {
        let of = &self.entity.id;
        let found = named_in(&self.snapshot.catalog.pipelines, |found| found.application == *of, |p| &p.name);
        Ok(Window::of(limit, offset)?
            .cut(found.into_iter().map(|entity| Pipeline { snapshot: self.snapshot.clone(), entity })))
    }
}

/// A condition on tags of applications.
#[derive(InputObject, Clone, Debug)]
pub struct ApplicationTagFilter {
    /// On what the tag stands.
    pub entity_type: Option<TagEntityType>,
    /// Tags; one must be there.
    pub tags: Option<Vec<Option<TagInput>>>,
}

/// Which applications.
#[derive(InputObject, Clone, Debug)]
pub struct ApplicationFilter {
    /// Application.
    pub application: Option<IdFilter>,
    /// Tags.
    pub tag: Option<ApplicationTagFilter>,
}

impl ApplicationFilter {
    /// Whether an application passes.
    #[must_use]
    pub fn admits(&self, application: &entity::Application) -> bool {
        admits(self.application.as_ref(), application.id.as_str())
            && self
                .tag
                .as_ref()
                .is_none_or(|filter| tagged(filter.tags.as_deref().unwrap_or_default(), &application.tags))
    }
}
