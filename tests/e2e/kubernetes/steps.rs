//! Apply, Scale, Delete, exported manifests, configuration that is not versioned.

use anyhow::ensure;
use serde_json::{Value, json};

use super::cluster_tree::{
    DEPLOYMENT, apply, delete, named, on_cluster, rollback, rolling, rollout, scale, with_kubeconfig,
};
use super::world::Shop;
use crate::shared::run;
use crate::tree::SERVICE;

const JOB: &str = "\
# harness.io/skip-file-for-deploy
apiVersion: batch/v1
kind: Job
metadata:
  name: migrate-${artifact.buildNo}
spec:
  template:
    spec: { restartPolicy: Never, containers: [{ name: migrate, image: 'shop/migrate:job' }] }
";
const SETTINGS: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data: { build: '${artifact.buildNo}' }
";

/// A note of what `kubectl get` says in the namespace of the leg.
fn look(shop: &Shop, what: &str, get: &str) -> Value {
    let note = shop.noting(&format!("${{infra.name}} {what} $found"));
    with_kubeconfig(&format!("Look {what}"), &format!("found=$(kubectl get {get})\n{note}"))
}

#[test]
fn files_are_applied_workloads_scaled_and_objects_deleted() {
    run(async {
        let shop = Shop::open("Steps").await?;
        let replicas = |what: &str| {
            look(&shop, what, "deployment web -o jsonpath={.status.replicas}/{.status.readyReplicas}")
        };
        let to = |name: &str, count: &str, unit: &str| named(name, scale("Deployment/web", count, unit));
        let steps = [
            rollout(json!({})),
            apply("jobs/migrate.yaml", json!({})),
            look(&shop, "job", "job migrate-v1 -o jsonpath={.status.succeeded}"),
            to("Up", "5", "COUNT"),
            replicas("up"),
            to("Half", "50", "PERCENTAGE"),
            replicas("half"),
            to("None", "0", "COUNT"),
            replicas("none"),
            named("Delete Job", delete("jobs/migrate.yaml")),
            named("Delete Web", delete("Deployment/web,ConfigMap/extra,Service/nobody")),
        ];
        let manifests = [("web.yaml", DEPLOYMENT), ("jobs/migrate.yaml", JOB), ("settings.yaml", SETTINGS)];
        let everything = on_cluster("BASIC", &[delete("*")], &[]);
        let tree = shop.tree(&manifests).workflow("roll", on_cluster("BASIC", &steps, &[rollback()]));
        shop.tell(tree.workflow("clear", everything)).await?;
        for place in shop.places() {
            place.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: { name: extra }\n")?;
            place.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: { name: theirs }\n")?;
        }
        shop.arrives("v1").await?;
        let ledger = shop.ledger();
        for place in shop.places() {
            let name = place.cluster.name();
            for said in ["job 1", "up 5/5", "half 3/3", "none /"] {
                let line = format!("{name} {said}");
                ensure!(ledger.contains(&line), "no {line:?} in {ledger:?}");
            }
            ensure!(place.names("deployments")?.is_empty() && place.names("jobs")?.is_empty());
            let release = place.release()?;
            ensure!(place.names("configmaps")? == [release.as_str(), "settings-1", "theirs"]);
            let execution = shop.start_alone("clear", &[("infrastructure", name)]).await?;
            let status = shop.server.ended(&execution, crate::story::DEADLINE).await?;
            ensure!(status == "SUCCESS", "{status} {}", shop.log(&execution).await?);
            ensure!(place.names("configmaps")? == ["theirs"], "{:?}", place.names("configmaps")?);
        }
        Ok(())
    });
}

#[test]
fn exported_manifests_are_deployed_by_the_step_that_inherits_them() {
    run(async {
        let shop = Shop::open("Exports").await?;
        let shown = shop.noting("${infra.name} $(printf '%s' '${k8sResources.manifests}' | grep -c kind)");
        let steps = [
            named("Export", rollout(json!({ "exportManifests": true }))),
            look(&shop, "before", "deployments -o name"),
            crate::tree::script("Show", &shown),
            named("Deploy", rollout(json!({ "inheritManifests": true }))),
        ];
        let settings = SETTINGS.replace("build: '${artifact.buildNo}'", "infra: '${infra.name}'");
        let tree = shop
            .tree(&[("web.yaml", DEPLOYMENT), ("settings.yaml", &settings)])
            .workflow("roll", on_cluster("ROLLING", &steps, &[rollback()]));
        shop.tell(tree).await?;
        shop.arrives("v1").await?;
        for place in shop.places() {
            let name = place.cluster.name();
            ensure!(shop.ledger().contains(&format!("{name} 2")), "{:?}", shop.ledger());
            ensure!(shop.ledger().contains(&format!("{name} before ")), "{:?}", shop.ledger());
            ensure!(place.serving("app=web")? == ["v1"]);
            ensure!(place.get("configmap", "settings-1")?["data"]["infra"] == json!(name));
            place.ensure_history(&["SUCCEEDED"])?;
        }
        Ok(())
    });
}

