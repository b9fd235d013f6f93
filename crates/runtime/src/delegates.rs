//! Connected delegates: what each offers, how much more it takes, and how to reach it.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use manifold_link::{Answer, OutcomeAck};
use manifold_model::kind::KindSpec;
use manifold_model::task::Task;
use manifold_model::{DelegateId, ExecutionId, LogId, TaskId};
use manifold_store::{ClaimOffer, Lease};
use tokio::sync::{Notify, mpsc};

/// What a connection is told to send.
pub enum Send {
    /// A task, how often it was handed out before, and the fence.
    Task(Arc<Task>, u32, u64),
    /// Stop a task.
    Cancel(TaskId),
    /// An outcome was taken, or its lease is stale.
    Ack(OutcomeAck),
    /// An answer to a request.
    Answer(u64, Answer),
    /// Log bytes were kept.
    LogCredit(u64),
    /// A sign of life in answer to a heartbeat.
    Pong,
}

/// One connected delegate.
pub struct Connection {
    /// Its id.
    pub id: DelegateId,
    /// Its name.
    pub name: String,
    /// Lease of this connection.
    pub lease: Lease,
    /// Kinds.
    pub kinds: Vec<KindSpec>,
    /// Selectors: name and custom ones.
    pub selectors: Vec<String>,
    /// Capabilities.
    pub capabilities: Vec<String>,
    free: AtomicI64,
    sender: mpsc::UnboundedSender<Send>,
    /// Tasks in flight; bounded by the capacity.
    tasks: Mutex<HashMap<TaskId, Arc<Task>>>,
    /// The executions whose logs those tasks write.
    logs: Mutex<HashMap<LogId, ExecutionId>>,
    /// Log bytes taken in and not yet credited: the flush that makes them durable, and how many.
    uncredited: Mutex<VecDeque<(u64, u64)>>,
}

impl Connection {
    /// A connection that takes `capacity` tasks at once.
    pub fn new(
        hello: (DelegateId, String),
        lease: Lease,
        kinds: Vec<KindSpec>,
        offer: (Vec<String>, Vec<String>),
        capacity: u32,
        sender: mpsc::UnboundedSender<Send>,
    ) -> Self {
        Self {
            id: hello.0,
            name: hello.1,
            lease,
            kinds,
            selectors: offer.0,
            capabilities: offer.1,
            free: AtomicI64::new(i64::from(capacity)),
            sender,
            tasks: Mutex::default(),
            logs: Mutex::default(),
            uncredited: Mutex::default(),
        }
    }

    /// Whether it may take the task at all.
    pub fn may_take(&self, task: &Task) -> bool {
        self.kinds.iter().any(|kind| kind.name == task.kind)
            && task.selectors.iter().all(|wanted| self.selectors.contains(wanted))
            && task.capabilities.iter().all(|wanted| self.capabilities.contains(wanted))
    }

    /// Takes one place; `false` when it is full.
    fn take_place(&self) -> bool {
        self.free
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| (free > 0).then_some(free - 1))
            .is_ok()
    }

    /// Gives a place back.
    pub fn free_place(&self) {
        self.free.fetch_add(1, Ordering::AcqRel);
    }

    /// Free places now.
    pub fn free(&self) -> u32 {
        u32::try_from(self.free.load(Ordering::Acquire)).unwrap_or(0)
    }

    /// Takes up to this many places for tasks about to be claimed; returns how many.
    pub fn take_places(&self, most: u32) -> u32 {
        (0..most).take_while(|_| self.take_place()).count().try_into().unwrap_or(0)
    }

    /// What it would claim.
    pub fn offer(&self, max: u32) -> ClaimOffer {
        ClaimOffer {
            kinds: self.kinds.iter().map(|kind| kind.name.to_string()).collect(),
            selectors: self.selectors.clone(),
            capabilities: self.capabilities.clone(),
            max,
        }
    }

    /// Sends a task that is leased to this connection. A closed connection loses nothing: its lease is released and the task goes back.
    pub fn hand_over(&self, task: Arc<Task>, deliveries: u32) {
        if let Some(step) = &task.step {
            self.logs().insert(task.log.clone(), step.execution.clone());
        }
        self.tasks().insert(task.id.clone(), Arc::clone(&task));
        self.tell(Send::Task(task, deliveries, self.lease.fence));
    }

    /// Takes a task that has ended off the books; `None` when it was not handed over by this connection. Its place stays taken until
    /// [`Connection::ack`] and [`Connection::free_place`], or goes to the next task of its execution.
    pub fn taken_back(&self, task: &TaskId) -> Option<Arc<Task>> {
        let task = self.tasks().remove(task)?;
        self.logs().remove(&task.log);
        Some(task)
    }

    /// The execution whose task writes this log; `None` for tasks without one.
    pub fn execution_of(&self, log: &LogId) -> Option<ExecutionId> {
        self.logs().get(log).cloned()
    }

    /// Takes note that a task of this execution, handed over on an earlier connection, writes this log.
    pub fn writes_log(&self, log: &LogId, execution: &ExecutionId) {
        self.logs().insert(log.clone(), execution.clone());
    }

    /// Log bytes were taken in; they are credited when this flush has made them durable.
    pub fn took_log(&self, flush: u64, bytes: u64) {
        self.uncredited().push_back((flush, bytes));
    }

    /// This flush has made everything before it durable: credits it, in the order in which it came.
    pub fn credit_log(&self, flushed: u64) {
        let mut uncredited = self.uncredited();
        let mut bytes = 0;
        while let Some((flush, more)) = uncredited.front() {
            if *flush > flushed {
                break;
            }
            bytes += more;
            uncredited.pop_front();
        }
        drop(uncredited);
        if bytes > 0 {
            self.tell(Send::LogCredit(bytes));
        }
    }

    fn uncredited(&self) -> std::sync::MutexGuard<'_, VecDeque<(u64, u64)>> {
        self.uncredited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task that it holds.
    pub fn holds(&self, task: &TaskId) -> Option<Arc<Task>> {
        self.tasks().get(task).cloned()
    }

    /// Tells the delegate that an outcome is durable, or stale. A closed connection will hear it when the outcome is sent again.
    pub fn ack(&self, task: TaskId, fence: u64, recorded: bool) {
        self.tell(Send::Ack(OutcomeAck { task, fence, recorded }));
    }

    /// Sends something. A closed connection loses nothing that matters: whatever was to be done is in the store.
    pub fn tell(&self, message: Send) {
        let _closed = self.sender.send(message);
    }

    fn logs(&self) -> std::sync::MutexGuard<'_, HashMap<LogId, ExecutionId>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, HashMap<TaskId, Arc<Task>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether somebody takes a task now.
