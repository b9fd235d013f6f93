//! The account's connected delegates: those of this server, and what the store says of those of other servers. Who may take which task, and who
//! gets it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use manifold_model::delegate::{DelegateStatus, TaskScope};
use manifold_model::kind::KindSpec;
use manifold_model::task::Task;
use manifold_model::{DelegateId, ExecutionId, Millis, TaskId};
use manifold_store::{DelegateRow, Lease, delegate_holder};
use tokio::sync::Notify;

use crate::Shared;
use crate::connection::offers;
pub use crate::connection::{Connection, Handed, Send};
use crate::reach::{Rank, Reach};

/// Shortest time between two looks at the delegates in the store.
const PACE: Duration = Duration::from_millis(50);
/// Pause after a store that could not be read.
const BROKEN_STORE_PAUSE: Duration = Duration::from_millis(500);

/// Whether somebody takes a task now.
pub enum Reservation {
    /// This connection has a place for it.
    Place(Arc<Connection>),
    /// Somebody may, but has no place now or is connected to another server: let it wait in the store.
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

/// All connected delegates.
#[derive(Default)]
pub struct Delegates {
    connections: RwLock<Vec<Arc<Connection>>>,
    /// Enabled delegates that are connected to other servers.
    elsewhere: RwLock<Vec<DelegateRow>>,
    /// Names by lease holder, also of those that are not connected.
    names: RwLock<HashMap<String, String>>,
    /// The number of the store's last change of delegates that was heard of.
    change: AtomicU64,
    /// Told when the store's delegates may have changed.
    stale: Notify,
    /// Told when tasks wait in the store or places got free.
    pub(crate) work: Notify,
    /// Whether tasks may wait in the store.
    queued: AtomicBool,
    /// Tasks whose execution says that nobody may take them; each is told when somebody does.
    untaken: Mutex<BTreeMap<TaskId, ExecutionId>>,
    /// Where the next round begins.
    round: AtomicUsize,
    /// Who reached what.
    pub(crate) reach: Reach,
}

// ---------------------------------------------------------------- who is connected

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

    /// Ends the connection whose lease has this fence, because the lease is lost; `false` when there is none.
    pub fn end(&self, fence: u64) -> bool {
        let mut connections = self.write();
        let Some(at) = connections.iter().position(|one| one.lease.fence == fence) else { return false };
        connections.swap_remove(at).ended.cancel();
        true
    }

    /// All connections to this server, beginning with another one each time.
    pub fn all(&self) -> Vec<Arc<Connection>> {
        let mut all = self.read().clone();
        self.rotate(&mut all);
        all
    }

    /// The kinds that connected delegates offer.
    pub fn kinds(&self) -> Vec<KindSpec> {
        let mut kinds: Vec<KindSpec> =
            self.read().iter().flat_map(|connection| connection.kinds.iter().cloned()).collect();
        kinds.extend(self.others().iter().flat_map(|row| row.announced.kinds.iter().cloned()));
        kinds
    }

    /// What connected delegates have beside kinds.
    pub fn capabilities(&self) -> BTreeSet<String> {
        let mut all: BTreeSet<String> =
            self.read().iter().flat_map(|connection| connection.capabilities.iter().cloned()).collect();
        all.extend(self.others().iter().flat_map(|row| row.announced.capabilities.iter().cloned()));
        all
    }

    /// Whether any delegate is connected to this server.
    pub fn any(&self) -> bool {
        !self.read().is_empty()
    }

    /// Takes note of the delegates as the store has them; `node` is this server. Returns connections of this server of which the store knows
    /// nothing good: they may have lost their lease, or be newer than what was read.
    fn learn(&self, rows: Vec<DelegateRow>, node: &str) -> Vec<Arc<Connection>> {
        *self.names.write().unwrap_or_else(PoisonError::into_inner) =
            rows.iter().map(|row| (delegate_holder(&row.id), row.name.clone())).collect();
        let mut doubtful = Vec::new();
        for connection in self.read().iter() {
            match rows.iter().find(|row| row.id == connection.id) {
                Some(row) if is_connection(row, &connection.lease) => {
                    connection.set_scopes(row.scopes.clone());
                }
                _ => doubtful.push(Arc::clone(connection)),
            }
        }
        let connected = |row: &DelegateRow| {
            row.status == DelegateStatus::Enabled
                && row.connection.as_ref().is_some_and(|(_, leads_to)| leads_to != node)
        };
        *self.elsewhere.write().unwrap_or_else(PoisonError::into_inner) =
            rows.into_iter().filter(connected).collect();
        doubtful
    }

