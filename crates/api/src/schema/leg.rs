//! The legs of a stage, filtered, sorted and counted on the server; journals; logs (`ui.md` X5, X7, X9).

use async_graphql::{Enum, InputObject, SimpleObject};
use manifold_control::executions::{LegFilter as Filter, Order};
use manifold_control::model::{Problem, Status, code};

use super::execution::WorkflowExecution;
use super::scalar::{DateTime, Json};

/// Order of legs.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum LegSort {
    /// As they were asked for.
    #[default]
    Place,
    /// Failed first.
    Status,
    /// By infrastructure name.
    Name,
    /// Longest running first.
    Duration,
}

impl From<LegSort> for Order {
    fn from(sort: LegSort) -> Self {
        match sort {
            LegSort::Place => Self::Place,
            LegSort::Status => Self::Status,
            LegSort::Name => Self::Name,
            LegSort::Duration => Self::Duration,
        }
    }
}

/// Which legs.
#[derive(InputObject, Clone, Default, Debug)]
pub struct LegFilter {
    /// Inner statuses; empty: any.
    pub statuses: Option<Vec<String>>,
    /// Part of the infrastructure's name, without regard to case.
    pub infrastructure: Option<String>,
    /// Service ids; empty: any.
    pub services: Option<Vec<String>>,
}

impl LegFilter {
    /// As the use case takes it.
    ///
    /// # Errors
    /// When a status has no such name.
    pub fn read(self) -> Result<Filter, Problem> {
        let statuses = self
            .statuses
            .unwrap_or_default()
            .iter()
            .map(|name| {
                Status::parse(name).ok_or_else(|| {
                    Problem::new(code!("INPUT_UNSUPPORTED"), format!("there is no inner status {name:?}"))
                        .item(name)
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Filter {
            statuses,
            infrastructure: self.infrastructure,
            services: self.services.unwrap_or_default(),
        })
    }
}

/// How many have a status.
#[derive(SimpleObject, Clone, Debug)]
pub struct StatusCount {
    /// Inner status.
    pub status: String,
    /// How many.
    pub count: i64,
}

/// A page of legs.
#[derive(SimpleObject, Clone, Debug)]
pub struct LegPage {
    /// Legs.
    pub nodes: Vec<WorkflowExecution>,
    /// How many match.
    pub matching: i64,
    /// How many there are.
    pub total: i64,
    /// Counts of all by inner status.
    pub counts: Vec<StatusCount>,
}

/// An event of a journal.
#[derive(SimpleObject, Clone, Debug)]
pub struct ExecutionEvent {
    /// Sequence number, dense, from 1: the cursor.
    pub seq: i64,
    /// When it was decided.
    pub at: DateTime,
    /// Its kind: STEP_STARTED, LEGS_ENDED, ….
    pub kind: String,
    /// All of it.
    pub data: Json,
}

impl From<&manifold_control::model::event::Event> for ExecutionEvent {
    fn from(event: &manifold_control::model::event::Event) -> Self {
        let data = serde_json::to_value(&event.kind).unwrap_or_default();
        let kind = data.get("event").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        Self {
            seq: i64::try_from(event.seq).unwrap_or(i64::MAX),
            at: DateTime(event.at),
            kind,
            data: Json(data),
        }
    }
}

/// A page of a journal.
#[derive(SimpleObject, Clone, Debug)]
pub struct ExecutionEventPage {
    /// Events in order.
    pub nodes: Vec<ExecutionEvent>,
    /// Sequence number of the newest event there is.
    pub last_seq: i64,
    /// Whether more follow.
    pub has_more: bool,
}

/// Legs that changed, coalesced: every leg once, as it is now.
#[derive(SimpleObject, Clone, Debug)]
pub struct FleetChange {
    /// Cursor: give it as `after` to go on from here.
    pub cursor: i64,
    /// Legs that changed since.
    pub legs: Vec<WorkflowExecution>,
    /// Counts of all by inner status.
    pub counts: Vec<StatusCount>,
}

/// Says that a list of executions changed.
#[derive(SimpleObject, Clone, Debug)]
pub struct ExecutionsChange {
    /// Number of the change in this subscription.
    pub cursor: i64,
    /// Pipeline executions whose legs changed; the list as a whole when empty.
    pub parents: Vec<String>,
}

impl StatusCount {
    /// Counts as the wire has them.
    #[must_use]
    pub fn all(counts: &std::collections::BTreeMap<Status, u64>) -> Vec<Self> {
        counts
            .iter()
            .map(|(status, count)| Self {
                status: status.name().to_owned(),
                count: i64::try_from(*count).unwrap_or(i64::MAX),
            })
            .collect()
    }
}
