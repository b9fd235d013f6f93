//! Barriers across the legs of a stage (`behaviour.md` 8.3): all cross together, or who fails first breaks it for those not across. Whoever
//! changes a barrier holds the guard of its scope.

use manifold_model::ExecutionId;

use super::db::Db;
use super::guards::Guard;
use super::writing::Writing;
use super::{inbox, small};
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

pub(super) async fn seat(writing: &mut Writing<'_>, seats: &[BarrierSeat]) -> Result<()> {
    if seats.is_empty() {
        return Ok(());
    }
    let scopes: Vec<&str> = seats.iter().map(|seat| seat.scope.as_str()).collect();
    let identifiers: Vec<&str> = seats.iter().map(|seat| seat.identifier.as_str()).collect();
    let executions: Vec<&str> = seats.iter().map(|seat| seat.execution.as_str()).collect();
    hold(writing, &scopes).await?;
    writing
        .db
        .run(
            "INSERT INTO barriers (scope, identifier) SELECT DISTINCT * FROM unnest($1::text[], $2::text[]) \
             ON CONFLICT DO NOTHING",
            &[&scopes, &identifiers],
        )
        .await?;
    writing
        .db
        .run(
            "WITH new AS (INSERT INTO seats (scope, identifier, execution) \
             SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) ON CONFLICT DO NOTHING \
             RETURNING scope, identifier) UPDATE barriers b SET seats = b.seats + c.seats FROM \
             (SELECT scope, identifier, count(*) AS seats FROM new GROUP BY scope, identifier) AS c \
             WHERE b.scope = c.scope AND b.identifier = c.identifier",
            &[&scopes, &identifiers, &executions],
        )
        .await?;
    Ok(())
}

async fn hold(writing: &Writing<'_>, scopes: &[&str]) -> Result<()> {
    let guards: Vec<Guard<'_>> = scopes.iter().map(|scope| Guard::Barriers(scope)).collect();
    writing.hold(&guards).await
}

/// Arrives at a barrier. Who has no seat is alone and passes.
pub(super) async fn arrive(
    writing: &mut Writing<'_>,
    execution: &ExecutionId,
    identifier: &str,
) -> Result<BarrierAnswer> {
    let Some(seen) = standing(&writing.db, execution.as_str(), identifier).await? else {
        return Ok(BarrierAnswer::Crossed);
    };
    hold(writing, &[&seen.scope]).await?;
    let Some(standing) = standing(&writing.db, execution.as_str(), identifier).await? else {
        return Ok(BarrierAnswer::Crossed);
    };
    if standing.crossed {
        return Ok(BarrierAnswer::Crossed);
    }
    if let Some(by) = standing.broken_by {
        return Ok(BarrierAnswer::Broken { by: by.into() });
    }
    move_to(&writing.db, &standing.scope, identifier, execution, ARRIVED).await?;
    if open_if_complete(writing, &standing.scope, identifier, execution).await? {
        return Ok(BarrierAnswer::Crossed);
    }
    let (arrived, of) = counts(&writing.db, &standing.scope, identifier).await?;
    Ok(BarrierAnswer::Waiting { arrived, of })
}

/// Leaves all barriers: ending well counts as arriving, failing breaks those not crossed.
pub(super) async fn leave(writing: &mut Writing<'_>, execution: &ExecutionId, well: bool) -> Result<()> {
    let mine = writing
        .db
        .rows("SELECT DISTINCT scope FROM seats WHERE execution = $1", &[&execution.as_str()])
        .await?;
    if mine.is_empty() {
        return Ok(());
    }
    hold(writing, &mine.iter().map(|row| row.get(0)).collect::<Vec<&str>>()).await?;
    let open = writing
        .db
        .rows(
            "SELECT s.scope, s.identifier FROM seats s JOIN barriers b ON b.scope = s.scope \
             AND b.identifier = s.identifier WHERE s.execution = $1 AND NOT b.crossed AND b.broken_by IS NULL \
             ORDER BY s.scope, s.identifier",
            &[&execution.as_str()],
        )
        .await?;
    for row in &open {
        let (scope, identifier): (&str, &str) = (row.get(0), row.get(1));
        let place = if well { LEFT_WELL } else { FAILED };
        move_to(&writing.db, scope, identifier, execution, place).await?;
        if well {
            open_if_complete(writing, scope, identifier, execution).await?;
        } else {
            let broken = "UPDATE barriers SET broken_by = $3 WHERE scope = $1 AND identifier = $2";
            writing.db.run(broken, &[&scope, &identifier, &execution.as_str()]).await?;
            tell_waiting(writing, scope, identifier, execution, Some(execution)).await?;
        }
    }
    Ok(())
}

