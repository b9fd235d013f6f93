//! Tasks: handed out oldest first under a lease; what a stale holder says changes nothing.

use manifold_model::TaskId;
use manifold_model::task::{Outcome, Task, TaskResult};

use super::Home;
use super::fixtures::{NOW, append, claim_one, connect, offer, pipeline, seq, task};
use crate::{Hint, InboxItem, Lease, Store, StoreError, delegate_holder};

pub(super) async fn run<H: Home>(make: &impl Fn() -> H) {
    the_oldest_that_fits_is_taken(&*make().open().await).await;
    outcome_intent_and_hand_over_are_one(&*make().open().await).await;
    a_stale_holder_changes_nothing(&*make().open().await).await;
    an_outcome_may_go_through_the_inbox(&*make().open().await).await;
    what_is_handed_back_goes_to_somebody_else(&*make().open().await).await;
    what_was_never_sent_is_put_back_untouched(&*make().open().await).await;
    cancelled_tasks_are_dropped_or_listed(&*make().open().await).await;
    tasks_without_an_execution_keep_their_outcome(&*make().open().await).await;
    waiting_tasks_are_seen(&*make().open().await).await;
}

async fn the_oldest_that_fits_is_taken(store: &dyn Store) {
    let lease = connect(store, "1").await;
    let needing = |id: &str, selectors: &[&str], capabilities: &[&str]| Task {
        selectors: selectors.iter().map(|&one| one.to_owned()).collect(),
        capabilities: capabilities.iter().map(|&one| one.to_owned()).collect(),
        ..task(id)
    };
    store.enqueue(needing("eu", &["eu", "linux"], &[]), NOW).await.unwrap();
    store.enqueue(needing("helm", &[], &["helm"]), NOW).await.unwrap();
    store.enqueue(task("a"), NOW).await.unwrap();
    store.enqueue(Task { kind: "SSH".into(), ..task("ssh") }, NOW).await.unwrap();
    store.enqueue(task("b"), NOW).await.unwrap();
    let twice = store.enqueue(task("a"), NOW).await;
    assert!(matches!(twice, Err(StoreError::Exists(_))));
    assert_eq!(claim_one(store, &lease).await, Some(("a".to_owned(), 0)));
    let mut able = offer(10);
    able.selectors = vec!["linux".to_owned(), "eu".to_owned(), "x".to_owned()];
    able.kinds.push("SSH".to_owned());
    let ids: Vec<_> = store.claim(&lease, &able).await.unwrap().into_iter().map(|row| row.task.id).collect();
    assert_eq!(ids, ["eu", "ssh", "b"].map(TaskId::from));
    able.capabilities = vec!["helm".to_owned()];
    let helm = store.claim(&lease, &able).await.unwrap();
    assert_eq!(helm.len(), 1);
    assert_eq!((helm[0].lease.as_ref(), helm[0].execution.as_ref()), (Some(&lease), None));
    assert!(store.claim(&lease, &able).await.unwrap().is_empty());
}

async fn outcome_intent_and_hand_over_are_one(store: &dyn Store) {
    let id = store.create_execution(pipeline("run")).await.unwrap();
    let lease = connect(store, "1").await;
    let mut hints = store.hints();
    let mut first = append(&id, 1, 1);
    first.tasks = vec![(task("1"), None)];
    store.append(first).await.unwrap();
    assert!(std::iter::from_fn(|| hints.try_recv().ok()).any(|hint| hint == Hint::Tasks));
    assert_eq!(claim_one(store, &lease).await, Some(("1".to_owned(), 0)));
    assert_eq!(store.task(&"1".into()).await.unwrap().unwrap().execution, Some(id.clone()));
    let mut next = append(&id, 2, 3);
    next.ended_tasks = vec![("1".into(), lease.clone())];
    next.tasks = vec![(task("2"), Some(lease.clone()))];
    store.append(next).await.unwrap();
    assert_eq!(store.task(&"1".into()).await.unwrap(), None);
    assert_eq!(store.task(&"2".into()).await.unwrap().unwrap().lease, Some(lease.clone()));
    assert_eq!(claim_one(store, &lease).await, None, "it is handed over already");
    let mut again = append(&id, 5, 1);
    again.ended_tasks = vec![("1".into(), lease.clone())];
    assert!(matches!(store.append(again).await, Err(StoreError::Fenced { .. })), "an outcome counts once");
    assert_eq!(seq(store, &id).await, 5);
    let unknown = store.end_task(&"3".into(), &lease, Outcome::succeeded()).await;
    assert!(unknown.is_err());
}

