//! A worker advances the executions that are its own: it gathers what came for them, lets the engine decide, writes many steps in one
//! transaction, and only then lets the world know.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use manifold_engine::{Command, Input};
use manifold_model::crash::{self, Point};
use manifold_model::execution::ExecutionRow;
use manifold_model::plan::Plan;
use manifold_model::request::ExecutionType;
use manifold_model::task::Outcome;
use manifold_model::{ExecutionId, Status, TaskId};
use manifold_store::{
    Append, Appended, BarrierAnswer, Condition, ExecutionFilter, Hint, IdColumn, Lease, LockAnswer,
    NewExecution, Operator, PermitAnswer, StoreError,
};
use tokio::sync::mpsc;

use crate::advance::{self, Prepared, Turn, Untaken};
use crate::delegates::{Connection, Handed};
use crate::meters::Intended;
use crate::run::{self, LoadError, Run};
use crate::{Shared, membership};

/// Most executions advanced in one transaction.
const BATCH: usize = 256;
/// Inbox items and completions taken at once.
const INBOX: u32 = 500;
/// Outcomes of one batch that are passed on to other servers at once.
const PASSED_ON: usize = 64;
/// Pause after a store that cannot write, before the same work is tried again.
const BROKEN_STORE_PAUSE: Duration = Duration::from_millis(500);

/// What comes to a worker.
pub enum Message {
    /// Something may be in the inbox of this execution, or among its legs' completions.
    Wake(ExecutionId),
    /// A look at everything that is unfinished found this execution: hints about it may have been lost.
    Found(ExecutionId),
    /// A leg was just created: everything to run it without reading.
    Created(Box<NewExecution>, Arc<Plan>),
    /// A task ended on a delegate.
    Ended(Ended),
    /// A queued task was taken by a delegate: its wait has another reason now.
    Taken(ExecutionId, TaskId),
    /// Nobody connected may take a queued task any more.
    Untaken(ExecutionId, Untaken),
    /// Answers of the store to the last step.
    Inputs(ExecutionId, Vec<Input>),
    /// A leg of this pipeline execution paused or went on.
    LegPaused(ExecutionId),
    /// The servers that share the store are others now: executions that are not this server's are let go.
    Regroup,
}

/// A task's end, to be appended under its lease.
pub struct Ended {
    /// Execution; `None` for collections and the like.
    pub execution: Option<ExecutionId>,
    /// Task.
    pub task: TaskId,
    /// Lease that the delegate names.
    pub lease: Lease,
    /// Outcome.
    pub outcome: Outcome,
    /// Who is told when it is durable.
    pub connection: Arc<Connection>,
}

impl Ended {
    /// Ends the task in the store: whoever advances its execution finds the outcome in the inbox. It is not acknowledged when the store cannot
    /// write; then it comes again.
    pub async fn pass_on(self, shared: &Shared) {
        let Self { task, lease, outcome, connection, .. } = self;
        match shared.store.end_task(&task, &lease, outcome).await {
            Ok(()) => connection.ack(task, lease.fence, true),
            Err(StoreError::Fenced { .. } | StoreError::Missing(_)) => {
                connection.ack(task, lease.fence, false)
            }
            Err(error) => {
                tracing::error!(%task, error = &error as &dyn std::error::Error, "cannot end a task");
                // The delegate says an outcome again only on a new connection.
                shared.delegates.end(connection.lease.fence);
                return;
            }
        }
        connection.free_place();
        shared.delegates.place_freed();
    }
}

/// Ways to the workers.
pub struct Workers(Vec<mpsc::UnboundedSender<Message>>);

impl Workers {
    /// This many, with the ends that the workers read.
    pub fn new(count: usize) -> (Self, Vec<mpsc::UnboundedReceiver<Message>>) {
        let (senders, receivers) = (0..count).map(|_| mpsc::unbounded_channel()).unzip();
        (Self(senders), receivers)
    }

    /// Sends to the worker of an execution. After a shutdown nobody listens, and nothing is lost: the store has it all.
    pub fn send(&self, execution: &ExecutionId, message: Message) {
        let mut hasher = DefaultHasher::new();
        execution.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % self.0.len() as u64).unwrap_or(0);
        if let Some(worker) = self.0.get(index) {
            let _ended = worker.send(message);
        }
    }

    /// Lets every worker look which executions are still this server's.
    pub fn regroup(&self) {
        for worker in &self.0 {
            let _ended = worker.send(Message::Regroup);
        }
    }

    /// Lets the worker of an execution look at it.
    pub fn wake(&self, execution: &ExecutionId) {
        self.send(execution, Message::Wake(execution.clone()));
    }
}

