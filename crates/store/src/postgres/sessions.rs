//! Connections and what is done on one of them: a transaction that writes, an image that is read, or single reads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::{Hook, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use manifold_model::Millis;
use manifold_model::crash::{self, Point};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use super::db::Db;
use super::opening::{Address, CONNECT, OpenError};
use super::random;
use super::writing::Writing;
use crate::{Result, StoreError};

/// How long a call waits for a free connection.
const WAIT: Duration = Duration::from_secs(5);
/// How often a transaction is tried that the database gave up (a deadlock, or its connection was lost before COMMIT was sent).
const TRIES: u32 = 5;
/// Longest pause before the next try, times the tries so far, milliseconds.
const PAUSE_MS: u64 = 10;
/// Connections that turn out to be lost before one call gives up.
const LOST: usize = 3;

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
     SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
const BEGIN_IMAGE: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The pool.
pub(super) struct Connections {
    pool: Pool,
}

impl Connections {
    pub(super) fn new(address: &Address, most: usize) -> std::result::Result<Self, OpenError> {
        let manager = Manager::from_config(
            address.config.clone(),
            address.tls.clone(),
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let pool = Pool::builder(manager)
            .max_size(most)
            .wait_timeout(Some(WAIT))
            .create_timeout(Some(CONNECT))
            .recycle_timeout(Some(WAIT))
            .runtime(Runtime::Tokio1)
            .post_create(Hook::sync_fn(|_, _| {
                tracing::debug!("a connection to the database was made");
                Ok(())
            }))
            .build()
            .map_err(|error| OpenError::Unusable { place: address.place.clone(), cause: Box::new(error) })?;
        Ok(Self { pool })
    }

    /// The pool itself.
    pub(super) fn pool(&self) -> Pool {
        self.pool.clone()
    }

    /// A connection without a transaction: each statement sees what is committed when it begins.
    pub(super) async fn plain(&self) -> Result<Session> {
        let client = self
            .pool
            .get()
            .await
            .map_err(|error| StoreError::Broken { action: "reach the database", cause: Box::new(error) })?;
        Ok(Session { client: Some(client), failed: AtomicBool::new(false), open: false, now: 0 })
    }

    /// A transaction that writes.
    pub(super) async fn begin(&self) -> Result<Session> {
        self.begin_with(BEGIN).await
    }

    /// A transaction that reads one image of the database.
    pub(super) async fn image(&self) -> Result<Session> {
        self.begin_with(BEGIN_IMAGE).await
    }

    /// Begins on the first connection that is still there.
    async fn begin_with(&self, how: &str) -> Result<Session> {
        let mut lost = 0;
        loop {
            let mut session = self.plain().await?;
            match session.start(how).await {
                Err(error) if lost < LOST && may_try_again(&error) => lost += 1,
                Err(error) => return Err(error),
                Ok(()) => return Ok(session),
            }
        }
    }

    /// Ends all connections.
    pub(super) fn close(&self) {
        self.pool.close();
    }
}

/// A connection in use. One that is dropped within a transaction is closed, which undoes it.
pub(super) struct Session {
    client: Option<Object>,
    failed: AtomicBool,
    open: bool,
    now: Millis,
}

impl Session {
    /// For statements.
    pub(super) fn db(&self) -> Result<Db<'_>> {
        match &self.client {
            Some(client) => Ok(Db::new(client, &self.failed)),
            None => Err(StoreError::Broken {
                action: "use the database",
                cause: "its connection is closed".into(),
            }),
        }
    }

