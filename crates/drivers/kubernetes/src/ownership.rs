//! Who owns the fields of an object (server-side apply). What `kubectl apply` owned by its client-side way is taken over as its own
//! `--server-side` does it (client-go's `csaupgrade`): the entry of that manager becomes ours, nobody else's is touched, so no field is lost.

use kube::core::Status;
use serde_json::{Map, Value, json};

use crate::cluster::MANAGER;
use crate::object::Object;

/// The manager that `kubectl apply` is without `--server-side`.
const CLIENT_SIDE: &str = "kubectl-client-side-apply";
/// Where `kubectl apply` keeps what it applied last; who owns this field is a client-side apply, whatever it is called.
const LAST_APPLIED: &str = "f:kubectl.kubernetes.io/last-applied-configuration";
/// The reason of a conflict among the causes of a 409.
const FIELD_CONFLICT: &str = "FieldManagerConflict";

/// Fields that others own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Conflict {
    /// Manager, as the server calls it.
    pub manager: String,
    /// `.spec.replicas`.
    pub field: String,
}

/// The conflicts that a 409 of server-side apply names; empty for a 409 of another sort.
#[must_use]
pub fn conflicts(status: &Status) -> Vec<Conflict> {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    causes
        .iter()
        .filter(|cause| cause.reason == FIELD_CONFLICT)
        .map(|cause| Conflict { manager: manager_of(&cause.message), field: cause.field.clone() })
        .collect()
}

/// `kubectl-create` of `conflict with "kubectl-create" using apps/v1`.
fn manager_of(message: &str) -> String {
    let quoted = message.split('"').nth(1);
    quoted.filter(|manager| !manager.is_empty()).unwrap_or(message).to_owned()
}

/// Names of the managers of client-side applies on an object.
#[must_use]
pub fn client_side_managers(object: &Object) -> Vec<String> {
    let mut names: Vec<String> = entries(object)
        .iter()
        .filter(|entry| is_client_side(entry))
        .filter_map(|entry| entry.get("manager").and_then(Value::as_str))
        .map(str::to_owned)
        .collect();
    names.dedup();
    names
}

/// The merge patch that makes us the owner of what client-side applies owned; `None` when there is none. It carries the object's version, so
/// that the server refuses it (409) when the object has changed meanwhile.
#[must_use]
pub fn migration(object: &Object) -> Option<Value> {
    let before = entries(object);
    let after = migrated(before)?;
    let version = object.at(&["metadata", "resourceVersion"])?.clone();
    Some(json!({"metadata": {"managedFields": after, "resourceVersion": version}}))
}

