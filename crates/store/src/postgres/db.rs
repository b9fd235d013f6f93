//! Statements over one connection. Each is prepared once a connection and kept; futures of several that are polled together travel together.

use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_postgres::ClientWrapper;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use crate::{Result, StoreError};

/// A value of a statement.
pub(super) type Param<'p> = &'p (dyn ToSql + Sync);

/// Values of a statement's `$1, $2, …`.
pub(super) type Params<'p> = &'p [Param<'p>];

/// A connection, mostly inside a transaction, for reading and writing.
#[derive(Clone, Copy)]
pub(super) struct Db<'c> {
    client: &'c ClientWrapper,
    /// Set when a statement failed: from then on the transaction takes nothing more, and its COMMIT would silently be a ROLLBACK.
    failed: &'c AtomicBool,
}

impl<'c> Db<'c> {
    pub(super) fn new(client: &'c ClientWrapper, failed: &'c AtomicBool) -> Self {
        Self { client, failed }
    }

    /// All rows of a query.
    pub(super) async fn rows(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        let statement = self.prepared(sql).await?;
        let rows = self.client.query(&statement, params).await;
        self.noticed(rows)
    }

    /// The first row of a query, if there is one.
    pub(super) async fn maybe(&self, sql: &str, params: Params<'_>) -> Result<Option<Row>> {
        Ok(self.rows(sql, params).await?.into_iter().next())
    }

    /// The first row of a query that always has one.
    pub(super) async fn one(&self, sql: &str, params: Params<'_>) -> Result<Row> {
        self.maybe(sql, params).await?.ok_or_else(|| StoreError::Broken {
            action: "use the database",
            cause: format!("no row where there must be one: {sql}").into(),
        })
    }

    /// Runs a statement; returns how many rows it touched.
    pub(super) async fn run(&self, sql: &str, params: Params<'_>) -> Result<u64> {
        let statement = self.prepared(sql).await?;
        let touched = self.client.execute(&statement, params).await;
        self.noticed(touched)
    }

    /// All rows of a query whose text varies: it is prepared for this once, so that the connection does not fill with statements.
    pub(super) async fn rows_once(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        let rows = self.client.query(sql, params).await;
        self.noticed(rows)
    }

    /// Runs statements without parameters or rows, apart from each other by semicolons.
    pub(super) async fn batch(&self, sql: &str) -> Result<()> {
        let done = self.client.batch_execute(sql).await;
        self.noticed(done)
    }

    /// Prepares a statement. Of several that are polled together and must run in their order, each must be prepared before: one that is not
    /// lets those behind it go first.
    pub(super) async fn prepared(&self, sql: &str) -> Result<Statement> {
        let statement = self.client.prepare_cached(sql).await;
        self.noticed(statement)
    }

    /// Undoes what was written since a savepoint, a failure included.
    pub(super) async fn roll_back_to(&self, savepoint: &str) -> Result<()> {
        let done = self.client.batch_execute(&format!("ROLLBACK TO SAVEPOINT {savepoint}")).await;
        self.failed.store(done.is_err(), Ordering::Relaxed);
        Ok(done?)
    }

    fn noticed<T>(&self, done: std::result::Result<T, tokio_postgres::Error>) -> Result<T> {
        if done.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        Ok(done?)
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Broken { action: "use the database", cause: Box::new(error) }
    }
}
