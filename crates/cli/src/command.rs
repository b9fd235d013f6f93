//! The commands of a client, and how each is run.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use manifold_model::unused::Offer;
use serde_json::json;

use crate::connection::Connection;
use crate::constraint::ConstraintFlags;
use crate::deploy::{self, Deployment};
use crate::error::Error;
use crate::execution::ExecutionFlags;
use crate::print::{Output, Paint, failed, out, out_json, say, say_problem};
use crate::secret::SecretFlags;
use crate::{archive, exit, explain, import, lint, shell, show, tree, watch};

/// Commands that ask a server, or need none.
#[derive(Subcommand)]
pub enum Command {
    /// Write a configuration tree (Setup/…) to the server, all of it or nothing
    Import(ImportFlags),
    /// Write the server's configuration into a folder, as Setup/…
    Export(ExportFlags),
    /// Check a configuration tree without a server
    Lint(LintFlags),
    /// Start a pipeline or a workflow
    Deploy(Box<DeployFlags>),
    /// Look at executions and steer them
    Execution(Box<ExecutionFlags>),
    /// Secrets and SSH credentials
    Secret(Box<SecretFlags>),
    /// Resource constraints: how much may be done at once in the whole account
    Constraint(Box<ConstraintFlags>),
    /// Say what an error code means and what to do
    Explain(ExplainFlags),
    /// Print the completion script of a shell
    Completion(shell::CompletionFlags),
    /// Print the manual page, or write all of them
    Man(shell::ManFlags),
}