async fn a_stale_holder_changes_nothing(store: &dyn Store) {
    let id = store.create_execution(pipeline("run")).await.unwrap();
    let old = connect(store, "1").await;
    let mut first = append(&id, 1, 1);
    first.tasks = vec![(task("1"), Some(old.clone()))];
    store.append(first).await.unwrap();
    let new = connect(store, "1").await;
    assert!(new.fence > old.fence);
    let mut late = append(&id, 2, 1);
    late.ended_tasks = vec![("1".into(), old.clone())];
    assert!(matches!(store.append(late).await, Err(StoreError::Fenced { .. })));
    let mut late = append(&id, 2, 1);
    late.tasks = vec![(task("2"), Some(old.clone()))];
    assert!(matches!(store.append(late).await, Err(StoreError::Fenced { .. })));
    assert!(matches!(store.claim(&old, &offer(1)).await, Err(StoreError::Fenced { .. })));
    assert!(matches!(store.release(&old).await, Err(StoreError::Fenced { .. })));
    let forged = Lease { holder: delegate_holder(&"2".into()), fence: new.fence };
    assert!(matches!(store.claim(&forged, &offer(1)).await, Err(StoreError::Fenced { .. })));
    assert_eq!(seq(store, &id).await, 2);
    assert_eq!(claim_one(store, &new).await, Some(("1".to_owned(), 1)), "handed out once before");
    store.release(&new).await.unwrap();
    let third = connect(store, "3").await;
    assert_eq!(claim_one(store, &third).await, Some(("1".to_owned(), 2)));
    let mut ended = append(&id, 2, 1);
    ended.ended_tasks = vec![("1".into(), third)];
    store.append(ended).await.unwrap();
}

/// The server to which the delegate is connected need not be the one that advances the execution.
async fn an_outcome_may_go_through_the_inbox(store: &dyn Store) {
    let id = store.create_execution(pipeline("run")).await.unwrap();
    let lease = connect(store, "1").await;
    let mut first = append(&id, 1, 1);
    first.tasks = vec![(task("1"), Some(lease.clone())), (task("2"), Some(lease.clone()))];
    store.append(first).await.unwrap();
    let stale = Lease { fence: lease.fence - 1, ..lease.clone() };
    let refused = store.end_task(&"1".into(), &stale, Outcome::succeeded()).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })));
    let mut hints = store.hints();
    store.end_task(&"1".into(), &lease, Outcome::succeeded()).await.unwrap();
    assert!(std::iter::from_fn(|| hints.try_recv().ok()).any(|hint| hint == Hint::Inbox(id.clone())));
    let twice = store.end_task(&"1".into(), &lease, Outcome::succeeded()).await;
    assert!(matches!(twice, Err(StoreError::Fenced { .. })), "an outcome counts once");
    let inbox = store.inbox(&id, 10).await.unwrap();
    assert_eq!(inbox.len(), 1);
    let item = InboxItem::TaskEnded { task: "1".into(), outcome: Outcome::succeeded() };
    assert_eq!(inbox[0].item, item);
    assert_eq!(store.task(&"1".into()).await.unwrap(), None);
}

async fn what_is_handed_back_goes_to_somebody_else(store: &dyn Store) {
    let id = store.create_execution(pipeline("run")).await.unwrap();
    let (first, second) = (connect(store, "1").await, connect(store, "2").await);
    let mut issue = append(&id, 1, 1);
    issue.tasks = vec![(task("1"), Some(first.clone()))];
    store.append(issue).await.unwrap();
    let later = store.now().await.unwrap() + 300_000;
    let foreign = store.hand_back(&"1".into(), &second, later).await;
    assert!(matches!(foreign, Err(StoreError::Fenced { .. })));
    store.hand_back(&"1".into(), &first, later).await.unwrap();
    assert_eq!(claim_one(store, &first).await, None, "it is barred from it");
    let again = connect(store, "1").await;
    assert_eq!(claim_one(store, &again).await, None, "a new connection changes nothing");
    assert_eq!(claim_one(store, &second).await, Some(("1".to_owned(), 1)));
    store.hand_back(&"1".into(), &second, later - 600_000).await.unwrap();
    assert_eq!(claim_one(store, &second).await, Some(("1".to_owned(), 2)), "its time is over");
    let row = store.task(&"1".into()).await.unwrap().unwrap();
    assert_eq!(row.held_by, Some(delegate_holder(&"2".into())));
    store.end_task(&"1".into(), &second, Outcome::succeeded()).await.unwrap();
}

