//! Two clusters and a server that may sign in to them, shared by all tests; and a shop in one namespace of each, looked at with `kubectl`.

use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use manifold_testkit::cluster::{Cluster, pair};
use manifold_testkit::server::{Leg, Server, string};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::cluster_tree::{authority_of, token_of};
use crate::BINARY;
use crate::story::Story;
use crate::tree::{Application, SERVICE, fan_out};

/// How long a deployment may take: two cores play two clusters.
const DEADLINE: Duration = Duration::from_secs(180);
/// The pipeline that runs the workflow `roll` on what is chosen as `infrastructure`.
pub const SHIP: &str = "ship";

static SERVER: Mutex<Weak<Server>> = Mutex::const_new(Weak::new());

/// The shared server.
async fn server() -> Result<Arc<Server>> {
    let mut shared = SERVER.lock().await;
    if let Some(server) = shared.upgrade() {
        return Ok(server);
    }
    let server = Arc::new(Server::start(BINARY, &[]).await?);
    let (east, west) = pair()?;
    for cluster in [&east, &west] {
        introduce(&server, cluster).await?;
    }
    *shared = Arc::downgrade(&server);
    Ok(server)
}

/// Tells a server the token for a cluster, and its certificate authority.
pub async fn introduce(server: &Server, cluster: &Cluster) -> Result<()> {
    let secrets = [
        (token_of(cluster.name()), cluster.token().to_owned()),
        (authority_of(cluster.name()), cluster.ca_pem()?),
    ];
    for (name, value) in secrets {
        let secret =
            json!({ "secretType": "ENCRYPTED_TEXT", "encryptedText": { "name": name, "value": value } });
        let query = "mutation($i: CreateSecretInput!) { createSecret(input: $i) { secret { id } } }";
        server.data_of(query, json!({ "i": secret })).await?;
    }
    Ok(())
}

/// A namespace of a cluster.
pub struct Place {
    pub cluster: Arc<Cluster>,
    pub namespace: String,
}

impl Place {
    /// A new one, whose name begins so.
    pub fn new(cluster: Arc<Cluster>, prefix: &str) -> Result<Self> {
        let namespace = cluster.namespace(prefix)?;
        Ok(Self { cluster, namespace })
    }

    /// An object.
    pub fn get(&self, kind: &str, name: &str) -> Result<Value> {
        self.cluster.get(kind, &self.namespace, name)
    }

    /// Runs `kubectl` in the namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.cluster.kubectl(&[&["-n", &self.namespace], arguments].concat())
    }

    /// Puts objects there as people do.
    pub fn apply(&self, text: &str) -> Result<()> {
        self.cluster.kubectl_with(&["-n", &self.namespace, "apply", "-f", "-"], text)?;
        Ok(())
    }

    /// Names of all objects of a kind that a test or a deployment made.
    pub fn names(&self, kind: &str) -> Result<Vec<String>> {
        let found = self.cluster.list(kind, &self.namespace, "")?;
        let names = found.iter().map(|one| string(one, "/metadata/name"));
        let own = names.filter(|name| !name.as_ref().is_ok_and(|name| name == "kube-root-ca.crt"));
        own.collect()
    }

    /// Tag of the first container of a workload (`Deployment/web`).
    pub fn tag(&self, workload: &str) -> Result<String> {
        let (kind, name) = workload.split_once('/').context("Kind/name")?;
        let image = string(&self.get(kind, name)?, "/spec/template/spec/containers/0/image")?;
        Ok(image.rsplit_once(':').map_or(image.clone(), |(_, tag)| tag.to_owned()))
    }

    /// Tags of the Pods that are ready, sorted, each once.
    pub fn serving(&self, labels: &str) -> Result<Vec<String>> {
        let pods = self.cluster.list("pods", &self.namespace, labels)?;
        let ready = pods.iter().filter(|pod| {
            let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
            let is_ready = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
            pod.pointer("/metadata/deletionTimestamp").is_none()
                && conditions.is_some_and(|all| all.iter().any(is_ready))
        });
        let image = |pod: &Value| string(pod, "/spec/containers/0/image");
        let mut tags = Vec::new();
        for pod in ready {
            let image = image(pod)?;
            tags.push(image.rsplit_once(':').map_or(image.clone(), |(_, tag)| tag.to_owned()));
        }
        tags.sort();
        tags.dedup();
        Ok(tags)
    }

    /// The name of the only release: that of the `ConfigMap` with its history.
    pub fn release(&self) -> Result<String> {
        let names = self.names("configmaps")?;
        let mut releases = names.iter().filter(|name| name.starts_with("release-"));
        match (releases.next(), releases.next()) {
            (Some(only), None) => Ok(only.clone()),
            _ => bail!("not one release: {names:?}"),
        }
    }

    /// The history of the only release: number and status of each, oldest first.
    pub fn history(&self) -> Result<Vec<(u64, String)>> {
        let map = self.get("configmap", &self.release()?)?;
        let text = string(&map, "/data/history")?;
        let history: Value = serde_json::from_str(&text)?;
        let releases = history["releases"].as_array().with_context(|| format!("no releases in {text}"))?;
        let mut found = Vec::new();
        for one in releases {
            found.push((one["number"].as_u64().context("no number")?, string(one, "/status")?));
        }
        found.sort();
        Ok(found)
    }

    /// Fails unless the history is so: statuses by number, oldest first.
    pub fn ensure_history(&self, statuses: &[&str]) -> Result<()> {
        let found = self.history()?;
        let expected: Vec<(u64, String)> =
            (1..).zip(statuses).map(|(number, status)| (number, (*status).to_owned())).collect();
        ensure!(found == expected, "{}: {found:?}, expected {statuses:?}", self.cluster.name());
        Ok(())
    }
}

