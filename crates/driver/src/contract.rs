//! The contract suites that every driver passes, chosen by class (`design.md` 5), against real peers: idempotent: twice is as good as once;
//! probe-able: whatever moment it is left in, the probe decides and the effect happens once; all: cancel at every await, the deadline held,
//! output bounded, errors classed. Each suite is a function that answers with what is wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use manifold_model::task::{FileSource, Outcome, Task, TaskResult};
use manifold_model::{Failure, FailureClass, Hole, Piece, Rendered, code};
use std::sync::{Mutex, PoisonError};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{Context, Driver, Filled, Found, LogSink, OpenCredential, Resolver, SecretBytes};

/// What a suite needs to know about a driver and its peer.
#[async_trait]
pub trait Hooks: Send + Sync {
    /// A new task whose effect can be counted and takes about this long.
    async fn task(&self, takes: Duration) -> Task;
    /// How often the effect of the task has happened.
    async fn effects(&self, task: &Task) -> u64;
    /// Whether anything of the task still runs.
    async fn runs(&self, task: &Task) -> bool;
    /// A task that prints this many bytes, if its kind can.
    async fn flood(&self, bytes: u64) -> Option<Task>;
    /// Tasks that must fail, and with which class.
    async fn failing(&self) -> Vec<(Task, FailureClass)>;
    /// Credentials and secrets.
    fn resolver(&self) -> Arc<dyn Resolver>;
}

/// What a suite found wrong.
pub type Verdict = Result<(), String>;

/// How long anything may take over its deadline.
const SLACK: Duration = Duration::from_secs(20);
/// How long a suite waits for a level.
const PATIENCE: Duration = Duration::from_secs(60);

/// Keeps what is written, for suites and tests.
#[derive(Default)]
pub struct Captured {
    /// Bytes by unit, up to [`Captured::KEPT`] in all.
    pub units: Mutex<BTreeMap<String, Vec<u8>>>,
    /// All bytes that came.
    pub bytes: AtomicU64,
}

impl Captured {
    /// Bytes that it keeps.
    pub const KEPT: u64 = 64 * 1024 * 1024;

    /// What a unit has printed, broken characters replaced.
    #[must_use]
    pub fn text(&self, unit: &str) -> String {
        let units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        units.get(unit).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
    }

    /// What all units have printed.
    #[must_use]
    pub fn all(&self) -> String {
        let units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        units.values().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }
}

#[async_trait]
impl LogSink for Captured {
    async fn write(&self, unit: &str, bytes: Bytes) {
        let before = self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if before < Self::KEPT {
            let mut units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
            units.entry(unit.to_owned()).or_default().extend_from_slice(&bytes);
        }
    }
}

/// Credentials, secrets and files out of memory.
#[derive(Default)]
pub struct Known {
    /// Credentials by name.
    pub credentials: BTreeMap<String, OpenCredential>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, String>,
    /// File documents by path.
    pub files: BTreeMap<String, Bytes>,
}

impl Known {
    fn missing(what: &str, name: &str) -> Failure {
        Failure::new(
            FailureClass::Application,
            code!("SECRET_UNKNOWN"),
            format!("there is no {what} {name:?}"),
        )
    }
}

#[async_trait]
impl Resolver for Known {
    async fn render(
        &self,
        text: &Rendered,
        facts: &BTreeMap<String, serde_json::Value>,
    ) -> Result<Filled, Failure> {
        let mut filled = Filled { text: String::new(), secret: false };
        for piece in &text.0 {
            match piece {
                Piece::Text(text) => filled.text.push_str(text),
                Piece::Hole(Hole::Secret { name }) => {
                    filled.secret = true;
                    let value = self.secrets.get(name).ok_or_else(|| Self::missing("secret", name))?;
                    filled.text.push_str(value);
                }
                Piece::Hole(Hole::Expression { text, .. }) => {
                    let value = facts.get(text).ok_or_else(|| Self::missing("fact", text))?;
                    match value.as_str() {
                        Some(value) => filled.text.push_str(value),
                        None => filled.text.push_str(&value.to_string()),
                    }
                }
            }
        }
        Ok(filled)
    }

