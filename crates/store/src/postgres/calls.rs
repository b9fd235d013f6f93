//! The contract, call by call: writes in a transaction, reads with one statement or on one image.

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

use super::sessions::{read, read_image, write};
use super::{
    PostgresStore, barriers, catalog, constraints, delegates, executions, history, inbox, journal, leases,
    lists, locks, misuse, records, secrets, tasks, timers,
};
use crate::{
    ApiKeyRow, Append, Appended, CatalogChange, CatalogRows, ClaimOffer, DelegateRow, DelegateTokenRow,
    DocumentRevision, ExecutionFilter, Hint, InboxItem, Inboxed, Lease, NewExecution, Order, Page,
    PermitPlace, PermitRow, Result, SecretRow, Standing, Store, StoreError, TaskRow,
};

#[async_trait]
impl Store for PostgresStore {
    async fn checkpoint(&self) -> Result<()> {
        // The database server folds its own log, on its own time.
        Ok(())
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }

    fn tell(&self, hint: Hint) {
        self.hints.tell_all(vec![hint]);
    }

    async fn now(&self) -> Result<Millis> {
        read!(self, |db| leases::clock(db))
    }

    // ---- catalog

    async fn catalog_revision(&self) -> Result<u64> {
        read!(self, |db| catalog::revision(db))
    }

    async fn catalog(&self) -> Result<CatalogRows> {
        read_image!(self, |db| catalog::head(db))
    }

    async fn catalog_since(&self, revision: u64) -> Result<(CatalogRows, Vec<EntityId>)> {
        read_image!(self, |db| catalog::since(db, revision))
    }

    async fn commit_catalog(&self, change: CatalogChange) -> Result<u64> {
        write!(self, |writing| catalog::commit(writing, &change))
    }

    async fn referrers(&self, id: &EntityId) -> Result<Vec<EntityId>> {
        read!(self, |db| catalog::referrers(db, id.as_str()))
    }

    async fn document_history(&self, id: &EntityId, limit: u32) -> Result<Vec<DocumentRevision>> {
        read!(self, |db| catalog::history(db, id.as_str(), limit))
    }

    async fn document_at(&self, path: &str, revision: u64) -> Result<Option<Arc<[u8]>>> {
        read!(self, |db| catalog::at(db, path, revision))
    }

    // ---- account records

    async fn setting(&self, name: &str) -> Result<Option<String>> {
        read!(self, |db| records::setting(db, name))
    }

    async fn put_setting(&self, name: &str, value: &str, only_new: bool) -> Result<String> {
        write!(self, |writing| records::put_setting(writing, name, value, only_new))
    }

    async fn api_keys(&self) -> Result<Vec<ApiKeyRow>> {
        read!(self, |db| records::api_keys(db))
    }

    async fn put_api_key(&self, key: ApiKeyRow) -> Result<()> {
        write!(self, |writing| records::put_api_key(writing, &key))
    }

    async fn delete_api_key(&self, id: &KeyId) -> Result<()> {
        write!(self, |writing| records::delete_api_key(writing, id.as_str()))
    }

    async fn put_secret(&self, secret: SecretRow) -> Result<()> {
        write!(self, |writing| secrets::put(writing, &secret))
    }

    async fn secret(&self, id: &SecretId) -> Result<Option<SecretRow>> {
        read!(self, |db| secrets::by_id(db, id.as_str()))
    }

    async fn secret_named(&self, name: &str, kind: Option<SecretType>) -> Result<Option<SecretRow>> {
        read!(self, |db| secrets::named(db, name, kind))
    }

    async fn secrets(&self) -> Result<Vec<SecretRecord>> {
        read!(self, |db| secrets::records(db))
    }

    async fn delete_secret(&self, id: &SecretId) -> Result<()> {
        write!(self, |writing| secrets::delete(writing, id.as_str()))
    }

    async fn put_artifacts(&self, artifacts: Vec<Artifact>) -> Result<u32> {
        write!(self, |writing| records::put_artifacts(writing, &artifacts))
    }

    async fn artifact(&self, id: &ArtifactId) -> Result<Option<Artifact>> {
        read!(self, |db| records::artifact(db, id.as_str()))
    }

    async fn artifacts(&self, source: &EntityId, offset: u64, limit: u32) -> Result<Page<Artifact>> {
        read_image!(self, |db| records::artifacts(db, source.as_str(), offset, limit))
    }

