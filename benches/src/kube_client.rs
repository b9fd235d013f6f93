//! A bare client of a cluster, as somebody writes it with the kube crate who has nothing else to do: the floor of `kubernetes` and `watches`.

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use futures::stream::{self, StreamExt, TryStreamExt};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use manifold_testkit::cluster::Cluster;
use serde_json::{Value, json};

use crate::kubernetes_tree::{RELEASE, REPLICAS, SETTINGS, WEB};

/// Its field manager.
const MANAGER: &str = "bench";
/// Label of a release, as the product sets it.
const RELEASE_LABEL: &str = "harness.io/release-name";
/// Namespaces made at once.
const MADE_AT_ONCE: usize = 32;

/// What the client does beside applying and watching.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// Nothing.
    None,
    /// What a release needs that can be refused before it changes anything and be rolled back: every object is looked at and tried by a dry
    /// run, and the release is written down before and after.
    Full,
}

/// A client of its own connections.
pub async fn client(cluster: &Cluster) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig())?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    // The cluster is on this machine, whatever the environment says of proxies.
    config.proxy_url = None;
    Ok(Client::try_from(config)?)
}

/// Makes namespaces.
pub async fn make_namespaces(client: &Client, names: &[String]) -> Result<()> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &namespaces());
    let made: Vec<_> = names.iter().map(|name| make_namespace(&api, name)).collect();
    stream::iter(made).buffer_unordered(MADE_AT_ONCE).try_collect::<Vec<()>>().await.map(drop)
}

async fn make_namespace(api: &Api<DynamicObject>, name: &str) -> Result<()> {
    let namespace =
        object(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }))?;
    api.create(&PostParams::default(), &namespace).await.with_context(|| format!("make namespace {name}"))?;
    Ok(())
}

/// Rolls a release out in all namespaces at once, until all are steady.
pub async fn roll_all(client: &Client, names: &[String], release: u32, care: Care) -> Result<()> {
    let running: Vec<_> = names
        .iter()
        .map(|name| {
            let (client, name) = (client.clone(), name.clone());
            tokio::spawn(async move {
                roll(&client, &name, release, care).await.with_context(|| format!("namespace {name}"))
            })
        })
        .collect();
    for one in running {
        one.await??;
    }
    Ok(())
}

async fn roll(client: &Client, namespace: &str, release: u32, care: Care) -> Result<()> {
    let objects = objects(namespace, release)?;
    let mut begun = None;
    if care == Care::Full {
        let configuration = api(client, namespace, "ConfigMap");
        let known = configuration.get_opt(RELEASE).await?;
        let spaces: Api<DynamicObject> = Api::all_with(client.clone(), &namespaces());
        spaces.get(namespace).await?;
        try_join_all(objects.iter().map(|object| check(client, namespace, object))).await?;
        begun = Some(write_down(&configuration, known, release, "IN_PROGRESS").await?);
    }
    let mut workload = None;
    for object in &objects {
        let api = api(client, namespace, kind(object));
        let applied = api.patch(&name(object), &PatchParams::apply(MANAGER), &Patch::Apply(object)).await?;
        workload = (kind(object) == "Deployment").then_some(applied);
    }
    until_steady(client, namespace, workload.context("no workload was applied")?).await?;
    if begun.is_some() {
        write_down(&api(client, namespace, "ConfigMap"), begun, release, "SUCCEEDED").await?;
    }
    Ok(())
}

/// Looks at an object and tries it.
async fn check(client: &Client, namespace: &str, object: &DynamicObject) -> Result<()> {
    let api = api(client, namespace, kind(object));
    api.get_opt(&name(object)).await?;
    api.patch(&name(object), &PatchParams::apply(MANAGER).dry_run(), &Patch::Apply(object)).await?;
    Ok(())
}

/// Writes the history of the release, of about the product's size.
async fn write_down(
    api: &Api<DynamicObject>,
    known: Option<DynamicObject>,
    release: u32,
    status: &str,
) -> Result<DynamicObject> {
    let objects: Vec<Value> = [SETTINGS, WEB, WEB]
        .iter()
        .map(|name| json!({ "resource": format!("Kind/{name}"), "existed": release > 1, "versioned": true, "digest": "0".repeat(64) }))
        .collect();
    let text =
        json!({ "format": 1, "releases": [{ "number": release, "status": status, "objects": objects }] });
    let written = match known {
        Some(mut known) => {
            known.data = json!({ "data": { "history": text.to_string() } });
            api.replace(RELEASE, &PostParams::default(), &known).await
        }
        None => {
            let fresh =
                object(&json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": RELEASE },
                "data": { "history": text.to_string() } }))?;
            api.create(&PostParams::default(), &fresh).await
        }
    };
    Ok(written?)
}

