//! Scripts as units of the wrapper, the same on a host and on the delegate (`behaviour.md` 23, Shell Script step).

use std::collections::BTreeMap;
use std::time::Duration;

use manifold_model::task::{Outcome, OutputValue, ScriptTask, Task, TaskResult};
use manifold_model::{Failure, FailureClass, Millis, Rendered, code};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use crate::clock::now;
use crate::command::{self, Attempt, CommandSpec, Directory, Ended, Language, Shell, UnitState, text};
use crate::{Context, Filled, Found, kubeconfig};

/// Unit of the wrapper that a script is.
pub const UNIT: &str = "script";
/// Section of the log that a script's output goes to.
pub const LOG_UNIT: &str = "Execute";

/// Largest output variable, bytes (`behaviour.md` 24.1).
pub const MAX_OUTPUT: usize = 256 * 1024;

/// The moment by which a task must have ended, from now.
#[must_use]
pub fn deadline(task: &Task) -> Instant {
    Instant::now() + Duration::from_millis(task.timeout_ms)
}

/// Runs a script task in a shell to its outcome.
pub async fn perform(
    shell: &dyn Shell,
    attempt: Attempt,
    task: &Task,
    script: &ScriptTask,
    context: &Context,
) -> Outcome {
    let started_at = now();
    let deadline = deadline(task);
    let ended = match cancellable(context, deadline, spec(attempt, script, context)).await {
        Ok(Ok(spec)) => command::run(shell, &spec, context, deadline).await,
        Ok(Err(failure)) => Ended::Failed(failure),
        Err(ended) => ended,
    };
    bounded(outcome(&ended, shell, script, task, context, started_at).await)
}

/// An outcome whose outputs expressions can take.
fn bounded(outcome: Outcome) -> Outcome {
    let large = outcome.outputs.iter().find(|(_, output)| output.value.len() > MAX_OUTPUT);
    let Some((name, output)) = large else { return outcome };
    let failure = Failure::new(
        FailureClass::Application,
        code!("SCRIPT_OUTPUT_TOO_LARGE"),
        format!("the output variable {name} has {} bytes; at most {MAX_OUTPUT} are kept", output.value.len()),
    )
    .hint("write large output to a file and publish its path");
    Outcome { result: TaskResult::Failed { failure }, outputs: Default::default(), ..outcome }
}

/// Looks what became of a script task. The outputs of one that has ended are read again.
pub async fn probe(
    shell: &dyn Shell,
    attempt: &Attempt,
    task: &Task,
    script: &ScriptTask,
    context: &Context,
) -> Found {
    let states = match command::probe(shell, attempt, &[UNIT.to_owned()]).await {
        Ok(states) => states,
        Err(failure) => return Found::Unknown { seen: format!("cannot look: {}", failure.message) },
    };
    match states.into_iter().next() {
        None | Some(UnitState::NotStarted) => Found::NotStarted,
        Some(UnitState::Running) => Found::Running,
        Some(UnitState::Unknown(seen)) => Found::Unknown { seen },
        // Attaching to a unit that has ended runs nothing and brings its exit code, its variables and its output.
        Some(UnitState::Ended(_)) => {
            Found::Ended(Box::new(perform(shell, attempt.clone(), task, script, context).await))
        }
    }
}

/// Stops the script of an attempt.
///
/// # Errors
/// Nobody confirmed that it was stopped.
pub async fn stop(shell: &dyn Shell, attempt: &Attempt) -> Result<(), Failure> {
    command::cancel(shell, attempt, UNIT).await
}

/// The unit of a script, its holes filled.
pub async fn spec(attempt: Attempt, script: &ScriptTask, context: &Context) -> Result<CommandSpec, Failure> {
    if !script.language.is_empty() && !script.language.eq_ignore_ascii_case("BASH") {
        return Err(Failure::new(
            FailureClass::Application,
            code!("SCRIPT_LANGUAGE"),
            format!("scripts in {} cannot be run", script.language),
        )
        .hint("write the script for BASH"));
    }
    let directory = fill(context, &script.directory).await?.text;
    let outputs = script.outputs.iter().chain(&script.secret_outputs);
    let kubeconfig = match &script.cluster {
        Some(cluster) => {
            let own = attempt.settings.kubeconfig.as_deref();
            Some(kubeconfig::of(cluster, own, &*context.resolver).await?)
        }
        None => None,
    };
    Ok(CommandSpec {
        attempt,
        unit: UNIT.to_owned(),
        log_unit: LOG_UNIT.to_owned(),
        script: Zeroizing::new(fill(context, &script.script).await?.text),
        language: Language::Bash,
        directory: match directory.trim() {
            "" => Directory::Runtime,
            path => Directory::Path(path.to_owned()),
        },
        environment: environment(context, &script.environment, LOG_UNIT).await?,
        kubeconfig,
        outputs: outputs.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect(),
        keeps_environment: false,
        last: true,
    })
}

