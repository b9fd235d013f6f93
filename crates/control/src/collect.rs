//! Artifact collection on demand: a delegate lists the builds of a source, and they are kept (`behaviour.md` 5.2).

use std::time::Duration;

use manifold_expression::{Mode, Nothing, render};
use manifold_model::artifact::Artifact;
use manifold_model::catalog::Catalog;
use manifold_model::entity::{ArtifactSource, Service};
use manifold_model::kind::{Class, KindName};
use manifold_model::plan::SourcePlan;
use manifold_model::task::{Build, CollectTask, Outcome, Payload, Task, TaskResult};
use manifold_model::{EntityId, LogId, Problem, TaskId, code};
use manifold_store::{Hint, Page};
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::authorise::{Action, Resource, authorise};
use crate::{Actor, Control, Error, Result};

/// How often the store is asked when no hint comes.
const POLL: Duration = Duration::from_millis(500);
/// Deadline of the task itself once a delegate has it, when the source says none, milliseconds.
const TASK_TIMEOUT_MS: u64 = 60_000;
/// Builds of one collection that are kept.
const BUILDS: usize = 10_000;

impl Control {
    /// Collected artifacts of a source, newest first.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn artifacts(
        &self,
        actor: &Actor,
        source: &EntityId,
        offset: u64,
        limit: u32,
    ) -> Result<Page<Artifact>> {
        authorise(actor, Action::Read, Resource::Account)?;
        Ok(self.store.artifacts(source, offset, limit).await?)
    }

    /// One collected artifact.
    ///
    /// # Errors
    /// When there is none.
    pub async fn artifact(&self, actor: &Actor, id: &manifold_model::ArtifactId) -> Result<Artifact> {
        authorise(actor, Action::Read, Resource::Account)?;
        self.store.artifact(id).await?.ok_or_else(|| Error::not_found("artifact does not exist"))
    }

    /// Collects the builds of a source now and waits for them.
    ///
    /// # Errors
    /// When no delegate answers in time, or the collection fails.
    pub async fn collect(
        &self,
        catalog: &Catalog,
        service: &Service,
        source: &ArtifactSource,
    ) -> Result<u32> {
        let task = collection(catalog, source).map_err(Error::refused)?;
        let id = task.id.clone();
        // Listened to before it is queued, so that its end cannot be missed.
        let mut hints = self.store.hints();
        self.store.enqueue(task, self.now()).await?;
        let deadline = Instant::now() + self.limits.collect_wait;
        loop {
            if let Some(outcome) = self.store.task(&id).await?.and_then(|row| row.outcome) {
                return self.keep(service, source, outcome).await;
            }
            if Instant::now() >= deadline {
                return Err(Error::unavailable(
                    Problem::new(
                        code!("COLLECTION_TIMED_OUT"),
                        format!(
                            "no delegate listed the builds of {} / {} in time",
                            service.name, source.name
                        ),
                    )
                    .item(&source.name)
                    .hint("check that a delegate is connected that can reach the source"),
                ));
            }
            let next = deadline.min(Instant::now() + POLL);
            // A timeout is the poll behind the hint.
            let _ = tokio::time::timeout_at(next, ended(&mut hints, &id)).await;
        }
    }

    async fn keep(&self, service: &Service, source: &ArtifactSource, outcome: Outcome) -> Result<u32> {
        match outcome.result {
            TaskResult::Succeeded => {
                let now = self.now();
                let artifacts = outcome
                    .builds
                    .into_iter()
                    .take(BUILDS)
                    .map(|build| artifact(source, build, now))
                    .collect();
                Ok(self.store.put_artifacts(artifacts).await?)
            }
            TaskResult::Failed { failure } => Err(Error::refused(
                Problem::new(
                    code!("COLLECTION_FAILED"),
                    format!("the builds of {} / {} cannot be listed", service.name, source.name),
                )
                .item(&source.name)
                .detail(failure.message),
            )),
            TaskResult::Cancelled | TaskResult::Unknown { .. } => Err(Error::unavailable(Problem::new(
                code!("COLLECTION_FAILED"),
                format!("the collection of {} / {} broke off", service.name, source.name),
            ))),
        }
    }
}

async fn ended(hints: &mut tokio::sync::broadcast::Receiver<Hint>, id: &TaskId) {
    loop {
        match hints.recv().await {
            Ok(Hint::TaskEnded(ended)) if ended == *id => return,
            Ok(Hint::Everything) | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

fn artifact(source: &ArtifactSource, build: Build, now: i64) -> Artifact {
    Artifact {
        id: Artifact::id_of(&source.id, &build.build_no),
        source: source.id.clone(),
        source_name: source.name.clone(),
        source_kind: source.kind.clone(),
        build_no: build.build_no,
        metadata: build.metadata,
        collected_at: now,
    }
}

/// The task that lists a source's builds.
#[expect(clippy::result_large_err, reason = "a refusal happens once; its size costs nothing")]
fn collection(catalog: &Catalog, source: &ArtifactSource) -> std::result::Result<Task, Problem> {
    let server = source.server_name.as_deref().and_then(|name| catalog.artifact_server_named(name));
    let plan = SourcePlan {
        id: source.id.clone(),
        name: source.name.clone(),
        kind: source.kind.clone(),
        properties: source.properties.clone(),
        server_kind: server.map(|server| server.kind.clone()),
        server: server.map(|server| server.properties.clone()).unwrap_or_default(),
    };
    let script = match script_of(source) {
        Some(text) => Some(render(text, &Nothing, Mode::Keep).map(|rendering| rendering.rendered).map_err(
            |errors| {
                let detail: Vec<String> = errors.iter().map(ToString::to_string).collect();
                Problem::new(
                    code!("COLLECTION_FAILED"),
                    format!("the script of {} cannot be rendered", source.name),
                )
                .detail(detail.join("; "))
            },
        )?),
        None => None,
    };
    let id = TaskId::random();
    let seconds = first_script(source)
        .and_then(|script| script.get("timeout"))
        .and_then(|timeout| timeout.as_u64().or_else(|| timeout.as_str()?.trim().parse().ok()));
    Ok(Task {
        kind: KindName::from("COLLECT_ARTIFACTS"),
        class: Class::Idempotent,
        attempt: 1,
        step: None,
        log: LogId::derived(&["log", id.as_str()]),
        timeout_ms: seconds.map_or(TASK_TIMEOUT_MS, |seconds| seconds.saturating_mul(1000)),
        selectors: strings(
            source.properties.get("delegateTags").or_else(|| source.properties.get("delegateSelectors")),
        ),
        capabilities: Vec::new(),
        payload: Payload::Collect(CollectTask { source: plan, script }),
        id,
    })
}

/// The script of a CUSTOM source: FirstGen keeps it in a list with one item.
fn first_script(source: &ArtifactSource) -> Option<&Value> {
    match source.properties.get("scripts") {
        Some(Value::Array(items)) => items.first(),
        other => other,
    }
}

fn script_of(source: &ArtifactSource) -> Option<&str> {
    first_script(source)
        .and_then(|script| script.get("scriptString").and_then(Value::as_str).or_else(|| script.as_str()))
        .or_else(|| source.properties.get("script").and_then(Value::as_str))
        .or_else(|| source.properties.get("scriptString").and_then(Value::as_str))
}

fn strings(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(text)) => {
            text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}
