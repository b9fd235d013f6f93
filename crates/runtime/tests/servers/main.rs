//! Several servers over one store: what each does alone, what happens to it when one of them dies, stalls or leaves, and which delegate gets what.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod choosing;
mod site;

use manifold_driver::fake::Act;
use manifold_model::Status;
use manifold_model::task::Outcome;
use manifold_store::LEASE_MS;
use site::{Agent, Server, Site, noop, until};

/// Lets so many tasks wait for their release.
fn hold(agent: &Agent, tasks: usize) {
    for _ in 0..tasks {
        agent.script.then(Act::Hold(Box::new(Outcome::succeeded())));
    }
}

/// Two servers, a delegate at the second, and a run of so many legs whose only tasks are in flight.
async fn in_flight(legs: usize) -> (Site, Server, Server, Agent, manifold_model::ExecutionId) {
    let site = Site::new().await;
    let (a, b) = (site.server("a").await, site.server("b").await);
    until("both know each other", async || (a.runtime.servers().len() == 2).then_some(())).await;
    let mut agent = Agent::new("one", 100);
    agent.dial(&site, &b).await;
    until("a knows the delegate", async || (!a.delegates.kinds().is_empty()).then_some(())).await;
    hold(&agent, legs);
    let run = site.deploy(&a, legs, &[noop("first")]).await;
    until("all tasks run", async || (agent.performed() == legs).then_some(())).await;
    (site, a, b, agent, run)
}

/// Every task was given to the delegate and every effect happened once.
fn once(agent: &Agent, tasks: usize) {
    let performed = agent.script.performed();
    let effects: u64 =
        performed.iter().map(|(task, attempt)| agent.script.effects(task, *attempt)).max().unwrap();
    let different: std::collections::BTreeSet<_> = performed.iter().collect();
    assert_eq!((different.len(), effects), (tasks, 1), "{performed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_legs_of_a_run_are_spread_over_the_servers() {
    let site = Site::new().await;
    let servers = [site.server("a").await, site.server("b").await, site.server("c").await];
    let mut agents = [Agent::new("one", 100), Agent::new("two", 100), Agent::new("three", 100)];
    for (agent, server) in agents.iter_mut().zip(&servers) {
        agent.dial(&site, server).await;
    }
    let [a, ..] = &servers;
    until("a knows the others", async || (a.runtime.servers().len() == 3).then_some(())).await;
    let run = site.deploy(a, 30, &[noop("first"), noop("second")]).await;
    assert_eq!(site.ended(&run).await, Status::Success);
    let performed: Vec<usize> = agents.iter().map(Agent::performed).collect();
    assert_eq!(performed.iter().sum::<usize>(), 60, "{performed:?}");
    assert!(
        performed.iter().all(|tasks| *tasks >= 2),
        "each server hands its own legs to its own: {performed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_that_come_to_another_server_reach_the_owner() {
    let (site, _a, _b, agent, run) = in_flight(12).await;
    agent.script.release(12);
    assert_eq!(site.ended(&run).await, Status::Success);
    once(&agent, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_is_taken_over_after_its_lease() {
    let (site, mut a, b, agent, run) = in_flight(12).await;
    a.kill();
    agent.script.release(12);
    site.pass(LEASE_MS + 1);
    until("b is alone", async || (b.runtime.servers() == ["b"]).then_some(())).await;
    assert_eq!(site.ended(&run).await, Status::Success);
    once(&agent, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_server_changes_nothing_and_joins_anew() {
    let (site, mut a, b, mut agent, run) = in_flight(12).await;
    a.stall().await;
    site.pass(LEASE_MS + 1);
    until("b is alone", async || (b.runtime.servers() == ["b"]).then_some(())).await;
    agent.script.release(12);
    assert_eq!(site.ended(&run).await, Status::Success);
    let before = site.journals(&run).await;
    a.go_on();
    until("a is back", async || {
        (a.runtime.servers() == ["a", "b"] && b.runtime.servers() == ["a", "b"]).then_some(())
    })
    .await;
    assert_eq!(site.journals(&run).await, before);
    once(&agent, 12);
    agent.dial(&site, &b).await;
    let again = site.deploy(&a, 4, &[noop("first")]).await;
    assert_eq!(site.ended(&again).await, Status::Success);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_leaves_is_taken_over_at_once() {
    let (site, mut a, b, agent, run) = in_flight(12).await;
    a.leave().await;
    until("b is alone", async || (b.runtime.servers() == ["b"]).then_some(())).await;
    agent.script.release(12);
    assert_eq!(site.ended(&run).await, Status::Success);
    once(&agent, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delegate_moves_with_its_tasks_to_another_server() {
    let (site, a, b, mut agent, run) = in_flight(12).await;
    agent.dial(&site, &a).await;
    until("b has let go", async || (!b.delegates.any()).then_some(())).await;
    agent.script.release(12);
    assert_eq!(site.ended(&run).await, Status::Success);
    once(&agent, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_while_every_server_is_replaced() {
    let (site, mut a, mut b, mut agent, run) = in_flight(12).await;
    a.leave().await;
    let c = site.server("a").await;
    agent.dial(&site, &c).await;
    b.leave().await;
    let _d = site.server("b").await;
    agent.script.release(12);
    assert_eq!(site.ended(&run).await, Status::Success);
    once(&agent, 12);
}