fn entries(object: &Object) -> &[Value] {
    object.at(&["metadata", "managedFields"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(entry: &'a Value, key: &str) -> &'a str {
    entry.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// An entry of a client-side apply.
fn is_client_side(entry: &Value) -> bool {
    let of_object = text(entry, "operation") == "Update" && text(entry, "subresource").is_empty();
    let keeps_last = entry
        .get("fieldsV1")
        .and_then(|fields| fields.get("f:metadata")?.get("f:annotations")?.get(LAST_APPLIED))
        .is_some();
    of_object && (text(entry, "manager") == CLIENT_SIDE || keeps_last)
}

/// The entries with those of client-side applies made one with ours; `None` when there are none.
fn migrated(entries: &[Value]) -> Option<Vec<Value>> {
    let is_ours = |entry: &&Value| {
        text(entry, "manager") == MANAGER
            && text(entry, "operation") == "Apply"
            && text(entry, "subresource").is_empty()
    };
    let mut mine: Option<Value> = entries.iter().find(is_ours).cloned();
    let mut found = false;
    for entry in entries.iter().filter(|entry| is_client_side(entry)) {
        found = true;
        match &mut mine {
            // Field sets of other versions of the API cannot be united; the newest counts, as the entries stand newest first.
            Some(mine) if text(mine, "apiVersion") == text(entry, "apiVersion") => {
                let fields = entry.get("fieldsV1").cloned().unwrap_or_else(|| json!({}));
                let own = crate::object::as_mapping(mine).entry("fieldsV1").or_insert_with(|| json!({}));
                unite(crate::object::as_mapping(own), &fields);
            }
            Some(_) => {}
            None => {
                let mut taken = entry.clone();
                let map = crate::object::as_mapping(&mut taken);
                map.insert("manager".to_owned(), Value::from(MANAGER));
                map.insert("operation".to_owned(), Value::from("Apply"));
                mine = Some(taken);
            }
        }
    }
    let mine = mine.filter(|_| found)?;
    let others = entries.iter().filter(|entry| !is_ours(entry) && !is_client_side(entry)).cloned();
    Some(std::iter::once(mine).chain(others).collect())
}

/// Adds the fields of a set to another one. A set is a trie: its keys are path elements, `.` stands for the place itself.
fn unite(into: &mut Map<String, Value>, from: &Value) {
    let Some(from) = from.as_object() else { return };
    for (key, below) in from {
        match into.get_mut(key) {
            Some(Value::Object(known)) => unite(known, below),
            _ => {
                into.insert(key.clone(), below.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn entry(manager: &str, operation: &str, subresource: &str, fields: Value) -> Value {
        let mut entry = json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1",
            "fieldsType": "FieldsV1", "fieldsV1": fields});
        if !subresource.is_empty() {
            entry["subresource"] = Value::from(subresource);
        }
        entry
    }

    fn object(entries: Vec<Value>) -> Object {
        Object(json!({"metadata": {"resourceVersion": "7", "managedFields": entries}}))
    }

    #[test]
    fn only_the_entry_of_a_client_side_apply_moves() {
        let scale = entry("kubectl", "Update", "scale", json!({"f:spec": {"f:replicas": {}}}));
        let controller = entry("kube-controller-manager", "Update", "status", json!({"f:status": {}}));
        let applied = entry(CLIENT_SIDE, "Update", "", json!({"f:spec": {"f:template": {}}}));
        let patch = migration(&object(vec![scale.clone(), applied, controller.clone()])).unwrap();
        let mine = entry(MANAGER, "Apply", "", json!({"f:spec": {"f:template": {}}}));
        assert_eq!(patch["metadata"]["managedFields"], json!([mine, scale, controller]));
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
    }

    #[test]
    fn fields_are_united_with_ours() {
        let ours = entry(MANAGER, "Apply", "", json!({"f:spec": {".": {}, "f:a": {}}}));
        let fields =
            json!({"f:metadata": {"f:annotations": {LAST_APPLIED: {}}}, "f:spec": {"f:b": {"f:c": {}}}});
        let other_name = entry("flux", "Update", "", fields);
        assert_eq!(client_side_managers(&object(vec![other_name.clone()])), ["flux"]);
        let patch = migration(&object(vec![ours, other_name])).unwrap();
        let entries = patch["metadata"]["managedFields"].as_array().unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(
            entries[0]["fieldsV1"],
            json!({"f:spec": {".": {}, "f:a": {}, "f:b": {"f:c": {}}},
                "f:metadata": {"f:annotations": {LAST_APPLIED: {}}}})
        );
    }

    #[test]
    fn without_a_client_side_apply_nothing_moves() {
        let created = entry("kubectl-create", "Update", "", json!({"f:spec": {}}));
        assert_eq!(migration(&object(vec![created])), None);
        assert_eq!(migration(&Object(json!({"metadata": 3}))), None);
    }

    #[test]
    fn conflicts_are_read() {
        let status: Status = serde_json::from_value(json!({"code": 409, "details": {"causes": [
            {"reason": "FieldManagerConflict", "message": "conflict with \"kubectl-create\" using apps/v1", "field": ".spec.replicas"},
            {"reason": "Other", "message": "x", "field": "y"},
        ]}}))
        .unwrap();
        let expected = Conflict { manager: "kubectl-create".to_owned(), field: ".spec.replicas".to_owned() };
        assert_eq!(conflicts(&status), [expected]);
    }
}