async fn what_was_never_sent_is_put_back_untouched(store: &dyn Store) {
    let (first, second) = (connect(store, "1").await, connect(store, "2").await);
    store.enqueue(task("1"), 1).await.unwrap();
    let later = store.now().await.unwrap() + 300_000;
    assert_eq!(claim_one(store, &first).await, Some(("1".to_owned(), 0)));
    let foreign = store.put_back(&"1".into(), &second, later).await;
    assert!(matches!(foreign, Err(StoreError::Fenced { .. })));
    store.put_back(&"1".into(), &first, later).await.unwrap();
    let row = store.task(&"1".into()).await.unwrap().unwrap();
    assert_eq!((row.lease, row.held_by, row.deliveries), (None, None, 0), "nobody began it");
    assert_eq!(claim_one(store, &first).await, None, "it is barred from it");
    assert_eq!(claim_one(store, &second).await, Some(("1".to_owned(), 0)));
    store.end_task(&"1".into(), &second, Outcome::succeeded()).await.unwrap();
}

async fn cancelled_tasks_are_dropped_or_listed(store: &dyn Store) {
    let id = store.create_execution(pipeline("run")).await.unwrap();
    let lease = connect(store, "1").await;
    let mut first = append(&id, 1, 1);
    first.tasks = vec![(task("leased"), Some(lease.clone())), (task("queued"), None)];
    store.append(first).await.unwrap();
    assert!(store.cancelled_tasks(&lease).await.unwrap().is_empty());
    let mut cancel = append(&id, 2, 1);
    cancel.cancel_tasks = ["leased", "queued", "unknown"].map(TaskId::from).to_vec();
    store.append(cancel).await.unwrap();
    assert_eq!(store.cancelled_tasks(&lease).await.unwrap(), [TaskId::from("leased")]);
    assert_eq!(store.task(&"queued".into()).await.unwrap(), None);
    let inbox = store.inbox(&id, 10).await.unwrap();
    assert_eq!(inbox.len(), 1, "the execution is told what will not run");
    let outcome = Outcome::of(TaskResult::Cancelled);
    assert_eq!(inbox[0].item, InboxItem::TaskEnded { task: "queued".into(), outcome });
    // What may have begun is handed out again, so that somebody finds and stops it.
    let again = connect(store, "1").await;
    let claimed = store.claim(&again, &offer(5)).await.unwrap();
    assert!(claimed.len() == 1 && claimed[0].cancelled && claimed[0].deliveries == 1);
    assert_eq!(store.cancelled_tasks(&again).await.unwrap(), [TaskId::from("leased")]);
    let mut ended = append(&id, 3, 1);
    ended.ended_tasks = vec![("leased".into(), again.clone())];
    store.append(ended).await.unwrap();
    assert!(store.cancelled_tasks(&again).await.unwrap().is_empty());
}

async fn tasks_without_an_execution_keep_their_outcome(store: &dyn Store) {
    let lease = connect(store, "1").await;
    store.enqueue(task("collect"), NOW).await.unwrap();
    let early = store.end_task(&"collect".into(), &lease, Outcome::succeeded()).await;
    assert!(matches!(early, Err(StoreError::Fenced { .. })), "nobody has taken it");
    assert_eq!(claim_one(store, &lease).await, Some(("collect".to_owned(), 0)));
    let mut hints = store.hints();
    store.end_task(&"collect".into(), &lease, Outcome::succeeded()).await.unwrap();
    assert_eq!(hints.try_recv().unwrap(), Hint::TaskEnded("collect".into()));
    let row = store.task(&"collect".into()).await.unwrap().unwrap();
    assert_eq!((row.outcome, row.lease), (Some(Outcome::succeeded()), None));
    let twice = store.end_task(&"collect".into(), &lease, Outcome::succeeded()).await;
    assert!(matches!(twice, Err(StoreError::Fenced { .. })));
    store.release(&lease).await.unwrap();
    assert!(store.task(&"collect".into()).await.unwrap().unwrap().outcome.is_some(), "ended is ended");
}

async fn waiting_tasks_are_seen(store: &dyn Store) {
    let lease = connect(store, "1").await;
    store.enqueue(task("1"), 10).await.unwrap();
    store.enqueue(task("2"), 20).await.unwrap();
    store.enqueue(task("3"), 20).await.unwrap();
    let waiting = async |before, limit| {
        let rows = store.waiting_tasks(before, limit).await.unwrap();
        rows.into_iter().map(|row| row.task.id.to_string()).collect::<Vec<_>>()
    };
    assert!(waiting(10, 9).await.is_empty());
    assert_eq!(waiting(20, 9).await, ["1"]);
    assert_eq!(waiting(21, 2).await, ["1", "2"]);
    claim_one(store, &lease).await;
    assert_eq!(waiting(21, 9).await, ["2", "3"]);
}
