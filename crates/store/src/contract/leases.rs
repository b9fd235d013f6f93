//! Leases of servers and delegates: one holder at a time, kept by renewing, what a lost one held goes back.

use manifold_model::Rendered;
use manifold_model::delegate::DelegateStatus;
use manifold_model::task::{Outcome, Payload, ScriptTask, Task};

use super::Home;
use super::fixtures::{append, claim_one, delegate, offer, pipeline, seq, server, task};
use crate::{DELEGATE_DEAD_MS, DelegateRow, Hint, LEASE_MS, Store, StoreError, delegate_holder};

pub(super) async fn run<H: Home>(make: &impl Fn() -> H) {
    a_new_life_of_a_node_fences_the_old(&make()).await;
    a_lease_runs_out_unless_renewed(&make()).await;
    a_delegate_is_connected_once(&*make().open().await).await;
    a_server_that_lost_its_lease_writes_nothing(&make()).await;
    what_lives_on_a_delegate_waits_for_it(&make()).await;
    delegates_and_tokens_are_kept(&*make().open().await).await;
}

async fn a_new_life_of_a_node_fences_the_old(home: &impl Home) {
    let store = home.open().await;
    let (old, other) = (server(&*store, "a").await, server(&*store, "ab").await);
    let first = store.lease(&old, &"1".into()).await.unwrap();
    let foreign = store.lease(&other, &"2".into()).await.unwrap();
    store.enqueue(task("1"), 1).await.unwrap();
    store.enqueue(task("2"), 1).await.unwrap();
    assert_eq!(claim_one(&*store, &first).await, Some(("1".to_owned(), 0)));
    assert_eq!(claim_one(&*store, &foreign).await, Some(("2".to_owned(), 0)));
    drop(store);
    let store = home.open().await;
    let new = server(&*store, "a").await;
    assert!(new.fence > foreign.fence, "fences only grow");
    let row = store.task(&"1".into()).await.unwrap().unwrap();
    assert_eq!((row.lease, row.deliveries), (None, 1));
    assert_eq!(row.held_by, Some(delegate_holder(&"1".into())));
    assert_eq!(store.task(&"2".into()).await.unwrap().unwrap().lease, Some(foreign), "another node");
    assert!(matches!(store.claim(&first, &offer(1)).await, Err(StoreError::Fenced { .. })));
    assert!(matches!(store.renew(&old).await, Err(StoreError::Fenced { .. })));
    assert!(matches!(store.lease(&old, &"1".into()).await, Err(StoreError::Fenced { .. })));
    let standing = store.renew(&new).await.unwrap();
    let nodes: Vec<_> = standing.servers.iter().map(|row| (row.node.as_str(), row.lease.clone())).collect();
    assert_eq!(nodes, [("a", new), ("ab", other)]);
}

async fn a_lease_runs_out_unless_renewed(home: &impl Home) {
    let store = home.open().await;
    let (kept, lost) = (server(&*store, "kept").await, server(&*store, "lost").await);
    let holder = store.lease(&lost, &"1".into()).await.unwrap();
    store.enqueue(task("1"), 1).await.unwrap();
    assert_eq!(claim_one(&*store, &holder).await, Some(("1".to_owned(), 0)));
    home.pass(LEASE_MS / 2).await;
    assert_eq!(store.renew(&kept).await.unwrap().servers.len(), 2);
    home.pass(LEASE_MS * 3 / 4).await;
    let mut hints = store.hints();
    let standing = store.renew(&kept).await.unwrap();
    assert_eq!(standing.servers.len(), 1, "the other one is taken from");
    assert!(std::iter::from_fn(|| hints.try_recv().ok()).any(|hint| hint == Hint::Servers));
    assert!(matches!(store.renew(&lost).await, Err(StoreError::Fenced { .. })));
    assert!(matches!(store.release(&holder).await, Err(StoreError::Fenced { .. })));
    let mine = store.lease(&kept, &"2".into()).await.unwrap();
    assert_eq!(claim_one(&*store, &mine).await, Some(("1".to_owned(), 1)));
    store.release(&kept).await.unwrap();
    assert!(matches!(store.claim(&mine, &offer(1)).await, Err(StoreError::Fenced { .. })), "with the server");
    assert_eq!(store.task(&"1".into()).await.unwrap().unwrap().deliveries, 2);
}

async fn a_delegate_is_connected_once(store: &dyn Store) {
    let (a, b) = (server(store, "a").await, server(store, "b").await);
    let old = store.lease(&a, &"1".into()).await.unwrap();
    store.enqueue(task("1"), 1).await.unwrap();
    claim_one(store, &old).await;
    let before = store.renew(&a).await.unwrap().delegates;
    let new = store.lease(&b, &"1".into()).await.unwrap();
    assert!(store.renew(&a).await.unwrap().delegates > before, "others are to know");
    let stale = store.end_task(&"1".into(), &old, Outcome::succeeded()).await;
    assert!(matches!(stale, Err(StoreError::Fenced { .. })));
    assert_eq!(claim_one(store, &new).await, Some(("1".to_owned(), 1)));
    store.end_task(&"1".into(), &new, Outcome::succeeded()).await.unwrap();
}

async fn a_server_that_lost_its_lease_writes_nothing(home: &impl Home) {
    let store = home.open().await;
    let stalled = server(&*store, "stalled").await;
    let id = store.create_execution(pipeline("run")).await.unwrap();
    let mut first = append(&id, 1, 1);
    first.by = Some(stalled.clone());
    store.append(first).await.unwrap();
    home.pass(LEASE_MS + 1).await;
    let other = server(&*store, "other").await;
    store.renew(&other).await.unwrap();
    let mut late = append(&id, 2, 1);
    late.by = Some(stalled);
    assert!(matches!(store.append(late.clone()).await, Err(StoreError::Fenced { .. })));
    let many = store.append_many(vec![late]).await;
    assert!(matches!(many.as_slice(), [Err(StoreError::Fenced { .. })]));
    assert_eq!(seq(&*store, &id).await, 2);
    let mut next = append(&id, 2, 1);
    next.by = Some(other);
    store.append(next).await.unwrap();
}

