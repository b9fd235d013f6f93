//! The driver of the kind `SHELL_SCRIPT`: a script on the delegate itself (`behaviour.md` 23), run by the command wrapper, so that it outlives
//! the delegate and is found again.

mod failure;
mod kind;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use manifold_driver::command::{CommandSpec, Directory, Ended, Language, Settings, UnitState};
use manifold_driver::local::Runner;
use manifold_driver::{Context, Driver, Found, wrong_payload};
use manifold_model::kind::KindSpec;
use manifold_model::task::{Outcome, OutputValue, Payload, ScriptTask, Task, TaskResult, UnitStatus};
use manifold_model::{Failure, Rendered};
use tokio::time::Instant;
use zeroize::Zeroizing;

pub use kind::{SHELL_SCRIPT, spec};

/// Name of the only unit, in the log and among the unit statuses.
const UNIT: &str = "Execute";
/// Its name in the attempt folder.
const FILE: &str = "0";
/// Largest output variable, bytes (`behaviour.md` 24.1).
pub const MAX_OUTPUT: usize = 256 * 1024;

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

    async fn command(
        &self,
        task: &Task,
        script: &ScriptTask,
        context: &Context,
    ) -> Result<CommandSpec, Failure> {
        if let Some(host) = &script.host {
            return Err(failure::not_here(&host.host));
        }
        if !script.language.trim().is_empty() && !script.language.trim().eq_ignore_ascii_case("BASH") {
            return Err(failure::language(script.language.trim()));
        }
        let mut environment = Vec::with_capacity(script.environment.len());
        for (name, value) in &script.environment {
            environment.push((name.clone(), fill(value, context).await?));
        }
        let directory = fill(&script.directory, context).await?;
        let mut outputs = script.outputs.clone();
        outputs.extend(script.secret_outputs.iter().filter(|name| !script.outputs.contains(name)).cloned());
        Ok(CommandSpec {
            attempt: self.runner.attempt(task),
            unit: FILE.to_owned(),
            log_unit: UNIT.to_owned(),
            script: fill(&script.script, context).await?,
            language: Language::Bash,
            directory: match directory.trim() {
                "" => Directory::Attempt,
                path => Directory::Path(path.to_owned()),
            },
            environment,
            outputs,
            keeps_environment: false,
            last: true,
        })
    }

    async fn run(&self, task: &Task, script: &ScriptTask, context: &Context) -> Result<Outcome, Failure> {
        let begun = Instant::now();
        let command = self.command(task, script, context).await?;
        let deadline = begun + Duration::from_millis(task.timeout_ms);
        let ended = self.runner.run(&command, context, deadline).await;
        let mut exit_code = None;
        let mut values = BTreeMap::new();
        let result = match ended {
            Ended::Exited { code, outputs, .. } => {
                exit_code = Some(code);
                context.log.note(UNIT, &format!("Script ended with exit code {code}")).await;
                if code == 0 {
                    values = publish(script, outputs, context).await?;
                    TaskResult::Succeeded
                } else {
                    TaskResult::Failed { failure: failure::exited(code) }
                }
            }
            Ended::Cancelled => TaskResult::Cancelled,
            Ended::TimedOut => TaskResult::Failed { failure: failure::timed_out(task.timeout_ms) },
            Ended::Gone { seen } => TaskResult::Unknown { seen },
            Ended::Failed(failure) => TaskResult::Failed { failure },
        };
        let status = if result == TaskResult::Succeeded { "SUCCESS" } else { "FAILURE" };
        let mut outcome = Outcome::of(result);
        outcome.outputs = values;
        outcome.units = vec![UnitStatus {
            name: UNIT.to_owned(),
            status: status.to_owned(),
            exit_code,
            duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        }];
        Ok(outcome)
    }
}

#[async_trait]
impl Driver for ScriptDriver {
    fn kinds(&self) -> Vec<KindSpec> {
        vec![spec()]
    }

    async fn perform(&self, task: &Task, context: &Context) -> Outcome {
        let Payload::Script(script) = &task.payload else { return Outcome::failed(wrong_payload(task)) };
        if context.cancel.is_cancelled() {
            return Outcome::of(TaskResult::Cancelled);
        }
        self.run(task, script, context).await.unwrap_or_else(Outcome::failed)
    }

    async fn probe(&self, task: &Task, _: &Context) -> Found {
        match self.runner.probe(&self.runner.attempt(task), FILE).await {
            Ok(UnitState::NotStarted) => Found::NotStarted,
            // Attaching to one that has ended brings its exit code, its output variables and its log.
            Ok(UnitState::Running | UnitState::Ended(_)) => Found::Running,
            Ok(UnitState::Unknown(seen)) => Found::Unknown { seen },
            Err(failure) => Found::Unknown { seen: failure.message },
        }
    }
}

async fn fill(text: &Rendered, context: &Context) -> Result<Zeroizing<String>, Failure> {
    Ok(Zeroizing::new(context.resolver.render(text, &BTreeMap::new()).await?.text))
}

/// The output variables that were set; secret ones sealed.
async fn publish(
    script: &ScriptTask,
    outputs: BTreeMap<String, String>,
    context: &Context,
) -> Result<BTreeMap<String, OutputValue>, Failure> {
    let mut values = BTreeMap::new();
    for (name, value) in outputs {
        if value.len() > MAX_OUTPUT {
            return Err(failure::output_too_large(&name, value.len(), MAX_OUTPUT));
        }
        let output = if script.secret_outputs.contains(&name) {
            let sealed = context.resolver.seal(&name, &value).await?;
            OutputValue { value: String::new(), secret: true, sealed: Some(sealed) }
        } else {
            OutputValue { value, secret: false, sealed: None }
        };
        values.insert(name, output);
    }
    Ok(values)
}