    async fn ssh_credential(&self, name: &str) -> Result<OpenCredential, Failure> {
        self.credentials.get(name).cloned().ok_or_else(|| Self::missing("SSH credential", name))
    }

    async fn secret(&self, name: &str) -> Result<SecretBytes, Failure> {
        let value = self.secrets.get(name).ok_or_else(|| Self::missing("secret", name))?;
        Ok(SecretBytes::new(value.clone().into_bytes()))
    }

    async fn file(&self, source: &FileSource) -> Result<Bytes, Failure> {
        match source {
            FileSource::Document { path, .. } => {
                self.files.get(path).cloned().ok_or_else(|| Self::missing("file", path))
            }
            FileSource::Secret { name } => {
                let value = self.secrets.get(name).ok_or_else(|| Self::missing("secret", name))?;
                Ok(Bytes::from(value.clone()))
            }
        }
    }

    async fn seal(&self, name: &str, value: &str) -> Result<String, Failure> {
        Ok(format!("sealed-{name}-{}", value.len()))
    }
}

/// A context that keeps its log.
#[must_use]
pub fn context(resolver: Arc<dyn Resolver>) -> (Context, Arc<Captured>) {
    let log = Arc::new(Captured::default());
    let context =
        Context { cancel: CancellationToken::new(), log: Arc::clone(&log) as Arc<dyn LogSink>, resolver };
    (context, log)
}

fn holds(holds: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(otherwise()) }
}

async fn perform(driver: &dyn Driver, task: &Task, hooks: &dyn Hooks) -> Result<Outcome, String> {
    let (context, _) = context(hooks.resolver());
    let limit = Duration::from_millis(task.timeout_ms) + SLACK;
    timeout(limit, driver.perform(task, &context)).await.map_err(|_| "the deadline was not held".to_owned())
}

/// Idempotent: twice is as good as once.
pub async fn idempotent(driver: &dyn Driver, hooks: &dyn Hooks) -> Verdict {
    let task = hooks.task(Duration::ZERO).await;
    for turn in 1..=2 {
        let outcome = perform(driver, &task, hooks).await?;
        holds(outcome.result == TaskResult::Succeeded, || {
            format!("turn {turn} ended as {:?}", outcome.result)
        })?;
        let effects = hooks.effects(&task).await;
        holds(effects == 1, || format!("after turn {turn} there are {effects} effects"))?;
    }
    Ok(())
}

/// Probe-able: left at any moment (as by a crash of the delegate), the probe decides and the effect happens once.
/// `moments` are the times after which it is left.
pub async fn probeable(driver: &dyn Driver, hooks: &dyn Hooks, moments: &[Duration]) -> Verdict {
    let fresh = hooks.task(Duration::ZERO).await;
    let (context, _) = context(hooks.resolver());
    let found = driver.probe(&fresh, &context).await;
    holds(found == Found::NotStarted, || format!("before the first start the probe found {found:?}"))?;
    for moment in moments {
        let task = hooks.task(Duration::from_millis(300)).await;
        // The future is dropped where it stands.
        let left = timeout(*moment, driver.perform(&task, &context)).await;
        let outcome = recovered(driver, &task, &context)
            .await
            .map_err(|why| format!("left after {moment:?}: {why}"))?;
        holds(outcome.result == TaskResult::Succeeded, || {
            format!("left after {moment:?}: {:?}", outcome.result)
        })?;
        let effects = hooks.effects(&task).await;
        holds(effects == 1, || format!("left after {moment:?}: {effects} effects"))?;
        if let Ok(first) = left {
            holds(first.result == outcome.result, || {
                format!("{:?} became {:?}", first.result, outcome.result)
            })?;
        }
        let again = perform(driver, &task, hooks).await?;
        holds(again.result == outcome.result, || format!("asked again: {:?}", again.result))?;
        let effects = hooks.effects(&task).await;
        holds(effects == 1, || format!("asked again: {effects} effects"))?;
    }
    Ok(())
}

