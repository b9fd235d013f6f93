//! Canary Deployment: a copy of the workload, `<name>-canary`, beside it (`behaviour.md` 22). Performed again, it makes the same copy.

use std::collections::BTreeSet;

use manifold_model::Failure;
use manifold_model::kubernetes::{Instances, output};
use manifold_model::task::OutputValue;
use serde_json::Value;

use crate::apply::{self, Checked};
use crate::history::Action;
use crate::job::{Job, Outputs};
use crate::label;
use crate::object::{Object, Resource};
use crate::release;
use crate::render::Files;
use crate::rollout::not_the_history;
use crate::section::{INITIALIZE, PREPARE, WRAP_UP};
use crate::steady;
use crate::version::version;
use crate::workload::{at, instances, no_jobs, replicas, single};

/// What is applied, and which of it is the copy.
struct Planned {
    objects: Vec<Object>,
    versioned: BTreeSet<usize>,
    canary: Resource,
}

/// Deploys the copy and waits until it is steady.
///
/// # Errors
/// The manifests cannot be deployed so, the cluster refuses them, or the copy does not become steady.
pub async fn canary(
    job: &Job<'_>,
    wanted: Instances,
    skip_dry_run: bool,
    export: bool,
) -> Result<Outputs, Failure> {
    let rendering = job.render(Files::Deployed).await?;
    if export {
        return job.exported(rendering).await;
    }
    let next = release::next(job).await?;
    let planned = plan(job, rendering.objects, next.number, wanted).await?;
    let release = &job.kubernetes.release;
    let checked = apply::check(&job.cluster, &planned.objects, release, skip_dry_run, job.context).await?;
    release::begin(job, next.seen, Action::Canary, next.number, None, &checked, &planned.versioned).await?;
    let name = planned.canary.to_string();
    let value = OutputValue { value: name.clone(), secret: false, sealed: None };
    let outputs = Outputs::from([(output::CANARY_WORKLOAD.to_owned(), value)]);
    job.say(&outputs);
    match roll(job, &checked, &planned.canary).await {
        Ok(steady) => release::succeeded(job, &steady, |_| ()).await?,
        Err(failure) => {
            release::failed(job, next.number).await;
            return Err(failure);
        }
    }
    job.note(WRAP_UP, &format!("release {}: {name} is steady", next.number)).await;
    Ok(outputs)
}

async fn roll(job: &Job<'_>, checked: &[Checked], canary: &Resource) -> Result<Vec<Object>, Failure> {
    for one in checked {
        apply::apply(&job.cluster, one, job.context).await?;
    }
    steady::wait(&job.cluster, std::slice::from_ref(canary), job.context).await
}

/// Turns the objects of the manifests into those of a canary.
async fn plan(
    job: &Job<'_>,
    mut objects: Vec<Object>,
    number: u64,
    wanted: Instances,
) -> Result<Planned, Failure> {
    no_jobs(&objects)?;
    let left_out = without_scalers(&mut objects);
    if !left_out.is_empty() {
        let line = format!("left out of a canary: {}", release::names(&left_out));
        job.note(INITIALIZE, &line).await;
    }
    apply::place(&job.cluster, &mut objects, &job.kubernetes.namespace).await?;
    not_the_history(job, &objects)?;
    let index = single(&objects)?;
    let versioned = version(&mut objects, number, job.kubernetes.manifests.skip_versioning);
    label::release(&mut objects, &job.kubernetes.release);
    let workload = at(&mut objects, index)?;
    let live = job.cluster.get(&workload.resource()).await?;
    let primary = live.as_ref().map_or_else(|| replicas(workload), replicas);
    let count = instances(wanted, primary);
    copy(workload, count);
    let canary = workload.resource();
    let line = format!("release {number}: {canary} with {count} instances, beside {primary}");
    job.note(PREPARE, &line).await;
    Ok(Planned { objects, versioned, canary })
}

/// Makes a workload its canary: a name, Pods and a selector of its own, so many instances.
fn copy(workload: &mut Object, count: u32) {
    let name = format!("{}-{}", workload.name(), label::CANARY);
    workload.set_name(&name);
    workload.mapping(&["spec"]).insert("replicas".to_owned(), Value::from(count));
    label::own_set(workload, label::TRACK, label::CANARY);
}

/// Takes out what would scale or protect the copy as if it were the workload.
fn without_scalers(objects: &mut Vec<Object>) -> Vec<Resource> {
    let scales = |object: &Object| {
        matches!(
            (object.group(), object.kind()),
            ("autoscaling", "HorizontalPodAutoscaler") | ("policy", "PodDisruptionBudget")
        )
    };
    let left_out = objects.iter().filter(|object| scales(object)).map(Object::resource).collect();
    objects.retain(|object| !scales(object));
    left_out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_copy_has_a_name_and_pods_of_its_own() {
        let mut workload = Object(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "ns"},
            "spec": {
                "replicas": 4,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}},
            },
        }));
        copy(&mut workload, 2);
        let labels = json!({"app": "web", label::TRACK: "canary"});
        assert_eq!(workload.resource().to_string(), "ns/Deployment/web-canary");
        assert_eq!(workload.at(&["spec", "replicas"]), Some(&json!(2)));
        assert_eq!(workload.at(&["spec", "selector", "matchLabels"]), Some(&labels));
        assert_eq!(workload.at(&["spec", "template", "metadata", "labels"]), Some(&labels));
    }

    #[test]
    fn scalers_are_left_out() {
        let object = |version: &str, kind: &str| {
            Object(json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}}))
        };
        let mut objects = vec![
            object("autoscaling/v2", "HorizontalPodAutoscaler"),
            object("v1", "Service"),
            object("policy/v1", "PodDisruptionBudget"),
        ];
        let left_out = without_scalers(&mut objects);
        assert_eq!(release::names(&left_out), "HorizontalPodAutoscaler/x, PodDisruptionBudget/x");
        assert_eq!(objects.len(), 1);
    }
}
