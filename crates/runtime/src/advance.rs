//! From what the engine decided to one transaction: the commands of an advance become the effects of an append.

use std::collections::HashMap;
use std::sync::Arc;

use manifold_engine::{Advance, Command, Input};
use manifold_model::event::{Event, LegEnd};
use manifold_model::execution::ExecutionRow;
use manifold_model::plan::Plan;
use manifold_model::request::Request;
use manifold_model::task::{Task, TaskResult};
use manifold_model::wait::{Wait, WaitReason};
use manifold_model::{EntityId, ExecutionId, Millis, TaskId};
use manifold_store::{Append, Deployment, InboxItem, Inboxed, Lease, NewExecution, PermitChange};

use crate::delegates::{Connection, Reservation};
use crate::run::Run;
use crate::{Shared, legs, scope};

/// A task that will be sent to a delegate once the transaction stands.
pub struct HandOver {
    /// To whom.
    pub connection: Arc<Connection>,
    /// What.
    pub task: Arc<Task>,
    /// Whether its place was that of a task that just ended.
    pub in_freed_place: bool,
}

/// One step of one execution, ready to be written.
#[derive(Default)]
pub struct Prepared {
    /// The transaction.
    pub append: Append,
    /// Tasks to send after it.
    pub hand_overs: Vec<HandOver>,
    /// Tasks that wait in the store after it.
    pub queued: bool,
    /// Tasks that no connected delegate may take.
    pub untaken: Vec<Untaken>,
    /// Legs created.
    pub legs: Vec<NewExecution>,
    /// Mappings whose newest success is to be read; answered by another advance.
    pub recall: Option<Vec<manifold_model::target::MappingKey>>,
    /// The engine can decide more, but not in this transaction.
    pub more: bool,
    /// The parent to wake.
    pub parent: Option<ExecutionId>,
    /// Tasks cancelled.
    pub cancelled: Vec<TaskId>,
    /// The leg paused or went on.
    pub pause_changed: bool,
    /// There was more in the inbox than was taken.
    pub inbox_was_full: bool,
    /// Places of the tasks that just ended, for the next tasks.
    pub freed_places: Vec<Arc<Connection>>,
    /// Next release number by workflow, for legs that are created.
    pub release_numbers: HashMap<EntityId, u64>,
}

/// A task that no connected delegate may take now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Untaken {
    /// Task.
    pub task: TaskId,
    /// Selectors wanted.
    pub selectors: Vec<String>,
    /// Why nobody takes it, for people.
    pub detail: String,
    /// When the wait ends.
    pub until: Millis,
}

/// What a step of an execution is made for.
pub struct Turn<'a> {
    /// Shared parts.
    pub shared: &'a Shared,
    /// Fixed part of its row.
    pub row: &'a ExecutionRow,
    /// Its plan.
    pub plan: &'a Arc<Plan>,
    /// The lease of the server that writes.
    pub by: &'a Lease,
    /// Now.
    pub now: Millis,
}

impl Prepared {
    /// Adds what one advance decided.
    pub fn add(&mut self, turn: &Turn<'_>, run: &Run, advance: Advance) {
        self.append.events.extend(advance.events);
        self.more |= advance.more;
        for command in advance.commands {
            self.command(turn, run, command);
        }
    }

    /// Adds one command.
    pub fn command(&mut self, turn: &Turn<'_>, run: &Run, command: Command) {
        let append = &mut self.append;
        match command {
            Command::Issue(task) => self.issue(turn, *task),
            Command::CancelTasks(tasks) => append.cancel_tasks.extend(tasks),
            Command::SetTimer { key, due } => {
                append.drop_timers.retain(|dropped| *dropped != key);
                append.set_timers.push((key, due));
            }
            Command::DropTimer { key } => {
                append.set_timers.retain(|(set, _)| *set != key);
                append.drop_timers.push(key);
            }
            Command::Lock { keys } => append.lock = Some((keys, turn.shared.config.lock_queue_limit)),
            Command::Unlock => append.unlock = true,
            Command::RecallLastGood(mappings) => self.recall = Some(mappings),
            Command::AskPermits(request) => append.permits.push(PermitChange::Ask(request)),
            Command::GiveBackPermits { step } => append.permits.push(PermitChange::GiveBack { step }),
            Command::LeaveConstraints => append.permits.push(PermitChange::Leave),
            Command::ArriveBarrier { identifier } => append.arrive.push(identifier),
            Command::LeaveBarriers { well } => append.leave_barriers = Some(well),
            Command::CreateLegs { stage, element, from, to } => {
                let (legs, seats) =
                    legs::create(turn, run, &mut self.release_numbers, (stage, element), from..to);
                append.legs.extend(legs.iter().cloned());
                append.barriers.extend(seats);
                self.legs.extend(legs);
            }
            Command::SendToLegs(request) => {
                let sent = to_legs(turn, run, &append.legs, &request);
                append.send.extend(sent);
            }
            Command::Deployed(deployed) => append.deployed.push(Deployment {
                mapping: deployed.mapping,
                execution: turn.row.id.clone(),
                service: deployed.service,
                infrastructure: deployed.infrastructure,
                artifact: deployed.artifact,
                status: deployed.status,
                release_no: deployed.release_no,
                display_name: deployed.display_name,
                at: turn.now,
            }),
            Command::Complete(end) => self.complete(turn, end),
        }
    }

