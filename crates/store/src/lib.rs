//! The only crate that says SQL: catalog, journal, tasks, timers, locks, barriers, logs, account records. The contract is [`Store`]; the same
//! suite ([`contract`]) runs over every home.

pub mod clock;
pub mod contract;
mod filter;
pub mod logs;
mod needs;
pub mod postgres;
pub mod scratch;
pub mod sqlite;
pub mod transfer;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use manifold_model::artifact::Artifact;
use manifold_model::constraint::{
    ConstraintRecord, HoldingScope, PermitHolder, PermitRefusal, PermitRequest,
};
use manifold_model::delegate::{Announced, DelegateStatus, Scopes};
use manifold_model::event::{Event, EventKind, LastGood, LegEnd, LegPlace};
use manifold_model::execution::{ExecutionRow, RowState};
use manifold_model::plan::StepKey;
use manifold_model::request::Request;
use manifold_model::secret::{SecretRecord, SecretType};
use manifold_model::target::{LockKey, MappingKey};
use manifold_model::task::{Outcome, Task};
use manifold_model::{
    ArtifactId, ConstraintId, DelegateId, ElementId, EntityId, ExecutionId, KeyId, Millis, PlanDigest,
    SecretId, Status, TaskId,
};
use serde::{Deserialize, Serialize};

/// Why a store operation did nothing.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else appended first, or changed the catalog first.
    #[error("expected {expected}, found {found}")]
    Conflict {
        /// Sequence number or revision that was named.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// A stale holder wrote.
    #[error("the fence {fence} of {what} is stale")]
    Fenced {
        /// Of what.
        what: String,
        /// The stale fence.
        fence: u64,
    },
    /// No such row.
    #[error("{0} does not exist")]
    Missing(String),
    /// A name or id is taken.
    #[error("{0} exists already")]
    Exists(String),
    /// Somebody still uses it.
    #[error("{what} is in use by {by}")]
    Used {
        /// What.
        what: String,
        /// One of those that use it.
        by: String,
    },
    /// The database cannot do it: disk full, corrupt, closed.
    #[error("the store cannot {action}")]
    Broken {
        /// What was tried.
        action: &'static str,
        /// Cause.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Result of a store operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A wake-up hint: something may have changed. Lost hints cost time, never work; a poll stands behind each.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize, Debug)]
pub enum Hint {
    /// Events were appended to this execution.
    Execution(ExecutionId),
    /// This execution has something to look at: it is new, or something was put into its inbox, or a leg of it ended.
    Inbox(ExecutionId),
    /// Rows of executions changed (for lists); parent of the row, if it is a leg.
    Rows(Option<ExecutionId>),
    /// Tasks are waiting for delegates.
    Tasks,
    /// A task without an execution ended.
    TaskEnded(TaskId),
    /// The catalog has this revision.
    Catalog(u64),
    /// A timer was set that is due at this time.
    Timer(Millis),
    /// Lines were appended to a log.
    Log(manifold_model::LogId),
    /// A leg of this pipeline execution paused or went on.
    LegPaused(ExecutionId),
    /// Delegates, their connections or their tokens changed.
    Delegates,
    /// A server joined or left.
    Servers,
    /// Too much happened to say it one by one: look at everything.
    Everything,
}

// ---------------------------------------------------------------- catalog

/// A document or file of the configuration tree as it is now.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct DocumentRow {
    /// Entity id; never changes.
    pub id: EntityId,
    /// Path, its name: `Setup/Applications/…`.
    pub path: String,
    /// The application it lies under, if any.
    pub application: Option<EntityId>,
    /// `type` of an entity document; empty for file documents.
    pub kind: String,
    /// Canonical text of an entity document, or bytes of a file document.
    pub body: Arc<[u8]>,
    /// Whether it is a file document (bytes, never parsed).
    pub is_file: bool,
    /// Catalog revision that wrote it last.
    pub revision: u64,
    /// When it was first written.
    pub created_at: Millis,
}

/// The whole catalog at its head.
#[derive(Clone, Debug, Default)]
pub struct CatalogRows {
    /// Revision.
    pub revision: u64,
    /// Documents by path order.
    pub documents: Vec<DocumentRow>,
}

/// One change of the catalog: all or nothing, one revision.
#[derive(Clone, Debug, Default)]
pub struct CatalogChange {
    /// Refuse unless the head is this revision; `None`: whatever it is.
    pub expected: Option<u64>,
    /// Documents to write; an id that is there is updated (its path may differ: a rename).
    pub puts: Vec<DocumentPut>,
    /// Ids to delete.
    pub deletes: Vec<EntityId>,
    /// Who.
    pub author: String,
    /// Through what: `graphql`, `config-as-code`, `import`, `seed`.
    pub source: String,
    /// Why, maybe empty.
    pub reason: String,
    /// When.
    pub at: Millis,
}

/// One document to write.
#[derive(Clone, Debug)]
pub struct DocumentPut {
    /// Id.
    pub id: EntityId,
    /// Path.
    pub path: String,
    /// Application.
    pub application: Option<EntityId>,
    /// `type`, empty for files.
    pub kind: String,
    /// Canonical text or bytes.
    pub body: Arc<[u8]>,
    /// File document.
    pub is_file: bool,
    /// Entities that it refers to, for the derived `refs` table.
    pub refs: Vec<EntityId>,
}

/// One revision of one document.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct DocumentRevision {
    /// Catalog revision.
    pub revision: u64,
    /// Path then.
    pub path: String,
    /// Body then; `None` for a deletion.
    pub body: Option<Arc<[u8]>>,
    /// Who.
    pub author: String,
    /// Through what.
    pub source: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Millis,
}

