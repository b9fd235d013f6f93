//! The floor under P4 and P5: a bare loop of appends to a home of the store. A step is one append: the last task ended, three events, the row,
//! and the next task handed to the same holder.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use manifold_model::event::{EventKind, LegPlace};
use manifold_model::execution::{ExecutionRow, Named, RowState};
use manifold_model::kind::Class;
use manifold_model::request::{Cause, ExecutionType};
use manifold_model::task::{NoopTask, Payload, Task};
use manifold_model::{ElementId, ExecutionId, LogId, PlanDigest, Status, TaskId};
use manifold_store::clock::SystemClock;
use manifold_store::postgres::PostgresStore;
use manifold_store::sqlite::SqliteStore;
use manifold_store::{Append, Lease, NewExecution, Store, leg_id, numbered};

use crate::process;
use crate::report::{self, figure};

/// Legs, unless told otherwise.
pub const LEGS: u32 = 10_000;
const STEPS: u64 = 5;
/// Callers that each append one step at a time.
const CALLERS: usize = 64;
const LEGS_AN_APPEND: u32 = 500;
const NOW: i64 = 1_700_000_000_000;

/// What the appends in batches took.
pub struct Floor {
    /// From the first to the last.
    pub wall: Duration,
    /// CPU microseconds for each.
    pub cpu_a_step: f64,
}

/// Batches at once on PostgreSQL: a server advances legs with two workers.
const WORKERS: usize = 2;

/// Measures SQLite and prints.
pub async fn measure(legs: u32) -> Result<Floor> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("manifold.db");
    let store = Arc::new(SqliteStore::open(&path, Arc::new(SystemClock::default())).await?);
    measure_home(store, "SQLite", legs, 1).await
}

/// Measures PostgreSQL and prints: an empty database at this address, or, for `postgres` alone, a server started for it.
pub async fn measure_postgres(legs: u32, address: &str) -> Result<Floor> {
    let (mut started, mut url) = (None, address.to_owned());
    if address == "postgres" {
        let server = manifold_testkit::postgres::Postgres::start()?;
        url = server.database()?;
        started = Some(server);
    }
    let store = Arc::new(PostgresStore::open(&url).await?);
    let floor = measure_home(store, "PostgreSQL", legs, WORKERS).await;
    drop(started);
    floor
}

async fn measure_home(store: Arc<dyn Store>, home: &str, legs: u32, workers: usize) -> Result<Floor> {
    report::head(&format!("steps: {legs} legs x {STEPS} bare appends to {home}"));
    let ids = create_legs(&*store, legs).await?;
    let server = store.join("bench", "bench").await?;
    let lease = store.lease(&server, &"bench".into()).await?;
    one_by_one(&store, &ids, &lease).await?;
    in_batches(&store, &ids, &lease, workers).await
}

/// Each step a call of its own, as many at once as there are callers.
async fn one_by_one(store: &Arc<dyn Store>, ids: &[ExecutionId], lease: &Lease) -> Result<()> {
    let (began, cpu) = (Instant::now(), process::cpu(std::process::id())?);
    let share = ids.len().div_ceil(CALLERS).max(1);
    let running: Vec<_> = ids
        .chunks(share)
        .map(|ids| {
            let (store, ids, lease) = (store.clone(), ids.to_vec(), lease.clone());
            tokio::spawn(async move {
                for step in 0..STEPS {
                    for id in &ids {
                        store.append(step_of(id, step, &lease)).await?;
                    }
                }
                Ok::<_, manifold_store::StoreError>(())
            })
        })
        .collect();
    for caller in running {
        caller.await??;
    }
    told(&format!("{CALLERS} callers"), ids.len(), began, cpu).map(drop)
}

/// The steps of up to 256 legs in one call, as a server does that advances many legs at once.
async fn in_batches(
    store: &Arc<dyn Store>,
    ids: &[ExecutionId],
    lease: &Lease,
    workers: usize,
) -> Result<Floor> {
    let (began, cpu) = (Instant::now(), process::cpu(std::process::id())?);
    let share = ids.len().div_ceil(workers).max(1);
    let running: Vec<_> = ids
        .chunks(share)
        .map(|ids| {
            let (store, ids, lease) = (store.clone(), ids.to_vec(), lease.clone());
            tokio::spawn(async move {
                for step in STEPS..2 * STEPS {
                    for ids in ids.chunks(256) {
                        let appends = ids.iter().map(|id| step_of(id, step, &lease)).collect();
                        for outcome in store.append_many(appends).await {
                            outcome?;
                        }
                    }
                }
                Ok::<_, manifold_store::StoreError>(())
            })
        })
        .collect();
    for worker in running {
        worker.await??;
    }
    told("in batches", ids.len(), began, cpu)
}

