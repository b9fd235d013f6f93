//! Extending executions: everything that one step of each writes, many in one transaction (`design.md` 4), a statement for all of them where
//! most steps write. What only some steps do (locks, permits, barriers, legs) is done one by one.

use std::collections::{HashMap, HashSet};

use manifold_model::ExecutionId;
use manifold_model::event::Event;

use super::db::{Db, Param};
use super::guards::{self, Guard};
use super::inbox::Taken;
use super::rows::{Known, Updates};
use super::writing::Writing;
use super::{
    barriers, constraints, history, inbox, int, leases, legs, locks, misuse, rows, tasks, timers, to_json,
};
use crate::{Append, Appended, Hint, Lease, PermitChange, Result, StoreError};

/// Extends executions; each append stands or falls alone. Only what the database itself refuses fails all of them.
pub(super) async fn append_many(
    writing: &mut Writing<'_>,
    appends: &[Append],
) -> Result<Vec<Result<Appended>>> {
    let mut answers: Vec<Option<Result<Appended>>> = Vec::new();
    answers.resize_with(appends.len(), || None);
    let mut left: Vec<usize> = (0..appends.len()).collect();
    while !left.is_empty() {
        // A second append to an execution comes after the first.
        let mut seen = HashSet::new();
        let (now, later): (Vec<usize>, Vec<usize>) = left
            .iter()
            .copied()
            .partition(|at| appends.get(*at).is_some_and(|append| seen.insert(append.execution.as_ref())));
        let batch: Vec<&Append> = now.iter().filter_map(|at| appends.get(*at)).collect();
        let batch_answers = append_each(writing, &batch).await?;
        for (at, answer) in now.into_iter().zip(batch_answers) {
            if let Some(place) = answers.get_mut(at) {
                *place = Some(answer);
            }
        }
        left = later;
    }
    Ok(answers
        .into_iter()
        .map(|answer| answer.unwrap_or_else(|| Err(misuse("append", "it was left out"))))
        .collect())
}

/// An append that may be written, as far as can be seen before.
struct Step<'a> {
    append: &'a Append,
    id: &'a ExecutionId,
    known: &'a Known,
}

/// Extends different executions.
async fn append_each(writing: &mut Writing<'_>, appends: &[&Append]) -> Result<Vec<Result<Appended>>> {
    let (held, known) = lock(&writing.db, appends).await?;
    let checked: Vec<Result<Step<'_>>> = appends.iter().map(|append| check(append, &held, &known)).collect();
    let steps: Vec<&Step<'_>> = checked.iter().filter_map(|step| step.as_ref().ok()).collect();
    hold_guards(writing, &steps).await?;
    let mut written = write_apart(writing, &steps).await?.into_iter();
    Ok(checked
        .into_iter()
        .map(|step| {
            step.and_then(|_| written.next().unwrap_or_else(|| Err(misuse("append", "it was left out"))))
        })
        .collect())
}

/// Shares the leases that appends name and locks their executions.
async fn lock(db: &Db<'_>, appends: &[&Append]) -> Result<(HashSet<Lease>, HashMap<String, Known>)> {
    let fences: Vec<u64> =
        appends.iter().flat_map(|append| leases_of(append)).map(|lease| lease.fence).collect();
    let ids: Vec<&str> =
        appends.iter().filter_map(|append| append.execution.as_ref()).map(ExecutionId::as_str).collect();
    if fences.is_empty() {
        return Ok((HashSet::new(), rows::known(db.rows(rows::LOCK, &[&ids]).await?)));
    }
    // When all are prepared they go right behind each other, and each sees what is so when those before are done.
    leases::prepare(db).await?;
    db.prepared(rows::LOCK).await?;
    let params: [Param<'_>; 1] = [&ids];
    let ((), held, locked) = futures::try_join!(
        guards::share_leases(db, &fences),
        leases::held(db, &fences),
        db.rows(rows::LOCK, &params),
    )?;
    Ok((held, rows::known(locked)))
}

/// All leases that an append names.
fn leases_of(append: &Append) -> impl Iterator<Item = &Lease> {
    let ended = append.ended_tasks.iter().map(|(_, lease)| lease);
    let handed_out = append.tasks.iter().filter_map(|(_, lease)| lease.as_ref());
    ended.chain(handed_out).chain(&append.by)
}

/// Refuses what can be seen to be wrong before anything is written.
fn check<'a>(
    append: &'a Append,
    held: &HashSet<Lease>,
    known: &'a HashMap<String, Known>,
) -> Result<Step<'a>> {
    let Some(id) = &append.execution else {
        return Err(misuse("append", "no execution was named"));
    };
    let known = known.get(id.as_str()).ok_or_else(|| rows::missing(id))?;
    if known.seq != append.expected_seq {
        return Err(StoreError::Conflict { expected: append.expected_seq, found: known.seq });
    }
    in_a_row(known.seq, &append.events)?;
    if let Some(lost) = leases_of(append).find(|lease| !held.contains(*lease)) {
        return Err(leases::fenced(lost));
    }
    legs::check(append)?;
    if let Some((parent, _)) = &append.completion
        && known.parent.as_deref() != Some(parent.as_str())
    {
        return Err(misuse("append", format!("{parent} is not the parent of the execution that ended")));
    }
    Ok(Step { append, id, known })
}

