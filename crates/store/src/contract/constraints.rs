//! Resource constraints: never more permits out than there are, units apart, FIFO and ASAP, nothing lost or doubled whatever ends how.

use std::collections::BTreeMap;

use manifold_model::ExecutionId;
use manifold_model::constraint::{
    ConstraintRecord, ConstraintStrategy, HoldingScope, PermitHolder, PermitRefusal, PermitRequest,
};

use super::Home;
use super::fixtures::{NOW, append, leg, pipeline, seq};
use crate::{InboxItem, PermitAnswer, PermitChange, Store, StoreError};

pub(super) async fn run<H: Home>(make: &impl Fn() -> H) {
    names_are_unique_and_records_change(&*make().open().await).await;
    fifo_lets_nobody_overtake(&*make().open().await).await;
    asap_lets_in_who_fits(&*make().open().await).await;
    units_are_apart(&*make().open().await).await;
    asking_again_changes_nothing(&*make().open().await).await;
    who_withdraws_frees_the_way(&*make().open().await).await;
    what_cannot_be_granted_is_refused(&*make().open().await).await;
    a_new_capacity_lets_in_who_waits(&*make().open().await).await;
    what_is_used_stays(&*make().open().await).await;
    legs_hold_for_their_parent(&*make().open().await).await;
    a_refused_append_takes_nothing(&*make().open().await).await;
    outlasts_a_restart(make).await;
    for seed in 1..=6 {
        never_more_than_the_capacity(&*make().open().await, seed).await;
    }
}

fn constraint(capacity: u32, strategy: ConstraintStrategy) -> ConstraintRecord {
    ConstraintRecord { id: "c".into(), name: "licences".to_owned(), capacity, strategy, created_at: NOW }
}

fn request(step: u32, permits: u32) -> PermitRequest {
    PermitRequest {
        step,
        step_name: format!("step {step}"),
        attempt: 1,
        constraint: "c".into(),
        name: "licences".to_owned(),
        unit: String::new(),
        permits,
        scope: HoldingScope::Workflow,
    }
}

async fn runs(store: &dyn Store, count: usize) -> Vec<ExecutionId> {
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(store.create_execution(pipeline(&format!("run{number}"))).await.unwrap());
    }
    ids
}

async fn change(store: &dyn Store, id: &ExecutionId, changes: Vec<PermitChange>) -> Vec<PermitAnswer> {
    let mut append = append(id, seq(store, id).await, 1);
    append.permits = changes;
    store.append(append).await.unwrap().permits.into_iter().map(|(.., answer)| answer).collect()
}

async fn ask(store: &dyn Store, id: &ExecutionId, request: PermitRequest) -> PermitAnswer {
    change(store, id, vec![PermitChange::Ask(request)]).await.remove(0)
}

async fn leave(store: &dyn Store, id: &ExecutionId) {
    change(store, id, vec![PermitChange::Leave]).await;
}

/// Steps and attempts of which the execution was told that they hold their permits; takes the items in.
async fn told(store: &dyn Store, id: &ExecutionId) -> Vec<(u32, u32)> {
    let inbox = store.inbox(id, 10).await.unwrap();
    let mut taken = append(id, seq(store, id).await, 1);
    taken.consumed = inbox.iter().map(|one| one.number).collect();
    store.append(taken).await.unwrap();
    inbox
        .into_iter()
        .map(|one| match one.item {
            InboxItem::PermitsGranted { step, attempt } => (step, attempt),
            other => panic!("{other:?}"),
        })
        .collect()
}

