//! The contract, call by call: writes go to the writer, reads to a reader.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use manifold_model::artifact::Artifact;
use manifold_model::constraint::ConstraintRecord;
use manifold_model::delegate::{DelegateStatus, Scopes};
use manifold_model::event::{Event, LastGood, LegEnd};
use manifold_model::execution::ExecutionRow;
use manifold_model::secret::{SecretRecord, SecretType};
use manifold_model::target::MappingKey;
use manifold_model::task::{Outcome, Task};
use manifold_model::{
    ArtifactId, ConstraintId, DelegateId, EntityId, ExecutionId, KeyId, Millis, PlanDigest, SecretId, Status,
    TaskId,
};
use tokio::sync::broadcast;

use super::writer::Writing;
use super::{
    SqliteStore, barriers, catalog, constraints, delegates, executions, gauges, history, inbox, journal,
    leases, lists, locks, prune, records, secrets, tasks, timers,
};
use crate::{
    ApiKeyRow, Append, Appended, CatalogChange, CatalogRows, ClaimOffer, DelegateRow, DelegateTokenRow,
    DocumentRevision, ExecutionFilter, Gauges, Hint, InboxItem, Inboxed, Lease, NewExecution, Order, Page,
    PermitPlace, PermitRow, Result, SecretRow, Standing, Store, StoreError, TaskRow,
};

#[async_trait]
impl Store for SqliteStore {
    async fn checkpoint(&self) -> Result<()> {
        self.fold_write_ahead_log().await.map(drop)
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }

    fn tell(&self, hint: Hint) {
        // No receiver is no error: hints may be lost.
        let _ = self.hints.send(hint);
    }

    async fn now(&self) -> Result<Millis> {
        Ok(self.clock.now())
    }

    async fn gauges(&self) -> Result<Gauges> {
        let now = self.clock.now();
        self.readers.read(move |db| gauges::read(db, now)).await
    }

    // ---- catalog

    async fn catalog_revision(&self) -> Result<u64> {
        self.readers.read(catalog::revision).await
    }

    async fn catalog(&self) -> Result<CatalogRows> {
        self.readers.read(catalog::head).await
    }

    async fn catalog_since(&self, revision: u64) -> Result<(CatalogRows, Vec<EntityId>)> {
        self.readers.read(move |db| catalog::since(db, revision)).await
    }

    async fn commit_catalog(&self, change: CatalogChange) -> Result<u64> {
        self.writer.write(move |writing| catalog::commit(writing, &change)).await
    }

    async fn referrers(&self, id: &EntityId) -> Result<Vec<EntityId>> {
        let id = id.clone();
        self.readers.read(move |db| catalog::referrers(db, id.as_str())).await
    }

    async fn document_history(&self, id: &EntityId, limit: u32) -> Result<Vec<DocumentRevision>> {
        let id = id.clone();
        self.readers.read(move |db| catalog::history(db, id.as_str(), limit)).await
    }

    async fn document_at(&self, path: &str, revision: u64) -> Result<Option<Arc<[u8]>>> {
        let path = path.to_owned();
        self.readers.read(move |db| catalog::at(db, &path, revision)).await
    }

    // ---- account records

    async fn setting(&self, name: &str) -> Result<Option<String>> {
        let name = name.to_owned();
        self.readers.read(move |db| records::setting(db, &name)).await
    }

