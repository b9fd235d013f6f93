//! What a start says: refused without what it needs, warned where definitions meet; old trees.

use std::sync::Arc;

use anyhow::ensure;
use manifold_testkit::server::{Server, string};
use serde_json::json;

use super::cluster_tree::{DEPLOYMENT, ENVIRONMENT, on_cluster, rollback, rolling, rollout, with_kubeconfig};
use super::world::{SHIP, Shop, introduce};
use crate::BINARY;
use crate::shared::run;
use crate::tree::SERVICE;

#[test]
fn manifests_with_templates_are_refused_where_no_delegate_has_helm() {
    run(async {
        let folder = tempfile::tempdir()?;
        for program in ["sh", "bash"] {
            std::os::unix::fs::symlink(format!("/bin/{program}"), folder.path().join(program))?;
        }
        let path = folder.path().to_string_lossy().into_owned();
        let server = Arc::new(Server::start_in(BINARY, &[], &[("PATH", &path)]).await?);
        let shop = Shop::open_on(server, "NoHelm")?;
        for place in shop.places() {
            introduce(&shop.server, &place.cluster).await?;
        }
        let tree = shop.tree(&[("web.yaml", DEPLOYMENT)]).workflow("roll", rolling());
        shop.tell(tree).await?;
        shop.arrives("v1").await?;
        let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: {{ .Release.Name }} }\n";
        shop.tell(shop.tree(&[("templates/map.yaml", template)]).workflow("roll", rolling())).await?;
        let before = shop.executions(true).await?;
        let answer = shop
            .server
            .start_execution(
                (&shop.name, "pipeline", SHIP),
                &[("infrastructure", "east,west")],
                &[(SERVICE, "v2")],
            )
            .await?;
        let refusal = crate::story::Refusal::of(&answer)?;
        ensure!(refusal.codes == ["CAPABILITY_NOT_OFFERED"], "{answer}");
        ensure!(
            refusal.message.contains("helm") && refusal.message.contains("templates/map.yaml"),
            "{answer}"
        );
        ensure!(before == shop.executions(true).await?, "something was started");
        Ok(())
    });
}

#[test]
fn two_definitions_on_one_namespace_are_warned_of_and_run_one_after_another() {
    run(async {
        let shop = Shop::open("OnePlace").await?;
        let east = &shop.east;
        let tree = shop
            .tree(&[("web.yaml", DEPLOYMENT)])
            .definition("again", &east.cluster, &east.namespace)
            .workflow("roll", rolling());
        shop.tell(tree).await?;
        let answer = shop
            .server
            .start_execution(
                (&shop.name, "pipeline", SHIP),
                &[("infrastructure", "east,again,west")],
                &[(SERVICE, "v1")],
            )
            .await?;
        let warning = string(&answer, "/data/startExecution/warningMessage")?;
        ensure!(
            warning.contains("east") && warning.contains("again") && warning.contains("one target"),
            "{warning}"
        );
        let shipped = shop.shipped(string(&answer, "/data/startExecution/execution/id")?).await?;
        shop.ensure_legs(&shipped, &["SUCCESS", "SUCCESS", "SUCCESS"]).await?;
        let mut spans = Vec::new();
        for definition in ["east", "again"] {
            let found = shop
                .execution(
                    shipped.leg(definition)?,
                    "... on WorkflowExecution { steps { tasks { startedAt endedAt } } }",
                )
                .await?;
            let task = &found["steps"][0]["tasks"][0];
            spans.push((task["startedAt"].to_string(), task["endedAt"].to_string()));
        }
        spans.sort();
        ensure!(spans[0].1 <= spans[1].0, "both ran at once: {spans:?}");
        ensure!(east.serving("app=web")? == ["v1"]);
        let histories = east.names("configmaps")?.iter().filter(|name| name.starts_with("release-")).count();
        ensure!(histories == 2, "each definition has its own release: {:?}", east.names("configmaps")?);
        Ok(())
    });
}