/// A run that this worker holds.
struct Held {
    run: Run,
    row: Arc<ExecutionRow>,
    plan: Arc<Plan>,
    seq: u64,
    /// Number of the last completion consumed (pipelines).
    completions: u64,
    /// Tasks that no connected delegate may take.
    untaken: Vec<Untaken>,
    /// Legs: whether it is paused. Pipelines: whether some leg is paused and none runs.
    paused: bool,
    /// Pipelines: whether some leg is paused, so that the end of another one may make the whole paused.
    some_paused: bool,
}

/// What came for one execution in one batch.
#[derive(Default)]
struct Pending {
    wake: bool,
    found: bool,
    created: Option<(Box<NewExecution>, Arc<Plan>)>,
    ended: Vec<Ended>,
    taken: Vec<TaskId>,
    untaken: Vec<Untaken>,
    inputs: Vec<Input>,
    leg_paused: bool,
}

/// One worker.
pub struct Worker {
    shared: Arc<Shared>,
    receiver: mpsc::UnboundedReceiver<Message>,
    held: HashMap<ExecutionId, Held>,
}

/// A step that was prepared for an execution.
struct Step {
    execution: ExecutionId,
    prepared: Prepared,
    pending: Pending,
}

impl Worker {
    /// A worker that reads this end.
    pub fn new(shared: Arc<Shared>, receiver: mpsc::UnboundedReceiver<Message>) -> Self {
        Self { shared, receiver, held: HashMap::new() }
    }

