//! Revisions of workloads: which one is there, and the Pod template of an old one, which its ReplicaSet or ControllerRevision keeps.

use manifold_model::Failure;
use serde_json::{Map, Value};

use crate::cluster::{Cluster, MANAGER};
use crate::object::{Object, as_mapping};
use crate::reasons::selector;

/// Number of a Deployment's revision, and the numbers that it had before.
const REVISION: &str = "deployment.kubernetes.io/revision";
const FORMER: &str = "deployment.kubernetes.io/revision-history";
/// Label that tells a ReplicaSet's Pods from those of another; never part of a template.
const HASH: &str = "pod-template-hash";

/// The revision of a workload that is steady: a number, or the name of its ControllerRevision.
///
/// # Errors
/// The cluster cannot be asked.
pub async fn revision(cluster: &Cluster, workload: &Object) -> Result<Option<String>, Failure> {
    Ok(match workload.kind() {
        "Deployment" => workload.annotation(REVISION).map(str::to_owned),
        "StatefulSet" => {
            workload.at(&["status", "updateRevision"]).and_then(Value::as_str).map(str::to_owned)
        }
        _ => {
            let number = |object: &Object| object.at(&["revision"]).and_then(Value::as_i64).unwrap_or(0);
            let newest = owned(cluster, workload, "ControllerRevision").await?.into_iter().max_by_key(number);
            newest.map(|revision| revision.name().to_owned())
        }
    })
}

/// The Pod template of a workload's revision; `None` when the cluster does not have it any more.
///
/// # Errors
/// The cluster cannot be asked.
pub async fn template(
    cluster: &Cluster,
    workload: &Object,
    revision: &str,
) -> Result<Option<Value>, Failure> {
    if workload.kind() == "Deployment" {
        let sets = owned(cluster, workload, "ReplicaSet").await?;
        let found = sets.iter().find(|set| has_revision(set, revision));
        let mut template = found.and_then(|set| set.at(&["spec", "template"])).cloned();
        if let Some(labels) = template.as_mut().and_then(|template| template.pointer_mut("/metadata/labels"))
        {
            as_mapping(labels).remove(HASH);
        }
        return Ok(template);
    }
    let revisions = owned(cluster, workload, "ControllerRevision").await?;
    let found = revisions.iter().find(|one| one.name() == revision);
    let mut template = found.and_then(|one| one.at(&["data", "spec", "template"])).cloned();
    if let Some(template) = &mut template {
        as_mapping(template).remove("$patch");
    }
    Ok(template)
}

/// Whether a ReplicaSet is, or was, this revision: going back to an old one gives it a new number.
fn has_revision(set: &Object, revision: &str) -> bool {
    let former = set.annotation(FORMER).unwrap_or_default();
    set.annotation(REVISION) == Some(revision) || former.split(',').any(|one| one.trim() == revision)
}

/// The objects of a kind of `apps` that a workload controls.
async fn owned(cluster: &Cluster, workload: &Object, kind: &str) -> Result<Vec<Object>, Failure> {
    let kind = cluster.kind("apps/v1", kind).await?;
    let labels = selector(workload).unwrap_or_default();
    let listed = cluster.list(&kind, workload.namespace(), &labels, "").await?;
    let uid = workload.at(&["metadata", "uid"]);
    let is_owned = |object: &Object| {
        let owners = object.at(&["metadata", "ownerReferences"]).and_then(Value::as_array);
        uid.is_some() && owners.is_some_and(|owners| owners.iter().any(|owner| owner.get("uid") == uid))
    };
    Ok(listed.into_iter().filter(is_owned).collect())
}