/// What a delegate does with a task that was handed out before.
async fn recovered(driver: &dyn Driver, task: &Task, context: &Context) -> Result<Outcome, String> {
    let limit = Duration::from_millis(task.timeout_ms) + SLACK;
    let work = async {
        match driver.probe(task, context).await {
            Found::Ended(outcome) => Ok(*outcome),
            Found::NotStarted | Found::Running => Ok(driver.perform(task, context).await),
            Found::Unknown { seen } => Err(format!("nobody knows: {seen}")),
        }
    };
    timeout(limit, work).await.map_err(|_| "recovery did not end".to_owned())?
}

/// All: cancelled at any moment it ends soon, and nothing of it runs on.
pub async fn cancelled(driver: &dyn Driver, hooks: &dyn Hooks, moments: &[Duration]) -> Verdict {
    for moment in moments {
        let task = hooks.task(Duration::from_secs(60)).await;
        let (context, _) = context(hooks.resolver());
        let cancel = context.cancel.clone();
        let work = async {
            let (outcome, ()) = tokio::join!(driver.perform(&task, &context), async {
                sleep(*moment).await;
                cancel.cancel();
            });
            outcome
        };
        let outcome = timeout(*moment + SLACK, work)
            .await
            .map_err(|_| format!("cancelled after {moment:?}: did not end"))?;
        holds(outcome.result == TaskResult::Cancelled, || {
            format!("cancelled after {moment:?}: ended as {:?}", outcome.result)
        })?;
        quiet(hooks, &task).await.map_err(|why| format!("cancelled after {moment:?}: {why}"))?;
    }
    Ok(())
}

/// All: a task that takes longer than its deadline fails with class timeout soon after it, and nothing of it runs on.
pub async fn deadline(driver: &dyn Driver, hooks: &dyn Hooks) -> Verdict {
    let mut task = hooks.task(Duration::from_secs(60)).await;
    task.timeout_ms = 1000;
    let outcome = perform(driver, &task, hooks).await?;
    holds(class(&outcome) == Some(FailureClass::Timeout), || format!("ended as {:?}", outcome.result))?;
    quiet(hooks, &task).await
}

/// All: output is bounded whatever the task prints, and the task is not stopped by it.
pub async fn bounded(driver: &dyn Driver, hooks: &dyn Hooks, bytes: u64, limit: u64) -> Verdict {
    let Some(task) = hooks.flood(bytes).await else { return Ok(()) };
    let (context, log) = context(hooks.resolver());
    let limit_of_time = Duration::from_millis(task.timeout_ms) + SLACK;
    let outcome = timeout(limit_of_time, driver.perform(&task, &context))
        .await
        .map_err(|_| "the flood did not end".to_owned())?;
    let came = log.bytes.load(Ordering::Relaxed);
    holds(came <= limit, || format!("{came} bytes of output came, more than {limit}"))?;
    holds(outcome.result == TaskResult::Succeeded, || format!("the flood ended as {:?}", outcome.result))
}

/// All: errors have their class, because failure strategies choose by it.
pub async fn classed(driver: &dyn Driver, hooks: &dyn Hooks) -> Verdict {
    for (task, expected) in hooks.failing().await {
        let outcome = perform(driver, &task, hooks).await?;
        holds(class(&outcome) == Some(expected), || {
            format!("task {} must fail with {} and ended as {:?}", task.id, expected.name(), outcome.result)
        })?;
    }
    Ok(())
}

fn class(outcome: &Outcome) -> Option<FailureClass> {
    match &outcome.result {
        TaskResult::Failed { failure } => Some(failure.class),
        _ => None,
    }
}

/// Waits until nothing of the task runs.
async fn quiet(hooks: &dyn Hooks, task: &Task) -> Verdict {
    let deadline = Instant::now() + PATIENCE;
    while hooks.runs(task).await {
        holds(Instant::now() < deadline, || "something of it still runs".to_owned())?;
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
