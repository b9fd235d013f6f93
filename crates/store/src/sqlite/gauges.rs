//! What the store holds now, in a few index lookups.

use std::collections::BTreeMap;

use manifold_model::Millis;
use rusqlite::Connection;

use super::count;
use crate::values::{delegate_status, status};
use crate::{Gauges, Result};

pub(super) fn read(db: &Connection, now: Millis) -> Result<Gauges> {
    let mut gauges = Gauges { now, ..Gauges::default() };
    (gauges.tasks_queued, gauges.oldest_queued_at) =
        db.query_row("SELECT count(*), min(queued_at) FROM tasks WHERE state = 0", [], |row| {
            Ok((count(row.get(0)?), row.get(1)?))
        })?;
    gauges.tasks_leased = number(db, "SELECT count(*) FROM tasks WHERE state = 1")?;
    (gauges.inbox, gauges.oldest_inbox) =
        db.query_row("SELECT count(*), min(number) FROM inbox", [], |row| {
            Ok((count(row.get(0)?), row.get::<_, Option<i64>>(1)?.map(count)))
        })?;
    (gauges.timers_due, gauges.oldest_timer_due) =
        db.query_row("SELECT count(*), min(due) FROM timers WHERE due <= ?1", [now], |row| {
            Ok((count(row.get(0)?), row.get(1)?))
        })?;
    for (is_leg, into) in [(false, &mut gauges.executions), (true, &mut gauges.legs)] {
        let sql = "SELECT status, count(*) FROM executions WHERE final = 0 AND (parent IS NOT NULL) = ?1 GROUP BY status";
        let found: Vec<(String, i64)> = db
            .prepare_cached(sql)?
            .query_map([is_leg], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (name, many) in found {
            into.insert(status(&name)?, count(many));
        }
    }
    gauges.servers = number(db, "SELECT count(*) FROM servers")?;
    gauges.delegates_connected =
        number(db, "SELECT count(*) FROM leases WHERE holder >= 'delegate/' AND holder < 'delegate0'")?;
    gauges.delegates = delegates(db)?;
    Ok(gauges)
}

fn delegates(db: &Connection) -> Result<BTreeMap<&'static str, u64>> {
    let found: Vec<(String, i64)> = db
        .prepare_cached("SELECT status, count(*) FROM delegates GROUP BY status")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    found.into_iter().map(|(name, many)| Ok((delegate_status(&name)?.as_str(), count(many)))).collect()
}

fn number(db: &Connection, sql: &str) -> Result<u64> {
    Ok(count(db.prepare_cached(sql)?.query_row([], |row| row.get(0))?))
}
