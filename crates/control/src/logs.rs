//! Logs of steps. A log's public name is `<execution>.<log>`: it says whose it is, so that rights and retention can be looked up.

use manifold_model::{ExecutionId, LogId, Problem, code};
pub use manifold_store::logs::{Line, LogKey, LogSize};

use crate::{Actor, Control, Error, Result};

/// Longest page of log lines.
pub const LONGEST_LINES: u32 = 2_000;
/// Longest id of a log, characters.
const LONGEST_ID: usize = 64;

/// A page of a log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogPage {
    /// Lines in order; numbers count from 1.
    pub lines: Vec<Line>,
    /// Number to ask from next.
    pub next: u64,
    /// The log as a whole.
    pub size: LogSize,
}

/// The public name of a log.
#[must_use]
pub fn public_name(execution: &ExecutionId, log: &LogId) -> String {
    format!("{execution}.{log}")
}

/// Reads the public name of a log.
///
/// # Errors
/// When it has another form.
pub fn key_of(name: &str) -> Result<LogKey> {
    let good = |part: &str| {
        !part.is_empty()
            && part.len() <= LONGEST_ID
            && part.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter))
    };
    match name.split_once('.') {
        Some((execution, log)) if good(log) => {
            Ok(LogKey { execution: Some(ExecutionId::from(execution)), log: LogId::from(log) })
        }
        _ => Err(Error::refused(
            Problem::new(code!("LOG_UNKNOWN"), "this is no name of a log")
                .item(name.chars().take(LONGEST_ID).collect::<String>())
                .hint("take it from `steps { tasks { logId } }` of an execution"),
        )),
    }
}

impl Control {
    /// Lines of a log from a number on, from 1; a log that nobody has written to is empty.
    ///
    /// # Errors
    /// When its execution does not exist or it cannot be read.
    pub async fn log_lines(&self, actor: &Actor, key: &LogKey, from: u64, limit: u32) -> Result<LogPage> {
        // Only ids of executions that exist reach the file system.
        let row = match &key.execution {
            Some(execution) => self.execution(actor, execution).await?,
            None => return Err(Error::not_found("log does not exist")),
        };
        let unreadable = |error: manifold_store::logs::LogError| {
            tracing::error!(%error, "a log cannot be read");
            Error::unavailable(Problem::new(code!("LOG_UNREADABLE"), "the log cannot be read now"))
        };
        // The size first: lines that come in between are then read by the next page instead of being missed.
        let mut size = self.logs.size(key).await.map_err(unreadable)?;
        // A log without a line has no file that could say so.
        size.closed |= size.lines == 0 && row.state.status.is_final();
        let lines = match limit.min(LONGEST_LINES) {
            0 => Vec::new(),
            limit => self.logs.lines(key, from.max(1), limit).await.map_err(unreadable)?,
        };
        let next = lines.last().map_or(from.max(1), |line| line.n + 1);
        Ok(LogPage { lines, next, size })
    }

    /// Hints which logs got lines.
    #[must_use]
    pub fn log_hints(&self) -> tokio::sync::broadcast::Receiver<manifold_store::Hint> {
        self.logs.hints()
    }
}
