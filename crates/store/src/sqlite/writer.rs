//! The one writer: a thread that runs calls in a savepoint each and commits them in groups. A caller hears back only after COMMIT.
//! On an [`Image`](super::Image) there is no thread: a call is run and committed by whoever makes it.

use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use manifold_model::crash::{self, Point};
use manifold_model::{ExecutionId, Millis};
use rusqlite::{CachedStatement, Connection};
use tokio::sync::{broadcast, oneshot};

use super::{failed, run_sql};
use crate::clock::Clock;
use crate::{Hint, Result, StoreError};

/// Calls a COMMIT may hold.
const GROUP: usize = 256;
/// Calls that may wait for the writer before callers have to wait for room.
const QUEUE: usize = 4096;

/// What a call sees while it writes.
pub(super) struct Writing<'c> {
    /// The connection, inside the transaction.
    pub(super) db: &'c Connection,
    clock: &'c dyn Clock,
    hints: Vec<Hint>,
}

impl Writing<'_> {
    /// The time.
    pub(super) fn now(&self) -> Millis {
        self.clock.now()
    }

    /// A prepared statement.
    pub(super) fn sql(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        self.db.prepare_cached(sql)
    }

    /// Broadcasts a hint after COMMIT.
    pub(super) fn hint(&mut self, hint: Hint) {
        self.hints.push(hint);
    }

    /// Hints that an execution has something to look at.
    pub(super) fn hint_inbox(&mut self, execution: &str) {
        self.hints.push(Hint::Inbox(ExecutionId::from(execution)));
    }

    /// Runs a piece of work so that its failure undoes this piece only, hints included.
    pub(super) fn apart<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let hints = self.hints.len();
        self.sql("SAVEPOINT piece").and_then(|mut s| s.execute([])).map_err(failed("begin a write"))?;
        let mut outcome = work(self);
        if outcome.is_err() {
            self.hints.truncate(hints);
            if let Err(error) = self.sql("ROLLBACK TO piece").and_then(|mut s| s.execute([])) {
                outcome = Err(failed("undo a write")(error));
            }
        }
        self.sql("RELEASE piece").and_then(|mut s| s.execute([])).map_err(failed("end a write"))?;
        outcome
    }
}

/// A call on its way through the writer.
trait Call: Send {
    fn run(&mut self, writing: &mut Writing<'_>);
    fn reply(self: Box<Self>, committed: std::result::Result<(), &str>);
}

struct Work<F, T> {
    work: Option<F>,
    /// Whether the work gets a savepoint; if not, it sets its own.
    guarded: bool,
    outcome: Result<T>,
    caller: oneshot::Sender<Result<T>>,
}

impl<F, T> Call for Work<F, T>
where
    F: FnOnce(&mut Writing<'_>) -> Result<T> + Send,
    T: Send,
{
    fn run(&mut self, writing: &mut Writing<'_>) {
        if let Some(work) = self.work.take() {
            self.outcome = if self.guarded { writing.apart(work) } else { work(writing) };
        }
    }

    fn reply(self: Box<Self>, committed: std::result::Result<(), &str>) {
        let outcome = match committed {
            Ok(()) => self.outcome,
            Err(why) => Err(StoreError::Broken { action: "commit", cause: why.to_owned().into() }),
        };
        // A caller that has gone away wanted the write all the same.
        let _ = self.caller.send(outcome);
    }
}

/// The way to the writer.
#[derive(Clone)]
pub(super) enum Writer {
    /// A thread with a queue before it.
    Thread(Arc<Calls>),
    /// The caller itself.
    Inline(Arc<Inline>),
}

/// What a call needs that is run by its caller.
pub(super) struct Inline {
    db: Arc<Mutex<Connection>>,
    clock: Arc<dyn Clock>,
    hints: broadcast::Sender<Hint>,
}

impl Inline {
    fn run(&self, call: Box<dyn Call>) {
        // Nobody else is in the group.
        let (_, no_more) = mpsc::channel();
        let db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        commit_group(&db, &*self.clock, call, &no_more, &self.hints);
    }
}

pub(super) struct Calls {
    queue: Option<mpsc::Sender<Box<dyn Call>>>,
    room: tokio::sync::Semaphore,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // The writer ends when the queue is closed; a panic in it has been printed by its thread.
            let _ = thread.join();
        }
    }
}

