//! Appending: all of it or nothing, by exactly one of those who try.

use std::sync::Arc;

use manifold_model::Status;
use manifold_model::request::{Action, Request};

use super::Home;
use super::fixtures::{append, end, event, leg, pipeline, seq, state};
use crate::{Append, InboxItem, Store, StoreError, numbered};

pub(super) async fn run<H: Home>(make: &impl Fn() -> H) {
    one_of_many_wins(make().open().await).await;
    events_are_paged_by_number(&*make().open().await).await;
    a_refused_append_leaves_nothing(&*make().open().await).await;
    appends_of_a_batch_stand_alone(&*make().open().await).await;
    the_inbox_is_consumed_with_the_events(&*make().open().await).await;
    completions_are_told_once_and_none_is_forgotten(&*make().open().await).await;
    a_restart_finds_what_was_committed(&make()).await;
}

async fn one_of_many_wins(store: Arc<dyn Store>) {
    let run = pipeline("run");
    let id = store.create_execution(run).await.unwrap();
    for round in 1..=20 {
        let racers: Vec<_> = (0..8)
            .map(|_| {
                let (store, append) = (store.clone(), append(&id, round, 1));
                tokio::spawn(async move { store.append(append).await })
            })
            .collect();
        let mut won = 0;
        for racer in racers {
            match racer.await.unwrap() {
                Ok(_) => won += 1,
                Err(StoreError::Conflict { expected, found }) => {
                    assert_eq!((expected, found), (round, round + 1));
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(won, 1, "exactly one append wins");
    }
    let events = store.events(&id, 0, 100).await.unwrap();
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), (1..=21).collect::<Vec<_>>());
}

async fn events_are_paged_by_number(store: &dyn Store) {
    let run = pipeline("run");
    let id = store.create_execution(run).await.unwrap();
    store.append(append(&id, 1, 5)).await.unwrap();
    store.append(append(&id, 6, 3)).await.unwrap();
    let seqs = async |after, limit| {
        let events = store.events(&id, after, limit).await.unwrap();
        events.iter().map(|event| event.seq).collect::<Vec<_>>()
    };
    assert_eq!(seqs(0, 3).await, [1, 2, 3]);
    assert_eq!(seqs(3, 4).await, [4, 5, 6, 7]);
    assert_eq!(seqs(7, 100).await, [8, 9]);
    assert!(seqs(9, 100).await.is_empty());
    assert!(seqs(0, 0).await.is_empty());
    assert!(store.events(&"nobody".into(), 0, 9).await.unwrap().is_empty());
    assert_eq!(store.events(&id, 8, 9).await.unwrap(), numbered(8, super::fixtures::NOW, vec![event()]));
}

async fn a_refused_append_leaves_nothing(store: &dyn Store) {
    let run = pipeline("run");
    let id = store.create_execution(run).await.unwrap();
    let mut refused = append(&id, 1, 1);
    refused.set_timers = vec![("t".to_owned(), 1)];
    refused.send = vec![("nobody".into(), InboxItem::LockGranted {})];
    assert!(matches!(store.append(refused).await, Err(StoreError::Missing(_))));
    assert_eq!(seq(store, &id).await, 1);
    assert_eq!(store.fire_timers(i64::MAX, 10).await.unwrap(), (vec![], None));
    let mut gap = append(&id, 1, 2);
    gap.events.remove(0);
    assert!(store.append(gap).await.is_err(), "events have no gaps");
    assert!(matches!(store.append(append(&"nobody".into(), 0, 1)).await, Err(StoreError::Missing(_))));
    assert!(store.append(Append::default()).await.is_err());
    assert_eq!(store.events(&id, 0, 10).await.unwrap().len(), 1);
}

async fn appends_of_a_batch_stand_alone(store: &dyn Store) {
    let first = store.create_execution(pipeline("first")).await.unwrap();
    let second = store.create_execution(pipeline("second")).await.unwrap();
    let outcomes =
        store.append_many(vec![append(&first, 1, 2), append(&second, 7, 1), append(&first, 3, 1)]).await;
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
    assert!(matches!(outcomes[1], Err(StoreError::Conflict { expected: 7, found: 1 })));
    assert_eq!((seq(store, &first).await, seq(store, &second).await), (4, 1));
    assert!(store.append_many(vec![]).await.is_empty());
}

async fn the_inbox_is_consumed_with_the_events(store: &dyn Store) {
    let run = pipeline("run");
    let id = store.create_execution(run).await.unwrap();
    let request = |by: &str| InboxItem::Request {
        request: Request { action: Action::Pause, by: by.to_owned(), reason: String::new() },
    };
    let mut hints = store.hints();
    store.send(&id, request("a")).await.unwrap();
    assert_eq!(hints.try_recv().unwrap(), crate::Hint::Inbox(id.clone()));
    store.send(&id, request("b")).await.unwrap();
    let missing = store.send(&"nobody".into(), request("c")).await;
    assert!(matches!(missing, Err(StoreError::Missing(_))));
    let inbox = store.inbox(&id, 10).await.unwrap();
    assert_eq!(inbox.iter().map(|one| one.item.clone()).collect::<Vec<_>>(), [request("a"), request("b")]);
    assert_eq!(store.inbox(&id, 1).await.unwrap().len(), 1);
    assert_eq!(store.executions_with_inbox(10).await.unwrap(), std::slice::from_ref(&id));
    let mut taken = append(&id, 1, 1);
    taken.consumed = vec![inbox[0].number];
    store.append(taken).await.unwrap();
    assert_eq!(store.inbox(&id, 10).await.unwrap(), [inbox[1].clone()]);
    let mut last = append(&id, 2, 1);
    last.row = Some(state(Status::Success));
    store.append(last).await.unwrap();
    assert!(store.executions_with_inbox(10).await.unwrap().is_empty(), "an ended execution takes nothing");
}

async fn completions_are_told_once_and_none_is_forgotten(store: &dyn Store) {
    let parent = pipeline("run");
    let id = store.create_execution(parent.clone()).await.unwrap();
    let legs: Vec<_> = (0..3).map(|ordinal| leg(&parent, ordinal)).collect();
    let mut create = append(&id, 1, 1);
    create.legs = legs.clone();
    store.append(create).await.unwrap();
    let finish = async |leg: &crate::NewExecution| {
        let mut last = append(&leg.row.id, 1, 1);
        last.row = Some(state(Status::Success));
        last.completion = Some((id.clone(), end(leg, Status::Success)));
        store.append(last).await.unwrap();
    };
    finish(&legs[0]).await;
    finish(&legs[1]).await;
    let inbox = store.inbox(&id, 10).await.unwrap();
    assert_eq!(inbox.len(), 1, "one item for all completions");
    assert_eq!(inbox[0].item, InboxItem::Completions {});
    let read = store.completions(&id, 0, 10).await.unwrap();
    assert_eq!(
        read.iter().map(|(_, end)| end.clone()).collect::<Vec<_>>(),
        [end(&legs[0], Status::Success), end(&legs[1], Status::Success)]
    );
    assert!(read[0].0 < read[1].0);
    assert_eq!(store.completions(&id, read[0].0, 10).await.unwrap().len(), 1);
    // A third leg ends between the reading and the append that takes in the first two.
    finish(&legs[2]).await;
    let mut taken = append(&id, 2, 1);
    taken.consumed = vec![inbox[0].number];
    taken.completions_up_to = Some(read[1].0);
    store.append(taken).await.unwrap();
    assert_eq!(store.completions(&id, 0, 10).await.unwrap().len(), 1);
    let again = store.inbox(&id, 10).await.unwrap();
    assert_eq!(again.len(), 1, "what came meanwhile keeps an item");
    let mut rest = append(&id, 3, 1);
    rest.consumed = vec![again[0].number];
    rest.completions_up_to = Some(u64::MAX);
    store.append(rest).await.unwrap();
    assert!(store.inbox(&id, 10).await.unwrap().is_empty());
    assert!(store.completions(&id, 0, 10).await.unwrap().is_empty());
    let mut stranger = append(&id, 4, 1);
    stranger.completion = Some((legs[0].row.id.clone(), end(&legs[1], Status::Success)));
    assert!(store.append(stranger).await.is_err(), "only the parent gets a completion");
}

async fn a_restart_finds_what_was_committed(home: &impl Home) {
    let store = home.open().await;
    let run = pipeline("run");
    let id = store.create_execution(run.clone()).await.unwrap();
    store.append(append(&id, 1, 4)).await.unwrap();
    store.send(&id, InboxItem::LockGranted {}).await.unwrap();
    let events = store.events(&id, 0, 10).await.unwrap();
    drop(store);
    let store = home.open().await;
    assert_eq!(store.events(&id, 0, 10).await.unwrap(), events);
    assert_eq!(store.inbox(&id, 10).await.unwrap().len(), 1);
    assert_eq!(store.unfinished().await.unwrap(), std::slice::from_ref(&id));
    assert_eq!(store.plan(&run.row.plan).await.unwrap(), run.plan);
    assert!(matches!(store.append(append(&id, 1, 1)).await, Err(StoreError::Conflict { .. })));
    store.append(append(&id, 5, 1)).await.unwrap();
}
