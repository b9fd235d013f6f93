//! Commands on hosts and on the delegate (`design.md` 5): each runs in a session of its own under a private attempt folder, detached from
//! the connection that started it, so it outlives that connection, the delegate and the server, and its outcome can be looked up.
//!
//! One exec starts the command, follows its output and brings its exit code and output variables; when the connection is lost on the way
//! the same exec attaches to it again. The marker is an exclusive-create claim, so however often a unit is asked for, it starts once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use manifold_model::{Failure, FailureClass, TaskId, code};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::Context;
use crate::kubeconfig::Kubeconfig;

pub mod follow;
pub mod marker;
pub mod program;
pub mod text;

pub use marker::UnitState;
pub use program::Program;

/// Bytes of output kept per step log: 25 MB (`behaviour.md` 24.1). What a command prints beyond is discarded but for its last 2 KiB; the
/// command is not stopped by it.
pub const OUTPUT_LIMIT: u64 = 25 * 1024 * 1024;
/// Bytes of all output variables of one unit together; more is an error. A value may hold 256 KB (`behaviour.md` 24.1).
pub const VARIABLES_LIMIT: usize = 1024 * 1024;
/// Bytes of one script with its environment.
pub const SCRIPT_LIMIT: usize = 4 * 1024 * 1024;
/// How long stopping may take beyond the grace, the connection to do it included.
pub const STOP_LIMIT: Duration = Duration::from_secs(15);
/// How long looking what became of a unit may take.
pub const PROBE_LIMIT: Duration = Duration::from_secs(30);
/// How long a host that cannot be reached is asked again what became of a unit.
pub const PROBE_PATIENCE: Duration = Duration::from_secs(60);
/// Between two such questions.
const PROBE_PAUSE: Duration = Duration::from_secs(2);

/// Where attempt folders lie and how long, and what commands on the delegate have of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder of the attempt folders; `~/` is the login directory.
    pub root: String,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// Folders older than this are removed, at most hourly.
    pub keep: Duration,
    /// All folders together may take this many bytes; the oldest go first.
    pub room: u64,
    /// The delegate's own kubeconfig, as configured.
    pub kubeconfig: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            root: "~/.manifold/attempts".to_owned(),
            grace: Duration::from_secs(10),
            keep: Duration::from_secs(24 * 60 * 60),
            room: 1024 * 1024 * 1024,
            kubeconfig: None,
        }
    }
}

/// The folder of a task's attempt, and the settings that hold for it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Settings.
    pub settings: Arc<Settings>,
    /// Name of the folder below the root.
    pub folder: String,
}

impl Attempt {
    /// The folder `<task id>-<attempt>`; characters that have no place in a file name are written as `%` and their code.
    #[must_use]
    pub fn of(settings: &Arc<Settings>, task: &TaskId, attempt: u32) -> Self {
        let mut folder = String::new();
        for byte in task.as_str().bytes() {
            if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
                folder.push(char::from(byte));
            } else {
                folder.push_str(&format!("%{byte:02x}"));
            }
        }
        Self { settings: Arc::clone(settings), folder: format!("{folder}-{attempt}") }
    }
}

/// Which shell runs the script.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Language {
    /// `bash` when it is there, else `sh`.
    Bash,
    /// `sh`.
    Posix,
}

/// Where the script runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Directory {
    /// The login directory (`$HOME`); on the delegate the one it gives its commands.
    Login,
    /// The attempt folder.
    Attempt,
    /// `WINGS_RUNTIME_PATH` of the script's environment when it is there, else the attempt folder (`behaviour.md` 23).
    Runtime,
    /// This one, which must be there; a leading `~` and `$NAME`, `${NAME}` are expanded with the script's environment.
    Path(String),
}

/// One unit: a script and what it needs, all holes filled.
#[derive(Clone)]
pub struct CommandSpec {
    /// Folder of the attempt.
    pub attempt: Attempt,
    /// Name of the unit within the attempt: digits and letters only.
    pub unit: String,
    /// Name of the unit in the log.
    pub log_unit: String,
    /// The script; may hold secrets.
    pub script: Zeroizing<String>,
    /// Its language.
    pub language: Language,
    /// Where it runs.
    pub directory: Directory,
    /// Environment variables; may hold secrets. Names that are no shell names are refused ([`text::is_name`]).
    pub environment: Vec<(String, Zeroizing<String>)>,
    /// The kubeconfig that it gets; one that is written goes when the unit ends.
    pub kubeconfig: Option<Kubeconfig>,
    /// Names of variables to read back after the script.
    pub outputs: Vec<String>,
    /// Whether its exported variables hold for the later units of the attempt.
    pub keeps_environment: bool,
    /// Whether no unit comes after it, so that what is kept for later units can go.
    pub last: bool,
}

/// How a unit ended.
#[derive(Clone, PartialEq, Debug)]
pub enum Ended {
    /// By itself.
    Exited {
        /// Exit code; 128 + n for signal n.
        code: i32,
        /// Output variables that were set when the script came to its end; empty when it left early (`behaviour.md` 23).
        outputs: BTreeMap<String, String>,
        /// Whether output was discarded.
        truncated: bool,
    },
    /// It was stopped because the task was cancelled.
    Cancelled,
    /// It was stopped because the deadline passed.
    TimedOut,
    /// Nobody can say: the machine was restarted, or the process is gone without an exit code.
    Gone {
        /// What was seen.
        seen: String,
    },
    /// It could not be started or followed.
    Failed(Failure),
}

