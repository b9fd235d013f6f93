//! The store as a simulated server sees it: behind its disk, watched call by call, and with the planted defects of the test of the test.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use manifold_model::artifact::Artifact;
use manifold_model::constraint::ConstraintRecord;
use manifold_model::delegate::{DelegateStatus, Scopes};
use manifold_model::event::{Event, LastGood, LegEnd};
use manifold_model::execution::ExecutionRow;
use manifold_model::plan::StepKey;
use manifold_model::secret::{SecretRecord, SecretType};
use manifold_model::target::MappingKey;
use manifold_model::task::{Outcome, Task};
use manifold_model::{
    ArtifactId, ConstraintId, DelegateId, EntityId, ExecutionId, KeyId, Millis, PlanDigest, SecretId, Status,
    TaskId,
};
use manifold_store::sqlite::SqliteStore;
use manifold_store::{
    ApiKeyRow, Append, Appended, CatalogChange, CatalogRows, ClaimOffer, DelegateRow, DelegateTokenRow,
    DocumentRevision, ExecutionFilter, Gauges, Hint, InboxItem, Inboxed, Lease, NewExecution, Order, Page,
    PermitPlace, PermitRow, Result, SecretRow, Standing, Store, StoreError, TaskRow,
};
use tokio::sync::broadcast;

use crate::gate::Gate;
use crate::trace::note;
use crate::{Plant, Sim};

/// Hints kept for a slow receiver.
const HINTS: usize = 4_096;
/// Hints of a hundred that are lost while hints get lost.
const HINTS_LOST: u64 = 60;
/// Writes that happen all the time and say nothing.
const QUIET: [&str; 2] = ["renew", "fire_timers"];

/// The store of one life of a server.
pub(crate) struct Watched {
    inner: SqliteStore,
    sim: Arc<Sim>,
    /// Name of the server.
    name: String,
    gate: Arc<Gate>,
    hints: broadcast::Sender<Hint>,
}

impl Watched {
    /// A store of a server; its hints pass by the server's gate.
    pub(crate) fn new(sim: &Arc<Sim>, name: &str, gate: &Arc<Gate>) -> Self {
        let inner = sim.open();
        let (hints, _) = broadcast::channel(HINTS);
        tokio::spawn(pass_on(Arc::clone(sim), Arc::clone(gate), inner.hints(), hints.clone()));
        Self { inner, sim: Arc::clone(sim), name: name.to_owned(), gate: Arc::clone(gate), hints }
    }

    async fn read<T>(&self, _what: &'static str, act: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.gate.pass().await;
        self.sim.disk.wait(&self.sim).await;
        self.gate.pass().await;
        act.await
    }

    async fn write<T>(&self, what: &'static str, act: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.before_write().await?;
        let done = act.await;
        match &done {
            Ok(_) if QUIET.contains(&what) => {}
            Ok(_) => note!(self.sim, "{} {what}", self.name),
            Err(error) => note!(self.sim, "{} {what}: {error}", self.name),
        }
        self.after_write().await?;
        done
    }

    async fn before_write(&self) -> Result<()> {
        self.gate.pass().await;
        self.sim.disk.wait(&self.sim).await;
        self.gate.pass().await;
        self.sim.disk.takes(&self.sim)
    }

    /// The commit stands; whoever asked may die before it hears of it.
    async fn after_write(&self) -> Result<()> {
        self.sim.disk.wait(&self.sim).await;
        self.gate.pass().await;
        self.sim.disk.answers(&self.sim)
    }

    /// Leases that an append names and that are not held any more, or do not hold the task that they end.
    async fn stale(&self, append: &Append) -> Result<Option<String>> {
        for (task, lease) in &append.ended_tasks {
            let row = self.inner.task(task).await?;
            if row.and_then(|row| row.lease).as_ref() != Some(lease) {
                return Ok(Some(format!("{} #{} ends task {task}", lease.holder, lease.fence)));
            }
        }
        let handed_out = append.tasks.iter().filter_map(|(_, lease)| lease.as_ref());
        for lease in handed_out.chain(&append.by) {
            if !self.sim.image.holds(lease)? {
                return Ok(Some(format!("{} #{} writes", lease.holder, lease.fence)));
            }
        }
        Ok(None)
    }

