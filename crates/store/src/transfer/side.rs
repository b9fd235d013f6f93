//! One side of a transfer: a transaction on either home, with the same few operations.

use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use manifold_model::Millis;
use rusqlite::types::{Value as Sqlite, ValueRef};
use rusqlite::{Connection, params_from_iter};
use tokio::sync::mpsc;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row as PostgresRow};

use super::tables::{Kind, TABLES, TICKET, TICKETS, Table};
use super::{DATABASE, Place, Result, TransferError, blocking};
use crate::postgres::Address;
use crate::sqlite::FolderLock;
use crate::values::to_json;
use crate::{InboxItem, StoreError, postgres, sqlite};

/// Rows that travel together: few, for a plan or a document may have megabytes.
const BATCH: usize = 200;
/// Batches on their way.
const BATCHES: usize = 4;
/// The cursor of [`Side::read`] on PostgreSQL.
const CURSOR: &str = "transfer";
/// Limits of a transfer: it takes as long as it takes, but does not wait long for somebody who holds a table.
const LIMITS: &str =
    "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET lock_timeout = '10s'";

/// A value on its way.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    Null,
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// A row on its way.
pub(super) type Row = Vec<Value>;

impl Value {
    /// A number; 0 when it is none.
    pub(super) fn number(&self) -> i64 {
        match self {
            Self::Number(number) => *number,
            _ => 0,
        }
    }

    /// Text; empty when it is none.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    /// Bytes; empty when there are none.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            _ => &[],
        }
    }
}

/// A side, inside a transaction that reads one image or writes all or nothing.
pub(super) enum Side {
    Folder { db: Arc<Mutex<Connection>>, _lock: Option<FolderLock> },
    Database { client: Client },
}

impl Side {
    /// A store to read from while servers may use it.
    pub(super) async fn look(place: &Place) -> Result<Self> {
        match place {
            Place::Folder(folder) => {
                let path = existing(folder)?;
                let db = blocking(move || Ok(sqlite::look(&path)?)).await?;
                let side = Self::folder(db, None, "BEGIN").await?;
                side.refuse_older(sqlite::newest_schema()).await?;
                Ok(side)
            }
            Place::Database(url) => {
                let side = Self::database(url).await?;
                side.refuse_older(postgres::newest_schema()).await?;
                Ok(side)
            }
        }
    }

    /// Refuses a schema that this Manifold would first bring up to date, and a database without any.
    async fn refuse_older(&self, known: i64) -> Result<()> {
        if self.is_postgres() {
            let there = "SELECT to_regclass('refinery_schema_history') IS NOT NULL";
            if self.rows(there, &[]).await?.first().and_then(|row| row.first()).map_or(0, Value::number) == 0
            {
                return Err(TransferError::Missing("the database".to_owned()));
            }
        }
        let version = "SELECT CAST(max(version) AS BIGINT) FROM refinery_schema_history";
        let found =
            self.rows(version, &[]).await?.first().and_then(|row| row.first()).map_or(0, Value::number);
        if found < known { Err(TransferError::Older { found, known }) } else { Ok(()) }
    }

    /// A store to read from that no server uses, its schema up to date.
    pub(super) async fn take(place: &Place, force: bool) -> Result<Self> {
        match place {
            Place::Folder(folder) => {
                let path = existing(folder)?;
                let (lock, db) = blocking(move || Ok(sqlite::open(&path)?)).await?;
                Self::folder(db, Some(lock), "BEGIN").await
            }
            Place::Database(url) => {
                Address::parse(url)?.prepare().await?;
                let side = Self::database(url).await?;
                if !force {
                    side.refuse_served().await?;
                }
                Ok(side)
            }
        }
    }

    /// An empty store to write to; it is made when it is not there.
    pub(super) async fn fresh(place: &Place) -> Result<Self> {
        let side = match place {
            Place::Folder(folder) => {
                let path = folder.join(DATABASE);
                let (lock, db) = blocking(move || Ok(sqlite::open(&path)?)).await?;
                Self::folder(db, Some(lock), "BEGIN IMMEDIATE").await?
            }
            Place::Database(url) => {
                let address = Address::parse(url)?;
                address.prepare().await?;
                let client = address.connect().await?;
                let tables: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
                // A server that starts meanwhile waits.
                let lock = format!("LOCK TABLE {}, servers, leases IN EXCLUSIVE MODE", tables.join(", "));
                client.batch_execute(&format!("{LIMITS}; BEGIN; {lock}")).await?;
                let side = Self::Database { client };
                side.refuse_served().await?;
                side
            }
        };
        side.refuse_filled().await?;
        Ok(side)
    }

