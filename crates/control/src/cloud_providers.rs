//! Cloud providers through GraphQL. They live as configuration documents and nowhere else (R6), so a change here writes the document.

use manifold_model::{EntityId, Problem, SecretId, code};
use serde_json::{Map, json};

use crate::authorise::{Action, Resource, authorise};
use crate::import::{Incoming, Source};
use crate::{Actor, Control, Error, Result};

/// A value of a key of the document.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// As it is.
    Plain(serde_json::Value),
    /// A secret by id; the document names it.
    Secret(SecretId),
}

/// What is said about a cloud provider; what is not said stays.
#[derive(Clone, Default, Debug)]
pub struct CloudProviderChange {
    /// Type, as in YAML.
    pub kind: String,
    /// Name.
    pub name: Option<String>,
    /// Keys of the document.
    pub values: Vec<(String, Value)>,
    /// Usage scope in GraphQL's shape; `Some(None)` takes it away.
    pub usage_scope: Option<Option<serde_json::Value>>,
    /// Whether secrets that do not exist (yet) may be named.
    pub skip_validation: bool,
}

impl CloudProviderChange {
    /// Sets a key.
    pub fn set(&mut self, key: &str, value: Value) {
        self.values.push((key.to_owned(), value));
    }

    /// Sets a text, if there is one.
    pub fn text(&mut self, key: &str, text: Option<String>) {
        if let Some(text) = text {
            self.set(key, Value::Plain(text.into()));
        }
    }

    /// Sets a flag, if there is one.
    pub fn flag(&mut self, key: &str, flag: Option<bool>) {
        if let Some(flag) = flag {
            self.set(key, Value::Plain(flag.into()));
        }
    }

    /// Sets a list, if there is one.
    pub fn list(&mut self, key: &str, list: Option<Vec<String>>) {
        if let Some(list) = list {
            self.set(key, Value::Plain(list.into()));
        }
    }

    /// Names a secret, if there is one.
    pub fn secret(&mut self, key: &str, id: Option<String>) {
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            self.set(key, Value::Secret(id.into()));
        }
    }
}

impl Control {
    /// Makes a cloud provider.
    ///
    /// # Errors
    /// When its name is bad or taken, or it names secrets that are not there.
    pub async fn create_cloud_provider(
        &self,
        actor: &Actor,
        change: CloudProviderChange,
    ) -> Result<EntityId> {
        authorise(actor, Action::ManageCloudProviders, Resource::Account)?;
        let name = change.name.clone().unwrap_or_default();
        let snapshot = self.snapshot().await?;
        if snapshot.catalog.cloud_provider_named(&name).is_some() {
            return Err(Error::refused(
                Problem::new(code!("NAME_TAKEN"), format!("a cloud provider named {name:?} exists already"))
                    .item(name),
            ));
        }
        self.write_cloud_provider(actor, &name, Map::new(), change).await
    }

