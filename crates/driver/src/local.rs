//! The wrapper on the delegate's own machine.

use std::process::Stdio;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use manifold_model::task::Task;
use manifold_model::{Failure, FailureClass, code};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::Context;
use crate::command::{self, Attempt, CommandSpec, Ended, Piece, Program, Settings, Shell, Stream, UnitState};

/// Bytes read at once from a command's output.
const CHUNK: usize = 32 * 1024;
/// Variables of the delegate's own environment that its commands see; all others stay with the delegate, for they may hold secrets.
const INHERITED: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SHELL"];

/// Runs commands on this machine.
#[derive(Clone)]
pub struct Runner {
    settings: Arc<Settings>,
}

impl Runner {
    /// A runner with its attempt folders at a root.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings: Arc::new(settings) }
    }

    /// The folder of a task's attempt.
    #[must_use]
    pub fn attempt(&self, task: &Task) -> Attempt {
        Attempt::of(&self.settings, &task.id, task.attempt)
    }

    /// Runs a unit to its end or attaches to it; see [`command::run`].
    pub async fn run(&self, spec: &CommandSpec, context: &Context, deadline: Instant) -> Ended {
        command::run(self, spec, context, deadline).await
    }

    /// What is to be seen of a unit.
    pub async fn probe(&self, attempt: &Attempt, unit: &str) -> Result<UnitState, Failure> {
        let states = command::probe(self, attempt, &[unit.to_owned()]).await?;
        Ok(states.into_iter().next().unwrap_or(UnitState::NotStarted))
    }

    /// Stops a unit; see [`command::cancel`].
    pub async fn cancel(&self, attempt: &Attempt, unit: &str) -> Result<(), Failure> {
        command::cancel(self, attempt, unit).await
    }
}

#[async_trait]
impl Shell for Runner {
    async fn start(&self, program: &Program) -> Result<Box<dyn Stream>, Failure> {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(&program.text).arg("manifold").args(&program.arguments).env_clear();
        for name in INHERITED {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        // A group of its own: a Ctrl-C at the delegate's terminal is not for it.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            let message = format!("cannot start /bin/sh: {error}");
            Failure::new(FailureClass::Delegate, code!("LOCAL_SHELL"), message)
        })?;
        let (Some(mut stdin), Some(out), Some(err)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            let message = "the shell has no pipes";
            return Err(Failure::new(FailureClass::Delegate, code!("LOCAL_SHELL"), message));
        };
        let input = program.stdin.clone();
        // Written beside the reading, or the two could wait for each other; the program sees input that was cut by its missing end.
        let feeding = tokio::spawn(async move { stdin.write_all(&input).await });
        Ok(Box::new(LocalStream { child, out: Some(out), err: Some(err), feeding }))
    }

    fn place(&self) -> String {
        "this delegate".to_owned()
    }
}

struct LocalStream {
    child: Child,
    out: Option<ChildStdout>,
    err: Option<ChildStderr>,
    feeding: JoinHandle<std::io::Result<()>>,
}

/// Reads from a pipe until its end, which is `None`; a pipe that is closed never answers.
async fn read<R: AsyncReadExt + Unpin>(pipe: &mut Option<R>) -> std::io::Result<Option<Bytes>> {
    let Some(open) = pipe else { return std::future::pending().await };
    let mut buffer = bytes::BytesMut::with_capacity(CHUNK);
    if open.read_buf(&mut buffer).await? == 0 {
        *pipe = None;
        return Ok(None);
    }
    Ok(Some(buffer.freeze()))
}

#[async_trait]
impl Stream for LocalStream {
    async fn next(&mut self) -> Result<Piece, Failure> {
        let lost = |error: std::io::Error| {
            let message = format!("cannot read what the command says: {error}");
            Failure::new(FailureClass::Delegate, code!("LOCAL_SHELL"), message)
        };
        while self.out.is_some() || self.err.is_some() {
            let piece = tokio::select! {
                out = read(&mut self.out) => out.map_err(lost)?.map(Piece::Output),
                err = read(&mut self.err) => err.map_err(lost)?.map(Piece::Report),
            };
            if let Some(piece) = piece {
                return Ok(piece);
            }
        }
        self.child.wait().await.map_err(lost)?;
        Ok(Piece::End)
    }

    async fn close(&mut self) {
        self.feeding.abort();
        // Kills the wrapper only: the command has a session of its own.
        if let Err(error) = self.child.start_kill() {
            tracing::debug!(%error, "the wrapper had ended");
        }
        let _ = self.child.wait().await;
    }
}

impl Drop for LocalStream {
    fn drop(&mut self) {
        self.feeding.abort();
    }
}