/// Events must follow `after` without a gap.
fn in_a_row(after: u64, events: &[Event]) -> Result<()> {
    match events.iter().zip(after + 1..).find(|(event, seq)| event.seq != *seq) {
        Some((event, seq)) => Err(misuse("append", format!("event {} stands where {seq} must", event.seq))),
        None => Ok(()),
    }
}

/// Holds the guards of everything that the steps change together with other executions, so that all transactions take them in one order.
async fn hold_guards(writing: &Writing<'_>, steps: &[&Step<'_>]) -> Result<()> {
    let numbers = |chosen: &dyn Fn(&Append) -> bool| -> Vec<i64> {
        steps.iter().filter(|step| chosen(step.append)).map(|step| step.known.number).collect()
    };
    let unlocking = numbers(&|append| append.unlock);
    let changing = numbers(&|append| !append.permits.is_empty());
    let seated: Vec<&str> = steps
        .iter()
        .filter(|step| !step.append.arrive.is_empty() || step.append.leave_barriers.is_some())
        .map(|step| step.id.as_str())
        .collect();
    let (keys, queues, scopes) = futures::try_join!(
        rows_of(&writing.db, locks::TOUCHED, &unlocking),
        rows_of(
            &writing.db,
            "SELECT DISTINCT constraint_id, unit FROM permits WHERE execution = ANY($1) OR owner = ANY($1)",
            &changing
        ),
        rows_of(&writing.db, "SELECT DISTINCT scope FROM seats WHERE execution = ANY($1)", &seated),
    )?;
    let mut guards: Vec<Guard<'_>> = Vec::new();
    guards.extend(keys.iter().map(|row| Guard::LockKey(row.get(0))));
    guards.extend(queues.iter().map(|row| Guard::Permits { constraint: row.get(0), unit: row.get(1) }));
    guards.extend(scopes.iter().map(|row| Guard::Barriers(row.get(0))));
    for step in steps {
        let append = step.append;
        guards.extend(append.lock.iter().flat_map(|(keys, _)| keys).map(|key| Guard::LockKey(&key.key)));
        guards.extend(append.barriers.iter().map(|seat| Guard::Barriers(&seat.scope)));
        guards.extend(append.permits.iter().filter_map(|change| match change {
            PermitChange::Ask(request) => {
                Some(Guard::Permits { constraint: request.constraint.as_str(), unit: &request.unit })
            }
            PermitChange::GiveBack { .. } | PermitChange::Leave => None,
        }));
    }
    writing.hold(&guards).await
}

/// Rows of a query over a list; none when the list is empty.
async fn rows_of<T>(db: &Db<'_>, sql: &str, list: &Vec<T>) -> Result<Vec<tokio_postgres::Row>>
where
    T: tokio_postgres::types::ToSql + Sync,
{
    if list.is_empty() { Ok(Vec::new()) } else { db.rows(sql, &[list]).await }
}

/// Writes steps together; refusals that show only now are rare, and only then does each get a savepoint of its own.
async fn write_apart(writing: &mut Writing<'_>, steps: &[&Step<'_>]) -> Result<Vec<Result<Appended>>> {
    if steps.is_empty() {
        return Ok(Vec::new());
    }
    match apart(writing, steps).await? {
        Ok(all) => return Ok(all.into_iter().map(Ok).collect()),
        Err(error) if steps.len() == 1 => return Ok(vec![Err(error)]),
        Err(_) => {}
    }
    let mut answers = Vec::new();
    for step in steps {
        let answer = apart(writing, &[step]).await?;
        if answer.is_ok() {
            // Savepoints that stay would nest, as deep as there are appends.
            writing.db.batch("RELEASE SAVEPOINT piece").await?;
        }
        answers.push(answer.map(|mut one| one.pop().unwrap_or_default()));
    }
    Ok(answers)
}

/// Writes steps behind a savepoint, undone together when one is refused. Fails itself when the whole transaction is lost.
async fn apart(writing: &mut Writing<'_>, steps: &[&Step<'_>]) -> Result<Result<Vec<Appended>>> {
    let (db, mark) = (writing.db, writing.mark());
    // The savepoint is asked for first, and what is written goes right behind.
    let (set, written) = futures::join!(db.batch("SAVEPOINT piece"), write(writing, steps));
    set?;
    match written {
        Err(error) if super::sessions::may_try_again(&error) => Err(error),
        Err(error) => {
            writing.forget_since(mark);
            db.roll_back_to("piece").await?;
            Ok(Err(error))
        }
        Ok(all) => Ok(Ok(all)),
    }
}

