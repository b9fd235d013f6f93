//! The kinds of a cluster, asked for by group version when first needed and kept with the cluster's connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

/// A kind of the API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiKind {
    /// `apps/v1`, `v1`.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// `deployments`.
    pub plural: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// What can be done with it.
    pub verbs: Vec<String>,
}

/// What a cluster has said of its kinds.
#[derive(Default)]
pub struct Discovery {
    versions: Mutex<HashMap<String, Arc<Vec<ApiKind>>>>,
    groups: Mutex<Option<Arc<Vec<String>>>>,
    /// Who asks for the kinds of a group version has its turn.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// Kinds that a person may name without their group, and the version to ask for first.
const WELL_KNOWN: [(&str, &str); 31] = [
    ("ConfigMap", "v1"),
    ("Endpoints", "v1"),
    ("LimitRange", "v1"),
    ("Namespace", "v1"),
    ("Node", "v1"),
    ("PersistentVolume", "v1"),
    ("PersistentVolumeClaim", "v1"),
    ("Pod", "v1"),
    ("ReplicationController", "v1"),
    ("ResourceQuota", "v1"),
    ("Secret", "v1"),
    ("Service", "v1"),
    ("ServiceAccount", "v1"),
    ("ControllerRevision", "apps/v1"),
    ("DaemonSet", "apps/v1"),
    ("Deployment", "apps/v1"),
    ("ReplicaSet", "apps/v1"),
    ("StatefulSet", "apps/v1"),
    ("HorizontalPodAutoscaler", "autoscaling/v2"),
    ("CronJob", "batch/v1"),
    ("Job", "batch/v1"),
    ("Ingress", "networking.k8s.io/v1"),
    ("IngressClass", "networking.k8s.io/v1"),
    ("NetworkPolicy", "networking.k8s.io/v1"),
    ("PodDisruptionBudget", "policy/v1"),
    ("ClusterRole", "rbac.authorization.k8s.io/v1"),
    ("ClusterRoleBinding", "rbac.authorization.k8s.io/v1"),
    ("Role", "rbac.authorization.k8s.io/v1"),
    ("RoleBinding", "rbac.authorization.k8s.io/v1"),
    ("StorageClass", "storage.k8s.io/v1"),
    ("CustomResourceDefinition", "apiextensions.k8s.io/v1"),
];

/// The group version of a kind that everybody knows; its spelling counts without regard to case, as `kubectl` takes it.
#[must_use]
pub fn well_known(kind: &str) -> Option<(&'static str, &'static str)> {
    WELL_KNOWN.iter().find(|(name, _)| name.eq_ignore_ascii_case(kind)).copied()
}

/// An `APIResourceList`.
#[derive(Deserialize)]
pub struct ResourceList {
    #[serde(default)]
    resources: Vec<ListedResource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedResource {
    name: String,
    kind: String,
    #[serde(default)]
    namespaced: bool,
    #[serde(default)]
    verbs: Vec<String>,
}

/// An `APIGroupList`.
#[derive(Deserialize)]
pub struct GroupList {
    #[serde(default)]
    groups: Vec<ListedGroup>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedGroup {
    #[serde(default)]
    versions: Vec<ListedVersion>,
    #[serde(default)]
    preferred_version: Option<ListedVersion>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedVersion {
    group_version: String,
}

impl ResourceList {
    /// The kinds of a group version, subresources left out.
    #[must_use]
    pub fn kinds(self, api_version: &str) -> Vec<ApiKind> {
        self.resources
            .into_iter()
            .filter(|listed| !listed.name.contains('/'))
            .map(|listed| ApiKind {
                api_version: api_version.to_owned(),
                kind: listed.kind,
                plural: listed.name,
                namespaced: listed.namespaced,
                verbs: listed.verbs,
            })
            .collect()
    }
}

impl GroupList {
    /// The preferred version of every group.
    #[must_use]
    pub fn preferred(self) -> Vec<String> {
        self.groups
            .into_iter()
            .filter_map(|group| group.preferred_version.or_else(|| group.versions.into_iter().next()))
            .map(|version| version.group_version)
            .collect()
    }
}

impl Discovery {
    /// The kinds of a group version, when they are known.
    pub fn known(&self, api_version: &str) -> Option<Arc<Vec<ApiKind>>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).get(api_version).map(Arc::clone)
    }

    /// Keeps the kinds of a group version.
    pub fn keep(&self, api_version: &str, kinds: Vec<ApiKind>) -> Arc<Vec<ApiKind>> {
        let kinds = Arc::new(kinds);
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.insert(api_version.to_owned(), Arc::clone(&kinds));
        kinds
    }

    /// The turn of who asks for the kinds of a group version.
    pub fn turn(&self, api_version: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(api_version.to_owned()).or_default())
    }

    /// The preferred group versions, when they are known.
    pub fn known_groups(&self) -> Option<Arc<Vec<String>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Arc::clone)
    }

    /// Keeps the preferred group versions; `None` forgets them.
    pub fn keep_groups(&self, groups: Option<Vec<String>>) -> Arc<Vec<String>> {
        let groups = groups.map(Arc::new);
        let kept = groups.clone().unwrap_or_default();
        *self.groups.lock().unwrap_or_else(PoisonError::into_inner) = groups;
        kept
    }
}

impl ApiKind {
    /// The path of its objects in the API; `namespace` counts only for kinds in namespaces.
    #[must_use]
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = root(&self.api_version);
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{}", self.plural),
            None => format!("{root}/{}", self.plural),
        }
    }
}

/// The path of a group version.
#[must_use]
pub fn root(api_version: &str) -> String {
    match api_version.contains('/') {
        true => format!("/apis/{api_version}"),
        false => format!("/api/{api_version}"),
    }
}