pub enum Reservation {
    /// This connection has a place for it.
    Place(Arc<Connection>),
    /// Somebody may, but has no place now: let it wait in the store.
    Full,
    /// Nobody connected may.
    Nobody {
        /// Why, for people.
        detail: String,
    },
}

/// What a task wants of a delegate beside its kind, as the end of a sentence.
fn wanted(task: &Task) -> String {
    let named = |what: &str, names: &[String]| {
        (!names.is_empty()).then(|| format!("the {what} {}", names.join(", ")))
    };
    let wanted: Vec<String> =
        [named("selectors", &task.selectors), named("capabilities", &task.capabilities)]
            .into_iter()
            .flatten()
            .collect();
    if wanted.is_empty() { String::new() } else { format!(" with {}", wanted.join(" and ")) }
}

/// All connected delegates of this server.
#[derive(Default)]
pub struct Delegates {
    connections: RwLock<Vec<Arc<Connection>>>,
    /// Told when tasks wait in the store or places got free.
    pub(crate) work: Notify,
    /// Whether tasks may wait in the store.
    queued: AtomicBool,
    /// Tasks whose execution says that nobody may take them; each is told when somebody does.
    untaken: Mutex<HashSet<TaskId>>,
}

impl Delegates {
    /// Adds a connection.
    pub fn add(&self, connection: Arc<Connection>) {
        self.write().push(connection);
        self.wake();
    }

    /// Removes a connection.
    pub fn remove(&self, lease: &Lease) {
        self.write().retain(|connection| connection.lease != *lease);
    }

    /// All connections.
    pub fn all(&self) -> Vec<Arc<Connection>> {
        self.read().clone()
    }

    /// The kinds that connected delegates offer.
    pub fn kinds(&self) -> Vec<KindSpec> {
        self.read().iter().flat_map(|connection| connection.kinds.iter().cloned()).collect()
    }

    /// What connected delegates have beside kinds.
    pub fn capabilities(&self) -> BTreeSet<String> {
        self.read().iter().flat_map(|connection| connection.capabilities.iter().cloned()).collect()
    }

    /// Whether any delegate is connected.
    pub fn any(&self) -> bool {
        !self.read().is_empty()
    }

    /// Finds a place for a task.
    pub fn reserve(&self, task: &Task) -> Reservation {
        let connections = self.read();
        let mut may = false;
        for connection in connections.iter().filter(|one| one.may_take(task)) {
            may = true;
            if connection.take_place() {
                return Reservation::Place(Arc::clone(connection));
            }
        }
        if may {
            return Reservation::Full;
        }
        let detail = match connections.len() {
            0 => "no delegate is connected".to_owned(),
            count => {
                format!("none of the {count} connected delegates offers kind {}{}", task.kind, wanted(task))
            }
        };
        self.untaken().insert(task.id.clone());
        Reservation::Nobody { detail }
    }

    /// Whether the execution of this task says that nobody takes it; it does so no longer.
    pub fn was_untaken(&self, task: &TaskId) -> bool {
        self.untaken().remove(task)
    }

    fn untaken(&self) -> std::sync::MutexGuard<'_, HashSet<TaskId>> {
        self.untaken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that tasks wait in the store.
    pub fn queued(&self) {
        self.queued.store(true, Ordering::Release);
        self.work.notify_one();
    }

    /// Says that a place got free; only news when tasks wait.
    pub fn place_freed(&self) {
        if self.queued.load(Ordering::Acquire) {
            self.work.notify_one();
        }
    }

    /// Takes note that the queue was seen empty.
    pub fn drained(&self) {
        self.queued.store(false, Ordering::Release);
    }

    /// Looks at the queue again.
    pub fn wake(&self) {
        self.queued();
    }

    /// Passes a cancel on to whoever holds the task.
    pub fn cancel(&self, task: &TaskId) -> bool {
        let connections = self.read();
        let holder = connections.iter().find(|connection| connection.tasks().contains_key(task));
        holder.is_some_and(|connection| connection.sender.send(Send::Cancel(task.clone())).is_ok())
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Vec<Arc<Connection>>> {
        self.connections.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Vec<Arc<Connection>>> {
        self.connections.write().unwrap_or_else(PoisonError::into_inner)
    }
}
