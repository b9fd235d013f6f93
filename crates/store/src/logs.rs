//! Step logs: lines with time and unit, as zstd frames, never in the journal (`design.md` 9): in a file each, or in the database that several
//! servers share. Bounded by `behaviour.md` 13.5: what goes over 25 MB is dropped and counted, the last line is kept. Values were masked before
//! they came here.
//!
//! What was taken in can be read at once, on this server; [`LogStore::flush`] writes it, and from then on it survives a killed process and can be
//! read everywhere. Chunks are numbered: what comes twice, over a broken connection or through another server, is kept once.

mod folder;
mod frame;
mod open;
pub(crate) mod shelf;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use manifold_model::{ExecutionId, LogId, Millis};
use serde::Serialize;
use tokio::sync::{Notify, broadcast, watch};

use crate::Hint;
use folder::Folder;
use open::OpenLog;
use shelf::Shelf;

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
/// Bytes that one read of a byte range returns at most.
const BYTES_LIMIT: usize = 1024 * 1024;
/// Bytes taken in since the last flush at which the next one is due at once: well below the window of a delegate, which waits for it.
const DUE: usize = 1024 * 1024;
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
    /// Its file or database cannot be used.
    #[error("the log {name} cannot be used")]
    Unusable {
        /// File, folder or row.
        name: String,
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

/// Output of a unit of a task, as a delegate numbered it.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'c> {
    /// Fence under which this run of the task began: a higher one tells the output anew.
    pub run: u64,
    /// Number within the run, from 1.
    pub seq: u64,
    /// Unit (section).
    pub unit: &'c str,
    /// When it came.
    pub at: Millis,
    /// Bytes; they need not end with a line.
    pub bytes: &'c [u8],
}

/// All step logs of a server.
#[derive(Clone)]
pub struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    shelf: Arc<dyn Shelf>,
    open: Mutex<HashMap<LogKey, Arc<Mutex<OpenLog>>>>,
    /// Logs that were closed without a line: they get no file.
    silent: Mutex<HashSet<LogKey>>,
    hints: broadcast::Sender<Hint>,
    /// Flushes begun, and the number of the last one that wrote everything.
    begun: AtomicU64,
    flushed: watch::Sender<u64>,
    /// Bytes taken in since the last flush began.
    taken: AtomicUsize,
    due: Notify,
}

