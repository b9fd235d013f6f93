//! Input that is broken, huge or hostile: each a clear error of the right class within its deadline; nothing is lost and the server serves on.

mod documents;
mod folder;
mod hosts;
mod kubernetes;
mod plans;
mod requests;

use std::time::Duration;

use manifold_testkit::server::Server;
use serde_json::{Value, json};

use crate::scene::{Flow, Scene, deploy, script};

/// For whatever should come soon; two cores are shared with other tests.
const SOON: Duration = Duration::from_secs(60);

/// The server is ready and deploys.
async fn serves(server: &Server) {
    let ready = server.request(reqwest::Method::GET, "/readyz").send().await.unwrap();
    assert!(ready.status().is_success(), "readyz says {}", ready.status());
    let flow = Flow::default().steps(&[script("hello", "echo hello")]);
    let scene = Scene::new("Still Serving").nowhere(2).workflow("wf", &flow).pipeline("pipe", "wf");
    scene.import(server).await.unwrap();
    let execution = deploy(server, "Still Serving", "pipe", "i0,i1").await.unwrap();
    assert_eq!(server.ended(&execution, SOON).await.unwrap(), "SUCCESS");
}

/// The only leg of a pipeline execution.
async fn only_leg(server: &Server, execution: &str) -> String {
    let legs = manifold_testkit::server::until("the leg is there", SOON, async || {
        let legs = server.legs(execution).await?;
        Ok((legs.len() == 1).then_some(legs))
    });
    legs.await.unwrap()[0].id.clone()
}

/// Class, code and message of the failure of the only step that failed of a pipeline execution with one leg.
async fn step_failure(server: &Server, execution: &str) -> (String, String, String) {
    let leg = only_leg(server, execution).await;
    let found = server
        .data_of(
            "query($e: String!) { execution(executionId: $e) { ... on WorkflowExecution { steps { name failure { class \
             code message } } } } }",
            json!({ "e": leg }),
        )
        .await
        .unwrap();
    let steps = found["execution"]["steps"].as_array().unwrap();
    let failures: Vec<&Value> =
        steps.iter().map(|step| &step["failure"]).filter(|one| !one.is_null()).collect();
    assert_eq!(failures.len(), 1, "{found}");
    let word = |name: &str| failures[0][name].as_str().unwrap().to_owned();
    (word("class"), word("code"), word("message"))
}