// ---------------------------------------------------------------- account records

/// An API key: only its SHA-256 is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ApiKeyRow {
    /// Id.
    pub id: KeyId,
    /// Name.
    pub name: String,
    /// SHA-256 of the key, hexadecimal.
    pub hash: String,
    /// When it was made.
    pub created_at: Millis,
}

/// A secret with its sealed value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct SecretRow {
    /// What it is.
    pub record: SecretRecord,
    /// Sealed value; empty for credentials.
    pub sealed: Vec<u8>,
}

// ---------------------------------------------------------------- journal

/// A lease: who holds it and the number that every later write must name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
pub struct Lease {
    /// Holder: a server's node id or a delegate connection.
    pub holder: String,
    /// Fence.
    pub fence: u64,
}

/// How long a server's lease holds without being renewed (`design.md` 4.5), milliseconds: after it another server takes over.
pub const LEASE_MS: Millis = 10_000;

/// How long what began on a delegate itself waits for that delegate to come back, milliseconds: nobody else can look what became of it
/// (`behaviour.md` 19: a delegate counts as dead after 3 minutes).
pub const DELEGATE_DEAD_MS: Millis = 180_000;

/// Holder of the lease of a server.
#[must_use]
pub fn server_holder(node: &str) -> String {
    format!("server/{node}")
}

/// Holder of the lease of a delegate's connection, whichever server it leads to.
#[must_use]
pub fn delegate_holder(delegate: &DelegateId) -> String {
    format!("delegate/{delegate}")
}

/// A server that holds a lease on the store.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ServerRow {
    /// Node id: the same after a restart.
    pub node: String,
    /// Version of the program.
    pub program: String,
    /// Since when, by the store's clock.
    pub since: Millis,
    /// Its lease.
    pub lease: Lease,
}

/// What a server learns when it renews its lease.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// The time by the store's clock.
    pub now: Millis,
    /// Servers that hold a lease, by node.
    pub servers: Vec<ServerRow>,
    /// Grows whenever delegates, their connections or their tokens change.
    pub delegates: u64,
}

/// A delegate that asked to join.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct DelegateRow {
    /// Id.
    pub id: DelegateId,
    /// Name.
    pub name: String,
    /// Whether it may work.
    pub status: DelegateStatus,
    /// Its Ed25519 public key, base64; empty for the one inside a server.
    pub key: String,
    /// Id of the token by which it joined; empty for the one inside a server.
    pub token: String,
    /// What it said of itself last.
    pub announced: Announced,
    /// What it may be used for.
    pub scopes: Scopes,
    /// When it joined.
    pub created_at: Millis,
    /// When it was heard of last.
    pub seen: Millis,
    /// The lease of its connection and the node of the server that it leads to, while it is connected; not written by [`Store::enrol`].
    pub connection: Option<(Lease, String)>,
}

/// A token with which delegates join: only its SHA-256 is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct DelegateTokenRow {
    /// Id.
    pub id: String,
    /// Name, unique.
    pub name: String,
    /// SHA-256 of the token, hexadecimal.
    pub hash: String,
    /// Whether somebody has to approve each delegate that joins with it before it may work.
    pub approval_required: bool,
    /// When it was made.
    pub created_at: Millis,
    /// When it was revoked: nobody joins with it any more, and whoever joined with it is not let in again.
    pub revoked_at: Option<Millis>,
}

