//! Creating executions: once per idempotency key, once per place of a leg.

use manifold_model::event::{LastGood, LegPlace};
use manifold_model::target::MappingKey;
use manifold_model::{ElementId, ExecutionId, Status};

use super::Home;
use super::fixtures::{NOW, append, leg, pipeline, seq, state};
use crate::{Deployment, Store, StoreError, leg_id};

pub(super) async fn run<H: Home>(make: &impl Fn() -> H) {
    the_same_request_creates_once(&*make().open().await).await;
    a_resumed_run_is_superseded(&*make().open().await).await;
    legs_are_created_once(&*make().open().await).await;
    what_is_unfinished_lists_parents_first(&*make().open().await).await;
    the_last_good_deployment_is_the_newest_success(&*make().open().await).await;
}

async fn the_same_request_creates_once(store: &dyn Store) {
    let mut first = pipeline("first");
    first.idempotency = Some("key/1".to_owned());
    let mut second = pipeline("second");
    second.idempotency = Some("key/1".to_owned());
    let id = store.create_execution(first.clone()).await.unwrap();
    assert_eq!(store.create_execution(second).await.unwrap(), id);
    assert_eq!(store.execution(&"second".into()).await.unwrap(), None);
    assert_eq!(store.execution(&id).await.unwrap(), Some(first.row.clone()));
    let mut later = pipeline("later");
    later.idempotency = Some("key/1".to_owned());
    later.row.created_at += crate::IDEMPOTENCY_WINDOW_MS;
    assert_eq!(
        store.create_execution(later).await.unwrap(),
        "later".into(),
        "the key holds for a while only"
    );
    first.idempotency = None;
    assert!(matches!(store.create_execution(first).await, Err(StoreError::Exists(_))));
    let mut planless = pipeline("third");
    planless.plan = None;
    assert!(matches!(store.create_execution(planless).await, Err(StoreError::Missing(_))));
    let mut miscounted = pipeline("fourth");
    miscounted.row.state.seq = 2;
    assert!(store.create_execution(miscounted).await.is_err());
}

async fn a_resumed_run_is_superseded(store: &dyn Store) {
    let old = store.create_execution(pipeline("old")).await.unwrap();
    let mut new = pipeline("new");
    new.idempotency = Some("resume".to_owned());
    let id = store.resume_execution(&old, new.clone()).await.unwrap();
    assert_eq!(store.resume_execution(&old, new).await.unwrap(), id, "asked twice, done once");
    assert_eq!(store.execution(&old).await.unwrap().unwrap().resumed_by, Some(id));
    let again = store.resume_execution(&old, pipeline("third")).await;
    assert!(matches!(again, Err(StoreError::Exists(_))));
    let nothing = store.resume_execution(&"nobody".into(), pipeline("third")).await;
    assert!(matches!(nothing, Err(StoreError::Missing(_))));
    assert_eq!(store.execution(&"third".into()).await.unwrap(), None);
}

async fn legs_are_created_once(store: &dyn Store) {
    let parent = pipeline("run");
    let id = store.create_execution(parent.clone()).await.unwrap();
    let workflow = "rollout".into();
    assert_eq!(store.next_release_no(&workflow).await.unwrap(), 1);
    let mut first = append(&id, 1, 1);
    first.legs = (0..500).map(|ordinal| leg(&parent, ordinal)).collect();
    store.append(first).await.unwrap();
    let one = leg(&parent, 7);
    store.append(append(&one.row.id, 1, 3)).await.unwrap();
    let mut again = append(&id, 2, 1);
    again.legs = (400..600).map(|ordinal| leg(&parent, ordinal)).collect();
    store.append(again).await.unwrap();
    assert_eq!(store.next_release_no(&workflow).await.unwrap(), 601);
    assert_eq!(store.unfinished().await.unwrap().len(), 601);
    assert_eq!(seq(store, &one.row.id).await, 4, "a leg that is there stays as it is");
    let mut many = append(&id, 3, 1);
    many.legs = (0..501).map(|ordinal| leg(&parent, ordinal)).collect();
    assert!(store.append(many).await.is_err(), "at most 500 a transaction");
    let mut stranger = append(&id, 3, 1);
    stranger.legs = vec![leg(&pipeline("other"), 1)];
    assert!(store.append(stranger).await.is_err());
    let place = LegPlace { stage: 0, element: 0, leg: 7 };
    assert_eq!(leg_id(&id, &ElementId::from("deploy"), place), one.row.id);
}

async fn what_is_unfinished_lists_parents_first(store: &dyn Store) {
    let parent = pipeline("run");
    let id = store.create_execution(parent.clone()).await.unwrap();
    let mut create = append(&id, 1, 1);
    create.legs = vec![leg(&parent, 0), leg(&parent, 1)];
    store.append(create).await.unwrap();
    let late = store.create_execution(pipeline("late")).await.unwrap();
    let mut ended = append(&leg(&parent, 0).row.id, 1, 1);
    ended.row = Some(state(Status::Failed));
    store.append(ended).await.unwrap();
    assert_eq!(store.unfinished().await.unwrap(), [id, late, leg(&parent, 1).row.id]);
}

async fn the_last_good_deployment_is_the_newest_success(store: &dyn Store) {
    let mapping = |name: &str| MappingKey(name.to_owned());
    for (run, status) in [("1", Status::Success), ("2", Status::Success), ("3", Status::Failed)] {
        let id = store.create_execution(pipeline(run)).await.unwrap();
        let mut deployed = append(&id, 1, 1);
        deployed.deployed = vec![Deployment {
            mapping: mapping("m"),
            execution: id,
            service: "cart".into(),
            infrastructure: "eu".into(),
            artifact: None,
            status,
            release_no: run.parse().unwrap(),
            display_name: format!("run {run}"),
            at: NOW,
        }];
        store.append(deployed).await.unwrap();
    }
    let good = store.last_good(&[mapping("m"), mapping("never")]).await.unwrap();
    assert_eq!(
        good,
        [LastGood {
            mapping: mapping("m"),
            artifact: None,
            release_no: 2,
            display_name: "run 2".to_owned(),
            execution: ExecutionId::from("2"),
        }]
    );
}