    /// Puts the task into the transaction: claimed for a delegate that has a place for it, or queued.
    fn issue(&mut self, turn: &Turn<'_>, task: Task) {
        let delegates = &turn.shared.delegates;
        let scope = scope::of(turn.row, turn.plan);
        let suits = |connection: &Arc<Connection>| delegates.suits(connection, &task, &scope, turn.now);
        if let Some(index) = self.freed_places.iter().position(suits) {
            let connection = self.freed_places.swap_remove(index);
            return self.claim(connection, task, true);
        }
        match delegates.reserve(&task, &turn.row.id, &scope, turn.now) {
            Reservation::Place(connection) => self.claim(connection, task, false),
            Reservation::Full => {
                self.queued = true;
                self.append.tasks.push((task, None));
            }
            Reservation::Nobody { detail } => {
                self.queued = true;
                self.untaken.push(Untaken {
                    task: task.id.clone(),
                    selectors: task.selectors.clone(),
                    detail,
                    until: turn.now.saturating_add(turn.shared.delegate_wait_ms()),
                });
                self.append.tasks.push((task, None));
            }
        }
    }

    fn claim(&mut self, connection: Arc<Connection>, task: Task, in_freed_place: bool) {
        self.append.tasks.push((task.clone(), Some(connection.lease.clone())));
        self.hand_overs.push(HandOver { connection, task: Arc::new(task), in_freed_place });
    }

    fn complete(&mut self, turn: &Turn<'_>, end: LegEnd) {
        if let Some(parent) = &turn.row.parent {
            self.parent = Some(parent.clone());
            self.append.completion = Some((parent.clone(), end));
        }
    }

    /// Gives back the places reserved for tasks that will not be sent, because the transaction failed. Those of ended tasks stay with them.
    pub fn give_up(self) {
        for hand_over in self.hand_overs.iter().filter(|hand_over| !hand_over.in_freed_place) {
            hand_over.connection.free_place();
        }
    }

    /// Whether there is anything to write.
    pub fn is_empty(&self) -> bool {
        let append = &self.append;
        append.events.is_empty()
            && append.consumed.is_empty()
            && append.ended_tasks.is_empty()
            && append.completions_up_to.is_none()
            && append.tasks.is_empty()
            && append.lock.is_none()
            && append.permits.is_empty()
            && append.arrive.is_empty()
            && append.cancel_tasks.is_empty()
            && append.row.is_none()
    }
}

/// A request for every leg that has not ended.
fn to_legs(
    turn: &Turn<'_>,
    run: &Run,
    created_now: &[NewExecution],
    request: &Request,
) -> Vec<(ExecutionId, InboxItem)> {
    legs::open(turn, run, created_now)
        .into_iter()
        .map(|leg| (leg, InboxItem::Request { request: request.clone() }))
        .collect()
}

/// The engine's input of an inbox item; completions are read apart.
pub fn input(item: InboxItem) -> Option<Input> {
    Some(match item {
        InboxItem::Request { request } => Input::Request(request),
        InboxItem::TaskEnded { task, outcome } => Input::TaskEnded { task, outcome },
        InboxItem::Timer { key } => Input::Timer { key },
        InboxItem::LockGranted {} => Input::LockGranted,
        InboxItem::Barrier { identifier, broken_by } => Input::Barrier { identifier, broken_by },
        InboxItem::PermitsGranted { step, attempt } => Input::PermitsGranted { step, attempt },
        InboxItem::Completions {} => return None,
    })
}

/// The inputs of an inbox and the tasks that the runtime itself ended (nobody took them): those must leave the queue.
pub fn inputs(inbox: Vec<Inboxed>) -> (Vec<Input>, Vec<TaskId>, Vec<u64>) {
    let mut inputs = Vec::new();
    let mut ended = Vec::new();
    let mut numbers = Vec::new();
    for Inboxed { number, item } in inbox {
        numbers.push(number);
        if let InboxItem::TaskEnded { task, outcome } = &item
            && !matches!(outcome.result, TaskResult::Cancelled)
        {
            ended.push(task.clone());
        }
        inputs.extend(input(item));
    }
    (inputs, ended, numbers)
}

/// Replaces the wait for a task by the true reason where no delegate may take it.
pub fn name_untaken(waits: &mut [Wait], untaken: &[Untaken]) -> bool {
    let Some(Untaken { selectors, detail, until, .. }) = untaken.first() else { return false };
    for wait in waits.iter_mut() {
        if matches!(wait.reason, WaitReason::Task { .. }) {
            let (selectors, detail) = (selectors.clone(), detail.clone());
            wait.reason = WaitReason::Delegate { selectors, detail, until: *until };
            return true;
        }
    }
    false
}

/// Sequence number before the first of these events.
pub fn expected_seq(events: &[Event], last: u64) -> u64 {
    events.first().map_or(last, |event| event.seq.saturating_sub(1))
}
