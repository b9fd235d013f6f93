//! Stage Deployment of blue/green: the workload as `<name>-<colour>` behind the stage service, beside the set that serves (`behaviour.md` 22).
//! Nothing is versioned; what serves is not touched until the services are swapped.

use std::collections::BTreeSet;
use std::time::Duration;

use manifold_model::kubernetes::output;
use manifold_model::task::OutputValue;
use manifold_model::{Failure, FailureClass, code};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::apply::{self, Checked};
use crate::cluster::Dependents;
use crate::history::Action;
use crate::job::{Job, Outputs};
use crate::label::{self, COLOR, RELEASE};
use crate::object::{Object, Resource};
use crate::release;
use crate::render::{Files, in_install_order};
use crate::rollout::not_the_history;
use crate::section::{PREPARE, WRAP_UP};
use crate::services::{color_of, pair, select};
use crate::steady;
use crate::workload::{at, no_jobs, single};

/// Annotation of a set: the task that deployed it, which does not clean it away when it is performed again.
const TASK: &str = "manifold.dev/task";

const BLUE: &str = "blue";
const GREEN: &str = "green";

/// Kinds of which a set may have objects.
const OF_A_SET: [(&str, &str); 4] = [
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("policy/v1", "PodDisruptionBudget"),
];

/// Between two looks whether something deleted is gone.
const GONE_PAUSE: Duration = Duration::from_millis(200);

/// What is applied, and what is what.
struct Planned {
    objects: Vec<Object>,
    workload: Resource,
    primary: String,
    stage: String,
    color: &'static str,
    /// The colour that serves; `None` before the first deployment.
    serving: Option<String>,
}

/// Deploys the new set behind the stage service and waits until it is steady.
///
/// # Errors
/// The manifests cannot be deployed so, the cluster refuses them, or the set does not become steady.
pub async fn blue_green(job: &Job<'_>, skip_dry_run: bool, export: bool) -> Result<Outputs, Failure> {
    let rendering = job.render(Files::Deployed).await?;
    if export {
        return job.exported(rendering).await;
    }
    let next = release::next(job).await?;
    let begun = next.before.as_ref().and_then(|record| record.color.as_deref());
    let planned = plan(job, rendering.objects, begun).await?;
    let checked = check(job, &planned.objects, skip_dry_run).await?;
    let color = Some(planned.color);
    release::begin(job, next.seen, Action::BlueGreen, next.number, color, &checked, &BTreeSet::new()).await?;
    let plain = |value: &str| OutputValue { value: value.to_owned(), secret: false, sealed: None };
    let outputs = Outputs::from([
        (output::PRIMARY_SERVICE.to_owned(), plain(&planned.primary)),
        (output::STAGE_SERVICE.to_owned(), plain(&planned.stage)),
    ]);
    job.say(&outputs);
    match roll(job, &planned, &checked).await {
        Ok(steady) => release::succeeded(job, &steady, |_| ()).await?,
        Err(failure) => {
            release::failed(job, next.number).await;
            return Err(failure);
        }
    }
    let line = format!(
        "release {}: {} is steady behind Service/{}; Service/{} serves {}",
        next.number,
        planned.workload,
        planned.stage,
        planned.primary,
        planned.serving.as_deref().unwrap_or(planned.color)
    );
    job.note(WRAP_UP, &line).await;
    Ok(outputs)
}

/// Tries the objects. Those of an old set that will be cleaned away are tried under another name: what cannot be changed of the old ones does
/// not count.
async fn check(job: &Job<'_>, objects: &[Object], skip_dry_run: bool) -> Result<Vec<Checked>, Failure> {
    let mut tried = objects.to_vec();
    for object in &mut tried {
        if object.annotation(TASK).is_none() {
            continue;
        }
        let live = job.cluster.get(&object.resource()).await?;
        if live.is_some_and(|live| live.annotation(TASK) != object.annotation(TASK)) {
            let name = format!("{}-next", object.name());
            object.set_name(&name);
        }
    }
    let release = &job.kubernetes.release;
    let mut checked = apply::check(&job.cluster, &tried, release, skip_dry_run, job.context).await?;
    for (checked, object) in checked.iter_mut().zip(objects) {
        checked.object = object.clone();
    }
    Ok(checked)
}