    async fn folder(db: Connection, lock: Option<FolderLock>, begin: &str) -> Result<Self> {
        let side = Self::Folder { db: Arc::new(Mutex::new(db)), _lock: lock };
        side.run(begin).await?;
        Ok(side)
    }

    async fn database(url: &str) -> Result<Self> {
        let client = Address::parse(url)?.connect().await?;
        client.batch_execute(&format!("{LIMITS}; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")).await?;
        Ok(Self::Database { client })
    }

    pub(super) fn is_postgres(&self) -> bool {
        matches!(self, Self::Database { .. })
    }

    async fn refuse_served(&self) -> Result<()> {
        let now = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
        let sql = format!("SELECT node FROM servers WHERE expires_at > {now} ORDER BY node LIMIT 1");
        match self.rows(&sql, &[]).await?.first().and_then(|row| row.first()) {
            Some(node) => Err(TransferError::Served { node: node.text().to_owned() }),
            None => Ok(()),
        }
    }

    async fn refuse_filled(&self) -> Result<()> {
        for table in TABLES {
            let there = self.rows(&format!("SELECT 1 FROM {} LIMIT 1", table.name), &[]).await?;
            if !there.is_empty() {
                return Err(TransferError::NotEmpty { what: format!("there are {}", table.name) });
            }
        }
        Ok(())
    }

    /// The time of the store's clock.
    pub(super) async fn now(&self) -> Result<Millis> {
        let sql = match self {
            Self::Folder { .. } => "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
            Self::Database { .. } => "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
        };
        Ok(self.rows(sql, &[]).await?.first().and_then(|row| row.first()).map_or(0, Value::number))
    }

    /// All rows of a query.
    pub(super) async fn rows(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        match self {
            Self::Folder { db, .. } => {
                let (db, sql, params) = (Arc::clone(db), sql.to_owned(), params.to_vec());
                blocking(move || {
                    let db = db.lock().unwrap_or_else(PoisonError::into_inner);
                    let mut statement = db.prepare_cached(&sql)?;
                    let mut found = statement.query(params_from_iter(params.iter().map(to_sqlite)))?;
                    let mut rows = Vec::new();
                    while let Some(row) = found.next()? {
                        rows.push(from_sqlite(row)?);
                    }
                    Ok(rows)
                })
                .await
            }
            Self::Database { client } => {
                let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(to_postgres).collect();
                client.query(sql, &params).await?.iter().map(from_postgres).collect()
            }
        }
    }

    /// Runs a statement without parameters.
    pub(super) async fn run(&self, sql: &str) -> Result<()> {
        match self {
            Self::Folder { db, .. } => {
                let (db, sql) = (Arc::clone(db), sql.to_owned());
                blocking(move || Ok(db.lock().unwrap_or_else(PoisonError::into_inner).execute_batch(&sql)?))
                    .await
            }
            Self::Database { client } => Ok(client.batch_execute(sql).await?),
        }
    }

