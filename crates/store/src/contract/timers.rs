//! Timers: by (execution, key), fired once, oldest first.

use manifold_model::ExecutionId;

use super::Home;
use super::fixtures::{append, pipeline};
use crate::{InboxItem, Store};

pub(super) async fn run<H: Home>(make: &impl Fn() -> H) {
    let store = make().open().await;
    let first = store.create_execution(pipeline("first")).await.unwrap();
    let second = store.create_execution(pipeline("second")).await.unwrap();
    let set = |name: &str, due| (name.to_owned(), due);
    let mut arm = append(&first, 1, 1);
    arm.set_timers = vec![set("a", 10), set("b", 20), set("dropped", 5)];
    store.append(arm).await.unwrap();
    let mut arm = append(&second, 1, 1);
    arm.set_timers = vec![set("a", 15)];
    store.append(arm).await.unwrap();
    let mut change = append(&first, 2, 1);
    change.set_timers = vec![set("a", 12)];
    change.drop_timers = vec!["dropped".to_owned(), "unknown".to_owned()];
    store.append(change).await.unwrap();
    assert_eq!(store.fire_timers(11, 10).await.unwrap(), (vec![], Some(12)));
    assert_eq!(store.fire_timers(15, 1).await.unwrap(), (vec![first.clone()], Some(15)), "oldest first");
    assert_eq!(store.fire_timers(15, 10).await.unwrap(), (vec![second.clone()], Some(20)));
    assert_eq!(keys(&*store, &first).await, ["a"]);
    assert_eq!(keys(&*store, &second).await, ["a"]);
    assert_eq!(store.fire_timers(99, 10).await.unwrap(), (vec![first.clone()], None));
    assert_eq!(store.fire_timers(99, 10).await.unwrap(), (vec![], None), "once");
    assert_eq!(keys(&*store, &first).await, ["a", "b"]);
}

async fn keys(store: &dyn Store, id: &ExecutionId) -> Vec<String> {
    let inbox = store.inbox(id, 10).await.unwrap();
    inbox
        .into_iter()
        .map(|one| match one.item {
            InboxItem::Timer { key } => key,
            other => panic!("{other:?}"),
        })
        .collect()
}