async fn roll(job: &Job<'_>, planned: &Planned, checked: &[Checked]) -> Result<Vec<Object>, Failure> {
    clean(job, planned.workload.namespace.as_deref(), planned.serving.as_deref()).await?;
    for one in checked {
        apply::apply(&job.cluster, one, job.context).await?;
    }
    steady::wait(&job.cluster, std::slice::from_ref(&planned.workload), job.context).await
}

/// Turns the objects of the manifests into those of a set. `begun`: the colour that this task has deployed when it was performed before.
async fn plan(job: &Job<'_>, mut objects: Vec<Object>, begun: Option<&str>) -> Result<Planned, Failure> {
    no_jobs(&objects)?;
    apply::place(&job.cluster, &mut objects, &job.kubernetes.namespace).await?;
    not_the_history(job, &objects)?;
    let (primary, stage) = pair(&mut objects)?;
    let index = single(&objects)?;
    let live = match objects.get(primary) {
        Some(service) => job.cluster.get(&service.resource()).await?,
        None => None,
    };
    let serving = live.as_ref().map(color_of).transpose()?;
    let color = match begun {
        Some(begun) => {
            if begun == GREEN {
                GREEN
            } else {
                BLUE
            }
        }
        None => after(serving.as_deref()),
    };
    // The first set serves at once: there is nothing else.
    let serving = serving.filter(|serving| serving != color || begun.is_none());
    select(at(&mut objects, primary)?, serving.as_deref().unwrap_or(color));
    select(at(&mut objects, stage)?, color);
    let name_of =
        |index: usize| objects.get(index).map(|object| object.name().to_owned()).unwrap_or_default();
    let (primary, stage) = (name_of(primary), name_of(stage));
    let workload = at(&mut objects, index)?.clone();
    scalers(&mut objects, &workload, color);
    let set = at(&mut objects, index)?;
    set.set_name(&format!("{}-{color}", workload.name()));
    label::own_set(set, COLOR, color);
    let workload = set.resource();
    for object in objects.iter_mut().filter(|object| object.label(COLOR).is_some()) {
        object
            .mapping(&["metadata", "annotations"])
            .insert(TASK.to_owned(), Value::from(job.task.id.as_str()));
    }
    label::release(&mut objects, &job.kubernetes.release);
    in_install_order(&mut objects);
    let before = serving.as_deref().unwrap_or("nothing");
    let line = format!(
        "{before} serves; the new set is {workload}; primary Service/{primary}, stage Service/{stage}"
    );
    job.note(PREPARE, &line).await;
    Ok(Planned { objects, workload, primary, stage, color, serving })
}

/// The colour of the next set.
fn after(serving: Option<&str>) -> &'static str {
    if serving == Some(BLUE) { GREEN } else { BLUE }
}

/// Gives the autoscaler and the disruption budget of the workload to the set: under a name of its own, for its Pods.
fn scalers(objects: &mut [Object], workload: &Object, color: &str) {
    let pods = workload.at(&["spec", "template", "metadata", "labels"]).cloned().unwrap_or_default();
    for object in objects {
        let of_the_workload = match (object.group(), object.kind()) {
            ("autoscaling", "HorizontalPodAutoscaler") => {
                let target = |key: &str| object.at(&["spec", "scaleTargetRef", key]).and_then(Value::as_str);
                target("kind") == Some(workload.kind()) && target("name") == Some(workload.name())
            }
            ("policy", "PodDisruptionBudget") => object
                .at(&["spec", "selector", "matchLabels"])
                .and_then(Value::as_object)
                .is_some_and(|labels| labels.iter().all(|(key, value)| pods.get(key) == Some(value))),
            _ => false,
        };
        if !of_the_workload || object.namespace() != workload.namespace() {
            continue;
        }
        object.set_name(&format!("{}-{color}", object.name()));
        object.set_label(COLOR, color);
        if object.kind() == "PodDisruptionBudget" {
            object.mapping(&["spec", "selector", "matchLabels"]).insert(COLOR.to_owned(), Value::from(color));
        } else {
            let name = format!("{}-{color}", workload.name());
            object.mapping(&["spec", "scaleTargetRef"]).insert("name".to_owned(), Value::from(name));
        }
    }
}

