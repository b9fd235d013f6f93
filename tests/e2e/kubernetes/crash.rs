//! The server dies at any moment of a deployment to clusters, and answers get lost on the way: what is in the clusters afterwards, and the history
//! of the releases, are those of a run that nobody disturbed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use manifold_testkit::cluster::pair;
use manifold_testkit::proxy::{Act, Front, Proxy, Rule};
use manifold_testkit::server::{Server, string, until};
use serde_json::{Value, json};

use super::cluster_tree::{
    DEPLOYMENT, ENVIRONMENT, canary, canary_delete, cluster_phase, on_cluster, on_clusters, rollback,
    rolling, rollout, scale, stage_deployment, swap,
};
use super::world::{Place, SHIP, introduce};
use crate::BINARY;
use crate::crash::Moments;
use crate::shared::run;
use crate::tree::{Application, SERVICE, Workflow, fan_out, script_with};

/// For whatever should come soon; two cores play two clusters.
const SOON: Duration = Duration::from_secs(90);
/// For whole runs that are disturbed.
const LONG: Duration = Duration::from_secs(240);

/// Configuration that Pods name, of a build.
const SETTINGS: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data: { build: BUILD }
---
apiVersion: v1
kind: Secret
metadata: { name: login }
stringData: { build: BUILD }
";

