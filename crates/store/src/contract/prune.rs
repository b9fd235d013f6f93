//! What is forgotten of executions that ended long ago, what stays, and what is counted meanwhile.

use manifold_model::Status;
use manifold_model::execution::RowState;
use manifold_model::target::MappingKey;

use super::Home;
use super::fixtures::{NOW, append, connect, delegate, leg, pipeline, seq, task};
use crate::{Append, Deployment, Store};

pub(super) async fn run<H: Home>(make: &impl Fn() -> H) {
    old_executions_go_legs_first(&*make().open().await).await;
    what_is_there_is_counted(&*make().open().await).await;
}

fn ended(status: Status, at: i64) -> RowState {
    RowState { status, ended_at: Some(at), ..RowState::default() }
}

async fn end(store: &dyn Store, id: &str, at: i64) {
    let id = id.into();
    let last = Append { row: Some(ended(Status::Success, at)), ..append(&id, seq(store, &id).await, 1) };
    store.append(last).await.unwrap();
}

async fn old_executions_go_legs_first(store: &dyn Store) {
    let parent = pipeline("old");
    let id = store.create_execution(parent.clone()).await.unwrap();
    let mut first = append(&id, 1, 1);
    first.legs = vec![leg(&parent, 0), leg(&parent, 1)];
    first.deployed = vec![Deployment {
        mapping: MappingKey("m".to_owned()),
        execution: id.clone(),
        service: "cart".into(),
        infrastructure: "eu".into(),
        artifact: None,
        status: Status::Success,
        release_no: 1,
        display_name: "run".to_owned(),
        at: NOW,
    }];
    store.append(first).await.unwrap();
    let legs = [leg(&parent, 0).row.id, leg(&parent, 1).row.id];
    for leg in &legs {
        end(store, leg.as_str(), NOW + 1).await;
    }
    assert!(store.prune_executions(NOW + 10, 10).await.unwrap().is_empty(), "its pipeline still runs");
    end(store, "old", NOW + 2).await;
    // Another run of the same plan, and one that has just ended.
    let mut again = pipeline("old");
    again.row.id = "again".into();
    again.plan = None;
    store.create_execution(again).await.unwrap();
    store.create_execution(pipeline("new")).await.unwrap();
    end(store, "new", NOW + 20).await;

    let mut gone = store.prune_executions(NOW + 10, 10).await.unwrap();
    gone.sort();
    let mut expected = legs.to_vec();
    expected.sort();
    assert_eq!(gone, expected);
    assert_eq!(store.prune_executions(NOW + 10, 10).await.unwrap(), ["old".into()]);
    assert!(store.prune_executions(NOW + 10, 10).await.unwrap().is_empty());
    assert!(store.execution(&id).await.unwrap().is_none());
    assert!(store.events(&id, 0, 10).await.unwrap().is_empty());
    assert!(store.execution(&legs[0]).await.unwrap().is_none());
    assert!(store.execution(&"new".into()).await.unwrap().is_some());
    assert!(store.plan(&parent.row.plan).await.unwrap().is_some(), "another run has it");
    let good = store.last_good(&[MappingKey("m".to_owned())]).await.unwrap();
    assert_eq!(good.len(), 1, "what runs where is not forgotten");

    end(store, "again", NOW + 3).await;
    assert_eq!(store.prune_executions(NOW + 10, 1).await.unwrap(), ["again".into()]);
    assert!(store.plan(&parent.row.plan).await.unwrap().is_none(), "nobody has it");
    assert!(store.plan(&pipeline("new").row.plan).await.unwrap().is_some());
}

async fn what_is_there_is_counted(store: &dyn Store) {
    let empty = store.gauges().await.unwrap();
    assert_eq!((empty.tasks_queued, empty.oldest_queued_at, empty.inbox, empty.servers), (0, None, 0, 0));
    let parent = pipeline("run");
    let id = store.create_execution(parent.clone()).await.unwrap();
    let mut first = append(&id, 1, 1);
    first.legs = vec![leg(&parent, 0), leg(&parent, 1)];
    first.set_timers = vec![("late".to_owned(), 5)];
    store.append(first).await.unwrap();
    store.enrol(delegate("1")).await.unwrap();
    let lease = connect(store, "1").await;
    for name in ["a", "b"] {
        store.enqueue(task(name), 7).await.unwrap();
    }
    store.claim(&lease, &super::fixtures::offer(1)).await.unwrap();
    store.send(&id, crate::InboxItem::LockGranted {}).await.unwrap();
    let gauges = store.gauges().await.unwrap();
    assert_eq!((gauges.tasks_queued, gauges.tasks_leased, gauges.oldest_queued_at), (1, 1, Some(7)));
    assert_eq!((gauges.inbox, gauges.oldest_inbox.is_some()), (1, true));
    assert_eq!((gauges.timers_due, gauges.oldest_timer_due), (1, Some(5)));
    assert_eq!(gauges.executions.get(&Status::Running), Some(&1));
    assert_eq!(gauges.legs.get(&Status::Queued), Some(&2));
    assert_eq!((gauges.servers, gauges.delegates_connected), (1, 1));
    assert_eq!(gauges.delegates.get("WAITING_FOR_APPROVAL"), Some(&1));
    assert!(gauges.now > 0);
}
