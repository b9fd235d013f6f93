//! What the store holds now, in a few index lookups.

use std::collections::BTreeMap;

use manifold_model::Status;
use tokio_postgres::Row;

use super::count;
use super::db::Db;
use super::leases::clock;
use crate::values::{delegate_status, status};
use crate::{Gauges, Result};

pub(super) async fn read(db: &Db<'_>) -> Result<Gauges> {
    let now = clock(db).await?;
    let mut gauges = Gauges { now, ..Gauges::default() };
    let row = db.one("SELECT count(*), min(queued_at) FROM tasks WHERE state = 0", &[]).await?;
    (gauges.tasks_queued, gauges.oldest_queued_at) = (count(row.get(0)), row.get(1));
    gauges.tasks_leased = number(db, "SELECT count(*) FROM tasks WHERE state = 1").await?;
    let row = db.one("SELECT count(*), min(number) FROM inbox", &[]).await?;
    (gauges.inbox, gauges.oldest_inbox) = (count(row.get(0)), row.get::<_, Option<i64>>(1).map(count));
    let row = db.one("SELECT count(*), min(due) FROM timers WHERE due <= $1", &[&now]).await?;
    (gauges.timers_due, gauges.oldest_timer_due) = (count(row.get(0)), row.get(1));
    let sql = "SELECT status, parent IS NOT NULL, count(*) FROM executions WHERE NOT final GROUP BY 1, 2";
    for row in db.rows(sql, &[]).await? {
        let state: Status = status(row.get(0))?;
        let into = if row.get(1) { &mut gauges.legs } else { &mut gauges.executions };
        into.insert(state, count(row.get(2)));
    }
    gauges.servers = number(db, "SELECT count(*) FROM servers").await?;
    gauges.delegates_connected =
        number(db, "SELECT count(*) FROM leases WHERE holder >= 'delegate/' AND holder < 'delegate0'")
            .await?;
    let found = db.rows("SELECT status, count(*) FROM delegates GROUP BY status", &[]).await?;
    let one = |row: &Row| Ok((delegate_status(row.get(0))?.as_str(), count(row.get(1))));
    gauges.delegates = found.iter().map(one).collect::<Result<BTreeMap<_, _>>>()?;
    Ok(gauges)
}

async fn number(db: &Db<'_>, sql: &str) -> Result<u64> {
    Ok(count(db.one(sql, &[]).await?.get(0)))
}