    async fn put_setting(&self, name: &str, value: &str, only_new: bool) -> Result<String> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.writer.write(move |writing| records::put_setting(writing, &name, &value, only_new)).await
    }

    async fn api_keys(&self) -> Result<Vec<ApiKeyRow>> {
        self.readers.read(records::api_keys).await
    }

    async fn put_api_key(&self, key: ApiKeyRow) -> Result<()> {
        self.writer.write(move |writing| records::put_api_key(writing, &key)).await
    }

    async fn delete_api_key(&self, id: &KeyId) -> Result<()> {
        let id = id.clone();
        self.writer.write(move |writing| records::delete_api_key(writing, id.as_str())).await
    }

    async fn put_secret(&self, secret: SecretRow) -> Result<()> {
        self.writer.write(move |writing| secrets::put(writing, &secret)).await
    }

    async fn secret(&self, id: &SecretId) -> Result<Option<SecretRow>> {
        let id = id.clone();
        self.readers.read(move |db| secrets::by_id(db, id.as_str())).await
    }

    async fn secret_named(&self, name: &str, kind: Option<SecretType>) -> Result<Option<SecretRow>> {
        let name = name.to_owned();
        self.readers.read(move |db| secrets::named(db, &name, kind)).await
    }

    async fn secrets(&self) -> Result<Vec<SecretRecord>> {
        self.readers.read(secrets::records).await
    }

    async fn delete_secret(&self, id: &SecretId) -> Result<()> {
        let id = id.clone();
        self.writer.write(move |writing| secrets::delete(writing, id.as_str())).await
    }

    async fn put_artifacts(&self, artifacts: Vec<Artifact>) -> Result<u32> {
        self.writer.write(move |writing| records::put_artifacts(writing, &artifacts)).await
    }

    async fn artifact(&self, id: &ArtifactId) -> Result<Option<Artifact>> {
        let id = id.clone();
        self.readers.read(move |db| records::artifact(db, id.as_str())).await
    }

    async fn artifacts(&self, source: &EntityId, offset: u64, limit: u32) -> Result<Page<Artifact>> {
        let source = source.clone();
        self.readers.read(move |db| records::artifacts(db, source.as_str(), offset, limit)).await
    }

    async fn create_constraint(&self, record: ConstraintRecord) -> Result<()> {
        self.writer.write(move |writing| constraints::create(writing, &record)).await
    }

    async fn update_constraint(&self, record: ConstraintRecord) -> Result<()> {
        self.writer.write(move |writing| constraints::update(writing, &record)).await
    }

    async fn delete_constraint(&self, id: &ConstraintId) -> Result<()> {
        let id = id.clone();
        self.writer.write(move |writing| constraints::delete(writing, id.as_str())).await
    }

    async fn constraints(&self) -> Result<Vec<ConstraintRecord>> {
        self.readers.read(constraints::all).await
    }

    async fn permits(&self, constraint: &ConstraintId, offset: u64, limit: u32) -> Result<Page<PermitRow>> {
        let id = constraint.clone();
        self.readers.read(move |db| constraints::list(db, id.as_str(), offset, limit)).await
    }

    // ---- executions

    async fn create_execution(&self, new: NewExecution) -> Result<ExecutionId> {
        self.writer.write(move |writing| executions::create(writing, &new)).await
    }

    async fn resume_execution(&self, old: &ExecutionId, new: NewExecution) -> Result<ExecutionId> {
        let old = old.clone();
        self.writer.write(move |writing| executions::resume(writing, &old, &new)).await
    }

    async fn send(&self, execution: &ExecutionId, item: InboxItem) -> Result<()> {
        let execution = execution.clone();
        self.writer.write(move |writing| inbox::send(writing, &execution, &item)).await
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        self.writer.write(move |writing| journal::append(writing, &append)).await
    }

    async fn append_many(&self, appends: Vec<Append>) -> Vec<Result<Appended>> {
        let asked = appends.len();
        let all = self
            .writer
            .write_pieces(move |writing| {
                // One savepoint for all; refusals are rare, and only then does each get its own.
                let all = |writing: &mut Writing<'_>| {
                    appends.iter().map(|append| journal::append(writing, append)).collect::<Result<Vec<_>>>()
                };
                if let Ok(all) = writing.apart(all) {
                    return all.into_iter().map(Ok).collect();
                }
                let each = |append| writing.apart(|writing| journal::append(writing, append));
                appends.iter().map(each).collect::<Vec<_>>()
            })
            .await;
        all.unwrap_or_else(|error| {
            let why = error.to_string();
            let same = |_| Err(StoreError::Broken { action: "commit", cause: why.clone().into() });
            (0..asked).map(same).collect()
        })
    }

    async fn inbox(&self, execution: &ExecutionId, limit: u32) -> Result<Vec<Inboxed>> {
        let execution = execution.clone();
        self.readers.read(move |db| inbox::list(db, execution.as_str(), limit)).await
    }

    async fn events(&self, execution: &ExecutionId, after: u64, limit: u32) -> Result<Vec<Event>> {
        let execution = execution.clone();
        self.readers.read(move |db| executions::events(db, execution.as_str(), after, limit)).await
    }

    async fn completions(&self, parent: &ExecutionId, after: u64, limit: u32) -> Result<Vec<(u64, LegEnd)>> {
        let parent = parent.clone();
        self.readers.read(move |db| inbox::completions(db, parent.as_str(), after, limit)).await
    }

    async fn unfinished(&self) -> Result<Vec<ExecutionId>> {
        self.readers.read(executions::unfinished).await
    }

    async fn executions_with_inbox(&self, limit: u32) -> Result<Vec<ExecutionId>> {
        self.readers.read(move |db| executions::with_inbox(db, limit)).await
    }

    async fn execution(&self, id: &ExecutionId) -> Result<Option<ExecutionRow>> {
        let id = id.clone();
        self.readers.read(move |db| executions::one(db, id.as_str())).await
    }

    async fn executions(
        &self,
        filter: &ExecutionFilter,
        order: Order,
        offset: u64,
        limit: u32,
    ) -> Result<Page<ExecutionRow>> {
        let (filter, now) = (filter.clone(), self.clock.now());
        self.readers.read(move |db| lists::page(db, &filter, order, offset, limit, now)).await
    }

    async fn execution_counts(&self, filter: &ExecutionFilter) -> Result<BTreeMap<Status, u64>> {
        let filter = filter.clone();
        self.readers.read(move |db| lists::counts(db, &filter)).await
    }

    async fn prune_executions(&self, ended_before: Millis, limit: u32) -> Result<Vec<ExecutionId>> {
        self.writer.write(move |writing| prune::executions(writing, ended_before, limit)).await
    }

    async fn plan(&self, digest: &PlanDigest) -> Result<Option<Arc<[u8]>>> {
        let digest = digest.clone();
        self.readers.read(move |db| executions::plan(db, &digest.0)).await
    }

    async fn next_release_no(&self, workflow: &EntityId) -> Result<u64> {
        let workflow = workflow.clone();
        self.readers.read(move |db| executions::next_release_no(db, workflow.as_str())).await
    }

    async fn last_good(&self, mappings: &[MappingKey]) -> Result<Vec<LastGood>> {
        let mappings = mappings.to_vec();
        self.readers.read(move |db| history::last_good(db, &mappings)).await
    }

    async fn lock_place(&self, execution: &ExecutionId) -> Result<Option<(Option<ExecutionId>, u32)>> {
        let execution = execution.clone();
        self.readers.read(move |db| locks::place(db, execution.as_str())).await
    }

    async fn permit_place(&self, execution: &ExecutionId, step: u32) -> Result<Option<PermitPlace>> {
        let execution = execution.clone();
        self.readers.read(move |db| constraints::place(db, &execution, step)).await
    }

    async fn barrier(&self, execution: &ExecutionId, identifier: &str) -> Result<Option<(u32, u32)>> {
        let (execution, identifier) = (execution.clone(), identifier.to_owned());
        self.readers.read(move |db| barriers::progress(db, execution.as_str(), &identifier)).await
    }

    // ---- timers

    async fn fire_timers(&self, now: Millis, limit: u32) -> Result<(Vec<ExecutionId>, Option<Millis>)> {
        self.writer.write(move |writing| timers::fire(writing, now, limit)).await
    }

    // ---- servers, leases

    async fn join(&self, node: &str, program: &str) -> Result<Lease> {
        let (node, program) = (node.to_owned(), program.to_owned());
        self.writer.write(move |writing| leases::join(writing, &node, &program)).await
    }

    async fn renew(&self, server: &Lease) -> Result<Standing> {
        let server = server.clone();
        self.writer.write(move |writing| leases::renew(writing, &server)).await
    }

    async fn lease(&self, server: &Lease, delegate: &DelegateId) -> Result<Lease> {
        let (server, delegate) = (server.clone(), delegate.clone());
        self.writer.write(move |writing| leases::lease(writing, &server, &delegate)).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        let lease = lease.clone();
        self.writer.write(move |writing| leases::release(writing, &lease)).await
    }

    // ---- tasks

    async fn enqueue(&self, task: Task, now: Millis) -> Result<()> {
        self.writer.write(move |writing| tasks::add(writing, None, &task, None, now)).await
    }

    async fn claim(&self, lease: &Lease, offer: &ClaimOffer) -> Result<Vec<TaskRow>> {
        let (lease, offer) = (lease.clone(), offer.clone());
        self.writer.write(move |writing| tasks::claim(writing, &lease, &offer)).await
    }

    async fn task(&self, id: &TaskId) -> Result<Option<TaskRow>> {
        let id = id.clone();
        self.readers.read(move |db| tasks::one(db, id.as_str())).await
    }

    async fn end_task(&self, id: &TaskId, lease: &Lease, outcome: Outcome) -> Result<()> {
        let (id, lease) = (id.clone(), lease.clone());
        self.writer.write(move |writing| tasks::end(writing, &id, &lease, &outcome)).await
    }

    async fn hand_back(&self, id: &TaskId, lease: &Lease, barred_until: Millis) -> Result<()> {
        let (id, lease) = (id.clone(), lease.clone());
        self.writer.write(move |writing| tasks::hand_back(writing, &id, &lease, barred_until)).await
    }

    async fn put_back(&self, id: &TaskId, lease: &Lease, barred_until: Millis) -> Result<()> {
        let (id, lease) = (id.clone(), lease.clone());
        self.writer.write(move |writing| tasks::put_back(writing, &id, &lease, barred_until)).await
    }

    async fn cancelled_tasks(&self, lease: &Lease) -> Result<Vec<TaskId>> {
        let lease = lease.clone();
        self.readers.read(move |db| tasks::cancelled(db, &lease)).await
    }

    async fn waiting_tasks(&self, queued_before: Millis, limit: u32) -> Result<Vec<TaskRow>> {
        self.readers.read(move |db| tasks::waiting(db, queued_before, limit)).await
    }

    // ---- delegates

    async fn enrol(&self, delegate: DelegateRow) -> Result<DelegateRow> {
        self.writer.write(move |writing| delegates::enrol(writing, &delegate)).await
    }

    async fn delegates(&self) -> Result<Vec<DelegateRow>> {
        self.readers.read(delegates::all).await
    }

    async fn delegate(&self, id: &DelegateId) -> Result<Option<DelegateRow>> {
        let id = id.clone();
        self.readers.read(move |db| delegates::one(db, &id)).await
    }

    async fn set_delegate_status(&self, id: &DelegateId, status: DelegateStatus) -> Result<()> {
        let id = id.clone();
        self.writer.write(move |writing| delegates::set_status(writing, &id, status)).await
    }

    async fn set_delegate_scopes(&self, id: &DelegateId, scopes: Scopes) -> Result<()> {
        let id = id.clone();
        self.writer.write(move |writing| delegates::set_scopes(writing, &id, &scopes)).await
    }

    async fn delegates_seen(&self, ids: &[DelegateId]) -> Result<()> {
        let ids = ids.to_vec();
        self.writer.write(move |writing| delegates::seen(writing, &ids)).await
    }

    async fn create_delegate_token(&self, token: DelegateTokenRow) -> Result<()> {
        self.writer.write(move |writing| delegates::create_token(writing, &token)).await
    }

    async fn delegate_tokens(&self) -> Result<Vec<DelegateTokenRow>> {
        self.readers.read(delegates::tokens).await
    }

    async fn revoke_delegate_token(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.writer.write(move |writing| delegates::revoke_token(writing, &id)).await
    }
}
