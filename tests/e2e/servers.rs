//! Three servers on one PostgreSQL database: started at once against an empty one, killed, stopped for longer than a lease, replaced one by one.

use std::time::Duration;

use manifold_testkit::postgres::{self, Postgres};
use manifold_testkit::server::{Server, until};
use serde_json::json;
use tokio::process::Command;

use crate::BINARY;
use crate::scene::{Flow, Scene, deploy, step};

/// How long a run may take, a lease that has to run out and a busy machine included.
const LONG: Duration = Duration::from_secs(180);
/// How long a server may take to end in order.
const END: Duration = Duration::from_secs(40);
/// Legs of a run.
const LEGS: usize = 24;
/// Steps of a leg.
const STEPS: usize = 6;

struct Site {
    servers: Vec<Server>,
    _key: tempfile::TempDir,
    _postgres: std::sync::Arc<Postgres>,
}

/// Three servers, each with a delegate inside, and a run of theirs that has begun.
async fn running() -> (Site, String) {
    let postgres = postgres::shared().unwrap();
    let database = postgres.database().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key").to_string_lossy().into_owned();
    let start = |_| {
        let arguments =
            ["--enable-test-kinds", "--delegate", "--database-url", &database, "--key-file", &key]
                .map(String::from);
        async move {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            Server::start(BINARY, &arguments).await.unwrap()
        }
    };
    let servers = futures::future::join_all((0..3).map(start)).await;
    let steps: Vec<_> = (0..STEPS)
        .map(|number| step("NOOP", &format!("noop {number}"), &json!({ "durationMs": 400 })))
        .collect();
    let scene =
        Scene::new("App").nowhere(LEGS).workflow("wf", &Flow::default().steps(&steps)).pipeline("pipe", "wf");
    scene.import(&servers[0]).await.unwrap();
    let on: Vec<String> = (0..LEGS).map(|leg| format!("i{leg}")).collect();
    let execution = deploy(&servers[1], "App", "pipe", &on.join(",")).await.unwrap();
    until("the legs run", LONG, async || {
        let legs = servers[2].legs(&execution).await?;
        Ok((legs.len() == LEGS && legs.iter().any(|leg| leg.status == "RUNNING")).then_some(()))
    })
    .await
    .unwrap();
    (Site { servers, _key: folder, _postgres: postgres }, execution)
}

/// Every step of every leg has ended once, and well.
async fn exact(server: &Server, execution: &str) {
    assert_eq!(server.ended(execution, LONG).await.unwrap(), "SUCCESS");
    let legs = server.legs(execution).await.unwrap();
    assert_eq!(legs.len(), LEGS);
    for leg in legs {
        let events = server.events(&leg.id).await.unwrap();
        let ended = events.iter().filter(|event| event["event"] == "STEP_ENDED").count();
        assert_eq!(ended, STEPS, "{events:?}");
    }
}

async fn signal(server: &Server, name: &str) {
    let pid = server.pid().unwrap().to_string();
    assert!(Command::new("kill").args([name, &pid]).status().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_survives_the_kill_of_a_server() {
    let (mut site, execution) = running().await;
    site.servers[1].kill().await.unwrap();
    exact(&site.servers[0], &execution).await;
    site.servers[1].start_again().await.unwrap();
    exact(&site.servers[1], &execution).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stood_still_for_longer_than_its_lease_changes_nothing() {
    let (site, execution) = running().await;
    signal(&site.servers[1], "-STOP").await;
    exact(&site.servers[0], &execution).await;
    let before = site.servers[0].events(&execution).await.unwrap();
    signal(&site.servers[1], "-CONT").await;
    until("it takes work again", LONG, async || {
        let answer = site.servers[1].request(reqwest::Method::GET, "/readyz").send().await?;
        Ok(answer.status().is_success().then_some(()))
    })
    .await
    .unwrap();
    exact(&site.servers[1], &execution).await;
    assert_eq!(site.servers[1].events(&execution).await.unwrap(), before);
    let again = deploy(&site.servers[1], "App", "pipe", "i0,i1,i2").await.unwrap();
    assert_eq!(site.servers[2].ended(&again, LONG).await.unwrap(), "SUCCESS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_while_the_servers_are_replaced_one_after_another() {
    let (mut site, execution) = running().await;
    for server in &mut site.servers {
        assert_eq!(server.terminate(END).await.unwrap(), 0);
        server.start_again().await.unwrap();
    }
    exact(&site.servers[2], &execution).await;
}
