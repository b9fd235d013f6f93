//! Objects as manifests hold them, and what an object is called.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Longest name or namespace of an object, bytes (the limit of the API).
pub const NAME_LIMIT: usize = 253;

/// An object: a JSON object with `apiVersion`, `kind` and `metadata.name`, as [`crate::parse`] lets through. The accessors answer for every
/// shape: what is not there or of another type is as if it were empty.
#[derive(Clone, PartialEq, Debug)]
pub struct Object(pub Value);

/// What an object is called.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// `apps/v1`, `v1`; empty in a name that a person wrote (`[ns/]Kind/name`): discovery finds it.
    #[serde(default)]
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// Namespace; `None` for objects of the cluster, and in names that leave it to the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

/// A text that is not `[namespace/]Kind/name`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text:?} is not the name of an object: it is written Kind/name or namespace/Kind/name")]
pub struct NotAResource {
    /// As it was written.
    pub text: String,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl FromStr for Resource {
    type Err = NotAResource;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').map(str::trim).collect();
        let (namespace, kind, name) = match parts.as_slice() {
            [kind, name] => (None, *kind, *name),
            [namespace, kind, name] => (Some(*namespace), *kind, *name),
            _ => return Err(NotAResource { text: text.to_owned() }),
        };
        let kind_ok = !kind.is_empty() && kind.chars().all(|c| c.is_ascii_alphanumeric());
        if !kind_ok || !is_name(name) || !namespace.is_none_or(is_name) {
            return Err(NotAResource { text: text.to_owned() });
        }
        Ok(Self {
            api_version: String::new(),
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        })
    }
}

/// Whether a text can be a name in an API path: visible ASCII without the characters that paths and queries are made of.
#[must_use]
pub fn is_name(text: &str) -> bool {
    !matches!(text, "" | "." | "..")
        && text.len() <= NAME_LIMIT
        && text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | '%' | '?' | '#' | '\\' | '"'))
}

impl Object {
    /// `Deployment`.
    #[must_use]
    pub fn kind(&self) -> &str {
        text(self.0.get("kind"))
    }

    /// `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> &str {
        text(self.0.get("apiVersion"))
    }

    /// The API group: `apps` of `apps/v1`, empty for the core.
    #[must_use]
    pub fn group(&self) -> &str {
        self.api_version().split_once('/').map_or("", |(group, _)| group)
    }

    /// Namespace as the object names it.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.at(&["metadata", "namespace"]).and_then(Value::as_str).filter(|namespace| !namespace.is_empty())
    }

    /// Name.
    #[must_use]
    pub fn name(&self) -> &str {
        text(self.at(&["metadata", "name"]))
    }

    /// An annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.at(&["metadata", "annotations", key]).and_then(Value::as_str)
    }

    /// Whether an annotation says `"true"`.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        self.annotation(key).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
    }

    /// A label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.at(&["metadata", "labels", key]).and_then(Value::as_str)
    }

    /// What it is called.
    #[must_use]
    pub fn resource(&self) -> Resource {
        Resource {
            api_version: self.api_version().to_owned(),
            kind: self.kind().to_owned(),
            namespace: self.namespace().map(str::to_owned),
            name: self.name().to_owned(),
        }
    }

    /// What is at a path of keys.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(&self.0, |value, key| value.get(key))
    }

    /// The mapping at a path of keys, made where there is none (or something else).
    pub fn mapping(&mut self, path: &[&str]) -> &mut Map<String, Value> {
        path.iter()
            .fold(as_mapping(&mut self.0), |map, key| as_mapping(map.entry(*key).or_insert(Value::Null)))
    }

    /// Sets the name.
    pub fn set_name(&mut self, name: &str) {
        self.mapping(&["metadata"]).insert("name".to_owned(), Value::from(name));
    }

    /// Sets the namespace.
    pub fn set_namespace(&mut self, namespace: &str) {
        self.mapping(&["metadata"]).insert("namespace".to_owned(), Value::from(namespace));
    }

    /// Sets a label.
    pub fn set_label(&mut self, key: &str, value: &str) {
        self.mapping(&["metadata", "labels"]).insert(key.to_owned(), Value::from(value));
    }

    /// Whether it is a Deployment, `StatefulSet` or `DaemonSet` of `apps`, whose rollout is followed (`behaviour.md` 22).
    #[must_use]
    pub fn is_workload(&self) -> bool {
        self.group() == "apps" && matches!(self.kind(), "Deployment" | "StatefulSet" | "DaemonSet")
    }

    /// Whether it is a core Service.
    #[must_use]
    pub fn is_service(&self) -> bool {
        self.api_version() == "v1" && self.kind() == "Service"
    }
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

/// The mapping in a value; whatever else it was gives way to an empty one.
pub fn as_mapping(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        // The line above made it one.
        _ => unreachable!("a mapping was just put here"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_written_and_read() {
        for text in ["Deployment/web", "prod/StatefulSet/db-0", "ClusterRole/system:admin"] {
            assert_eq!(text.parse::<Resource>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "web",
            "/web",
            "Deployment/",
            "a/b/c/d",
            "Deployment/../x",
            "ns//x",
            "Deploy ment/x",
            "Deployment/a%2fb",
        ] {
            assert!(text.parse::<Resource>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_shape_answers() {
        for value in [
            json!(null),
            json!(3),
            json!([]),
            json!({"metadata": 3}),
            json!({"metadata": {"name": [], "labels": "x"}}),
        ] {
            let mut object = Object(value);
            assert_eq!(
                (object.kind(), object.name(), object.namespace(), object.label("x")),
                ("", "", None, None)
            );
            object.set_label("a", "b");
            assert_eq!(object.label("a"), Some("b"));
        }
    }
}