    /// Works until the shutdown.
    pub async fn run(mut self) {
        let shutdown = self.shared.shutdown.clone();
        loop {
            let mut messages = Vec::with_capacity(BATCH);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                count = self.receiver.recv_many(&mut messages, BATCH) => if count == 0 { return },
            }
            self.batch(messages).await;
        }
    }

    async fn batch(&mut self, messages: Vec<Message>) {
        let (order, mut pending) = self.sort(messages);
        let by = self.shared.membership.lease();
        let mut steps = Vec::with_capacity(order.len());
        let mut foreign = Vec::new();
        for execution in order {
            let Some(mut pending) = pending.remove(&execution) else { continue };
            let Some(by) = by.as_ref().filter(|_| self.shared.membership.owns(&execution)) else {
                self.held.remove(&execution);
                foreign.append(&mut pending.ended);
                continue;
            };
            match self.prepare(&execution, &mut pending, by).await {
                Ok(Some(prepared)) => steps.push(Step { execution, prepared, pending }),
                Ok(None) => free_all(&pending.ended),
                Err(error) => self.retry_later(execution, pending, &error),
            }
        }
        pass_on_all(&self.shared, foreign);
        let Some(by) = by.filter(|_| !steps.is_empty()) else { return };
        let appends: Vec<Append> =
            steps.iter_mut().map(|step| std::mem::take(&mut step.prepared.append)).collect();
        let intended =
            Intended::of_all(&appends, |id| self.held.get(id).is_some_and(|held| held.row.parent.is_some()));
        let began = std::time::Instant::now();
        let records = steps.iter().any(|step| !step.pending.ended.is_empty());
        if records {
            crash::point(Point::BeforeRecord);
        }
        let journal = crash::journal(appends.iter().flat_map(Append::kinds));
        let results = self.shared.store.append_many(appends).await;
        journal.written();
        if records {
            crash::point(Point::AfterRecord);
        }
        self.shared.appended(intended, &results, began.elapsed());
        for (step, result) in steps.into_iter().zip(results) {
            self.settle(step, result, &by).await;
        }
    }

    /// What came, by execution, and the executions in the order in which they were first named.
    fn sort(&mut self, messages: Vec<Message>) -> (Vec<ExecutionId>, HashMap<ExecutionId, Pending>) {
        let mut order = Vec::new();
        let mut pending: HashMap<ExecutionId, Pending> = HashMap::new();
        for message in messages {
            let execution = match &message {
                Message::Wake(id)
                | Message::Found(id)
                | Message::Taken(id, _)
                | Message::Untaken(id, _)
                | Message::Inputs(id, _)
                | Message::LegPaused(id) => id,
                Message::Created(new, _) => &new.row.id,
                Message::Ended(Ended { execution: Some(id), .. }) => id,
                Message::Ended(Ended { execution: None, .. }) => continue,
                Message::Regroup => {
                    self.held.retain(|id, _| self.shared.membership.owns(id));
                    continue;
                }
            };
            let entry = pending.entry(execution.clone());
            if let Entry::Vacant(_) = &entry {
                order.push(execution.clone());
            }
            entry.or_default().add(message);
        }
        (order, pending)
    }

    /// Lets the engine decide for one execution; `None` when there is nothing to write.
    async fn prepare(
        &mut self,
        execution: &ExecutionId,
        pending: &mut Pending,
        by: &Lease,
    ) -> Result<Option<Prepared>, LoadError> {
        if pending.only_found() && self.held.get(execution).is_some_and(Held::misses_nothing) {
            return Ok(None);
        }
        let recovering = !self.held.contains_key(execution) && pending.created.is_none();
        let recovered = self.hold(execution, pending).await?;
        let shared = Arc::clone(&self.shared);
        let Some(held) = self.held.get_mut(execution) else { return Ok(None) };
        let mut prepared = Prepared::default();
        let mut inputs = std::mem::take(&mut pending.inputs);
        prepared.freed_places = pending.ended.iter().map(|ended| Arc::clone(&ended.connection)).collect();
        for ended in &pending.ended {
            prepared.append.ended_tasks.push((ended.task.clone(), ended.lease.clone()));
            inputs.push(Input::TaskEnded { task: ended.task.clone(), outcome: ended.outcome.clone() });
        }
        if pending.wake {
            held.gather(&shared, execution, &mut prepared, &mut inputs).await?;
        }
        let mut shown = held.take_note(pending, &inputs);
        let turn = Turn {
            shared: &shared,
            row: &Arc::clone(&held.row),
            plan: &Arc::clone(&held.plan),
            by,
            now: shared.now(),
        };
        let asks = pending.leg_paused || pending.found || held.some_paused || recovering;
        if held.row.kind == ExecutionType::Pipeline && asks {
            let before = (held.some_paused, held.paused);
            (held.some_paused, held.paused) = legs_pause(&shared, execution).await?;
            shown |= before != (held.some_paused, held.paused);
        }
        for command in recovered {
            prepared.command(&turn, &held.run, command);
        }
        if let Err(error) = held.decide(&turn, &mut prepared, inputs).await {
            prepared.give_up();
            return Err(error);
        }
        if prepared.is_empty() && !shown {
            return Ok(None);
        }
        held.untaken.append(&mut prepared.untaken);
        held.finish(&turn, execution, &mut prepared);
        Ok(Some(prepared))
    }

    /// Makes sure that the run is held; commands to repeat when it was read from the store.
    async fn hold(
        &mut self,
        execution: &ExecutionId,
        pending: &mut Pending,
    ) -> Result<Vec<Command>, LoadError> {
        if self.held.contains_key(execution) {
            return Ok(Vec::new());
        }
        if let Some((new, plan)) = pending.created.take() {
            self.held.insert(execution.clone(), Held::created(*new, plan));
            return Ok(Vec::new());
        }
        let loaded = run::load(&*self.shared.store, &self.shared.plans, execution).await?;
        let row = loaded.run.row();
        if row.status.is_final() {
            return Ok(Vec::new());
        }
        let recovered = loaded.run.recover();
        pending.wake = true;
        self.held.insert(
            execution.clone(),
            Held {
                run: loaded.run,
                row: loaded.row,
                plan: loaded.plan,
                seq: row.seq,
                completions: 0,
                untaken: Vec::new(),
                paused: false,
                some_paused: false,
            },
        );
        Ok(recovered)
    }

    /// After the transaction: let the world know, or start over.
    async fn settle(&mut self, step: Step, result: manifold_store::Result<Appended>, by: &Lease) {
        let error = match result {
            Ok(appended) => return self.settled(step, appended).await,
            Err(error) => error,
        };
        self.held.remove(&step.execution);
        // A store that broke may have committed before its answer was lost: then these tasks are leased and were never sent. With the connections
        // end their leases, and whoever takes the tasks looks first.
        if matches!(error, StoreError::Broken { .. }) {
            for hand_over in &step.prepared.hand_overs {
                self.shared.delegates.end(hand_over.connection.lease.fence);
            }
        }
        step.prepared.give_up();
        match error {
            // The delegates connect anew and bring their outcomes again.
            StoreError::Fenced { fence, .. } if fence == by.fence => {
                membership::lose(&self.shared, fence, "another server took it while this one was writing");
            }
            StoreError::Fenced { fence, .. } => self.drop_stale(step.execution, step.pending, fence).await,
            error => self.retry_later(step.execution, step.pending, &LoadError::Store(error)),
        }
    }

    async fn settled(&mut self, step: Step, appended: Appended) {
        let Step { execution, prepared, pending } = step;
        let shared = Arc::clone(&self.shared);
        ack_all(&pending.ended);
        prepared.freed_places.iter().for_each(|connection| connection.free_place());
        for hand_over in prepared.hand_overs {
            hand_over.connection.hand_over(Handed::first(hand_over.task), None);
        }
        if prepared.queued {
            shared.delegates.queued();
        }
        if !pending.ended.is_empty() {
            shared.delegates.place_freed();
        }
        if let Some(parent) = &prepared.parent {
            shared.wake(parent);
        }
        if prepared.pause_changed
            && let Some(parent) = self.held.get(&execution).and_then(|held| held.row.parent.as_ref())
        {
            if shared.membership.owns(parent) {
                shared.workers.send(parent, Message::LegPaused(parent.clone()));
            } else {
                shared.store.tell(Hint::LegPaused(parent.clone()));
            }
        }
        // A task that nobody here holds is seen to by the sweep of whoever does, one that was never handed out by the store.
        for task in &prepared.cancelled {
            shared.delegates.cancel(task);
        }
        let answers = self.answers(&appended);
        if !answers.is_empty() {
            shared.workers.send(&execution, Message::Inputs(execution.clone(), answers));
        }
        let Some(held) = self.held.get(&execution) else { return };
        if !prepared.legs.is_empty() {
            crash::point(Point::LegsWritten);
        }
        for leg in prepared.legs {
            let id = leg.row.id.clone();
            if shared.membership.owns(&id) {
                shared.workers.send(&id, Message::Created(Box::new(leg), Arc::clone(&held.plan)));
            } else {
                shared.store.tell(Hint::Inbox(id));
            }
        }
        if prepared.more || prepared.inbox_was_full {
            shared.workers.wake(&execution);
        }
        if held.run.row().status.is_final() {
            self.held.remove(&execution);
        }
    }

    /// What the store answered.
    fn answers(&self, appended: &Appended) -> Vec<Input> {
        let mut inputs = Vec::new();
        match &appended.lock {
            Some(LockAnswer::Granted) => inputs.push(Input::LockGranted),
            Some(LockAnswer::Full) => {
                inputs.push(Input::LockRefused { limit: self.shared.config.lock_queue_limit });
            }
            Some(LockAnswer::Queued { .. }) | None => {}
        }
        for (step, attempt, answer) in &appended.permits {
            let (step, attempt) = (*step, *attempt);
            inputs.extend(match answer {
                PermitAnswer::Granted => Some(Input::PermitsGranted { step, attempt }),
                PermitAnswer::Refused(refusal) => {
                    Some(Input::PermitsRefused { step, attempt, refusal: *refusal })
                }
                PermitAnswer::Queued => None,
            });
        }
        for (identifier, answer) in &appended.barriers {
            let broken_by = match answer {
                BarrierAnswer::Waiting { .. } => continue,
                BarrierAnswer::Crossed => None,
                BarrierAnswer::Broken { by } => Some(by.clone()),
            };
            inputs.push(Input::Barrier { identifier: identifier.clone(), broken_by });
        }
        inputs
    }

    /// Drops the outcomes whose lease is stale (somebody else was given the task since) and tries the rest again. When none is, it is a delegate
    /// to which a task was to be handed that has lost its lease (`fence`): its connection ends.
    async fn drop_stale(&mut self, execution: ExecutionId, mut pending: Pending, fence: u64) {
        let mut kept = Vec::new();
        let mut dropped = false;
        for ended in pending.ended {
            match self.shared.store.task(&ended.task).await {
                Ok(Some(row)) if row.lease.as_ref() == Some(&ended.lease) => kept.push(ended),
                Ok(_) => {
                    dropped = true;
                    ended.connection.ack(ended.task, ended.lease.fence, false);
                    ended.connection.free_place();
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "cannot see a task");
                    kept.push(ended);
                }
            }
        }
        pending.ended = kept;
        if dropped || self.shared.delegates.end(fence) {
            self.again(execution, pending);
        } else {
            self.later(execution, pending);
        }
    }

    /// Tries again after a pause: the store could not be read or written, or another server was faster.
    fn retry_later(&mut self, execution: ExecutionId, pending: Pending, error: &LoadError) {
        self.held.remove(&execution);
        match error {
            LoadError::Store(StoreError::Conflict { .. }) => {
                // Another server thinks that the execution is its own.
                self.shared.membership.look();
                return self.again(execution, pending);
            }
            LoadError::Missing(_) => {
                tracing::warn!(%execution, "an execution that does not exist was to be advanced");
                return free_all(&pending.ended);
            }
            error => tracing::error!(%execution, error = error as &dyn std::error::Error, "cannot advance"),
        }
        self.later(execution, pending);
    }

    fn later(&self, execution: ExecutionId, pending: Pending) {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            tokio::time::sleep(BROKEN_STORE_PAUSE).await;
            pending.resend(&shared, &execution);
        });
    }

    fn again(&self, execution: ExecutionId, pending: Pending) {
        pending.resend(&self.shared, &execution);
    }
}

