//! Rolling deployments: what arrives in the clusters, what goes back and what stays.

use anyhow::{Context, Result, ensure};
use manifold_testkit::server::string;
use serde_json::{Value, json};

use super::cluster_tree::{ENVIRONMENT, on_cluster, rollback, rolling, rollout};
use super::world::{Place, SHIP, Shop};
use crate::shared::run;
use crate::tree::SERVICE;

/// A Deployment whose Pods name a `ConfigMap` and a Secret; a rollout that does not get on is given up after 6 s.
const WEB: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  progressDeadlineSeconds: 6
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      containers:
      - name: web
        image: ${artifact.metadata.image}
        envFrom:
        - configMapRef: { name: settings }
        - secretRef: { name: login }
";
/// Its configuration, and a Service before it.
const CONFIGURATION: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data:
  build: ${artifact.buildNo}
---
apiVersion: v1
kind: Secret
metadata: { name: login }
stringData:
  build: ${artifact.buildNo}
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec:
  selector: { app: web }
  ports: [{ port: 80 }]
";
const MANIFESTS: [(&str, &str); 2] = [("web.yaml", WEB), ("configuration.yaml", CONFIGURATION)];

/// What runs in a namespace: tag of the Deployment and of the Pods that are ready, the configuration that they name, and what it says.
fn ensure_runs(place: &Place, tag: &str, release: u64) -> Result<()> {
    let name = place.cluster.name();
    let web = place.get("deployment", "web")?;
    ensure!(place.tag("Deployment/web")? == tag, "{name}: {web}");
    ensure!(place.serving("app=web")? == [tag], "{name}: {:?}", place.serving("app=web")?);
    let from = web.pointer("/spec/template/spec/containers/0/envFrom").context("no envFrom")?;
    let named = json!([{ "configMapRef": { "name": format!("settings-{release}") } },
        { "secretRef": { "name": format!("login-{release}") } }]);
    ensure!(*from == named, "{name}: {from}");
    let settings = place.get("configmap", &format!("settings-{release}"))?;
    ensure!(settings["data"]["build"] == tag, "{name}: {settings}");
    place.get("secret", &format!("login-{release}"))?;
    Ok(())
}

fn ensure_configuration(place: &Place, releases: &[u64]) -> Result<()> {
    let numbered =
        |name: &str| releases.iter().map(|release| format!("{name}-{release}")).collect::<Vec<_>>();
    let mut maps = place.names("configmaps")?;
    maps.retain(|name| name.starts_with("settings"));
    ensure!(maps == numbered("settings"), "{}: {maps:?}", place.cluster.name());
    let secrets = place.names("secrets")?;
    ensure!(secrets == numbered("login"), "{}: {secrets:?}", place.cluster.name());
    Ok(())
}

