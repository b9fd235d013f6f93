//! The row of a workflow execution for lists: status, what it waits for, how far it is.

use manifold_model::execution::RowState;
use manifold_model::plan::StepKey;
use manifold_model::wait::{Wait, WaitReason};
use manifold_model::{Millis, Status};

use crate::place::{Map, Part};
use crate::state::{Lock, STOP_GRACE_MS, State, StepState, TaskVerdict};

/// Name of the implicit step that takes the infrastructure lock (`behaviour.md` 8.1).
pub(crate) const LOCK_STEP: &str = "Acquire Resource Lock";

/// The row.
pub(crate) fn of(state: &State, map: Option<Map<'_>>) -> RowState {
    let waits = waits(state);
    let (mut done, mut total) = (0, 0);
    if let Some(map) = map {
        for spot in map.steps().filter(|spot| !spot.part.is_rollback()) {
            total += 1;
            let settled = state.steps.get(&spot.step.key).is_some_and(|step| step.settled.is_some());
            done += u32::from(settled);
        }
    }
    RowState {
        status: status(state, &waits),
        started_at: state.began_at,
        ended_at: state.end.as_ref().map(|end| end.at),
        doing: doing(state, map),
        waits,
        failure: state.end.as_ref().and_then(|end| end.failure.clone()),
        rollback: state.rollback.as_ref().and_then(|rollback| rollback.mark),
        steps_done: done,
        steps_total: total,
        seq: state.seq,
    }
}

/// The inner status.
pub(crate) fn status(state: &State, waits: &[Wait]) -> Status {
    if let Some(end) = &state.end {
        return end.status;
    }
    if state.began_at.is_none() {
        return Status::Queued;
    }
    if state.abort.is_some() {
        return Status::Aborting;
    }
    if state.paused.is_some() {
        return if state.open.is_empty() { Status::Paused } else { Status::Pausing };
    }
    let statuses = || waits.iter().map(|wait| wait.reason.status());
    if waits.is_empty() || !state.open.is_empty() || statuses().any(|status| status == Status::Running) {
        Status::Running
    } else if statuses().any(|status| status == Status::Paused) {
        Status::Paused
    } else {
        Status::Waiting
    }
}

/// Everything that is waited for now.
pub(crate) fn waits(state: &State) -> Vec<Wait> {
    let Some(start) = state.start.as_ref().filter(|_| state.end.is_none()) else { return Vec::new() };
    let mut waits = Vec::new();
    let mut whole = |since: Millis, reason: WaitReason| waits.push(Wait { step: None, since, reason });
    if let Some(asked) =
        state.abort.as_ref().or(state.rollback_asked.as_ref().filter(|_| state.rollback.is_none()))
    {
        let running = u32::try_from(state.open.len()).unwrap_or(u32::MAX);
        whole(asked.at, WaitReason::Stopping { running, until: asked.at.saturating_add(STOP_GRACE_MS) });
        return waits;
    }
    if let Some(paused) = &state.paused {
        whole(paused.at, WaitReason::Paused { by: paused.by.clone() });
    }
    if let Lock::Asked { keys, at } = &state.lock {
        let titles: Vec<&str> = keys.iter().map(|key| key.title.as_str()).collect();
        whole(*at, WaitReason::Lock { target: titles.join(", "), holder: None, place: None });
    }
    if state.targets.is_some() && state.last_good.is_none() && !matches!(state.lock, Lock::Asked { .. }) {
        whole(state.targets_at, WaitReason::History {});
    }
    for (step, (since, due, over)) in &state.delays {
        if !over {
            waits.push(Wait { step: Some(*step), since: *since, reason: WaitReason::Delay { due: *due } });
        }
    }
    for (key, step) in state.steps.iter().filter(|(_, step)| step.settled.is_none()) {
        of_step(*key, step, &mut waits);
    }
    if waits.is_empty() && state.began_at.is_none() {
        // Queued: the server has not come to it yet.
        waits.push(Wait { step: None, since: start.at, reason: WaitReason::Turn {} });
    }
    waits
}

/// What one step waits for.
pub(crate) fn of_step(key: StepKey, step: &StepState, waits: &mut Vec<Wait>) {
    let mut push = |since, reason| waits.push(Wait { step: Some(key), since, reason });
    let Some(last) = step.last() else { return };
    if let Some(retry) = &step.retry {
        push(retry.since, WaitReason::Retry { attempt: retry.attempt, of: retry.of, due: retry.due });
    } else if let Some(question) = &step.intervention {
        let failure = last.ended.as_ref().and_then(|(_, _, failure)| failure.as_ref());
        push(
            question.since,
            WaitReason::Intervention {
                failure: failure.map(|failure| failure.message.clone()).unwrap_or_default(),
                options: question.options.clone(),
                until: question.until,
            },
        );
    }
    if last.ended.is_some() {
        return;
    }
    if let Some(barrier) = &step.barrier {
        push(
            barrier.since,
            WaitReason::Barrier {
                identifier: barrier.identifier.clone(),
                arrived: 0,
                of: 0,
                until: barrier.until,
            },
        );
    }
    if let Some(asked) = &step.permits {
        push(
            asked.since,
            WaitReason::Constraint {
                constraint: asked.request.name.clone(),
                unit: asked.request.unit.clone(),
                permits: asked.request.permits,
                free: None,
                holders: Vec::new(),
                place: None,
                until: asked.until,
            },
        );
    }
    if last.open > 0 {
        let since = last.tasks.iter().filter(|task| task.outcome.is_none()).map(|task| task.issued_at).min();
        push(since.unwrap_or(last.started_at), WaitReason::Task { running: last.open });
    }
    for task in &last.tasks {
        if let TaskVerdict::Unknown(seen) = task.verdict() {
            let since = task.outcome.as_ref().map_or(last.started_at, |(at, _)| *at);
            let (instance, seen) = (task.instance.clone(), seen.to_owned());
            push(since, WaitReason::UnknownOutcome { instance, seen });
        }
    }
}

/// Name of what is being done.
fn doing(state: &State, map: Option<Map<'_>>) -> Option<String> {
    if state.end.is_some() {
        return None;
    }
    if matches!(state.lock, Lock::Asked { .. }) {
        return Some(LOCK_STEP.to_owned());
    }
    let map = map?;
    let live =
        state.steps.iter().find(|(_, step)| step.settled.is_none() && step.began()).map(|(key, _)| *key);
    let waiting = state.delays.iter().find(|(_, (_, _, over))| !over).map(|(key, _)| *key);
    if let Some(spot) = live.or(waiting).and_then(|key| map.step(key)) {
        return Some(spot.step.name.clone());
    }
    let (phase, rollback) =
        state.phases.iter().find(|(_, phase)| phase.ended.is_none()).map(|(key, _)| *key)?;
    let plan = map.phase(phase)?;
    let name = if Part::Rollback(phase).is_rollback() && rollback {
        plan.rollback_name.as_ref().unwrap_or(&plan.name)
    } else {
        &plan.name
    };
    Some(name.clone())
}
