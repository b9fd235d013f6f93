//! Logs in the database that the servers share: a row a frame. Frames are numbered without a gap, so that of two servers which both believe to
//! write a log only one goes on.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use manifold_model::ExecutionId;
use tokio::runtime::Handle;

use super::{count, int};
use crate::logs::LogKey;
use crate::logs::frame::{self, HEADER, Header};
use crate::logs::shelf::{Frames, Shelf, Visit};

/// Headers read at once.
const HEADERS: i64 = 256;
/// How long a call may take before its log counts as unusable for now.
const DEADLINE: Duration = Duration::from_secs(30);

/// All logs.
pub(super) struct LogFrames {
    database: Arc<Database>,
}

struct Database {
    pool: Pool,
    /// Calls come from threads of their own, which wait here.
    runtime: Handle,
}

impl LogFrames {
    /// Logs behind this pool. Must be made inside the runtime that drives the pool's connections.
    pub(super) fn new(pool: Pool) -> Self {
        Self { database: Arc::new(Database { pool, runtime: Handle::current() }) }
    }
}

impl Database {
    fn wait<T>(&self, work: impl AsyncFnOnce(&Object) -> Result<T, tokio_postgres::Error>) -> io::Result<T> {
        self.runtime.block_on(async {
            let work = async {
                let client = self.pool.get().await.map_err(io::Error::other)?;
                work(&client).await.map_err(io::Error::other)
            };
            tokio::time::timeout(DEADLINE, work).await.map_err(|_| io::Error::from(ErrorKind::TimedOut))?
        })
    }
}

fn execution_of(key: &LogKey) -> &str {
    key.execution.as_ref().map_or("", ExecutionId::as_str)
}

impl Shelf for LogFrames {
    fn frames(&self, key: &LogKey) -> io::Result<Box<dyn Frames>> {
        Ok(Box::new(LogRows { database: self.database.clone(), key: key.clone() }))
    }

    fn drop_log(&self, key: &LogKey) -> io::Result<()> {
        self.database.wait(async |client| {
            let sql =
                client.prepare_cached("DELETE FROM log_frames WHERE execution = $1 AND log = $2").await?;
            client.execute(&sql, &[&execution_of(key), &key.log.as_str()]).await.map(drop)
        })
    }

    fn drop_execution(&self, execution: &ExecutionId) -> io::Result<()> {
        self.database.wait(async |client| {
            let sql = client.prepare_cached("DELETE FROM log_frames WHERE execution = $1").await?;
            client.execute(&sql, &[&execution.as_str()]).await.map(drop)
        })
    }

    fn may_have(&self, key: &LogKey) -> bool {
        let found = self.database.wait(async |client| {
            let sql = "SELECT 1 FROM log_frames WHERE execution = $1 AND log = $2 LIMIT 1";
            let sql = client.prepare_cached(sql).await?;
            client.query_opt(&sql, &[&execution_of(key), &key.log.as_str()]).await
        });
        // One that cannot be looked at is looked into by the ordinary way, which says why.
        found.is_ok_and(|found| found.is_some())
    }

    fn waits(&self) -> bool {
        true
    }

    fn name(&self, key: &LogKey) -> String {
        format!("{} of execution {:?} in the database", key.log, execution_of(key))
    }
}

/// The rows of one log. A place is a frame's number.
struct LogRows {
    database: Arc<Database>,
    key: LogKey,
}

impl Frames for LogRows {
    fn walk(&self, from: u64, visit: &mut Visit<'_>) -> io::Result<u64> {
        let mut at = from;
        loop {
            let rows = self.database.wait(async |client| {
                let sql = "SELECT number, header FROM log_frames \
                           WHERE execution = $1 AND log = $2 AND number >= $3 ORDER BY number LIMIT $4";
                let sql = client.prepare_cached(sql).await?;
                let log = self.key.log.as_str();
                client.query(&sql, &[&execution_of(&self.key), &log, &int(at), &HEADERS]).await
            })?;
            for row in &rows {
                let place = count(row.try_get(0).map_err(io::Error::other)?);
                let bytes: &[u8] = row.try_get(1).map_err(io::Error::other)?;
                let header = frame::decode_header(bytes).map(|(header, _)| header);
                let header =
                    header.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "a frame is damaged"))?;
                if !visit(&header, place, place)? {
                    return Ok(at);
                }
                at = place + 1;
            }
            if rows.len() < usize::try_from(HEADERS).unwrap_or_default() {
                return Ok(at);
            }
        }
    }

    fn body(&self, _header: &Header, place: u64) -> io::Result<Vec<u8>> {
        let row = self.database.wait(async |client| {
            let sql = "SELECT body FROM log_frames WHERE execution = $1 AND log = $2 AND number = $3";
            let sql = client.prepare_cached(sql).await?;
            client.query_one(&sql, &[&execution_of(&self.key), &self.key.log.as_str(), &int(place)]).await
        })?;
        frame::decode_body(row.try_get(0).map_err(io::Error::other)?)
    }

    fn push(&mut self, header: &Header, frame: &[u8], at: u64) -> io::Result<u64> {
        let (head, body) = frame.split_at_checked(HEADER).unwrap_or((frame, &[]));
        let written = self.database.wait(async |client| {
            let sql = "INSERT INTO log_frames (execution, log, number, run, header, body) \
                       SELECT $1, $2, $3, $4, $5, $6 WHERE \
                       (SELECT coalesce(max(number) + 1, 0) = $3 AND coalesce(max(run), 0) <= $4 \
                        FROM log_frames WHERE execution = $1 AND log = $2) ON CONFLICT DO NOTHING";
            let sql = client.prepare_cached(sql).await?;
            let (log, run) = (self.key.log.as_str(), int(header.last.0));
            client.execute(&sql, &[&execution_of(&self.key), &log, &int(at), &run, &head, &body]).await
        })?;
        if written == 0 { Err(ErrorKind::AlreadyExists.into()) } else { Ok(at + 1) }
    }

    fn cut(&mut self, _at: u64) -> io::Result<()> {
        // A row is there or not, never half.
        Ok(())
    }
}
