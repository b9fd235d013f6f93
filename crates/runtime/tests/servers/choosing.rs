//! Which delegate gets a task, and what becomes of one that nobody may take (`behaviour.md` 19).

use manifold_driver::fake::Act;
use manifold_model::delegate::{Scope, Scopes};
use manifold_model::execution::ExecutionRow;
use manifold_model::task::{Outcome, TaskResult};
use manifold_model::wait::WaitReason;
use manifold_model::{EntityId, ExecutionId, Failure, FailureClass, Status, code};
use manifold_store::{DELEGATE_DEAD_MS, Store};

use crate::hold;
use crate::site::{Agent, DELEGATE_WAIT, Server, Site, noop, script, until};

fn unreachable() -> Act {
    let failure = Failure::new(FailureClass::Connectivity, code!("HOST_UNREACHABLE"), "no answer");
    Act::End(Box::new(Outcome::of(TaskResult::Failed { failure })))
}

async fn server(agents: &mut [Agent]) -> (Site, Server) {
    let site = Site::new().await;
    let server = site.server("a").await;
    for agent in agents {
        agent.dial(&site, &server).await;
    }
    (site, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn delegates_take_turns() {
    let mut agents = [Agent::new("one", 100), Agent::new("two", 100)];
    let (site, server) = server(&mut agents).await;
    let run = site.deploy(&server, 20, &[noop("first")]).await;
    assert_eq!(site.ended(&run).await, Status::Success);
    assert_eq!((agents[0].performed(), agents[1].performed()), (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_delegate_tries_what_one_does_not_reach() {
    let mut agents = [Agent::new("one", 100), Agent::new("two", 100)];
    for _ in 0..6 {
        agents[0].script.then(unreachable());
    }
    let (site, server) = server(&mut agents).await;
    let run = site.deploy(&server, 6, &[noop("first")]).await;
    assert_eq!(site.ended(&run).await, Status::Success);
    assert_eq!((agents[0].performed(), agents[1].performed()), (3, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_delegate_reaches_fails() {
    let mut agents = [Agent::new("one", 100), Agent::new("two", 100)];
    agents[0].script.then(unreachable());
    agents[1].script.then(unreachable());
    let (site, server) = server(&mut agents).await;
    let run = site.deploy(&server, 1, &[noop("first")]).await;
    assert_eq!(site.ended(&run).await, Status::Failed);
    assert_eq!((agents[0].performed(), agents[1].performed()), (1, 1));
    let failure = site.legs(&run).await[0].state.failure.clone().unwrap();
    assert_eq!(failure.class, FailureClass::Connectivity);
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_keep_tasks_away_from_a_delegate_and_starve_nobody() {
    let mut agents = [Agent::new("one", 100), Agent::new("two", 1)];
    let (site, server) = server(&mut agents).await;
    let elsewhere = Scope { applications: vec![EntityId::from("another")], ..Scope::default() };
    let scopes = Scopes { limited_to: vec![elsewhere], excluded: vec![] };
    site.store.set_delegate_scopes(&agents[0].id, scopes).await.unwrap();
    until("the scopes are known", async || {
        server.delegates.all().iter().any(|one| !one.is_open()).then_some(())
    })
    .await;
    let run = site.deploy(&server, 6, &[noop("first")]).await;
    assert_eq!(site.ended(&run).await, Status::Success);
    assert_eq!((agents[0].performed(), agents[1].performed()), (0, 6));
    let non_prod = Scope { environment_types: vec!["PROD".to_owned()], ..Scope::default() };
    let scopes = Scopes { limited_to: vec![], excluded: vec![non_prod] };
    site.store.set_delegate_scopes(&agents[1].id, scopes).await.unwrap();
    until("the scopes are known", async || {
        server.delegates.all().iter().all(|one| !one.is_open()).then_some(())
    })
    .await;
    let run = site.deploy(&server, 1, &[noop("first")]).await;
    let leg = waits(&site, &run, |reason| matches!(reason, WaitReason::Delegate { .. })).await;
    let WaitReason::Delegate { detail, .. } = &leg.state.waits[0].reason else { unreachable!() };
    assert!(detail.starts_with("none of the 2 connected delegates"), "{detail}");
}

/// The leg of a run, once it waits for something.
async fn waits(site: &Site, run: &ExecutionId, so: impl Fn(&WaitReason) -> bool) -> ExecutionRow {
    until("the wait", async || {
        site.legs(run).await.into_iter().find(|leg| leg.state.waits.iter().any(|wait| so(&wait.reason)))
    })
    .await
}

/// A script that began on a delegate which is gone.
async fn lost(others: &mut [Agent]) -> (Site, Server, ExecutionId) {
    let mut agents = [Agent::new("one", 100)];
    hold(&agents[0], 1);
    let (site, server) = server(&mut agents).await;
    let run = site.deploy(&server, 1, &[script("once")]).await;
    until("the script runs", async || (agents[0].performed() == 1).then_some(())).await;
    agents[0].cut().await;
    for other in others {
        other.dial(&site, &server).await;
    }
    let leg = waits(&site, &run, |reason| matches!(reason, WaitReason::Delegate { .. })).await;
    let WaitReason::Delegate { detail, .. } = &leg.state.waits[0].reason else { unreachable!() };
    assert!(detail.contains("delegate one, which is gone"), "{detail}");
    (site, server, run)
}

async fn asks(site: &Site, run: &ExecutionId) {
    let leg = waits(site, run, |reason| matches!(reason, WaitReason::UnknownOutcome { .. })).await;
    let WaitReason::UnknownOutcome { seen, .. } = &leg.state.waits[0].reason else { unreachable!() };
    assert!(seen.starts_with("it was handed to delegate one"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_began_on_a_delegate_that_stays_away_is_asked_about() {
    let mut others = [Agent::new("two", 100)];
    let (site, _server, run) = lost(&mut others).await;
    assert_eq!(others[0].performed(), 0);
    site.pass(DELEGATE_DEAD_MS);
    asks(&site, &run).await;
    assert_eq!(others[0].performed(), 0, "it did not run it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_began_and_nobody_may_look_at_is_asked_about_too() {
    let (site, _server, run) = lost(&mut []).await;
    site.pass(DELEGATE_DEAD_MS);
    asks(&site, &run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_began_fails_when_nobody_takes_it_in_time() {
    let mut agents = [Agent::new("one", 100)];
    let (site, server) = server(&mut agents).await;
    let step = serde_json::json!({ "type": "SHELL_SCRIPT", "name": "far", "properties": {
        "executeOnDelegate": true, "scriptType": "BASH", "scriptString": "true",
        "delegateSelectors": ["nowhere"] } });
    let run = site.deploy(&server, 1, &[step]).await;
    waits(&site, &run, |reason| matches!(reason, WaitReason::Delegate { .. })).await;
    site.pass(i64::try_from(DELEGATE_WAIT.as_millis()).unwrap() + 1);
    assert_eq!(site.ended(&run).await, Status::Failed);
    let failure = site.legs(&run).await[0].state.failure.clone().unwrap();
    assert_eq!(failure.code, code!("NO_ELIGIBLE_DELEGATE"));
}