/// What the store holds now, for whoever watches it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Gauges {
    /// The time by the store's clock.
    pub now: Millis,
    /// Tasks that wait for a delegate.
    pub tasks_queued: u64,
    /// Tasks that a delegate has.
    pub tasks_leased: u64,
    /// When the oldest waiting task was queued.
    pub oldest_queued_at: Option<Millis>,
    /// Items in inboxes.
    pub inbox: u64,
    /// Number of the oldest item in an inbox: while it stays the same, nobody takes it.
    pub oldest_inbox: Option<u64>,
    /// Timers that are due and have not fired.
    pub timers_due: u64,
    /// When the oldest of them was due.
    pub oldest_timer_due: Option<Millis>,
    /// Unfinished executions that somebody started, by inner status.
    pub executions: BTreeMap<Status, u64>,
    /// Unfinished legs, by inner status.
    pub legs: BTreeMap<Status, u64>,
    /// Servers that hold a lease.
    pub servers: u64,
    /// Delegates with a connection.
    pub delegates_connected: u64,
    /// Delegates by status.
    pub delegates: BTreeMap<&'static str, u64>,
}

/// How long an idempotency key holds, milliseconds: longer than clients try again, shorter than somebody who sends the same key every time
/// takes to deploy the same thing once more.
pub const IDEMPOTENCY_WINDOW_MS: Millis = 120_000;

/// A new execution: its row, its plan (kept once per digest) and its first events.
#[derive(Clone, Debug)]
pub struct NewExecution {
    /// Row; `row.state.seq` must equal the number of events.
    pub row: ExecutionRow,
    /// Serialised plan; `None` when the plan is there already (legs, resumed runs).
    pub plan: Option<Arc<[u8]>>,
    /// First events, `seq` from 1.
    pub events: Vec<Event>,
    /// Idempotency key (`clientMutationId` scoped by key): a second creation with the same one
    /// within [`IDEMPOTENCY_WINDOW_MS`] returns the first execution.
    pub idempotency: Option<String>,
}

/// Something that came for an execution from outside; consumed by the append that folds it.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(tag = "item", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum InboxItem {
    /// A request by a person or parent.
    Request {
        /// It.
        request: Request,
    },
    /// A task's outcome that could not be appended directly.
    TaskEnded {
        /// Task.
        task: TaskId,
        /// Outcome.
        outcome: Outcome,
    },
    /// A timer is due.
    Timer {
        /// Its key.
        key: String,
    },
    /// The lock is held now.
    LockGranted {},
    /// A barrier opened or broke.
    Barrier {
        /// Identifier.
        identifier: String,
        /// `None`: all crossed; else the execution that failed before it.
        broken_by: Option<ExecutionId>,
    },
    /// A step's request for permits was granted.
    PermitsGranted {
        /// Step.
        step: StepKey,
        /// Attempt that asked.
        attempt: u32,
    },
    /// Completions of legs are there (parents): read them with [`Store::completions`].
    Completions {},
}

/// An inbox item with the number by which it is consumed.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Inboxed {
    /// Number, growing.
    pub number: u64,
    /// Item.
    pub item: InboxItem,
}

