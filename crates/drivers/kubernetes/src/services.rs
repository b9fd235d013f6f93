//! The two services of a blue/green deployment: the primary one that serves, and the stage one before which the new set is tried
//! (`behaviour.md` 22).

use manifold_model::{Failure, FailureClass, code};
use serde_json::Value;

use crate::label::{COLOR, DIRECT_APPLY, PRIMARY_SERVICE, STAGE_SERVICE};
use crate::object::Object;
use crate::swap::selector_of;

/// Names that a message lists.
const NAMED: usize = 10;

/// The indexes of both services among the objects; a stage service that the manifests do not have is added to them.
///
/// # Errors
/// It is not clear which service is which, or the primary one selects nothing.
pub fn pair(objects: &mut Vec<Object>) -> Result<(usize, usize), Failure> {
    let primary = primary(objects)?;
    let stage = annotated(objects, STAGE_SERVICE)?;
    if stage == Some(primary) {
        return Err(unclear(format!(
            "{} is annotated as primary and as stage service",
            name(objects, primary)
        )));
    }
    let Some(service) = objects.get(primary).filter(|service| !selector_of(service).is_empty()) else {
        return Err(unclear(format!("{} has no selector", name(objects, primary))));
    };
    let stage = match stage {
        Some(stage) => stage,
        None => {
            let copy = copy(service);
            match objects
                .iter()
                .position(|object| object.is_service() && object.resource() == copy.resource())
            {
                Some(there) => there,
                None => {
                    objects.insert(primary + 1, copy);
                    primary + 1
                }
            }
        }
    };
    Ok((primary, stage))
}

fn services(objects: &[Object]) -> impl Iterator<Item = (usize, &Object)> {
    objects.iter().enumerate().filter(|(_, object)| object.is_service() && !object.flag(DIRECT_APPLY))
}

/// The service with an annotation.
fn annotated(objects: &[Object], annotation: &str) -> Result<Option<usize>, Failure> {
    let found: Vec<usize> =
        services(objects).filter(|(_, object)| object.flag(annotation)).map(|(index, _)| index).collect();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        more => Err(unclear(format!("{} have the annotation {annotation}", all(objects, more)))),
    }
}

/// The annotated service, or the only one that is not annotated as the other.
fn primary(objects: &[Object]) -> Result<usize, Failure> {
    if let Some(primary) = annotated(objects, PRIMARY_SERVICE)? {
        return Ok(primary);
    }
    let found: Vec<usize> =
        services(objects).filter(|(_, object)| !object.flag(STAGE_SERVICE)).map(|(index, _)| index).collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(unclear("the manifests hold no service that could be the primary one".to_owned())),
        more => Err(unclear(format!("{} could each be the primary service", all(objects, more)))),
    }
}

/// A service of its own beside the primary one: without what only one service can have.
fn copy(primary: &Object) -> Object {
    let mut copy = primary.clone();
    let name = format!("{}-stage", primary.name());
    copy.set_name(&name);
    copy.mapping(&["metadata", "annotations"]).remove(PRIMARY_SERVICE);
    let spec = copy.mapping(&["spec"]);
    // A headless service stays headless.
    if spec.get("clusterIP").and_then(Value::as_str) != Some("None") {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    for only_once in ["healthCheckNodePort", "loadBalancerIP", "externalIPs"] {
        spec.remove(only_once);
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            port.remove("nodePort");
        }
    }
    copy
}

/// Lets a service select the set of a colour.
pub fn select(service: &mut Object, color: &str) {
    service.mapping(&["spec", "selector"]).insert(COLOR.to_owned(), Value::from(color));
}

/// The colour that a service of the cluster selects.
///
/// # Errors
/// It selects Pods of all colours: something else than blue/green deployed it.
pub fn color_of(live: &Object) -> Result<String, Failure> {
    selector_of(live).remove(COLOR).ok_or_else(|| {
        let message = format!("{} is in the cluster and its selector has no {COLOR}", live.resource());
        Failure::new(FailureClass::Application, code!("K8S_SERVICE_WITHOUT_COLOR"), message).hint(
            "something else than a blue/green deployment made it, and its Pods would get the traffic of both sets: delete it, or deploy under another \
             name",
        )
    })
}

fn name(objects: &[Object], index: usize) -> String {
    objects.get(index).map(|object| object.resource().to_string()).unwrap_or_default()
}

fn all(objects: &[Object], indexes: &[usize]) -> String {
    indexes.iter().take(NAMED).map(|index| name(objects, *index)).collect::<Vec<_>>().join(", ")
}

fn unclear(what: String) -> Failure {
    Failure::new(FailureClass::Application, code!("K8S_SERVICES_UNCLEAR"), what).hint(format!(
        "a blue/green deployment needs one service, or two with the annotations {PRIMARY_SERVICE}: \"true\" and {STAGE_SERVICE}: \"true\""
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use serde_json::json;

    use super::*;

    fn service(name: &str, annotations: &Value) -> Object {
        Object(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "ns", "annotations": annotations},
            "spec": {
                "selector": {"app": "web"}, "clusterIP": "10.0.0.1", "type": "NodePort",
                "ports": [{"port": 80, "nodePort": 30001}],
            },
        }))
    }

    #[test]
    fn one_service_is_enough() {
        let mut objects = vec![service("web", &json!({}))];
        assert_eq!(pair(&mut objects).unwrap(), (0, 1));
        assert_eq!(objects[1].name(), "web-stage");
        assert_eq!(
            objects[1].0["spec"],
            json!({"selector": {"app": "web"}, "type": "NodePort", "ports": [{"port": 80}]})
        );
        assert_eq!(pair(&mut objects).unwrap_err().code.to_string(), "K8S_SERVICES_UNCLEAR");
    }

    #[test]
    fn annotations_say_which_is_which() {
        let yes = |annotation: &str| json!({annotation: "true"});
        let mut objects = vec![
            service("other", &json!({})),
            service("try", &yes(STAGE_SERVICE)),
            service("web", &yes(PRIMARY_SERVICE)),
        ];
        assert_eq!(pair(&mut objects).unwrap(), (2, 1));
        let mut stage_only = vec![service("try", &yes(STAGE_SERVICE)), service("web", &json!({}))];
        assert_eq!(pair(&mut stage_only).unwrap(), (1, 0));
        let message = |mut objects: Vec<Object>| pair(&mut objects).unwrap_err().message;
        assert!(message(vec![]).contains("no service"));
        let two = vec![service("a", &yes(PRIMARY_SERVICE)), service("b", &yes(PRIMARY_SERVICE))];
        assert!(message(two).starts_with("ns/Service/a, ns/Service/b have"));
        let mut headless = service("a", &json!({}));
        headless.mapping(&["spec"]).remove("selector");
        assert_eq!(message(vec![headless]), "ns/Service/a has no selector");
    }

    #[test]
    fn colours_are_read_from_selectors() {
        let mut live = service("web", &json!({}));
        assert!(color_of(&live).is_err());
        select(&mut live, "blue");
        assert_eq!(color_of(&live).unwrap(), "blue");
    }
}
