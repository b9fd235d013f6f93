//! The life of one task on the delegate: look if need be, perform, hold the deadline, catch what breaks, report.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use manifold_driver::{Context, Driver, Found, Resolver};
use manifold_model::crash::{self, Point};
use manifold_model::kind::Class;
use manifold_model::task::{Outcome, OutputValue, Task, TaskResult};
use manifold_model::{Failure, FailureClass, code};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::limits::{LOG_FLUSH_DEADLINE, PROBE_DEADLINE};
use crate::log::TaskLog;
use crate::mask::Secrets;
use crate::resolver::LinkResolver;

/// Unit under which the delegate itself speaks in a log.
const UNIT: &str = "Delegate";

/// One task handed over.
pub(crate) struct Life {
    pub(crate) shared: Arc<Shared>,
    pub(crate) task: Task,
    /// How often it was handed out before.
    pub(crate) deliveries: u32,
    /// Name of the other delegate that had it last, if it was another one.
    pub(crate) elsewhere: Option<String>,
    /// Fence under which it began here.
    pub(crate) run: u64,
    /// Cancelled when the server does not want it any more.
    pub(crate) cancel: CancellationToken,
}

/// Why a driver was asked to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    Cancelled,
    Deadline,
}

impl Life {
    /// Lives, and reports the outcome.
    pub(crate) async fn live(self) {
        let started_at = (self.shared.config.clock)();
        let stop = self.cancel.child_token();
        let secrets = Arc::new(Secrets::default());
        let log = Arc::new(TaskLog::new(
            self.shared.outbox.clone(),
            secrets.clone(),
            (self.task.id.clone(), self.task.log.clone()),
            self.run,
            stop.clone(),
        ));
        let resolver = Arc::new(LinkResolver::new(
            self.shared.asks.clone(),
            self.shared.files.clone(),
            self.task.id.clone(),
            secrets.clone(),
        ));
        let context = Context { cancel: stop, log: log.clone(), resolver: resolver.clone() };

        let mut outcome = self.outcome(&context).await;
        if let Err(failure) = seal_leaks(&mut outcome, &secrets, &*resolver).await {
            outcome.outputs.clear();
            if outcome.result == TaskResult::Succeeded {
                outcome.result = TaskResult::Failed { failure };
            }
        }
        mask(&mut outcome, &secrets);
        if timeout(LOG_FLUSH_DEADLINE, log.finish()).await.is_err() {
            tracing::warn!(task = %self.task.id, "the end of the log did not fit the window in time and is lost");
        }
        if outcome.started_at == 0 {
            outcome.started_at = started_at;
        }
        if outcome.ended_at == 0 {
            outcome.ended_at = (self.shared.config.clock)();
        }
        self.shared.outlive(self.task.id, outcome).await;
    }

    async fn outcome(&self, context: &Context) -> Outcome {
        let Some(driver) = self.shared.drivers.get(&self.task.kind) else {
            return Outcome::failed(
                Failure::new(
                    FailureClass::Delegate,
                    code!("KIND_NOT_OFFERED"),
                    format!(
                        "the delegate {:?} has no driver for {}",
                        self.shared.config.name, self.task.kind
                    ),
                )
                .hint("start a delegate that offers this kind of step"),
            );
        };
        let looks = self.deliveries > 0 && self.task.class != Class::Idempotent;
        if let Some(elsewhere) = self.elsewhere.as_ref().filter(|_| looks && self.task.lives_on_delegate()) {
            return Outcome::of(TaskResult::Unknown { seen: out_of_sight(elsewhere) });
        }
        let found = if looks {
            crash::point(Point::BeforeProbe);
            let found = self.look(driver, context).await;
            crash::point(Point::AfterProbe);
            found
        } else {
            Found::NotStarted
        };
        let runs = match found {
            Found::Ended(outcome) => return *outcome,
            Found::Unknown { seen } => return Outcome::of(TaskResult::Unknown { seen }),
            Found::Running => true,
            Found::NotStarted => false,
        };
        let outcome = if looks && self.cancel.is_cancelled() {
            Outcome::of(TaskResult::Cancelled)
        } else {
            crash::point(Point::BeforeEffect);
            let outcome = self.perform(driver, context).await;
            crash::point(Point::AfterEffect);
            outcome
        };
        // A driver that was cancelled before it had attached to what runs has not stopped it.
        if runs && outcome.result == TaskResult::Cancelled {
            return self.stop(driver, context).await;
        }
        outcome
    }

    /// Looks what became of a task that was handed out before. A cancelled task is looked for too: it may run.
    async fn look(&self, driver: &Arc<dyn Driver>, context: &Context) -> Found {
        let probe = AssertUnwindSafe(driver.probe(&self.task, context)).catch_unwind();
        let seen = match timeout(PROBE_DEADLINE, probe).await {
            Ok(Ok(found)) => return found,
            Ok(Err(panic)) => format!("looking for it broke: {}", words(&*panic)),
            Err(_) => format!("looking for it took longer than {} seconds", PROBE_DEADLINE.as_secs()),
        };
        Found::Unknown { seen }
    }