/// Writes steps: for all together what most have, then one by one what is theirs alone.
async fn write(writing: &mut Writing<'_>, steps: &[&Step<'_>]) -> Result<Vec<Appended>> {
    let mut lines = Lines::default();
    let mut updates = Updates::default();
    let mut taken = Taken::default();
    let mut over = tasks::Over::default();
    let mut new = tasks::New::default();
    let mut changes = timers::Changes::default();
    for step in steps {
        let (append, known) = (step.append, step.known);
        let seq = append.events.last().map_or(known.seq, |event| event.seq);
        lines.push(known.number, known.seq, &append.events)?;
        updates.push(known, append.row.as_ref(), seq)?;
        take_in(&mut taken, known, append);
        append.ended_tasks.iter().for_each(|(task, lease)| over.push(known.number, task, lease));
        for (task, lease) in &append.tasks {
            new.push(Some(known.number), task, lease.as_ref())?;
        }
        changes.drop(known.number, &append.drop_timers);
        changes.set(writing, known.number, &append.set_timers);
    }
    if new.is_queued() {
        writing.hint(Hint::Tasks);
    }
    let (db, now) = (writing.db, writing.now());
    let tasks = async {
        over.write(&db).await?;
        new.write(&db, now).await
    };
    futures::try_join!(lines.write(&db), updates.write(&db), taken.write(&db), tasks, changes.write(&db))?;
    let mut answers = Vec::with_capacity(steps.len());
    for step in steps {
        tasks::cancel(writing, step.known.number, step.id, &step.append.cancel_tasks).await?;
        legs::create(writing, step.append).await?;
        answers.push(coordinate(writing, step).await?);
    }
    hand_on(writing, steps).await?;
    steps.iter().for_each(|step| hints(writing, step));
    Ok(answers)
}

/// What the events have taken in: inbox items, completions.
fn take_in(taken: &mut Taken, known: &Known, append: &Append) {
    taken.items(known.number, &append.consumed);
    if let Some(up_to) = append.completions_up_to {
        taken.completions(known.number, up_to);
    }
    if append.row.as_ref().is_some_and(|state| state.status.is_final()) {
        taken.all_of(known.number);
    }
}

/// Locks, permits and barriers, whose guards are held.
async fn coordinate(writing: &mut Writing<'_>, step: &Step<'_>) -> Result<Appended> {
    let Step { append, id, known } = step;
    if append.unlock {
        locks::give_back(writing, known.number).await?;
    }
    let lock = match &append.lock {
        Some((keys, queue_limit)) => Some(locks::take(writing, known.number, id, keys, *queue_limit).await?),
        None => None,
    };
    let permits = constraints::change(writing, known, &append.permits).await?;
    barriers::seat(writing, &append.barriers).await?;
    let mut answers = Vec::new();
    for identifier in &append.arrive {
        answers.push((identifier.clone(), barriers::arrive(writing, id, identifier).await?));
    }
    if let Some(well) = append.leave_barriers {
        barriers::leave(writing, id, well).await?;
    }
    Ok(Appended { lock, barriers: answers, permits })
}

/// What others are to know: items, the parents' completions, deployment history.
async fn hand_on(writing: &mut Writing<'_>, steps: &[&Step<'_>]) -> Result<()> {
    let items: Vec<_> =
        steps.iter().flat_map(|step| &step.append.send).map(|(to, item)| (to, item)).collect();
    inbox::send_all(writing, &items).await?;
    let ends: Vec<_> =
        steps.iter().filter_map(|step| step.append.completion.as_ref()).map(|(to, end)| (to, end)).collect();
    inbox::complete(writing, &ends).await?;
    for step in steps.iter().filter(|step| !step.append.deployed.is_empty()) {
        history::add(writing, &step.append.deployed).await?;
    }
    Ok(())
}

fn hints(writing: &mut Writing<'_>, step: &Step<'_>) {
    if !step.append.events.is_empty() {
        writing.hint(Hint::Execution(step.id.clone()));
    }
    if step.append.row.is_some() {
        writing.hint(Hint::Rows(step.known.parent.as_deref().map(ExecutionId::from)));
    }
}

/// Events to write, a row an append.
#[derive(Default)]
pub(super) struct Lines {
    executions: Vec<i64>,
    last_seqs: Vec<i64>,
    events: Vec<Vec<u8>>,
}

impl Lines {
    /// Adds events that follow `after` without a gap.
    pub(super) fn push(&mut self, execution: i64, after: u64, events: &[Event]) -> Result<()> {
        let Some(last) = events.last() else { return Ok(()) };
        in_a_row(after, events)?;
        self.executions.push(execution);
        self.last_seqs.push(int(last.seq));
        self.events.push(to_json(events)?);
        Ok(())
    }

    pub(super) async fn write(&self, db: &Db<'_>) -> Result<()> {
        if self.executions.is_empty() {
            return Ok(());
        }
        db.run(
            "INSERT INTO journal (execution, last_seq, events) \
             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[])",
            &[&self.executions, &self.last_seqs, &self.events],
        )
        .await?;
        Ok(())
    }
}