impl Pending {
    fn add(&mut self, message: Message) {
        match message {
            Message::Wake(_) => self.wake = true,
            Message::Found(_) => self.found = true,
            Message::Created(new, plan) => self.created = Some((new, plan)),
            Message::Ended(ended) => self.ended.push(ended),
            Message::Taken(_, task) => self.taken.push(task),
            Message::Untaken(_, untaken) => self.untaken.push(untaken),
            Message::Inputs(_, inputs) => self.inputs.extend(inputs),
            Message::LegPaused(_) => self.leg_paused = true,
            Message::Regroup => {}
        }
    }

    /// Whether nothing came for it but that it was found.
    fn only_found(&self) -> bool {
        self.found
            && !self.wake
            && !self.leg_paused
            && self.created.is_none()
            && self.ended.is_empty()
            && self.taken.is_empty()
            && self.untaken.is_empty()
            && self.inputs.is_empty()
    }

    /// Everything again, as messages. Inputs that were taken already are not lost: what they answered is asked again by `recover`.
    fn resend(self, shared: &Shared, execution: &ExecutionId) {
        shared.workers.wake(execution);
        for ended in self.ended {
            shared.workers.send(execution, Message::Ended(ended));
        }
    }
}

impl Held {
    fn created(new: NewExecution, plan: Arc<Plan>) -> Self {
        let mut run = Run::new(new.row.kind, Arc::clone(&plan), new.row.id.clone());
        new.events.iter().for_each(|event| run.fold(event));
        let seq = new.row.state.seq;
        Self {
            run,
            row: Arc::new(new.row),
            plan,
            seq,
            completions: 0,
            untaken: Vec::new(),
            paused: false,
            some_paused: false,
        }
    }