impl Writer {
    /// Starts the writer on its connection.
    pub(super) fn start(
        db: Connection,
        clock: Arc<dyn Clock>,
        hints: broadcast::Sender<Hint>,
    ) -> std::io::Result<Self> {
        let (queue, calls) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || serve(&db, &*clock, &calls, &hints))?;
        Ok(Self::Thread(Arc::new(Calls {
            queue: Some(queue),
            room: tokio::sync::Semaphore::new(QUEUE),
            thread: Some(thread),
        })))
    }

    /// A writer without a thread.
    pub(super) fn inline(
        db: Arc<Mutex<Connection>>,
        clock: Arc<dyn Clock>,
        hints: broadcast::Sender<Hint>,
    ) -> Self {
        Self::Inline(Arc::new(Inline { db, clock, hints }))
    }

    /// Runs work in a savepoint of its own; returns when it is durable.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Writing<'_>) -> Result<T> + Send + 'static,
    {
        self.hand_in(true, work).await
    }

    /// Runs pieces of work that each set their own savepoint ([`Writing::apart`]): one around all of them would double what each costs.
    pub(super) async fn write_pieces<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Writing<'_>) -> T + Send + 'static,
    {
        self.hand_in(false, |writing: &mut Writing<'_>| Ok(work(writing))).await
    }

    async fn hand_in<T, F>(&self, guarded: bool, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Writing<'_>) -> Result<T> + Send + 'static,
    {
        let (caller, answer) = oneshot::channel();
        let call = Box::new(Work { work: Some(work), guarded, outcome: Err(closed()), caller });
        match self {
            Self::Inline(inline) => {
                inline.run(call);
                answer.await.map_err(|_| closed())?
            }
            Self::Thread(calls) => {
                let _room = calls.room.acquire().await.map_err(|_| closed())?;
                calls.queue.as_ref().ok_or_else(closed)?.send(call).map_err(|_| closed())?;
                answer.await.map_err(|_| closed())?
            }
        }
    }
}

fn closed() -> StoreError {
    StoreError::Broken { action: "write", cause: "the writer has stopped".into() }
}

fn serve(
    db: &Connection,
    clock: &dyn Clock,
    calls: &mpsc::Receiver<Box<dyn Call>>,
    hints: &broadcast::Sender<Hint>,
) {
    while let Ok(first) = calls.recv() {
        commit_group(db, clock, first, calls, hints);
    }
}

fn commit_group(
    db: &Connection,
    clock: &dyn Clock,
    first: Box<dyn Call>,
    calls: &mpsc::Receiver<Box<dyn Call>>,
    hints: &broadcast::Sender<Hint>,
) {
    let mut done = Vec::new();
    let mut writing = Writing { db, clock, hints: Vec::new() };
    let begun = run_sql(db, "BEGIN IMMEDIATE");
    let mut next = Some(first);
    while let Some(mut call) = next.take() {
        if begun.is_ok() {
            call.run(&mut writing);
        }
        done.push(call);
        if done.len() < GROUP {
            next = calls.try_recv().ok();
        }
    }
    let written = writing.hints;
    crash::point(Point::BeforeCommit);
    let committed = begun.and_then(|()| run_sql(db, "COMMIT"));
    crash::point(Point::AfterCommit);
    let answer = committed.as_ref().map(|&()| ()).map_err(ToString::to_string);
    if let Err(why) = &answer {
        tracing::error!(%why, calls = done.len(), "a group of writes was not committed");
        if !db.is_autocommit()
            && let Err(error) = run_sql(db, "ROLLBACK")
        {
            tracing::error!(%error, "the failed group cannot be rolled back");
        }
    }
    if answer.is_ok() {
        broadcast_once(written, hints);
    }
    for call in done {
        call.reply(answer.as_ref().map(|&()| ()).map_err(String::as_str));
    }
}

/// Sends each different hint of a group once.
fn broadcast_once(written: Vec<Hint>, hints: &broadcast::Sender<Hint>) {
    if hints.receiver_count() == 0 {
        return;
    }
    let mut seen = std::collections::HashSet::new();
    for hint in written {
        if seen.insert(hint.clone()) {
            // No receiver is no error: hints may be lost.
            let _ = hints.send(hint);
        }
    }
}
