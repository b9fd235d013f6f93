//! Canary deployments: two phases with one variable over two clusters.

use anyhow::ensure;
use serde_json::json;

use super::cluster_tree::{
    DEPLOYMENT, canary, canary_delete, cluster_phase, on_clusters, rollback, rollout, with_kubeconfig,
};
use super::world::Shop;
use crate::shared::run;
use crate::tree::{Application, Phase, Workflow, fan_out};

/// Four Pods, configuration of their own, and a rollout that is given up after 6 s.
fn manifests() -> [(&'static str, String); 2] {
    let web = DEPLOYMENT.replace("replicas: 2", "replicas: 3\n  progressDeadlineSeconds: 6").replace(
        "      - name: web\n",
        "      - name: web\n        envFrom: [{ configMapRef: { name: settings } }]\n",
    );
    let settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: settings }\ndata: { build: '${artifact.buildNo}' }\n";
    [("web.yaml", web), ("settings.yaml", settings.to_owned())]
}

/// The canary phase with a look at it, and the primary phase.
fn phases(shop: &Shop, size: &str, unit: &str) -> [Phase; 2] {
    let look = "ready=$(kubectl get deployment web-canary -o 'jsonpath={.status.readyReplicas} {.metadata.labels.harness\\.io/track}')\n";
    let note = shop.noting("${infra.name} ${artifact.buildNo} ${k8s.canaryWorkload} $ready");
    let steps = [canary(size, unit), with_kubeconfig("Look", &format!("{look}{note}")), canary_delete()];
    [
        cluster_phase("Canary", &steps).undo(&[canary_delete()]),
        cluster_phase("Primary", &[rollout(json!({}))]).undo(&[rollback()]),
    ]
}

fn tree(shop: &Shop, workflow: Workflow) -> Application {
    let manifests = manifests();
    let manifests: Vec<(&str, &str)> = manifests.iter().map(|(path, text)| (*path, text.as_str())).collect();
    shop.tree(&manifests).workflow("roll", workflow).pipeline("ship", &[fan_out("clusters")])
}

#[test]
fn a_canary_in_two_phases_with_one_variable_over_two_clusters() {
    run(async {
        let shop = Shop::open("Canaries").await?;
        let workflow =
            on_clusters("CANARY", &phases(&shop, "${workflow.variables.size}", "${workflow.variables.unit}"))
                .variable("size", json!({ "value": "1" }))
                .variable("unit", json!({ "value": "COUNT" }));
        let mut stage = fan_out("clusters");
        for name in ["size", "unit"] {
            stage["workflowVariables"]
                .as_array_mut()
                .into_iter()
                .for_each(|all| all.push(json!({ "name": name, "value": format!("${{{name}}}") })));
        }
        shop.tell(tree(&shop, workflow).pipeline("ship", &[stage])).await?;
        let both = ("infrastructure", "east,west");
        for (size, unit, build, count) in [("1", "COUNT", "v1", 1), ("50", "PERCENTAGE", "v2", 2)] {
            let shipped = shop.ship_with(&[both, ("size", size), ("unit", unit)], build).await?;
            shop.ensure_legs(&shipped, &["SUCCESS", "SUCCESS"]).await?;
            for place in shop.places() {
                let name = place.cluster.name();
                ensure!(place.names("deployments")? == ["web"], "{:?}", place.names("deployments")?);
                ensure!(place.serving("app=web")? == [build], "{name}");
                let (namespace, ledger) = (&place.namespace, shop.ledger());
                let line = format!("{name} {build} {namespace}/Deployment/web-canary {count} canary");
                ensure!(ledger.contains(&line), "no {line:?} in {ledger:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn a_canary_that_fails_on_one_cluster_leaves_nothing_there_and_primary_goes_on_elsewhere() {
    run(async {
        let shop = Shop::open("IllCanary").await?;
        shop.tell(tree(&shop, on_clusters("CANARY", &phases(&shop, "1", "COUNT")))).await?;
        shop.arrives("v1").await?;
        let shipped = shop.ship("v2-crash-west").await?;
        shop.ensure_legs(&shipped, &["SUCCESS", "FAILED"]).await?;
        let reason = shop.failure(shipped.leg("west")?).await?;
        ensure!(reason.message.contains("Deployment/web-canary"), "{reason:?}");
        ensure!(reason.message.contains("CrashLoopBackOff"), "{reason:?}");
        let log = shop.log(shipped.leg("west")?).await?;
        ensure!(shop.west.names("deployments")? == ["web"], "{:?}\n{log}", shop.west.names("deployments")?);
        ensure!(shop.west.serving("app=web")? == ["v1"]);
        ensure!(shop.east.names("deployments")? == ["web"]);
        ensure!(shop.east.serving("app=web")? == ["v2-crash-west"]);
        shop.arrives("v3").await?;
        for place in shop.places() {
            ensure!(place.serving("app=web")? == ["v3"]);
        }
        Ok(())
    });
}
