//! One connected delegate: what it offers, how much more it takes, what it holds, and how to reach it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use manifold_link::{Answer, OutcomeAck};
use manifold_model::delegate::{Scopes, TaskScope};
use manifold_model::kind::KindSpec;
use manifold_model::task::Task;
use manifold_model::{DelegateId, ExecutionId, LogId, TaskId};
use manifold_store::{ClaimOffer, Lease};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What a connection is told to send.
pub enum Send {
    /// A task.
    Task {
        /// It.
        task: Arc<Task>,
        /// How often it was handed out before.
        deliveries: u32,
        /// Name of the other delegate that had it last, if it was another one.
        elsewhere: Option<String>,
        /// Fence of the lease under which it is handed out.
        fence: u64,
    },
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

/// A task that a connection holds.
#[derive(Clone)]
pub struct Handed {
    /// It.
    pub task: Arc<Task>,
    /// How often it was handed out before.
    pub deliveries: u32,
}

impl Handed {
    /// A task that nobody had before.
    pub fn first(task: Arc<Task>) -> Self {
        Self { task, deliveries: 0 }
    }
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
    /// Cancelled when the connection is to end: the delegate may not work any more, or it is connected elsewhere by now.
    pub ended: CancellationToken,
    /// What it may be used for.
    scopes: RwLock<Scopes>,
    free: AtomicI64,
    sender: mpsc::UnboundedSender<Send>,
    /// Tasks in flight; bounded by the capacity.
    tasks: Mutex<HashMap<TaskId, Handed>>,
    /// The executions whose logs those tasks write.
    logs: Mutex<HashMap<LogId, ExecutionId>>,
    /// Log bytes taken in and not yet credited: the flush that makes them durable, and how many.
    uncredited: Mutex<VecDeque<(u64, u64)>>,
}

impl Connection {
    /// A connection that takes `capacity` tasks at once and may be used for everything.
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
            ended: CancellationToken::new(),
            scopes: RwLock::default(),
            free: AtomicI64::new(i64::from(capacity)),
            sender,
            tasks: Mutex::default(),
            logs: Mutex::default(),
            uncredited: Mutex::default(),
        }
    }

    /// Says what it may be used for from now on.
    pub fn set_scopes(&self, scopes: Scopes) {
        *self.scopes.write().unwrap_or_else(PoisonError::into_inner) = scopes;
    }

    /// Whether it may be used for whatever belongs there.
    pub fn admits(&self, scope: &TaskScope) -> bool {
        self.scopes.read().unwrap_or_else(PoisonError::into_inner).admit(scope)
    }

    /// Whether it may be used for everything.
    pub fn is_open(&self) -> bool {
        self.scopes.read().unwrap_or_else(PoisonError::into_inner).is_open()
    }

    /// Whether it may take the task at all.
    pub fn may_take(&self, task: &Task, scope: &TaskScope) -> bool {
        offers(&self.kinds, &self.selectors, &self.capabilities, task) && self.admits(scope)
    }

    /// Takes one place; `false` when it is full.
    pub fn take_place(&self) -> bool {
        self.free
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| (free > 0).then_some(free - 1))
            .is_ok()
    }

    /// Gives a place back.
    pub fn free_place(&self) {
        self.free.fetch_add(1, Ordering::AcqRel);
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

    /// Sends a task that is leased to this connection; `elsewhere` names the other delegate that had it last. A closed connection loses nothing:
    /// its lease is released and the task goes back.
    pub fn hand_over(&self, handed: Handed, elsewhere: Option<String>) {
        let (task, deliveries) = (Arc::clone(&handed.task), handed.deliveries);
        if let Some(step) = &task.step {
            self.logs().insert(task.log.clone(), step.execution.clone());
        }
        self.tasks().insert(task.id.clone(), handed);
        self.tell(Send::Task { task, deliveries, elsewhere, fence: self.lease.fence });
    }

    /// Takes a task that has ended off the books; `None` when it was not handed over by this connection. Its place stays taken until
    /// [`Connection::ack`] and [`Connection::free_place`], or goes to the next task of its execution.
    pub fn taken_back(&self, task: &TaskId) -> Option<Handed> {
        let handed = self.tasks().remove(task)?;
        self.logs().remove(&handed.task.log);
        Some(handed)
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
        self.tasks().get(task).map(|handed| Arc::clone(&handed.task))
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

    fn tasks(&self) -> std::sync::MutexGuard<'_, HashMap<TaskId, Handed>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a delegate with these can do a task.
pub fn offers(kinds: &[KindSpec], selectors: &[String], capabilities: &[String], task: &Task) -> bool {
    kinds.iter().any(|kind| kind.name == task.kind)
        && task.selectors.iter().all(|wanted| selectors.contains(wanted))
        && task.capabilities.iter().all(|wanted| capabilities.contains(wanted))
}