fn told(how: &str, legs: usize, began: Instant, cpu: Duration) -> Result<Floor> {
    let steps = legs as f64 * STEPS as f64;
    let wall = began.elapsed();
    let cpu_a_step = (process::cpu(std::process::id())? - cpu).as_secs_f64() * 1e6 / steps;
    figure(&format!("{how}: durable appends"), steps / wall.as_secs_f64(), "/s", "");
    figure(&format!("{how}: CPU for each"), cpu_a_step, "us", "");
    Ok(Floor { wall, cpu_a_step })
}

fn step_of(id: &ExecutionId, step: u64, lease: &Lease) -> Append {
    let seq = 1 + 3 * step;
    let kinds = (0..3).map(|stage| EventKind::StageStarted { stage }).collect();
    let task_of = |step: u64| TaskId::derived(&["task", id.as_str(), &step.to_string()]);
    let state = RowState {
        status: Status::Running,
        started_at: Some(NOW),
        steps_done: u32::try_from(step).unwrap_or_default(),
        steps_total: 10,
        doing: Some("Deploy".to_owned()),
        seq: seq + 3,
        ..RowState::default()
    };
    Append {
        execution: Some(id.clone()),
        expected_seq: seq,
        events: numbered(seq, NOW, kinds),
        row: Some(state),
        ended_tasks: if step == 0 { vec![] } else { vec![(task_of(step - 1), lease.clone())] },
        tasks: vec![(task(task_of(step)), Some(lease.clone()))],
        ..Append::default()
    }
}

fn task(id: TaskId) -> Task {
    Task {
        log: LogId::from(id.as_str()),
        id,
        kind: "NOOP".into(),
        class: Class::Idempotent,
        attempt: 1,
        step: None,
        timeout_ms: 600_000,
        selectors: vec![],
        capabilities: vec![],
        payload: Payload::Noop(NoopTask::default()),
    }
}

async fn create_legs(store: &dyn Store, legs: u32) -> Result<Vec<ExecutionId>> {
    let parent = pipeline();
    let id = store.create_execution(parent.clone()).await?;
    let mut ids = Vec::new();
    for (append, from) in (0..legs).step_by(LEGS_AN_APPEND as usize).enumerate() {
        let batch: Vec<NewExecution> =
            (from..legs.min(from + LEGS_AN_APPEND)).map(|ordinal| leg(&parent, ordinal)).collect();
        ids.extend(batch.iter().map(|leg| leg.row.id.clone()));
        let seq = 1 + append as u64;
        store
            .append(Append {
                execution: Some(id.clone()),
                expected_seq: seq,
                events: numbered(seq, NOW, vec![EventKind::StageStarted { stage: 0 }]),
                legs: batch,
                ..Append::default()
            })
            .await?;
    }
    Ok(ids)
}

fn named(name: &str) -> Named {
    Named { id: name.into(), name: name.to_owned() }
}

fn pipeline() -> NewExecution {
    let plan: Arc<[u8]> = Arc::from(&b"plan"[..]);
    NewExecution {
        row: ExecutionRow {
            id: "run".into(),
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
        events: numbered(0, NOW, vec![EventKind::StageStarted { stage: 0 }]),
        idempotency: None,
    }
}

fn leg(parent: &NewExecution, ordinal: u32) -> NewExecution {
    let (element, place) = (ElementId::from("deploy"), LegPlace { stage: 0, element: 0, leg: ordinal });
    let mut leg = NewExecution { plan: None, ..parent.clone() };
    leg.row.id = leg_id(&parent.row.id, &element, place);
    leg.row.kind = ExecutionType::Workflow;
    leg.row.entity = named("rollout");
    leg.row.parent = Some(parent.row.id.clone());
    leg.row.element = Some(element);
    leg.row.place = Some(place);
    leg.row.environment = Some(named("production"));
    leg.row.infrastructure = Some(named(&format!("infra-{ordinal}")));
    leg.row.services = vec![named("cart")];
    leg
}
