//! A task on a cluster from its begin to its outcome, and which action does what.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use manifold_driver::clock::now;
use manifold_driver::{Context, Found};
use manifold_model::kubernetes::{KubernetesAction, KubernetesTask};
use manifold_model::task::{Outcome, Task, TaskResult};
use manifold_model::{Failure, FailureClass, code};
use tokio::time::{Instant, timeout_at};

use crate::cluster::Cluster;
use crate::connect::Clusters;
use crate::helm::Helm;
use crate::history::Status;
use crate::job::{Job, Outputs};
use crate::record::{self, Place};
use crate::{apply_step, blue_green, canary, delete, rollback, rollout, scale, swap};

/// How long looking what became of a task may take.
const PROBE_LIMIT: Duration = Duration::from_secs(30);
/// What a task keeps of its time to end by itself and say why: at most this, and a twentieth.
const LONGEST_MARGIN: Duration = Duration::from_secs(2);

/// Does a task to its outcome.
pub async fn perform(
    clusters: &Arc<Clusters>,
    helm: Option<&Helm>,
    task: &Task,
    kubernetes: &KubernetesTask,
    context: &Context,
) -> Outcome {
    let started_at = now();
    let total = Duration::from_millis(task.timeout_ms);
    let margin = LONGEST_MARGIN.min(total / 20);
    let deadline = Instant::now() + total.saturating_sub(margin);
    let said = Mutex::new(Outputs::new());
    let time = (deadline, margin * 4 / 5);
    let work = run(clusters, helm, task, kubernetes, context, time, &said).boxed();
    let ended = tokio::select! {
        biased;
        () = context.cancel.cancelled() => None,
        // What the work does after its deadline (write down that it failed) has most of the margin.
        ended = timeout_at(deadline + margin * 9 / 10, work) => Some(ended),
    };
    let mut outcome = match ended {
        None => Outcome::of(TaskResult::Cancelled),
        Some(Ok(Ok(outputs))) => Outcome { outputs, ..Outcome::succeeded() },
        Some(Ok(Err(failure))) => Outcome::failed(failure),
        Some(Err(_)) => Outcome::failed(late(task)),
    };
    if outcome.result != TaskResult::Succeeded {
        outcome.outputs = said.into_inner().unwrap_or_else(PoisonError::into_inner);
    }
    (outcome.started_at, outcome.ended_at) = (started_at, now());
    outcome
}

async fn run(
    clusters: &Arc<Clusters>,
    helm: Option<&Helm>,
    task: &Task,
    kubernetes: &KubernetesTask,
    context: &Context,
    time: (Instant, Duration),
    said: &Mutex<Outputs>,
) -> Result<Outputs, Failure> {
    let job = Job::begin(clusters, helm, task, kubernetes, context, time, said).await?;
    act(&job).await
}

fn late(task: &Task) -> Failure {
    Failure::new(
        FailureClass::Timeout,
        code!("K8S_TIMEOUT"),
        format!("not done within {} s", task.timeout_ms.div_ceil(1000)),
    )
    .hint("give the step a longer timeout, or find out what it waits for: its log has how far it came")
}

/// What became of a rollout that was handed out before: what its record says. Everything else is performed again: each action finds what it
/// began and goes on.
pub async fn probe(
    clusters: &Arc<Clusters>,
    task: &Task,
    kubernetes: &KubernetesTask,
    context: &Context,
) -> Found {
    if !matches!(kubernetes.action, KubernetesAction::Rollout { export: false, .. }) {
        return Found::NotStarted;
    }
    let deadline = Instant::now() + PROBE_LIMIT;
    let look = async {
        let resolver = context.resolver.as_ref();
        let time = (deadline, Duration::ZERO);
        let cluster = Cluster::connect(clusters, &kubernetes.cluster, resolver, time).await?;
        record::read(&cluster, &Place::of(&kubernetes.namespace, &kubernetes.release)).await
    };
    // A cluster that cannot be asked now is asked again by performing, which goes on where it was left.
    let Ok(Ok(history)) = timeout_at(deadline, look).await else { return Found::NotStarted };
    match history.of_task(&task.id).map(|record| (record.status, record.number)) {
        Some((Status::Succeeded, _)) => Found::Ended(Box::new(Outcome::succeeded())),
        Some((Status::Failed | Status::RolledBack, number)) => {
            Found::Ended(Box::new(Outcome::failed(rollout::failed_before(number))))
        }
        Some((Status::InProgress, _)) | None => Found::NotStarted,
    }
}

/// Does what the task says.
async fn act(job: &Job<'_>) -> Result<Outputs, Failure> {
    match &job.kubernetes.action {
        KubernetesAction::Rollout { skip_dry_run, export } => {
            rollout::rollout(job, *skip_dry_run, *export).boxed().await
        }
        KubernetesAction::RollbackRollout {} => rollback::rollback(job).boxed().await,
        KubernetesAction::Apply { files, skip_dry_run, skip_steady_state, skip_rendering } => {
            let how = apply_step::How {
                skip_dry_run: *skip_dry_run,
                skip_steady_state: *skip_steady_state,
                skip_rendering: *skip_rendering,
            };
            apply_step::apply_files(job, files, how).boxed().await
        }
        KubernetesAction::Scale { workload, instances, skip_steady_state } => {
            scale::scale(job, workload, *instances, *skip_steady_state).boxed().await
        }
        KubernetesAction::Delete { resources } => delete::delete(job, resources).boxed().await,
        KubernetesAction::Canary { instances, skip_dry_run, export } => {
            canary::canary(job, *instances, *skip_dry_run, *export).boxed().await
        }
        KubernetesAction::BlueGreen { skip_dry_run, export } => {
            blue_green::blue_green(job, *skip_dry_run, *export).boxed().await
        }
        KubernetesAction::Swap { service1, service2, undo } => {
            swap::swap(job, service1, service2, *undo).boxed().await
        }
    }
}