#[test]
fn a_list_of_names_rolls_out_on_both_clusters_and_only_the_failed_release_goes_back() {
    run(async {
        let shop = Shop::open("Regions").await?;
        shop.tell(shop.tree(&MANIFESTS).workflow("roll", rolling())).await?;
        shop.arrives("v1").await?;
        for place in shop.places() {
            ensure_runs(place, "v1", 1)?;
            place.ensure_history(&["SUCCEEDED"])?;
            let web = place.get("deployment", "web")?;
            let labels = &web["metadata"]["labels"];
            ensure!(labels["harness.io/release-name"] == json!(place.release()?), "{web}");
            ensure!(labels["harness.io/track"] == "stable", "{web}");
            ensure!(web.pointer("/spec/selector/matchLabels") == Some(&json!({ "app": "web" })), "{web}");
        }
        let shipped = shop.ship("v2-crash-west").await?;
        shop.ensure_legs(&shipped, &["SUCCESS", "FAILED"]).await?;
        ensure!(shipped.status == "FAILED");
        ensure_runs(&shop.east, "v2-crash-west", 2)?;
        shop.east.ensure_history(&["SUCCEEDED", "SUCCEEDED"])?;
        ensure_runs(&shop.west, "v1", 1)?;
        shop.west.ensure_history(&["SUCCEEDED", "ROLLED_BACK"])?;
        ensure_configuration(&shop.east, &[1, 2])?;
        ensure_configuration(&shop.west, &[1])?;
        let west = shipped.leg("west")?;
        let reason = shop.failure(west).await?;
        ensure!(reason.class == "APPLICATION_ERROR" && reason.code == "K8S_NOT_STEADY", "{reason:?}");
        ensure!(
            reason.message.contains("CrashLoopBackOff") && reason.message.contains("Deployment/web"),
            "{reason:?}"
        );
        ensure!(reason.rollback == "ROLLED_BACK", "{reason:?}");
        let log = shop.log(west).await?;
        ensure!(log.contains("Wait for Steady State") && log.contains("CrashLoopBackOff"), "{log}");
        ensure!(log.contains("release 2 goes back to release 1"), "{log}");
        ensure!(!shop.log(shipped.leg("east")?).await?.contains("goes back"));
        shop.arrives("v3").await?;
        for place in shop.places() {
            ensure_runs(place, "v3", 3)?;
        }
        shop.west.ensure_history(&["SUCCEEDED", "ROLLED_BACK", "SUCCEEDED"])?;
        ensure_configuration(&shop.east, &[2, 3])?;
        ensure_configuration(&shop.west, &[1, 3])
    });
}

/// Starts by a list of ids.
async fn ship_by_ids(shop: &Shop, build: &str) -> Result<super::world::Shipped> {
    let (application, pipeline) = shop.server.ids(&shop.name, "pipeline", SHIP).await?;
    let ids =
        [shop.infrastructure(ENVIRONMENT, "west").await?, shop.infrastructure(ENVIRONMENT, "east").await?];
    let input = json!({ "applicationId": application, "entityId": pipeline, "executionType": "PIPELINE",
        "variableInputs": [{ "name": "infrastructure", "variableValue": { "type": "ID", "value": ids.join(",") } }],
        "serviceInputs": [{ "name": SERVICE, "artifactValueInput": { "valueType": "BUILD_NUMBER",
            "buildNumber": { "artifactSourceName": "image", "buildNumber": build } } }] });
    let start = "mutation($i: StartExecutionInput!) { startExecution(input: $i) { execution { id } } }";
    let answer = shop.server.data_of(start, json!({ "i": input })).await?;
    shop.shipped(string(&answer, "/startExecution/execution/id")?).await
}

