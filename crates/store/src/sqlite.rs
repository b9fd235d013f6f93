//! The home inside the binary: SQLite, one writer thread with group commit, a few readers (`design.md` 4, `libraries.md` 2.3).

mod barriers;
mod calls;
mod catalog;
mod constraints;
mod delegates;
mod executions;
mod gauges;
mod history;
mod image;
mod inbox;
mod journal;
mod leases;
mod legs;
mod lists;
mod locks;
mod opening;
mod prune;
mod readers;
mod records;
mod rows;
mod secrets;
mod tasks;
mod timers;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::broadcast;

pub use image::{Census, Image};
pub use opening::OpenError;
pub(crate) use opening::{FolderLock, look, newest_schema, open};

use crate::clock::Clock;
use crate::values::{count, from_json, int, misuse, to_json};
use crate::{Hint, Result, StoreError};

/// Hints kept for a slow receiver; older ones are lost, and a poll finds what they said.
const HINTS: usize = 16_384;
/// Statements kept prepared per connection; the store says fewer.
const STATEMENTS: usize = 256;
/// How long a connection waits for another one's lock; only a checkpoint or a backup ever holds one.
const BUSY: Duration = Duration::from_secs(10);

/// The store in one SQLite file.
pub struct SqliteStore {
    writer: writer::Writer,
    readers: readers::Readers,
    hints: broadcast::Sender<Hint>,
    clock: Arc<dyn Clock>,
    /// Where the database lies; `None` in memory.
    path: Option<PathBuf>,
    /// Held while the store is open; the last field, so that it is let go after the connections are closed.
    _lock: Option<opening::FolderLock>,
}

impl SqliteStore {
    /// Opens or creates the database at `path` (`DIR/manifold.db`), bringing an older schema up to date.
    ///
    /// # Errors
    /// Another process has the folder open (`DIR/lock`), a newer Manifold wrote the database, it is damaged, or the file cannot be used.
    pub async fn open(path: &Path, clock: Arc<dyn Clock>) -> std::result::Result<Self, OpenError> {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || {
            let (lock, db) = opening::open(&path)?;
            let (hints, _) = broadcast::channel(HINTS);
            let readers = readers::Readers::open(&path)
                .map_err(|error| OpenError::Unusable { path: path.clone(), cause: Box::new(error) })?;
            let writer = writer::Writer::start(db, clock.clone(), hints.clone())
                .map_err(|error| OpenError::Unusable { path: path.clone(), cause: Box::new(error) })?;
            Ok(Self { writer, readers, hints, clock, path: Some(path), _lock: Some(lock) })
        })
        .await
        .map_err(|error| OpenError::Stopped(Box::new(error)))?
    }

    /// Moves the write-ahead log into the database and empties it; a chore. Returns how many pages stay because a reader needs them.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn fold_write_ahead_log(&self) -> Result<u64> {
        self.readers
            .outside(|db| {
                let (log, moved) = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                    Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
                })?;
                Ok(count(log.saturating_sub(moved)))
            })
            .await
    }

    /// Writes a copy of the database, consistent as of now, to a file that does not exist yet.
    ///
    /// # Errors
    /// The file exists or cannot be written.
    pub async fn backup(&self, to: &Path) -> Result<()> {
        let Some(to) = to.to_str().map(str::to_owned) else {
            return Err(StoreError::Broken { action: "back up", cause: "the path is not UTF-8".into() });
        };
        let Some(path) = self.path.clone() else {
            return Err(StoreError::Broken { action: "back up", cause: "the database is in memory".into() });
        };
        tokio::task::spawn_blocking(move || {
            // A connection of its own: the readers may not write, not even to another file.
            let db = Connection::open(path)?;
            prepare_connection(&db)?;
            db.execute("VACUUM INTO ?1", [&to]).map_err(failed("back up"))?;
            opening::private(Path::new(&to))
                .map_err(|error| StoreError::Broken { action: "back up", cause: Box::new(error) })
        })
        .await
        .map_err(|error| StoreError::Broken { action: "back up", cause: Box::new(error) })?
    }

    /// Looks through the whole database for damage; takes time with its size.
    ///
    /// # Errors
    /// What is damaged.
    pub async fn check(&self) -> Result<()> {
        self.readers
            .read(|db| {
                let found: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
                if found == "ok" {
                    return Ok(());
                }
                Err(StoreError::Broken { action: "vouch for the database", cause: found.into() })
            })
            .await
    }
}

/// Settings that every connection has.
fn prepare_connection(db: &Connection) -> rusqlite::Result<()> {
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.busy_timeout(BUSY)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(())
}

/// Runs a statement that has neither parameters nor rows.
fn run_sql(db: &Connection, sql: &str) -> rusqlite::Result<()> {
    db.prepare_cached(sql)?.execute([]).map(drop)
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Broken { action: "use the database", cause: Box::new(error) }
    }
}

/// Turns a database error into one that says what was tried.
fn failed(action: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |error| StoreError::Broken { action, cause: Box::new(error) }
}
