//! The release that a task makes: its number, what it will touch written down before it does, and how it ended.

use std::collections::BTreeSet;

use manifold_driver::clock::now;
use manifold_model::{Failure, FailureClass, code};

use crate::apply::Checked;
use crate::history::{Action, History, Record, Recorded, Status};
use crate::job::Job;
use crate::object::{Object, Resource};
use crate::record::{self, Seen};
use crate::revision::revision;
use crate::section::{PREPARE, WRAP_UP};
use crate::version::digest;

/// A release before it is begun.
#[derive(Debug)]
pub struct Next {
    /// Its number.
    pub number: u64,
    /// What was written down, when this task was performed before.
    pub before: Option<Record>,
    /// The history that says so.
    pub seen: Seen,
}

/// The number of this task's release: the one it has begun under, or the next.
///
/// # Errors
/// The history cannot be read.
pub async fn next(job: &Job<'_>) -> Result<Next, Failure> {
    let seen = record::look(&job.cluster, &job.place).await?;
    let before = seen.history().of_task(&job.task.id).cloned();
    let number = before.as_ref().map_or_else(|| seen.history().next_number(), |record| record.number);
    Ok(Next { number, before, seen })
}

/// Writes down what will be touched. What an earlier turn of the same task wrote about what was there before stays.
///
/// # Errors
/// The history cannot be written; another deployment has taken the number meanwhile.
pub async fn begin(
    job: &Job<'_>,
    seen: Seen,
    action: Action,
    number: u64,
    color: Option<&str>,
    objects: &[Checked],
    versioned: &BTreeSet<usize>,
) -> Result<(), Failure> {
    record::update_seen(&job.cluster, &job.place, seen, |history| {
        let record = history.begin(job.task, action, now());
        if record.number != number {
            return Err(overtaken(job));
        }
        let Some(stored) = history.of_task_mut(&job.task.id) else { return Err(overtaken(job)) };
        stored.status = Status::InProgress;
        stored.ended_at = None;
        stored.color = color.map(str::to_owned);
        stored.objects = objects
            .iter()
            .enumerate()
            .map(|(index, checked)| recorded(checked, versioned.contains(&index), &record))
            .collect();
        Ok(())
    })
    .await?;
    let line = format!("release {number} of {}: {} objects", job.kubernetes.release, objects.len());
    job.note(PREPARE, &line).await;
    Ok(())
}

fn recorded(checked: &Checked, versioned: bool, before: &Record) -> Recorded {
    let resource = checked.object.resource();
    let known = before.object(&resource);
    Recorded {
        existed: known.map_or(checked.existed, |known| known.existed),
        revision: known.and_then(|known| known.revision.clone()),
        before: match known {
            Some(known) => known.before.clone(),
            None => checked.revision.clone(),
        },
        digest: digest(&checked.object),
        versioned,
        resource,
    }
}

fn overtaken(job: &Job<'_>) -> Failure {
    let release = &job.kubernetes.release;
    Failure::new(
        FailureClass::Application,
        code!("K8S_HISTORY_BUSY"),
        format!("another deployment of the release {release} began at the same time"),
    )
    .hint("give every infrastructure definition a release name of its own, or let deployments wait for each other")
}

/// Writes down that the release is done, with the revisions of its workloads as they are now; what follows from the history that is written.
///
/// # Errors
/// The cluster cannot be asked, or the history not be written.
pub async fn succeeded<T>(
    job: &Job<'_>,
    workloads: &[Object],
    follows: impl Fn(&History) -> T,
) -> Result<T, Failure> {
    let mut revisions = Vec::with_capacity(workloads.len());
    for workload in workloads {
        revisions.push((workload.resource(), revision(&job.cluster, workload).await?));
    }
    record::update(&job.cluster, &job.place, |history| {
        if let Some(stored) = history.of_task_mut(&job.task.id) {
            stored.end(Status::Succeeded, now());
            for (resource, revision) in &revisions {
                if let Some(object) = stored.object_mut(resource) {
                    object.revision.clone_from(revision);
                }
            }
        }
        Ok(follows(history))
    })
    .await
}

/// Writes down that the release failed. When even that cannot be done, the record stays as begun, which a rollback takes as well.
pub async fn failed(job: &Job<'_>, number: u64) {
    let cluster = job.cluster.past_its_time();
    let written = record::update(&cluster, &job.place, |history| {
        if let Some(stored) = history.of_task_mut(&job.task.id) {
            stored.end(Status::Failed, now());
        }
        Ok(())
    });
    let line = match written.await {
        Ok(()) => format!("release {number} has failed"),
        Err(failure) => {
            format!("release {number} has failed, and that could not be written down: {}", failure.message)
        }
    };
    job.note(WRAP_UP, &line).await;
}

/// The names of resources, for the log.
#[must_use]
pub fn names(resources: &[Resource]) -> String {
    resources.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