#[test]
fn a_list_of_ids_rolls_out_on_both_clusters_with_expressions_and_variables() {
    const SAYS: &str = "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: says
  annotations: { harness.io/skip-versioning: \"true\" }
data:
  image: ${artifact.metadata.image}
  build: '${artifact.buildNo}'
  infra: ${infra.name}
  namespace: ${infra.kubernetes.namespace}
  colour: ${serviceVariable.colour}
  size: ${serviceVariable.size}
  channel: ${workflow.variables.channel}
  shell: echo ${HOME:-none} ${nobody.knows}
";
    run(async {
        let shop = Shop::open("ByIds").await?;
        let overrides = json!({ "type": "ENVIRONMENT", "environmentType": "PROD", "variableOverrides": [
            { "name": "size", "value": "all", "valueType": "TEXT" },
            { "name": "size", "value": "own", "valueType": "TEXT", "serviceName": SERVICE },
        ] });
        let tree = shop
            .tree(&[("says.yaml", SAYS), ("web.yaml", super::cluster_tree::DEPLOYMENT)])
            .service_variables(&[("colour", "green"), ("size", "service")])
            .file(&format!("Environments/{ENVIRONMENT}/Index.yaml"), overrides)
            .workflow("roll", rolling().variable("channel", json!({ "value": "stable" })));
        shop.tell(tree).await?;
        let shipped = ship_by_ids(&shop, "7").await?;
        shop.ensure_legs(&shipped, &["SUCCESS", "SUCCESS"]).await?;
        let order: Vec<&str> = shipped.legs.iter().map(|leg| leg.infrastructure.as_str()).collect();
        ensure!(order == ["west", "east"], "{order:?}");
        for place in shop.places() {
            let says = place.get("configmap", "says")?;
            let expected = json!({ "image": "shop/web:7", "build": "7", "infra": place.cluster.name(),
                "namespace": place.namespace, "colour": "green", "size": "own", "channel": "stable",
                "shell": "echo ${HOME:-none} ${nobody.knows}" });
            ensure!(says["data"] == expected, "{says}");
            ensure!(place.serving("app=web")? == ["7"]);
        }
        Ok(())
    });
}

#[test]
fn values_count_by_key_service_then_environment_then_environment_for_the_service() {
    const TEMPLATE: &str = "\
{{- if .Values.on }}
apiVersion: v1
kind: ConfigMap
metadata:
  name: says
  labels: { release: {{ .Release.Name | quote }} }
data:
  deep: {{ toJson .Values.deep | quote }}
  list: {{ join \" \" .Values.list | quote }}
  build: {{ .Values.build | quote }}
  where: {{ .Release.Namespace }}
  plain: ${infra.name}
{{- end }}
";
    run(async {
        let shop = Shop::open("Values").await?;
        let tree = shop
            .tree(&[("templates/says.yaml", TEMPLATE), ("off.yaml", "{{- if .Values.off }}\nnot: yaml: at all\n{{- end }}\n")])
            .values("on: true\noff: false\ndeep: { a: service, b: service, c: service }\nlist: [s, s]\nbuild: '${artifact.buildNo}'\n")
            .environment_values(None, "deep: { b: all, c: all }\nlist: [x]\n")
            .environment_values(Some(SERVICE), "deep: { c: \"own ${infra.name}\" }\n")
            .kubernetes_service("other", &[])
            .environment_values(Some("other"), "deep: { a: wrong }\n")
            .workflow("roll", rolling());
        shop.tell(tree).await?;
        shop.arrives("0012").await?;
        for place in shop.places() {
            let says = place.get("configmap", "says-1")?;
            let name = place.cluster.name();
            let deep = format!("{{\"a\":\"service\",\"b\":\"all\",\"c\":\"own {name}\"}}");
            let expected = json!({ "deep": deep, "list": "x", "build": "0012", "where": place.namespace, "plain": name });
            ensure!(says["data"] == expected, "{says}\nexpected {expected}");
            ensure!(says["metadata"]["labels"]["release"] == json!(place.release()?), "{says}");
        }
        Ok(())
    });
}

#[test]
fn a_first_deployment_that_fails_is_taken_back_whole() {
    run(async {
        let shop = Shop::open("First").await?;
        shop.tell(shop.tree(&MANIFESTS).workflow("roll", rolling())).await?;
        shop.west.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: { name: theirs }\ndata: { a: b }\n")?;
        let shipped = shop.ship("v1-nopull-west").await?;
        shop.ensure_legs(&shipped, &["SUCCESS", "FAILED"]).await?;
        ensure_runs(&shop.east, "v1-nopull-west", 1)?;
        let reason = shop.failure(shipped.leg("west")?).await?;
        ensure!(
            reason.message.contains("ImagePullBackOff") || reason.message.contains("ErrImagePull"),
            "{reason:?}"
        );
        for kind in ["deployments", "services", "secrets"] {
            let left = shop.west.names(kind)?;
            ensure!(left.is_empty(), "{kind}: {left:?}");
        }
        let maps = shop.west.names("configmaps")?;
        ensure!(maps == [shop.west.release()?, "theirs".to_owned()], "{maps:?}");
        shop.west.ensure_history(&["ROLLED_BACK"])?;
        let log = shop.log(shipped.leg("west")?).await?;
        ensure!(log.contains("no earlier release was successful"), "{log}");
        shop.arrives("v2").await?;
        ensure_runs(&shop.west, "v2", 2)
    });
}

#[test]
fn what_does_not_get_ready_in_time_fails_with_the_class_timeout() {
    let never = WEB.replace("  progressDeadlineSeconds: 6\n", "");
    run(async {
        let shop = Shop::open("Never").await?;
        let steps = [rollout(json!({ "timeoutMillis": 20_000 }))];
        let tree = shop
            .tree(&[("web.yaml", &never), ("configuration.yaml", CONFIGURATION)])
            .workflow("roll", on_cluster("ROLLING", &steps, &[rollback()]));
        shop.tell(tree).await?;
        shop.arrives("v1").await?;
        let shipped = shop.ship("v2-never-west").await?;
        shop.ensure_legs(&shipped, &["SUCCESS", "FAILED"]).await?;
        let reason = shop.failure(shipped.leg("west")?).await?;
        ensure!(reason.class == "TIMEOUT_ERROR" && reason.code == "K8S_STEADY_TIMEOUT", "{reason:?}");
        ensure!(reason.message.contains("Deployment/web") && reason.message.contains(" of "), "{reason:?}");
        ensure_runs(&shop.west, "v1", 1)?;
        shop.west.ensure_history(&["SUCCEEDED", "ROLLED_BACK"])
    });
}

/// Replicas of a workload that are there and ready.
fn ready(place: &Place, kind: &str, name: &str) -> Result<Value> {
    let status = place.get(kind, name)?["status"].take();
    Ok(if kind == "daemonset" { status["numberReady"].clone() } else { status["readyReplicas"].clone() })
}

#[test]
fn several_workloads_go_forth_and_back_together() {
    const SET: &str = "\
apiVersion: apps/v1
kind: StatefulSet
metadata: { name: store }
spec:
  replicas: 2
  serviceName: store
  selector: { matchLabels: { app: store } }
  template:
    metadata: { labels: { app: store } }
    spec: { containers: [{ name: store, image: '${artifact.metadata.image}' }] }
---
apiVersion: apps/v1
kind: DaemonSet
metadata: { name: agent }
spec:
  selector: { matchLabels: { app: agent } }
  template:
    metadata: { labels: { app: agent } }
    spec: { containers: [{ name: agent, image: '${artifact.metadata.image}' }] }
---
apiVersion: batch/v1
kind: Job
metadata:
  name: migrate-${artifact.buildNo}
  annotations: { harness.io/direct-apply: \"true\" }
spec:
  template:
    spec: { restartPolicy: Never, containers: [{ name: migrate, image: 'shop/migrate:job' }] }
";
    const SKIPPED: &str =
        "# harness.io/skip-file-for-deploy\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: skipped }\n";
    run(async {
        let shop = Shop::open("Several").await?;
        let manifests = [MANIFESTS[0], MANIFESTS[1], ("set.yaml", SET), ("skipped.yaml", SKIPPED)];
        shop.tell(shop.tree(&manifests).workflow("roll", rolling())).await?;
        shop.arrives("v1").await?;
        for place in shop.places() {
            ensure!(ready(place, "statefulset", "store")? == 2);
            ensure!(ready(place, "daemonset", "agent")?.as_u64().is_some_and(|count| count > 0));
            place.get("job", "migrate-v1")?;
            ensure!(!place.names("configmaps")?.iter().any(|name| name.starts_with("skipped")));
        }
        let shipped = shop.ship("v2-crash-west").await?;
        shop.ensure_legs(&shipped, &["SUCCESS", "FAILED"]).await?;
        for workload in ["Deployment/web", "StatefulSet/store", "DaemonSet/agent"] {
            ensure!(shop.east.tag(workload)? == "v2-crash-west", "{workload}");
            ensure!(shop.west.tag(workload)? == "v1", "{workload}");
        }
        ensure!(ready(&shop.west, "statefulset", "store")? == 2);
        for app in ["app=web", "app=store", "app=agent"] {
            ensure!(shop.west.serving(app)? == ["v1"], "{app}: {:?}", shop.west.serving(app)?);
        }
        Ok(())
    });
}