/// A service on both clusters.
pub struct Shop {
    story: Story,
    pub east: Place,
    pub west: Place,
}

impl Deref for Shop {
    type Target = Story;

    fn deref(&self) -> &Story {
        &self.story
    }
}

impl Shop {
    /// An application of this name with a namespace of its own on each cluster.
    pub async fn open(name: &str) -> Result<Self> {
        Self::open_on(server().await?, name)
    }

    /// As [`Shop::open`], on a server that the test has.
    pub fn open_on(server: Arc<Server>, name: &str) -> Result<Self> {
        let (east, west) = pair()?;
        let prefix = name.to_lowercase();
        let (east, west) = (Place::new(east, &prefix)?, Place::new(west, &prefix)?);
        Ok(Self { story: Story::on(server, name), east, west })
    }

    /// Both.
    pub fn places(&self) -> [&Place; 2] {
        [&self.east, &self.west]
    }

    /// The application with these manifests, and the definitions `east` and `west`.
    pub fn tree(&self, manifests: &[(&str, &str)]) -> Application {
        let application = self
            .application()
            .on_kubernetes(manifests)
            .environment(super::cluster_tree::ENVIRONMENT, &[])
            .pipeline(SHIP, &[fan_out("clusters")]);
        self.places().into_iter().fold(application, |application, place| {
            application.definition(place.cluster.name(), &place.cluster, &place.namespace)
        })
    }

    /// Ships a build to both clusters; the execution that has ended.
    pub async fn ship(&self, build: &str) -> Result<Shipped> {
        self.ship_to("east,west", build).await
    }

    /// Ships a build to definitions by name.
    pub async fn ship_to(&self, definitions: &str, build: &str) -> Result<Shipped> {
        self.ship_with(&[("infrastructure", definitions)], build).await
    }

    /// Ships a build with these variables.
    pub async fn ship_with(&self, variables: &[(&str, &str)], build: &str) -> Result<Shipped> {
        let entity = (self.name.as_str(), "pipeline", SHIP);
        let builds = [(SERVICE, build)];
        let execution =
            self.server.started(entity, variables, if build.is_empty() { &[] } else { &builds }).await?;
        self.shipped(execution).await
    }

    /// Waits for the end of an execution.
    pub async fn shipped(&self, execution: String) -> Result<Shipped> {
        let status = self.server.ended(&execution, DEADLINE).await?;
        let legs = self.server.legs(&execution).await?;
        Ok(Shipped { status, legs })
    }

    /// Ships a build that must arrive on both clusters.
    pub async fn arrives(&self, build: &str) -> Result<Shipped> {
        let shipped = self.ship(build).await?;
        self.ensure_legs(&shipped, &["SUCCESS", "SUCCESS"]).await?;
        Ok(shipped)
    }

    /// Fails, with what the legs say, unless they ended so, in the order of the plan.
    pub async fn ensure_legs(&self, shipped: &Shipped, statuses: &[&str]) -> Result<()> {
        let found: Vec<&str> = shipped.legs.iter().map(|leg| leg.status.as_str()).collect();
        if found == statuses {
            return Ok(());
        }
        let mut said = String::new();
        for leg in &shipped.legs {
            said +=
                &format!("{} {}: {}\n", leg.infrastructure, leg.status, self.failure(&leg.id).await?.message);
            said += &self.log(&leg.id).await?;
        }
        bail!("the legs ended with {found:?}, expected {statuses:?}\n{said}")
    }

    /// Why a leg failed.
    pub async fn failure(&self, leg: &str) -> Result<Reason> {
        let found = self
            .execution(leg, "... on WorkflowExecution { rollback failure { class code message } }")
            .await?;
        let text = |key: &str| found.pointer(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Reason {
            rollback: text("/rollback"),
            class: text("/failure/class"),
            code: text("/failure/code"),
            message: text("/failure/message"),
        })
    }

    /// All log lines of a leg's tasks, `unit: text` each.
    pub async fn log(&self, leg: &str) -> Result<String> {
        let found =
            self.execution(leg, "... on WorkflowExecution { steps { name tasks { logId } } }").await?;
        let mut text = String::new();
        for step in found["steps"].as_array().into_iter().flatten() {
            for task in step["tasks"].as_array().into_iter().flatten() {
                let log = task["logId"].as_str().context("a task without a log")?;
                let path = format!("/api/executions/{leg}/logs/{log}");
                let answer = self.server.request(Method::GET, &path).send().await?.error_for_status()?;
                for line in answer.text().await?.lines() {
                    let line: Value = serde_json::from_str(line)?;
                    let (unit, said) = (line["unit"].as_str(), line["text"].as_str());
                    text += &format!("{}: {}\n", unit.unwrap_or_default(), said.unwrap_or_default());
                }
            }
        }
        Ok(text)
    }
}

/// An execution that has ended.
pub struct Shipped {
    /// Public status.
    pub status: String,
    /// Its legs, in the order of the plan.
    pub legs: Vec<Leg>,
}

impl Shipped {
    /// The leg on a definition.
    pub fn leg(&self, definition: &str) -> Result<&str> {
        let found = self.legs.iter().find(|leg| leg.infrastructure == definition);
        found.map(|leg| leg.id.as_str()).with_context(|| format!("no leg on {definition}"))
    }
}

/// Why a leg failed, and how its rollback went.
#[derive(Debug)]
pub struct Reason {
    pub rollback: String,
    pub class: String,
    pub code: String,
    pub message: String,
}