/// What an object says that does not depend on the place or the moment.
fn lasting(object: &Value, namespace: &str) -> Result<Value> {
    let name = string(object, "/metadata/name")?;
    let revision = &object["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
    let pod = &object["spec"]["template"]["spec"]["containers"][0];
    Ok(match string(object, "/kind")?.as_str() {
        "Deployment" => json!([
            "Deployment",
            name,
            revision,
            pod,
            object["spec"]["replicas"],
            object["status"]["readyReplicas"],
            object["status"]["updatedReplicas"]
        ]),
        // Their names are made of their templates, which hold the name of the release.
        "ReplicaSet" => {
            json!(["ReplicaSet", revision, pod["image"], pod["envFrom"], object["spec"]["replicas"]])
        }
        "Service" => json!(["Service", name, object["spec"]["selector"]]),
        "ConfigMap" if name.starts_with("release-") => {
            json!(["History", releases(&string(object, "/data/history")?, namespace)?])
        }
        _ => json!([object["kind"], name, object["data"]]),
    })
}

/// A history without ids and times.
fn releases(text: &str, namespace: &str) -> Result<Value> {
    let mut history: Value = serde_json::from_str(text)?;
    for list in ["releases", "swaps"] {
        for record in history[list].as_array_mut().into_iter().flatten() {
            for key in ["task", "execution", "startedAt", "endedAt"] {
                record.as_object_mut().context("no record")?.remove(key);
            }
            for object in record["objects"].as_array_mut().into_iter().flatten() {
                object.as_object_mut().context("no object")?.remove("digest");
            }
        }
    }
    Ok(serde_json::from_str(&history.to_string().replace(namespace, "here"))?)
}

/// All that a namespace holds, but Pods.
fn state(place: &Place) -> Result<Vec<String>> {
    let text =
        place.kubectl(&["get", "deployments,replicasets,configmaps,secrets,services", "-o", "json"])?;
    let all: Value = serde_json::from_str(&text)?;
    let own = |object: &&Value| object["metadata"]["name"] != "kube-root-ca.crt";
    let items = all["items"].as_array().context("no items")?;
    let lines = items.iter().filter(own).map(|object| Ok(lasting(object, &place.namespace)?.to_string()));
    let mut lines: Vec<String> = lines.collect::<Result<_>>()?;
    lines.sort();
    Ok(lines)
}

/// Waits until two namespaces hold the same: controllers write after all is said.
async fn ensure_same(calm: &Place, disturbed: &Place) -> Result<()> {
    let end = Instant::now() + SOON;
    loop {
        let (wanted, got) = (state(calm)?, state(disturbed)?);
        if wanted == got {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("undisturbed:\n{}\ndisturbed:\n{}", wanted.join("\n"), got.join("\n"));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A step that says that it is reached and waits until the gate is open.
fn gate(folder: &std::path::Path) -> Value {
    let (reached, gate) = (folder.join("reached"), folder.join("gate"));
    let text =
        format!("touch '{}'; until [ -e '{}' ]; do sleep 0.05; done", reached.display(), gate.display());
    script_with("Gate", &text, json!({ "timeoutMillis": 300_000 }))
}

fn open(folder: &std::path::Path) -> Result<()> {
    Ok(std::fs::write(folder.join("gate"), "")?)
}

/// From now on whoever comes to the gate waits.
fn close(folder: &std::path::Path) -> Result<()> {
    for name in ["gate", "reached"] {
        let path = folder.join(name);
        if path.exists() {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

// Ten legs.

/// Parts that the Pods of the new build play on the five namespaces of each cluster: name of the definition, and end of the image's tag.
const EAST: [&str; 5] = ["e1", "e2-slow", "e3", "e4-slow", "e5"];
const WEST: [&str; 5] = ["w1", "w2-slow", "w3", "w4-slow", "w5-crash"];

/// A server and ten namespaces that it deploys to.
struct Ten {
    server: Server,
    legs: Vec<(&'static str, Place)>,
}

impl Ten {
    async fn open(name: &str) -> Result<Self> {
        let (east, west) = pair()?;
        let server = Server::start(BINARY, &[]).await?;
        let mut legs = Vec::new();
        for (cluster, names) in [(east, EAST), (west, WEST)] {
            introduce(&server, &cluster).await?;
            for leg in names {
                legs.push((leg, Place::new(std::sync::Arc::clone(&cluster), name)?));
            }
        }
        open(server.folder())?;
        Ok(Self { server, legs })
    }

    /// Imports the manifests of a build whose image has this tag.
    async fn build(&self, build: &str, tag: &str) -> Result<()> {
        let web = DEPLOYMENT
            .replace("replicas: 2", "replicas: 5\n  progressDeadlineSeconds: 10")
            .replace("${artifact.metadata.image}", &format!("shop/web:{tag}"))
            .replace(
                "      - name: web\n",
                "      - name: web\n        envFrom: [{ configMapRef: { name: settings } }, { secretRef: { name: login } }]\n",
            );
        let settings = SETTINGS.replace("BUILD", build);
        let steps =
            [rollout(json!({})), scale("Deployment/web", "50", "PERCENTAGE"), gate(self.server.folder())];
        let application = Application::new("Storm")
            .kubernetes_service(SERVICE, &[("web.yaml", &web), ("settings.yaml", &settings)])
            .environment(ENVIRONMENT, &[])
            .workflow("roll", on_cluster("ROLLING", &steps, &[rollback()]))
            .pipeline(SHIP, &[fan_out("clusters")]);
        let application = self.legs.iter().fold(application, |application, (name, place)| {
            application.definition(name, &place.cluster, &place.namespace)
        });
        self.server.import(&application.files()).await
    }

    async fn start(&self) -> Result<String> {
        let all: Vec<&str> = self.legs.iter().map(|(name, _)| *name).collect();
        self.server.started(("Storm", "pipeline", SHIP), &[("infrastructure", &all.join(","))], &[]).await
    }

    async fn failed(&self, execution: &str) -> Result<BTreeSet<String>> {
        let legs = self.server.legs(execution).await?;
        Ok(legs.into_iter().filter(|leg| leg.status != "SUCCESS").map(|leg| leg.infrastructure).collect())
    }
}

#[test]
fn ten_kills_of_a_ten_leg_rollout_on_two_clusters_leave_what_an_undisturbed_run_leaves() {
    run(async {
        let calm = Ten::open("calm").await?;
        let mut storm = Ten::open("storm").await?;
        for ten in [&calm, &storm] {
            ten.build("v1", "v1").await?;
        }
        let first = [calm.start().await?, storm.start().await?];
        for (ten, execution) in [&calm, &storm].into_iter().zip(&first) {
            let status = ten.server.ended(execution, LONG).await?;
            ensure!(status == "SUCCESS", "{}", ten.server.failures(execution).await?);
            ten.build("v2", "v2-${infra.name}").await?;
        }
        close(storm.server.folder())?;
        let undisturbed = calm.start().await?;
        let execution = storm.start().await?;
        let mut moments = Moments::new("kubernetes_ten_kills");
        for kill in 0..10 {
            moments.pass(1_500).await;
            storm.server.kill().await?;
            let dead = Instant::now();
            moments.pass(300).await;
            storm.server.start_again().await?;
            println!("kill {kill}: ready again after {} ms", dead.elapsed().as_millis());
            let status = storm.server.status(&execution).await?;
            ensure!(status == "RUNNING", "the run was {status} at kill {kill}");
        }
        open(storm.server.folder())?;
        for (ten, execution) in [(&calm, &undisturbed), (&storm, &execution)] {
            let status = ten.server.ended(execution, LONG).await?;
            let failed = ten.failed(execution).await?;
            let only = BTreeSet::from(["w5-crash".to_owned()]);
            ensure!(
                status == "FAILED" && failed == only,
                "{failed:?} {}",
                ten.server.failures(execution).await?
            );
        }
        for ((name, calm), (_, storm)) in calm.legs.iter().zip(&storm.legs) {
            ensure_same(calm, storm).await.with_context(|| (*name).to_owned())?;
            let ended = if name.ends_with("crash") { "ROLLED_BACK" } else { "SUCCEEDED" };
            storm.ensure_history(&["SUCCEEDED", ended])?;
            let tag = if name.ends_with("crash") { "v1".to_owned() } else { format!("v2-{name}") };
            ensure!(storm.tag("Deployment/web")? == tag, "{name}");
        }
        Ok(())
    });
}

// One leg through a proxy, beside one that nobody disturbs.

/// A server, a namespace that is deployed to in peace and one through a proxy.
struct Wire {
    server: Server,
    proxy: Proxy,
    calm: Place,
    wired: Place,
}

impl Wire {
    async fn open(
        name: &str,
        manifests: &[(&str, &str)],
        flow: impl Fn(&std::path::Path) -> Workflow,
    ) -> Result<Self> {
        let (east, _) = pair()?;
        let server = Server::start(BINARY, &[]).await?;
        introduce(&server, &east).await?;
        open(server.folder())?;
        let proxy = Proxy::start(&east, Front::Plain)?;
        let provider = json!({ "type": "KUBERNETES_CLUSTER", "authType": "SERVICE_ACCOUNT", "masterUrl": proxy.url(),
            "serviceAccountToken": "safeharness:east token", "skipValidation": true });
        let (calm, wired) = (
            Place::new(std::sync::Arc::clone(&east), name)?,
            Place::new(std::sync::Arc::clone(&east), name)?,
        );
        let application = Application::new("Storm")
            .on_kubernetes(manifests)
            .environment(ENVIRONMENT, &[])
            .account_file("Cloud Providers/wire.yaml", provider)
            .definition("calm", &east, &calm.namespace)
            .definition_with("wired", &east, &wired.namespace, json!({ "cloudProviderName": "wire" }))
            .workflow("roll", flow(server.folder()))
            .pipeline(SHIP, &[fan_out("clusters")]);
        server.import(&application.files()).await?;
        Ok(Self { server, proxy, calm, wired })
    }

    fn folder(&self) -> PathBuf {
        self.server.folder().to_owned()
    }

    async fn ship(&self, to: &str, build: &str) -> Result<String> {
        let entity = ("Storm", "pipeline", SHIP);
        self.server.started(entity, &[("infrastructure", to)], &[(SERVICE, build)]).await
    }

    async fn ended(&self, execution: &str, expected: &str) -> Result<()> {
        let status = self.server.ended(execution, LONG).await?;
        ensure!(status == expected, "{status}: {}", self.server.failures(execution).await?);
        Ok(())
    }

    /// Ships in peace, where it ends so.
    async fn peace(&self, to: &str, build: &str, expected: &str) -> Result<()> {
        self.ended(&self.ship(to, build).await?, expected).await
    }

    /// Waits until so many requests came that change something at a path; longer than a step may take, because the Deployment controller may lose
    /// sight of a progress deadline (its word about a new ReplicaSet meets a conflict), and the step's own time is over only then.
    async fn saw(&self, method: &str, part: &str, times: usize) -> Result<()> {
        until(&format!("{method} {part}"), LONG, async || {
            let seen = self.proxy.requests();
            let of = |one: &&_| is(one, method, part);
            Ok((seen.iter().filter(of).count() >= times).then_some(()))
        })
        .await
    }

    /// Waits until the leg is at the gate.
    async fn at_the_gate(&self) -> Result<()> {
        let reached = self.folder().join("reached");
        until("the gate is reached", SOON, async || Ok(reached.exists().then_some(()))).await
    }

    /// The server dies and comes again; the proxy does nothing more then.
    async fn crash(&mut self) -> Result<()> {
        self.server.kill().await?;
        self.proxy.clear();
        self.server.start_again().await
    }

    async fn ensure_same(&self) -> Result<()> {
        ensure_same(&self.calm, &self.wired).await
    }
}

fn is(seen: &manifold_testkit::proxy::Seen, method: &str, part: &str) -> bool {
    seen.method == method && seen.path.contains(part) && !seen.path.contains("dryRun")
}

#[test]
fn a_canary_is_gone_after_kills_while_it_is_made_and_while_primary_rolls_out() {
    run(async {
        let phases = [
            cluster_phase("Canary", &[canary("1", "COUNT"), canary_delete()]).undo(&[canary_delete()]),
            cluster_phase("Primary", &[rollout(json!({}))]).undo(&[rollback()]),
        ];
        let mut wire =
            Wire::open("canaries", &[("web.yaml", DEPLOYMENT)], |_| on_clusters("CANARY", &phases)).await?;
        wire.peace("calm", "v1-slow", "SUCCESS").await?;
        let execution = wire.ship("wired", "v1-slow").await?;
        wire.saw("PATCH", "/deployments/web-canary", 1).await?;
        wire.crash().await?;
        wire.saw("PATCH", "/deployments/web?", 1).await?;
        wire.crash().await?;
        wire.ended(&execution, "SUCCESS").await?;
        ensure!(wire.wired.names("deployments")? == ["web"]);
        wire.ensure_same().await
    });
}

#[test]
fn services_are_swapped_once_whether_the_server_dies_between_them_or_answers_get_lost() {
    const SERVICES: &str = "\
apiVersion: v1
kind: Service
metadata: { name: web }
spec:
  selector: { app: web }
  ports: [{ port: 80 }]
";
    run(async {
        let manifests = [("web.yaml", DEPLOYMENT), ("service.yaml", SERVICES)];
        let flow = |folder: &std::path::Path| {
            on_cluster("BLUE_GREEN", &[stage_deployment(), gate(folder), swap()], &[swap()])
        };
        let mut wire = Wire::open("colours", &manifests, flow).await?;
        for build in ["v1", "v2"] {
            wire.peace("calm", build, "SUCCESS").await?;
        }
        wire.peace("wired", "v1", "SUCCESS").await?;
        close(&wire.folder())?;
        let execution = wire.ship("wired", "v2").await?;
        wire.at_the_gate().await?;
        // The second service is never written: the server dies when only the first one is swapped.
        let before = count(&wire, "PATCH", "/services/web-stage");
        wire.proxy.rule(Rule::new(Act::Hang).method("PATCH").path("/services/web-stage"));
        open(&wire.folder())?;
        wire.saw("PATCH", "/services/web-stage", before + 1).await?;
        wire.crash().await?;
        wire.ended(&execution, "SUCCESS").await?;
        wire.ensure_same().await?;

        wire.peace("calm", "v3", "SUCCESS").await?;
        close(&wire.folder())?;
        let execution = wire.ship("wired", "v3").await?;
        wire.at_the_gate().await?;
        wire.proxy.rule(Rule::new(Act::LoseAnswer).method("PATCH").path("/services/").times(3));
        wire.proxy.rule(Rule::new(Act::LoseAnswer).method("PUT").path("/configmaps/").times(2));
        open(&wire.folder())?;
        wire.ended(&execution, "SUCCESS").await?;
        wire.ensure_same().await
    });
}

fn count(wire: &Wire, method: &str, part: &str) -> usize {
    wire.proxy.requests().iter().filter(|one| is(one, method, part)).count()
}

#[test]
fn a_percentage_is_taken_once_though_the_server_dies_before_it_hears_that_it_was() {
    run(async {
        let web = DEPLOYMENT.replace("replicas: 2", "replicas: 8");
        let flow = |folder: &std::path::Path| {
            let steps = [rollout(json!({})), gate(folder), scale("Deployment/web", "50", "PERCENTAGE")];
            on_cluster("ROLLING", &steps, &[rollback()])
        };
        let mut wire = Wire::open("halves", &[("web.yaml", &web)], flow).await?;
        wire.peace("calm", "v1", "SUCCESS").await?;
        close(&wire.folder())?;
        let execution = wire.ship("wired", "v1").await?;
        wire.at_the_gate().await?;
        let before = count(&wire, "PATCH", "/deployments/web");
        wire.proxy.rule(Rule::new(Act::LoseAnswer).method("PATCH").path("/deployments/web").times(1));
        wire.proxy.rule(Rule::new(Act::Hang).method("PATCH").path("/deployments/web"));
        open(&wire.folder())?;
        wire.saw("PATCH", "/deployments/web", before + 2).await?;
        ensure!(wire.wired.get("deployment", "web")?["spec"]["replicas"] == 4);
        wire.crash().await?;
        wire.ended(&execution, "SUCCESS").await?;
        ensure!(wire.wired.get("deployment", "web")?["spec"]["replicas"] == 4);
        wire.ensure_same().await
    });
}

#[test]
fn a_rollback_goes_on_after_kills_and_is_one_revision() {
    run(async {
        let web = DEPLOYMENT.replace(
            "replicas: 2",
            "replicas: 2\n  progressDeadlineSeconds: 5\n  strategy: { type: Recreate }",
        );
        let mut wire = Wire::open("back", &[("web.yaml", &web)], |_| rolling()).await?;
        for to in ["calm", "wired"] {
            wire.peace(to, "v1-slow", "SUCCESS").await?;
        }
        wire.peace("calm", "v2-crash", "FAILED").await?;
        let before = count(&wire, "PATCH", "/deployments/web?");
        let execution = wire.ship("wired", "v2-crash").await?;
        // Once forth, once back.
        wire.saw("PATCH", "/deployments/web?", before + 2).await?;
        let mut moments = Moments::new("kubernetes_rollback");
        for _ in 0..3 {
            moments.pass(600).await;
            wire.crash().await?;
        }
        wire.ended(&execution, "FAILED").await?;
        let back = wire.wired.ensure_history(&["SUCCEEDED", "ROLLED_BACK"]);
        if back.is_err() {
            back.context(wire.server.failures(&execution).await?)?;
        }
        ensure!(wire.wired.tag("Deployment/web")? == "v1-slow");
        wire.ensure_same().await
    });
}

#[test]
fn answers_that_get_lost_change_nothing() {
    run(async {
        let settings = SETTINGS.replace("BUILD", "${artifact.buildNo}");
        let manifests = [("web.yaml", DEPLOYMENT), ("settings.yaml", &settings)];
        let wire = Wire::open("lost", &manifests, |_| rolling()).await?;
        for build in ["v1", "v2"] {
            wire.peace("calm", build, "SUCCESS").await?;
        }
        for build in ["v1", "v2"] {
            wire.proxy.rule(Rule::new(Act::LoseAnswer).method("POST").times(1));
            wire.proxy.rule(Rule::new(Act::LoseAnswer).method("PUT").times(2));
            wire.proxy.rule(Rule::new(Act::LoseAnswer).method("PATCH").path("force=").times(4));
            wire.proxy.rule(Rule::new(Act::LoseAnswer).method("DELETE").times(1));
            wire.peace("wired", build, "SUCCESS").await?;
            wire.proxy.clear();
        }
        wire.wired.ensure_history(&["SUCCEEDED", "SUCCEEDED"])?;
        wire.ensure_same().await
    });
}
