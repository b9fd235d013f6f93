//! Rollout Deployment: everything applied under a new release number, and waited for (`behaviour.md` 22). The release is written down before the
//! first object is touched, so that performing the task again goes on where it was left.

use std::collections::BTreeSet;

use manifold_model::{Failure, FailureClass, code};
use serde_json::Value;

use crate::apply::{Checked, apply, check, place};
use crate::delete::{is_of, try_delete};
use crate::history::{Action, History, Record, Status};
use crate::job::{Job, Outputs};
use crate::object::{Object, Resource};
use crate::record;
use crate::release::Next;
use crate::render::Files;
use crate::section::{INITIALIZE, PREPARE, WRAP_UP};
use crate::steady::wait_from;
use crate::version::{references, version};
use crate::{label, release, workload};

/// Successful releases whose configuration is kept.
const KEPT: usize = 2;

/// A release as it is prepared.
struct Prepared {
    checked: Vec<Checked>,
    /// Indexes of versioned objects.
    versioned: BTreeSet<usize>,
    number: u64,
}

/// Rolls out; `export`: only renders.
///
/// # Errors
/// The manifests cannot be rendered, an object may not be applied, or a workload does not get steady.
pub async fn rollout(job: &Job<'_>, skip_dry_run: bool, export: bool) -> Result<Outputs, Failure> {
    let rendering = job.render(Files::Deployed).await?;
    if export {
        return job.exported(rendering).await;
    }
    let Next { number, before, seen } = release::next(job).await?;
    match before.map(|record| (record.status, record.number)) {
        Some((Status::Succeeded, number)) => {
            job.note(PREPARE, &format!("release {number} was rolled out by this step already")).await;
            return Ok(Outputs::new());
        }
        Some((Status::Failed | Status::RolledBack, number)) => return Err(failed_before(number)),
        Some((Status::InProgress, number)) => {
            job.note(PREPARE, &format!("goes on with release {number}")).await;
        }
        None => {}
    }
    let prepared = prepare(job, rendering.objects, number, skip_dry_run).await?;
    let Prepared { checked, versioned, .. } = &prepared;
    release::begin(job, seen, Action::Rollout, number, None, checked, versioned).await?;
    match carry_out(job, &prepared).await {
        Ok(workloads) => {
            wrap_up(job, &prepared, &workloads).await?;
            Ok(Outputs::new())
        }
        Err(failure) => {
            release::failed(job, number).await;
            Err(failure)
        }
    }
}

/// The failure of a task that is asked for again after its release failed.
#[must_use]
pub fn failed_before(number: u64) -> Failure {
    Failure::new(
        FailureClass::Application,
        code!("K8S_RELEASE_FAILED"),
        format!("release {number} of this step failed: its log says why"),
    )
}

/// Everything that can be refused is refused here; nothing is changed.
async fn prepare(
    job: &Job<'_>,
    mut objects: Vec<Object>,
    number: u64,
    skip_dry_run: bool,
) -> Result<Prepared, Failure> {
    if objects.is_empty() {
        return Err(Failure::new(
            FailureClass::Application,
            code!("K8S_NOTHING_TO_DEPLOY"),
            "the manifests hold no object".to_owned(),
        )
        .hint("look at the files of the service's manifests and at what their templates leave out"));
    }
    workload::no_jobs(&objects)?;
    objects.iter().try_for_each(has_history)?;
    place(&job.cluster, &mut objects, &job.kubernetes.namespace).await?;
    not_the_history(job, &objects)?;
    let versioned = version(&mut objects, number, job.kubernetes.manifests.skip_versioning);
    label::release(&mut objects, &job.kubernetes.release);
    label::stable(&mut objects);
    let release = &job.kubernetes.release;
    let checked = check(&job.cluster, &objects, release, skip_dry_run, job.context).await?;
    Ok(Prepared { checked, versioned, number })
}

/// Refuses workloads that keep no old revisions: a rollback would have nothing to go back to.
fn has_history(object: &Object) -> Result<(), Failure> {
    let limit = object.at(&["spec", "revisionHistoryLimit"]).and_then(Value::as_i64);
    if !object.is_workload() || limit != Some(0) {
        return Ok(());
    }
    Err(Failure::new(
        FailureClass::Application,
        code!("K8S_NO_REVISIONS"),
        format!("{} has revisionHistoryLimit: 0, so that nothing could be rolled back", object.resource()),
    )
    .hint("leave revisionHistoryLimit out, or set it to 2 or more"))
}

/// Refuses an object that would overwrite the history of the release.
///
/// # Errors
/// One is named as the release (`K8S_NAME_RESERVED`).
pub fn not_the_history(job: &Job<'_>, objects: &[Object]) -> Result<(), Failure> {
    match objects.iter().find(|object| object.resource() == *job.place.resource()) {
        None => Ok(()),
        Some(object) => Err(Failure::new(
            FailureClass::Application,
            code!("K8S_NAME_RESERVED"),
            format!("{} is named as the release, whose history has this name", object.resource()),
        )
        .hint("rename the ConfigMap, or give the infrastructure definition another release name")),
    }
}

/// Applies everything and waits; the workloads as they are then.
async fn carry_out(job: &Job<'_>, prepared: &Prepared) -> Result<Vec<Object>, Failure> {
    let mut workloads = Vec::new();
    for checked in &prepared.checked {
        let applied = apply(&job.cluster, checked, job.context).await?;
        if workload::is_managed(&checked.object) {
            workloads.push(applied);
        }
    }
    wait_from(&job.cluster, workloads, job.context).await
}

