//! Rollback Deployment: the workloads that this execution rolled out go back to the revision of the last successful release before it; what it
//! created and no earlier success had goes (`behaviour.md` 22).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use manifold_driver::clock::now;
use manifold_model::{Failure, FailureClass, code};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::cluster::{Dependents, How};
use crate::delete::{is_of, try_delete};
use crate::history::{Action, History, Record, Recorded, Status};
use crate::job::{Job, Outputs};
use crate::object::Resource;
use crate::reasons::{belongs, selector};
use crate::record;
use crate::render::rank;
use crate::revision::{template, with_template};
use crate::rollout::sweep;
use crate::rollout_status::{condition, observed};
use crate::section::{APPLY, INITIALIZE, PREPARE, WRAP_UP};
use crate::steady::wait;

/// Kinds that stay though this execution created them: all that others have put into them since would go too.
const STAY: [&str; 2] = ["Namespace", "CustomResourceDefinition"];

/// Label of a StatefulSet's Pods: their revision.
const POD_REVISION: &str = "controller-revision-hash";
/// Between two looks at a StatefulSet.
const LOOK: Duration = Duration::from_millis(100);

/// What a rollback does.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Numbers of the releases that are taken back.
    releases: Vec<u64>,
    /// The release to which it goes back.
    target: Option<u64>,
    /// Workloads and the revisions to which they go.
    back: Vec<(Resource, String)>,
    /// Objects that go, workloads first.
    gone: Vec<Resource>,
    /// Versioned configuration that goes unless somebody names it.
    configuration: BTreeSet<Resource>,
    /// Objects that were there before, which nobody knows how to restore.
    left: Vec<Resource>,
}

/// Rolls back.
///
/// # Errors
/// A revision is not there any more, the cluster refuses, or a workload does not get steady.
pub async fn rollback(job: &Job<'_>) -> Result<Outputs, Failure> {
    let history = record::read(&job.cluster, &job.place).await?;
    let Some(plan) = job.task.step.as_ref().and_then(|step| plan(&history, &step.execution)) else {
        job.note(INITIALIZE, "this execution rolled nothing out here: there is nothing to roll back").await;
        return Ok(Outputs::new());
    };
    tell(job, &plan).await;
    let mut restored = Vec::new();
    for (resource, revision) in &plan.back {
        restore(job, resource, revision).await?;
        restored.push(resource.clone());
    }
    for resource in restored.iter().filter(|resource| resource.kind == "StatefulSet") {
        unblock(job, resource).await?;
    }
    wait(&job.cluster, &restored, job.context).await?;
    for resource in &plan.gone {
        if is_of(&job.cluster, resource, &job.kubernetes.release).await? {
            job.cluster.delete(resource, Dependents::Background).await?;
            job.note(WRAP_UP, &format!("{resource}, which this execution created, is deleted")).await;
        }
    }
    record::update(&job.cluster, &job.place, |history| {
        for record in &mut history.releases {
            if plan.releases.contains(&record.number) {
                record.end(Status::RolledBack, now());
            }
        }
        Ok(())
    })
    .await?;
    sweep(job, plan.configuration).await?;
    job.note(WRAP_UP, "rolled back").await;
    Ok(Outputs::new())
}

/// What taking back an execution's rollouts means; `None`: there are none.
fn plan(history: &History, execution: &manifold_model::ExecutionId) -> Option<Plan> {
    let taken = history.rollouts_of(execution);
    let first = taken.iter().map(|record| record.number).min()?;
    let target = history.newest_success(Action::Rollout, first);
    let earlier = |resource: &Resource| {
        let had = |record: &&Record| record.number < first && record.status == Status::Succeeded;
        history.releases.iter().filter(had).any(|record| record.object(resource).is_some())
    };
    let mut plan = Plan {
        releases: taken.iter().map(|record| record.number).collect(),
        target: target.map(|record| record.number),
        ..Plan::default()
    };
    // An object is as the first of the releases found it.
    let mut touched: BTreeMap<&Resource, &Recorded> = BTreeMap::new();
    for object in taken.iter().flat_map(|record| &record.objects) {
        touched.entry(&object.resource).or_insert(object);
    }
    for (resource, object) in touched {
        // A workload that no successful release of ours had goes back to how the first of these releases found it.
        let revision = target
            .and_then(|record| record.object(resource))
            .and_then(|known| known.revision.clone())
            .or_else(|| object.before.clone().filter(|_| object.existed));
        match revision {
            Some(revision) => plan.back.push((resource.clone(), revision)),
            None if object.versioned && !object.existed => {
                plan.configuration.insert(resource.clone());
            }
            None if object.existed || earlier(resource) || STAY.contains(&resource.kind.as_str()) => {
                plan.left.push(resource.clone());
            }
            None => plan.gone.push(resource.clone()),
        }
    }
    plan.gone.sort_by_key(|resource| std::cmp::Reverse(rank(&resource.kind)));
    Some(plan)
}

async fn tell(job: &Job<'_>, plan: &Plan) {
    let numbers: Vec<String> = plan.releases.iter().map(u64::to_string).collect();
    let line = match plan.target {
        Some(target) => format!("release {} goes back to release {target}", numbers.join(", ")),
        None => format!(
            "release {} is taken back: no earlier release was successful, so workloads go back to what they were and what it created is deleted",
            numbers.join(", ")
        ),
    };
    job.note(PREPARE, &line).await;
    for resource in &plan.left {
        let why = match STAY.contains(&resource.kind.as_str()) {
            true => "others may use it by now",
            false => "it was there before and has no revisions to go back to",
        };
        job.note(PREPARE, &format!("{resource} stays as it is: {why}")).await;
    }
}

