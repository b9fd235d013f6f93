//! Ways back: after a success, after a retry, on request; and what an abort leaves.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use manifold_testkit::server::{Leg, until};
use serde_json::json;

use super::cluster_tree::{DEPLOYMENT, on_cluster, rollback, rolling, rollout};
use super::world::{SHIP, Shop};
use crate::shared::run;
use crate::story::{DEADLINE, Story};
use crate::tree::SERVICE;

const SETTINGS: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: settings }\ndata: { build: '${artifact.buildNo}' }\n";
const FRONT: &str = "\
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, ports: [{ port: 80 }] }
";

/// Starts a build on both clusters and waits until the one that never gets ready is in the west; the leg there.
async fn begun(shop: &Shop, build: &str) -> Result<(String, Leg)> {
    let entity = (shop.name.as_str(), "pipeline", SHIP);
    let variables = [("infrastructure", "east,west")];
    let execution = shop.server.started(entity, &variables, &[(SERVICE, build)]).await?;
    until("the build is in the west", DEADLINE, async || {
        Ok((shop.west.tag("Deployment/web")? == build).then_some(()))
    })
    .await?;
    let leg = shop.leg(&execution, "west").await?;
    Ok((execution, leg))
}

#[test]
fn a_release_that_was_rolled_out_goes_back_when_a_later_step_fails() {
    run(async {
        let shop = Shop::open("LaterStep").await?;
        let check = Story::fails_if("[ ${infra.name} = west ] && [ ${artifact.buildNo} = v2 ]");
        let steps = [rollout(json!({})), check];
        let tree = shop
            .tree(&[("web.yaml", DEPLOYMENT), ("settings.yaml", SETTINGS)])
            .workflow("roll", on_cluster("ROLLING", &steps, &[rollback()]));
        shop.tell(tree).await?;
        shop.arrives("v1").await?;
        let shipped = shop.ship("v2").await?;
        shop.ensure_legs(&shipped, &["SUCCESS", "FAILED"]).await?;
        ensure!(shop.east.serving("app=web")? == ["v2"] && shop.west.serving("app=web")? == ["v1"]);
        shop.west.ensure_history(&["SUCCEEDED", "ROLLED_BACK"])?;
        let maps = shop.west.names("configmaps")?;
        ensure!(maps == [shop.west.release()?, "settings-1".to_owned()], "{maps:?}");
        shop.arrives("v3").await?;
        ensure!(shop.west.serving("app=web")? == ["v3"]);
        Ok(())
    });
}

#[test]
fn a_first_rollout_that_was_tried_twice_is_taken_back_whole() {
    let deployment = DEPLOYMENT.replace("replicas: 2", "replicas: 1\n  progressDeadlineSeconds: 4");
    run(async {
        let shop = Shop::open("Twice").await?;
        let strategy = json!({ "executionScope": "WORKFLOW", "failureTypes": ["APPLICATION_ERROR"], "repairActionCode": "RETRY",
            "retryCount": 1, "retryIntervals": [1], "repairActionCodeAfterRetry": "ROLLBACK_WORKFLOW" });
        let tree = shop
            .tree(&[("web.yaml", &deployment), ("settings.yaml", SETTINGS), ("front.yaml", FRONT)])
            .workflow("roll", rolling().with(json!({ "failureStrategies": [strategy] })));
        shop.tell(tree).await?;
        let shipped = shop.ship_to("west", "v1-crash").await?;
        shop.ensure_legs(&shipped, &["FAILED"]).await?;
        let log = shop.log(shipped.leg("west")?).await?;
        for kind in ["deployments", "services"] {
            ensure!(shop.west.names(kind)?.is_empty(), "{kind} {:?}\n{log}", shop.west.names(kind)?);
        }
        let maps = shop.west.names("configmaps")?;
        ensure!(maps == [shop.west.release()?], "{maps:?}\n{log}");
        shop.west.ensure_history(&["ROLLED_BACK", "ROLLED_BACK"])
    });
}

#[test]
fn an_aborted_leg_stays_where_it_is_and_the_next_release_goes_on() {
    run(async {
        let shop = Shop::open("Aborted").await?;
        let deployment = DEPLOYMENT.replace("replicas: 2", "replicas: 2\n  progressDeadlineSeconds: 6");
        shop.tell(shop.tree(&[("web.yaml", &deployment)]).workflow("roll", rolling())).await?;
        shop.arrives("v1").await?;
        let (execution, leg) = begun(&shop, "v2-never-west").await?;
        shop.ask("abortExecution", &leg.id).await?;
        ensure!(shop.server.ended(&leg.id, Duration::from_secs(20)).await? == "ABORTED");
        let shipped = shop.shipped(execution).await?;
        shop.ensure_legs(&shipped, &["SUCCESS", "ABORTED"]).await?;
        ensure!(shop.west.tag("Deployment/web")? == "v2-never-west");
        shop.arrives("v3").await?;
        let shipped = shop.ship("v4-crash-west").await?;
        shop.ensure_legs(&shipped, &["SUCCESS", "FAILED"]).await?;
        ensure!(shop.west.serving("app=web")? == ["v3"]);
        let statuses: Vec<String> = shop.west.history()?.into_iter().map(|(_, status)| status).collect();
        ensure!(statuses.len() == 4, "{statuses:?}");
        ensure!(
            statuses.first().context("none")? == "SUCCEEDED" && statuses[2..] == ["SUCCEEDED", "ROLLED_BACK"],
            "{statuses:?}"
        );
        Ok(())
    });
}

#[test]
fn a_leg_that_is_rolled_back_on_request_goes_back_at_once() {
    run(async {
        let shop = Shop::open("OnRequest").await?;
        shop.tell(shop.tree(&[("web.yaml", DEPLOYMENT)]).workflow("roll", rolling())).await?;
        shop.arrives("v1").await?;
        let (execution, leg) = begun(&shop, "v2-never-west").await?;
        shop.ask("rollbackExecution", &leg.id).await?;
        let shipped = shop.shipped(execution).await?;
        shop.ensure_legs(&shipped, &["SUCCESS", "FAILED"]).await?;
        let reason = shop.failure(&leg.id).await?;
        ensure!(reason.rollback == "ROLLED_BACK" && reason.code == "ROLLED_BACK_ON_REQUEST", "{reason:?}");
        ensure!(shop.west.serving("app=web")? == ["v1"]);
        shop.west.ensure_history(&["SUCCEEDED", "ROLLED_BACK"])
    });
}