async fn names_are_unique_and_records_change(store: &dyn Store) {
    let first = constraint(2, ConstraintStrategy::Fifo);
    store.create_constraint(first.clone()).await.unwrap();
    let same_name = ConstraintRecord { id: "d".into(), ..first.clone() };
    assert!(matches!(store.create_constraint(same_name).await, Err(StoreError::Exists(_))));
    let same_id = ConstraintRecord { name: "other".to_owned(), ..first.clone() };
    assert!(matches!(store.create_constraint(same_id).await, Err(StoreError::Exists(_))));
    let second = ConstraintRecord { id: "b".into(), name: "agents".to_owned(), ..first.clone() };
    store.create_constraint(second.clone()).await.unwrap();
    assert_eq!(store.constraints().await.unwrap(), [second.clone(), first.clone()], "by name");
    let taken = ConstraintRecord { name: "licences".to_owned(), ..second.clone() };
    assert!(matches!(store.update_constraint(taken).await, Err(StoreError::Exists(_))));
    let changed = ConstraintRecord { capacity: 7, strategy: ConstraintStrategy::Asap, ..second.clone() };
    store.update_constraint(changed.clone()).await.unwrap();
    assert_eq!(store.constraints().await.unwrap(), [changed, first]);
    store.delete_constraint(&"b".into()).await.unwrap();
    assert!(matches!(store.delete_constraint(&"b".into()).await, Err(StoreError::Missing(_))));
    assert!(matches!(store.update_constraint(second).await, Err(StoreError::Missing(_))));
}

async fn fifo_lets_nobody_overtake(store: &dyn Store) {
    store.create_constraint(constraint(3, ConstraintStrategy::Fifo)).await.unwrap();
    let ids = runs(store, 4).await;
    assert_eq!(ask(store, &ids[0], request(1, 2)).await, PermitAnswer::Granted);
    assert_eq!(ask(store, &ids[1], request(1, 2)).await, PermitAnswer::Queued);
    assert_eq!(ask(store, &ids[2], request(1, 1)).await, PermitAnswer::Queued, "it fits, but is not first");
    assert_eq!(ask(store, &ids[3], request(1, 1)).await, PermitAnswer::Queued);
    let stands = store.permit_place(&ids[2], 1).await.unwrap().unwrap();
    assert_eq!((stands.capacity, stands.free, stands.place), (3, 1, 2));
    assert_eq!(stands.holders, [PermitHolder { execution: ids[0].clone(), permits: 2 }]);
    leave(store, &ids[0]).await;
    assert_eq!(told(store, &ids[1]).await, [(1, 1)]);
    assert_eq!(told(store, &ids[2]).await, [(1, 1)]);
    assert_eq!(told(store, &ids[3]).await, []);
    assert_eq!(store.permit_place(&ids[0], 1).await.unwrap(), None);
    assert_eq!(store.permit_place(&ids[1], 1).await.unwrap().unwrap().place, 0);
    assert_eq!(store.permit_place(&ids[3], 1).await.unwrap().unwrap().place, 1);
}

async fn asap_lets_in_who_fits(store: &dyn Store) {
    store.create_constraint(constraint(3, ConstraintStrategy::Asap)).await.unwrap();
    let ids = runs(store, 5).await;
    assert_eq!(ask(store, &ids[0], request(1, 2)).await, PermitAnswer::Granted);
    assert_eq!(ask(store, &ids[1], request(1, 3)).await, PermitAnswer::Queued);
    assert_eq!(ask(store, &ids[2], request(1, 1)).await, PermitAnswer::Granted, "it fits");
    assert_eq!(ask(store, &ids[3], request(1, 2)).await, PermitAnswer::Queued);
    assert_eq!(ask(store, &ids[4], request(1, 1)).await, PermitAnswer::Queued);
    leave(store, &ids[0]).await;
    assert_eq!(told(store, &ids[1]).await, [], "two are free, it wants three");
    assert_eq!(told(store, &ids[3]).await, [(1, 1)], "the first that fits");
    assert_eq!(told(store, &ids[4]).await, []);
    for id in [&ids[2], &ids[3]] {
        leave(store, id).await;
    }
    assert_eq!(told(store, &ids[4]).await, [(1, 1)]);
    leave(store, &ids[4]).await;
    assert_eq!(told(store, &ids[1]).await, [(1, 1)]);
}

