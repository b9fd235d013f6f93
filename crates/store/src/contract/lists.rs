//! Lists: every column and operator, every order, counts.

use std::collections::BTreeMap;

use manifold_model::execution::RowState;
use manifold_model::{ExecutionId, Status};

use super::Home;
use super::fixtures::{NOW, append, leg, named, pipeline};
use crate::{Comparison, Condition, ExecutionFilter, IdColumn, Operator, Order, Store, TimeColumn};

pub(super) async fn run<H: Home>(make: &impl Fn() -> H) {
    let store = make().open().await;
    let store = &*store;
    fill(store).await;
    pages_and_hidden_rows(store).await;
    every_column_filters(store).await;
    public_statuses_gather_inner_ones(store).await;
    times_filter(store).await;
    every_order(store).await;
    counts(store).await;
}

/// A run of three legs (`run`), a workflow alone (`alone`), and a run resumed by a newer one (`old`, `new`).
async fn fill(store: &dyn Store) {
    let parent = pipeline("run");
    let id = store.create_execution(parent.clone()).await.unwrap();
    let mut create = append(&id, 1, 1);
    create.legs = (0..3).map(|ordinal| leg(&parent, ordinal)).collect();
    create.legs[0].row.infrastructure = Some(named("Zürich"));
    create.legs[2].row.services = vec![named("cart"), named("billing")];
    store.append(create).await.unwrap();
    let states = [
        (0, Status::Success, Some(10), Some(20)),
        (1, Status::Waiting, Some(5), None),
        (2, Status::Failed, Some(10), Some(90)),
    ];
    for (ordinal, status, started_at, ended_at) in states {
        let mut step = append(&leg(&parent, ordinal).row.id, 1, 1);
        step.row = Some(RowState { status, started_at, ended_at, ..RowState::default() });
        store.append(step).await.unwrap();
    }
    let mut alone = leg(&parent, 0);
    alone.row.id = "alone".into();
    alone.row.parent = None;
    alone.row.application = named("other");
    alone.row.environment = Some(named("staging"));
    alone.row.created_at = NOW + 50;
    store.create_execution(alone).await.unwrap();
    let old = store.create_execution(pipeline("old")).await.unwrap();
    store.resume_execution(&old, pipeline("new")).await.unwrap();
}

fn every(conditions: Vec<Condition>) -> ExecutionFilter {
    ExecutionFilter { conditions, include_indirect: true, include_superseded: true }
}

fn id(column: IdColumn, operator: Operator, values: &[&str]) -> Condition {
    Condition::Id(column, operator, values.iter().map(|&value| value.to_owned()).collect())
}

/// Short names of what is listed: legs by their ordinal.
async fn listed(store: &dyn Store, filter: &ExecutionFilter, order: Order) -> Vec<String> {
    let page = store.executions(filter, order, 0, 100).await.unwrap();
    assert_eq!(page.total, page.items.len() as u64);
    page.items
        .into_iter()
        .map(|row| match (row.parent, row.place) {
            (Some(_), Some(place)) => place.leg.to_string(),
            _ => row.id.to_string(),
        })
        .collect()
}

async fn matching(store: &dyn Store, conditions: Vec<Condition>) -> Vec<String> {
    let mut found = listed(store, &every(conditions), Order::Newest).await;
    found.sort();
    found
}

async fn pages_and_hidden_rows(store: &dyn Store) {
    let top = ExecutionFilter::default();
    assert_eq!(listed(store, &top, Order::Newest).await, ["new", "alone", "run"], "newest first");
    let all = every(vec![]);
    assert_eq!(listed(store, &all, Order::Newest).await, ["new", "old", "alone", "2", "1", "0", "run"]);
    let page = store.executions(&all, Order::Newest, 2, 2).await.unwrap();
    assert_eq!((page.total, page.items.len(), page.items[0].id.as_str()), (7, 2, "alone"));
    let direct = ExecutionFilter { include_indirect: false, ..every(vec![]) };
    assert_eq!(listed(store, &direct, Order::Newest).await, ["new", "old", "alone", "run"]);
}

