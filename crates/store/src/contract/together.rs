//! Many at once: what transactions that overlap must not lose or grant twice.

use std::collections::HashSet;

use manifold_model::{ExecutionId, Status};

use super::Home;
use super::fixtures::{append, end, key, leg, pipeline, state};
use crate::{Append, LockAnswer, NewExecution, Store};

/// Legs of the run, and how many end in one call.
const LEGS: u32 = 60;
const A_CALL: usize = 5;

pub(super) async fn run<H: Home>(make: &impl Fn() -> H) {
    legs_that_end_at_once_are_all_told(&*make().open().await).await;
    an_execution_is_extended_by_one_of_many(&*make().open().await).await;
}

async fn legs_that_end_at_once_are_all_told(store: &dyn Store) {
    let parent = pipeline("run");
    let id = store.create_execution(parent.clone()).await.unwrap();
    let legs: Vec<_> = (0..LEGS).map(|ordinal| leg(&parent, ordinal)).collect();
    let mut create = append(&id, 1, 1);
    create.legs = legs.clone();
    store.append(create).await.unwrap();

    let asked = futures::future::join_all(legs.iter().map(|leg| store.append(locking(leg)))).await;
    let answers: Vec<_> = asked.into_iter().map(|answer| answer.unwrap().lock.unwrap()).collect();
    let granted = answers.iter().filter(|answer| **answer == LockAnswer::Granted).count();
    assert_eq!(granted, 1, "one lock, one holder");

    let ending = legs.chunks(A_CALL).map(async |legs| {
        for ended in store.append_many(legs.iter().map(|leg| ending(&id, leg)).collect()).await {
            ended.unwrap();
        }
    });
    let (_, told) = futures::join!(futures::future::join_all(ending), told(store, &id));
    assert_eq!(told.len(), legs.len());
    for leg in &legs {
        assert_eq!(store.lock_place(&leg.row.id).await.unwrap(), None, "all gave it back");
    }
    assert!(store.inbox(&id, 10).await.unwrap().is_empty());
}

/// The first step of a leg: it asks for the lock that all want, and for one of its own.
fn locking(leg: &NewExecution) -> Append {
    let mut first = append(&leg.row.id, 1, 1);
    first.lock = Some((vec![key("shared"), key(leg.row.id.as_str())], LEGS));
    first
}

fn ending(parent: &ExecutionId, leg: &NewExecution) -> Append {
    let mut last = append(&leg.row.id, 2, 1);
    last.row = Some(state(Status::Success));
    last.unlock = true;
    last.completion = Some((parent.clone(), end(leg, Status::Success)));
    last
}

/// Takes completions in as they come, as the server of the parent does, until all are there.
async fn told(store: &dyn Store, parent: &ExecutionId) -> HashSet<ExecutionId> {
    let (mut told, mut after, mut seq) = (HashSet::new(), 0, 2);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while told.len() < LEGS as usize {
        assert!(std::time::Instant::now() < deadline, "only {} legs were told", told.len());
        let inbox = store.inbox(parent, 10).await.unwrap();
        let read = store.completions(parent, after, 7).await.unwrap();
        let Some((last, _)) = read.last() else {
            tokio::task::yield_now().await;
            continue;
        };
        after = *last;
        for (_, end) in &read {
            assert!(told.insert(end.execution.clone()), "told twice");
        }
        let mut taken = append(parent, seq, 1);
        taken.consumed = inbox.iter().map(|one| one.number).collect();
        taken.completions_up_to = Some(after);
        store.append(taken).await.unwrap();
        seq += 1;
    }
    told
}

async fn an_execution_is_extended_by_one_of_many(store: &dyn Store) {
    let id = store.create_execution(pipeline("run")).await.unwrap();
    let tried = futures::future::join_all((0..20).map(|_| store.append(append(&id, 1, 1)))).await;
    assert_eq!(tried.iter().filter(|tried| tried.is_ok()).count(), 1);
    assert_eq!(store.events(&id, 0, 10).await.unwrap().len(), 2);
    let same = || NewExecution { idempotency: Some("once".to_owned()), ..pipeline("one") };
    let made = futures::future::join_all((0..20).map(|n| {
        let mut new = same();
        new.row.id = ExecutionId::from(format!("one-{n}"));
        store.create_execution(new)
    }))
    .await;
    let ids: HashSet<_> = made.into_iter().map(Result::unwrap).collect();
    assert_eq!(ids.len(), 1, "one creation for one key");
}
