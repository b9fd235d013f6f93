//! Versioned configuration: each release has its own `ConfigMaps` and Secrets, `<name>-<release number>`, and the Pods that name them follow, so
//! that going back to an old Pod template goes back to the configuration it had (`behaviour.md` 22).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::label::DIRECT_APPLY;
use crate::object::Object;

/// Annotation that keeps an object's name as it is.
pub const SKIP_VERSIONING: &str = "harness.io/skip-versioning";

/// Configuration that a Pod names: kind and name.
pub type Reference = (&'static str, String);

const CONFIG_MAP: &str = "ConfigMap";
const SECRET: &str = "Secret";

/// Whether an object gets the release number into its name.
#[must_use]
pub fn is_versioned(object: &Object, skip_all: bool) -> bool {
    !skip_all
        && object.api_version() == "v1"
        && matches!(object.kind(), CONFIG_MAP | SECRET)
        && !object.flag(SKIP_VERSIONING)
        && !object.flag(DIRECT_APPLY)
}

/// The name of a version.
#[must_use]
pub fn name_of_version(name: &str, number: u64) -> String {
    format!("{name}-{number}")
}

/// Gives versioned objects the number and lets all Pod templates follow, those of objects that are applied as they are included: what they name
/// does not exist otherwise. Namespaces are set. Which objects were versioned, by index.
pub fn version(objects: &mut [Object], number: u64, skip_all: bool) -> BTreeSet<usize> {
    let mut renamed: BTreeMap<(Option<String>, &'static str, String), String> = BTreeMap::new();
    let mut versioned = BTreeSet::new();
    for (index, object) in objects.iter_mut().enumerate() {
        if !is_versioned(object, skip_all) {
            continue;
        }
        let kind = if object.kind() == SECRET { SECRET } else { CONFIG_MAP };
        let name = name_of_version(object.name(), number);
        renamed.insert((object.namespace().map(str::to_owned), kind, object.name().to_owned()), name.clone());
        object.set_name(&name);
        versioned.insert(index);
    }
    for object in objects.iter_mut().filter(|_| !renamed.is_empty()) {
        let namespace = object.namespace().map(str::to_owned);
        let Some(pod) = pod_spec(object) else { continue };
        visit(pod, &mut |kind, name| {
            if let Some(new) = renamed.get(&(namespace.clone(), kind, name.clone())) {
                name.clone_from(new);
            }
        });
    }
    versioned
}

/// The configuration that an object's Pods name.
#[must_use]
pub fn references(object: &Object) -> BTreeSet<Reference> {
    let mut found = BTreeSet::new();
    let mut copy = object.clone();
    if let Some(pod) = pod_spec(&mut copy) {
        visit(pod, &mut |kind, name| {
            found.insert((kind, name.clone()));
        });
    }
    found
}

/// A digest of what is applied, for the history; `None` for Secrets, whose content it might give away.
#[must_use]
pub fn digest(object: &Object) -> Option<String> {
    if object.kind() == SECRET {
        return None;
    }
    let json = serde_json::to_vec(&object.0).ok()?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &json);
    Some(data_encoding::HEXLOWER.encode(digest.as_ref().get(..8)?))
}

/// The Pod of an object: of the kinds of Kubernetes, and of every other that has a Pod template at the same place.
fn pod_spec(object: &mut Object) -> Option<&mut Value> {
    let path = match object.kind() {
        "Pod" => "/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    };
    object.0.pointer_mut(path).filter(|spec| spec.get("containers").is_some_and(Value::is_array))
}

/// Shows every name of a `ConfigMap` or Secret in a Pod.
fn visit(pod: &mut Value, see: &mut impl FnMut(&'static str, &mut String)) {
    for volume in items(pod, "volumes") {
        each(volume, "/configMap/name", CONFIG_MAP, see);
        each(volume, "/secret/secretName", SECRET, see);
        each(volume, "/azureFile/secretName", SECRET, see);
        for path in [
            "csi/nodePublishSecretRef",
            "cephfs/secretRef",
            "flexVolume/secretRef",
            "iscsi/secretRef",
            "rbd/secretRef",
            "scaleIO/secretRef",
        ] {
            each(volume, &format!("/{path}/name"), SECRET, see);
        }
        if let Some(projected) = volume.get_mut("projected") {
            for source in items(projected, "sources") {
                each(source, "/configMap/name", CONFIG_MAP, see);
                each(source, "/secret/name", SECRET, see);
            }
        }
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items(pod, list) {
            for variable in items(container, "env") {
                each(variable, "/valueFrom/configMapKeyRef/name", CONFIG_MAP, see);
                each(variable, "/valueFrom/secretKeyRef/name", SECRET, see);
            }
            for source in items(container, "envFrom") {
                each(source, "/configMapRef/name", CONFIG_MAP, see);
                each(source, "/secretRef/name", SECRET, see);
            }
        }
    }
    for secret in items(pod, "imagePullSecrets") {
        each(secret, "/name", SECRET, see);
    }
}

/// The items of a list under a key; none when it is no list.
fn items<'a>(value: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

fn each(
    value: &mut Value,
    pointer: &str,
    kind: &'static str,
    see: &mut impl FnMut(&'static str, &mut String),
) {
    if let Some(Value::String(name)) = value.pointer_mut(pointer) {
        see(kind, name);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn config(kind: &str, name: &str, annotations: &Value) -> Object {
        Object(json!({
            "apiVersion": "v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": "ns", "annotations": annotations},
        }))
    }

    fn web() -> Object {
        let pod = json!({
            "volumes": [
                {"name": "a", "configMap": {"name": "web"}},
                {"name": "b", "secret": {"secretName": "key"}},
                {"name": "c", "projected": {"sources": [{"configMap": {"name": "web"}}, {"secret": {"name": "key"}}, {"downwardAPI": {}}]}},
                {"name": "d", "csi": {"driver": "x", "nodePublishSecretRef": {"name": "key"}}},
                {"name": "e", "configMap": {"name": "fixed"}},
            ],
            "imagePullSecrets": [{"name": "key"}],
            "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "web"}}, {"secretRef": {"name": "key"}}]}],
            "containers": [{"name": "c", "env": [
                {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "web", "key": "a"}}},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "key", "key": "a"}}},
                {"name": "C", "value": "web"},
                {"name": "D", "valueFrom": {"secretKeyRef": {"name": "others", "key": "a"}}},
            ]}],
        });
        Object(json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "ns"},
            "spec": {"template": {"spec": pod}},
        }))
    }

    #[test]
    fn pods_follow_their_configuration() {
        let mut elsewhere = web();
        elsewhere.set_namespace("other");
        let cron = Object(json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c", "namespace": "ns"},
            "spec": {"jobTemplate": {"spec": {"template": {"spec": web().0.pointer("/spec/template/spec").unwrap()}}}},
        }));
        let mut objects = vec![
            config("ConfigMap", "web", &json!({})),
            config("Secret", "key", &json!(null)),
            config("ConfigMap", "fixed", &json!({SKIP_VERSIONING: "true"})),
            config("ConfigMap", "direct", &json!({DIRECT_APPLY: "true"})),
            web(),
            cron,
            elsewhere.clone(),
        ];
        let versioned = version(&mut objects, 7, false);
        assert_eq!(versioned, BTreeSet::from([0, 1]));
        let names: Vec<&str> = objects.iter().map(Object::name).collect();
        assert_eq!(names, ["web-7", "key-7", "fixed", "direct", "web", "c", "web"]);
        let expected = BTreeSet::from([
            ("ConfigMap", "web-7".to_owned()),
            ("ConfigMap", "fixed".to_owned()),
            ("Secret", "key-7".to_owned()),
            ("Secret", "others".to_owned()),
        ]);
        assert_eq!(objects.get(4).map(references), Some(expected.clone()));
        assert_eq!(objects.get(5).map(references), Some(expected));
        assert_eq!(objects.get(6), Some(&elsewhere), "other namespaces have other configuration");
        let text = serde_json::to_string(&objects.get(4).unwrap().0).unwrap();
        assert_eq!((text.matches("\"web-7\"").count(), text.matches("\"key-7\"").count()), (4, 6));
    }

    #[test]
    fn nothing_is_versioned_when_told_so() {
        let mut objects = vec![config("ConfigMap", "web", &json!({})), web()];
        let before = objects.clone();
        assert!(version(&mut objects, 7, true).is_empty());
        assert_eq!(objects, before);
        assert_eq!(digest(&config("Secret", "key", &json!({}))), None);
        assert_eq!(digest(&web()).unwrap().len(), 16);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let keys = [
            "spec",
            "template",
            "containers",
            "volumes",
            "env",
            "envFrom",
            "name",
            "configMap",
            "secret",
            "projected",
            "sources",
            "metadata",
            "kind",
            "apiVersion",
            "namespace",
            "annotations",
            "labels",
            "selector",
            "matchLabels",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            prop::sample::select(vec!["ConfigMap", "Secret", "Deployment", "Service", "v1", "apps/v1", "a"])
                .prop_map(Value::from),
        ];
        leaf.prop_recursive(8, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(prop::sample::select(keys.to_vec()), inner, 0..6).prop_map(
                    |map| Value::Object(
                        map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
                    )
                ),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_shape_panics(values in prop::collection::vec(any_json(), 0..4)) {
            let mut objects: Vec<Object> = values.into_iter().map(Object).collect();
            let _ = crate::render::place(&mut objects, "ns", |_| None);
            version(&mut objects, 3, false);
            crate::label::release(&mut objects, "rel");
            crate::label::stable(&mut objects);
            let _ = crate::workload::no_jobs(&objects);
            if let Ok(index) = crate::workload::single(&objects) {
                crate::label::own_set(crate::workload::at(&mut objects, index).unwrap(), "a", "b");
            }
            if let Ok((primary, stage)) = crate::services::pair(&mut objects) {
                prop_assert_ne!(primary, stage);
                crate::services::select(crate::workload::at(&mut objects, stage).unwrap(), "blue");
            }
            for object in &objects {
                let _ = (references(object), digest(object), object.resource().to_string());
            }
        }
    }
}
