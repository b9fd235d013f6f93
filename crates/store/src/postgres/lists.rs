//! Lists of executions: filtered, sorted and counted by the database.

use std::collections::BTreeMap;

use manifold_model::execution::ExecutionRow;
use manifold_model::{Millis, Status};
use tokio_postgres::types::ToSql;

use super::db::Db;
use super::{count, int, rows};
use crate::filter::{Bound, Dialect, Where, order_sql};
use crate::{ExecutionFilter, Order, Page, Result};

const DIALECT: Dialect = Dialect { contains: "strpos" };

pub(super) async fn page(
    db: &Db<'_>,
    filter: &ExecutionFilter,
    order: Order,
    offset: u64,
    limit: u32,
    now: Millis,
) -> Result<Page<ExecutionRow>> {
    let built = Where::of(filter, DIALECT);
    let values = params(&built);
    let total =
        db.rows_once(&format!("SELECT count(*) FROM executions e WHERE {}", built.sql()), &values).await?;
    let sql = format!(
        "SELECT {} FROM executions e JOIN execution_rows r ON r.execution = e.number WHERE {} ORDER BY {} \
         LIMIT {limit} OFFSET {}",
        rows::COLUMNS,
        built.sql(),
        order_sql(order, now),
        int(offset)
    );
    let found = db.rows_once(&sql, &values).await?;
    let items = found.iter().map(rows::execution).collect::<Result<_>>()?;
    Ok(Page { items, total: total.first().map_or(0, |row| count(row.get(0))) })
}

pub(super) async fn counts(db: &Db<'_>, filter: &ExecutionFilter) -> Result<BTreeMap<Status, u64>> {
    let built = Where::of(filter, DIALECT);
    let sql = format!("SELECT e.status, count(*) FROM executions e WHERE {} GROUP BY e.status", built.sql());
    let found = db.rows_once(&sql, &params(&built)).await?;
    let counted = found.iter().filter_map(|row| Some((Status::parse(row.get(0))?, count(row.get(1)))));
    Ok(counted.collect())
}

fn params(built: &Where) -> Vec<&(dyn ToSql + Sync)> {
    built.values().iter().map(param).collect()
}

fn param(value: &Bound) -> &(dyn ToSql + Sync) {
    match value {
        Bound::Text(text) => text,
        Bound::Number(number) => number,
    }
}