    /// The name of whoever held a lease, or its id.
    pub fn name_of(&self, holder: &str) -> String {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let id = || holder.rsplit('/').next().unwrap_or(holder).to_owned();
        names.get(holder).cloned().unwrap_or_else(id)
    }

    /// The store's delegates may have changed.
    pub fn stale(&self) {
        self.stale.notify_one();
    }

    /// The number of the store's last change of delegates.
    pub fn changed(&self, number: u64) {
        if self.change.swap(number, Ordering::AcqRel) != number {
            self.stale();
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Vec<Arc<Connection>>> {
        self.connections.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Vec<Arc<Connection>>> {
        self.connections.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn others(&self) -> std::sync::RwLockReadGuard<'_, Vec<DelegateRow>> {
        self.elsewhere.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the store says that the delegate is connected under this lease and may work.
fn is_connection(row: &DelegateRow, lease: &Lease) -> bool {
    row.status == DelegateStatus::Enabled && row.connection.as_ref().is_some_and(|(held, _)| held == lease)
}

/// Whether a delegate connected to another server may take a task.
fn row_may(row: &DelegateRow, task: &Task, scope: &TaskScope) -> bool {
    let said = &row.announced;
    offers(&said.kinds, &said.selectors, &said.capabilities, task) && row.scopes.admit(scope)
}

// ---------------------------------------------------------------- who gets a task

impl Delegates {
    /// Finds a place for a task: with a delegate that reached its target lately, else in turn, last with one that did not reach it.
    pub fn reserve(
        &self,
        task: &Task,
        execution: &ExecutionId,
        scope: &TaskScope,
        now: Millis,
    ) -> Reservation {
        let connections = self.read();
        let mut may: Vec<&Arc<Connection>> =
            connections.iter().filter(|one| one.may_take(task, scope)).collect();
        if may.len() > 1 {
            self.rotate(&mut may);
            if let Some(target) = task.target() {
                let rank = |one: &&Arc<Connection>| self.reach.rank(&one.id, &target, now);
                may.sort_by_cached_key(rank);
                // One that did not reach it gets it only when the others did not either.
                if may.first().is_some_and(|best| rank(best) != Rank::Missed) {
                    may.retain(|one| rank(one) != Rank::Missed);
                }
            }
        }
        if let Some(connection) = may.iter().find(|connection| connection.take_place()) {
            return Reservation::Place(Arc::clone(connection));
        }
        if !may.is_empty() || self.others().iter().any(|row| row_may(row, task, scope)) {
            return Reservation::Full;
        }
        drop(connections);
        self.untaken().insert(task.id.clone(), execution.clone());
        Reservation::Nobody { detail: self.why_nobody(task) }
    }

    /// Whether a place that just got free suits a task: nobody takes it to whom the target did not answer while others are there.
    pub fn suits(&self, connection: &Connection, task: &Task, scope: &TaskScope, now: Millis) -> bool {
        let missed = || {
            task.target().is_some_and(|target| self.reach.rank(&connection.id, &target, now) == Rank::Missed)
        };
        connection.may_take(task, scope) && !missed()
    }

    /// How many connected delegates may take a task, to whichever server; not counting those that are left out.
    pub fn eligible(&self, task: &Task, scope: &TaskScope, but: &[&DelegateId]) -> usize {
        let here =
            self.read().iter().filter(|one| !but.contains(&&one.id) && one.may_take(task, scope)).count();
        here + self.others().iter().filter(|row| !but.contains(&&row.id) && row_may(row, task, scope)).count()
    }

    /// Whether a delegate is connected, to whichever server.
    pub fn is_connected(&self, holder: &str) -> bool {
        self.read().iter().any(|one| one.lease.holder == holder)
            || self.others().iter().any(|row| delegate_holder(&row.id) == holder)
    }

    /// Whether every connected delegate of this account may be used for everything.
    pub fn all_open(&self) -> bool {
        self.read().iter().all(|one| one.is_open()) && self.others().iter().all(|row| row.scopes.is_open())
    }

    /// Why nobody connected may take a task, for people.
    pub fn why_nobody(&self, task: &Task) -> String {
        match self.read().len() + self.others().len() {
            0 => "no delegate is connected".to_owned(),
            count => {
                let scopes = if self.all_open() { "" } else { " and may be used for it" };
                let (kind, wanted) = (&task.kind, wanted(task));
                format!("none of the {count} connected delegates offers kind {kind}{wanted}{scopes}")
            }
        }
    }

    fn rotate<T>(&self, all: &mut [T]) {
        if !all.is_empty() {
            all.rotate_left(self.round.fetch_add(1, Ordering::Relaxed) % all.len());
        }
    }

    /// The execution of this task says that nobody may take it.
    pub fn is_untaken(&self, task: &TaskId, execution: &ExecutionId) {
        self.untaken().insert(task.clone(), execution.clone());
    }

    /// Whether the execution of this task says that nobody takes it; it does so no longer.
    pub fn was_untaken(&self, task: &TaskId) -> bool {
        self.untaken().remove(task).is_some()
    }

    /// Some of the tasks whose execution says that nobody may take them.
    pub fn some_untaken(&self, most: usize) -> Vec<(TaskId, ExecutionId)> {
        let untaken = self.untaken();
        let from = if untaken.len() > most {
            self.round.fetch_add(most, Ordering::Relaxed) % untaken.len()
        } else {
            0
        };
        untaken
            .iter()
            .cycle()
            .skip(from)
            .take(most.min(untaken.len()))
            .map(|(task, execution)| (task.clone(), execution.clone()))
            .collect()
    }

    /// Forgets the tasks of executions that somebody else advances now.
    pub fn forget_untaken(&self, owns: impl Fn(&ExecutionId) -> bool) {
        self.untaken().retain(|_, execution| owns(execution));
    }

    fn untaken(&self) -> std::sync::MutexGuard<'_, BTreeMap<TaskId, ExecutionId>> {
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

    /// Passes a cancel on to whoever holds the task; `false` when nobody here does.
    pub fn cancel(&self, task: &TaskId) -> bool {
        let connections = self.read();
        let Some(holder) = connections.iter().find(|one| one.holds(task).is_some()) else { return false };
        holder.tell(Send::Cancel(task.clone()));
        true
    }
}

// ---------------------------------------------------------------- keeping up with the store

/// Keeps what is known of delegates up to date until the shutdown.
pub async fn run(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            () = shared.delegates.stale.notified() => {}
        }
        let pause = match refresh(&shared).await {
            Ok(()) => PACE,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot see the delegates");
                shared.delegates.stale();
                BROKEN_STORE_PAUSE
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Reads the delegates, and ends connections of those that may not work any more or are connected elsewhere by now.
///
/// # Errors
/// The store cannot be read.
pub async fn refresh(shared: &Shared) -> manifold_store::Result<()> {
    let rows = shared.store.delegates().await?;
    for connection in shared.delegates.learn(rows, &shared.config.node) {
        // Read once more, now that the connection was there: what was read before may be older than it.
        let row = shared.store.delegate(&connection.id).await?;
        match row {
            Some(row) if is_connection(&row, &connection.lease) => connection.set_scopes(row.scopes),
            _ if connection.ended.is_cancelled() => {}
            _ => {
                let (delegate, fence) = (&connection.name, connection.lease.fence);
                tracing::info!(%delegate, fence, "this connection of a delegate is over: it has another one, or may not work any more");
                shared.delegates.remove(&connection.lease);
                connection.ended.cancel();
            }
        }
    }
    shared.delegates.queued();
    Ok(())
}
