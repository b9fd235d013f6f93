//! Locks: never held by two, first come, first served, all keys at once.

use std::collections::{BTreeMap, BTreeSet};

use manifold_model::ExecutionId;

use super::Home;
use super::fixtures::{append, key, pipeline, seq};
use crate::{InboxItem, LockAnswer, Store};

pub(super) async fn run<H: Home>(make: &impl Fn() -> H) {
    the_queue_is_first_come_first_served(&*make().open().await).await;
    all_keys_or_none(&*make().open().await).await;
    a_full_queue_takes_nobody(&*make().open().await).await;
    for seed in 1..=6 {
        nobody_shares_and_nobody_starves(&*make().open().await, seed).await;
    }
}

async fn lock(store: &dyn Store, id: &ExecutionId, keys: &[&str], limit: u32) -> LockAnswer {
    let mut ask = append(id, seq(store, id).await, 1);
    ask.lock = Some((keys.iter().map(|name| key(name)).collect(), limit));
    store.append(ask).await.unwrap().lock.unwrap()
}

async fn unlock(store: &dyn Store, id: &ExecutionId) {
    let mut give = append(id, seq(store, id).await, 1);
    give.unlock = true;
    store.append(give).await.unwrap();
}

/// Whether the execution was told that it holds its keys; takes the item in.
async fn told(store: &dyn Store, id: &ExecutionId) -> bool {
    let inbox = store.inbox(id, 10).await.unwrap();
    assert!(inbox.len() <= 1 && inbox.iter().all(|one| one.item == InboxItem::LockGranted {}));
    let mut taken = append(id, seq(store, id).await, 1);
    taken.consumed = inbox.iter().map(|one| one.number).collect();
    store.append(taken).await.unwrap();
    !inbox.is_empty()
}

async fn runs(store: &dyn Store, names: &[&str]) -> Vec<ExecutionId> {
    let mut ids = Vec::new();
    for name in names {
        ids.push(store.create_execution(pipeline(name)).await.unwrap());
    }
    ids
}

async fn the_queue_is_first_come_first_served(store: &dyn Store) {
    let ids = runs(store, &["a", "b", "c"]).await;
    assert_eq!(lock(store, &ids[0], &["k"], 20).await, LockAnswer::Granted);
    assert_eq!(lock(store, &ids[0], &["k"], 20).await, LockAnswer::Granted, "asked twice, held once");
    let queued = |place| LockAnswer::Queued { holder: Some(ids[0].clone()), place };
    assert_eq!(lock(store, &ids[1], &["k"], 20).await, queued(1));
    assert_eq!(lock(store, &ids[2], &["k"], 20).await, queued(2));
    assert_eq!(lock(store, &ids[1], &["k"], 20).await, queued(1));
    assert_eq!(store.lock_place(&ids[0]).await.unwrap(), Some((Some(ids[0].clone()), 0)));
    assert_eq!(store.lock_place(&ids[2]).await.unwrap(), Some((Some(ids[0].clone()), 2)));
    unlock(store, &ids[1]).await;
    assert_eq!(store.lock_place(&ids[1]).await.unwrap(), None, "it left the queue");
    assert_eq!(store.lock_place(&ids[2]).await.unwrap(), Some((Some(ids[0].clone()), 1)));
    unlock(store, &ids[0]).await;
    assert!(told(store, &ids[2]).await && !told(store, &ids[1]).await);
    assert_eq!(store.lock_place(&ids[2]).await.unwrap(), Some((Some(ids[2].clone()), 0)));
    unlock(store, &ids[2]).await;
    assert_eq!(lock(store, &ids[1], &["k"], 20).await, LockAnswer::Granted);
    assert_eq!(lock(store, &ids[0], &[], 20).await, LockAnswer::Granted, "no keys, no wait");
}

async fn all_keys_or_none(store: &dyn Store) {
    let ids = runs(store, &["a", "b", "c"]).await;
    lock(store, &ids[0], &["x"], 20).await;
    assert!(matches!(lock(store, &ids[1], &["x", "y"], 20).await, LockAnswer::Queued { place: 1, .. }));
    let behind = lock(store, &ids[2], &["y"], 20).await;
    assert_eq!(behind, LockAnswer::Queued { holder: None, place: 2 }, "nobody overtakes who waits for two");
    unlock(store, &ids[0]).await;
    assert!(told(store, &ids[1]).await && !told(store, &ids[2]).await);
    unlock(store, &ids[1]).await;
    assert!(told(store, &ids[2]).await);
}

async fn a_full_queue_takes_nobody(store: &dyn Store) {
    let ids = runs(store, &["a", "b", "c", "d"]).await;
    assert_eq!(lock(store, &ids[0], &["k"], 0).await, LockAnswer::Granted, "the queue counts who waits");
    assert_eq!(lock(store, &ids[1], &["k"], 0).await, LockAnswer::Full);
    assert!(matches!(lock(store, &ids[1], &["k"], 1).await, LockAnswer::Queued { .. }));
    assert_eq!(lock(store, &ids[2], &["free", "k"], 1).await, LockAnswer::Full);
    assert_eq!(store.lock_place(&ids[2]).await.unwrap(), None);
    assert_eq!(
        lock(store, &ids[3], &["free"], 1).await,
        LockAnswer::Granted,
        "nothing was queued on the other"
    );
}

/// What the store must do, in a few lines: a queue per execution's ticket.
#[derive(Default)]
struct Model {
    /// Tickets in order with the keys wanted.
    line: Vec<(usize, BTreeSet<String>)>,
}

impl Model {
    /// Who holds: those that come first on all of their keys.
    fn holders(&self) -> BTreeSet<usize> {
        let mut taken = BTreeSet::new();
        let mut holders = BTreeSet::new();
        for (who, keys) in &self.line {
            if keys.is_disjoint(&taken) {
                holders.insert(*who);
            }
            taken.extend(keys.iter().cloned());
        }
        holders
    }
}

/// Random requests and releases, against the model.
async fn nobody_shares_and_nobody_starves(store: &dyn Store, seed: u64) {
    const RUNS: usize = 6;
    let names: Vec<String> = (0..RUNS).map(|n| format!("run{n}")).collect();
    let ids = runs(store, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut pick = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap()
    };
    let mut model = Model::default();
    let mut granted: BTreeMap<usize, bool> = BTreeMap::new();
    for _ in 0..60 {
        let who = pick(RUNS);
        if granted.remove(&who).is_some() {
            unlock(store, &ids[who]).await;
            model.line.retain(|(one, _)| *one != who);
        } else {
            let keys: BTreeSet<String> = (0..=pick(3)).map(|_| format!("k{}", pick(4))).collect();
            let wanted: Vec<&str> = keys.iter().map(String::as_str).collect();
            let answer = lock(store, &ids[who], &wanted, 100).await;
            model.line.push((who, keys));
            granted.insert(who, answer == LockAnswer::Granted);
        }
        for (who, held) in &mut granted {
            let now = told(store, &ids[*who]).await;
            assert!(!(now && *held), "told once");
            *held |= now;
        }
        let held: BTreeSet<usize> = granted.iter().filter(|(_, held)| **held).map(|(who, _)| *who).collect();
        assert_eq!(held, model.holders(), "seed {seed}: exactly those first on all of their keys hold");
    }
}
