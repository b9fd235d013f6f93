//! The units of a command on one host, one after the other on one connection.

use std::collections::BTreeMap;
use std::time::Instant as Clock;

use futures::stream::{self, StreamExt};
use manifold_driver::command::{self, Attempt, CommandSpec, Directory, Ended, Language, UnitState};
use manifold_driver::script::{cancellable, deadline, environment, fill, result};
use manifold_driver::{Context, Found};
use manifold_model::task::{
    ArtifactFile, CommandTask, FileContent, FileSource, Outcome, Task, TaskResult, Unit, UnitAction,
    UnitStatus,
};
use manifold_model::{Failure, FailureClass, Rendered, code};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::SshDriver;
use crate::artifact;
use crate::host::Host;
use crate::transfer::{Put, put, sha256};

/// Bytes in flight that one file takes: the window of its channel.
const FILE_IN_FLIGHT: usize = 2 * 1024 * 1024;

/// What all units of a command share.
struct Run<'a> {
    driver: &'a SshDriver,
    host: Host,
    attempt: Attempt,
    command: &'a CommandTask,
    environment: Vec<(String, Zeroizing<String>)>,
    context: &'a Context,
    deadline: Instant,
}

/// Does the units until one fails.
pub(crate) async fn perform(
    driver: &SshDriver,
    task: &Task,
    command: &CommandTask,
    context: &Context,
) -> Outcome {
    let deadline = deadline(task);
    let mut statuses: Vec<UnitStatus> = command.units.iter().map(queued).collect();
    let first = command.units.first().map_or(manifold_driver::script::LOG_UNIT, |unit| unit.name.as_str());
    let host = driver.host(&command.host, context, programs(command));
    let place = command::Shell::place(&host);
    let prepared = cancellable(context, deadline, environment(context, &command.environment, first)).await;
    let environment = match prepared {
        Ok(Ok(environment)) => environment,
        Ok(Err(failure)) => return ended_with(Ended::Failed(failure), statuses, task, &place),
        Err(ended) => return ended_with(ended, statuses, task, &place),
    };
    let attempt = driver.attempt(task);
    let run = Run { driver, host, attempt, command, environment, context, deadline };
    let mut result = TaskResult::Succeeded;
    for (number, (unit, status)) in command.units.iter().zip(&mut statuses).enumerate() {
        let began = Clock::now();
        let ended = run.unit(number, unit).await;
        let class = match &unit.action {
            UnitAction::Exec { failure, .. } => *failure,
            _ => FailureClass::Application,
        };
        result = manifold_driver::script::result(&ended, &unit.name, &place, class, task.timeout_ms);
        status.duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let (Ended::Exited { code, .. }, UnitAction::Exec { .. }) = (&ended, &unit.action) {
            status.exit_code = Some(*code);
        }
        let good = result == TaskResult::Succeeded;
        status.status = if good { "SUCCESS" } else { "FAILURE" }.to_owned();
        if !good {
            break;
        }
    }
    run.host.leave().await;
    let mut outcome = Outcome::of(result);
    outcome.units = statuses;
    outcome
}

fn queued(unit: &Unit) -> UnitStatus {
    UnitStatus { name: unit.name.clone(), status: "QUEUED".to_owned(), exit_code: None, duration_ms: 0 }
}

fn ended_with(ended: Ended, units: Vec<UnitStatus>, task: &Task, place: &str) -> Outcome {
    let mut outcome =
        Outcome::of(result(&ended, "the command", place, FailureClass::Application, task.timeout_ms));
    outcome.units = units;
    outcome
}

/// How many programs the units are on the host.
fn programs(command: &CommandTask) -> usize {
    let of = |unit: &Unit| match &unit.action {
        UnitAction::CopyFiles { files, .. } => files.len(),
        UnitAction::Exec { .. } | UnitAction::CopyArtifact { .. } => 1,
    };
    command.units.iter().map(of).sum()
}

/// The number of the last unit that is a script, after which nothing needs what earlier ones exported.
fn is_last(command: &CommandTask, number: usize) -> bool {
    number + 1 == command.units.len()
}

/// The scripts after a unit.
fn scripts_after(command: &CommandTask, number: usize) -> Vec<String> {
    let units = command.units.iter().enumerate().skip(number + 1);
    let scripts = units.filter(|(_, unit)| matches!(unit.action, UnitAction::Exec { .. }));
    scripts.map(|(number, _)| number.to_string()).collect()
}

