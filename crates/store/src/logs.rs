//! Step logs: lines with time and unit, as zstd frames in one file a log, never in the journal (`design.md` 9). Bounded by
//! `behaviour.md` 13.5: what goes over 25 MB is dropped and counted, the last line is kept. Values were masked before they came here.
//!
//! Appended lines can be read at once; [`LogStore::flush`] writes them to their files, from where they survive a killed process.

mod file;
mod frame;
mod open;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use manifold_model::{ExecutionId, LogId, Millis};
use serde::Serialize;
use tokio::sync::broadcast;

use crate::Hint;
use open::OpenLog;

/// Text bytes kept of one log (`behaviour.md` 13.5).
pub const LOG_LIMIT: u64 = 25 * 1024 * 1024;
/// Lines kept of one log, so that empty lines have a limit too.
pub const LINES_LIMIT: u64 = 2_000_000;
/// A longer line is cut into several.
pub const LINE_LIMIT: usize = 64 * 1024;
/// Bytes kept of the last line when lines were dropped (`behaviour.md` 13.5).
pub const LAST_LINE_LIMIT: usize = 10 * 1024;
/// Lines that one read returns at most.
pub const READ_LIMIT: u32 = 10_000;
/// Unwritten bytes at which a log is written without waiting for a flush.
const FRAME: usize = 64 * 1024;
/// Unwritten bytes of all logs together at which appending writes at once.
const UNWRITTEN: usize = 8 * 1024 * 1024;
/// Logs whose state is held in memory; the state of others is read from their files.
const OPEN: usize = 4096;
/// Logs that were closed without a line and are remembered as such. One that is forgotten counts as closed once its execution has ended.
const SILENT: usize = 4096;
/// Hints kept for a slow receiver.
const HINTS: usize = 4096;

/// Names a log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LogKey {
    /// The execution it belongs to; `None` for tasks without one.
    pub execution: Option<ExecutionId>,
    /// The log.
    pub log: LogId,
}

/// One line. As JSON it is a line of the NDJSON stream.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Line {
    /// Number, from 1.
    pub n: u64,
    /// When it came.
    pub at: Millis,
    /// Unit of the command (section); empty outside units.
    pub unit: String,
    /// Text without its line end.
    pub text: String,
}

/// What is known of a log as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub struct LogSize {
    /// Lines kept.
    pub lines: u64,
    /// Bytes of text kept, a line end counted for each line.
    pub bytes: u64,
    /// Lines dropped beyond the limit.
    pub dropped_lines: u64,
    /// Bytes dropped beyond the limit.
    pub dropped_bytes: u64,
    /// Whether nothing more is expected.
    pub closed: bool,
}

/// Why a log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be used.
    #[error("the log {} cannot be used", path.display())]
    File {
        /// File or folder.
        path: PathBuf,
        /// Cause.
        #[source]
        cause: io::Error,
    },
    /// The reading thread was stopped.
    #[error("reading a log was interrupted")]
    Stopped(#[source] tokio::task::JoinError),
}

/// Result of an operation on logs.
pub type Result<T> = std::result::Result<T, LogError>;

/// All step logs of a server.
#[derive(Clone)]
pub struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    /// Whether whoever asks does the work itself instead of a thread that may block.
    inline: bool,
    open: Mutex<HashMap<LogKey, Arc<Mutex<OpenLog>>>>,
    /// Logs that were closed without a line: they get no file.
    silent: Mutex<HashSet<LogKey>>,
    hints: broadcast::Sender<Hint>,
}