    async fn create_constraint(&self, record: ConstraintRecord) -> Result<()> {
        write!(self, |writing| constraints::create(writing, &record))
    }

    async fn update_constraint(&self, record: ConstraintRecord) -> Result<()> {
        write!(self, |writing| constraints::update(writing, &record))
    }

    async fn delete_constraint(&self, id: &ConstraintId) -> Result<()> {
        write!(self, |writing| constraints::delete(writing, id.as_str()))
    }

    async fn constraints(&self) -> Result<Vec<ConstraintRecord>> {
        read!(self, |db| constraints::all(db))
    }

    async fn permits(&self, constraint: &ConstraintId, offset: u64, limit: u32) -> Result<Page<PermitRow>> {
        read_image!(self, |db| constraints::list(db, constraint.as_str(), offset, limit))
    }

    // ---- executions

    async fn create_execution(&self, new: NewExecution) -> Result<ExecutionId> {
        write!(self, |writing| executions::create(writing, &new))
    }

    async fn resume_execution(&self, old: &ExecutionId, new: NewExecution) -> Result<ExecutionId> {
        write!(self, |writing| executions::resume(writing, old, &new))
    }

    async fn send(&self, execution: &ExecutionId, item: InboxItem) -> Result<()> {
        write!(self, |writing| inbox::send(writing, execution, &item))
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        let appends = [append];
        let mut answers = self.append_all(&appends).await?;
        answers.pop().unwrap_or_else(|| Err(misuse("append", "it was left out")))
    }

    async fn append_many(&self, appends: Vec<Append>) -> Vec<Result<Appended>> {
        if appends.is_empty() {
            return Vec::new();
        }
        self.append_all(&appends).await.unwrap_or_else(|error| {
            let why = error_text(&error);
            let same = |_| Err(StoreError::Broken { action: "append", cause: why.clone().into() });
            appends.iter().map(same).collect()
        })
    }

    async fn inbox(&self, execution: &ExecutionId, limit: u32) -> Result<Vec<Inboxed>> {
        read!(self, |db| inbox::list(db, execution.as_str(), limit))
    }

    async fn events(&self, execution: &ExecutionId, after: u64, limit: u32) -> Result<Vec<Event>> {
        read!(self, |db| executions::events(db, execution.as_str(), after, limit))
    }

    async fn completions(&self, parent: &ExecutionId, after: u64, limit: u32) -> Result<Vec<(u64, LegEnd)>> {
        if read!(self, |db| inbox::unread(db, parent.as_str()))? {
            write!(self, |writing| inbox::give_numbers(writing, parent.as_str(), limit))?;
        }
        read!(self, |db| inbox::completions(db, parent.as_str(), after, limit))
    }

    async fn unfinished(&self) -> Result<Vec<ExecutionId>> {
        read!(self, |db| executions::unfinished(db))
    }

    async fn executions_with_inbox(&self, limit: u32) -> Result<Vec<ExecutionId>> {
        read!(self, |db| executions::with_inbox(db, limit))
    }

    async fn execution(&self, id: &ExecutionId) -> Result<Option<ExecutionRow>> {
        read!(self, |db| executions::one(db, id.as_str()))
    }

    async fn executions(
        &self,
        filter: &ExecutionFilter,
        order: Order,
        offset: u64,
        limit: u32,
    ) -> Result<Page<ExecutionRow>> {
        let now = self.now().await?;
        read_image!(self, |db| lists::page(db, filter, order, offset, limit, now))
    }

    async fn execution_counts(&self, filter: &ExecutionFilter) -> Result<BTreeMap<Status, u64>> {
        read!(self, |db| lists::counts(db, filter))
    }

    async fn plan(&self, digest: &PlanDigest) -> Result<Option<Arc<[u8]>>> {
        read!(self, |db| executions::plan(db, &digest.0))
    }

    async fn next_release_no(&self, workflow: &EntityId) -> Result<u64> {
        read!(self, |db| executions::next_release_no(db, workflow.as_str()))
    }

    async fn last_good(&self, mappings: &[MappingKey]) -> Result<Vec<LastGood>> {
        read!(self, |db| history::last_good(db, mappings))
    }

    async fn lock_place(&self, execution: &ExecutionId) -> Result<Option<(Option<ExecutionId>, u32)>> {
        read_image!(self, |db| locks::place(db, execution.as_str()))
    }

    async fn permit_place(&self, execution: &ExecutionId, step: u32) -> Result<Option<PermitPlace>> {
        read_image!(self, |db| constraints::place(db, execution, step))
    }

