//! The same random calls on two homes: each answer, and what can be read at the end, must be the same.

use manifold_model::constraint::{ConstraintRecord, ConstraintStrategy, HoldingScope, PermitRequest};
use manifold_model::task::Outcome;
use manifold_model::{ExecutionId, Status};

use super::fixtures::{NOW, append, key, offer, pipeline, state, task};
use crate::{
    Append, CatalogChange, Condition, ExecutionFilter, IdColumn, Lease, Operator, Order, PermitChange, Store,
    StoreError,
};

/// Executions, lock keys, tasks and timers that calls choose among: few, so that they meet.
const FEW: u64 = 4;

/// Numbers from a seed.
struct Random(u64);

impl Random {
    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Runs `calls` calls that the seed chooses on both stores, which must be empty.
///
/// # Panics
/// When an answer differs; says seed and call.
pub async fn compare(one: &dyn Store, other: &dyn Store, seed: u64, calls: u32) {
    let mut random = Random(seed);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for name in ["a", "b"] {
        first.push(one.join(name, "1").await.unwrap());
        second.push(other.join(name, "1").await.unwrap());
    }
    for number in 0..calls {
        let chosen = (random.below(12), random.below(FEW), random.below(FEW), random.below(2));
        let (a, b) = (call(one, &mut first, chosen).await, call(other, &mut second, chosen).await);
        assert_eq!(a, b, "seed {seed}, call {number}: {chosen:?}");
    }
    assert_eq!(readable(one).await, readable(other).await, "seed {seed}, at the end");
}

fn id(number: u64) -> ExecutionId {
    ExecutionId::from(format!("e{number}"))
}

/// An answer without what homes may say in their own words.
fn said<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Ok(value) => format!("{value:?}"),
        Err(StoreError::Broken { action, .. }) => format!("broken: {action}"),
        Err(error) => error.to_string(),
    }
}

async fn call(store: &dyn Store, leases: &mut [Lease], (verb, x, y, z): (u64, u64, u64, u64)) -> String {
    let lease = leases[usize::try_from(z).unwrap()].clone();
    match verb {
        0 => {
            let mut new = pipeline(&format!("e{x}"));
            new.row.created_at = NOW + i64::try_from(y).unwrap();
            said(store.create_execution(new).await)
        }
        1 => said(store.enqueue(task(&format!("t{x}")), NOW).await),
        2 => {
            let claimed = store.claim(&lease, &offer(1)).await;
            said(
                claimed.map(|rows| {
                    rows.into_iter().map(|row| (row.task.id, row.deliveries)).collect::<Vec<_>>()
                }),
            )
        }
        3 => said(store.end_task(&format!("t{x}").as_str().into(), &lease, Outcome::succeeded()).await),
        4 => said(store.hand_back(&format!("t{x}").as_str().into(), &lease, 0).await),
        5 => {
            let node = ["a", "b"][usize::try_from(z).unwrap()];
            let joined = store.join(node, "1").await.unwrap();
            leases[usize::try_from(z).unwrap()] = joined.clone();
            format!("{joined:?}")
        }
        6 => said(store.commit_catalog(CatalogChange { expected: Some(x), ..Default::default() }).await),
        7 => said(store.put_setting(&format!("s{x}"), &format!("{y}"), z == 0).await),
        8 => {
            let record = ConstraintRecord {
                id: "c".into(),
                name: "c".to_owned(),
                capacity: u32::try_from(x + 1).unwrap(),
                strategy: if z == 0 { ConstraintStrategy::Fifo } else { ConstraintStrategy::Asap },
                created_at: 1,
            };
            let written = if y == 0 {
                store.create_constraint(record).await
            } else {
                store.update_constraint(record).await
            };
            said(written)
        }
        _ => said(store.append(step(store, &lease, x, y, verb).await).await),
    }
}

/// An append that takes or gives back, sometimes out of date.
async fn step(store: &dyn Store, lease: &Lease, x: u64, y: u64, verb: u64) -> Append {
    let row = store.execution(&id(x)).await.unwrap();
    let seq = row.map_or(1, |row| row.state.seq);
    let stale = u64::from(verb == 9 && y == 0);
    let mut step = append(&id(x), seq - stale, 1);
    step.by = Some(lease.clone());
    step.consumed = store.inbox(&id(x), 100).await.unwrap().iter().map(|item| item.number).collect();
    match (verb, y) {
        (9, _) => step.lock = Some((vec![key(&format!("k{y}")), key("k0")], 2)),
        (10, 0) => step.unlock = true,
        (10, 1) => step.permits = vec![PermitChange::Leave],
        (10, _) => {
            step.permits = vec![PermitChange::Ask(PermitRequest {
                step: 1,
                step_name: "hold".to_owned(),
                attempt: u32::try_from(y).unwrap(),
                constraint: "c".into(),
                name: "c".to_owned(),
                unit: String::new(),
                permits: u32::try_from(y).unwrap(),
                scope: HoldingScope::Workflow,
            })];
        }
        _ => {
            step.row = Some(state(if y == 0 { Status::Success } else { Status::Running }));
            step.set_timers = vec![(format!("t{y}"), NOW)];
            step.tasks = vec![(task(&format!("{x}-{seq}")), None)];
        }
    }
    step
}

/// What can be read.
async fn readable(store: &dyn Store) -> Vec<String> {
    let mut all = vec![said(store.catalog_revision().await), said(store.unfinished().await)];
    for number in 0..FEW {
        let id = id(number);
        all.push(said(store.execution(&id).await));
        all.push(said(store.events(&id, 0, 1000).await));
        let inbox = store.inbox(&id, 1000).await;
        all.push(said(inbox.map(|items| items.into_iter().map(|item| item.item).collect::<Vec<_>>())));
        all.push(said(store.lock_place(&id).await));
        all.push(said(store.permit_place(&id, 1).await));
        let task = store.task(&format!("t{number}").as_str().into()).await;
        all.push(said(task.map(|row| row.map(|row| (row.lease, row.deliveries, row.held_by, row.outcome)))));
        all.push(said(store.setting(&format!("s{number}")).await));
    }
    for operator in [Operator::In, Operator::NotIn, Operator::Like, Operator::NotNull] {
        for column in [IdColumn::Execution, IdColumn::Status, IdColumn::Environment, IdColumn::Service] {
            let values = vec!["e1".to_owned(), "SUCCESS".to_owned()];
            let conditions = vec![Condition::Id(column, operator, values)];
            let filter = ExecutionFilter { conditions, ..ExecutionFilter::default() };
            for order in [Order::Newest, Order::Place, Order::Status, Order::Name, Order::Duration] {
                let page = store.executions(&filter, order, 0, 10).await;
                all.push(said(page.map(|page| (page.total, page.items))));
            }
            all.push(said(store.execution_counts(&filter).await));
        }
    }
    all
}
