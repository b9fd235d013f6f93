//! The driver of the kind `SHELL_SCRIPT`: a script on the delegate itself (`behaviour.md` 23), run by the command wrapper, so that it outlives
//! the delegate and is found again.

mod kind;

use async_trait::async_trait;
use manifold_driver::command::Settings;
use manifold_driver::local::Runner;
use manifold_driver::{Context, Driver, Found, script, wrong_payload};
use manifold_model::kind::KindSpec;
use manifold_model::task::{Outcome, Payload, ScriptTask, Task, TaskResult};
use manifold_model::{Failure, FailureClass, code};

pub use kind::{SHELL_SCRIPT, spec};

/// The driver.
pub struct ScriptDriver {
    runner: Runner,
}

impl ScriptDriver {
    /// A driver whose attempt folders lie as the settings say.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { runner: Runner::new(settings) }
    }
}

#[async_trait]
impl Driver for ScriptDriver {
    fn kinds(&self) -> Vec<KindSpec> {
        vec![spec()]
    }

    async fn perform(&self, task: &Task, context: &Context) -> Outcome {
        let script = match local(task) {
            Ok(script) => script,
            Err(failure) => return Outcome::failed(failure),
        };
        let attempt = self.runner.attempt(task);
        let outcome = script::perform(&self.runner, attempt, task, script, context).await;
        context.log.note(script::LOG_UNIT, &format!("Script ended: {}", status(&outcome.result))).await;
        outcome
    }

    async fn probe(&self, task: &Task, context: &Context) -> Found {
        let Ok(script) = local(task) else { return Found::NotStarted };
        let attempt = self.runner.attempt(task);
        script::probe(&self.runner, &attempt, task, script, context).await
    }

    async fn stop(&self, task: &Task, _: &Context) -> Result<(), Failure> {
        script::stop(&self.runner, &self.runner.attempt(task)).await
    }
}

/// The script of a task, if it is one for the delegate.
fn local(task: &Task) -> Result<&ScriptTask, Failure> {
    let Payload::Script(script) = &task.payload else { return Err(wrong_payload(task)) };
    match &script.host {
        None => Ok(script),
        Some(host) => Err(Failure::new(
            FailureClass::Delegate,
            code!("SCRIPT_NOT_FOR_DELEGATE"),
            format!("the script is for host {}, but was sent to run on the delegate itself", host.host),
        )
        .hint("this is a bug of Manifold: report it with the step's properties")),
    }
}

fn status(result: &TaskResult) -> String {
    match result {
        TaskResult::Succeeded => "SUCCESS".to_owned(),
        TaskResult::Failed { failure } => format!("FAILURE ({})", failure.message),
        TaskResult::Cancelled => "ABORTED".to_owned(),
        TaskResult::Unknown { seen } => format!("UNKNOWN ({seen})"),
    }
}