    /// Reads all rows of a query, a batch at a time.
    pub(super) async fn read(&self, sql: String) -> Result<Batches<'_>> {
        match self {
            Self::Folder { db, .. } => {
                let (batches, received) = mpsc::channel(BATCHES);
                let db = Arc::clone(db);
                tokio::task::spawn_blocking(move || {
                    if let Err(error) = send_batches(&db, &sql, &batches) {
                        // Whoever reads no more does not want to know.
                        let _ = batches.blocking_send(Err(error));
                    }
                });
                Ok(Batches::Folder(received))
            }
            Self::Database { client } => {
                client.batch_execute(&format!("DECLARE {CURSOR} NO SCROLL CURSOR FOR {sql}")).await?;
                Ok(Batches::Database(client))
            }
        }
    }

    /// Writes rows of a table.
    pub(super) async fn write(&self, table: &'static Table, rows: Vec<Row>) -> Result<()> {
        match self {
            Self::Folder { db, .. } => {
                let db = Arc::clone(db);
                blocking(move || {
                    let db = db.lock().unwrap_or_else(PoisonError::into_inner);
                    let extra = if table.name == "inbox" { (", completes", ", 0") } else { ("", "") };
                    let places = vec!["?"; table.columns.len()].join(", ");
                    let (names, name) = (table.names(), table.name);
                    let sql = format!("INSERT INTO {name} ({names}{}) VALUES ({places}{})", extra.0, extra.1);
                    let mut statement = db.prepare_cached(&sql)?;
                    for row in &rows {
                        statement.execute(params_from_iter(row.iter().map(to_sqlite)))?;
                    }
                    Ok(())
                })
                .await
            }
            Self::Database { client } => copy_in(client, table, &rows).await,
        }
    }

    /// The number after which a table's numbers go on; with `None` that of tickets.
    pub(super) async fn last_number(&self, table: Option<&Table>) -> Result<i64> {
        let sql = match (self, table) {
            (Self::Folder { .. }, None) => format!("SELECT value FROM counters WHERE name = '{TICKET}'"),
            (Self::Folder { .. }, Some(table)) => {
                let name = table.name;
                format!(
                    "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = '{name}'), 0), \
                     coalesce((SELECT max(number) FROM {name}), 0))"
                )
            }
            (Self::Database { .. }, table) => {
                let sequence = table.and_then(|table| table.sequence).unwrap_or(TICKETS);
                format!("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}")
            }
        };
        Ok(self.rows(&sql, &[]).await?.first().and_then(|row| row.first()).map_or(0, Value::number))
    }

    /// Lets a table's numbers, or tickets, go on after this one.
    pub(super) async fn go_on_after(&self, table: Option<&Table>, last: i64) -> Result<()> {
        match (self, table) {
            (_, _) if last == 0 => Ok(()),
            (Self::Folder { .. }, None) => {
                self.run(&format!("INSERT INTO counters (name, value) VALUES ('{TICKET}', {last})")).await
            }
            (Self::Folder { .. }, Some(table)) => {
                // Tables without a row here number on from their newest row.
                let name = table.name;
                let counts = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = $1 AND sql LIKE '%AUTOINCREMENT%'";
                if self.rows(counts, &[Value::Text(name.to_owned())]).await?.is_empty() {
                    return Ok(());
                }
                self.run(&format!(
                    "DELETE FROM sqlite_sequence WHERE name = '{name}'; \
                     INSERT INTO sqlite_sequence (name, seq) VALUES ('{name}', {last})"
                ))
                .await
            }
            (Self::Database { .. }, table) => {
                let sequence = table.and_then(|table| table.sequence).unwrap_or(TICKETS);
                self.run(&format!("SELECT setval('{sequence}', {last})")).await
            }
        }
    }

    /// Writes what a home keeps beside the tables of both.
    pub(super) async fn complete(&self) -> Result<()> {
        let Self::Folder { db, .. } = self else { return Ok(()) };
        let db = Arc::clone(db);
        let item = to_json(&InboxItem::Completions {})?;
        blocking(move || {
            let db = db.lock().unwrap_or_else(PoisonError::into_inner);
            db.execute(
                "INSERT INTO inbox (execution, completes, item) SELECT DISTINCT parent, 1, ?1 FROM completions",
                [item],
            )?;
            Ok(())
        })
        .await
    }

    /// Keeps what was written.
    pub(super) async fn commit(self) -> Result<()> {
        self.run("COMMIT").await
    }
}

/// Rows on their way, a batch at a time.
pub(super) enum Batches<'s> {
    Folder(mpsc::Receiver<Result<Vec<Row>>>),
    Database(&'s Client),
}

impl Batches<'_> {
    /// The next batch; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Row>>> {
        match self {
            Self::Folder(batches) => batches.recv().await.transpose(),
            Self::Database(client) => {
                let rows = client.query(&format!("FETCH FORWARD {BATCH} FROM {CURSOR}"), &[]).await?;
                if rows.is_empty() {
                    client.batch_execute(&format!("CLOSE {CURSOR}")).await?;
                    return Ok(None);
                }
                rows.iter().map(from_postgres).collect::<Result<_>>().map(Some)
            }
        }
    }
}

