//! A small pool of connections that cannot write.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};

use super::{failed, prepare_connection, run_sql};
use crate::{Result, StoreError};

/// Reads at once; more wait.
const READERS: usize = 4;

#[derive(Clone)]
pub(super) enum Readers {
    /// Connections of their own, used on threads that may block.
    Pool(Pool),
    /// The writer's connection, used by the caller ([`Image`](super::Image)).
    Inline(Arc<Mutex<Connection>>),
}

#[derive(Clone)]
pub(super) struct Pool {
    idle: Arc<Mutex<Vec<Connection>>>,
    room: Arc<tokio::sync::Semaphore>,
}

impl Readers {
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut idle = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            let db = Connection::open_with_flags(path, flags)?;
            prepare_connection(&db)?;
            db.pragma_update(None, "query_only", true)?;
            idle.push(db);
        }
        let room = Arc::new(tokio::sync::Semaphore::new(READERS));
        Ok(Self::Pool(Pool { idle: Arc::new(Mutex::new(idle)), room }))
    }

    /// Reads on one consistent image of the database.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.outside(|db| on_one_image(db, work)).await
    }

    /// Uses a connection outside any transaction.
    pub(super) async fn outside<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        match self {
            Self::Pool(pool) => pool.outside(work).await,
            Self::Inline(db) => work(&db.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

impl Pool {
    async fn outside<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let room = self.room.clone().acquire_owned().await.map_err(|_| closed("the store is closed"))?;
        let idle = self.idle.clone();
        tokio::task::spawn_blocking(move || {
            let _room = room;
            let db = idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop()
                .ok_or_else(|| closed("a reader was lost"))?;
            let outcome = work(&db);
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(db);
            outcome
        })
        .await
        .map_err(|error| StoreError::Broken { action: "read", cause: Box::new(error) })?
    }
}

fn on_one_image<T>(db: &Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    run_sql(db, "BEGIN").map_err(failed("begin a read"))?;
    let outcome = work(db);
    // Nothing was written, so the way it ends does not matter; a connection stuck in a transaction would.
    run_sql(db, "ROLLBACK").map_err(failed("end a read"))?;
    outcome
}

fn closed(why: &'static str) -> StoreError {
    StoreError::Broken { action: "read", cause: why.into() }
}