    /// Stops what was found running of a cancelled task.
    async fn stop(&self, driver: &Arc<dyn Driver>, context: &Context) -> Outcome {
        let stop = AssertUnwindSafe(driver.stop(&self.task, context)).catch_unwind();
        let trouble = match timeout(self.shared.config.cancel_grace, stop).await {
            Ok(Ok(Ok(()))) => return Outcome::of(TaskResult::Cancelled),
            Ok(Ok(Err(failure))) => failure.message,
            Ok(Err(panic)) => format!("stopping it broke: {}", words(&*panic)),
            Err(_) => {
                format!("stopping it took longer than {} seconds", self.shared.config.cancel_grace.as_secs())
            }
        };
        let line = format!("[the step runs on: {trouble}]");
        context.log.note(UNIT, &line).await;
        Outcome::of(TaskResult::Unknown { seen: trouble })
    }

    async fn perform(&self, driver: &Arc<dyn Driver>, context: &Context) -> Outcome {
        let work = AssertUnwindSafe(driver.perform(&self.task, context)).catch_unwind();
        tokio::pin!(work);
        let stop = tokio::select! {
            biased;
            done = &mut work => return done.unwrap_or_else(|panic| self.broken(&*panic)),
            () = self.cancel.cancelled() => Stop::Cancelled,
            () = sleep(Duration::from_millis(self.task.timeout_ms)) => Stop::Deadline,
        };
        context.cancel.cancel();
        match timeout(self.shared.config.cancel_grace, work).await {
            Ok(done) => self.stopped(stop, done.unwrap_or_else(|panic| self.broken(&*panic))),
            Err(_) => {
                let line = format!(
                    "[the step did not stop within {} seconds and was left alone]",
                    self.shared.config.cancel_grace.as_secs()
                );
                context.log.note(UNIT, &line).await;
                self.stopped(stop, Outcome::of(TaskResult::Cancelled))
            }
        }
    }

    /// The outcome of a task that was asked to stop: what came to its end in that very moment stays so.
    fn stopped(&self, stop: Stop, mut outcome: Outcome) -> Outcome {
        let as_it_is = match &outcome.result {
            TaskResult::Succeeded | TaskResult::Unknown { .. } => true,
            TaskResult::Failed { failure } => failure.class == FailureClass::Timeout,
            TaskResult::Cancelled => false,
        };
        if stop == Stop::Deadline && !as_it_is {
            outcome.result = TaskResult::Failed { failure: timed_out(self.task.timeout_ms) };
        }
        outcome
    }

    fn broken(&self, panic: &(dyn Any + Send)) -> Outcome {
        tracing::error!(task = %self.task.id, kind = %self.task.kind, "a driver panicked");
        Outcome::failed(
            Failure::new(
                FailureClass::Delegate,
                code!("DRIVER_PANICKED"),
                format!("the driver for {} broke: {}", self.task.kind, words(panic)),
            )
            .hint("this is a bug of Manifold: report it with the delegate's log"),
        )
    }
}

fn timed_out(timeout_ms: u64) -> Failure {
    Failure::new(
        FailureClass::Timeout,
        code!("TASK_TIMED_OUT"),
        format!("the step did not end within its timeout of {} s", timeout_ms as f64 / 1000.0),
    )
    .hint("raise the step's timeout, or see in its log what it waited for")
}

/// Why this delegate cannot say what became of a task.
fn out_of_sight(elsewhere: &str) -> String {
    format!(
        "it was handed to delegate {elsewhere}, which has not come back; only there can be seen whether it ran"
    )
}

fn words(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no words were left")
}

/// An output in which a secret stands would rest in the journal in the clear: it becomes a secret output.
async fn seal_leaks(
    outcome: &mut Outcome,
    secrets: &Secrets,
    resolver: &dyn Resolver,
) -> Result<(), Failure> {
    if secrets.patterns().is_empty() {
        return Ok(());
    }
    for (name, output) in &mut outcome.outputs {
        if output.sealed.is_none() && (output.secret || secrets.is_in(&output.value)) {
            let sealed = resolver.seal(name, &output.value).await?;
            *output = OutputValue { value: String::new(), secret: true, sealed: Some(sealed) };
        }
    }
    Ok(())
}

fn mask(outcome: &mut Outcome, secrets: &Secrets) {
    match &mut outcome.result {
        TaskResult::Failed { failure } => {
            failure.message = secrets.mask(&failure.message);
            failure.hint = failure.hint.take().map(|hint| secrets.mask(&hint));
        }
        TaskResult::Unknown { seen } => *seen = secrets.mask(seen),
        TaskResult::Succeeded | TaskResult::Cancelled => {}
    }
}