/// Takes away the sets that do not serve, but for the one that this task has deployed.
async fn clean(job: &Job<'_>, namespace: Option<&str>, serving: Option<&str>) -> Result<(), Failure> {
    let mut labels = format!("{RELEASE}={},{COLOR}", job.kubernetes.release);
    if let Some(serving) = serving {
        labels.push_str(&format!(",{COLOR}!={serving}"));
    }
    for (version, kind) in OF_A_SET {
        let listed = async {
            let api = job.cluster.kind(version, kind).await?;
            job.cluster.list(&api, namespace, &labels, "").await
        };
        let found = match listed.await {
            Ok(found) => found,
            // Whoever may not see autoscalers has deployed none.
            Err(failure) if version != "apps/v1" && failure.class != FailureClass::Connectivity => {
                job.note(PREPARE, &format!("{kind}s are not looked for: {}", failure.message)).await;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        for object in &found {
            if object.annotation(TASK) == Some(job.task.id.as_str()) {
                continue;
            }
            let resource = Resource {
                // Items of a list do not say what they are.
                api_version: version.to_owned(),
                kind: kind.to_owned(),
                ..object.resource()
            };
            job.cluster.delete(&resource, Dependents::Background).await?;
            gone(job, &resource).await?;
            job.note(PREPARE, &format!("{resource} does not serve: deleted")).await;
        }
    }
    Ok(())
}

/// Waits until something deleted is gone, so that it is not applied while it goes.
async fn gone(job: &Job<'_>, resource: &Resource) -> Result<(), Failure> {
    while let Some(left) = job.cluster.get(resource).await? {
        if Instant::now() + GONE_PAUSE >= job.cluster.deadline() {
            let finalizers = left.at(&["metadata", "finalizers"]).map(Value::to_string).unwrap_or_default();
            let message = format!("{resource} was deleted and does not go; finalizers: {finalizers}");
            return Err(Failure::new(FailureClass::Timeout, code!("K8S_NOT_GONE"), message)
                .hint("find out who should take its finalizers off"));
        }
        sleep(GONE_PAUSE).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use serde_json::json;

    use super::*;

    #[test]
    fn colours_alternate() {
        assert_eq!(
            [after(None), after(Some(BLUE)), after(Some(GREEN)), after(Some("red"))],
            [BLUE, GREEN, BLUE, BLUE]
        );
    }

    #[test]
    fn scalers_go_with_the_set() {
        let workload = Object(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"metadata": {"labels": {"app": "web", "x": "y"}}}},
        }));
        let hpa = |target: &str| {
            Object(json!({
                "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
                "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}},
            }))
        };
        let budget = |app: &str| {
            Object(json!({
                "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "p"},
                "spec": {"selector": {"matchLabels": {"app": app}}},
            }))
        };
        let mut objects = vec![hpa("web"), hpa("other"), budget("web"), budget("other")];
        scalers(&mut objects, &workload, GREEN);
        let names: Vec<&str> = objects.iter().map(Object::name).collect();
        assert_eq!(names, ["h-green", "h", "p-green", "p"]);
        assert_eq!(objects[0].at(&["spec", "scaleTargetRef", "name"]), Some(&json!("web-green")));
        assert_eq!(
            objects[2].at(&["spec", "selector", "matchLabels"]),
            Some(&json!({"app": "web", COLOR: "green"}))
        );
    }
}