/// Everything that one step of an execution writes, in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Append {
    /// The execution.
    pub execution: Option<ExecutionId>,
    /// The lease of the server that writes: when it is lost, the whole append is refused with [`StoreError::Fenced`]. `None`: whoever writes is
    /// alone with the store (tests, measurements).
    pub by: Option<Lease>,
    /// Sequence number of the last event there must be.
    pub expected_seq: u64,
    /// Events, `seq` from `expected_seq + 1`.
    pub events: Vec<Event>,
    /// New state of the row.
    pub row: Option<RowState>,
    /// Inbox items consumed.
    pub consumed: Vec<u64>,
    /// Leg completions consumed (parents): up to this completion number.
    pub completions_up_to: Option<u64>,
    /// Tasks whose outcome is among the events, each under its lease. A stale lease refuses the whole append with [`StoreError::Fenced`].
    pub ended_tasks: Vec<(TaskId, Lease)>,
    /// Tasks to hand out; with a lease they are claimed for that holder at once.
    pub tasks: Vec<(Task, Option<Lease>)>,
    /// Tasks no longer wanted: queued ones are dropped, leased ones marked so that [`Store::cancelled_tasks`] lists them.
    pub cancel_tasks: Vec<TaskId>,
    /// Timers to set by key (setting again moves it).
    pub set_timers: Vec<(String, Millis)>,
    /// Timers to drop.
    pub drop_timers: Vec<String>,
    /// Lock keys to take all at once, with the queue limit per key.
    pub lock: Option<(Vec<LockKey>, u32)>,
    /// Give all locks back; the next in line get [`InboxItem::LockGranted`].
    pub unlock: bool,
    /// What happens to permits of resource constraints, in this order.
    pub permits: Vec<PermitChange>,
    /// Arrive at these barriers.
    pub arrive: Vec<String>,
    /// Leave all barriers: `true` ended well (counts as arrived), `false` failed (breaks those not crossed).
    pub leave_barriers: Option<bool>,
    /// Legs to create (parents): at most 500 a transaction; unique by (parent, element, ordinal), so repeating changes nothing.
    pub legs: Vec<NewExecution>,
    /// Barriers of the legs created: (leg, identifiers). Participants of a stage are fixed with its first legs.
    pub barriers: Vec<BarrierSeat>,
    /// Items for other executions (a parent's abort for its legs).
    pub send: Vec<(ExecutionId, InboxItem)>,
    /// The execution ended: its completion row for the parent.
    pub completion: Option<(ExecutionId, LegEnd)>,
    /// Deployment history per mapping.
    pub deployed: Vec<Deployment>,
}

/// A change of the permits that an execution holds or waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PermitChange {
    /// Take these permits, or queue for them. Asking again for the same step and attempt changes nothing.
    Ask(PermitRequest),
    /// Give back what a step holds, or its place in the queue. Whoever fits then gets [`InboxItem::PermitsGranted`].
    GiveBack {
        /// Step.
        step: StepKey,
    },
    /// The execution ended: all that it holds or waits for goes back, but for what it holds at PIPELINE scope, which goes back when its
    /// parent leaves.
    Leave,
}

/// Requests that may wait in one queue (constraint and unit): as many as legs of the largest stage.
pub const PERMIT_QUEUE_LIMIT: u32 = 10_000;

/// Holders that a wait names.
pub const PERMIT_HOLDERS_SHOWN: u32 = 5;

/// Answer to a request for permits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PermitAnswer {
    /// Held.
    Granted,
    /// In the queue.
    Queued,
    /// Nothing was queued.
    Refused(PermitRefusal),
}

/// Permits that a step holds or waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PermitRow {
    /// Execution.
    pub execution: ExecutionId,
    /// The execution whose end frees them at the latest: the parent for the scope PIPELINE.
    pub until_end_of: ExecutionId,
    /// Step.
    pub step: StepKey,
    /// Its name.
    pub step_name: String,
    /// Unit; empty: account-wide.
    pub unit: String,
    /// How many.
    pub permits: u32,
    /// How long they are held.
    pub scope: HoldingScope,
    /// Held, or still waited for.
    pub granted: bool,
    /// Since when it is so.
    pub since: Millis,
}

/// How a step's request for permits stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PermitPlace {
    /// Permits of the constraint, per unit.
    pub capacity: u32,
    /// Permits that nobody holds.
    pub free: u32,
    /// Place in the queue from 1; 0: it holds them.
    pub place: u32,
    /// The first [`PERMIT_HOLDERS_SHOWN`] that hold some.
    pub holders: Vec<PermitHolder>,
}

/// A leg that takes part in a barrier.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct BarrierSeat {
    /// Scope: parent execution and stage, as one string.
    pub scope: String,
    /// Identifier.
    pub identifier: String,
    /// The leg.
    pub execution: ExecutionId,
}

/// One line of deployment history: "what runs where".
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Deployment {
    /// Mapping.
    pub mapping: MappingKey,
    /// Execution.
    pub execution: ExecutionId,
    /// Service.
    pub service: EntityId,
    /// Infrastructure definition.
    pub infrastructure: EntityId,
    /// Artifact, if any.
    pub artifact: Option<Artifact>,
    /// Final status of the execution; only SUCCESS counts as last good.
    pub status: Status,
    /// `${workflow.releaseNo}`.
    pub release_no: u64,
    /// `${workflow.displayName}`.
    pub display_name: String,
    /// When.
    pub at: Millis,
}

