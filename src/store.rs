//! `manifold store`: looks a whole store through, copies it, keeps it in a file and brings it back. On the server's side: it opens the store itself.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use manifold_engine::{Leg, PipelineRun};
use manifold_model::execution::RowState;
use manifold_model::plan::Plan;
use manifold_model::request::ExecutionType;
use manifold_store::transfer::{self, Checked, Copied, Found, Place, TransferError};
use serde_json::json;

/// Exit code of a store that is not sound.
const UNSOUND: u8 = 1;
/// Exit code of what was refused.
const REFUSED: u8 = 3;

/// Flags of `manifold store`.
#[derive(Args)]
pub struct StoreFlags {
    #[command(subcommand)]
    verb: Verb,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Output::Text, global = true)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Subcommand)]
enum Verb {
    /// Look the whole store through; servers may run on it
    Check(Where),
    /// Copy a store that no server uses into an empty one: `DIR`, `sqlite:DIR` or `postgres://…`
    Copy {
        /// Store to read
        #[arg(long, value_name = "URL")]
        from: String,
        /// Empty store to write
        #[arg(long, value_name = "URL")]
        to: String,
        /// Copy although a server holds a lease on the database: you know that it is gone
        #[arg(long)]
        force: bool,
    },
    /// Write the store and its logs into one file, while servers may run on it; the key is not in it
    Backup {
        /// File to write; it must not exist
        file: PathBuf,
        #[command(flatten)]
        at: Where,
    },
    /// Bring a store and its logs back into an empty data folder or database
    Restore {
        /// File that `backup` has written
        file: PathBuf,
        #[command(flatten)]
        at: Where,
    },
}

#[derive(Args)]
struct Where {
    /// Data folder of the server
    #[arg(long, env = "MANIFOLD_DATA", value_name = "DIR", default_value = "manifold-data")]
    data: PathBuf,
    /// PostgreSQL database of the store, when it is not in the data folder
    #[arg(long, env = "MANIFOLD_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,
}

impl Where {
    fn place(&self) -> Place {
        match &self.database_url {
            Some(url) => Place::Database(url.clone()),
            None => Place::Folder(self.data.clone()),
        }
    }

    fn logs(&self) -> PathBuf {
        self.data.join("logs")
    }
}

/// Runs the command.
pub async fn run(flags: StoreFlags) -> ExitCode {
    let done = match flags.verb {
        Verb::Check(at) => check(&at.place(), flags.output).await,
        Verb::Copy { from, to, force } => copy(&from, &to, force, flags.output).await,
        Verb::Backup { file, at } => backup(&file, &at, flags.output).await,
        Verb::Restore { file, at } => restore(&file, &at, flags.output).await,
    };
    match done {
        Ok(code) => code,
        Err(error) => refused(&error, flags.output),
    }
}

fn refused(error: &TransferError, output: Output) -> ExitCode {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        message.push_str(&format!(": {next}"));
        cause = next.source();
    }
    if output == Output::Json {
        println!("{}", json!({ "code": error.code(), "message": message }));
    }
    eprintln!("manifold: {}: {message}", error.code());
    ExitCode::from(REFUSED)
}

async fn check(place: &Place, output: Output) -> Result<ExitCode, TransferError> {
    let checked = transfer::check(place, &mut folded).await?;
    match output {
        Output::Json => println!("{}", json!(checked)),
        Output::Text => say_checked(&checked),
    }
    let sound = checked.complaints.is_empty();
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(UNSOUND) })
}

fn say_checked(checked: &Checked) {
    for complaint in &checked.complaints {
        println!("{}: {}", complaint.id, complaint.what);
    }
    if checked.left_off > 0 {
        println!("and {} more", checked.left_off);
    }
    let verdict = if checked.complaints.is_empty() { "the store is sound" } else { "the store is not sound" };
    println!("{verdict}: {} executions, {} events", checked.executions, checked.events);
}

/// Folds a journal and says where the row differs from it. What a row says of waiting is not of the journal.
fn folded(found: &Found) -> Vec<String> {
    let Some(plan) = &found.plan else { return Vec::new() };
    let plan: Arc<Plan> = match serde_json::from_slice(plan) {
        Ok(plan) => Arc::new(plan),
        Err(error) => return vec![format!("its plan cannot be read: {error}")],
    };
    let id = found.row.id.clone();
    let state = match found.row.kind {
        ExecutionType::Workflow => {
            let mut leg = Leg::new(plan, id);
            found.events.iter().for_each(|event| leg.fold(event));
            leg.row()
        }
        ExecutionType::Pipeline => {
            let mut run = PipelineRun::new(plan, id);
            found.events.iter().for_each(|event| run.fold(event));
            run.row()
        }
    };
    differences(&found.row.state, &state)
}

fn differences(row: &RowState, journal: &RowState) -> Vec<String> {
    let mut all = Vec::new();
    let mut differs = |what: &str, row: String, journal: String| {
        if row != journal {
            all.push(format!("its {what} is {row}, its journal says {journal}"));
        }
    };
    differs("status", row.status.name().to_owned(), journal.status.name().to_owned());
    differs("start", format!("{:?}", row.started_at), format!("{:?}", journal.started_at));
    differs("end", format!("{:?}", row.ended_at), format!("{:?}", journal.ended_at));
    differs("count of steps", row.steps_done.to_string(), journal.steps_done.to_string());
    all
}

async fn copy(from: &str, to: &str, force: bool, output: Output) -> Result<ExitCode, TransferError> {
    let (from, to) = (Place::parse(from), Place::parse(to));
    let mut done = |table: &Copied| {
        if output == Output::Text {
            println!("{:<20} {:>9} rows  sha256 {}", table.table, table.rows, table.hash);
        }
    };
    let copied = transfer::copy(&from, &to, force, &mut done).await?;
    match output {
        Output::Json => println!("{}", json!({ "tables": copied })),
        Output::Text => println!("{to} holds what {from} holds: {} tables are equal", copied.len()),
    }
    eprintln!(
        "the logs in the data folder and the key are not part of it: copy DIR/logs and DIR/key yourself"
    );
    Ok(ExitCode::SUCCESS)
}

async fn backup(file: &Path, at: &Where, output: Output) -> Result<ExitCode, TransferError> {
    let archived = transfer::backup(&at.place(), Some(&at.logs()), file, env!("CARGO_PKG_VERSION")).await?;
    match output {
        Output::Json => println!("{}", json!(archived)),
        Output::Text => println!("{} holds the store and its logs", file.display()),
    }
    if let Some(key) = &archived.key_id {
        eprintln!("its secrets need the key {key}, which is not in it: keep the key file apart");
    }
    Ok(ExitCode::SUCCESS)
}

async fn restore(file: &Path, at: &Where, output: Output) -> Result<ExitCode, TransferError> {
    let (archived, tables) = transfer::restore(file, &at.place(), Some(&at.logs())).await?;
    match output {
        Output::Json => println!("{}", json!({ "backup": archived, "tables": tables })),
        Output::Text => println!("{} holds the store of {}", at.place(), file.display()),
    }
    if let Some(key) = &archived.key_id {
        eprintln!(
            "its secrets need the key {key}: put it at {} or name it by --key-file",
            at.data.join("key").display()
        );
    }
    Ok(ExitCode::SUCCESS)
}
