//! The kind `NOOP`: nothing, for measurements and tests; offered only with `--enable-test-kinds`.

use std::time::Duration;

use async_trait::async_trait;
use manifold_model::kind::{ANYWHERE, Class, KindSpec, Player, PropertySpec};
use manifold_model::task::{NoopTask, Outcome, OutputValue, Payload, Task, TaskResult};
use manifold_model::{Failure, FailureClass, code};

use crate::clock::now;
use crate::{Context, Driver, Found};

/// Does nothing for as long as it is told.
#[derive(Clone, Copy, Default, Debug)]
pub struct NoopDriver;

#[async_trait]
impl Driver for NoopDriver {
    fn kinds(&self) -> Vec<KindSpec> {
        let property = |name: &str| PropertySpec { name: name.to_owned(), required: false, strict: true };
        vec![KindSpec {
            name: "NOOP".into(),
            class: Class::Idempotent,
            class_by: Vec::new(),
            rolled_back_by: None,
            player: Player::Delegate,
            stands: ANYWHERE.to_vec(),
            properties: ["durationMs", "fail", "failAttempts", "outputs"].map(property).to_vec(),
            capabilities: Vec::new(),
            touches_infrastructure: false,
            infrastructure_types: Vec::new(),
            reads_manifests: false,
            deploys: true,
            test_only: true,
        }]
    }

    async fn perform(&self, task: &Task, context: &Context) -> Outcome {
        let started_at = now();
        let mut outcome = match &task.payload {
            Payload::Noop(noop) => perform(noop, task, context).await,
            _ => Outcome::failed(crate::wrong_payload(task)),
        };
        (outcome.started_at, outcome.ended_at) = (started_at, now());
        outcome
    }

    async fn probe(&self, _task: &Task, _context: &Context) -> Found {
        Found::NotStarted
    }
}

async fn perform(noop: &NoopTask, task: &Task, context: &Context) -> Outcome {
    let wait = Duration::from_millis(noop.duration_ms.min(task.timeout_ms));
    if !wait.is_zero() {
        tokio::select! {
            () = context.cancel.cancelled() => return Outcome::of(TaskResult::Cancelled),
            () = tokio::time::sleep(wait) => {}
        }
    }
    if noop.duration_ms > task.timeout_ms {
        let message = format!("not done within {} ms", task.timeout_ms);
        return Outcome::failed(Failure::new(FailureClass::Timeout, code!("TASK_TIMEOUT"), message));
    }
    if let Some(class) = noop.fail
        && (noop.fail_attempts.is_empty() || noop.fail_attempts.contains(&task.attempt))
    {
        return Outcome::failed(Failure::new(class, code!("NOOP_FAILED"), "told to fail"));
    }
    let mut outcome = Outcome::succeeded();
    outcome.outputs = noop
        .outputs
        .iter()
        .map(|(name, value)| {
            (name.clone(), OutputValue { value: value.clone(), secret: false, sealed: None })
        })
        .collect();
    outcome
}
