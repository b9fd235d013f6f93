//! Logs of steps.

use async_trait::async_trait;
use manifold_model::{LogId, Millis};

use crate::authorise::{Action, Resource, authorise};
use crate::{Actor, Control, Result};

/// Longest page of log lines.
pub const LONGEST_LINES: u32 = 2_000;

/// A line of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogLine {
    /// Number, from 1.
    pub number: u64,
    /// When it came; 0 when unknown.
    pub at: Millis,
    /// Unit of the command that wrote it, maybe empty.
    pub unit: String,
    /// Text, secrets masked.
    pub text: String,
}

/// A page of a log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogPage {
    /// Lines in order.
    pub lines: Vec<LogLine>,
    /// Number to ask from next.
    pub next: u64,
    /// Lines there are so far.
    pub total: u64,
}

/// Where logs are read from.
#[async_trait]
pub trait Logs: Send + Sync + 'static {
    /// Lines from a number on.
    async fn lines(&self, log: &LogId, from: u64, limit: u32) -> Result<LogPage>;
}

impl Control {
    /// Lines of a log; a log that nobody has written to is empty.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn log_lines(&self, actor: &Actor, log: &LogId, from: u64, limit: u32) -> Result<LogPage> {
        authorise(actor, Action::Read, Resource::Account)?;
        self.logs.lines(log, from, limit.min(LONGEST_LINES)).await
    }
}