async fn units_are_apart(store: &dyn Store) {
    store.create_constraint(constraint(1, ConstraintStrategy::Fifo)).await.unwrap();
    let ids = runs(store, 4).await;
    let of = |unit: &str| PermitRequest { unit: unit.to_owned(), ..request(1, 1) };
    assert_eq!(ask(store, &ids[0], of("eu")).await, PermitAnswer::Granted);
    assert_eq!(ask(store, &ids[1], of("eu")).await, PermitAnswer::Queued);
    assert_eq!(ask(store, &ids[2], of("us")).await, PermitAnswer::Granted);
    assert_eq!(
        ask(store, &ids[3], of("")).await,
        PermitAnswer::Granted,
        "account-wide is a unit like others"
    );
    let page = store.permits(&"c".into(), 0, 10).await.unwrap();
    let rows: Vec<_> =
        page.items.iter().map(|row| (row.unit.as_str(), row.execution.as_str(), row.granted)).collect();
    let expected = [("", "run3", true), ("eu", "run0", true), ("eu", "run1", false), ("us", "run2", true)];
    assert_eq!((rows.as_slice(), page.total), (expected.as_slice(), 4));
    let page = store.permits(&"c".into(), 1, 2).await.unwrap();
    assert_eq!((page.items.len(), page.total), (2, 4));
    assert_eq!((page.items[0].step_name.as_str(), page.items[0].permits), ("step 1", 1));
    leave(store, &ids[2]).await;
    assert_eq!(told(store, &ids[1]).await, []);
    leave(store, &ids[0]).await;
    assert_eq!(told(store, &ids[1]).await, [(1, 1)]);
}

async fn asking_again_changes_nothing(store: &dyn Store) {
    store.create_constraint(constraint(2, ConstraintStrategy::Fifo)).await.unwrap();
    let ids = runs(store, 2).await;
    for _ in 0..2 {
        assert_eq!(ask(store, &ids[0], request(1, 2)).await, PermitAnswer::Granted);
        assert_eq!(ask(store, &ids[1], request(1, 1)).await, PermitAnswer::Queued);
    }
    assert_eq!(ask(store, &ids[0], request(2, 1)).await, PermitAnswer::Queued, "another step asks for more");
    let page = store.permits(&"c".into(), 0, 10).await.unwrap();
    assert_eq!(page.total, 3);
    change(store, &ids[0], vec![PermitChange::GiveBack { step: 1 }, PermitChange::GiveBack { step: 9 }])
        .await;
    assert_eq!(told(store, &ids[1]).await, [(1, 1)]);
    assert_eq!(told(store, &ids[0]).await, [(2, 1)]);
}

async fn who_withdraws_frees_the_way(store: &dyn Store) {
    store.create_constraint(constraint(2, ConstraintStrategy::Fifo)).await.unwrap();
    let ids = runs(store, 3).await;
    ask(store, &ids[0], request(1, 1)).await;
    assert_eq!(ask(store, &ids[1], request(1, 2)).await, PermitAnswer::Queued);
    assert_eq!(ask(store, &ids[2], request(1, 1)).await, PermitAnswer::Queued);
    // Its time is over, and it tries again at once: withdrawn and asked for in one transaction, at the end of the queue.
    let again = PermitRequest { attempt: 2, ..request(1, 2) };
    let changes = vec![PermitChange::GiveBack { step: 1 }, PermitChange::Ask(again.clone())];
    assert_eq!(change(store, &ids[1], changes).await, [PermitAnswer::Queued]);
    assert_eq!(told(store, &ids[2]).await, [(1, 1)], "who was behind fits");
    leave(store, &ids[0]).await;
    leave(store, &ids[2]).await;
    assert_eq!(told(store, &ids[1]).await, [(1, 2)], "the attempt that asked last");
    // A later attempt takes the place of an earlier one that was never withdrawn.
    let third = PermitRequest { attempt: 3, ..request(1, 1) };
    assert_eq!(ask(store, &ids[1], third).await, PermitAnswer::Granted);
    assert_eq!(store.permit_place(&ids[1], 1).await.unwrap().unwrap().free, 1);
}

async fn what_cannot_be_granted_is_refused(store: &dyn Store) {
    let ids = runs(store, 1).await;
    let gone = PermitAnswer::Refused(PermitRefusal::Gone {});
    assert_eq!(ask(store, &ids[0], request(1, 1)).await, gone);
    store.create_constraint(constraint(2, ConstraintStrategy::Fifo)).await.unwrap();
    let too_many = PermitAnswer::Refused(PermitRefusal::OverCapacity { capacity: 2 });
    assert_eq!(ask(store, &ids[0], request(1, 3)).await, too_many);
    assert_eq!(store.permits(&"c".into(), 0, 10).await.unwrap().total, 0);
    let mut nothing = append(&ids[0], seq(store, &ids[0]).await, 1);
    nothing.permits = vec![PermitChange::Ask(request(1, 0))];
    assert!(matches!(store.append(nothing).await, Err(StoreError::Broken { .. })), "nobody asks for none");
}