impl Deployment {
    fn into_last_good(self) -> LastGood {
        LastGood {
            mapping: self.mapping,
            artifact: self.artifact,
            release_no: self.release_no,
            display_name: self.display_name,
            execution: self.execution,
        }
    }
}

/// What an append brought about beside its events.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Appended {
    /// Result of [`Append::lock`].
    pub lock: Option<LockAnswer>,
    /// Barrier identifiers of [`Append::arrive`] that opened with this arrival or were open or broken before.
    pub barriers: Vec<(String, BarrierAnswer)>,
    /// Answers to requests of [`Append::permits`]: step, attempt, answer.
    pub permits: Vec<(StepKey, u32, PermitAnswer)>,
}

/// Answer to a lock request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LockAnswer {
    /// Held.
    Granted,
    /// In the queue; who holds it and the place from 1.
    Queued {
        /// A holder of one of the keys.
        holder: Option<ExecutionId>,
        /// Place.
        place: u32,
    },
    /// The queue is full; nothing was queued.
    Full,
}

/// Answer to an arrival.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BarrierAnswer {
    /// All are there.
    Crossed,
    /// Waits for others.
    Waiting {
        /// Arrived.
        arrived: u32,
        /// Participants.
        of: u32,
    },
    /// Somebody failed before it.
    Broken {
        /// Who.
        by: ExecutionId,
    },
}

/// A task as the store has it.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct TaskRow {
    /// The task.
    pub task: Task,
    /// The execution it belongs to, if any.
    pub execution: Option<ExecutionId>,
    /// Who holds it.
    pub lease: Option<Lease>,
    /// How often it was handed out before; above 0 the delegate must look before it acts.
    pub deliveries: u32,
    /// Who held it last, when it was handed out before.
    #[serde(default)]
    pub held_by: Option<String>,
    /// Until when only `held_by` gets it: what began there cannot be looked at from elsewhere.
    #[serde(default)]
    pub reserved_until: Option<Millis>,
    /// When it was queued.
    pub queued_at: Millis,
    /// Outcome, for tasks without an execution.
    pub outcome: Option<Outcome>,
    /// Whether it is no longer wanted: handed out again only so that the delegate can find and stop what an earlier delivery began.
    #[serde(default)]
    pub cancelled: bool,
}

/// What a claimer can take.
#[derive(Clone, Debug, Default)]
pub struct ClaimOffer {
    /// Kinds offered.
    pub kinds: Vec<String>,
    /// Selectors of the delegate (name, host, custom).
    pub selectors: Vec<String>,
    /// Capabilities.
    pub capabilities: Vec<String>,
    /// At most this many.
    pub max: u32,
}

/// Filter of execution lists; all AND-ed.
#[derive(Clone, Debug, Default)]
pub struct ExecutionFilter {
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// Member executions too.
    pub include_indirect: bool,
    /// Runs that were resumed by a newer one too.
    pub include_superseded: bool,
}

/// Operators on ids and statuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operator {
    /// Equal to the one value.
    Equals,
    /// Any of the values.
    In,
    /// None of the values.
    NotIn,
    /// Contains the value, without regard to case.
    Like,
    /// There is a value.
    NotNull,
}

/// Operators on times and numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// =
    Equals,
    /// <
    Before,
    /// >
    After,
}

/// One condition.
#[derive(Clone, Debug)]
pub enum Condition {
    /// Id-like column.
    Id(IdColumn, Operator, Vec<String>),
    /// Time column.
    Time(TimeColumn, Comparison, Millis),
}

/// Id-like columns of executions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdColumn {
    /// Execution id.
    Execution,
    /// Application.
    Application,
    /// Workflow.
    Workflow,
    /// Pipeline.
    Pipeline,
    /// Parent pipeline execution.
    PipelineExecution,
    /// Environment.
    Environment,
    /// Infrastructure definition.
    Infrastructure,
    /// Service.
    Service,
    /// Public status (`wire.md` 3.3).
    Status,
    /// Inner status.
    InnerStatus,
    /// Stage element.
    Element,
    /// Infrastructure name (for text search).
    InfrastructureName,
    /// Id of the cause (key or user).
    TriggeredBy,
}

/// Time columns of executions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeColumn {
    /// Created.
    Created,
    /// Started.
    Started,
    /// Ended.
    Ended,
}

/// Orders of lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// Newest first.
    #[default]
    Newest,
    /// By place in the plan (legs).
    Place,
    /// By inner status, failed first, then place.
    Status,
    /// By infrastructure name.
    Name,
    /// Longest running first.
    Duration,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// Items.
    pub items: Vec<T>,
    /// How many match in all.
    pub total: u64,
}