    /// Whether no lost hint can matter to it: what comes for a leg lies in its inbox, the pauses of legs do not.
    fn misses_nothing(&self) -> bool {
        self.row.kind == ExecutionType::Workflow
    }

    /// Takes note which tasks somebody or nobody may take now; whether the row has to say something else.
    fn take_note(&mut self, pending: &mut Pending, inputs: &[Input]) -> bool {
        let before = self.untaken.clone();
        let over = |id: &TaskId| {
            pending.taken.contains(id)
                || inputs.iter().any(|input| matches!(input, Input::TaskEnded { task, .. } if task == id))
        };
        self.untaken.retain(|untaken| !over(&untaken.task));
        for untaken in std::mem::take(&mut pending.untaken) {
            match self.untaken.iter_mut().find(|known| known.task == untaken.task) {
                Some(known) => *known = untaken,
                None => self.untaken.push(untaken),
            }
        }
        before != self.untaken
    }

    /// Reads the inbox and, for pipelines, the completions of legs.
    async fn gather(
        &mut self,
        shared: &Shared,
        execution: &ExecutionId,
        prepared: &mut Prepared,
        inputs: &mut Vec<Input>,
    ) -> Result<(), LoadError> {
        let inbox = shared.store.inbox(execution, INBOX).await?;
        prepared.inbox_was_full = inbox.len() >= INBOX as usize;
        let (read, ended, numbers) = advance::inputs(inbox);
        inputs.extend(read);
        prepared.append.consumed = numbers;
        prepared.append.cancel_tasks.extend(ended);
        if self.row.kind == ExecutionType::Pipeline {
            let completions = shared.store.completions(execution, self.completions, INBOX).await?;
            prepared.inbox_was_full |= completions.len() >= INBOX as usize;
            if let Some((number, _)) = completions.last() {
                prepared.append.completions_up_to = Some(*number);
                self.completions = *number;
            }
            let ends: Vec<_> = completions.into_iter().map(|(_, end)| end).collect();
            if !ends.is_empty() {
                inputs.push(Input::LegsEnded(ends));
            }
        }
        Ok(())
    }

