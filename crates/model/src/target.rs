//! Identity of targets. Lock key = service × resolved target without the definition's id; mapping key = with it (D25).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::EntityId;

/// What a lock protects: service × resolved target.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
pub struct LockKey {
    /// Digest of service and target.
    pub key: String,
    /// For people: `cart × eu-cluster/shop`.
    pub title: String,
}

/// The infra mapping: service × definition × resolved target. Identity for release names and rollback history.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(transparent)]
pub struct MappingKey(pub String);

/// A resolved target.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
pub struct Target {
    /// Digest of what makes the target.
    pub key: String,
    /// For people: host list or `cluster/namespace`.
    pub title: String,
}

impl Target {
    /// The target of an infrastructure item whose properties have been resolved. Hosts: the digest of the sorted host list; everything
    /// else: cloud provider and the keys that name a place.
    #[must_use]
    pub fn of(item_type: &str, cloud_provider: Option<&str>, properties: &Map<String, Value>) -> Self {
        let hosts = host_names(properties);
        if !hosts.is_empty() {
            let mut sorted = hosts.clone();
            sorted.sort();
            sorted.dedup();
            let parts: Vec<&str> =
                std::iter::once("hosts").chain(sorted.iter().map(String::as_str)).collect();
            let title = match sorted.as_slice() {
                [first, second, third, _, ..] => {
                    format!("{first}, {second}, {third} and {} more", sorted.len() - 3)
                }
                few => few.join(", "),
            };
            return Self { key: EntityId::derived(&parts).to_string(), title };
        }
        const PLACES: [&str; 13] = [
            "masterUrl",
            "clusterName",
            "region",
            "namespace",
            "organization",
            "space",
            "subscriptionId",
            "resourceGroup",
            "resourceGroupName",
            "autoScalingGroupName",
            "baseVMSSName",
            "vpcId",
            "infraVariables",
        ];
        let mut parts = vec![item_type.to_owned(), cloud_provider.unwrap_or_default().to_owned()];
        let mut shown: Vec<String> = cloud_provider.map(str::to_owned).into_iter().collect();
        for place in PLACES {
            if let Some(value) = properties.get(place).filter(|value| !value.is_null()) {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                parts.push(format!("{place}={text}"));
                shown.push(text);
            }
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Self { key: EntityId::derived(&parts).to_string(), title: shown.join("/") }
    }

    /// The lock of a service on this target.
    #[must_use]
    pub fn lock(&self, service: &EntityId, service_name: &str) -> LockKey {
        LockKey {
            key: EntityId::derived(&["lock", service.as_str(), &self.key]).to_string(),
            title: format!("{service_name} × {}", self.title),
        }
    }

    /// The mapping of a service and a definition on this target.
    #[must_use]
    pub fn mapping(&self, service: &EntityId, definition: &EntityId) -> MappingKey {
        MappingKey(
            EntityId::derived(&["mapping", service.as_str(), definition.as_str(), &self.key]).to_string(),
        )
    }
}

/// `hostNames` of an infrastructure item: a list, or one comma-separated string.
#[must_use]
pub fn host_names(properties: &Map<String, Value>) -> Vec<String> {
    let split = |text: &str| {
        text.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    match properties.get("hostNames") {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).flat_map(split).collect(),
        Some(Value::String(text)) => split(text),
        _ => Vec::new(),
    }
}
