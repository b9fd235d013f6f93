//! The Scale step. What it comes to is written with the workload in one change, so that doing it again comes to the same and not to a percentage
//! of a percentage.

use kube::api::{Patch, PatchParams};
use manifold_model::kubernetes::Instances;
use manifold_model::{Failure, FailureClass, code};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::apply::require_namespaces;
use crate::cluster::{MANAGER, pause_after};
use crate::job::{Job, Outputs};
use crate::limits::WRITE_TRIES;
use crate::object::{Object, Resource};
use crate::section::{APPLY, INITIALIZE};
use crate::steady::wait;
use crate::trouble::Trouble;
use crate::workload::{instances, replicas};

/// Annotation: the task that scaled last, and to what: `<task id>=<count>`.
const TASK: &str = "manifold.dev/task";

/// Scales a workload.
///
/// # Errors
/// There is no such workload, it cannot be scaled, or does not get steady.
pub async fn scale(
    job: &Job<'_>,
    workload: &str,
    wanted: Instances,
    skip_steady_state: bool,
) -> Result<Outputs, Failure> {
    let resource = resource(job, workload).await?;
    for tries in 1..=WRITE_TRIES {
        let Some(live) = job.cluster.get(&resource).await? else { return Err(missing(job, &resource)) };
        let count = match decided(&live, job) {
            Some(count) => count,
            None => instances(wanted, replicas(&live)),
        };
        let patch = json!({
            "metadata": {
                "resourceVersion": live.at(&["metadata", "resourceVersion"]),
                "annotations": {TASK: format!("{}={count}", job.task.id)},
            },
            "spec": {"replicas": count},
        });
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match job.cluster.patch(&resource, &params, &Patch::Merge(&patch)).await {
            Ok(_) => {
                let from = replicas(&live);
                job.note(APPLY, &format!("{resource} scaled from {from} to {count} instances")).await;
                if !skip_steady_state {
                    wait(&job.cluster, &[resource], job.context).await?;
                }
                return Ok(Outputs::new());
            }
            // Its controller or somebody else wrote meanwhile.
            Err(Trouble::Status(status)) if status.code == 409 => sleep(pause_after(tries)).await,
            Err(trouble) => return Err(job.cluster.explain(trouble, &format!("scale {resource}"))),
        }
    }
    Err(Failure::new(
        FailureClass::Application,
        code!("K8S_OBJECT_BUSY"),
        format!("{resource} is changed by others all the time"),
    )
    .hint("find out who writes it, then try again"))
}

async fn resource(job: &Job<'_>, workload: &str) -> Result<Resource, Failure> {
    let mut resource = named(workload)?;
    let kind = job.cluster.kind(&resource.api_version, &resource.kind).await?;
    if !matches!(kind.kind.as_str(), "Deployment" | "StatefulSet" | "ReplicaSet") {
        return Err(Failure::new(
            FailureClass::Application,
            code!("K8S_NOT_SCALABLE"),
            format!("{resource} has no number of instances that could be set"),
        )
        .hint("name a Deployment or a StatefulSet; a DaemonSet has one Pod on each node"));
    }
    resource.api_version.clone_from(&kind.api_version);
    resource.kind.clone_from(&kind.kind);
    let namespace = resource.namespace.get_or_insert_with(|| job.kubernetes.namespace.clone()).clone();
    require_namespaces(&job.cluster, &[namespace.as_str()]).await?;
    job.note(INITIALIZE, &format!("{resource} on cluster {}", job.cluster.name())).await;
    Ok(resource)
}

/// Reads `[namespace/]Kind/name`.
///
/// # Errors
/// It is not written so.
pub fn named(text: &str) -> Result<Resource, Failure> {
    text.trim().parse().map_err(|error: crate::object::NotAResource| {
        Failure::new(FailureClass::Application, code!("K8S_NAME_INVALID"), error.to_string())
    })
}

/// What this task has decided before, if it was left after it had written.
fn decided(live: &Object, job: &Job<'_>) -> Option<u32> {
    let noted = live.at(&["metadata", "annotations", TASK]).and_then(Value::as_str)?;
    let (task, count) = noted.rsplit_once('=')?;
    if task != job.task.id.as_str() {
        return None;
    }
    count.parse().ok()
}

fn missing(job: &Job<'_>, resource: &Resource) -> Failure {
    Failure::new(
        FailureClass::Application,
        code!("K8S_OBJECT_MISSING"),
        format!("cluster {} has no {resource}", job.cluster.name()),
    )
    .hint("deploy it first, or correct the name of the workload")
}