    /// One append, with what was planted.
    async fn extend(&self, append: Append) -> Result<Appended> {
        let stale = self.stale(&append).await?;
        let mut done = self.inner.append(append.clone()).await;
        let mut written = append.clone();
        match (&done, self.sim.plant) {
            (Err(StoreError::Fenced { .. }), Plant::LostFence) => {
                written = self.unfenced(append).await?;
                done = self.inner.append(written.clone()).await;
            }
            (Err(StoreError::Conflict { found, .. }), Plant::DoubleAppend) => {
                written = renumbered(append, *found);
                done = self.inner.append(written.clone()).await;
            }
            _ => {}
        }
        if let Err(error) = &done {
            let execution = written.execution.as_ref().map(ToString::to_string).unwrap_or_default();
            note!(self.sim, "{} append to {execution}: {error}", self.name);
        }
        if let Ok(appended) = &done {
            if let Some(stale) = stale {
                self.sim.trace.broken("a stale holder's write changes nothing", stale);
            }
            self.sim.checks.appended(&self.sim, &self.name, &written, appended);
        }
        done
    }

    /// The append as if no fence had been checked: every lease that it names is the one that holds now.
    async fn unfenced(&self, mut append: Append) -> Result<Append> {
        for (task, lease) in &mut append.ended_tasks {
            if let Some(now) = self.inner.task(task).await?.and_then(|row| row.lease) {
                *lease = now;
            }
        }
        append.by = None;
        append.tasks.iter_mut().for_each(|(_, lease)| *lease = None);
        Ok(append)
    }
}

/// The append as if nobody had looked at the sequence number.
fn renumbered(mut append: Append, last: u64) -> Append {
    append.expected_seq = last;
    for (event, seq) in append.events.iter_mut().zip(last + 1..) {
        event.seq = seq;
    }
    append
}

