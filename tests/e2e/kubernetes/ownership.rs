//! Objects that others have made: taken over from `kubectl apply` without a lost field, refused when somebody else owns them.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::cluster_tree::{DEPLOYMENT, rolling};
use super::world::{Place, Shop};
use crate::shared::run;

/// What people applied before: with an environment variable and a label that the manifests of the service do not have, without replicas.
const BEFORE: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: { gone: 'yes' }
spec:
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      terminationGracePeriodSeconds: 7
      containers:
      - name: web
        image: shop/web:v0
        env: [{ name: GONE, value: 'yes' }]
";

fn managers(object: &Value) -> Vec<String> {
    let all = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let name = |one: &Value| {
        format!("{} {}", one["manager"].as_str().unwrap_or("?"), one["operation"].as_str().unwrap_or("?"))
    };
    all.into_iter().flatten().filter(|one| one.get("subresource").is_none()).map(name).collect()
}

fn live(place: &Place) -> Result<Value> {
    let text = place.kubectl(&["get", "deployment", "web", "-o", "json", "--show-managed-fields"])?;
    serde_json::from_str(&text).context("no JSON")
}

#[test]
fn what_kubectl_applied_is_taken_over_without_a_lost_field() {
    let manifest = DEPLOYMENT.replace("  replicas: 2\n", "");
    run(async {
        let shop = Shop::open("TakeOver").await?;
        shop.tell(shop.tree(&[("web.yaml", &manifest)]).workflow("roll", rolling())).await?;
        for place in shop.places() {
            place.apply(BEFORE)?;
            place.kubectl(&["label", "deployment", "web", "team=payments"])?;
            place.kubectl(&["annotate", "deployment", "web", "oncall=+49", "--field-manager=pager"])?;
            place.kubectl(&["scale", "deployment", "web", "--replicas=3"])?;
        }
        shop.arrives("v1").await?;
        for place in shop.places() {
            let web = live(place)?;
            let metadata = &web["metadata"];
            ensure!(
                metadata["labels"]["team"] == "payments" && metadata["annotations"]["oncall"] == "+49",
                "{web}"
            );
            ensure!(web["spec"]["replicas"] == 3, "{web}");
            ensure!(place.serving("app=web")? == ["v1"], "{web}");
            ensure!(metadata["labels"].get("gone").is_none(), "{web}");
            let pod = &web["spec"]["template"]["spec"];
            ensure!(pod["containers"][0].get("env").is_none(), "{web}");
            ensure!(
                pod["terminationGracePeriodSeconds"] == 30,
                "a field that is gone gets its default: {web}"
            );
            let managers = managers(&web);
            ensure!(managers.contains(&"manifold Apply".to_owned()), "{managers:?}");
            ensure!(!managers.iter().any(|one| one.starts_with("kubectl-client-side-apply")), "{managers:?}");
        }
        shop.arrives("v2").await?;
        for place in shop.places() {
            let web = live(place)?;
            ensure!(web["spec"]["replicas"] == 3 && web["metadata"]["labels"]["team"] == "payments", "{web}");
            ensure!(place.serving("app=web")? == ["v2"]);
        }
        Ok(())
    });
}

#[test]
fn what_was_applied_by_kubectl_goes_back_to_what_it_was_when_the_first_release_fails() {
    let manifest = DEPLOYMENT.replace("  replicas: 2\n", "  replicas: 2\n  progressDeadlineSeconds: 6\n");
    run(async {
        let shop = Shop::open("TakeBack").await?;
        shop.tell(shop.tree(&[("web.yaml", &manifest)]).workflow("roll", rolling())).await?;
        shop.west.apply(BEFORE)?;
        let shipped = shop.ship("v1-crash-west").await?;
        shop.ensure_legs(&shipped, &["SUCCESS", "FAILED"]).await?;
        shop.west.get("deployment", "web")?;
        let log = shop.log(shipped.leg("west")?).await?;
        ensure!(log.contains("Deployment/web stays as it is"), "{log}");
        Ok(())
    });
}

#[test]
fn an_object_of_another_manager_is_refused_by_name_and_nothing_changes_there() {
    const SETTINGS: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: settings }\ndata: { a: b }\n";
    run(async {
        let shop = Shop::open("Foreign").await?;
        let manifests = [("a.yaml", SETTINGS), ("web.yaml", DEPLOYMENT)];
        shop.tell(shop.tree(&manifests).workflow("roll", rolling())).await?;
        let west = &shop.west;
        west.cluster.kubectl_with(
            &["-n", &west.namespace, "apply", "--server-side", "--field-manager=flux", "-f", "-"],
            BEFORE,
        )?;
        west.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
        let before = live(west)?;
        let shipped = shop.ship("v1").await?;
        shop.ensure_legs(&shipped, &["SUCCESS", "FAILED"]).await?;
        let reason = shop.failure(shipped.leg("west")?).await?;
        ensure!(reason.class == "APPLICATION_ERROR" && reason.code == "K8S_OWNED_BY_OTHERS", "{reason:?}");
        for word in ["Deployment/web", "\"flux\"", ".image", "west"] {
            ensure!(reason.message.contains(word), "{word}: {reason:?}");
        }
        let after = live(west)?;
        ensure!(
            before["metadata"]["managedFields"] == after["metadata"]["managedFields"],
            "{before}\n{after}"
        );
        ensure!(before["spec"] == after["spec"], "{before}\n{after}");
        ensure!(west.names("configmaps")?.iter().all(|name| !name.starts_with("settings")));
        ensure!(shop.east.serving("app=web")? == ["v1"]);
        // Whoever labels it hands it over.
        west.kubectl(&["label", "deployment", "web", "harness.io/release-name=handed-over"])?;
        shop.arrives("v2").await?;
        ensure!(west.serving("app=web")? == ["v2"]);
        Ok(())
    });
}