fn send_batches(db: &Mutex<Connection>, sql: &str, batches: &mpsc::Sender<Result<Vec<Row>>>) -> Result<()> {
    let db = db.lock().unwrap_or_else(PoisonError::into_inner);
    let mut statement = db.prepare(sql)?;
    let mut found = statement.query([])?;
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(row) = found.next()? {
        batch.push(from_sqlite(row)?);
        if batch.len() == BATCH && batches.blocking_send(Ok(std::mem::take(&mut batch))).is_err() {
            return Ok(());
        }
    }
    if !batch.is_empty() {
        // Whoever reads no more does not want the rest.
        let _ = batches.blocking_send(Ok(batch));
    }
    Ok(())
}

/// The database's file in a folder that has one.
fn existing(folder: &Path) -> Result<std::path::PathBuf> {
    let path = folder.join(DATABASE);
    if path.is_file() { Ok(path) } else { Err(TransferError::Missing(folder.display().to_string())) }
}

async fn copy_in(client: &Client, table: &Table, rows: &[Row]) -> Result<()> {
    let types: Vec<Type> = table
        .columns
        .iter()
        .map(|column| match column.kind {
            Kind::Number => Type::INT8,
            Kind::Truth => Type::BOOL,
            Kind::Text => Type::TEXT,
            Kind::Bytes => Type::BYTEA,
        })
        .collect();
    let copy = format!("COPY {} ({}) FROM STDIN (FORMAT binary)", table.name, table.names());
    let mut writer = pin!(BinaryCopyInWriter::new(client.copy_in(&copy).await?, &types));
    for row in rows {
        let truths: Vec<bool> = row.iter().map(|value| value.number() != 0).collect();
        let params: Vec<&(dyn ToSql + Sync)> = row
            .iter()
            .zip(table.columns)
            .zip(&truths)
            .map(|((value, column), truth)| match (column.kind, value) {
                (kind, Value::Null) => nothing(kind),
                (Kind::Truth, _) => truth as &(dyn ToSql + Sync),
                _ => to_postgres(value),
            })
            .collect();
        writer.as_mut().write(&params).await?;
    }
    writer.finish().await?;
    Ok(())
}

fn to_sqlite(value: &Value) -> Sqlite {
    match value {
        Value::Null => Sqlite::Null,
        Value::Number(number) => Sqlite::Integer(*number),
        Value::Text(text) => Sqlite::Text(text.clone()),
        Value::Bytes(bytes) => Sqlite::Blob(bytes.clone()),
    }
}

fn from_sqlite(row: &rusqlite::Row<'_>) -> Result<Row> {
    (0..row.as_ref().column_count())
        .map(|column| {
            Ok(match row.get_ref(column)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(number) => Value::Number(number),
                ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
                ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
                ValueRef::Real(_) => return Err(unexpected("a fraction")),
            })
        })
        .collect()
}

fn to_postgres(value: &Value) -> &(dyn ToSql + Sync) {
    match value {
        Value::Null => &None::<i64>,
        Value::Number(number) => number,
        Value::Text(text) => text,
        Value::Bytes(bytes) => bytes,
    }
}

/// NULL of a column.
fn nothing(kind: Kind) -> &'static (dyn ToSql + Sync) {
    match kind {
        Kind::Number => &None::<i64>,
        Kind::Truth => &None::<bool>,
        Kind::Text => &None::<&str>,
        Kind::Bytes => &None::<&[u8]>,
    }
}

fn from_postgres(row: &PostgresRow) -> Result<Row> {
    row.columns()
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let value = match *column.type_() {
                Type::INT8 => row.try_get::<_, Option<i64>>(at)?.map(Value::Number),
                Type::INT4 => row.try_get::<_, Option<i32>>(at)?.map(|number| Value::Number(number.into())),
                Type::BOOL => row.try_get::<_, Option<bool>>(at)?.map(|truth| Value::Number(truth.into())),
                Type::TEXT | Type::VARCHAR => row.try_get::<_, Option<String>>(at)?.map(Value::Text),
                Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(at)?.map(Value::Bytes),
                _ => return Err(unexpected(column.type_().name())),
            };
            Ok(value.unwrap_or(Value::Null))
        })
        .collect()
}

fn unexpected(what: &str) -> TransferError {
    StoreError::Broken { action: "read a value", cause: format!("it is {what}").into() }.into()
}