/// Flags of `import`.
#[derive(Args, Clone, Debug)]
pub struct ImportFlags {
    /// The folder that holds Setup, or Setup itself
    dir: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

/// Flags of `export`.
#[derive(Args, Clone, Debug)]
pub struct ExportFlags {
    /// The folder to write Setup into
    dir: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

/// Flags of `lint`.
#[derive(Args, Clone, Debug)]
pub struct LintFlags {
    /// The folder that holds Setup, or Setup itself
    dir: PathBuf,
    /// How data is printed
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

/// Flags of `explain`.
#[derive(Args, Clone, Debug)]
pub struct ExplainFlags {
    /// The code, like INVALID_TOKEN
    code: String,
    /// How data is printed
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

/// Flags of `deploy`.
#[derive(Args, Clone, Debug)]
pub struct DeployFlags {
    /// Application
    application: String,
    /// Pipeline, or workflow with --workflow
    name: String,
    /// Start a workflow instead of a pipeline
    #[arg(long)]
    workflow: bool,
    /// A variable: a text, or names of entities, comma-separated where several are allowed
    #[arg(long = "var", value_name = "NAME=VALUE[,VALUE…]", value_parser = pair)]
    variables: Vec<(String, String)>,
    /// A variable, by ids of entities
    #[arg(long = "var-id", value_name = "NAME=ID[,ID…]", value_parser = pair)]
    variable_ids: Vec<(String, String)>,
    /// The build that a service gets; SOURCE:BUILD when it has several artifact sources, :BUILD when the build holds a colon
    #[arg(long = "artifact", value_name = "SERVICE=BUILD", value_parser = pair)]
    artifacts: Vec<(String, String)>,
    /// Notes that are kept with the execution
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    notes: String,
    /// Only this host; may be given several times
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Leave out hosts that have this artifact already
    #[arg(long)]
    exclude_hosts_with_same_artifact: bool,
    /// Wait for the end; the exit code tells how it went. Ctrl-C stops watching, not the deployment
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    connection: Connection,
}

/// `NAME=VALUE`; the value may hold more of `=`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// Runs a command. `root` is the whole command line, for completion and manual pages; `offer` is what this build can run, for
/// `lint`: what it cannot run is kept and said.
pub async fn run(command: Command, root: clap::Command, offer: &Offer) -> ExitCode {
    let (output, result) = match command {
        Command::Import(flags) => (flags.connection.output, import_tree(&flags).await),
        Command::Export(flags) => (flags.connection.output, export_tree(&flags).await),
        Command::Lint(flags) => (flags.output, lint::run(&flags.dir, offer, flags.output)),
        Command::Deploy(flags) => (flags.connection.output, deploy(*flags).await),
        Command::Execution(flags) => (flags.connection.output, crate::execution::run(*flags).await),
        Command::Secret(flags) => (flags.connection.output, crate::secret::run(*flags).await),
        Command::Constraint(flags) => (flags.connection.output, crate::constraint::run(*flags).await),
        Command::Explain(flags) => (flags.output, explain::run(&flags.code, flags.output)),
        Command::Completion(flags) => (Output::Text, shell::completion(&flags, root)),
        Command::Man(flags) => (Output::Text, shell::man(&flags, root)),
    };
    ended(result, output)
}

/// Runs a verb of `delegate`; the command itself is the binary's, since without a verb it runs a delegate.
pub async fn run_delegate(command: crate::DelegateCommand) -> ExitCode {
    let output = command.output();
    ended(crate::delegate::run(command).await, output)
}

fn ended(result: Result<u8, Error>, output: Output) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            failed(&error, output);
            ExitCode::from(error.exit_code())
        }
    }
}

async fn import_tree(flags: &ImportFlags) -> Result<u8, Error> {
    let client = flags.connection.client()?;
    let files = tree::read(&flags.dir)?;
    let report = import::import(&client, files).await?;
    let paint = Paint::of_stderr();
    report.warnings.iter().for_each(|warning| say_problem("warning", warning, paint));
    match flags.connection.output {
        Output::Json => out_json(&report)?,
        Output::Text => {
            out(&format!("{} documents written, {} unchanged", report.written, report.unchanged))?;
        }
    }
    Ok(0)
}

async fn export_tree(flags: &ExportFlags) -> Result<u8, Error> {
    let client = flags.connection.client()?;
    let archive = client.get("/api/setup-as-code/export", &[]).await?;
    let files = archive::unpack(archive)?;
    let done = tree::write(&flags.dir, &files)?;
    if !done.strangers.is_empty() {
        say(&format!(
            "{} files below {} are not part of the export and stay:",
            done.strangers.len(),
            flags.dir.display()
        ));
        done.strangers.iter().for_each(|path| say(&format!("  {path}")));
    }
    match flags.connection.output {
        Output::Json => out_json(&json!({
            "files": files.len(), "written": done.written, "unchanged": done.unchanged, "notInExport": done.strangers }))?,
        Output::Text => out(&format!("{} files written, {} unchanged", done.written, done.unchanged))?,
    }
    Ok(0)
}

async fn deploy(flags: DeployFlags) -> Result<u8, Error> {
    for (flag, given) in
        [("--var", &flags.variables), ("--var-id", &flags.variable_ids), ("--artifact", &flags.artifacts)]
    {
        if let Some(name) = twice(given) {
            return Err(Error::Usage(format!(
                "{flag} {name} is given twice; several values stand in one, with commas"
            )));
        }
    }
    let output = flags.connection.output;
    let client = flags.connection.client()?;
    let deployment = Deployment {
        application: flags.application,
        name: flags.name,
        workflow: flags.workflow,
        variables: flags.variables,
        variable_ids: flags.variable_ids,
        artifacts: flags.artifacts,
        notes: flags.notes,
        specific_hosts: flags.hosts,
        exclude_hosts_with_same_artifact: flags.exclude_hosts_with_same_artifact,
        continue_with_default_values: false,
    };
    let started = deploy::start(&client, &deployment).await?;
    if let Some(warning) = &started.warning {
        say(&format!("{} {warning}", Paint::of_stderr().text(crate::print::Tone::Warn, "warning:")));
    }
    if flags.watch {
        return watched(&client, &started.id, output, started.warning.as_deref()).await;
    }
    match output {
        Output::Json => out_json(&started)?,
        Output::Text => {
            out(&started.id)?;
            say(&format!("watch it with: manifold execution watch {}", shell::quoted_id(&started.id)));
        }
    }
    Ok(0)
}

fn twice(pairs: &[(String, String)]) -> Option<&str> {
    let mut seen = std::collections::BTreeSet::new();
    pairs.iter().map(|(name, _)| name.as_str()).find(|name| !seen.insert(*name))
}

/// Watches an execution; the exit code tells how it ended. Ctrl-C ends the watching only.
pub(crate) async fn watched(
    client: &crate::client::Client,
    id: &str,
    output: Output,
    warning: Option<&str>,
) -> Result<u8, Error> {
    let mut progress = watch::progress();
    let run = tokio::select! {
        run = watch::follow(client, id, progress.as_mut()) => run,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(|source| Error::Usage(format!("cannot wait for signals: {source}")))?;
            progress.finish();
            say(&format!("no longer watching; the deployment goes on. Watch it again: manifold execution watch {}", shell::quoted_id(id)));
            return Ok(exit::INTERRUPTED);
        }
    };
    progress.finish();
    let run = run?;
    match output {
        Output::Json => {
            let mut body = serde_json::to_value(&run).map_err(|error| Error::Output(error.into()))?;
            if let (Some(body), Some(warning)) = (body.as_object_mut(), warning) {
                body.insert("warning".to_owned(), json!(warning));
            }
            out_json(&body)?;
        }
        Output::Text => out(&show::table(&run, Paint::of_stdout(), crate::print::columns()))?,
    }
    Ok(if run.is_good() { 0 } else { exit::FAILED })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_divided_at_the_first_sign() {
        assert_eq!(pair("a=b=c,d"), Ok(("a".to_owned(), "b=c,d".to_owned())));
        assert_eq!(pair("a="), Ok(("a".to_owned(), String::new())));
        assert!(pair("a").is_err() && pair("=a").is_err());
        assert_eq!(twice(&[("a".to_owned(), String::new()), ("a".to_owned(), String::new())]), Some("a"));
    }
}