async fn a_new_capacity_lets_in_who_waits(store: &dyn Store) {
    let fifo = constraint(2, ConstraintStrategy::Fifo);
    store.create_constraint(fifo.clone()).await.unwrap();
    let ids = runs(store, 4).await;
    ask(store, &ids[0], request(1, 2)).await;
    assert_eq!(ask(store, &ids[1], request(1, 2)).await, PermitAnswer::Queued);
    assert_eq!(ask(store, &ids[2], request(1, 1)).await, PermitAnswer::Queued);
    let lower = ConstraintRecord { capacity: 1, ..fifo.clone() };
    assert!(matches!(store.update_constraint(lower.clone()).await, Err(StoreError::Used { .. })));
    assert_eq!(store.constraints().await.unwrap()[0], fifo, "refused as a whole");
    // With three, the first of the queue does not fit; with ASAP the second does.
    let higher = ConstraintRecord { capacity: 3, ..fifo.clone() };
    store.update_constraint(higher.clone()).await.unwrap();
    assert!(told(store, &ids[1]).await.is_empty() && told(store, &ids[2]).await.is_empty());
    let asap = ConstraintRecord { strategy: ConstraintStrategy::Asap, ..higher };
    store.update_constraint(asap.clone()).await.unwrap();
    assert_eq!(told(store, &ids[2]).await, [(1, 1)]);
    store.update_constraint(ConstraintRecord { capacity: 5, ..asap }).await.unwrap();
    assert_eq!(told(store, &ids[1]).await, [(1, 1)]);
    // Below what is out: nobody new until enough has come back.
    store.update_constraint(lower).await.unwrap();
    assert_eq!(ask(store, &ids[3], request(1, 1)).await, PermitAnswer::Queued);
    for id in [&ids[0], &ids[1]] {
        leave(store, id).await;
        assert_eq!(told(store, &ids[3]).await, []);
    }
    leave(store, &ids[2]).await;
    assert_eq!(told(store, &ids[3]).await, [(1, 1)]);
}

async fn what_is_used_stays(store: &dyn Store) {
    store.create_constraint(constraint(1, ConstraintStrategy::Fifo)).await.unwrap();
    let ids = runs(store, 1).await;
    ask(store, &ids[0], request(1, 1)).await;
    let refused = store.delete_constraint(&"c".into()).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Used { by, .. } if *by == "run0"), "{refused}");
    leave(store, &ids[0]).await;
    store.delete_constraint(&"c".into()).await.unwrap();
}

async fn legs_hold_for_their_parent(store: &dyn Store) {
    store.create_constraint(constraint(1, ConstraintStrategy::Fifo)).await.unwrap();
    let parent = pipeline("run");
    let id = store.create_execution(parent.clone()).await.unwrap();
    let mut create = append(&id, 1, 1);
    create.legs = (0..2).map(|ordinal| leg(&parent, ordinal)).collect();
    let legs: Vec<ExecutionId> = create.legs.iter().map(|leg| leg.row.id.clone()).collect();
    store.append(create).await.unwrap();
    let other = store.create_execution(pipeline("other")).await.unwrap();
    let for_all = PermitRequest { scope: HoldingScope::Pipeline, ..request(1, 1) };
    assert_eq!(ask(store, &legs[0], for_all.clone()).await, PermitAnswer::Granted);
    assert_eq!(ask(store, &legs[1], for_all.clone()).await, PermitAnswer::Queued);
    assert_eq!(ask(store, &other, for_all).await, PermitAnswer::Queued);
    leave(store, &legs[0]).await;
    leave(store, &legs[1]).await;
    let page = store.permits(&"c".into(), 0, 10).await.unwrap();
    let rows: Vec<_> =
        page.items.iter().map(|row| (&row.execution, &row.until_end_of, row.granted)).collect();
    assert_eq!(rows, [(&legs[0], &id, true), (&other, &other, false)], "held on, and the queued one is gone");
    leave(store, &id).await;
    assert_eq!(told(store, &other).await, [(1, 1)]);
}