/// Moves an execution's seat; from not yet there to there it is counted.
async fn move_to(
    db: &Db<'_>,
    scope: &str,
    identifier: &str,
    execution: &ExecutionId,
    place: i64,
) -> Result<()> {
    let before = db
        .one(
            "UPDATE seats s SET place = $4 FROM seats before WHERE s.scope = $1 AND s.identifier = $2 \
             AND s.execution = $3 AND before.scope = s.scope AND before.identifier = s.identifier \
             AND before.execution = s.execution RETURNING before.place",
            &[&scope, &identifier, &execution.as_str(), &place],
        )
        .await?;
    if before.get::<_, i64>(0) == NOT_THERE && place != FAILED {
        let counted = "UPDATE barriers SET arrived = arrived + 1 WHERE scope = $1 AND identifier = $2";
        db.run(counted, &[&scope, &identifier]).await?;
    }
    Ok(())
}

/// Opens the barrier when nobody is missing, and tells those who wait, but not the one that completed it.
async fn open_if_complete(
    writing: &mut Writing<'_>,
    scope: &str,
    identifier: &str,
    last: &ExecutionId,
) -> Result<bool> {
    let opened = writing
        .db
        .run(
            "UPDATE barriers SET crossed = TRUE WHERE scope = $1 AND identifier = $2 AND arrived >= seats",
            &[&scope, &identifier],
        )
        .await?;
    if opened == 0 {
        return Ok(false);
    }
    tell_waiting(writing, scope, identifier, last, None).await?;
    Ok(true)
}

async fn tell_waiting(
    writing: &mut Writing<'_>,
    scope: &str,
    identifier: &str,
    but: &ExecutionId,
    broken_by: Option<&ExecutionId>,
) -> Result<()> {
    let waiting = writing
        .db
        .rows(
            "SELECT e.number, e.id FROM seats s JOIN executions e ON e.id = s.execution \
             WHERE s.scope = $1 AND s.identifier = $2 AND s.place = $3 AND s.execution <> $4 ORDER BY s.execution",
            &[&scope, &identifier, &ARRIVED, &but.as_str()],
        )
        .await?;
    let item = InboxItem::Barrier { identifier: identifier.to_owned(), broken_by: broken_by.cloned() };
    for row in &waiting {
        inbox::put(writing, row.get(0), row.get(1), &item).await?;
    }
    Ok(())
}

async fn standing(db: &Db<'_>, execution: &str, identifier: &str) -> Result<Option<Standing>> {
    let found = db
        .maybe(
            "SELECT b.scope, b.crossed, b.broken_by FROM seats s JOIN barriers b ON b.scope = s.scope \
             AND b.identifier = s.identifier WHERE s.execution = $1 AND s.identifier = $2",
            &[&execution, &identifier],
        )
        .await?;
    Ok(found.map(|row| Standing { scope: row.get(0), crossed: row.get(1), broken_by: row.get(2) }))
}

async fn counts(db: &Db<'_>, scope: &str, identifier: &str) -> Result<(u32, u32)> {
    let found = db
        .one(
            "SELECT arrived, seats FROM barriers WHERE scope = $1 AND identifier = $2",
            &[&scope, &identifier],
        )
        .await?;
    Ok((small(found.get(0)), small(found.get(1))))
}

/// Arrived (or ended well without it) and participants, of the barrier at which an execution has a seat.
pub(super) async fn progress(db: &Db<'_>, execution: &str, identifier: &str) -> Result<Option<(u32, u32)>> {
    match standing(db, execution, identifier).await? {
        Some(standing) => Ok(Some(counts(db, &standing.scope, identifier).await?)),
        None => Ok(None),
    }
}
