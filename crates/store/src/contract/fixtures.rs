//! Executions, events and tasks as the suite uses them.

use std::sync::Arc;

use manifold_model::delegate::DelegateStatus;
use manifold_model::event::{Event, EventKind, LegEnd, LegPlace};
use manifold_model::execution::{ExecutionRow, Named, RowState};
use manifold_model::kind::Class;
use manifold_model::request::{Cause, ExecutionType};
use manifold_model::target::LockKey;
use manifold_model::task::{NoopTask, Payload, Task};
use manifold_model::{ElementId, EntityId, ExecutionId, LogId, PlanDigest, Status, TaskId};

use crate::{Append, ClaimOffer, DelegateRow, Lease, NewExecution, Store, leg_id, numbered};

pub(super) const NOW: i64 = 1_700_000_000_000;

pub(super) fn named(name: &str) -> Named {
    Named { id: EntityId::from(name), name: name.to_owned() }
}

pub(super) fn event() -> EventKind {
    EventKind::StageStarted { stage: 0 }
}

/// A pipeline execution with one event.
pub(super) fn pipeline(name: &str) -> NewExecution {
    let plan: Arc<[u8]> = Arc::from(name.as_bytes());
    NewExecution {
        row: ExecutionRow {
            id: ExecutionId::from(name),
            kind: ExecutionType::Pipeline,
            application: named("shop"),
            entity: named("release"),
            plan: PlanDigest::of(&plan),
            parent: None,
            element: None,
            place: None,
            environment: None,
            infrastructure: None,
            services: vec![],
            cause: Cause::ApiKey { id: "key".to_owned(), name: "ci".to_owned() },
            notes: String::new(),
            resumed_from: None,
            resumed_by: None,
            created_at: NOW,
            state: RowState { status: Status::Running, seq: 1, ..RowState::default() },
        },
        plan: Some(plan),
        events: numbered(0, NOW, vec![event()]),
        idempotency: None,
    }
}

/// A leg of a pipeline execution, on the infrastructure `infra-<ordinal>`.
pub(super) fn leg(parent: &NewExecution, ordinal: u32) -> NewExecution {
    let element = ElementId::from("deploy");
    let place = LegPlace { stage: 0, element: 0, leg: ordinal };
    let mut leg = parent.clone();
    leg.plan = None;
    leg.row.id = leg_id(&parent.row.id, &element, place);
    leg.row.kind = ExecutionType::Workflow;
    leg.row.entity = named("rollout");
    leg.row.parent = Some(parent.row.id.clone());
    leg.row.element = Some(element);
    leg.row.place = Some(place);
    leg.row.environment = Some(named("production"));
    leg.row.infrastructure = Some(named(&format!("infra-{ordinal}")));
    leg.row.services = vec![named("cart")];
    leg.row.state.status = Status::Queued;
    leg
}

/// An append of some events and nothing else.
pub(super) fn append(execution: &ExecutionId, expected_seq: u64, events: usize) -> Append {
    let events: Vec<Event> = numbered(expected_seq, NOW, (0..events).map(|_| event()).collect());
    Append { execution: Some(execution.clone()), expected_seq, events, ..Append::default() }
}

/// A state with this status.
pub(super) fn state(status: Status) -> RowState {
    RowState { status, ..RowState::default() }
}

pub(super) fn end(leg: &NewExecution, status: Status) -> LegEnd {
    LegEnd {
        execution: leg.row.id.clone(),
        place: leg.row.place.unwrap(),
        element: leg.row.element.clone().unwrap(),
        status,
        failure: None,
        outputs: Default::default(),
    }
}

/// A task that does nothing.
pub(super) fn task(id: &str) -> Task {
    Task {
        id: TaskId::from(id),
        kind: "NOOP".into(),
        class: Class::Idempotent,
        attempt: 1,
        step: None,
        log: LogId::from(id),
        timeout_ms: 1000,
        selectors: vec![],
        capabilities: vec![],
        payload: Payload::Noop(NoopTask::default()),
    }
}

pub(super) fn offer(max: u32) -> ClaimOffer {
    ClaimOffer { kinds: vec!["NOOP".to_owned()], max, ..ClaimOffer::default() }
}

pub(super) fn key(name: &str) -> LockKey {
    LockKey { key: name.to_owned(), title: name.to_owned() }
}

/// A server's lease.
pub(super) async fn server(store: &dyn Store, node: &str) -> Lease {
    store.join(node, "1.0").await.unwrap()
}

/// The lease of a delegate's connection to a server of its own.
pub(super) async fn connect(store: &dyn Store, delegate: &str) -> Lease {
    let server = server(store, &format!("of-{delegate}")).await;
    store.lease(&server, &delegate.into()).await.unwrap()
}

/// Sequence number of an execution's last event.
pub(super) async fn seq(store: &dyn Store, execution: &ExecutionId) -> u64 {
    store.execution(execution).await.unwrap().unwrap().state.seq
}

/// Claims one task and returns its id and deliveries.
pub(super) async fn claim_one(store: &dyn Store, lease: &Lease) -> Option<(String, u32)> {
    let mut claimed = store.claim(lease, &offer(1)).await.unwrap();
    claimed.pop().map(|row| (row.task.id.to_string(), row.deliveries))
}

/// A delegate that waits for its approval.
pub(super) fn delegate(id: &str) -> DelegateRow {
    DelegateRow {
        id: id.into(),
        name: format!("delegate-{id}"),
        status: DelegateStatus::WaitingForApproval,
        key: "key".to_owned(),
        token: "t".to_owned(),
        announced: Default::default(),
        scopes: Default::default(),
        created_at: 1,
        seen: 1,
        connection: None,
    }
}
