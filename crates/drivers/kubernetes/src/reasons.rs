//! Why pods do not get ready: what pods, their containers, workloads and events say. Pure; [`crate::steady`] asks the cluster.

use serde_json::Value;

use crate::object::Object;
use crate::rollout_status::condition;
use crate::trouble::short;

/// Reasons for which a container waits that are no trouble.
const ON_THE_WAY: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// What a workload itself says: that it cannot make pods (a quota, an admission).
#[must_use]
pub fn of_workload(object: &Object) -> Option<String> {
    match condition(object, "ReplicaFailure") {
        Some(("True", reason, message)) => Some(short(&format!("{reason}: {message}"))),
        _ => None,
    }
}

/// Why a pod is not ready; `None` when it is, or is on its way.
#[must_use]
pub fn of_pod(pod: &Object) -> Option<String> {
    let text = |path: &[&str]| pod.at(path).and_then(Value::as_str).unwrap_or_default();
    if text(&["status", "phase"]) == "Failed" && !text(&["status", "reason"]).is_empty() {
        let why = format!("{}: {}", text(&["status", "reason"]), text(&["status", "message"]));
        return Some(short(&why));
    }
    if let Some(("False", reason, message)) = condition(pod, "PodScheduled") {
        return Some(short(&format!("no node takes it: {reason}: {message}")));
    }
    let statuses = ["initContainerStatuses", "containerStatuses"].into_iter().flat_map(|key| {
        pod.at(&["status", key]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    });
    let mut unready = None;
    for status in statuses {
        if let Some(why) = of_container(status) {
            return Some(short(&why));
        }
        let running = status.pointer("/state/running").is_some();
        if running && status.get("ready").and_then(Value::as_bool) == Some(false) {
            unready = status.get("name").and_then(Value::as_str);
        }
    }
    unready.map(|name| format!("container {name} runs and is not ready"))
}

fn of_container(status: &Value) -> Option<String> {
    let text = |path: &str| status.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let name = text("/name");
    let restarts = status.get("restartCount").and_then(Value::as_i64).unwrap_or(0);
    let waits = text("/state/waiting/reason");
    if !waits.is_empty() && !ON_THE_WAY.contains(&waits) {
        let message = text("/state/waiting/message");
        let exit = status.pointer("/lastState/terminated/exitCode").and_then(Value::as_i64);
        let exit = exit.map(|code| format!(", last exit code {code}")).unwrap_or_default();
        let again = if restarts > 0 { format!(" after {restarts} restarts") } else { String::new() };
        let message = if message.is_empty() { String::new() } else { format!(": {message}") };
        return Some(format!("container {name}: {waits}{again}{exit}{message}"));
    }
    let code = status.pointer("/state/terminated/exitCode").and_then(Value::as_i64)?;
    let reason = text("/state/terminated/reason");
    (code != 0).then(|| format!("container {name} exited with code {code} ({reason})"))
}

/// Whether a pod belongs to a workload: pods of a Deployment belong to its ReplicaSets, which carry its name.
#[must_use]
pub fn belongs(pod: &Object, workload: &Object) -> bool {
    let owners = pod.at(&["metadata", "ownerReferences"]).and_then(Value::as_array);
    let owners = owners.map(Vec::as_slice).unwrap_or_default();
    owners.iter().any(|owner| {
        let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
        match workload.kind() {
            "Deployment" => {
                let hash = text("name").strip_prefix(workload.name()).and_then(|rest| rest.strip_prefix('-'));
                text("kind") == "ReplicaSet"
                    && hash.is_some_and(|hash| !hash.is_empty() && !hash.contains('-'))
            }
            kind => text("kind") == kind && text("name") == workload.name(),
        }
    })
}

/// What an event says.
#[must_use]
pub fn of_event(event: &Object) -> String {
    let text = |path: &[&str]| event.at(path).and_then(Value::as_str).unwrap_or_default();
    let about = format!("{}/{}", text(&["involvedObject", "kind"]), text(&["involvedObject", "name"]));
    short(&format!("{about}: {}: {}", text(&["reason"]), text(&["message"])))
}

/// When an event was last seen, for sorting: RFC 3339 sorts as text.
#[must_use]
pub fn seen_at(event: &Object) -> String {
    let times: [&[&str]; 4] = [
        &["series", "lastObservedTime"],
        &["lastTimestamp"],
        &["eventTime"],
        &["metadata", "creationTimestamp"],
    ];
    times.into_iter().find_map(|path| event.at(path).and_then(Value::as_str)).unwrap_or_default().to_owned()
}

/// The selector of a workload's pods, as a query takes it.
#[must_use]
pub fn selector(workload: &Object) -> Option<String> {
    let labels = workload.at(&["spec", "selector", "matchLabels"])?.as_object()?;
    let pairs: Vec<String> =
        labels.iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
    Some(pairs.join(",")).filter(|selector| !selector.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: Value) -> Object {
        Object(json!({"kind": "Pod", "metadata": {"name": "web-5d9-x"}, "status": status}))
    }

    #[test]
    fn pods_say_why() {
        let container = |state: Value, restarts: i64, last: Value| json!({"containerStatuses": [{"name": "app", "ready": false, "restartCount": restarts, "state": state, "lastState": last}]});
        let table = [
            (json!({"phase": "Running"}), None),
            (container(json!({"waiting": {"reason": "ContainerCreating"}}), 0, json!({})), None),
            (
                container(
                    json!({"waiting": {"reason": "ImagePullBackOff", "message": "no  such\nimage"}}),
                    0,
                    json!({}),
                ),
                Some("container app: ImagePullBackOff: no such image"),
            ),
            (
                container(
                    json!({"waiting": {"reason": "CrashLoopBackOff"}}),
                    4,
                    json!({"terminated": {"exitCode": 3}}),
                ),
                Some("container app: CrashLoopBackOff after 4 restarts, last exit code 3"),
            ),
            (container(json!({"running": {}}), 0, json!({})), Some("container app runs and is not ready")),
            (
                container(json!({"terminated": {"exitCode": 1, "reason": "Error"}}), 0, json!({})),
                Some("container app exited with code 1 (Error)"),
            ),
            (
                json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]}),
                Some("no node takes it: Unschedulable: 0/3 nodes"),
            ),
            (json!({"phase": "Failed", "reason": "Evicted", "message": "memory"}), Some("Evicted: memory")),
        ];
        for (status, expected) in table {
            assert_eq!(of_pod(&pod(status)).as_deref(), expected);
        }
    }

    #[test]
    fn pods_belong_to_one_workload() {
        let owned = |kind: &str, name: &str| {
            Object(json!({"metadata": {"ownerReferences": [{"kind": kind, "name": name}]}}))
        };
        let deployment = Object(json!({"kind": "Deployment", "metadata": {"name": "web"}}));
        assert!(belongs(&owned("ReplicaSet", "web-5d9"), &deployment));
        assert!(!belongs(&owned("ReplicaSet", "web-canary-5d9"), &deployment));
        let set = Object(json!({"kind": "StatefulSet", "metadata": {"name": "db"}}));
        assert!(belongs(&owned("StatefulSet", "db"), &set));
    }
}