/// Watches a Deployment from the version that applying gave.
async fn until_steady(client: &Client, namespace: &str, applied: DynamicObject) -> Result<()> {
    if is_steady(&applied) {
        return Ok(());
    }
    let mut events = watch(client, namespace, applied).await?;
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(found) | WatchEvent::Modified(found) if is_steady(&found) => return Ok(()),
            WatchEvent::Error(error) => bail!("the watch failed: {}", error.message),
            _ => {}
        }
    }
    bail!("the watch ended")
}

/// What happens to a Deployment.
pub type Events = stream::BoxStream<'static, kube::Result<WatchEvent<DynamicObject>>>;

async fn watch(client: &Client, namespace: &str, seen: DynamicObject) -> Result<Events> {
    let version = seen.metadata.resource_version.as_deref().context("no version")?;
    let params = WatchParams::default().fields(&format!("metadata.name={}", name(&seen)));
    Ok(api(client, namespace, "Deployment").watch(&params, version).await?.boxed())
}

/// Watches the Deployment of every namespace.
pub async fn watch_all(client: &Client, names: &[String]) -> Result<Vec<Events>> {
    let open = async |namespace: &String| {
        let seen = api(client, namespace, "Deployment").get(WEB).await?;
        watch(client, namespace, seen).await
    };
    let opened: Vec<_> = names.iter().map(open).collect();
    stream::iter(opened).buffered(MADE_AT_ONCE).try_collect().await
}

/// As `kubectl rollout status` has it.
fn is_steady(deployment: &DynamicObject) -> bool {
    let status =
        |key: &str| deployment.data.pointer(&format!("/status/{key}")).and_then(Value::as_i64).unwrap_or(0);
    let wanted = i64::from(REPLICAS);
    status("observedGeneration") >= deployment.metadata.generation.unwrap_or(0)
        && ["updatedReplicas", "replicas", "availableReplicas"].into_iter().all(|key| status(key) == wanted)
}

/// What the product makes of the manifests for a release.
fn objects(namespace: &str, release: u32) -> Result<Vec<DynamicObject>> {
    let settings = format!("{SETTINGS}-{release}");
    let labels = json!({ RELEASE_LABEL: RELEASE });
    let metadata = |name: &str| json!({ "name": name, "namespace": namespace, "labels": labels });
    let texts = [
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(&settings), "data": { "version": format!("v{release}") } }),
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata(WEB), "spec": { "selector": { "app": WEB }, "ports": [{ "port": 80 }] } }),
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(WEB), "spec": {
            "replicas": REPLICAS,
            "selector": { "matchLabels": { "app": WEB } },
            "template": {
                "metadata": { "labels": { "app": WEB, RELEASE_LABEL: RELEASE } },
                "spec": { "containers": [{ "name": WEB, "image": format!("shop/web:v{release}"),
                    "envFrom": [{ "configMapRef": { "name": settings } }] }] }
            }
        } }),
    ];
    texts.iter().map(object).collect()
}

fn object(value: &Value) -> Result<DynamicObject> {
    Ok(serde_json::from_value(value.clone())?)
}

fn kind(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| types.kind.as_str())
}

fn name(object: &DynamicObject) -> String {
    object.metadata.name.clone().unwrap_or_default()
}

fn api(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let (group, plural) = match kind {
        "Deployment" => ("apps", "deployments"),
        "Service" => ("", "services"),
        _ => ("", "configmaps"),
    };
    Api::namespaced_with(client.clone(), namespace, &resource(group, kind, plural))
}

fn namespaces() -> ApiResource {
    resource("", "Namespace", "namespaces")
}

fn resource(group: &str, kind: &str, plural: &str) -> ApiResource {
    let api_version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// Requests that an API server has answered so far, by what `labels` says of them (`verb="WATCH"`); those of its controllers are among them.
pub fn counted(cluster: &Cluster, metric: &str, labels: &[&str]) -> Result<f64> {
    let text = cluster.kubectl(&["get", "--raw", "/metrics"])?;
    let lines = text.lines().filter(|line| line.starts_with(metric));
    let of_them = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
    let mut sum = 0.0;
    for line in of_them {
        let value = line.rsplit(' ').next().unwrap_or_default();
        sum += value.parse::<f64>().with_context(|| format!("no figure: {line}"))?;
    }
    ensure!(sum.is_finite(), "{metric} is no figure");
    Ok(sum)
}