/// Gives a workload the Pod template of a revision.
async fn restore(job: &Job<'_>, resource: &Resource, revision: &str) -> Result<(), Failure> {
    let Some(live) = job.cluster.get(resource).await? else {
        return Err(gone(format!("{resource} does not exist any more")));
    };
    let Some(template) = template(&job.cluster, &live, revision).await? else {
        return Err(gone(format!("the cluster does not have revision {revision} of {resource} any more")));
    };
    // Everything but the template is as it is; what others own of the template gives way to what was there.
    let object = with_template(&live, template);
    let applied = job.cluster.apply(&object, How { force: true, dry_run: false }).await;
    applied.map_err(|trouble| job.cluster.explain(trouble, &format!("roll back {resource}")))?;
    job.note(APPLY, &format!("{resource} goes back to revision {revision}")).await;
    Ok(())
}

/// Deletes the Pods of a StatefulSet that are not ready and not of the revision to which it goes back: its controller waits for them to get
/// ready before it replaces them, which they never do (a known limitation of StatefulSets, "forced rollback").
async fn unblock(job: &Job<'_>, resource: &Resource) -> Result<(), Failure> {
    let set = loop {
        let Some(set) = job.cluster.get(resource).await? else {
            return Err(gone(format!("{resource} does not exist any more")));
        };
        // Its status names the revision to which it goes once its controller has seen the change.
        if observed(&set) || Instant::now() + LOOK >= job.cluster.deadline() {
            break set;
        }
        sleep(LOOK).await;
    };
    let wanted = set.at(&["status", "updateRevision"]).and_then(Value::as_str);
    let (Some(labels), Some(wanted)) = (selector(&set), wanted) else { return Ok(()) };
    let kind = job.cluster.kind("v1", "Pod").await?;
    for pod in job.cluster.list(&kind, set.namespace(), &labels, "").await? {
        let ready = matches!(condition(&pod, "Ready"), Some(("True", ..)));
        if belongs(&pod, &set) && !ready && pod.label(POD_REVISION) != Some(wanted) {
            try_delete(job, APPLY, &pod.resource()).await;
        }
    }
    Ok(())
}

fn gone(what: String) -> Failure {
    Failure::new(FailureClass::Application, code!("K8S_REVISION_GONE"), what)
        .hint("deploy the version that should run; keep revisionHistoryLimit at 2 or more")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use manifold_model::{ExecutionId, TaskId};

    use super::*;

    fn object(kind: &str, name: &str, existed: bool, revision: Option<&str>) -> Recorded {
        let resource = Resource {
            api_version: "x/v1".to_owned(),
            kind: kind.to_owned(),
            namespace: Some("n".to_owned()),
            name: name.to_owned(),
        };
        let versioned = kind == "ConfigMap";
        Recorded {
            resource,
            existed,
            versioned,
            revision: revision.map(str::to_owned),
            before: None,
            digest: None,
        }
    }

    fn release(number: u64, execution: &str, status: Status, objects: Vec<Recorded>) -> Record {
        Record {
            number,
            task: TaskId::from(number.to_string().as_str()),
            execution: Some(ExecutionId::from(execution)),
            step: String::new(),
            action: Action::Rollout,
            status,
            started_at: 0,
            ended_at: None,
            color: None,
            objects,
        }
    }

    fn names(resources: &[Resource]) -> Vec<String> {
        resources.iter().map(|resource| format!("{}/{}", resource.kind, resource.name)).collect()
    }

    #[test]
    fn workloads_go_back_and_new_things_go() {
        let releases = vec![
            release(
                1,
                "a",
                Status::Succeeded,
                vec![object("Deployment", "web", false, Some("1")), object("Service", "old", false, None)],
            ),
            release(2, "b", Status::Failed, vec![object("Deployment", "web", true, Some("9"))]),
            release(
                3,
                "b",
                Status::Failed,
                vec![
                    object("Deployment", "web", true, None),
                    object("Deployment", "new", false, None),
                    object("Service", "new", false, None),
                    object("Service", "old", true, None),
                    object("ConfigMap", "c-3", false, None),
                    object("Namespace", "ns", false, None),
                ],
            ),
        ];
        let history = History { releases, ..History::default() };
        let plan = plan(&history, &ExecutionId::from("b")).unwrap();
        assert_eq!((plan.releases, plan.target), (vec![2, 3], Some(1)));
        assert_eq!(plan.back.len(), 1);
        assert_eq!(plan.back.first().map(|(_, revision)| revision.as_str()), Some("1"));
        assert_eq!(names(&plan.gone), ["Deployment/new", "Service/new"]);
        assert_eq!(plan.configuration.len(), 1);
        assert_eq!(names(&plan.left), ["Namespace/ns", "Service/old"]);
    }

    #[test]
    fn without_a_success_what_was_created_goes() {
        let found = Recorded { before: Some("4".to_owned()), ..object("Deployment", "found", true, None) };
        let objects =
            vec![object("Deployment", "web", false, None), object("Deployment", "theirs", true, None), found];
        let releases = vec![release(1, "a", Status::InProgress, objects)];
        let history = History { releases, ..History::default() };
        let found = plan(&history, &ExecutionId::from("a")).unwrap();
        assert_eq!(found.back.iter().map(|(_, revision)| revision.as_str()).collect::<Vec<_>>(), ["4"]);
        assert_eq!(
            (names(&found.gone), names(&found.left)),
            (vec!["Deployment/web".to_owned()], vec!["Deployment/theirs".to_owned()])
        );
        assert_eq!(plan(&history, &ExecutionId::from("other")), None);
    }
}