async fn a_refused_append_takes_nothing(store: &dyn Store) {
    store.create_constraint(constraint(1, ConstraintStrategy::Fifo)).await.unwrap();
    let ids = runs(store, 1).await;
    let mut stale = append(&ids[0], 7, 1);
    stale.permits = vec![PermitChange::Ask(request(1, 1))];
    assert!(matches!(store.append(stale).await, Err(StoreError::Conflict { .. })));
    assert_eq!(store.permits(&"c".into(), 0, 10).await.unwrap().total, 0);
}

async fn outlasts_a_restart<H: Home>(make: &impl Fn() -> H) {
    let home = make();
    let ids = {
        let store = home.open().await;
        store.create_constraint(constraint(1, ConstraintStrategy::Asap)).await.unwrap();
        let ids = runs(&*store, 2).await;
        ask(&*store, &ids[0], request(1, 1)).await;
        ask(&*store, &ids[1], request(1, 1)).await;
        ids
    };
    let store = home.open().await;
    assert_eq!(store.constraints().await.unwrap(), [constraint(1, ConstraintStrategy::Asap)]);
    assert_eq!(ask(&*store, &ids[0], request(1, 1)).await, PermitAnswer::Granted, "still held");
    assert_eq!(ask(&*store, &ids[1], request(1, 1)).await, PermitAnswer::Queued, "still queued");
    leave(&*store, &ids[0]).await;
    assert_eq!(told(&*store, &ids[1]).await, [(1, 1)]);
}

/// Random requests, withdrawals and ends; whoever was told so holds, never more than there is, and FIFO keeps the order.
async fn never_more_than_the_capacity(store: &dyn Store, seed: u64) {
    const RUNS: usize = 6;
    const CAPACITY: u32 = 4;
    let strategy = if seed.is_multiple_of(2) { ConstraintStrategy::Fifo } else { ConstraintStrategy::Asap };
    store.create_constraint(constraint(CAPACITY, strategy)).await.unwrap();
    let ids = runs(store, RUNS).await;
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut pick = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        u32::try_from(random % below).unwrap()
    };
    // Who wants how many, in order of their requests, and whether they hold them.
    let mut line: Vec<(usize, u32, bool)> = Vec::new();
    for _ in 0..80 {
        let who = pick(RUNS as u64) as usize;
        if let Some(at) = line.iter().position(|(one, ..)| *one == who) {
            let changes = if pick(2) == 0 {
                vec![PermitChange::GiveBack { step: 1 }]
            } else {
                vec![PermitChange::Leave]
            };
            change(store, &ids[who], changes).await;
            line.remove(at);
        } else {
            let permits = 1 + pick(u64::from(CAPACITY));
            let answer = ask(store, &ids[who], request(1, permits)).await;
            line.push((who, permits, answer == PermitAnswer::Granted));
        }
        for (who, _, held) in &mut line {
            let now = told(store, &ids[*who]).await;
            assert!(now.is_empty() || !*held, "told once");
            *held |= !now.is_empty();
        }
        let out: u32 = line.iter().filter(|(.., held)| *held).map(|(_, permits, _)| permits).sum();
        assert!(out <= CAPACITY, "seed {seed}: {line:?}");
        let mut waiting = line.iter().filter(|(.., held)| !*held).map(|(_, permits, _)| *permits);
        match strategy {
            ConstraintStrategy::Fifo => assert!(waiting.next().is_none_or(|first| out + first > CAPACITY)),
            ConstraintStrategy::Asap => {
                assert!(waiting.all(|one| out + one > CAPACITY), "seed {seed}: {line:?}")
            }
        }
        let rows: BTreeMap<String, bool> = store
            .permits(&"c".into(), 0, 100)
            .await
            .unwrap()
            .items
            .into_iter()
            .map(|row| (row.execution.to_string(), row.granted))
            .collect();
        let model = line.iter().map(|(who, _, held)| (ids[*who].to_string(), *held)).collect();
        assert_eq!(rows, model, "seed {seed}");
    }
}