impl LogStore {
    /// Logs in this folder (`DIR/logs`), which is made if need be. Blocks on the file system.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(folder: &Path) -> Result<Self> {
        let unusable = |cause| LogError::Unusable { name: folder.display().to_string(), cause };
        std::fs::create_dir_all(folder).map_err(unusable)?;
        Ok(Self::on(Arc::new(Folder(folder.to_owned()))))
    }

    /// Logs on this shelf.
    pub(crate) fn on(shelf: Arc<dyn Shelf>) -> Self {
        let (hints, _) = broadcast::channel(HINTS);
        let shared = Shared {
            shelf,
            open: Mutex::default(),
            silent: Mutex::default(),
            hints,
            begun: AtomicU64::new(0),
            flushed: watch::Sender::new(0),
            taken: AtomicUsize::new(0),
            due: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Hints which logs got lines, from now on ([`Hint::Log`]); some may be lost.
    #[must_use]
    pub fn hints(&self) -> broadcast::Receiver<Hint> {
        self.shared.hints.subscribe()
    }

    /// Takes in a chunk of output, unless it was taken in before. The first chunk of a higher run begins the log anew: a task that is taken up
    /// again after a crash tells its output from the start. Returns the number of the flush ([`LogStore::flushed`]) after which the chunk is
    /// durable; mostly a copy in memory, writes when much has come.
    ///
    /// # Errors
    /// The log cannot be read or written; its lines stay in memory for the next try, up to 2 MiB.
    pub async fn take(&self, key: &LogKey, chunk: Chunk<'_>) -> Result<u64> {
        if !self.shared.shelf.waits() {
            return self.shared.take(key, chunk);
        }
        let (shared, key, unit, bytes) =
            (self.shared.clone(), key.clone(), chunk.unit.to_owned(), chunk.bytes.to_vec());
        let Chunk { run, seq, at, .. } = chunk;
        blocking(move || shared.take(&key, Chunk { run, seq, at, unit: &unit, bytes: &bytes })).await
    }

    /// Numbers of flushes that wrote everything; grows.
    #[must_use]
    pub fn flushed(&self) -> watch::Receiver<u64> {
        self.shared.flushed.subscribe()
    }

    /// Waits until so much was taken in that a flush should not wait.
    pub async fn due(&self) {
        self.shared.due.notified().await;
    }

    /// Ends a log: the line begun is complete; when lines were dropped, a line says so and the last one follows. A log
    /// that never had a line gets no file: most steps of a wide fan-out say nothing, and a file each would cost more than the step.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn close(&self, key: &LogKey) -> Result<()> {
        if !self.shared.shelf.waits() && self.shared.closed_silently(key) {
            return Ok(());
        }
        let (shared, key) = (self.shared.clone(), key.clone());
        blocking(move || {
            if shared.shelf.waits() && shared.closed_silently(&key) {
                return Ok(());
            }
            let log = shared.log(&key)?;
            lock(&log).close()?;
            lock(&shared.open).remove(&key);
            let _ = shared.hints.send(Hint::Log(key.log));
            Ok(())
        })
        .await
    }

    /// Writes everything that waits to be written; the runtime calls it every 200 ms, and when it is [`LogStore::due`]. A log that cannot be
    /// written does not hold up others.
    ///
    /// # Errors
    /// The first log that could not be written.
    pub async fn flush(&self) -> Result<()> {
        let shared = self.shared.clone();
        blocking(move || shared.flush()).await
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
        self.read(key, move |log| log.bytes_from(from, limit.min(BYTES_LIMIT))).await
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
    /// They cannot be removed.
    pub async fn remove(&self, execution: &ExecutionId) -> Result<()> {
        let (shared, execution) = (self.shared.clone(), execution.clone());
        blocking(move || {
            lock(&shared.open).retain(|key, _| key.execution.as_ref() != Some(&execution));
            let unusable = |cause| LogError::Unusable { name: format!("of execution {execution}"), cause };
            shared.shelf.drop_execution(&execution).map_err(unusable)
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
        blocking(move || {
            let open = lock(&shared.open).get(&key).cloned();
            match open {
                Some(log) => work(&lock(&log)),
                None => {
                    let mut log = OpenLog::look(&*shared.shelf, &key)?;
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

impl Shared {
    fn take(&self, key: &LogKey, chunk: Chunk<'_>) -> Result<u64> {
        let log = self.log(key)?;
        let mut state = lock(&log);
        let number = (chunk.run, chunk.seq);
        if number <= state.last_chunk() {
            return Ok(self.ticket());
        }
        if chunk.run > state.last_chunk().0 && !state.is_new() {
            let unusable = |cause| LogError::Unusable { name: self.shelf.name(key), cause };
            self.shelf.drop_log(key).map_err(unusable)?;
            *state = OpenLog::resume(&*self.shelf, key)?;
        }
        let before = state.lines();
        state.append(chunk.unit, chunk.at, chunk.bytes);
        // After its bytes: no frame may say that a chunk is kept of which it holds a part.
        state.number(number);
        let full = state.unwritten() >= FRAME || open::unwritten_by_all() >= UNWRITTEN;
        let written = if full { state.write() } else { Ok(()) };
        let grown = state.lines() > before;
        drop(state);
        if grown {
            // No receiver is no error: hints may be lost.
            let _ = self.hints.send(Hint::Log(key.log.clone()));
        }
        if self.taken.fetch_add(chunk.bytes.len(), Ordering::Relaxed) + chunk.bytes.len() >= DUE {
            self.due.notify_one();
        }
        written.map(|()| self.ticket())
    }

    /// The next flush to begin writes whatever is in memory now.
    fn ticket(&self) -> u64 {
        self.begun.load(Ordering::SeqCst) + 1
    }

    fn flush(&self) -> Result<()> {
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        self.taken.store(0, Ordering::Relaxed);
        let logs: Vec<_> = lock(&self.open).iter().map(|(key, log)| (key.clone(), log.clone())).collect();
        let mut first = Ok(());
        for (key, log) in logs {
            let written = lock(&log).write();
            if let Err(LogError::Unusable { cause, .. }) = &written
                && cause.kind() == io::ErrorKind::AlreadyExists
            {
                // Another server goes on with it: what is here comes to it from the delegate.
                lock(&self.open).remove(&key);
                continue;
            }
            first = first.and(written);
        }
        first?;
        self.flushed.send_replace(number);
        Ok(())
    }

    /// Closes a log that has neither lines nor a file; false when it has.
    fn closed_silently(&self, key: &LogKey) -> bool {
        if lock(&self.open).contains_key(key) || self.shelf.may_have(key) {
            return false;
        }
        let mut silent = lock(&self.silent);
        if silent.len() >= SILENT {
            silent.clear();
        }
        silent.insert(key.clone());
        let _ = self.hints.send(Hint::Log(key.log.clone()));
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
        if self.shelf.waits() {
            // Others go on meanwhile; when two read the same log at once, the first one's state counts.
            drop(open);
            let log = Arc::new(Mutex::new(OpenLog::resume(&*self.shelf, key)?));
            return Ok(lock(&self.open).entry(key.clone()).or_insert(log).clone());
        }
        let log = Arc::new(Mutex::new(OpenLog::resume(&*self.shelf, key)?));
        open.insert(key.clone(), log.clone());
        Ok(log)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(LogError::Stopped)?
}
