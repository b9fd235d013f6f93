//! How many durable steps a second the SQLite home takes, and what one costs (P4, P5 of the performance targets). A step is one append: the
//! last task ended, three events, the row, and the next task handed to the same holder.
//!
//! `cargo run --release -p manifold-store --example append_bench -- [LEGS] [CALLERS]`

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use manifold_model::event::{EventKind, LegPlace};
use manifold_model::execution::{ExecutionRow, Named, RowState};
use manifold_model::kind::Class;
use manifold_model::request::{Cause, ExecutionType};
use manifold_model::task::{NoopTask, Payload, Task};
use manifold_model::{ElementId, ExecutionId, LogId, PlanDigest, Status, TaskId};
use manifold_store::clock::SystemClock;
use manifold_store::sqlite::SqliteStore;
use manifold_store::{Append, Lease, NewExecution, Store, leg_id, numbered};

const STEPS: u64 = 5;
const LEGS_AN_APPEND: u32 = 500;
const NOW: i64 = 1_700_000_000_000;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let legs: u32 = arguments.next().map_or(Ok(2000), |text| text.parse())?;
    let callers: usize = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let store = Arc::new(
        SqliteStore::open(&folder.path().join("manifold.db"), Arc::new(SystemClock::default())).await?,
    );
    let began = Instant::now();
    let ids = create_legs(&store, legs).await?;
    println!("created {legs} legs in {:.3} s", began.elapsed().as_secs_f64());
    let lease = store.lease("node/bench/1", NOW).await?;

    one_by_one(&store, &ids, &lease, callers).await?;
    in_batches(&store, &ids, &lease).await
}

/// Each step a call of its own, as many at once as there are callers.
async fn one_by_one(
    store: &Arc<SqliteStore>,
    ids: &[ExecutionId],
    lease: &Lease,
    callers: usize,
) -> Outcome<()> {
    let (began, cpu) = (Instant::now(), cpu_micros()?);
    let share = ids.len().div_ceil(callers.max(1)).max(1);
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
    report(&format!("{callers} callers"), ids.len(), began, cpu)
}

/// The steps of up to 256 legs in one call, as a server does that advances many legs at once.
async fn in_batches(store: &Arc<SqliteStore>, ids: &[ExecutionId], lease: &Lease) -> Outcome<()> {
    let (began, cpu) = (Instant::now(), cpu_micros()?);
    for step in STEPS..2 * STEPS {
        for ids in ids.chunks(256) {
            let appends = ids.iter().map(|id| step_of(id, step, lease)).collect();
            for outcome in store.append_many(appends).await {
                outcome?;
            }
        }
    }
    report("append_many", ids.len(), began, cpu)
}

fn report(how: &str, legs: usize, began: Instant, cpu: u64) -> Outcome<()> {
    let steps = legs as f64 * STEPS as f64;
    let seconds = began.elapsed().as_secs_f64();
    let each = (cpu_micros()? - cpu) as f64 / steps;
    println!(
        "{how}: {:.0} durable steps/s (target 20000), {each:.1} us CPU a step (target 50)",
        steps / seconds
    );
    Ok(())
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

async fn create_legs(store: &SqliteStore, legs: u32) -> Outcome<Vec<ExecutionId>> {
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

/// CPU time of this process so far, user and system, in microseconds.
fn cpu_micros() -> Outcome<u64> {
    /// Microseconds of a clock tick: Linux reports 100 a second to every program.
    const TICK: u64 = 10_000;
    let stat = std::fs::read_to_string(Path::new("/proc/self/stat"))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(ticks * TICK)
}