impl LogStore {
    /// Logs in this folder (`DIR/logs`), which is made if need be. Blocks on the file system.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::new(folder, false)
    }

    /// As [`LogStore::open`], but every call does its work itself: for simulation, where threads of their own would be a source of chance.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn inline(folder: &Path) -> Result<Self> {
        Self::new(folder, true)
    }

    fn new(folder: &Path, inline: bool) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|cause| LogError::File { path: folder.to_owned(), cause })?;
        let (hints, _) = broadcast::channel(HINTS);
        let (open, silent) = (Mutex::default(), Mutex::default());
        Ok(Self { shared: Arc::new(Shared { folder: folder.to_owned(), inline, open, silent, hints }) })
    }

    /// Hints which logs got lines, from now on ([`Hint::Log`]); some may be lost.
    #[must_use]
    pub fn hints(&self) -> broadcast::Receiver<Hint> {
        self.shared.hints.subscribe()
    }

    /// Appends output of a unit; it need not end with a line. Mostly a copy in memory; writes when much has come.
    ///
    /// # Errors
    /// The file cannot be written; the lines stay in memory for the next try, up to 2 MiB.
    pub fn append(&self, key: &LogKey, unit: &str, at: Millis, bytes: &[u8]) -> Result<()> {
        let log = self.shared.log(key)?;
        let mut state = lock(&log);
        let before = state.lines();
        let mut written = Ok(());
        for part in bytes.chunks(FRAME) {
            state.append(unit, at, part);
            if state.unwritten() >= FRAME || open::unwritten_by_all() >= UNWRITTEN {
                written = state.write();
            }
        }
        let grown = state.lines() > before;
        drop(state);
        if grown {
            // No receiver is no error: hints may be lost.
            let _ = self.shared.hints.send(Hint::Log(key.log.clone()));
        }
        written
    }

    /// Begins a log anew: what it holds is dropped. A task that is taken up again after a crash tells its output from the start.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn restart(&self, key: &LogKey) -> Result<()> {
        lock(&self.shared.open).remove(key);
        let path = file::path_of(&self.shared.folder, key);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|cause| LogError::File { path, cause }),
        }
    }

    /// Ends a log: the line begun is complete; when lines were dropped, a line says so and the last one follows. A log
    /// that never had a line gets no file: most steps of a wide fan-out say nothing, and a file each would cost more than the step.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn close(&self, key: &LogKey) -> Result<()> {
        if self.shared.closed_silently(key) {
            let _ = self.shared.hints.send(Hint::Log(key.log.clone()));
            return Ok(());
        }
        let (shared, key) = (self.shared.clone(), key.clone());
        self.blocking(move || {
            let log = shared.log(&key)?;
            lock(&log).close()?;
            lock(&shared.open).remove(&key);
            let _ = shared.hints.send(Hint::Log(key.log));
            Ok(())
        })
        .await
    }

    /// Writes everything that waits to be written; the runtime calls it every 200 ms. A log that cannot be written does not hold up others.
    ///
    /// # Errors
    /// The first log that could not be written.
    pub async fn flush(&self) -> Result<()> {
        let shared = self.shared.clone();
        self.blocking(move || {
            let logs: Vec<_> = lock(&shared.open).values().cloned().collect();
            let mut first = Ok(());
            for log in logs {
                let written = lock(&log).write();
                first = first.and(written);
            }
            first
        })
        .await
    }

    /// Lines from a number on, at most [`READ_LIMIT`].
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn lines(&self, key: &LogKey, from: u64, limit: u32) -> Result<Vec<Line>> {
        self.read(key, move |log| log.lines_from(from.max(1), limit.min(READ_LIMIT))).await
    }

    /// The last lines, at most [`READ_LIMIT`].
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn tail(&self, key: &LogKey, limit: u32) -> Result<Vec<Line>> {
        let limit = limit.min(READ_LIMIT);
        self.read(key, move |log| {
            let from = (log.lines() + 1).saturating_sub(u64::from(limit)).max(1);
            log.lines_from(from, limit)
        })
        .await
    }

    /// Bytes of the text, lines joined by `\n`, from an offset on; at most `limit` and never more than 1 MiB.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn bytes(&self, key: &LogKey, from: u64, limit: usize) -> Result<Vec<u8>> {
        self.read(key, move |log| log.bytes_from(from, limit.min(file::BYTES_LIMIT))).await
    }

    /// How long a log is.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn size(&self, key: &LogKey) -> Result<LogSize> {
        self.read(key, |log| Ok(log.size())).await
    }

    /// Removes all logs of an execution; for pruning.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub async fn remove(&self, execution: &ExecutionId) -> Result<()> {
        let (shared, execution) = (self.shared.clone(), execution.clone());
        self.blocking(move || {
            lock(&shared.open).retain(|key, _| key.execution.as_ref() != Some(&execution));
            let folder = file::folder_of(&shared.folder, Some(&execution));
            match std::fs::remove_dir_all(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other.map_err(|cause| LogError::File { path: folder, cause }),
            }
        })
        .await
    }

    /// Reads with the state in memory, if there is one, else with what the file says; reading opens no log.
    async fn read<T, F>(&self, key: &LogKey, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&OpenLog) -> Result<T> + Send + 'static,
    {
        let (shared, key) = (self.shared.clone(), key.clone());
        self.blocking(move || {
            let open = lock(&shared.open).get(&key).cloned();
            match open {
                Some(log) => work(&lock(&log)),
                None => {
                    let mut log = OpenLog::look(file::path_of(&shared.folder, &key))?;
                    if lock(&shared.silent).contains(&key) {
                        log.end_silently();
                    }
                    work(&log)
                }
            }
        })
        .await
    }
}

impl LogStore {
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if self.shared.inline {
            return work();
        }
        tokio::task::spawn_blocking(work).await.map_err(LogError::Stopped)?
    }
}

impl Shared {
    /// Closes a log that has neither lines nor a file; false when it has.
    fn closed_silently(&self, key: &LogKey) -> bool {
        // A file that cannot be looked at is looked into by the ordinary way, which says why.
        let unknown = |path: PathBuf| path.try_exists().unwrap_or(true);
        if lock(&self.open).contains_key(key) || unknown(file::path_of(&self.folder, key)) {
            return false;
        }
        let mut silent = lock(&self.silent);
        if silent.len() >= SILENT {
            silent.clear();
        }
        silent.insert(key.clone());
        true
    }

    /// The state of a log, read from its file when it is not in memory.
    fn log(&self, key: &LogKey) -> Result<Arc<Mutex<OpenLog>>> {
        let mut open = lock(&self.open);
        if let Some(log) = open.get(key) {
            return Ok(log.clone());
        }
        if open.len() >= OPEN {
            // What somebody else holds is in use, what is not written must not be forgotten.
            open.retain(|_, log| Arc::strong_count(log) > 1 || lock(log).must_stay());
        }
        lock(&self.silent).remove(key);
        let log = Arc::new(Mutex::new(OpenLog::resume(file::path_of(&self.folder, key))?));
        open.insert(key.clone(), log.clone());
        Ok(log)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
