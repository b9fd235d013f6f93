//! Logs and kinds as the use cases read them.

use std::sync::Arc;

use async_trait::async_trait;
use manifold_control::logs::{LogLine, LogPage, Logs};
use manifold_control::{Error, KindsOnOffer};
use manifold_model::kind::KindSpec;
use manifold_model::task::Task;
use manifold_model::{LogId, Problem, code};
use manifold_store::logs::{LogKey, LogStore};

use crate::Delegates;

/// The kinds on offer now: those the engine plays and those of connected delegates.
pub struct Offer(pub Arc<Delegates>);

impl KindsOnOffer for Offer {
    fn kinds(&self) -> Vec<KindSpec> {
        let mut kinds = manifold_engine::kinds();
        for kind in self.0.kinds() {
            if !kinds.iter().any(|known| known.name == kind.name) {
                kinds.push(kind);
            }
        }
        kinds
    }
}

/// Logs of steps, by their ids alone.
pub struct StoredLogs(pub Arc<LogStore>);

#[async_trait]
impl Logs for StoredLogs {
    async fn lines(&self, log: &LogId, from: u64, limit: u32) -> manifold_control::Result<LogPage> {
        let key = LogKey { execution: Task::execution_of_log(log), log: log.clone() };
        let lines = match limit {
            0 => Vec::new(),
            limit => self.0.lines(&key, from, limit).await.map_err(unreadable)?,
        };
        let total = self.0.size(&key).await.map_err(unreadable)?.lines;
        let next = lines.last().map_or(from.max(1), |line| line.n + 1);
        let lines = lines
            .into_iter()
            .map(|line| LogLine { number: line.n, at: line.at, unit: line.unit, text: line.text })
            .collect();
        Ok(LogPage { lines, next, total })
    }
}

fn unreadable(error: manifold_store::logs::LogError) -> Error {
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    Error::unavailable(Problem::new(code!("LOG_UNREADABLE"), error.to_string()).detail(cause))
}
