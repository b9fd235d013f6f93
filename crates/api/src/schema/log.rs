//! Logs of steps (`ui.md` X9).

use async_graphql::SimpleObject;
use manifold_control::logs::LogPage;

use super::scalar::DateTime;

/// A log.
#[derive(SimpleObject, Clone, Debug)]
pub struct Log {
    /// Id.
    pub id: String,
    /// Lines so far.
    pub lines: i64,
    /// Bytes so far.
    pub bytes: i64,
    /// Lines dropped beyond the limit.
    pub dropped: i64,
    /// Whether nothing more is expected.
    pub closed: bool,
}

/// A line of a log.
#[derive(SimpleObject, Clone, Debug)]
pub struct LogLine {
    /// Number, from 1.
    pub number: i64,
    /// When it came.
    pub at: DateTime,
    /// Unit of the command that wrote it.
    pub unit: String,
    /// Text, secrets masked.
    pub text: String,
}

/// A page of a log.
#[derive(SimpleObject, Clone, Debug)]
pub struct LogLines {
    /// Lines in order.
    pub nodes: Vec<LogLine>,
    /// Number to ask from next.
    pub next: i64,
    /// Lines there are so far.
    pub total: i64,
    /// Lines dropped beyond the limit.
    pub dropped: i64,
    /// Whether nothing more is expected.
    pub closed: bool,
}

impl From<LogPage> for LogLines {
    fn from(page: LogPage) -> Self {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Self {
            nodes: page
                .lines
                .into_iter()
                .map(|line| LogLine {
                    number: whole(line.n),
                    at: DateTime(line.at),
                    unit: line.unit,
                    text: line.text,
                })
                .collect(),
            next: whole(page.next),
            total: whole(page.size.lines),
            dropped: whole(page.size.dropped_lines),
            closed: page.size.closed,
        }
    }
}
