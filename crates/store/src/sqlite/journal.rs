//! Extending an execution: everything that one step writes, in one transaction (`design.md` 4).

use manifold_model::ExecutionId;
use manifold_model::event::Event;
use rusqlite::params;

use super::rows::Known;
use super::writer::Writing;
use super::{
    barriers, constraints, history, inbox, int, leases, legs, locks, misuse, rows, tasks, timers, to_json,
};
use crate::{Append, Appended, Hint, Lease, Result, StoreError};

pub(super) fn append(writing: &mut Writing<'_>, append: &Append) -> Result<Appended> {
    let Some(id) = &append.execution else {
        return Err(misuse("append", "no execution was named"));
    };
    let known = rows::known(writing, id)?;
    if known.seq != append.expected_seq {
        return Err(StoreError::Conflict { expected: append.expected_seq, found: known.seq });
    }
    write_events(writing, &known, append)?;
    take_in(writing, &known, id, append)?;
    write_tasks(writing, &known, id, append)?;
    timers::drop(writing, known.number, &append.drop_timers)?;
    timers::set(writing, known.number, &append.set_timers)?;
    legs::create(writing, append)?;
    let appended = coordinate(writing, &known, id, append)?;
    hand_on(writing, &known, append)?;
    hints(writing, &known, id, append);
    Ok(appended)
}

/// Events and the row that sums them up.
fn write_events(writing: &Writing<'_>, known: &Known, append: &Append) -> Result<()> {
    insert_events(writing, known.number, known.seq, &append.events)?;
    let seq = append.events.last().map_or(known.seq, |event| event.seq);
    match &append.row {
        Some(state) => rows::update(writing, known, state, seq),
        None if seq != known.seq => rows::update_seq(writing, known, seq),
        None => Ok(()),
    }
}

/// Inserts events that follow `after` without a gap, as one row.
pub(super) fn insert_events(
    writing: &Writing<'_>,
    execution: i64,
    after: u64,
    events: &[Event],
) -> Result<()> {
    let Some(last) = events.last() else { return Ok(()) };
    if let Some((event, seq)) = events.iter().zip(after + 1..).find(|(event, seq)| event.seq != *seq) {
        return Err(misuse("append", format!("event {} stands where {seq} must", event.seq)));
    }
    writing
        .sql("INSERT INTO journal (execution, last_seq, events) VALUES (?1, ?2, ?3)")?
        .execute(params![execution, int(last.seq), to_json(&events)?])?;
    Ok(())
}

/// What the events have taken in: inbox items, completions.
fn take_in(writing: &mut Writing<'_>, known: &Known, id: &ExecutionId, append: &Append) -> Result<()> {
    inbox::consume(writing, known.number, &append.consumed)?;
    match append.completions_up_to {
        Some(up_to) => inbox::consume_completions(writing, known.number, id.as_str(), up_to)?,
        None if !append.consumed.is_empty() => {
            inbox::keep_completes(writing, known.number, id.as_str())?;
        }
        None => {}
    }
    if append.row.as_ref().is_some_and(|state| state.status.is_final()) {
        inbox::empty(writing, known.number)?;
    }
    Ok(())
}

/// Outcome k, intent k+1 and the hand-over are one transaction.
fn write_tasks(writing: &mut Writing<'_>, known: &Known, id: &ExecutionId, append: &Append) -> Result<()> {
    must_hold_all(writing, append)?;
    for (task, lease) in &append.ended_tasks {
        tasks::end_in_journal(writing, known.number, task, lease)?;
    }
    tasks::cancel(writing, known.number, id, &append.cancel_tasks)?;
    let now = writing.now();
    for (task, lease) in &append.tasks {
        tasks::add(writing, Some(known.number), task, lease.as_ref(), now)?;
    }
    Ok(())
}

/// Looks once at each lease that the append names: mostly one, of the delegate that ended a task and takes the next.
fn must_hold_all(writing: &Writing<'_>, append: &Append) -> Result<()> {
    let ended = append.ended_tasks.iter().map(|(_, lease)| lease);
    let handed_out = append.tasks.iter().filter_map(|(_, lease)| lease.as_ref());
    let mut held: Vec<&Lease> = Vec::new();
    for lease in ended.chain(handed_out).chain(&append.by) {
        if !held.contains(&lease) {
            leases::must_hold(writing, lease)?;
            held.push(lease);
        }
    }
    Ok(())
}

/// Locks, permits and barriers.
fn coordinate(
    writing: &mut Writing<'_>,
    known: &Known,
    id: &ExecutionId,
    append: &Append,
) -> Result<Appended> {
    if append.unlock {
        locks::give_back(writing, known.number)?;
    }
    let lock = match &append.lock {
        Some((keys, queue_limit)) => Some(locks::take(writing, known.number, id, keys, *queue_limit)?),
        None => None,
    };
    let permits = constraints::change(writing, known, &append.permits)?;
    barriers::seat(writing, &append.barriers)?;
    let mut answers = Vec::new();
    for identifier in &append.arrive {
        answers.push((identifier.clone(), barriers::arrive(writing, id, identifier)?));
    }
    if let Some(well) = append.leave_barriers {
        barriers::leave(writing, id, well)?;
    }
    Ok(Appended { lock, barriers: answers, permits })
}

/// What others are to know: items, the parent's completion, deployment history.
fn hand_on(writing: &mut Writing<'_>, known: &Known, append: &Append) -> Result<()> {
    for (to, item) in &append.send {
        inbox::send(writing, to, item)?;
    }
    if let Some((parent, end)) = &append.completion {
        if known.parent.as_deref() != Some(parent.as_str()) {
            return Err(misuse("append", format!("{parent} is not the parent of the execution that ended")));
        }
        inbox::complete(writing, parent, end)?;
    }
    history::add(writing, &append.deployed)
}

fn hints(writing: &mut Writing<'_>, known: &Known, id: &ExecutionId, append: &Append) {
    if !append.events.is_empty() {
        writing.hint(Hint::Execution(id.clone()));
    }
    if append.row.is_some() {
        writing.hint(Hint::Rows(known.parent.as_deref().map(ExecutionId::from)));
    }
}