async fn every_column_filters(store: &dyn Store) {
    use IdColumn as Column;
    use Operator::{Equals, In, Like, NotIn, NotNull};
    let cases: Vec<(Condition, &[&str])> = vec![
        (id(Column::Execution, In, &["run", "old", "none"]), &["old", "run"]),
        (id(Column::Application, Equals, &["other"]), &["alone"]),
        (id(Column::Workflow, Equals, &["rollout"]), &["0", "1", "2", "alone"]),
        (id(Column::Workflow, NotIn, &["rollout"]), &["new", "old", "run"]),
        (id(Column::Workflow, NotNull, &[]), &["0", "1", "2", "alone"]),
        (id(Column::Pipeline, Equals, &["release"]), &["new", "old", "run"]),
        (id(Column::Pipeline, Equals, &["rollout"]), &[]),
        (id(Column::PipelineExecution, Equals, &["run"]), &["0", "1", "2"]),
        (id(Column::PipelineExecution, NotIn, &["run"]), &["alone", "new", "old", "run"]),
        (id(Column::Environment, Equals, &["staging"]), &["alone"]),
        (id(Column::Environment, Equals, &["production"]), &["0", "1", "2", "run"]),
        (id(Column::Environment, NotIn, &["production"]), &["alone", "new", "old"]),
        (id(Column::Infrastructure, In, &["infra-1", "infra-2"]), &["1", "2"]),
        (id(Column::InfrastructureName, Like, &["ZÜR"]), &["0"]),
        (id(Column::InfrastructureName, Equals, &["infra-0"]), &["alone"]),
        (id(Column::Service, Equals, &["billing"]), &["2"]),
        (id(Column::Service, NotIn, &["billing"]), &["0", "1", "alone", "new", "old", "run"]),
        (id(Column::Service, NotNull, &[]), &["0", "1", "2", "alone"]),
        (id(Column::Element, Equals, &["deploy"]), &["0", "1", "2", "alone"]),
        (id(Column::TriggeredBy, Like, &["KE"]), &["0", "1", "2", "alone", "new", "old", "run"]),
        (id(Column::Execution, Like, &["a%"]), &[]),
        (id(Column::Execution, In, &[]), &[]),
        (id(Column::Execution, NotIn, &[]), &["0", "1", "2", "alone", "new", "old", "run"]),
        (id(Column::Execution, Equals, &["' OR 1 --"]), &[]),
    ];
    for (condition, expected) in cases {
        assert_eq!(matching(store, vec![condition.clone()]).await, expected, "{condition:?}");
    }
    let both = vec![id(Column::Service, Equals, &["cart"]), id(Column::Infrastructure, Equals, &["infra-2"])];
    assert_eq!(matching(store, both).await, ["2"]);
}

async fn public_statuses_gather_inner_ones(store: &dyn Store) {
    use Operator::{Equals, In, NotIn};
    let status =
        async |operator, values: &[&str]| matching(store, vec![id(IdColumn::Status, operator, values)]).await;
    assert_eq!(status(Equals, &["RUNNING"]).await, ["1", "new", "old", "run"], "waiting is running outside");
    assert!(status(Equals, &["WAITING"]).await.is_empty(), "accepted, never printed");
    assert!(status(Equals, &["RESUMED"]).await.is_empty());
    assert_eq!(status(In, &["SUCCESS", "FAILED"]).await, ["0", "2"]);
    assert_eq!(status(NotIn, &["RUNNING", "QUEUED"]).await, ["0", "2"]);
    let inner = vec![id(IdColumn::InnerStatus, Equals, &["WAITING"])];
    assert_eq!(matching(store, inner).await, ["1"]);
}

async fn times_filter(store: &dyn Store) {
    use Comparison::{After, Before, Equals};
    let time =
        async |column, comparison, at| matching(store, vec![Condition::Time(column, comparison, at)]).await;
    assert_eq!(time(TimeColumn::Created, After, NOW).await, ["alone"]);
    assert_eq!(time(TimeColumn::Started, Before, 10).await, ["1"]);
    assert_eq!(time(TimeColumn::Started, Equals, 10).await, ["0", "2"]);
    assert_eq!(time(TimeColumn::Ended, After, 20).await, ["2"]);
}

async fn every_order(store: &dyn Store) {
    let legs = every(vec![id(IdColumn::PipelineExecution, Operator::Equals, &["run"])]);
    assert_eq!(listed(store, &legs, Order::Place).await, ["0", "1", "2"]);
    assert_eq!(listed(store, &legs, Order::Newest).await, ["2", "1", "0"]);
    assert_eq!(listed(store, &legs, Order::Status).await, ["2", "1", "0"], "failed first");
    assert_eq!(listed(store, &legs, Order::Name).await, ["1", "2", "0"]);
    assert_eq!(listed(store, &legs, Order::Duration).await, ["1", "2", "0"], "it still runs");
}

async fn counts(store: &dyn Store) {
    let legs = every(vec![id(IdColumn::PipelineExecution, Operator::Equals, &["run"])]);
    let counted = store.execution_counts(&legs).await.unwrap();
    assert_eq!(counted, BTreeMap::from([(Status::Success, 1), (Status::Waiting, 1), (Status::Failed, 1)]));
    let none = every(vec![id(IdColumn::Execution, Operator::Equals, &["none"])]);
    assert!(store.execution_counts(&none).await.unwrap().is_empty());
    assert!(store.execution(&ExecutionId::from("none")).await.unwrap().is_none());
}
