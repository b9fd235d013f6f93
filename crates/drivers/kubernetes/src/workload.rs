//! The workloads among objects, and how many instances a step means.

use manifold_model::kubernetes::Instances;
use manifold_model::{Failure, FailureClass, code};
use serde_json::Value;

use crate::label::DIRECT_APPLY;
use crate::object::Object;

/// Names that a message lists.
const NAMED: usize = 10;

/// The indexes of the workloads whose rollout is followed, in order; those that are applied as they are do not count.
#[must_use]
pub fn managed(objects: &[Object]) -> Vec<usize> {
    objects.iter().enumerate().filter(|(_, object)| is_managed(object)).map(|(index, _)| index).collect()
}

/// Whether an object is a workload that is waited for and rolled back.
#[must_use]
pub fn is_managed(object: &Object) -> bool {
    object.is_workload() && !object.flag(DIRECT_APPLY)
}

/// The index of the one workload of a canary or blue/green deployment.
///
/// # Errors
/// There is none, there are several, or it is neither Deployment nor `StatefulSet`.
pub fn single(objects: &[Object]) -> Result<usize, Failure> {
    let found = managed(objects);
    let names: Vec<String> = found
        .iter()
        .filter_map(|index| objects.get(*index))
        .take(NAMED)
        .map(|object| object.resource().to_string())
        .collect();
    let wrong = |what: String| {
        Failure::new(FailureClass::Application, code!("K8S_WORKLOADS"), what)
            .hint("a canary or blue/green deployment takes one Deployment or StatefulSet; for more use a Rollout Deployment")
    };
    match found.as_slice() {
        [] => Err(wrong("the manifests hold no Deployment or StatefulSet".to_owned())),
        [one] if objects.get(*one).is_some_and(|object| object.kind() == "DaemonSet") => {
            Err(wrong(format!("the only workload of the manifests is {}", names.join(", "))))
        }
        [one] => Ok(*one),
        more => Err(wrong(format!("the manifests hold {} workloads: {}", more.len(), names.join(", ")))),
    }
}

/// The object at an index that [`single`] gave.
///
/// # Errors
/// There is none: the objects are others.
pub fn at(objects: &mut [Object], index: usize) -> Result<&mut Object, Failure> {
    objects.get_mut(index).ok_or_else(|| {
        let message = "the manifests have changed while they were looked at";
        Failure::new(FailureClass::Application, code!("K8S_WORKLOADS"), message)
    })
}

/// Refuses Jobs that are not applied as they are: a Job's Pod template cannot be changed, so a second deployment would fail.
///
/// # Errors
/// There is one.
pub fn no_jobs(objects: &[Object]) -> Result<(), Failure> {
    let job = objects
        .iter()
        .find(|object| object.kind() == "Job" && object.group() == "batch" && !object.flag(DIRECT_APPLY));
    job.map_or(Ok(()), |job| {
        let message =
            format!("the manifests hold {}, and a Job is not deployed as a workload", job.resource());
        Err(Failure::new(FailureClass::Application, code!("K8S_JOB_NOT_DEPLOYED"), message)
            .hint(format!("run it by an Apply step, or give it the annotation {DIRECT_APPLY}: \"true\"")))
    })
}

/// The replicas that a workload asks for; one when it does not say.
#[must_use]
pub fn replicas(workload: &Object) -> u32 {
    let asked = workload.at(&["spec", "replicas"]).and_then(Value::as_u64);
    asked.map_or(1, |replicas| u32::try_from(replicas).unwrap_or(u32::MAX))
}

/// How many instances are meant, of so many: a percentage is rounded up, and never to none unless it is none.
#[must_use]
pub fn instances(wanted: Instances, of: u32) -> u32 {
    match wanted {
        Instances::Count(count) => count,
        Instances::Percentage(0) => 0,
        Instances::Percentage(percentage) => {
            let product = u64::from(of) * u64::from(percentage);
            u32::try_from(product.div_ceil(100).max(1)).unwrap_or(u32::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn object(kind: &str, name: &str, direct: &str) -> Object {
        let group = if kind == "Job" { "batch/v1" } else { "apps/v1" };
        let metadata = json!({"name": name, "namespace": "ns", "annotations": {DIRECT_APPLY: direct}});
        Object(json!({"apiVersion": group, "kind": kind, "metadata": metadata}))
    }

    #[test]
    fn one_workload_is_asked_for() {
        let web = || object("Deployment", "web", "false");
        assert_eq!(single(&[object("DaemonSet", "d", "true"), web()]).unwrap(), 1);
        let refused = |objects: &[Object]| single(objects).unwrap_err().message;
        assert_eq!(refused(&[]), "the manifests hold no Deployment or StatefulSet");
        assert_eq!(
            refused(&[web(), object("StatefulSet", "db", "")]),
            "the manifests hold 2 workloads: ns/Deployment/web, ns/StatefulSet/db"
        );
        assert!(refused(&[object("DaemonSet", "d", "")]).contains("ns/DaemonSet/d"));
    }

    #[test]
    fn jobs_are_refused_by_name() {
        assert!(no_jobs(&[object("Job", "j", "true")]).is_ok());
        assert!(no_jobs(&[object("Job", "j", "")]).unwrap_err().message.contains("ns/Job/j"));
    }

    #[test]
    fn percentages_are_rounded_up() {
        let of = |percentage, of| instances(Instances::Percentage(percentage), of);
        assert_eq!(
            [of(50, 4), of(50, 3), of(1, 3), of(0, 3), of(100, 3), of(10, 0), of(25, 2)],
            [2, 2, 1, 0, 3, 1, 1]
        );
        assert_eq!(instances(Instances::Count(7), 3), 7);
        assert_eq!(of(u32::MAX, u32::MAX), u32::MAX);
    }
}