async fn what_lives_on_a_delegate_waits_for_it(home: &impl Home) {
    let store = home.open().await;
    let a = server(&*store, "a").await;
    let (first, second) =
        (store.lease(&a, &"1".into()).await.unwrap(), store.lease(&a, &"2".into()).await.unwrap());
    let script = ScriptTask {
        host: None,
        language: "BASH".to_owned(),
        script: Rendered::text("true"),
        directory: Rendered::text(""),
        environment: vec![],
        outputs: vec![],
        secret_outputs: vec![],
        cluster: None,
    };
    let script = Task { payload: Payload::Script(script), ..task("script") };
    store.enqueue(script, 1).await.unwrap();
    assert_eq!(claim_one(&*store, &first).await, Some(("script".to_owned(), 0)));
    store.release(&first).await.unwrap();
    assert_eq!(claim_one(&*store, &second).await, None);
    let row = store.task(&"script".into()).await.unwrap().unwrap();
    assert!(row.reserved_until.is_some());
    let back = store.lease(&a, &"1".into()).await.unwrap();
    assert_eq!(claim_one(&*store, &back).await, Some(("script".to_owned(), 1)), "it came back");
    store.release(&back).await.unwrap();
    home.pass(DELEGATE_DEAD_MS + 1).await;
    let mine = server(&*store, "b").await;
    let third = store.lease(&mine, &"3".into()).await.unwrap();
    let claimed = store.claim(&third, &offer(1)).await.unwrap();
    assert_eq!(claimed.len(), 1, "it does not come back");
    assert_eq!(claimed[0].held_by, Some(delegate_holder(&"1".into())), "whoever takes it knows whom to ask");
}

async fn delegates_and_tokens_are_kept(store: &dyn Store) {
    let a = server(store, "a").await;
    let token = crate::DelegateTokenRow {
        id: "t".to_owned(),
        name: "west".to_owned(),
        hash: "00".to_owned(),
        approval_required: true,
        created_at: 1,
        revoked_at: None,
    };
    store.create_delegate_token(token.clone()).await.unwrap();
    let twice =
        store.create_delegate_token(crate::DelegateTokenRow { id: "u".to_owned(), ..token.clone() }).await;
    assert!(matches!(twice, Err(StoreError::Exists(_))), "a name stands for one token");
    assert_eq!(store.delegate_tokens().await.unwrap(), std::slice::from_ref(&token));
    store.enrol(delegate("joined")).await.unwrap();
    let other = DelegateRow { token: "other".to_owned(), ..delegate("elsewhere") };
    store.enrol(other).await.unwrap();
    let lost = store.lease(&a, &"joined".into()).await.unwrap();
    let kept = store.lease(&a, &"elsewhere".into()).await.unwrap();
    store.revoke_delegate_token("t").await.unwrap();
    let revoked = store.delegate_tokens().await.unwrap();
    assert!(revoked.len() == 1 && revoked[0].revoked_at.is_some());
    assert!(
        matches!(store.claim(&lost, &offer(1)).await, Err(StoreError::Fenced { .. })),
        "it came by this token"
    );
    assert!(store.claim(&kept, &offer(1)).await.is_ok());
    store.revoke_delegate_token("t").await.unwrap();
    assert_eq!(store.delegate_tokens().await.unwrap(), revoked, "once");
    assert!(matches!(store.revoke_delegate_token("x").await, Err(StoreError::Missing(_))));

    let mut row = delegate("1");
    assert_eq!(store.enrol(row.clone()).await.unwrap(), row);
    store.enrol(delegate("2")).await.unwrap();
    store.set_delegate_status(&row.id, DelegateStatus::Enabled).await.unwrap();
    row.announced.host = "moved".to_owned();
    row.name = "renamed".to_owned();
    let known = store.enrol(row.clone()).await.unwrap();
    assert_eq!((known.status, known.announced.host.as_str()), (DelegateStatus::Enabled, "moved"));
    let lease = store.lease(&a, &row.id).await.unwrap();
    let there = store.delegate(&row.id).await.unwrap().unwrap();
    assert_eq!(there.connection, Some((lease.clone(), "a".to_owned())));
    let seen = there.seen;
    store.delegates_seen(&[row.id.clone()]).await.unwrap();
    assert!(store.delegate(&row.id).await.unwrap().unwrap().seen > seen);
    store.set_delegate_status(&row.id, DelegateStatus::Deleted).await.unwrap();
    assert!(matches!(store.claim(&lease, &offer(1)).await, Err(StoreError::Fenced { .. })));
    let all = store.delegates().await.unwrap();
    let all: Vec<_> = all.iter().map(|row| (row.id.as_str(), row.status, row.connection.is_some())).collect();
    let waits = DelegateStatus::WaitingForApproval;
    let expected = [
        ("joined", waits, false),
        ("elsewhere", waits, true),
        ("1", DelegateStatus::Deleted, false),
        ("2", waits, false),
    ];
    assert_eq!(all, expected);
    assert_eq!(store.delegate(&"x".into()).await.unwrap(), None);
    let nobody = store.set_delegate_status(&"x".into(), DelegateStatus::Enabled).await;
    assert!(matches!(nobody, Err(StoreError::Missing(_))));
}