    /// For what writes.
    pub(super) fn writing(&self) -> Result<Writing<'_>> {
        Ok(Writing::new(self.db()?, self.now))
    }

    async fn start(&mut self, how: &str) -> Result<()> {
        let Some(client) = &self.client else { return Ok(()) };
        // From here on a connection that is not given back in order is closed.
        self.open = true;
        let answers = client.simple_query(how).await?;
        self.now = answers
            .iter()
            .find_map(|answer| match answer {
                SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
                _ => None,
            })
            .unwrap_or_default();
        Ok(())
    }

    /// Ends what was read; nothing was written, so the way it ends does not matter.
    pub(super) async fn close(mut self) {
        if let (true, Some(client)) = (self.open, &self.client)
            && client.batch_execute("ROLLBACK").await.is_ok()
        {
            self.open = false;
        }
    }

    /// Commits what went well, undoes what did not.
    pub(super) async fn end<T>(mut self, outcome: Result<T>) -> End<T> {
        let Some(client) = &self.client else { return End::Done(outcome) };
        match outcome {
            Ok(value) if !self.failed.load(Ordering::Relaxed) => {
                crash::point(Point::BeforeCommit);
                let committed = client.batch_execute("COMMIT").await;
                crash::point(Point::AfterCommit);
                match committed {
                    Ok(()) => {
                        self.open = false;
                        End::Done(Ok(value))
                    }
                    // Whether it was committed is unknown when the connection was lost: nobody tries again.
                    Err(error) => {
                        End::Done(Err(StoreError::Broken { action: "commit", cause: Box::new(error) }))
                    }
                }
            }
            Ok(_) => End::Done(Err(StoreError::Broken {
                action: "commit",
                cause: "a statement of the transaction failed".into(),
            })),
            Err(error) => {
                if client.batch_execute("ROLLBACK").await.is_ok() {
                    self.open = false;
                }
                if may_try_again(&error) { End::Again(error) } else { End::Done(Err(error)) }
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.open
            && let Some(client) = self.client.take()
        {
            drop(Object::take(client));
        }
    }
}

/// How a transaction ended.
pub(super) enum End<T> {
    /// This is what its caller gets.
    Done(Result<T>),
    /// Nothing was written, for no fault of its own.
    Again(StoreError),
}

/// Tries of one transaction.
#[derive(Default)]
pub(super) struct Tries(u32);

impl Tries {
    /// Waits a little before the next try; hands the error back when there were enough.
    pub(super) async fn next(&mut self, error: StoreError) -> Result<()> {
        self.0 += 1;
        if self.0 >= TRIES {
            return Err(error);
        }
        let pause = random::below(PAUSE_MS * u64::from(self.0));
        tokio::time::sleep(Duration::from_millis(pause)).await;
        Ok(())
    }
}

/// Whether the database itself gave a transaction up before COMMIT: it chose it in a deadlock, or the connection was lost, so that nothing
/// of it was written.
pub(super) fn may_try_again(error: &StoreError) -> bool {
    let StoreError::Broken { cause, .. } = error else { return false };
    let Some(error) = cause.downcast_ref::<tokio_postgres::Error>() else { return false };
    let given_up = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
    ];
    match error.code() {
        Some(code) => given_up.contains(code),
        None => error.is_closed() || is_io(error),
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}

/// Runs work that writes in a transaction, again when the database gave it up, and tells its hints when it is durable. A macro and no function:
/// a closure cannot promise that its future may move between threads.
macro_rules! write {
    ($store:expr, |$writing:ident| $work:expr) => {{
        let mut tries = $crate::postgres::sessions::Tries::default();
        loop {
            let session = $store.connections.begin().await?;
            let mut opened = session.writing()?;
            let outcome = {
                let $writing = &mut opened;
                $work.await
            };
            let hints = opened.into_hints();
            match session.end(outcome).await {
                $crate::postgres::sessions::End::Done(outcome) => {
                    if outcome.is_ok() {
                        $store.hints.tell_all(hints);
                    }
                    break outcome;
                }
                $crate::postgres::sessions::End::Again(error) => tries.next(error).await?,
            }
        }
    }};
}

/// Runs work that reads with one statement, once more when the connection was lost.
macro_rules! read {
    ($store:expr, |$db:ident| $work:expr) => {
        $crate::postgres::sessions::reading!($store, plain, |$db| $work)
    };
}

/// Runs work that reads with several statements on one image of the database.
macro_rules! read_image {
    ($store:expr, |$db:ident| $work:expr) => {
        $crate::postgres::sessions::reading!($store, image, |$db| $work)
    };
}

macro_rules! reading {
    ($store:expr, $how:ident, |$db:ident| $work:expr) => {{
        let mut tries = $crate::postgres::sessions::Tries::default();
        loop {
            let session = $store.connections.$how().await?;
            let outcome = {
                let opened = session.db()?;
                let $db = &opened;
                $work.await
            };
            session.close().await;
            match outcome {
                Err(error) if $crate::postgres::sessions::may_try_again(&error) => tries.next(error).await?,
                outcome => break outcome,
            }
        }
    }};
}

pub(super) use {read, read_image, reading, write};
