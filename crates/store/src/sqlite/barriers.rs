//! Barriers across the legs of a stage (`behaviour.md` 8.3): all cross together, or who fails first breaks it for those not across.

use manifold_model::ExecutionId;
use rusqlite::{Connection, OptionalExtension, params};

use super::writer::Writing;
use super::{inbox, int};
use crate::{BarrierAnswer, BarrierSeat, InboxItem, Result};

const NOT_THERE: i64 = 0;
const ARRIVED: i64 = 1;
const LEFT_WELL: i64 = 2;
const FAILED: i64 = 3;

/// A seat's barrier as it stands.
struct Standing {
    scope: String,
    crossed: bool,
    broken_by: Option<String>,
}

pub(super) fn seat(writing: &Writing<'_>, seats: &[BarrierSeat]) -> Result<()> {
    for seat in seats {
        writing
            .sql("INSERT OR IGNORE INTO barriers (scope, identifier) VALUES (?1, ?2)")?
            .execute([&seat.scope, &seat.identifier])?;
        let new = writing
            .sql("INSERT OR IGNORE INTO seats (scope, identifier, execution) VALUES (?1, ?2, ?3)")?
            .execute([&seat.scope, &seat.identifier, seat.execution.as_str()])?;
        writing
            .sql("UPDATE barriers SET seats = seats + ?3 WHERE scope = ?1 AND identifier = ?2")?
            .execute(params![seat.scope, seat.identifier, int(new as u64)])?;
    }
    Ok(())
}

/// Arrives at a barrier. Who has no seat is alone and passes.
pub(super) fn arrive(
    writing: &mut Writing<'_>,
    execution: &ExecutionId,
    identifier: &str,
) -> Result<BarrierAnswer> {
    let Some(standing) = standing(writing.db, execution.as_str(), identifier)? else {
        return Ok(BarrierAnswer::Crossed);
    };
    if standing.crossed {
        return Ok(BarrierAnswer::Crossed);
    }
    if let Some(by) = standing.broken_by {
        return Ok(BarrierAnswer::Broken { by: by.into() });
    }
    move_to(writing, &standing.scope, identifier, execution, ARRIVED)?;
    if open_if_complete(writing, &standing.scope, identifier, execution)? {
        return Ok(BarrierAnswer::Crossed);
    }
    let (arrived, of) = counts(writing.db, &standing.scope, identifier)?;
    Ok(BarrierAnswer::Waiting { arrived, of })
}

/// Leaves all barriers: ending well counts as arriving, failing breaks those not crossed.
pub(super) fn leave(writing: &mut Writing<'_>, execution: &ExecutionId, well: bool) -> Result<()> {
    let open: Vec<(String, String)> = writing
        .sql(
            "SELECT s.scope, s.identifier FROM seats s JOIN barriers b ON b.scope = s.scope \
             AND b.identifier = s.identifier WHERE s.execution = ?1 AND b.crossed = 0 AND b.broken_by IS NULL",
        )?
        .query_map([execution.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (scope, identifier) in open {
        move_to(writing, &scope, &identifier, execution, if well { LEFT_WELL } else { FAILED })?;
        if well {
            open_if_complete(writing, &scope, &identifier, execution)?;
        } else {
            writing
                .sql("UPDATE barriers SET broken_by = ?3 WHERE scope = ?1 AND identifier = ?2")?
                .execute([&scope, &identifier, execution.as_str()])?;
            tell_waiting(writing, &scope, &identifier, execution, Some(execution))?;
        }
    }
    Ok(())
}

/// Moves an execution's seat; from not yet there to there it is counted.
fn move_to(
    writing: &Writing<'_>,
    scope: &str,
    identifier: &str,
    execution: &ExecutionId,
    place: i64,
) -> Result<()> {
    let before: i64 = writing
        .sql("SELECT place FROM seats WHERE scope = ?1 AND identifier = ?2 AND execution = ?3")?
        .query_row([scope, identifier, execution.as_str()], |row| row.get(0))?;
    writing
        .sql("UPDATE seats SET place = ?4 WHERE scope = ?1 AND identifier = ?2 AND execution = ?3")?
        .execute(params![scope, identifier, execution.as_str(), place])?;
    if before == NOT_THERE && place != FAILED {
        writing
            .sql("UPDATE barriers SET arrived = arrived + 1 WHERE scope = ?1 AND identifier = ?2")?
            .execute([scope, identifier])?;
    }
    Ok(())
}

/// Opens the barrier when nobody is missing, and tells those who wait, but not the one that completed it.
fn open_if_complete(
    writing: &mut Writing<'_>,
    scope: &str,
    identifier: &str,
    last: &ExecutionId,
) -> Result<bool> {
    let (arrived, of) = counts(writing.db, scope, identifier)?;
    if arrived < of {
        return Ok(false);
    }
    writing
        .sql("UPDATE barriers SET crossed = 1 WHERE scope = ?1 AND identifier = ?2")?
        .execute([scope, identifier])?;
    tell_waiting(writing, scope, identifier, last, None)?;
    Ok(true)
}

fn tell_waiting(
    writing: &mut Writing<'_>,
    scope: &str,
    identifier: &str,
    but: &ExecutionId,
    broken_by: Option<&ExecutionId>,
) -> Result<()> {
    let waiting: Vec<(i64, String)> = writing
        .sql(
            "SELECT e.number, e.id FROM seats s JOIN executions e ON e.id = s.execution \
             WHERE s.scope = ?1 AND s.identifier = ?2 AND s.place = ?3 AND s.execution <> ?4",
        )?
        .query_map(params![scope, identifier, ARRIVED, but.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (number, id) in waiting {
        let item = InboxItem::Barrier { identifier: identifier.to_owned(), broken_by: broken_by.cloned() };
        inbox::put(writing, number, &id, &item)?;
    }
    Ok(())
}

fn standing(db: &Connection, execution: &str, identifier: &str) -> Result<Option<Standing>> {
    Ok(db
        .prepare_cached(
            "SELECT b.scope, b.crossed, b.broken_by FROM seats s JOIN barriers b ON b.scope = s.scope \
             AND b.identifier = s.identifier WHERE s.execution = ?1 AND s.identifier = ?2",
        )?
        .query_row([execution, identifier], |row| {
            Ok(Standing { scope: row.get(0)?, crossed: row.get(1)?, broken_by: row.get(2)? })
        })
        .optional()?)
}

fn counts(db: &Connection, scope: &str, identifier: &str) -> Result<(u32, u32)> {
    Ok(db
        .prepare_cached("SELECT arrived, seats FROM barriers WHERE scope = ?1 AND identifier = ?2")?
        .query_row([scope, identifier], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// Arrived (or ended well without it) and participants, of the barrier at which an execution has a seat.
pub(super) fn progress(db: &Connection, execution: &str, identifier: &str) -> Result<Option<(u32, u32)>> {
    standing(db, execution, identifier)?.map(|standing| counts(db, &standing.scope, identifier)).transpose()
}
