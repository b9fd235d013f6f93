//! Whether an object is where its spec wants it: the rules of `kubectl rollout status` for workloads, and those of kstatus for the rest. Pure.

use serde_json::Value;

use crate::cluster::MANAGER;
use crate::object::Object;

/// How far an object is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// There.
    Steady,
    /// On the way: what it waits for.
    Waiting(String),
    /// It will not get there by itself: why.
    Failed(String),
}

/// How far an object is.
#[must_use]
pub fn progress(object: &Object) -> Progress {
    if object.at(&["metadata", "deletionTimestamp"]).is_some_and(|at| !at.is_null()) {
        return Progress::Failed("it is being deleted".to_owned());
    }
    match (object.group(), object.kind()) {
        ("apps", "Deployment") => deployment(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("batch", "Job") => job(object),
        ("", "Pod") => pod(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        // The other kinds of Kubernetes itself are there once they are stored.
        (group, _) if !group.contains('.') || group.ends_with(".k8s.io") => Progress::Steady,
        _ => custom(object),
    }
}

/// How many pods of a workload are ready, for people: of a Deployment those of its newest template, as far as its status tells them from the old
/// ones, which serve on while the new ones fail.
#[must_use]
pub fn counts(object: &Object) -> Option<String> {
    let status = |key: &str| number(object, &["status", key]).unwrap_or(0);
    let wanted = replicas(object);
    match (object.group(), object.kind()) {
        ("apps", "DaemonSet") => {
            Some(format!("{} of {} pods ready", status("numberReady"), status("desiredNumberScheduled")))
        }
        ("apps", "StatefulSet") => Some(format!("{} of {wanted} pods ready", status("readyReplicas"))),
        ("apps", "Deployment") => {
            let (updated, old) = (status("updatedReplicas"), status("replicas") - status("updatedReplicas"));
            let ready = (status("readyReplicas") - old).clamp(0, updated.max(0));
            Some(format!("{ready} of {wanted} new pods ready"))
        }
        _ => None,
    }
}

fn number(object: &Object, path: &[&str]) -> Option<i64> {
    object.at(path).and_then(Value::as_i64)
}

/// Pods that a workload wants: 1 when it does not say.
fn replicas(object: &Object) -> i64 {
    number(object, &["spec", "replicas"]).unwrap_or(1)
}

/// Whether the controller has seen the newest spec.
#[must_use]
pub fn observed(object: &Object) -> bool {
    let generation = number(object, &["metadata", "generation"]).unwrap_or(0);
    number(object, &["status", "observedGeneration"]).is_some_and(|seen| seen >= generation)
}

fn unobserved(object: &Object) -> Progress {
    Progress::Waiting(format!("the change of the {} is not seen by its controller yet", object.kind()))
}

/// A condition: (status, reason, message).
#[must_use]
pub fn condition<'a>(object: &'a Object, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let conditions = object.at(&["status", "conditions"])?.as_array()?;
    let found = conditions.iter().find(|one| one.get("type").and_then(Value::as_str) == Some(kind))?;
    let text = |key: &str| found.get(key).and_then(Value::as_str).unwrap_or_default();
    Some((text("status"), text("reason"), text("message")))
}

/// Whether the Deployment was given up before we last changed it. Its controller keeps that word when the change goes back to a template that it
/// has a ReplicaSet of, until the first Pod comes up; it says nothing of how the change goes.
fn of_an_earlier_template(object: &Object) -> bool {
    let given_up = newest(object, &["status", "conditions"], "lastUpdateTime", |one| {
        one.get("type").and_then(Value::as_str) == Some("Progressing")
    });
    let changed = newest(object, &["metadata", "managedFields"], "time", |one| {
        one.get("manager").and_then(Value::as_str) == Some(MANAGER) && one.get("subresource").is_none()
    });
    // What was given up in the second of the change was so before it: no deadline is shorter than a second.
    given_up.zip(changed).is_some_and(|(given_up, changed)| given_up <= changed)
}

/// The newest time of a list's items: the cluster's own, RFC 3339 with whole seconds and `Z`, which sorts as text.
fn newest<'a>(
    object: &'a Object,
    list: &[&str],
    time: &str,
    counts: impl Fn(&Value) -> bool,
) -> Option<&'a str> {
    let items = object.at(list).and_then(Value::as_array).into_iter().flatten();
    items.filter(|one| counts(one)).filter_map(|one| one.get(time)?.as_str()).max()
}

