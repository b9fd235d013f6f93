//! Lists of executions: filtered, sorted and counted by the database.

use std::collections::BTreeMap;

use manifold_model::execution::ExecutionRow;
use manifold_model::{Millis, Status};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::{count, int, rows};
use crate::filter::{Bound, Dialect, Where, order_sql};
use crate::{ExecutionFilter, Order, Page, Result};

const DIALECT: Dialect = Dialect { contains: "instr" };

pub(super) fn page(
    db: &Connection,
    filter: &ExecutionFilter,
    order: Order,
    offset: u64,
    limit: u32,
    now: Millis,
) -> Result<Page<ExecutionRow>> {
    let built = Where::of(filter, DIALECT);
    let total: i64 = db
        .prepare(&format!("SELECT count(*) FROM executions e WHERE {}", built.sql()))?
        .query_row(params_from_iter(values(&built)), |row| row.get(0))?;
    let sql = format!(
        "SELECT {} FROM executions e JOIN execution_rows r ON r.execution = e.number WHERE {} ORDER BY {} \
         LIMIT {limit} OFFSET {}",
        rows::COLUMNS,
        built.sql(),
        order_sql(order, now),
        int(offset)
    );
    let items = db
        .prepare(&sql)?
        .query_and_then(params_from_iter(values(&built)), rows::execution)?
        .collect::<Result<_>>()?;
    Ok(Page { items, total: count(total) })
}

pub(super) fn counts(db: &Connection, filter: &ExecutionFilter) -> Result<BTreeMap<Status, u64>> {
    let built = Where::of(filter, DIALECT);
    let mut statement = db.prepare(&format!(
        "SELECT e.status, count(*) FROM executions e WHERE {} GROUP BY e.status",
        built.sql()
    ))?;
    let mut counted = BTreeMap::new();
    let mut found = statement.query(params_from_iter(values(&built)))?;
    while let Some(row) = found.next()? {
        if let Some(status) = Status::parse(&row.get::<_, String>(0)?) {
            counted.insert(status, count(row.get(1)?));
        }
    }
    Ok(counted)
}

fn values(built: &Where) -> impl Iterator<Item = Value> {
    built.values().iter().map(|value| match value {
        Bound::Text(text) => Value::Text(text.clone()),
        Bound::Number(number) => Value::Integer(*number),
    })
}
