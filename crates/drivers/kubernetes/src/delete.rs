//! The Delete step: objects by name, everything of the release, or what files hold (`behaviour.md` 22). What is not there is as good as deleted.

use std::collections::BTreeSet;
use std::time::Duration;

use manifold_model::kubernetes::DeleteResources;
use manifold_model::{Failure, FailureClass, code};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::apply::place;
use crate::cluster::{Cluster, Dependents};
use crate::job::{Job, Outputs};
use crate::label::RELEASE;
use crate::object::{Object, Resource};
use crate::record;
use crate::render::{Files, rank};
use crate::scale::named;
use crate::section::{APPLY, INITIALIZE, WAIT};
use crate::trouble::Trouble;

/// Between two looks whether something is gone.
const LOOK: Duration = Duration::from_millis(250);

/// Deletes.
///
/// # Errors
/// A name is wrong, a kind unknown, the cluster refuses, or something is still there when the time is over.
pub async fn delete(job: &Job<'_>, resources: &DeleteResources) -> Result<Outputs, Failure> {
    let wanted = match resources {
        DeleteResources::Named { names } => by_name(job, names).await?,
        DeleteResources::Release { namespaces } => of_release(job, *namespaces).await?,
        DeleteResources::Files { files } => of_files(job, files).await?,
    };
    if wanted.is_empty() {
        job.note(INITIALIZE, "there is nothing to delete").await;
    }
    let mut going = Vec::new();
    for resource in wanted {
        match job.cluster.delete(&resource, Dependents::Background).await? {
            true => {
                job.note(APPLY, &format!("{resource} deleted")).await;
                going.push(resource);
            }
            false => job.note(APPLY, &format!("{resource} is not there")).await,
        }
    }
    for resource in going {
        gone(job, &resource).await?;
    }
    Ok(Outputs::new())
}

/// Objects by name; all kinds are looked up before the first is deleted.
async fn by_name(job: &Job<'_>, names: &[String]) -> Result<Vec<Resource>, Failure> {
    let mut wanted = Vec::new();
    for name in names {
        if name.trim().is_empty() {
            continue;
        }
        let mut resource = named(name)?;
        let kind = job.cluster.kind(&resource.api_version, &resource.kind).await?;
        resource.namespace = match kind.namespaced {
            true => resource.namespace.or_else(|| Some(job.kubernetes.namespace.clone())),
            false => None,
        };
        (resource.api_version, resource.kind) = (kind.api_version, kind.kind);
        wanted.push(resource);
    }
    Ok(wanted)
}

async fn of_files(job: &Job<'_>, files: &[String]) -> Result<Vec<Resource>, Failure> {
    let mut objects = job.render(Files::Named { paths: files, plain: false }).await?.objects;
    place(&job.cluster, &mut objects, &job.kubernetes.namespace).await?;
    Ok(objects.iter().rev().map(Object::resource).collect())
}

/// Everything with the release's label in the task's namespace and outside namespaces, and what the history names elsewhere; what a
/// controller owns goes with its owner. The history itself goes last.
async fn of_release(job: &Job<'_>, namespaces: bool) -> Result<Vec<Resource>, Failure> {
    let release = &job.kubernetes.release;
    let selector = format!("{RELEASE}={release}");
    let mut found: BTreeSet<Resource> = BTreeSet::new();
    for kind in job.cluster.all_kinds().await? {
        let namespace = kind.namespaced.then_some(job.kubernetes.namespace.as_str());
        let listed = match job.cluster.list(&kind, namespace, &selector, "").await {
            Ok(listed) => listed,
            // Kinds that the cloud provider's user may not see hold nothing of its releases.
            Err(failure) if failure.code == code!("K8S_FORBIDDEN") => continue,
            Err(failure) => return Err(failure),
        };
        found.extend(listed.iter().filter(|object| !is_owned(object)).map(Object::resource));
    }
    let history = record::read(&job.cluster, &job.place).await?;
    for object in history.releases.iter().flat_map(|record| &record.objects).collect::<Vec<_>>() {
        let resource = &object.resource;
        let elsewhere = resource.namespace.as_deref() != Some(job.kubernetes.namespace.as_str());
        if elsewhere && !found.contains(resource) && is_of(&job.cluster, resource, release).await? {
            found.insert(resource.clone());
        }
    }
    let history = job.place.resource();
    let mut wanted: Vec<Resource> =
        found.into_iter().filter(|one| one != history && (namespaces || one.kind != "Namespace")).collect();
    wanted.sort_by_key(|resource| std::cmp::Reverse(rank(&resource.kind)));
    // Before namespaces, which would take it with them.
    let last = wanted.iter().position(|one| one.kind == "Namespace").unwrap_or(wanted.len());
    wanted.insert(last, history.clone());
    Ok(wanted)
}

fn is_owned(object: &Object) -> bool {
    let owners = object.at(&["metadata", "ownerReferences"]).and_then(Value::as_array);
    owners.is_some_and(|owners| !owners.is_empty())
}

/// Whether an object is there and carries the release's label; a kind that is gone has no objects.
///
/// # Errors
/// The cluster cannot be asked.
pub async fn is_of(cluster: &Cluster, resource: &Resource, release: &str) -> Result<bool, Failure> {
    match cluster.get(resource).await {
        Ok(found) => Ok(found.is_some_and(|object| object.label(RELEASE) == Some(release))),
        Err(failure) if failure.code == code!("K8S_KIND_UNKNOWN") => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// Waits until an object is gone.
async fn gone(job: &Job<'_>, resource: &Resource) -> Result<(), Failure> {
    let mut told = false;
    loop {
        let Some(live) = job.cluster.get(resource).await? else { return Ok(()) };
        // Made anew by somebody: what was there is gone.
        if live.at(&["metadata", "deletionTimestamp"]).is_none_or(Value::is_null) && told {
            return Ok(());
        }
        if !told {
            job.note(WAIT, &format!("{resource} is going")).await;
            told = true;
        }
        if Instant::now() + LOOK >= job.cluster.deadline() {
            let finalizers = live.at(&["metadata", "finalizers"]).map(Value::to_string).unwrap_or_default();
            return Err(Failure::new(
                FailureClass::Timeout,
                code!("K8S_NOT_GONE"),
                format!("{resource} was deleted and is still there; its finalizers: {finalizers}"),
            )
            .hint("find out what its finalizers wait for"));
        }
        sleep(LOOK).await;
    }
}

/// Deletes what may be deleted; what cannot be is said and left.
pub async fn try_delete(job: &Job<'_>, section: &str, resource: &Resource) {
    match job.cluster.delete(resource, Dependents::Background).await {
        Ok(true) => job.note(section, &format!("{resource} deleted")).await,
        Ok(false) => {}
        Err(failure) => {
            let failure = job.cluster.explain(Trouble::Failed(failure), "delete");
            job.note(section, &format!("{resource} is left: {}", failure.message)).await;
        }
    }
}
