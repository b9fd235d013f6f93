//! Infrastructure locks: first come, first served, all keys at once (`behaviour.md` 8.1, D25). Whoever changes the holders or the queue of a key
//! holds its guard.

use manifold_model::ExecutionId;
use manifold_model::target::LockKey;

use super::db::Db;
use super::guards::Guard;
use super::writing::Writing;
use super::{inbox, small};
use crate::{InboxItem, LockAnswer, Result};

/// Takes all keys at once, or queues for all, or, when a queue is full, does nothing. Asking again tells how it stands.
pub(super) async fn take(
    writing: &mut Writing<'_>,
    execution: i64,
    id: &ExecutionId,
    keys: &[LockKey],
    queue_limit: u32,
) -> Result<LockAnswer> {
    let keys: Vec<&str> = keys.iter().map(|key| key.key.as_str()).collect();
    hold(writing, &keys).await?;
    if let Some(answer) = standing(&writing.db, id.as_str()).await? {
        return Ok(answer);
    }
    let fullest = writing
        .db
        .one(
            "SELECT coalesce(max(there), 0), coalesce(max(waiting), 0) FROM (SELECT count(*) AS there, \
             count(*) FILTER (WHERE NOT granted) AS waiting FROM locks WHERE key = ANY($1) GROUP BY key) AS queues",
            &[&keys],
        )
        .await?;
    let free = fullest.get::<_, i64>(0) == 0;
    if !free && fullest.get::<_, i64>(1) >= i64::from(queue_limit) {
        return Ok(LockAnswer::Full);
    }
    let ticket = next_ticket(&writing.db).await?;
    writing
        .db
        .run(
            "INSERT INTO locks (execution, key, ticket, granted) SELECT $1, key, $3, $4 \
             FROM unnest($2::text[]) AS key ON CONFLICT DO NOTHING",
            &[&execution, &keys, &ticket, &free],
        )
        .await?;
    // Without keys there is nothing to wait for.
    Ok(standing(&writing.db, id.as_str()).await?.unwrap_or(LockAnswer::Granted))
}

/// A ticket for a queue whose guard is held: then all tickets of the queue are seen in their order.
pub(super) async fn next_ticket(db: &Db<'_>) -> Result<i64> {
    Ok(db.one("SELECT nextval('tickets')", &[]).await?.get(0))
}

async fn hold(writing: &Writing<'_>, keys: &[&str]) -> Result<()> {
    let guards: Vec<Guard<'_>> = keys.iter().map(|key| Guard::LockKey(key)).collect();
    writing.hold(&guards).await
}

/// Gives all keys, or all places in the queue, back, and hands the keys to whoever is first on all of theirs.
pub(super) async fn give_back(writing: &mut Writing<'_>, execution: i64) -> Result<()> {
    hold_all_touched(writing, execution).await?;
    let given =
        writing.db.rows("DELETE FROM locks WHERE execution = $1 RETURNING key", &[&execution]).await?;
    let mut keys: Vec<String> = given.iter().map(|row| row.get(0)).collect();
    // A fixed order, so that those who come next are told in one.
    keys.sort();
    for key in &keys {
        let first = writing
            .db
            .maybe(
                "SELECT l.execution, e.id FROM locks l JOIN executions e ON e.number = l.execution \
                 WHERE l.ticket = (SELECT min(ticket) FROM locks WHERE key = $1) AND l.key = $1 AND NOT l.granted",
                &[key],
            )
            .await?;
        let Some(first) = first else { continue };
        let next: i64 = first.get(0);
        // Others may give its further keys back at this moment.
        let wanted = writing.db.rows("SELECT key FROM locks WHERE execution = $1", &[&next]).await?;
        hold(writing, &wanted.iter().map(|row| row.get(0)).collect::<Vec<&str>>()).await?;
        if first_everywhere(&writing.db, next).await? {
            writing.db.run("UPDATE locks SET granted = TRUE WHERE execution = $1", &[&next]).await?;
            inbox::put(writing, next, first.get(1), &InboxItem::LockGranted {}).await?;
        }
    }
    Ok(())
}

/// Keys of executions and, as far as can be told, those that will be looked at when they are given back: whoever holds the guards of all these at
/// once and in order does not wait for another who gives back.
pub(super) const TOUCHED: &str = "WITH mine AS (SELECT execution, key FROM locks WHERE execution = ANY($1)), \
     next AS (SELECT (SELECT l.execution FROM locks l WHERE l.key = mine.key AND l.execution <> mine.execution \
     ORDER BY l.ticket LIMIT 1) AS execution FROM mine) \
     SELECT key FROM mine UNION SELECT l.key FROM locks l JOIN next ON l.execution = next.execution";

async fn hold_all_touched(writing: &Writing<'_>, execution: i64) -> Result<()> {
    let touched = writing.db.rows(TOUCHED, &[&vec![execution]]).await?;
    hold(writing, &touched.iter().map(|row| row.get(0)).collect::<Vec<&str>>()).await
}

async fn first_everywhere(db: &Db<'_>, execution: i64) -> Result<bool> {
    let behind = db
        .maybe(
            "SELECT 1 FROM locks mine JOIN locks other ON other.key = mine.key AND other.ticket < mine.ticket \
             WHERE mine.execution = $1 LIMIT 1",
            &[&execution],
        )
        .await?;
    Ok(behind.is_none())
}

/// How an execution stands: `None` when it neither holds nor waits.
async fn standing(db: &Db<'_>, id: &str) -> Result<Option<LockAnswer>> {
    Ok(place(db, id).await?.map(|(holder, place)| match place {
        0 => LockAnswer::Granted,
        place => LockAnswer::Queued { holder, place },
    }))
}

/// A holder of one of its keys, and its place in the longest of their queues from 1; 0 when it holds them itself.
pub(super) async fn place(db: &Db<'_>, id: &str) -> Result<Option<(Option<ExecutionId>, u32)>> {
    let mine = db
        .maybe(
            "SELECT execution, granted FROM locks \
             WHERE execution = (SELECT number FROM executions WHERE id = $1) LIMIT 1",
            &[&id],
        )
        .await?;
    let Some(mine) = mine else { return Ok(None) };
    if mine.get(1) {
        return Ok(Some((Some(id.into()), 0)));
    }
    let execution: i64 = mine.get(0);
    let ahead = db
        .one(
            "SELECT coalesce(max(ahead), 0) FROM (SELECT count(other.key) AS ahead FROM locks mine LEFT JOIN locks \
             other ON other.key = mine.key AND other.ticket < mine.ticket AND NOT other.granted \
             WHERE mine.execution = $1 GROUP BY mine.key) AS queues",
            &[&execution],
        )
        .await?;
    let holder = db
        .maybe(
            "SELECT e.id FROM locks mine JOIN locks other ON other.key = mine.key AND other.granted \
             JOIN executions e ON e.number = other.execution \
             WHERE mine.execution = $1 ORDER BY other.ticket LIMIT 1",
            &[&execution],
        )
        .await?;
    Ok(Some((holder.map(|row| row.get::<_, String>(0).into()), small(ahead.get(0)) + 1)))
}