impl Run<'_> {
    async fn unit(&self, number: usize, unit: &Unit) -> Ended {
        match &unit.action {
            UnitAction::Exec { script, directory, keeps_environment, .. } => {
                let prepared = self.spec(number, unit, script, directory, *keeps_environment);
                match cancellable(self.context, self.deadline, prepared).await {
                    Ok(Ok(spec)) => command::run(&self.host, &spec, self.context, self.deadline).await,
                    Ok(Err(failure)) => Ended::Failed(failure),
                    Err(ended) => ended,
                }
            }
            UnitAction::CopyArtifact { directory } => {
                let copied =
                    cancellable(self.context, self.deadline, self.copy_artifact(number, unit, directory))
                        .await;
                copied.map_or_else(|ended| ended, done)
            }
            UnitAction::CopyFiles { directory, files } => {
                let copied =
                    cancellable(self.context, self.deadline, self.copy_files(number, unit, directory, files))
                        .await;
                copied.map_or_else(|ended| ended, done)
            }
        }
    }

    async fn spec(
        &self,
        number: usize,
        unit: &Unit,
        script: &Rendered,
        directory: &Rendered,
        keeps_environment: bool,
    ) -> Result<CommandSpec, Failure> {
        let directory = fill(self.context, directory).await?.text;
        Ok(CommandSpec {
            attempt: self.attempt.clone(),
            unit: number.to_string(),
            log_unit: unit.name.clone(),
            script: Zeroizing::new(fill(self.context, script).await?.text),
            language: Language::Bash,
            directory: match directory.trim() {
                "" => Directory::Login,
                path => Directory::Path(path.to_owned()),
            },
            environment: self.environment.clone(),
            kubeconfig: None,
            outputs: Vec::new(),
            keeps_environment,
            last: is_last(self.command, number),
        })
    }

    async fn copy_artifact(&self, number: usize, unit: &Unit, directory: &Rendered) -> Result<(), Failure> {
        let Some(file) = &self.command.artifact else {
            let message = format!("{} copies an artifact, and the step has none", unit.name);
            return Err(Failure::new(FailureClass::Application, code!("ARTIFACT_MISSING"), message)
                .hint("choose a build of the service's artifact source when you start the deployment"));
        };
        let directory = fill(self.context, directory).await?.text;
        let _flight = self.flight().await?;
        let opened = artifact::open(file, &self.driver.dialer, self.context.resolver.as_ref()).await?;
        self.note(unit, &copying(file, &opened)).await;
        let stored = put(
            &self.host,
            Put {
                attempt: &self.attempt,
                directory: &directory,
                environment: &self.environment,
                later: &scripts_after(self.command, number),
                path: &opened.name,
                content: opened.content,
                size: opened.size,
                sha256: opened.sha256,
                md5: opened.md5,
            },
        )
        .await?;
        let line = match stored {
            Some(stored) => format!("{}: {} bytes, SHA-256 {}", stored.path, stored.size, stored.sha256),
            None => "it was copied before, and later units have begun".to_owned(),
        };
        self.note(unit, &line).await;
        Ok(())
    }

    async fn copy_files(
        &self,
        number: usize,
        unit: &Unit,
        directory: &Rendered,
        files: &[FileContent],
    ) -> Result<(), Failure> {
        let directory = fill(self.context, directory).await?.text;
        let later = scripts_after(self.command, number);
        for file in files {
            let _flight = self.flight().await?;
            let content = self.context.resolver.file(&file.content).await?;
            let secret = matches!(file.content, FileSource::Secret { .. });
            let digest = sha256(&content);
            let size = content.len() as u64;
            let stored = put(
                &self.host,
                Put {
                    attempt: &self.attempt,
                    directory: &directory,
                    environment: &self.environment,
                    later: &later,
                    path: &file.path,
                    content: stream::iter([Ok(content)]).boxed(),
                    size: Some(size),
                    sha256: Some(digest),
                    md5: None,
                },
            )
            .await?;
            // The digest of a short secret is as good as the secret.
            let line = match stored {
                None => format!("{}: copied before, and later units have begun", file.path),
                Some(stored) if secret => format!("{}: {} bytes", stored.path, stored.size),
                Some(stored) => format!("{}: {} bytes, SHA-256 {}", stored.path, stored.size, stored.sha256),
            };
            self.note(unit, &line).await;
        }
        Ok(())
    }

    /// A share of the bytes that may be on their way at once.
    async fn flight(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Failure> {
        self.driver.flight.acquire().await.map_err(|_| {
            Failure::new(FailureClass::Delegate, code!("DELEGATE_STOPPING"), "the delegate is stopping")
        })
    }

    async fn note(&self, unit: &Unit, line: &str) {
        self.context.log.note(&unit.name, line).await;
    }
}