#[test]
fn one_release_name_for_two_definitions_on_one_namespace_is_refused() {
    run(async {
        let shop = Shop::open("OneName").await?;
        let (cluster, namespace) = (&shop.east.cluster, &shop.east.namespace);
        let name = json!({ "releaseName": "shop" });
        let tree = shop
            .tree(&[("web.yaml", DEPLOYMENT)])
            .definition_with("east", cluster, namespace, name.clone())
            .definition_with("again", cluster, namespace, name)
            .workflow("roll", rolling());
        shop.tell(tree).await?;
        let answer = shop
            .server
            .start_execution(
                (&shop.name, "pipeline", SHIP),
                &[("infrastructure", "east,again")],
                &[(SERVICE, "v1")],
            )
            .await?;
        let refusal = crate::story::Refusal::of(&answer)?;
        ensure!(refusal.codes == ["RELEASE_NAME_SHARED"], "{answer}");
        ensure!(refusal.message.contains("east, again") && refusal.message.contains("shop"), "{answer}");
        ensure!(shop.executions(true).await?.is_empty(), "something was started");
        Ok(())
    });
}

#[test]
fn a_service_infrastructure_of_an_old_tree_is_deployed_to() {
    run(async {
        let shop = Shop::open("OldTree").await?;
        let (cluster, namespace) = (&shop.west.cluster, &shop.west.namespace);
        let (certificate, key) = cluster.client_certificate()?;
        for (name, value) in [("old certificate", certificate), ("old key", key)] {
            let secret =
                json!({ "secretType": "ENCRYPTED_TEXT", "encryptedText": { "name": name, "value": value } });
            let query = "mutation($i: CreateSecretInput!) { createSecret(input: $i) { secret { id } } }";
            shop.server.data_of(query, json!({ "i": secret })).await?;
        }
        let old = json!({ "type": "DIRECT_KUBERNETES", "infraMappingType": "DIRECT_KUBERNETES", "computeProviderType": "DIRECT",
            "computeProviderName": "west", "deploymentType": "KUBERNETES", "serviceName": SERVICE, "namespace": namespace,
            "masterUrl": cluster.url(), "username": "", "password": null, "caCert": "safeharness:west authority",
            "clientCert": "safeharness:old certificate", "clientKey": "safeharness:old key" });
        let tree = shop
            .tree(&[("web.yaml", DEPLOYMENT)])
            .file(&format!("Environments/{ENVIRONMENT}/Service Infrastructure/racks (old).yaml"), old)
            .workflow("roll", rolling());
        shop.tell(tree).await?;
        let shipped = shop.ship_to("east,racks (old)", "v1").await?;
        shop.ensure_legs(&shipped, &["SUCCESS", "SUCCESS"]).await?;
        for place in shop.places() {
            ensure!(place.serving("app=web")? == ["v1"]);
        }
        shop.west.ensure_history(&["SUCCEEDED"])
    });
}

#[test]
fn a_cluster_of_the_delegate_itself_is_reached_by_its_own_kubeconfig() {
    run(async {
        let (east, _) = manifold_testkit::cluster::pair()?;
        let kubeconfig = east.kubeconfig().to_string_lossy().into_owned();
        let server = Arc::new(Server::start(BINARY, &["--kubeconfig", &kubeconfig]).await?);
        let shop = Shop::open_on(server, "OwnAccess")?;
        for place in shop.places() {
            introduce(&shop.server, &place.cluster).await?;
        }
        let note = shop.noting("${infra.name} $(kubectl get deployment web -o jsonpath={.spec.replicas})");
        let steps = [rollout(json!({})), with_kubeconfig("Look", &note)];
        let own =
            json!({ "type": "KUBERNETES_CLUSTER", "useKubernetesDelegate": true, "skipValidation": true });
        let tree = shop
            .tree(&[("web.yaml", DEPLOYMENT)])
            .account_file("Cloud Providers/east.yaml", own)
            .workflow("roll", on_cluster("ROLLING", &steps, &[rollback()]));
        shop.tell(tree).await?;
        shop.arrives("v1").await?;
        ensure!(shop.ledger() == ["east 2", "west 2"], "{:?}", shop.ledger());
        ensure!(shop.east.serving("app=web")? == ["v1"]);
        Ok(())
    });
}