/// A way to run wrapper programs: a connection to a host, or this machine.
#[async_trait]
pub trait Shell: Send + Sync {
    /// Starts a program, connecting first when there is no connection. Bounded by its own timeout.
    async fn start(&self, program: &Program) -> Result<Box<dyn Stream>, Failure>;
    /// For messages: `host eu-1`, `this delegate`.
    fn place(&self) -> String;
}

/// A running wrapper program.
#[async_trait]
pub trait Stream: Send {
    /// The next piece; may be dropped and asked again without loss.
    async fn next(&mut self) -> Result<Piece, Failure>;
    /// Lets go of it; what it started runs on.
    async fn close(&mut self);
}

/// What a wrapper program says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// Standard output.
    Output(Bytes),
    /// Standard error.
    Report(Bytes),
    /// It has ended and said everything.
    End,
}

/// Runs a unit to its end, or attaches to it when it was started before; output goes to the log as it comes. Returns when it has ended,
/// when the task was cancelled or the deadline passed (then the unit has been stopped first).
pub async fn run(shell: &dyn Shell, spec: &CommandSpec, context: &Context, deadline: Instant) -> Ended {
    match spec_problem(spec) {
        Some(failure) => Ended::Failed(failure),
        None => follow::run(shell, spec, context, deadline).await,
    }
}

/// What is to be seen of the units of an attempt, in their order. A host that cannot be reached is asked again for [`PROBE_PATIENCE`]: the
/// network may have broken together with what makes somebody look.
pub async fn probe(
    shell: &dyn Shell,
    attempt: &Attempt,
    units: &[String],
) -> Result<Vec<UnitState>, Failure> {
    let program = Program::probe(attempt, units);
    let patience = Instant::now() + PROBE_PATIENCE;
    loop {
        match collect(shell, &program, PROBE_LIMIT).await {
            Ok(text) => return Ok(marker::read_report(&text, units)),
            Err(failure) if failure.class != FailureClass::Connectivity => return Err(failure),
            Err(failure) if Instant::now() + PROBE_PAUSE > patience => return Err(failure),
            Err(_) => tokio::time::sleep(PROBE_PAUSE).await,
        }
    }
}

/// Stops a unit: SIGTERM to its group, SIGKILL to its session after the grace. A unit that has not started can then never start.
pub async fn cancel(shell: &dyn Shell, attempt: &Attempt, unit: &str) -> Result<(), Failure> {
    let program = Program::cancel(attempt, unit);
    let text = collect(shell, &program, attempt.settings.grace + STOP_LIMIT).await?;
    if text.lines().any(|line| line == "stopped") {
        return Ok(());
    }
    Err(Failure::new(
        FailureClass::Connectivity,
        code!("COMMAND_NOT_STOPPED"),
        format!("{} did not confirm that the command was stopped", shell.place()),
    ))
}

/// Runs a short program and gives what it printed; more than 1 MiB of output is cut.
pub async fn collect(shell: &dyn Shell, program: &Program, limit: Duration) -> Result<String, Failure> {
    let mut stream = None;
    let work = async {
        let stream = stream.insert(shell.start(program).await?);
        let mut out = Vec::new();
        loop {
            match stream.next().await? {
                Piece::Output(bytes) if out.len() < VARIABLES_LIMIT => out.extend_from_slice(&bytes),
                Piece::Output(_) | Piece::Report(_) => {}
                Piece::End => return Ok(String::from_utf8_lossy(&out).into_owned()),
            }
        }
    };
    let result = tokio::time::timeout(limit, work).await;
    if let Some(mut stream) = stream {
        stream.close().await;
    }
    result.unwrap_or_else(|_| {
        Err(Failure::new(
            FailureClass::Timeout,
            code!("HOST_TOO_SLOW"),
            format!("{} did not answer within {} s", shell.place(), limit.as_secs()),
        ))
    })
}

fn spec_problem(spec: &CommandSpec) -> Option<Failure> {
    let refuse =
        |message: String| Some(Failure::new(FailureClass::Application, code!("SCRIPT_INVALID"), message));
    let names = spec.environment.iter().map(|(name, _)| name).chain(&spec.outputs);
    if let Some(name) = names.into_iter().find(|name| !text::is_name(name)) {
        return refuse(format!("{name:?} is not a name that a shell variable can have"));
    }
    let size = spec.script.len() + spec.environment.iter().map(|(_, value)| value.len()).sum::<usize>();
    if size > SCRIPT_LIMIT {
        return refuse(format!("the script and its variables have {size} bytes, more than {SCRIPT_LIMIT}"));
    }
    if spec.script.contains('\0') || spec.environment.iter().any(|(_, value)| value.contains('\0')) {
        return refuse("the script or one of its variables holds a NUL character".to_owned());
    }
    None
}
