//! Copying a store from one home to another, whichever they are: all or nothing, and proven equal before it counts.

use aws_lc_rs::digest;
use manifold_model::Millis;
use serde::Serialize;

use super::side::{Row, Side, Value};
use super::tables::{TABLES, Table};
use super::{Place, Result, TransferError};

/// A table that was copied.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Copied {
    /// Table.
    pub table: &'static str,
    /// Rows.
    pub rows: u64,
    /// SHA-256 over all rows, hexadecimal: the same on both sides.
    pub hash: String,
}

/// Copies a store that no server uses into an empty one. Leases are left behind; tasks that delegates had go back to the queue, as after a crash.
/// With `force` a lease of a server on PostgreSQL does not count. `done` hears of every table that was copied and compared.
///
/// # Errors
/// Either cannot be opened, servers run on one, the target is not empty, or what was written is not what was read; then the target stays empty.
pub async fn copy(
    from: &Place,
    to: &Place,
    force: bool,
    done: &mut (dyn FnMut(&Copied) + Send),
) -> Result<Vec<Copied>> {
    let source = Side::take(from, force).await?;
    copy_from(&source, to, done).await
}

/// Copies from a side that is open.
pub(super) async fn copy_from(
    source: &Side,
    to: &Place,
    done: &mut (dyn FnMut(&Copied) + Send),
) -> Result<Vec<Copied>> {
    let target = Side::fresh(to).await?;
    let now = target.now().await?;
    let mut copied = Vec::new();
    for table in TABLES {
        let read = copy_table(source, &target, table, now).await?;
        if table.sequence.is_some() {
            carry_on(source, &target, table).await?;
        }
        if fingerprint(&target, table, now).await? != read {
            return Err(TransferError::Differs { table: table.name });
        }
        done(&read);
        copied.push(read);
    }
    target.go_on_after(None, source.last_number(None).await?).await?;
    target.complete().await?;
    target.commit().await?;
    Ok(copied)
}

/// Numbers go on after the last one ever given, and after the last one written here.
async fn carry_on(source: &Side, target: &Side, table: &Table) -> Result<()> {
    let given = source.last_number(Some(table)).await?;
    let written = target.rows(&format!("SELECT max(number) FROM {}", table.name), &[]).await?;
    let written = written.first().and_then(|row| row.first()).map_or(0, Value::number);
    target.go_on_after(Some(table), given.max(written)).await
}

async fn copy_table(source: &Side, target: &Side, table: &'static Table, now: Millis) -> Result<Copied> {
    let mut sum = Sum::new(table);
    let mut batches = source.read(table.select(source.is_postgres(), now)).await?;
    while let Some(batch) = batches.next().await? {
        sum.add(&batch);
        target.write(table, batch).await?;
    }
    Ok(sum.end())
}

async fn fingerprint(side: &Side, table: &'static Table, now: Millis) -> Result<Copied> {
    let mut sum = Sum::new(table);
    let mut batches = side.read(table.select(side.is_postgres(), now)).await?;
    while let Some(batch) = batches.next().await? {
        sum.add(&batch);
    }
    Ok(sum.end())
}

/// What rows amount to.
struct Sum {
    table: &'static str,
    rows: u64,
    hash: digest::Context,
}

impl Sum {
    fn new(table: &Table) -> Self {
        Self { table: table.name, rows: 0, hash: digest::Context::new(&digest::SHA256) }
    }

    fn add(&mut self, rows: &[Row]) {
        for row in rows {
            self.rows += 1;
            for value in row {
                self.add_value(value);
            }
        }
    }

    /// Kind, length and content, so that no two different rows look alike.
    fn add_value(&mut self, value: &Value) {
        let (kind, bytes): (u8, &[u8]) = match value {
            Value::Null => (0, &[]),
            Value::Number(number) => (1, &number.to_be_bytes()),
            Value::Text(text) => (2, text.as_bytes()),
            Value::Bytes(bytes) => (3, bytes),
        };
        self.hash.update(&[kind]);
        self.hash.update(&(bytes.len() as u64).to_be_bytes());
        self.hash.update(bytes);
    }

    fn end(self) -> Copied {
        Copied { table: self.table, rows: self.rows, hash: super::archive::hex(self.hash.finish().as_ref()) }
    }
}
