//! A database in memory that outlives the stores opened on it, for simulation: whoever makes a call runs it, so that one thread with one
//! seed gives one course of events. A crash drops the store and opens another one over the same image.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::broadcast;

use super::{HINTS, OpenError, SqliteStore, count, opening, readers, writer};
use crate::clock::Clock;
use crate::{Hint, Result};

/// What was committed. Clones are the same image.
#[derive(Clone)]
pub struct Image {
    db: Arc<Mutex<Connection>>,
    hints: broadcast::Sender<Hint>,
}

/// Rows that only unfinished work leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Census {
    /// Locks held or waited for.
    pub locks: u64,
    /// Permits held or waited for.
    pub permits: u64,
    /// Timers set.
    pub timers: u64,
    /// Tasks of executions, queued or leased.
    pub tasks: u64,
    /// Items in inboxes.
    pub inbox: u64,
    /// Legs' ends that their parents have not taken in.
    pub completions: u64,
}

impl Image {
    /// An empty database with the newest schema.
    ///
    /// # Errors
    /// The schema cannot be made.
    pub fn new() -> std::result::Result<Self, OpenError> {
        let (hints, _) = broadcast::channel(HINTS);
        Ok(Self { db: Arc::new(Mutex::new(opening::in_memory()?)), hints })
    }

    /// A store on this image. Several at once are as several servers on one database: they share the image, the hints, and nothing else.
    #[must_use]
    pub fn open(&self, clock: Arc<dyn Clock>) -> SqliteStore {
        SqliteStore {
            writer: writer::Writer::inline(Arc::clone(&self.db), Arc::clone(&clock), self.hints.clone()),
            readers: readers::Readers::Inline(Arc::clone(&self.db)),
            hints: self.hints.clone(),
            clock,
            path: None,
            _lock: None,
        }
    }

    /// Counts what only unfinished work leaves.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn census(&self) -> Result<Census> {
        let db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = |sql: &str| -> Result<u64> { Ok(count(db.query_row(sql, [], |row| row.get(0))?)) };
        Ok(Census {
            locks: rows("SELECT count(*) FROM locks")?,
            permits: rows("SELECT count(*) FROM permits")?,
            timers: rows("SELECT count(*) FROM timers")?,
            tasks: rows("SELECT count(*) FROM tasks WHERE execution IS NOT NULL")?,
            inbox: rows("SELECT count(*) FROM inbox")?,
            completions: rows("SELECT count(*) FROM completions")?,
        })
    }

    /// Whether a lease is held.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn holds(&self, lease: &crate::Lease) -> Result<bool> {
        let db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held = db.prepare_cached("SELECT 1 FROM leases WHERE holder = ?1 AND fence = ?2")?;
        Ok(held.exists(rusqlite::params![lease.holder, super::int(lease.fence)])?)
    }
}
