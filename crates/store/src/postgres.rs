//! The home for N servers: PostgreSQL (`design.md` 4, `libraries.md` 2.3).

mod barriers;
mod calls;
mod catalog;
mod constraints;
mod db;
mod delegates;
mod executions;
mod gauges;
mod guards;
mod history;
mod inbox;
mod journal;
mod leases;
mod legs;
mod lists;
mod locks;
mod log_frames;
mod notify;
mod opening;
mod prune;
mod random;
mod records;
mod rows;
mod secrets;
mod sessions;
mod tasks;
mod timers;
mod tls;
mod writing;

use std::sync::Arc;

use crate::logs::LogStore;
use crate::values::{count, from_json, int, misuse, small, to_json};

pub use opening::OpenError;
pub(crate) use opening::{Address, newest_schema};

/// Connections of one server, when nobody says how many.
const CONNECTIONS: usize = 16;

/// The store in a PostgreSQL database, which any number of servers share.
pub struct PostgresStore {
    connections: sessions::Connections,
    hints: notify::Hints,
}

impl PostgresStore {
    /// Opens the database at `url` (`postgres://user:password@host:port/database`), bringing an empty or older schema up to date. Servers that
    /// open it at once agree on who does that.
    ///
    /// # Errors
    /// A newer Manifold wrote the database, its tables are another program's or damaged, or it cannot be reached or used.
    pub async fn open(url: &str) -> std::result::Result<Self, OpenError> {
        Self::open_with(url, CONNECTIONS).await
    }

    /// Opens the database as [`PostgresStore::open`] does, with at most this many connections at once besides the one for hints.
    ///
    /// # Errors
    /// As [`PostgresStore::open`].
    pub async fn open_with(url: &str, connections: usize) -> std::result::Result<Self, OpenError> {
        let address = opening::Address::parse(url)?;
        address.prepare().await?;
        let connections = sessions::Connections::new(&address, connections)?;
        Ok(Self { connections, hints: notify::Hints::start(address).await? })
    }

    /// Step logs in the same database, which every server that shares it reads and writes. Must be called inside a runtime.
    #[must_use]
    pub fn logs(&self) -> LogStore {
        LogStore::on(Arc::new(log_frames::LogFrames::new(self.connections.pool())))
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.connections.close();
    }
}