    async fn barrier(&self, execution: &ExecutionId, identifier: &str) -> Result<Option<(u32, u32)>> {
        read_image!(self, |db| barriers::progress(db, execution.as_str(), identifier))
    }

    // ---- timers

    async fn fire_timers(&self, now: Millis, limit: u32) -> Result<(Vec<ExecutionId>, Option<Millis>)> {
        write!(self, |writing| timers::fire(writing, now, limit))
    }

    // ---- servers, leases

    async fn join(&self, node: &str, program: &str) -> Result<Lease> {
        write!(self, |writing| leases::join(writing, node, program))
    }

    async fn renew(&self, server: &Lease) -> Result<Standing> {
        let (standing, late) = write!(self, |writing| leases::renew(writing, server))?;
        if late {
            return write!(self, |writing| leases::take_late(writing));
        }
        Ok(standing)
    }

    async fn lease(&self, server: &Lease, delegate: &DelegateId) -> Result<Lease> {
        write!(self, |writing| leases::lease(writing, server, delegate))
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        write!(self, |writing| leases::release(writing, lease))
    }

    // ---- tasks

    async fn enqueue(&self, task: Task, now: Millis) -> Result<()> {
        write!(self, |writing| tasks::enqueue(writing, &task, now))
    }

    async fn claim(&self, lease: &Lease, offer: &ClaimOffer) -> Result<Vec<TaskRow>> {
        write!(self, |writing| tasks::claim(writing, lease, offer))
    }

    async fn task(&self, id: &TaskId) -> Result<Option<TaskRow>> {
        read!(self, |db| tasks::one(db, id.as_str()))
    }

    async fn end_task(&self, id: &TaskId, lease: &Lease, outcome: Outcome) -> Result<()> {
        write!(self, |writing| tasks::end(writing, id, lease, &outcome))
    }

    async fn hand_back(&self, id: &TaskId, lease: &Lease, barred_until: Millis) -> Result<()> {
        write!(self, |writing| tasks::hand_back(writing, id, lease, barred_until))
    }

    async fn put_back(&self, id: &TaskId, lease: &Lease, barred_until: Millis) -> Result<()> {
        write!(self, |writing| tasks::put_back(writing, id, lease, barred_until))
    }

    async fn cancelled_tasks(&self, lease: &Lease) -> Result<Vec<TaskId>> {
        read!(self, |db| tasks::cancelled(db, lease))
    }

    async fn waiting_tasks(&self, queued_before: Millis, limit: u32) -> Result<Vec<TaskRow>> {
        read!(self, |db| tasks::waiting(db, queued_before, limit))
    }

    // ---- delegates

    async fn enrol(&self, delegate: DelegateRow) -> Result<DelegateRow> {
        write!(self, |writing| delegates::enrol(writing, &delegate))
    }

    async fn delegates(&self) -> Result<Vec<DelegateRow>> {
        read!(self, |db| delegates::all(db))
    }

    async fn delegate(&self, id: &DelegateId) -> Result<Option<DelegateRow>> {
        read!(self, |db| delegates::one(db, id))
    }

    async fn set_delegate_status(&self, id: &DelegateId, status: DelegateStatus) -> Result<()> {
        write!(self, |writing| delegates::set_status(writing, id, status))
    }

    async fn set_delegate_scopes(&self, id: &DelegateId, scopes: Scopes) -> Result<()> {
        write!(self, |writing| delegates::set_scopes(writing, id, &scopes))
    }

    async fn delegates_seen(&self, ids: &[DelegateId]) -> Result<()> {
        write!(self, |writing| delegates::seen(writing, ids))
    }

    async fn create_delegate_token(&self, token: DelegateTokenRow) -> Result<()> {
        write!(self, |writing| delegates::create_token(writing, &token))
    }

    async fn delegate_tokens(&self) -> Result<Vec<DelegateTokenRow>> {
        read!(self, |db| delegates::tokens(db))
    }

    async fn revoke_delegate_token(&self, id: &str) -> Result<()> {
        write!(self, |writing| delegates::revoke_token(writing, id))
    }
}

impl PostgresStore {
    /// Extends executions in one transaction; what fails here failed for all of them.
    async fn append_all(&self, appends: &[Append]) -> Result<Vec<Result<Appended>>> {
        write!(self, |writing| journal::append_many(writing, appends))
    }
}

/// An error with its causes, for when it has to be told many times.
fn error_text(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