/// Writes down the success with the revisions of the workloads; configuration that no release needs any more goes.
async fn wrap_up(job: &Job<'_>, prepared: &Prepared, workloads: &[Object]) -> Result<(), Failure> {
    sweep(job, release::succeeded(job, workloads, superseded).await?).await?;
    job.note(WRAP_UP, &format!("release {} is rolled out", prepared.number)).await;
    Ok(())
}

/// Versioned configuration of releases that nobody goes back to: neither of the newest successes nor of a release under way.
fn superseded(history: &History) -> BTreeSet<Resource> {
    let mut successes: Vec<&Record> = history
        .releases
        .iter()
        .filter(|record| record.action == Action::Rollout && record.status == Status::Succeeded)
        .collect();
    successes.sort_by_key(|record| std::cmp::Reverse(record.number));
    successes.truncate(KEPT);
    let newest = successes.first().map_or(0, |record| record.number);
    let is_kept = |record: &&Record| {
        successes.iter().any(|kept| kept.number == record.number)
            || (record.status == Status::InProgress && record.number > newest)
    };
    let versioned = |record: &Record| -> Vec<Resource> {
        record.objects.iter().filter(|one| one.versioned).map(|one| one.resource.clone()).collect()
    };
    let kept: BTreeSet<Resource> = history.releases.iter().filter(is_kept).flat_map(versioned).collect();
    history
        .releases
        .iter()
        .filter(|record| !is_kept(record))
        .flat_map(versioned)
        .filter(|resource| !kept.contains(resource))
        .collect()
}

/// Deletes configuration that no workload names any more, and forgets it in the history so that it is not looked for again.
///
/// # Errors
/// The cluster cannot be asked, or the history not be written.
pub async fn sweep(job: &Job<'_>, candidates: BTreeSet<Resource>) -> Result<(), Failure> {
    if candidates.is_empty() {
        return Ok(());
    }
    let used = used(job, &candidates).await?;
    let mut swept = BTreeSet::new();
    for resource in candidates {
        if used.contains(&resource) {
            job.note(WRAP_UP, &format!("{resource} stays: a workload names it")).await;
            continue;
        }
        if is_of(&job.cluster, &resource, &job.kubernetes.release).await? {
            try_delete(job, WRAP_UP, &resource).await;
        }
        swept.insert(resource);
    }
    record::update(&job.cluster, &job.place, |history| {
        for record in &mut history.releases {
            if record.status != Status::InProgress {
                record.objects.retain(|object| !(object.versioned && swept.contains(&object.resource)));
            }
        }
        Ok(())
    })
    .await
}

/// Which of these the workloads of their namespaces name.
async fn used(job: &Job<'_>, candidates: &BTreeSet<Resource>) -> Result<BTreeSet<Resource>, Failure> {
    let namespaces: BTreeSet<&String> =
        candidates.iter().filter_map(|resource| resource.namespace.as_ref()).collect();
    let mut used = BTreeSet::new();
    for namespace in namespaces {
        for (api_version, kind) in [
            ("apps/v1", "Deployment"),
            ("apps/v1", "StatefulSet"),
            ("apps/v1", "DaemonSet"),
            ("batch/v1", "CronJob"),
            ("batch/v1", "Job"),
        ] {
            let kind = job.cluster.kind(api_version, kind).await?;
            let listed = match job.cluster.list(&kind, Some(namespace), "", "").await {
                Err(failure) if failure.code == code!("K8S_FORBIDDEN") => {
                    job.note(INITIALIZE, &format!("{} are not looked at: {}", kind.plural, failure.message))
                        .await;
                    continue;
                }
                listed => listed?,
            };
            let names: BTreeSet<_> = listed.iter().flat_map(references).collect();
            let is_named = |one: &&Resource| {
                one.namespace.as_ref() == Some(namespace)
                    && names.iter().any(|(kind, name)| *kind == one.kind && *name == one.name)
            };
            used.extend(candidates.iter().filter(is_named).cloned());
        }
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use manifold_model::TaskId;

    use super::*;
    use crate::history::Recorded;

    fn release(number: u64, status: Status) -> Record {
        let resource = Resource {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            namespace: Some("n".to_owned()),
            name: format!("c-{number}"),
        };
        let object = Recorded {
            resource,
            existed: false,
            versioned: true,
            revision: None,
            before: None,
            digest: None,
        };
        Record {
            number,
            task: TaskId::from(number.to_string().as_str()),
            execution: None,
            step: String::new(),
            action: Action::Rollout,
            status,
            started_at: 0,
            ended_at: None,
            color: None,
            objects: vec![object],
        }
    }

    #[test]
    fn the_newest_two_successes_keep_their_configuration() {
        use Status::{Failed, InProgress, RolledBack, Succeeded};
        let statuses = [Succeeded, Succeeded, RolledBack, InProgress, Failed, Succeeded, InProgress];
        let releases = statuses
            .into_iter()
            .enumerate()
            .map(|(index, status)| release(index as u64 + 1, status))
            .collect();
        let history = History { releases, ..History::default() };
        let names: Vec<String> = superseded(&history).into_iter().map(|resource| resource.name).collect();
        assert_eq!(names, ["c-1", "c-3", "c-4", "c-5"]);
    }
}