    /// Changes a cloud provider.
    ///
    /// # Errors
    /// As [`Control::create_cloud_provider`], and when there is none.
    pub async fn update_cloud_provider(
        &self,
        actor: &Actor,
        id: &EntityId,
        change: CloudProviderChange,
    ) -> Result<EntityId> {
        authorise(actor, Action::ManageCloudProviders, Resource::Account)?;
        let snapshot = self.snapshot().await?;
        let provider = snapshot.catalog.cloud_providers.get(id).cloned().ok_or_else(no_cloud_provider)?;
        if provider.kind != change.kind {
            return Err(Error::refused(
                Problem::new(code!("INPUT_UNSUPPORTED"), "the type of a cloud provider cannot be changed")
                    .detail(format!("it is {}", provider.kind)),
            ));
        }
        if let Some(name) = change.name.as_ref().filter(|name| !name.is_empty() && **name != provider.name) {
            self.rename(actor, id, name).await?;
        }
        let name =
            change.name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| provider.name.clone());
        self.write_cloud_provider(actor, &name, provider.properties.clone(), change).await
    }

    /// Deletes a cloud provider.
    ///
    /// # Errors
    /// When there is none, or something still refers to it.
    pub async fn delete_cloud_provider(&self, actor: &Actor, id: &EntityId) -> Result<()> {
        authorise(actor, Action::ManageCloudProviders, Resource::Account)?;
        let snapshot = self.snapshot().await?;
        if !snapshot.catalog.cloud_providers.contains_key(id) {
            return Err(no_cloud_provider());
        }
        self.delete_entity(actor, id, Source::Graphql).await
    }

    async fn write_cloud_provider(
        &self,
        actor: &Actor,
        name: &str,
        mut properties: Map<String, serde_json::Value>,
        change: CloudProviderChange,
    ) -> Result<EntityId> {
        let mut problems = Vec::new();
        for (key, value) in change.values {
            let value = match value {
                Value::Plain(value) => value,
                Value::Secret(id) => match self.store.secret(&id).await? {
                    Some(secret) => format!("secretName:{}", secret.record.name).into(),
                    None if change.skip_validation => format!("secretName:{id}").into(),
                    None => {
                        problems.push(
                            Problem::new(
                                code!("SECRET_UNKNOWN"),
                                format!("No secret exists with the id {id}"),
                            )
                            .item(id.as_str()),
                        );
                        continue;
                    }
                },
            };
            properties.insert(key, value);
        }
        match change.usage_scope {
            Some(Some(scope)) => match self.restrictions(&scope).await {
                Ok(restrictions) => {
                    properties.insert("usageRestrictions".to_owned(), restrictions);
                }
                Err(problem) => problems.push(problem),
            },
            Some(None) => {
                properties.remove("usageRestrictions");
            }
            None => {}
        }
        if !problems.is_empty() {
            return Err(Error::Refused { problems });
        }
        properties.insert("harnessApiVersion".to_owned(), "1.0".into());
        properties.insert("type".to_owned(), change.kind.into());
        // JSON is YAML; the document is put into its canonical form like every other.
        let text = serde_json::Value::Object(properties).to_string();
        let path = format!("Setup/Cloud Providers/{name}.yaml");
        self.write_one(actor, Incoming { path, bytes: text.into_bytes() }, Source::Graphql).await
    }

    /// Usage scope with ids → usage restrictions with names.
    async fn restrictions(
        &self,
        scope: &serde_json::Value,
    ) -> std::result::Result<serde_json::Value, Problem> {
        let unreadable = || Problem::new(code!("STORE_UNAVAILABLE"), "the catalog cannot be read now");
        let snapshot = self.snapshot().await.map_err(|_| unreadable())?;
        let unknown = |what: &str, id: &str| {
            Problem::new(code!("SCOPE_UNKNOWN"), format!("the {what} {id} of the usage scope does not exist"))
                .item(id)
        };
        let mut list = Vec::new();
        for item in scope.get("appEnvScopes").and_then(serde_json::Value::as_array).into_iter().flatten() {
            let text = |way: &str| item.pointer(way).and_then(serde_json::Value::as_str);
            let application = match text("/application/appId") {
                Some(id) => {
                    let found = snapshot.catalog.applications.get(&EntityId::from(id));
                    let name = &found.ok_or_else(|| unknown("application", id))?.name;
                    json!({"filterType": "SELECTED", "entityNames": [name]})
                }
                None => json!({"filterType": "ALL"}),
            };
            let environment = match (text("/environment/envId"), text("/environment/filterType")) {
                (Some(id), _) => {
                    let found = snapshot.catalog.environments.get(&EntityId::from(id));
                    let name = &found.ok_or_else(|| unknown("environment", id))?.name;
                    json!({"filterTypes": ["SELECTED"], "entityNames": [name]})
                }
                (None, Some("NON_PRODUCTION_ENVIRONMENTS")) => json!({"filterTypes": ["NON_PROD"]}),
                (None, _) => json!({"filterTypes": ["PROD"]}),
            };
            list.push(json!({"appFilter": application, "envFilter": environment}));
        }
        Ok(json!({"appEnvRestrictions": list}))
    }
}

/// What clients hear about a cloud provider that is not there (`wire.md` 1.5).
#[must_use]
pub fn no_cloud_provider() -> Error {
    Error::not_found("Cloud Provider does not exist")
}