    /// Advances until the engine has nothing left that needs only reading.
    async fn decide(
        &mut self,
        turn: &Turn<'_>,
        prepared: &mut Prepared,
        mut inputs: Vec<Input>,
    ) -> Result<(), LoadError> {
        loop {
            let advance = self.run.advance(&inputs, turn.now);
            for command in &advance.commands {
                if let Command::CreateLegs { stage, element, .. } = command {
                    release_number(turn, prepared, (*stage, *element)).await?;
                }
            }
            prepared.add(turn, &self.run, advance);
            let Some(mappings) = prepared.recall.take() else { return Ok(()) };
            inputs = vec![Input::LastGood(turn.shared.store.last_good(&mappings).await?)];
        }
    }

    /// Fills in what every append names.
    fn finish(&mut self, turn: &Turn<'_>, execution: &ExecutionId, prepared: &mut Prepared) {
        let mut row = self.run.row();
        if advance::name_untaken(&mut row.waits, &self.untaken)
            && row.status == Status::Running
            && row.waits.iter().all(|wait| wait.reason.status() == Status::Waiting)
        {
            row.status = Status::Waiting;
        }
        match self.row.kind {
            ExecutionType::Workflow => {
                let paused = row.status == Status::Paused;
                prepared.pause_changed = paused != self.paused;
                self.paused = paused;
            }
            ExecutionType::Pipeline
                if self.paused && matches!(row.status, Status::Running | Status::Pausing) =>
            {
                row.status = Status::Paused
            }
            ExecutionType::Pipeline => {}
        }
        prepared.cancelled = prepared.append.cancel_tasks.clone();
        let append = &mut prepared.append;
        append.execution = Some(execution.clone());
        append.by = Some(turn.by.clone());
        append.expected_seq = advance::expected_seq(&append.events, self.seq);
        self.seq = row.seq;
        append.row = Some(row);
    }
}

/// Whether some leg of a pipeline is paused, and whether the pipeline counts as paused: some leg is, and none runs (`behaviour.md` 13.1).
async fn legs_pause(shared: &Shared, pipeline: &ExecutionId) -> Result<(bool, bool), LoadError> {
    let legs = Condition::Id(IdColumn::PipelineExecution, Operator::Equals, vec![pipeline.to_string()]);
    let filter = ExecutionFilter { conditions: vec![legs], include_indirect: true, include_superseded: true };
    let counts = shared.store.execution_counts(&filter).await?;
    let open: Vec<Status> = counts
        .iter()
        .filter(|(status, count)| !status.is_final() && **count > 0)
        .map(|(status, _)| *status)
        .collect();
    Ok((open.contains(&Status::Paused), Status::together(open) == Status::Paused))
}

/// Reads the next release number of an element's workflow, once per transaction.
async fn release_number(
    turn: &Turn<'_>,
    prepared: &mut Prepared,
    (stage, element): (u32, u32),
) -> Result<(), LoadError> {
    let fleet = turn.plan.element(stage, element).and_then(|element| element.fleet.as_ref());
    let Some(workflow) = fleet.and_then(|fleet| turn.plan.workflows.get(fleet.workflow as usize)) else {
        return Ok(());
    };
    if !prepared.release_numbers.contains_key(&workflow.id) {
        let next = turn.shared.store.next_release_no(&workflow.id).await?;
        prepared.release_numbers.insert(workflow.id.clone(), next);
    }
    Ok(())
}

/// Ends tasks of executions that another server advances; each waits for the store alone, and the worker for none.
fn pass_on_all(shared: &Arc<Shared>, ended: Vec<Ended>) {
    if ended.is_empty() {
        return;
    }
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let all = ended.into_iter().map(|ended| ended.pass_on(&shared));
        futures::stream::iter(all).for_each_concurrent(PASSED_ON, |passing| passing).await;
    });
}

/// The outcomes change nothing any more: their execution has ended.
fn free_all(ended: &[Ended]) {
    ack_all(ended);
    ended.iter().for_each(|ended| ended.connection.free_place());
}

fn ack_all(ended: &[Ended]) {
    for ended in ended {
        ended.connection.ack(ended.task.clone(), ended.lease.fence, true);
    }
}
