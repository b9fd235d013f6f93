//! Barriers: all cross together; who fails first breaks it for those not across.

use manifold_model::ExecutionId;

use super::Home;
use super::fixtures::{append, leg, pipeline, seq};
use crate::{BarrierAnswer, BarrierSeat, InboxItem, Store, barrier_scope};

pub(super) async fn run<H: Home>(make: &impl Fn() -> H) {
    all_cross_together(&*make().open().await).await;
    who_fails_breaks_it_for_the_others(&*make().open().await).await;
    who_ends_well_counts_as_arrived(&*make().open().await).await;
    alone_it_passes(&*make().open().await).await;
}

/// A run with legs that all take part in the barrier `b`.
async fn legs(store: &dyn Store, count: u32) -> Vec<ExecutionId> {
    let parent = pipeline("run");
    let id = store.create_execution(parent.clone()).await.unwrap();
    let mut create = append(&id, 1, 1);
    create.legs = (0..count).map(|ordinal| leg(&parent, ordinal)).collect();
    let legs: Vec<ExecutionId> = create.legs.iter().map(|leg| leg.row.id.clone()).collect();
    create.barriers = legs
        .iter()
        .map(|leg| BarrierSeat {
            scope: barrier_scope(&id, 0),
            identifier: "b".to_owned(),
            execution: leg.clone(),
        })
        .collect();
    store.append(create).await.unwrap();
    legs
}

async fn arrive(store: &dyn Store, leg: &ExecutionId) -> BarrierAnswer {
    let mut arrive = append(leg, seq(store, leg).await, 1);
    arrive.arrive = vec!["b".to_owned()];
    let mut answers = store.append(arrive).await.unwrap().barriers;
    assert_eq!((answers.len(), answers[0].0.as_str()), (1, "b"));
    answers.remove(0).1
}

async fn leave(store: &dyn Store, leg: &ExecutionId, well: bool) {
    let mut leave = append(leg, seq(store, leg).await, 1);
    leave.leave_barriers = Some(well);
    store.append(leave).await.unwrap();
}

/// What the barrier told a leg: nothing, that all crossed, or who broke it.
async fn told(store: &dyn Store, leg: &ExecutionId) -> Option<Option<ExecutionId>> {
    let mut inbox = store.inbox(leg, 10).await.unwrap();
    assert!(inbox.len() <= 1);
    inbox.pop().map(|one| match one.item {
        InboxItem::Barrier { identifier, broken_by } => {
            assert_eq!(identifier, "b");
            broken_by
        }
        other => panic!("{other:?}"),
    })
}

async fn all_cross_together(store: &dyn Store) {
    let legs = legs(store, 3).await;
    assert_eq!(store.barrier(&legs[0], "b").await.unwrap(), Some((0, 3)));
    assert_eq!(arrive(store, &legs[0]).await, BarrierAnswer::Waiting { arrived: 1, of: 3 });
    assert_eq!(arrive(store, &legs[0]).await, BarrierAnswer::Waiting { arrived: 1, of: 3 }, "counted once");
    assert_eq!(arrive(store, &legs[1]).await, BarrierAnswer::Waiting { arrived: 2, of: 3 });
    assert_eq!(store.barrier(&legs[2], "b").await.unwrap(), Some((2, 3)));
    assert_eq!(told(store, &legs[0]).await, None);
    assert_eq!(arrive(store, &legs[2]).await, BarrierAnswer::Crossed);
    assert_eq!(told(store, &legs[0]).await, Some(None));
    assert_eq!(told(store, &legs[1]).await, Some(None));
    assert_eq!(told(store, &legs[2]).await, None, "its answer said so");
    leave(store, &legs[2], false).await;
    assert_eq!(arrive(store, &legs[0]).await, BarrierAnswer::Crossed, "crossed stays crossed");
}

async fn who_fails_breaks_it_for_the_others(store: &dyn Store) {
    let legs = legs(store, 3).await;
    arrive(store, &legs[0]).await;
    leave(store, &legs[1], false).await;
    assert_eq!(told(store, &legs[0]).await, Some(Some(legs[1].clone())));
    assert_eq!(arrive(store, &legs[2]).await, BarrierAnswer::Broken { by: legs[1].clone() });
    leave(store, &legs[2], false).await;
    assert_eq!(arrive(store, &legs[0]).await, BarrierAnswer::Broken { by: legs[1].clone() }, "the first one");
}

async fn who_ends_well_counts_as_arrived(store: &dyn Store) {
    let legs = legs(store, 3).await;
    arrive(store, &legs[0]).await;
    leave(store, &legs[1], true).await;
    assert_eq!(store.barrier(&legs[0], "b").await.unwrap(), Some((2, 3)));
    leave(store, &legs[2], true).await;
    assert_eq!(told(store, &legs[0]).await, Some(None));
    assert_eq!(told(store, &legs[1]).await, None);
}

async fn alone_it_passes(store: &dyn Store) {
    let alone = legs(store, 1).await;
    assert_eq!(arrive(store, &alone[0]).await, BarrierAnswer::Crossed);
    let outside = store.create_execution(pipeline("workflow")).await.unwrap();
    assert_eq!(arrive(store, &outside).await, BarrierAnswer::Crossed);
    assert_eq!(store.barrier(&outside, "b").await.unwrap(), None);
}