/// The storage contract. Every write is one transaction, durable when it returns.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Folds what has been written since into the database file, where a home keeps it apart; a chore.
    async fn checkpoint(&self) -> Result<()>;
    /// Wake-up hints from now on, those of other servers among them.
    fn hints(&self) -> tokio::sync::broadcast::Receiver<Hint>;
    /// Gives a hint to everybody who listens, on other servers too.
    fn tell(&self, hint: Hint);
    /// The time by the store's clock.
    async fn now(&self) -> Result<Millis>;
    /// What it holds now, for whoever watches it; cheap enough for every scrape.
    async fn gauges(&self) -> Result<Gauges>;

    // ---- catalog
    /// Revision of the head.
    async fn catalog_revision(&self) -> Result<u64>;
    /// All documents at the head.
    async fn catalog(&self) -> Result<CatalogRows>;
    /// Documents written after a revision, and ids deleted after it, with the head's revision.
    async fn catalog_since(&self, revision: u64) -> Result<(CatalogRows, Vec<EntityId>)>;
    /// Writes a change; returns its revision.
    async fn commit_catalog(&self, change: CatalogChange) -> Result<u64>;
    /// Ids of documents that refer to this one, from the derived `refs`.
    async fn referrers(&self, id: &EntityId) -> Result<Vec<EntityId>>;
    /// Revisions of a document, newest first.
    async fn document_history(&self, id: &EntityId, limit: u32) -> Result<Vec<DocumentRevision>>;
    /// A document by path as of a revision.
    async fn document_at(&self, path: &str, revision: u64) -> Result<Option<Arc<[u8]>>>;

    // ---- account records
    /// A setting.
    async fn setting(&self, name: &str) -> Result<Option<String>>;
    /// Writes a setting; with `only_new` an existing value stays. Returns the value that holds.
    async fn put_setting(&self, name: &str, value: &str, only_new: bool) -> Result<String>;
    /// API keys.
    async fn api_keys(&self) -> Result<Vec<ApiKeyRow>>;
    /// Adds or replaces an API key.
    async fn put_api_key(&self, key: ApiKeyRow) -> Result<()>;
    /// Removes an API key.
    async fn delete_api_key(&self, id: &KeyId) -> Result<()>;
    /// Adds or replaces a secret; another secret of the same type and name is [`StoreError::Exists`].
    async fn put_secret(&self, secret: SecretRow) -> Result<()>;
    /// A secret by id.
    async fn secret(&self, id: &SecretId) -> Result<Option<SecretRow>>;
    /// A secret by name and, if given, type.
    async fn secret_named(&self, name: &str, kind: Option<SecretType>) -> Result<Option<SecretRow>>;
    /// All secrets without their values, by name.
    async fn secrets(&self) -> Result<Vec<SecretRecord>>;
    /// Removes a secret.
    async fn delete_secret(&self, id: &SecretId) -> Result<()>;
    /// Adds artifacts; those that are there keep their `collected_at`. Returns how many were new.
    async fn put_artifacts(&self, artifacts: Vec<Artifact>) -> Result<u32>;
    /// An artifact.
    async fn artifact(&self, id: &ArtifactId) -> Result<Option<Artifact>>;
    /// Artifacts of a source, newest collected first.
    async fn artifacts(&self, source: &EntityId, offset: u64, limit: u32) -> Result<Page<Artifact>>;

    /// Adds a resource constraint; a taken name or id is [`StoreError::Exists`].
    async fn create_constraint(&self, record: ConstraintRecord) -> Result<()>;
    /// Changes name, capacity and strategy of a resource constraint; whoever fits now gets its permits. A capacity below what somebody waits
    /// for is [`StoreError::Used`].
    async fn update_constraint(&self, record: ConstraintRecord) -> Result<()>;
    /// Removes a resource constraint; [`StoreError::Used`] when somebody holds or waits for its permits.
    async fn delete_constraint(&self, id: &ConstraintId) -> Result<()>;
    /// All resource constraints, by name.
    async fn constraints(&self) -> Result<Vec<ConstraintRecord>>;
    /// Holders and queue of a resource constraint: unit by unit, holders first, each in the order of their requests.
    async fn permits(&self, constraint: &ConstraintId, offset: u64, limit: u32) -> Result<Page<PermitRow>>;

    // ---- executions
    /// Creates an execution. Returns the id that holds: that of an earlier one when the idempotency key was used before.
    async fn create_execution(&self, new: NewExecution) -> Result<ExecutionId>;
    /// Marks a run as resumed by a newer one and creates the newer one, together.
    async fn resume_execution(&self, old: &ExecutionId, new: NewExecution) -> Result<ExecutionId>;
    /// Puts an item into an execution's inbox; [`StoreError::Missing`] when there is no such execution.
    async fn send(&self, execution: &ExecutionId, item: InboxItem) -> Result<()>;
    /// Extends an execution.
    async fn append(&self, append: Append) -> Result<Appended>;
    /// Extends many executions in one transaction; each append stands or falls alone.
    async fn append_many(&self, appends: Vec<Append>) -> Vec<Result<Appended>>;
    /// Inbox of an execution in order.
    async fn inbox(&self, execution: &ExecutionId, limit: u32) -> Result<Vec<Inboxed>>;
    /// Events after a sequence number, in order.
    async fn events(&self, execution: &ExecutionId, after: u64, limit: u32) -> Result<Vec<Event>>;
    /// Completions of legs after a completion number, in order, with their numbers.
    async fn completions(&self, parent: &ExecutionId, after: u64, limit: u32) -> Result<Vec<(u64, LegEnd)>>;
    /// Executions that are not final, with their last sequence number; parents before legs.
    async fn unfinished(&self) -> Result<Vec<ExecutionId>>;
    /// Unfinished executions with something in their inbox.
    async fn executions_with_inbox(&self, limit: u32) -> Result<Vec<ExecutionId>>;
    /// A row.
    async fn execution(&self, id: &ExecutionId) -> Result<Option<ExecutionRow>>;
    /// Rows.
    async fn executions(
        &self,
        filter: &ExecutionFilter,
        order: Order,
        offset: u64,
        limit: u32,
    ) -> Result<Page<ExecutionRow>>;
    /// Counts of matching rows by inner status.
    async fn execution_counts(&self, filter: &ExecutionFilter) -> Result<BTreeMap<Status, u64>>;
    /// Forgets executions that ended before a time, oldest first, at most this many: row, journal and all that belongs to them, and plans that
    /// no other execution has. Legs go before their parent, and only when it ended before that time too. Deployment history stays. Returns
    /// which.
    async fn prune_executions(&self, ended_before: Millis, limit: u32) -> Result<Vec<ExecutionId>>;
    /// Bytes of a plan.
    async fn plan(&self, digest: &PlanDigest) -> Result<Option<Arc<[u8]>>>;
    /// Number of earlier runs of a workflow plus one: the next release number.
    async fn next_release_no(&self, workflow: &EntityId) -> Result<u64>;
    /// The newest SUCCESS on each mapping.
    async fn last_good(&self, mappings: &[MappingKey]) -> Result<Vec<LastGood>>;
    /// Place of an execution in the lock queue: a holder, and its place from 1 (0: it holds).
    async fn lock_place(&self, execution: &ExecutionId) -> Result<Option<(Option<ExecutionId>, u32)>>;
    /// How a step's request for permits stands; `None` when it neither holds nor waits for any.
    async fn permit_place(&self, execution: &ExecutionId, step: StepKey) -> Result<Option<PermitPlace>>;
    /// Arrived and participants of a barrier.
    async fn barrier(&self, execution: &ExecutionId, identifier: &str) -> Result<Option<(u32, u32)>>;

    // ---- timers
    /// Turns due timers into inbox items; returns the executions they are for and when the next one is due.
    async fn fire_timers(&self, now: Millis, limit: u32) -> Result<(Vec<ExecutionId>, Option<Millis>)>;

    // ---- servers, leases
    /// A server joins under its node id: its lease fences everything that an earlier life of the same node holds, whose tasks go back to the
    /// queue with their deliveries counted. It holds [`LEASE_MS`] and is kept by [`Store::renew`].
    async fn join(&self, node: &str, program: &str) -> Result<Lease>;
    /// Keeps a server's lease, and takes from every other server whose lease has run out everything that it holds. [`StoreError::Fenced`] when
    /// this server's own was taken.
    async fn renew(&self, server: &Lease) -> Result<Standing>;
    /// A lease for a delegate's connection that leads to this server; its fence is higher than every earlier one. An earlier connection of the
    /// delegate, to whichever server, is fenced: its tasks go back to the queue.
    async fn lease(&self, server: &Lease, delegate: &DelegateId) -> Result<Lease>;
    /// Gives a lease up: its tasks go back to the queue, and with a server's lease those of all connections to it.
    async fn release(&self, lease: &Lease) -> Result<()>;

    // ---- tasks
    /// Queues a task without an execution.
    async fn enqueue(&self, task: Task, now: Millis) -> Result<()>;
    /// Takes queued tasks, oldest first; not those that are kept for another holder, nor those that this holder is barred from.
    async fn claim(&self, lease: &Lease, offer: &ClaimOffer) -> Result<Vec<TaskRow>>;
    /// A task.
    async fn task(&self, id: &TaskId) -> Result<Option<TaskRow>>;
    /// Ends a task under its lease. The outcome of a task of an execution goes into the inbox of that execution: some other server may advance
    /// it. That of another task is kept for whoever asks.
    async fn end_task(&self, id: &TaskId, lease: &Lease, outcome: Outcome) -> Result<()>;
    /// Puts a task back that its holder cannot do now (it does not reach the target); it does not get it again before `barred_until`.
    async fn hand_back(&self, id: &TaskId, lease: &Lease, barred_until: Millis) -> Result<()>;
    /// Puts a task back that was claimed and never sent, because its holder may not be used for it: nobody began it, so it is as if it had not
    /// been claimed, but that this holder does not get it again before `barred_until`.
    async fn put_back(&self, id: &TaskId, lease: &Lease, barred_until: Millis) -> Result<()> {
        self.hand_back(id, lease, barred_until).await
    }
    /// Leased tasks of this lease that are no longer wanted.
    async fn cancelled_tasks(&self, lease: &Lease) -> Result<Vec<TaskId>>;
    /// Queued tasks that nobody has taken since before a time.
    async fn waiting_tasks(&self, queued_before: Millis, limit: u32) -> Result<Vec<TaskRow>>;

    // ---- delegates
    /// Writes a delegate down, or what a known one says of itself now; status, key, token, scopes and creation of a known one stay. Returns
    /// the row that holds.
    async fn enrol(&self, delegate: DelegateRow) -> Result<DelegateRow>;
    /// All delegates, oldest first.
    async fn delegates(&self) -> Result<Vec<DelegateRow>>;
    /// A delegate.
    async fn delegate(&self, id: &DelegateId) -> Result<Option<DelegateRow>>;
    /// Lets a delegate work, or not: a deleted one loses its lease, its tasks go back to the queue.
    async fn set_delegate_status(&self, id: &DelegateId, status: DelegateStatus) -> Result<()>;
    /// Says what a delegate may be used for.
    async fn set_delegate_scopes(&self, id: &DelegateId, scopes: Scopes) -> Result<()>;
    /// Delegates were heard of now.
    async fn delegates_seen(&self, ids: &[DelegateId]) -> Result<()>;
    /// Adds a token with which delegates join; a taken name or id is [`StoreError::Exists`].
    async fn create_delegate_token(&self, token: DelegateTokenRow) -> Result<()>;
    /// All tokens with which delegates join, by name.
    async fn delegate_tokens(&self) -> Result<Vec<DelegateTokenRow>>;
    /// Revokes a token; one that is revoked stays as it is. Delegates that joined with it lose their leases, their tasks go back to the queue.
    async fn revoke_delegate_token(&self, id: &str) -> Result<()>;
}

impl Append {
    /// Kinds of all events that it writes, those of new legs among them.
    pub fn kinds(&self) -> impl Iterator<Item = &EventKind> {
        let of_legs = self.legs.iter().flat_map(|leg| &leg.events);
        self.events.iter().chain(of_legs).map(|event| &event.kind)
    }
}

/// Events numbered on from `after`.
#[must_use]
pub fn numbered(after: u64, at: Millis, kinds: Vec<EventKind>) -> Vec<Event> {
    kinds.into_iter().zip(after + 1..).map(|(kind, seq)| Event { seq, at, kind }).collect()
}

/// Scope string of the barriers of a stage.
#[must_use]
pub fn barrier_scope(parent: &ExecutionId, stage: u32) -> String {
    format!("{parent}/{stage}")
}

/// Place and element of a leg's id: the same leg always gets the same id.
#[must_use]
pub fn leg_id(parent: &ExecutionId, element: &ElementId, place: LegPlace) -> ExecutionId {
    ExecutionId::derived(&["leg", parent.as_str(), element.as_str(), &place.leg.to_string()])
}