/// What we own of a workload, with another Pod template: applied, it changes nothing but the template.
#[must_use]
pub fn with_template(live: &Object, template: Value) -> Object {
    let entries = live.at(&["metadata", "managedFields"]).and_then(Value::as_array);
    let ours = entries.into_iter().flatten().find(|entry| {
        let is = |key: &str, value: &str| entry.get(key).and_then(Value::as_str) == Some(value);
        is("manager", MANAGER) && is("operation", "Apply")
    });
    let fields = ours.and_then(|entry| entry.get("fieldsV1"));
    let own = fields.and_then(|fields| extract(&live.0, fields, 0)).unwrap_or(Value::Object(Map::new()));
    let mut object = Object(own);
    let map = as_mapping(&mut object.0);
    for key in ["apiVersion", "kind"] {
        map.insert(key.to_owned(), live.0.get(key).cloned().unwrap_or_default());
    }
    object.set_name(live.name());
    if let Some(namespace) = live.namespace() {
        object.set_namespace(namespace);
    }
    object.mapping(&["spec"]).insert("template".to_owned(), template);
    object
}

/// Levels of fields that are followed; objects have some twenty.
const DEPTH: usize = 64;

/// The part of a value that a set of fields names.
fn extract(value: &Value, fields: &Value, depth: usize) -> Option<Value> {
    let fields = fields.as_object().filter(|fields| !fields.keys().all(|key| key == "."));
    let Some(fields) = fields.filter(|_| depth < DEPTH) else { return Some(value.clone()) };
    match value {
        Value::Object(map) => {
            let of = |(key, below): (&String, &Value)| {
                let name = key.strip_prefix("f:")?;
                Some((name.to_owned(), extract(map.get(name)?, below, depth + 1)?))
            };
            Some(Value::Object(fields.iter().filter_map(of).collect()))
        }
        Value::Array(items) => {
            let of = |item: &Value| fields.iter().find_map(|(key, below)| pick(item, key, below, depth));
            Some(Value::Array(items.iter().filter_map(of).collect()))
        }
        other => Some(other.clone()),
    }
}

/// An item of a list, when the element of a path (`k:{"name":"x"}`, `v:"x"`) means it.
fn pick(item: &Value, element: &str, below: &Value, depth: usize) -> Option<Value> {
    if let Some(value) = element.strip_prefix("v:") {
        return (serde_json::from_str::<Value>(value).ok()? == *item).then(|| item.clone());
    }
    let keys: Map<String, Value> = serde_json::from_str(element.strip_prefix("k:")?).ok()?;
    if !keys.iter().all(|(key, value)| item.get(key) == Some(value)) {
        return None;
    }
    let mut picked = extract(item, below, depth + 1)?;
    as_mapping(&mut picked).extend(keys);
    Some(picked)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_ours_is_applied_again() {
        let live = Object(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "ns", "uid": "u", "labels": {"a": "1", "theirs": "2"},
                "finalizers": ["mine", "theirs"],
                "managedFields": [
                    {"manager": "kube-controller-manager", "operation": "Update", "fieldsV1": {"f:status": {}}},
                    {"manager": MANAGER, "operation": "Apply", "fieldsV1": {
                        "f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {"v:\"mine\"": {}}},
                        "f:spec": {"f:selector": {}, "f:template": {"f:spec": {}},
                            "f:things": {"k:{\"name\":\"x\"}": {".": {}, "f:name": {}, "f:value": {}}}}}},
                ]},
            "spec": {"replicas": 7, "selector": {"matchLabels": {"app": "web"}}, "template": {"new": true},
                "things": [{"name": "x", "value": 1, "more": 2}, {"name": "y"}]},
        }));
        let expected = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "ns", "labels": {"a": "1"}, "finalizers": ["mine"]},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"old": true}, "things": [{"name": "x", "value": 1}]},
        });
        assert_eq!(with_template(&live, json!({"old": true})).0, expected);
    }

    #[test]
    fn former_numbers_count() {
        let set = Object(json!({"metadata": {"annotations": {REVISION: "4", FORMER: "1,3"}}}));
        assert!(["1", "3", "4"].iter().all(|revision| has_revision(&set, revision)));
        assert!(!has_revision(&set, "2"));
    }
}