#[test]
fn a_file_that_is_applied_has_the_values_of_its_step_last() {
    const TEMPLATE: &str = "\
# harness.io/skip-file-for-deploy
apiVersion: v1
kind: ConfigMap
metadata: { name: tuned }
data: { a: '{{ .Values.a }}', b: '{{ .Values.b }}' }
";
    const RAW: &str = "\
# harness.io/skip-file-for-deploy
apiVersion: v1
kind: ConfigMap
metadata: { name: raw }
data: { text: '{{ .Values.a }} ${infra.name}' }
";
    run(async {
        let shop = Shop::open("Inline").await?;
        let tuned = apply(
            "extra",
            json!({ "inlineOverride": "b: step ${infra.name}\n", "skipSteadyStateCheck": true }),
        );
        let raw = named("Apply Raw", apply("raw.yaml", json!({ "skipRendering": true, "skipDryRun": true })));
        let tree = shop
            .tree(&[("extra/tuned.yaml", TEMPLATE), ("raw.yaml", RAW)])
            .values("a: service\nb: service\n")
            .workflow("roll", on_cluster("BASIC", &[tuned, raw], &[]));
        shop.tell(tree).await?;
        let shipped = shop.ship("").await?;
        shop.ensure_legs(&shipped, &["SUCCESS", "SUCCESS"]).await?;
        for place in shop.places() {
            let name = place.cluster.name();
            let tuned = place.get("configmap", "tuned")?;
            ensure!(tuned["data"] == json!({ "a": "service", "b": format!("step {name}") }), "{tuned}");
            let raw = place.get("configmap", "raw")?;
            ensure!(raw["data"]["text"] == json!(format!("{{{{ .Values.a }}}} {name}")), "{raw}");
        }
        Ok(())
    });
}

#[test]
fn a_secret_in_a_manifest_arrives_and_is_read_nowhere_else() {
    const SECRET: &str = "\
apiVersion: v1
kind: Secret
metadata: { name: login }
stringData: { password: '${secrets.getValue(\"shop password\")}' }
";
    const WORD: &str = "correct-horse-battery-staple";
    run(async {
        let shop = Shop::open("Hidden").await?;
        let secret = json!({ "secretType": "ENCRYPTED_TEXT",
            "encryptedText": { "name": "shop password", "value": WORD } });
        let query = "mutation($i: CreateSecretInput!) { createSecret(input: $i) { secret { id } } }";
        shop.server.data_of(query, json!({ "i": secret })).await?;
        let show = crate::tree::script("Show", "printf '%s\\n' '${k8sResources.manifests}'");
        let steps = [
            named("Export", rollout(json!({ "exportManifests": true }))),
            show,
            named("Deploy", rollout(json!({ "inheritManifests": true }))),
        ];
        let tree = shop
            .tree(&[("login.yaml", SECRET)])
            .workflow("roll", on_cluster("ROLLING", &steps, &[rollback()]));
        shop.tell(tree).await?;
        let shipped = shop.ship("").await?;
        shop.ensure_legs(&shipped, &["SUCCESS", "SUCCESS"]).await?;
        for place in shop.places() {
            let found = place.get("secret", "login-1")?;
            ensure!(found["data"]["password"] == "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5LXN0YXBsZQ==", "{found}");
            let leg = shipped.leg(place.cluster.name())?;
            crate::site::ensure_hidden(&shop.server, leg, &shop.log(leg).await?, WORD).await?;
        }
        Ok(())
    });
}

#[test]
fn configuration_that_is_not_versioned_stays_as_the_failed_release_left_it() {
    run(async {
        let shop = Shop::open("Unversioned").await?;
        let web = DEPLOYMENT.replace("replicas: 2", "replicas: 1\n  progressDeadlineSeconds: 6").replace(
            "      - name: web\n",
            "      - name: web\n        envFrom: [{ configMapRef: { name: settings } }]\n",
        );
        let source = json!({ "type": "APPLICATION_MANIFEST", "storeType": "Local", "skipVersioningForAllK8sObjects": true });
        let tree = shop
            .tree(&[("web.yaml", &web), ("settings.yaml", SETTINGS)])
            .file(&format!("Services/{SERVICE}/Manifests/Index.yaml"), source)
            .workflow("roll", rolling());
        shop.tell(tree).await?;
        shop.arrives("v1").await?;
        let shipped = shop.ship("v2-crash-west").await?;
        shop.ensure_legs(&shipped, &["SUCCESS", "FAILED"]).await?;
        ensure!(shop.west.serving("app=web")? == ["v1"]);
        ensure!(shop.west.names("configmaps")? == [shop.west.release()?, "settings".to_owned()]);
        let settings = shop.west.get("configmap", "settings")?;
        ensure!(settings["data"]["build"] == "v2-crash-west", "{settings}");
        let log = shop.log(shipped.leg("west")?).await?;
        ensure!(log.contains("ConfigMap/settings stays as it is"), "{log}");
        Ok(())
    });
}
