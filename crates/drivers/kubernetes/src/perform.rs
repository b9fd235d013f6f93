//! A task on a cluster: its connection, its manifests, and what is done by action.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use manifold_driver::clock::now;
use manifold_driver::{Context, Found};
use manifold_model::kubernetes::{KubernetesAction, KubernetesTask, output};
use manifold_model::task::{Outcome, OutputValue, Task, TaskResult};
use manifold_model::{Failure, FailureClass, code};
use tokio::time::{Instant, timeout_at};

use crate::cluster::Cluster;
use crate::connect::Clusters;
use crate::helm::Helm;
use crate::history::Status;
use crate::record::{self, Place};
use crate::render::{Files, Rendering, Request, render};
use crate::section::{FETCH, INITIALIZE};
use crate::{apply_step, blue_green, canary, delete, label, rollback, rollout, scale, swap};

/// Outputs by name.
pub type Outputs = BTreeMap<String, OutputValue>;

/// How long looking what became of a task may take.
const PROBE_LIMIT: Duration = Duration::from_secs(30);
/// What a task keeps of its time to end by itself and say why: at most this, and a twentieth.
const LONGEST_MARGIN: Duration = Duration::from_secs(2);

/// Bytes of manifests that an export step hands on: they travel with every task that inherits them.
const EXPORT_LIMIT: usize = 1 << 20;

/// A task that is being done.
pub struct Job<'a> {
    /// The task.
    pub task: &'a Task,
    /// What to do.
    pub kubernetes: &'a KubernetesTask,
    /// Log, cancellation, secrets.
    pub context: &'a Context,
    /// The cluster.
    pub cluster: Cluster,
    /// Where the release's history is.
    pub place: Place,
    /// Helm, where it is installed.
    pub helm: Option<&'a Helm>,
    /// What is true however the task ends.
    said: &'a Mutex<Outputs>,
}

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
    let job = Job::begin(clusters, task, kubernetes, context, time, said).await?;
    Job { helm, ..job }.act().await
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

impl<'a> Job<'a> {
    async fn begin(
        clusters: &Arc<Clusters>,
        task: &'a Task,
        kubernetes: &'a KubernetesTask,
        context: &'a Context,
        time: (Instant, Duration),
        said: &'a Mutex<Outputs>,
    ) -> Result<Self, Failure> {
        let resolver = context.resolver.as_ref();
        label::check_release(&kubernetes.release)?;
        let cluster = Cluster::connect(clusters, &kubernetes.cluster, resolver, time).await?;
        let place = Place::of(&kubernetes.namespace, &kubernetes.release);
        Ok(Self { task, kubernetes, context, cluster, place, helm: None, said })
    }

    /// Says what holds from now on, even when the task fails or is stopped later: a rollback finds by it what is in the cluster.
    pub fn say(&self, outputs: &Outputs) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).extend(outputs.clone());
    }

    async fn act(&self) -> Result<Outputs, Failure> {
        match &self.kubernetes.action {
            KubernetesAction::Rollout { skip_dry_run, export } => {
                rollout::rollout(self, *skip_dry_run, *export).boxed().await
            }
            KubernetesAction::RollbackRollout {} => rollback::rollback(self).boxed().await,
            KubernetesAction::Apply { files, skip_dry_run, skip_steady_state, skip_rendering } => {
                let how = apply_step::How {
                    skip_dry_run: *skip_dry_run,
                    skip_steady_state: *skip_steady_state,
                    skip_rendering: *skip_rendering,
                };
                apply_step::apply_files(self, files, how).boxed().await
            }
            KubernetesAction::Scale { workload, instances, skip_steady_state } => {
                scale::scale(self, workload, *instances, *skip_steady_state).boxed().await
            }
            KubernetesAction::Delete { resources } => delete::delete(self, resources).boxed().await,
            KubernetesAction::Canary { instances, skip_dry_run, export } => {
                canary::canary(self, *instances, *skip_dry_run, *export).boxed().await
            }
            KubernetesAction::BlueGreen { skip_dry_run, export } => {
                blue_green::blue_green(self, *skip_dry_run, *export).boxed().await
            }
            KubernetesAction::Swap { service1, service2, undo } => {
                swap::swap(self, service1, service2, *undo).boxed().await
            }
        }
    }

    /// Renders manifests and says in the log what was rendered.
    ///
    /// # Errors
    /// As [`render`].
    pub async fn render(&self, files: Files<'_>) -> Result<Rendering, Failure> {
        let KubernetesTask { manifests, release, namespace, .. } = self.kubernetes;
        let deadline = self.cluster.deadline();
        let request = Request { manifests, files, release, namespace, helm: self.helm, deadline };
        let rendering = render(&request, self.context.resolver.as_ref()).await?;
        for note in &rendering.notes {
            self.note(FETCH, note).await;
        }
        let line = format!("{} files, {} objects", manifests.files.len(), rendering.objects.len());
        self.note(FETCH, &line).await;
        for object in &rendering.objects {
            self.note(INITIALIZE, &format!("{} {}", object.api_version(), object.resource())).await;
        }
        Ok(rendering)
    }

    /// The output of an export step: the rendered text, sealed when a secret is in it.
    ///
    /// # Errors
    /// It is too large, or cannot be sealed.
    pub async fn exported(&self, rendering: Rendering) -> Result<Outputs, Failure> {
        if rendering.text.len() > EXPORT_LIMIT {
            let bytes = rendering.text.len();
            let message =
                format!("the rendered manifests have {bytes} bytes, {EXPORT_LIMIT} can be exported");
            return Err(Failure::new(FailureClass::Application, code!("K8S_MANIFESTS_TOO_LARGE"), message)
                .hint("let the steps render the manifests themselves"));
        }
        let value = match rendering.secret {
            true => {
                let sealed = self.context.resolver.seal(output::MANIFESTS, &rendering.text).await?;
                OutputValue { value: String::new(), secret: true, sealed: Some(sealed) }
            }
            false => OutputValue { value: rendering.text, secret: false, sealed: None },
        };
        self.note(INITIALIZE, "the manifests are exported; nothing is deployed").await;
        Ok(Outputs::from([(output::MANIFESTS.to_owned(), value)]))
    }

    /// Writes a line.
    pub async fn note(&self, section: &str, line: &str) {
        self.context.log.note(section, line).await;
    }
}