/// Passes hints on, but for those that get lost.
async fn pass_on(
    sim: Arc<Sim>,
    gate: Arc<Gate>,
    mut from: broadcast::Receiver<Hint>,
    to: broadcast::Sender<Hint>,
) {
    loop {
        let hint = match from.recv().await {
            Ok(hint) => hint,
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        gate.pass().await;
        let planted = sim.plant == Plant::MissedWakeUp && matches!(hint, Hint::Inbox(_));
        let lost = sim.losing_hints() && sim.chance.percent(HINTS_LOST);
        if lost {
            sim.trace.fault("hint lost");
        }
        if !planted && !lost {
            // No receiver is no error.
            let _nobody = to.send(hint);
        }
    }
}

#[async_trait]
impl Store for Watched {
    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }

    fn tell(&self, hint: Hint) {
        if self.gate.is_open() {
            self.inner.tell(hint);
        }
    }

    async fn checkpoint(&self) -> Result<()> {
        self.inner.checkpoint().await
    }

    async fn now(&self) -> Result<Millis> {
        self.inner.now().await
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        self.before_write().await?;
        let done = self.extend(append).await;
        self.after_write().await?;
        done
    }

    async fn append_many(&self, appends: Vec<Append>) -> Vec<Result<Appended>> {
        let asked = appends.len();
        let none = |error: StoreError| {
            let why = error.to_string();
            (0..asked)
                .map(|_| Err(StoreError::Broken { action: "commit", cause: why.clone().into() }))
                .collect()
        };
        if let Err(error) = self.before_write().await {
            return none(error);
        }
        let mut done = Vec::with_capacity(asked);
        for append in appends {
            done.push(self.extend(append).await);
        }
        match self.after_write().await {
            Ok(()) => done,
            Err(error) => none(error),
        }
    }

    async fn executions_with_inbox(&self, limit: u32) -> Result<Vec<ExecutionId>> {
        if self.sim.plant == Plant::MissedWakeUp {
            return Ok(Vec::new());
        }
        self.read("executions_with_inbox", self.inner.executions_with_inbox(limit)).await
    }

    async fn claim(&self, lease: &Lease, offer: &ClaimOffer) -> Result<Vec<TaskRow>> {
        self.before_write().await?;
        let claimed = self.inner.claim(lease, offer).await;
        for row in claimed.iter().flatten() {
            note!(self.sim, "{} claims {} for {} #{}", self.name, row.task.id, lease.holder, lease.fence);
        }
        self.after_write().await?;
        claimed
    }

    async fn catalog_revision(&self) -> Result<u64> {
        self.read("catalog_revision", self.inner.catalog_revision()).await
    }

    async fn catalog(&self) -> Result<CatalogRows> {
        self.read("catalog", self.inner.catalog()).await
    }

    async fn catalog_since(&self, revision: u64) -> Result<(CatalogRows, Vec<EntityId>)> {
        self.read("catalog_since", self.inner.catalog_since(revision)).await
    }

    async fn commit_catalog(&self, change: CatalogChange) -> Result<u64> {
        self.write("commit_catalog", self.inner.commit_catalog(change)).await
    }

    async fn referrers(&self, id: &EntityId) -> Result<Vec<EntityId>> {
        self.read("referrers", self.inner.referrers(id)).await
    }

    async fn document_history(&self, id: &EntityId, limit: u32) -> Result<Vec<DocumentRevision>> {
        self.read("document_history", self.inner.document_history(id, limit)).await
    }

    async fn document_at(&self, path: &str, revision: u64) -> Result<Option<Arc<[u8]>>> {
        self.read("document_at", self.inner.document_at(path, revision)).await
    }

    async fn setting(&self, name: &str) -> Result<Option<String>> {
        self.read("setting", self.inner.setting(name)).await
    }

    async fn put_setting(&self, name: &str, value: &str, only_new: bool) -> Result<String> {
        self.write("put_setting", self.inner.put_setting(name, value, only_new)).await
    }

    async fn api_keys(&self) -> Result<Vec<ApiKeyRow>> {
        self.read("api_keys", self.inner.api_keys()).await
    }

    async fn put_api_key(&self, key: ApiKeyRow) -> Result<()> {
        self.write("put_api_key", self.inner.put_api_key(key)).await
    }

    async fn delete_api_key(&self, id: &KeyId) -> Result<()> {
        self.write("delete_api_key", self.inner.delete_api_key(id)).await
    }

    async fn put_secret(&self, secret: SecretRow) -> Result<()> {
        self.write("put_secret", self.inner.put_secret(secret)).await
    }

    async fn secret(&self, id: &SecretId) -> Result<Option<SecretRow>> {
        self.read("secret", self.inner.secret(id)).await
    }

    async fn secret_named(&self, name: &str, kind: Option<SecretType>) -> Result<Option<SecretRow>> {
        self.read("secret_named", self.inner.secret_named(name, kind)).await
    }

    async fn secrets(&self) -> Result<Vec<SecretRecord>> {
        self.read("secrets", self.inner.secrets()).await
    }

    async fn delete_secret(&self, id: &SecretId) -> Result<()> {
        self.write("delete_secret", self.inner.delete_secret(id)).await
    }

    async fn put_artifacts(&self, artifacts: Vec<Artifact>) -> Result<u32> {
        self.write("put_artifacts", self.inner.put_artifacts(artifacts)).await
    }

    async fn artifact(&self, id: &ArtifactId) -> Result<Option<Artifact>> {
        self.read("artifact", self.inner.artifact(id)).await
    }

    async fn artifacts(&self, source: &EntityId, offset: u64, limit: u32) -> Result<Page<Artifact>> {
        self.read("artifacts", self.inner.artifacts(source, offset, limit)).await
    }

    async fn create_constraint(&self, record: ConstraintRecord) -> Result<()> {
        self.write("create_constraint", self.inner.create_constraint(record)).await
    }

    async fn update_constraint(&self, record: ConstraintRecord) -> Result<()> {
        self.write("update_constraint", self.inner.update_constraint(record)).await
    }

    async fn delete_constraint(&self, id: &ConstraintId) -> Result<()> {
        self.write("delete_constraint", self.inner.delete_constraint(id)).await
    }

    async fn constraints(&self) -> Result<Vec<ConstraintRecord>> {
        self.read("constraints", self.inner.constraints()).await
    }

    async fn permits(&self, constraint: &ConstraintId, offset: u64, limit: u32) -> Result<Page<PermitRow>> {
        self.read("permits", self.inner.permits(constraint, offset, limit)).await
    }

    async fn create_execution(&self, new: NewExecution) -> Result<ExecutionId> {
        self.write("create_execution", self.inner.create_execution(new)).await
    }

    async fn resume_execution(&self, old: &ExecutionId, new: NewExecution) -> Result<ExecutionId> {
        self.write("resume_execution", self.inner.resume_execution(old, new)).await
    }

    async fn send(&self, execution: &ExecutionId, item: InboxItem) -> Result<()> {
        self.write("send", self.inner.send(execution, item)).await
    }

    async fn inbox(&self, execution: &ExecutionId, limit: u32) -> Result<Vec<Inboxed>> {
        self.read("inbox", self.inner.inbox(execution, limit)).await
    }

    async fn events(&self, execution: &ExecutionId, after: u64, limit: u32) -> Result<Vec<Event>> {
        self.read("events", self.inner.events(execution, after, limit)).await
    }

    async fn completions(&self, parent: &ExecutionId, after: u64, limit: u32) -> Result<Vec<(u64, LegEnd)>> {
        self.read("completions", self.inner.completions(parent, after, limit)).await
    }

    async fn unfinished(&self) -> Result<Vec<ExecutionId>> {
        self.read("unfinished", self.inner.unfinished()).await
    }

    async fn execution(&self, id: &ExecutionId) -> Result<Option<ExecutionRow>> {
        self.read("execution", self.inner.execution(id)).await
    }

    async fn executions(
        &self,
        filter: &ExecutionFilter,
        order: Order,
        offset: u64,
        limit: u32,
    ) -> Result<Page<ExecutionRow>> {
        self.read("executions", self.inner.executions(filter, order, offset, limit)).await
    }

    async fn execution_counts(&self, filter: &ExecutionFilter) -> Result<BTreeMap<Status, u64>> {
        self.read("execution_counts", self.inner.execution_counts(filter)).await
    }

    async fn plan(&self, digest: &PlanDigest) -> Result<Option<Arc<[u8]>>> {
        self.read("plan", self.inner.plan(digest)).await
    }

    async fn next_release_no(&self, workflow: &EntityId) -> Result<u64> {
        self.read("next_release_no", self.inner.next_release_no(workflow)).await
    }

    async fn last_good(&self, mappings: &[MappingKey]) -> Result<Vec<LastGood>> {
        self.read("last_good", self.inner.last_good(mappings)).await
    }

    async fn lock_place(&self, execution: &ExecutionId) -> Result<Option<(Option<ExecutionId>, u32)>> {
        self.read("lock_place", self.inner.lock_place(execution)).await
    }

    async fn permit_place(&self, execution: &ExecutionId, step: StepKey) -> Result<Option<PermitPlace>> {
        self.read("permit_place", self.inner.permit_place(execution, step)).await
    }

    async fn barrier(&self, execution: &ExecutionId, identifier: &str) -> Result<Option<(u32, u32)>> {
        self.read("barrier", self.inner.barrier(execution, identifier)).await
    }

    async fn fire_timers(&self, now: Millis, limit: u32) -> Result<(Vec<ExecutionId>, Option<Millis>)> {
        self.write("fire_timers", self.inner.fire_timers(now, limit)).await
    }

    async fn join(&self, node: &str, program: &str) -> Result<Lease> {
        self.write("join", self.inner.join(node, program)).await
    }

    async fn renew(&self, server: &Lease) -> Result<Standing> {
        self.write("renew", self.inner.renew(server)).await
    }

    async fn lease(&self, server: &Lease, delegate: &DelegateId) -> Result<Lease> {
        self.write("lease", self.inner.lease(server, delegate)).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.write("release", self.inner.release(lease)).await
    }

    async fn enqueue(&self, task: Task, now: Millis) -> Result<()> {
        self.write("enqueue", self.inner.enqueue(task, now)).await
    }

    async fn task(&self, id: &TaskId) -> Result<Option<TaskRow>> {
        self.read("task", self.inner.task(id)).await
    }

    async fn end_task(&self, id: &TaskId, lease: &Lease, outcome: Outcome) -> Result<()> {
        self.write("end_task", self.inner.end_task(id, lease, outcome)).await
    }

    async fn hand_back(&self, id: &TaskId, lease: &Lease, barred_until: Millis) -> Result<()> {
        self.write("hand_back", self.inner.hand_back(id, lease, barred_until)).await
    }

    async fn put_back(&self, id: &TaskId, lease: &Lease, barred_until: Millis) -> Result<()> {
        self.write("put_back", self.inner.put_back(id, lease, barred_until)).await
    }

    async fn cancelled_tasks(&self, lease: &Lease) -> Result<Vec<TaskId>> {
        self.read("cancelled_tasks", self.inner.cancelled_tasks(lease)).await
    }

    async fn waiting_tasks(&self, queued_before: Millis, limit: u32) -> Result<Vec<TaskRow>> {
        self.read("waiting_tasks", self.inner.waiting_tasks(queued_before, limit)).await
    }

    async fn enrol(&self, delegate: DelegateRow) -> Result<DelegateRow> {
        self.write("enrol", self.inner.enrol(delegate)).await
    }

    async fn delegates(&self) -> Result<Vec<DelegateRow>> {
        self.read("delegates", self.inner.delegates()).await
    }

    async fn delegate(&self, id: &DelegateId) -> Result<Option<DelegateRow>> {
        self.read("delegate", self.inner.delegate(id)).await
    }

    async fn set_delegate_status(&self, id: &DelegateId, status: DelegateStatus) -> Result<()> {
        self.write("set_delegate_status", self.inner.set_delegate_status(id, status)).await
    }

    async fn set_delegate_scopes(&self, id: &DelegateId, scopes: Scopes) -> Result<()> {
        self.write("set_delegate_scopes", self.inner.set_delegate_scopes(id, scopes)).await
    }

    async fn delegates_seen(&self, ids: &[DelegateId]) -> Result<()> {
        self.write("delegates_seen", self.inner.delegates_seen(ids)).await
    }

    async fn create_delegate_token(&self, token: DelegateTokenRow) -> Result<()> {
        self.write("create_delegate_token", self.inner.create_delegate_token(token)).await
    }

    async fn delegate_tokens(&self) -> Result<Vec<DelegateTokenRow>> {
        self.read("delegate_tokens", self.inner.delegate_tokens()).await
    }

    async fn revoke_delegate_token(&self, id: &str) -> Result<()> {
        self.write("revoke_delegate_token", self.inner.revoke_delegate_token(id)).await
    }

    async fn gauges(&self) -> Result<Gauges> {
        self.read("gauges", self.inner.gauges()).await
    }

    async fn prune_executions(&self, ended_before: Millis, limit: u32) -> Result<Vec<ExecutionId>> {
        self.write("prune_executions", self.inner.prune_executions(ended_before, limit)).await
    }
}