fn deployment(object: &Object) -> Progress {
    if !observed(object) {
        return unobserved(object);
    }
    if let Some((_, "ProgressDeadlineExceeded", message)) = condition(object, "Progressing")
        && !of_an_earlier_template(object)
    {
        return Progress::Failed(format!("it exceeded its progress deadline: {message}"));
    }
    let status = |key: &str| number(object, &["status", key]).unwrap_or(0);
    let (wanted, updated) = (replicas(object), status("updatedReplicas"));
    let (total, available) = (status("replicas"), status("availableReplicas"));
    if updated < wanted {
        return Progress::Waiting(format!("{updated} of {wanted} new pods exist"));
    }
    if total > updated {
        return Progress::Waiting(format!("{} old pods are still there", total - updated));
    }
    if available < updated {
        return Progress::Waiting(format!("{available} of {updated} new pods are available"));
    }
    Progress::Steady
}

fn stateful_set(object: &Object) -> Progress {
    if on_delete(object) {
        return Progress::Steady;
    }
    if !observed(object) {
        return unobserved(object);
    }
    let status = |key: &str| number(object, &["status", key]).unwrap_or(0);
    let (wanted, ready, updated) = (replicas(object), status("readyReplicas"), status("updatedReplicas"));
    if ready < wanted {
        return Progress::Waiting(format!("{ready} of {wanted} pods are ready"));
    }
    let partition = number(object, &["spec", "updateStrategy", "rollingUpdate", "partition"]).unwrap_or(0);
    if partition > 0 {
        return match updated < wanted - partition {
            true => Progress::Waiting(format!("{updated} of {} pods are new", wanted - partition)),
            false => Progress::Steady,
        };
    }
    let revision = |key: &str| object.at(&["status", key]).and_then(Value::as_str).unwrap_or_default();
    match revision("updateRevision") == revision("currentRevision") {
        true => Progress::Steady,
        false => Progress::Waiting(format!("{updated} of {wanted} pods are new")),
    }
}

fn daemon_set(object: &Object) -> Progress {
    if on_delete(object) {
        return Progress::Steady;
    }
    if !observed(object) {
        return unobserved(object);
    }
    let status = |key: &str| number(object, &["status", key]).unwrap_or(0);
    let wanted = status("desiredNumberScheduled");
    let (updated, available) = (status("updatedNumberScheduled"), status("numberAvailable"));
    if updated < wanted {
        return Progress::Waiting(format!("{updated} of {wanted} new pods exist"));
    }
    if available < wanted {
        return Progress::Waiting(format!("{available} of {wanted} pods are available"));
    }
    Progress::Steady
}

/// Whether pods are replaced only when somebody deletes them: such a workload has no rollout to wait for.
#[must_use]
pub fn on_delete(object: &Object) -> bool {
    object.at(&["spec", "updateStrategy", "type"]).and_then(Value::as_str) == Some("OnDelete")
}

fn job(object: &Object) -> Progress {
    if let Some(("True", reason, message)) = condition(object, "Failed") {
        return Progress::Failed(format!("it failed: {reason}: {message}"));
    }
    if let Some(("True", ..)) = condition(object, "Complete") {
        return Progress::Steady;
    }
    if let Some(("True", ..)) = condition(object, "Suspended") {
        return Progress::Steady;
    }
    let wanted = number(object, &["spec", "completions"]).unwrap_or(1);
    let succeeded = number(object, &["status", "succeeded"]).unwrap_or(0);
    Progress::Waiting(format!("{succeeded} of {wanted} pods have ended well"))
}

