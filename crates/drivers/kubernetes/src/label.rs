//! Labels and annotations that Manifold reads and writes (`behaviour.md` 22).

use manifold_model::{Failure, FailureClass, code};
use serde_json::Value;

use crate::object::Object;

/// Label of everything that a release deploys.
pub const RELEASE: &str = "harness.io/release-name";

/// Label of workloads and their Pods: [`STABLE`] or [`CANARY`].
pub const TRACK: &str = "harness.io/track";

/// The workload itself.
pub const STABLE: &str = "stable";

/// Its canary.
pub const CANARY: &str = "canary";

/// Label of a blue/green set and what its service selects.
pub const COLOR: &str = "harness.io/color";

/// Annotation: applied as it is, neither versioned nor followed as a workload.
pub const DIRECT_APPLY: &str = "harness.io/direct-apply";

/// Annotation of the service that serves.
pub const PRIMARY_SERVICE: &str = "harness.io/primary-service";

/// Annotation of the service before which a new set is tried.
pub const STAGE_SERVICE: &str = "harness.io/stage-service";

/// Longest value of a label.
const VALUE_LIMIT: usize = 63;

/// Refuses a release name that cannot be a label's value and a `ConfigMap`'s name.
///
/// # Errors
/// It is too long or has other characters than `a-z`, `0-9`, `-` and `.`.
pub fn check_release(name: &str) -> Result<(), Failure> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let fine = name.len() <= VALUE_LIMIT
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
        && name.split('.').all(|part| edge(part.chars().next()) && edge(part.chars().last()));
    if fine {
        return Ok(());
    }
    let message =
        format!("{name:?} cannot be a release name: it names a ConfigMap and is the value of a label");
    Err(Failure::new(FailureClass::Application, code!("K8S_RELEASE_NAME"), message).hint(format!(
        "give the infrastructure definition a release name of at most {VALUE_LIMIT} lower-case letters, digits, - and ."
    )))
}

/// Labels everything as of a release, the Pods of workloads too; selectors stay as they are.
pub fn release(objects: &mut [Object], name: &str) {
    for object in objects {
        object.set_label(RELEASE, name);
        if object.is_workload() && !object.flag(DIRECT_APPLY) {
            pod_label(object, RELEASE, name);
        }
    }
}

/// Labels the workloads and their Pods as the ones that serve.
pub fn stable(objects: &mut [Object]) {
    for object in objects.iter_mut().filter(|object| object.is_workload() && !object.flag(DIRECT_APPLY)) {
        object.set_label(TRACK, STABLE);
        pod_label(object, TRACK, STABLE);
    }
}

/// Sets a label on the Pod template of a workload.
pub fn pod_label(workload: &mut Object, key: &str, value: &str) {
    workload.mapping(&["spec", "template", "metadata", "labels"]).insert(key.to_owned(), Value::from(value));
}

/// Makes a new workload a set of its own: the label is on it, on its Pods and in its selector. Never for one that exists: selectors cannot be
/// changed.
pub fn own_set(workload: &mut Object, key: &str, value: &str) {
    workload.set_label(key, value);
    pod_label(workload, key, value);
    workload.mapping(&["spec", "selector", "matchLabels"]).insert(key.to_owned(), Value::from(value));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn workloads_and_their_pods_are_labelled() {
        let workload = Object(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}}},
        }));
        let config = Object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}}));
        let mut objects = vec![workload, config];
        release(&mut objects, "rel");
        stable(&mut objects);
        let labels =
            |index: usize, path: &str| objects.get(index).and_then(|object| object.0.pointer(path)).cloned();
        let all = json!({"app": "web", RELEASE: "rel", TRACK: "stable"});
        assert_eq!(labels(0, "/spec/template/metadata/labels"), Some(all));
        assert_eq!(labels(0, "/spec/selector/matchLabels"), Some(json!({"app": "web"})));
        assert_eq!(labels(1, "/metadata/labels"), Some(json!({RELEASE: "rel"})));
        assert_eq!(labels(1, "/spec"), None);
    }

    #[test]
    fn release_names_are_checked() {
        for name in ["release-0a-b", "a", "a.b-1"] {
            assert!(check_release(name).is_ok(), "{name}");
        }
        for name in ["", "A", "-a", "a_b", "a..b", &"a".repeat(64)] {
            assert!(check_release(name).is_err(), "{name}");
        }
    }
}