/// Files that may be on their way at once.
pub(crate) fn files_in_flight(bytes: usize) -> usize {
    (bytes / FILE_IN_FLIGHT).max(1)
}

fn copying(file: &ArtifactFile, opened: &artifact::Opened) -> String {
    let size = opened.size.map_or_else(|| "size not known".to_owned(), |size| format!("{size} bytes"));
    format!("copying {} (build {}, {size})", opened.name, file.artifact.build_no)
}

fn done(copied: Result<(), Failure>) -> Ended {
    match copied {
        Ok(()) => Ended::Exited { code: 0, outputs: BTreeMap::new(), truncated: false },
        Err(failure) => Ended::Failed(failure),
    }
}

/// Looks how far the units have come. What copies is done again: it is idempotent.
pub(crate) async fn probe(
    driver: &SshDriver,
    task: &Task,
    command: &CommandTask,
    context: &Context,
) -> Found {
    let host = driver.host(&command.host, context, 1);
    let attempt = driver.attempt(task);
    let scripts = scripts(command);
    let states = match command::probe(&host, &attempt, &scripts).await {
        Ok(states) => states,
        Err(failure) => return Found::Unknown { seen: format!("cannot look: {}", failure.message) },
    };
    host.leave().await;
    if let Some(seen) = states.iter().find_map(|state| match state {
        UnitState::Unknown(seen) => Some(seen.clone()),
        _ => None,
    }) {
        return Found::Unknown { seen: format!("host {}: {seen}", command.host.host) };
    }
    if states.iter().all(|state| *state == UnitState::NotStarted) {
        return Found::NotStarted;
    }
    let failed = states.iter().any(|state| matches!(state, UnitState::Ended(code) if *code != 0));
    let all = states.iter().all(|state| matches!(state, UnitState::Ended(_)));
    let ends_with_script =
        command.units.last().is_some_and(|unit| matches!(unit.action, UnitAction::Exec { .. }));
    if failed || (all && ends_with_script) {
        return Found::Ended(Box::new(looked_up(task, command, &scripts, &states)));
    }
    Found::Running
}

/// Names of the units that are scripts and leave marks.
fn scripts(command: &CommandTask) -> Vec<String> {
    let units = command.units.iter().enumerate();
    let scripts = units.filter(|(_, unit)| matches!(unit.action, UnitAction::Exec { .. }));
    scripts.map(|(number, _)| number.to_string()).collect()
}

/// Stops the unit that runs.
///
/// # Errors
/// The host cannot be asked, or nobody confirmed that the unit was stopped.
pub(crate) async fn stop(
    driver: &SshDriver,
    task: &Task,
    command: &CommandTask,
    context: &Context,
) -> Result<(), Failure> {
    let host = driver.host(&command.host, context, 1);
    let attempt = driver.attempt(task);
    let scripts = scripts(command);
    let stopped = async {
        let states = command::probe(&host, &attempt, &scripts).await?;
        for (unit, _) in scripts.iter().zip(states).filter(|(_, state)| *state == UnitState::Running) {
            command::cancel(&host, &attempt, unit).await?;
        }
        Ok(())
    }
    .await;
    host.leave().await;
    stopped
}

/// The outcome that the marks tell. How long the units took is not known any more.
fn looked_up(task: &Task, command: &CommandTask, scripts: &[String], states: &[UnitState]) -> Outcome {
    let mut statuses: Vec<UnitStatus> = command.units.iter().map(queued).collect();
    let code_of = |number: usize| {
        let at = scripts.iter().position(|script| *script == number.to_string())?;
        match states.get(at) {
            Some(UnitState::Ended(code)) => Some(*code),
            _ => None,
        }
    };
    let place = format!("host {}", command.host.host);
    for (number, (unit, status)) in command.units.iter().zip(&mut statuses).enumerate() {
        let code = code_of(number);
        status.exit_code = code;
        let good = code.unwrap_or(0) == 0;
        status.status = if good { "SUCCESS" } else { "FAILURE" }.to_owned();
        if let (Some(code), UnitAction::Exec { failure, .. }) = (code, &unit.action)
            && code != 0
        {
            let ended = Ended::Exited { code, outputs: BTreeMap::new(), truncated: false };
            let result = result(&ended, &unit.name, &place, *failure, task.timeout_ms);
            return Outcome { units: statuses, ..Outcome::of(result) };
        }
    }
    Outcome { units: statuses, ..Outcome::succeeded() }
}