fn pod(object: &Object) -> Progress {
    match object.at(&["status", "phase"]).and_then(Value::as_str) {
        Some("Succeeded") => Progress::Steady,
        Some("Failed") => Progress::Failed("it failed".to_owned()),
        phase => match condition(object, "Ready") {
            Some(("True", ..)) => Progress::Steady,
            _ => Progress::Waiting(format!("it is {}", phase.unwrap_or("not seen by any node yet"))),
        },
    }
}

fn definition(object: &Object) -> Progress {
    if let Some(("False", reason, message)) = condition(object, "NamesAccepted") {
        return Progress::Failed(format!("{reason}: {message}"));
    }
    match condition(object, "Established") {
        Some(("True", ..)) => Progress::Steady,
        _ => Progress::Waiting("the kind is not served yet".to_owned()),
    }
}

/// A kind of a CustomResourceDefinition: what it says of itself by the common conditions, if it says anything.
fn custom(object: &Object) -> Progress {
    if number(object, &["status", "observedGeneration"]).is_some() && !observed(object) {
        return unobserved(object);
    }
    if let Some(("True", reason, message)) = condition(object, "Stalled") {
        return Progress::Failed(format!("{reason}: {message}"));
    }
    if let Some(("True", reason, message)) = condition(object, "Reconciling") {
        return Progress::Waiting(format!("{reason}: {message}"));
    }
    match condition(object, "Ready") {
        Some(("False" | "Unknown", reason, message)) => Progress::Waiting(format!("{reason}: {message}")),
        _ => Progress::Steady,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn of(api_version: &str, kind: &str, spec: Value, status: Value) -> Progress {
        let metadata = json!({"name": "x", "generation": 2});
        progress(&Object(
            json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec, "status": status}),
        ))
    }

    fn waiting(text: &str) -> Progress {
        Progress::Waiting(text.to_owned())
    }

    #[test]
    fn old_pods_of_a_deployment_do_not_count_as_ready() {
        let text = |status: Value| {
            let metadata = json!({"name": "x"});
            counts(&Object(
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": 2}, "status": status}),
            ))
            .unwrap()
        };
        let crash = json!({"replicas": 3, "updatedReplicas": 1, "readyReplicas": 2});
        assert_eq!(text(crash), "0 of 2 new pods ready");
        let half = json!({"replicas": 3, "updatedReplicas": 2, "readyReplicas": 2});
        assert_eq!(text(half), "1 of 2 new pods ready");
        assert_eq!(text(json!({"replicas": 2, "updatedReplicas": 2})), "0 of 2 new pods ready");
        assert_eq!(text(json!({})), "0 of 2 new pods ready");
    }

    #[test]
    fn deployments() {
        let table = [
            (json!({}), json!({}), waiting("the change of the Deployment is not seen by its controller yet")),
            (json!({"replicas": 3}), json!({"observedGeneration": 2}), waiting("0 of 3 new pods exist")),
            (
                json!({"replicas": 3}),
                json!({"observedGeneration": 2, "replicas": 4, "updatedReplicas": 3}),
                waiting("1 old pods are still there"),
            ),
            (
                json!({"replicas": 3}),
                json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 2}),
                waiting("2 of 3 new pods are available"),
            ),
            (
                json!({"replicas": 3}),
                json!({"observedGeneration": 3, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}),
                Progress::Steady,
            ),
            (json!({"replicas": 0}), json!({"observedGeneration": 2}), Progress::Steady),
            (
                json!({}),
                json!({"observedGeneration": 2, "conditions": [{"type": "Progressing", "status": "False",
                    "reason": "ProgressDeadlineExceeded", "message": "m"}]}),
                Progress::Failed("it exceeded its progress deadline: m".to_owned()),
            ),
        ];
        for (spec, status, expected) in table {
            assert_eq!(of("apps/v1", "Deployment", spec, status), expected);
        }
    }

    #[test]
    fn a_deployment_that_was_given_up_before_it_was_changed_is_not_given_up() {
        let late = |given_up: &str| {
            let ours = |time: &str| json!({"manager": "manifold", "operation": "Apply", "time": time});
            let status =
                json!({"manager": "manifold", "subresource": "status", "time": "2026-01-01T00:00:09Z"});
            progress(&Object(json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"generation": 2, "managedFields": [ours("2026-01-01T00:00:02Z"), ours("2026-01-01T00:00:05Z"), status,
                    {"manager": "kubectl", "time": "2026-01-01T00:00:09Z"}]},
                "status": {"observedGeneration": 2, "conditions": [{"type": "Progressing", "status": "False",
                    "reason": "ProgressDeadlineExceeded", "message": "m", "lastUpdateTime": given_up}]},
            })))
        };
        for before in ["2026-01-01T00:00:04Z", "2026-01-01T00:00:05Z"] {
            assert_eq!(late(before), waiting("0 of 1 new pods exist"));
        }
        let failed = Progress::Failed("it exceeded its progress deadline: m".to_owned());
        assert_eq!(late("2026-01-01T00:00:06Z"), failed);
    }

    #[test]
    fn stateful_sets() {
        let rolling = |partition: i64| json!({"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}});
        let status = |ready: i64, updated: i64, current: &str| {
            json!({"observedGeneration": 2, "readyReplicas": ready,
            "updatedReplicas": updated, "updateRevision": "b", "currentRevision": current})
        };
        let table = [
            (rolling(0), status(2, 1, "a"), waiting("2 of 3 pods are ready")),
            (rolling(0), status(3, 1, "a"), waiting("1 of 3 pods are new")),
            (rolling(0), status(3, 3, "b"), Progress::Steady),
            (rolling(2), status(3, 0, "a"), waiting("0 of 1 pods are new")),
            (rolling(2), status(3, 1, "a"), Progress::Steady),
            (json!({"updateStrategy": {"type": "OnDelete"}}), json!({}), Progress::Steady),
        ];
        for (spec, status, expected) in table {
            assert_eq!(of("apps/v1", "StatefulSet", spec, status), expected);
        }
    }

    #[test]
    fn daemon_sets() {
        let status = |updated: i64, available: i64| {
            json!({"observedGeneration": 2, "desiredNumberScheduled": 2,
            "updatedNumberScheduled": updated, "numberAvailable": available})
        };
        let table = [
            (status(1, 1), waiting("1 of 2 new pods exist")),
            (status(2, 1), waiting("1 of 2 pods are available")),
            (status(2, 2), Progress::Steady),
            (json!({}), waiting("the change of the DaemonSet is not seen by its controller yet")),
        ];
        for (status, expected) in table {
            assert_eq!(of("apps/v1", "DaemonSet", json!({}), status), expected);
        }
    }

    #[test]
    fn everything_else() {
        let condition = |kind: &str, status: &str| json!({"conditions": [{"type": kind, "status": status, "reason": "r", "message": "m"}]});
        let table = [
            ("batch/v1", "Job", condition("Complete", "True"), Progress::Steady),
            ("batch/v1", "Job", condition("Failed", "True"), Progress::Failed("it failed: r: m".to_owned())),
            ("batch/v1", "Job", json!({}), waiting("0 of 1 pods have ended well")),
            ("v1", "Pod", json!({"phase": "Pending"}), waiting("it is Pending")),
            ("v1", "Pod", condition("Ready", "True"), Progress::Steady),
            ("v1", "ConfigMap", json!(null), Progress::Steady),
            ("networking.k8s.io/v1", "Ingress", json!({}), Progress::Steady),
            ("example.com/v1", "Thing", json!(null), Progress::Steady),
            ("example.com/v1", "Thing", condition("Ready", "False"), waiting("r: m")),
            ("example.com/v1", "Thing", condition("Stalled", "True"), Progress::Failed("r: m".to_owned())),
            (
                "example.com/v1",
                "Thing",
                json!({"observedGeneration": 1}),
                waiting("the change of the Thing is not seen by its controller yet"),
            ),
        ];
        for (api_version, kind, status, expected) in table {
            assert_eq!(of(api_version, kind, json!({}), status), expected, "{kind}");
        }
    }
}