/// Fills a text that has no facts of its own.
pub async fn fill(context: &Context, text: &Rendered) -> Result<Filled, Failure> {
    context.resolver.render(text, &BTreeMap::new()).await
}

/// Fills environment variables; names that a shell variable cannot have are left out and said in the log.
pub async fn environment(
    context: &Context,
    variables: &[(String, Rendered)],
    log_unit: &str,
) -> Result<Vec<(String, Zeroizing<String>)>, Failure> {
    let mut filled = Vec::with_capacity(variables.len());
    for (name, value) in variables {
        if text::is_name(name) {
            filled.push((name.clone(), Zeroizing::new(fill(context, value).await?.text)));
        } else {
            let line = format!("variable {name:?} is left out: a shell variable cannot have this name");
            context.log.note(log_unit, &line).await;
        }
    }
    Ok(filled)
}

/// Does preparatory work unless the task is cancelled or its deadline passes first.
pub async fn cancellable<T>(
    context: &Context,
    deadline: Instant,
    work: impl Future<Output = T>,
) -> Result<T, Ended> {
    tokio::select! {
        biased;
        () = context.cancel.cancelled() => Err(Ended::Cancelled),
        done = timeout_at(deadline, work) => done.map_err(|_| Ended::TimedOut),
    }
}

/// The outcome of a script; secret outputs are sealed before they leave.
async fn outcome(
    ended: &Ended,
    shell: &dyn Shell,
    script: &ScriptTask,
    task: &Task,
    context: &Context,
    started_at: Millis,
) -> Outcome {
    let mut outcome =
        Outcome::of(result(ended, "the script", &shell.place(), FailureClass::Application, task.timeout_ms));
    if let (Ended::Exited { outputs, .. }, TaskResult::Succeeded) = (ended, &outcome.result) {
        for (name, value) in outputs {
            let secret = script.secret_outputs.iter().any(|secret| secret.trim() == name);
            let value = if secret {
                match context.resolver.seal(name, value).await {
                    Ok(sealed) => OutputValue { value: String::new(), secret, sealed: Some(sealed) },
                    Err(failure) => {
                        outcome = Outcome::failed(failure);
                        break;
                    }
                }
            } else {
                OutputValue { value: value.clone(), secret, sealed: None }
            };
            outcome.outputs.insert(name.clone(), value);
        }
    }
    (outcome.started_at, outcome.ended_at) = (started_at, now());
    outcome
}

/// The result of a task whose deciding unit ended so. `what` names the unit in messages, `class` is the class of an exit code that is
/// not 0.
#[must_use]
pub fn result(ended: &Ended, what: &str, place: &str, class: FailureClass, timeout_ms: u64) -> TaskResult {
    let failure = match ended {
        Ended::Exited { code: 0, .. } => return TaskResult::Succeeded,
        Ended::Cancelled => return TaskResult::Cancelled,
        Ended::Gone { seen } => return TaskResult::Unknown { seen: format!("{place}: {seen}") },
        Ended::Exited { code, .. } => {
            Failure::new(class, code!("COMMAND_FAILED"), format!("{what} exited with code {code} on {place}"))
                .hint("its output says why")
        }
        Ended::TimedOut => Failure::new(
            FailureClass::Timeout,
            code!("COMMAND_TIMEOUT"),
            format!("{what} did not end within {} s on {place} and was stopped", timeout_ms.div_ceil(1000)),
        )
        .hint("give the step a longer timeout, or find out what it waits for"),
        Ended::Failed(failure) => failure.clone(),
    };
    TaskResult::Failed { failure }
}
