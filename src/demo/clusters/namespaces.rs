//! The namespaces of the demonstration on the clusters of its audience: made, looked into, and removed, by asking the clusters themselves.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use manifold_driver::contract::Known;
use manifold_driver_kubernetes::cluster::{Cluster, Dependents};
use manifold_driver_kubernetes::connect::Clusters;
use manifold_driver_kubernetes::object::{Object, Resource};
use manifold_model::kubernetes::ClusterTarget;
use manifold_model::{Failure, Problem};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::provider::Provider;
use super::sites::{self, Site, random};

/// How long one question at a cluster may take, with all its tries.
const QUESTION: Duration = Duration::from_secs(20);
/// How long a namespace may take to go, with all that is in it.
const REMOVAL: Duration = Duration::from_secs(90);
/// Pause between two looks at a namespace that goes.
const LOOK: Duration = Duration::from_millis(300);
/// Label of namespaces that were made by a demonstration; its value tells by which.
const MARK: &str = "manifold.dev/demo";

/// The infrastructures with the way to their clusters.
pub struct Namespaces {
    /// The infrastructures.
    pub sites: Vec<Site>,
    clusters: Vec<sites::Cluster>,
    targets: Vec<ClusterTarget>,
    connections: Arc<Clusters>,
    secrets: Known,
    /// Value of [`MARK`] on what is ours.
    mark: String,
    /// So many of the first may have been made.
    tried: AtomicUsize,
}

/// What runs in a namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Running {
    /// Image of the Deployment.
    pub image: String,
    /// Images of its pods.
    pub images: BTreeSet<String>,
    /// Pods that are ready.
    pub ready: usize,
    /// Pods that there should be.
    pub wanted: usize,
    /// Pods that there are.
    pub pods: usize,
    /// The page that they serve: of the version of the `ConfigMap` that they mount.
    pub page: String,
}

impl Running {
    /// Whether all that runs is this image with the page of this release, as many as there should be, and ready.
    pub fn is(&self, image: &str, release: &str) -> bool {
        self.image == image
            && self.page.starts_with(&format!("ok {release}:"))
            && self.images.iter().all(|one| one == image)
            && self.ready == self.wanted
            && self.pods == self.wanted
    }
}

impl Namespaces {
    /// Nothing is made yet.
    ///
    /// # Errors
    /// A way to sign in is not known.
    pub fn new(clusters: Vec<sites::Cluster>, providers: &[Provider], sites: Vec<Site>) -> Result<Self> {
        let mut secrets = Known::default();
        let mut targets = Vec::new();
        for provider in providers {
            secrets.secrets.extend(provider.secrets.clone());
            let access = manifold_model::cluster::access(&provider.keys, &Map::new());
            let access = access.map_err(|fault| anyhow::anyhow!("{}: {fault}", provider.name))?;
            targets.push(ClusterTarget { name: provider.name.clone(), access });
        }
        let connections = Arc::new(Clusters::new(None));
        let (mark, tried) = (random()?, AtomicUsize::new(0));
        Ok(Self { sites, clusters, targets, connections, secrets, mark, tried })
    }

    /// Makes all of them.
    ///
    /// # Errors
    /// A cluster cannot be reached or does not let us.
    pub async fn make(&self) -> Result<()> {
        for site in &self.sites {
            let cluster = self.cluster(site, QUESTION).await?;
            // A cluster that cannot be asked gets nothing made, and has nothing to be removed.
            cluster.get(&named(site)).await.map_err(said)?;
            self.tried.fetch_add(1, Ordering::Relaxed);
            let made = cluster.create(&self.namespace(site)).await;
            // An answer that was lost was asked for again: the namespace is there, and ours.
            if let Err(trouble) = made
                && !self.is_ours(&cluster, site).await.unwrap_or(false)
            {
                let doing = format!("make the namespace {}", site.namespace);
                return Err(said(cluster.explain(trouble, &doing)));
            }
            say!("the namespace {} is made in {}", site.namespace, site.name);
        }
        Ok(())
    }

    /// Removes those that may have been made and waits until they are gone. What could not be removed is told; whether nothing is left.
    pub async fn remove(&self) -> bool {
        let tried = self.tried();
        if !tried.is_empty() {
            tell(&format!("\nremoving what was made: {} namespaces with all that is in them", tried.len()));
        }
        let removals = tried.iter().map(|site| async move { (site, self.remove_one(site).await) });
        let mut all = true;
        for (site, removed) in futures::future::join_all(removals).await {
            if let Err(error) = removed {
                self.tell_left(site, &format!("{error:#}"));
                all = false;
            }
        }
        all
    }

    /// Tells that all of them may be left.
    pub fn tell_all_left(&self, why: &str) {
        self.tried().iter().for_each(|site| self.tell_left(site, why));
    }

    fn tell_left(&self, site: &Site, why: &str) {
        let (namespace, name) = (&site.namespace, &site.name);
        let command = self.clusters.get(site.cluster).map(sites::Cluster::kubectl).unwrap_or_default();
        tell(&format!("the namespace {namespace} of {name} is left behind: {why}"));
        tell(&format!("  remove it: {command} delete namespace {namespace}"));
    }

    /// How a person begins a command for the namespace of an infrastructure.
    pub fn kubectl(&self, site: &Site) -> String {
        let command = self.clusters.get(site.cluster).map(sites::Cluster::kubectl).unwrap_or_default();
        format!("{command} -n {}", site.namespace)
    }

    /// Those that may have been made.
    fn tried(&self) -> &[Site] {
        self.sites.get(..self.tried.load(Ordering::Relaxed)).unwrap_or_default()
    }

    async fn remove_one(&self, site: &Site) -> Result<()> {
        let cluster = self.cluster(site, REMOVAL).await?;
        if !self.is_ours(&cluster, site).await? {
            return Ok(());
        }
        cluster.delete(&named(site), Dependents::Background).await.map_err(said)?;
        while self.is_ours(&cluster, site).await? {
            if Instant::now() >= cluster.deadline() {
                anyhow::bail!("the cluster is still removing it after {} s", REMOVAL.as_secs());
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// What runs in the namespace of an infrastructure, as its cluster says.
    ///
    /// # Errors
    /// It cannot be asked, or there is no Deployment.
    pub async fn running(&self, site: &Site) -> Result<Running> {
        let cluster = self.cluster(site, QUESTION).await?;
        let of_site = |api_version: &str, kind: &str, name: String| Resource {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: Some(site.namespace.clone()),
            name,
        };
        let cart = of_site("apps/v1", "Deployment", "cart".to_owned());
        let deployment = cluster.get(&cart).await.map_err(said)?.context("there is no Deployment cart")?;
        let mounted = text(&deployment, "/spec/template/spec/volumes/0/configMap/name");
        let mounted = of_site("v1", "ConfigMap", mounted.context("the Deployment mounts no ConfigMap")?);
        let page = cluster.get(&mounted).await.map_err(said)?;
        let page = page.and_then(|page| text(&page, "/data/index.html")).unwrap_or_default();
        let kind = cluster.kind("v1", "Pod").await.map_err(said)?;
        let pods = cluster.list(&kind, Some(&site.namespace), "app=cart", "").await.map_err(said)?;
        let pods: Vec<&Object> =
            pods.iter().filter(|pod| text(pod, "/metadata/deletionTimestamp").is_none()).collect();
        Ok(Running {
            image: text(&deployment, "/spec/template/spec/containers/0/image").unwrap_or_default(),
            images: pods.iter().filter_map(|pod| text(pod, "/spec/containers/0/image")).collect(),
            ready: pods.iter().filter(|pod| is_ready(pod)).count(),
            wanted: deployment.0.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1) as usize,
            pods: pods.len(),
            page: page.trim().to_owned(),
        })
    }

    async fn is_ours(&self, cluster: &Cluster, site: &Site) -> Result<bool> {
        let found = cluster.get(&named(site)).await.map_err(said)?;
        Ok(found.is_some_and(|namespace| namespace.label(MARK) == Some(self.mark.as_str())))
    }

    /// The cluster of an infrastructure, for as long as one purpose takes. Connections are shared.
    async fn cluster(&self, site: &Site, limit: Duration) -> Result<Cluster> {
        let target = self.targets.get(site.cluster).context("an infrastructure without a cluster")?;
        let time = (Instant::now() + limit, Duration::ZERO);
        let connected = Cluster::connect(&self.connections, target, &self.secrets, time).await;
        connected.map_err(said)
    }

    fn namespace(&self, site: &Site) -> Object {
        Object(json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": site.namespace,
                "labels": { "app.kubernetes.io/managed-by": "manifold-demo", MARK: self.mark },
            },
        }))
    }
}

/// Says something while what was made is removed: whether anybody still reads it or not.
fn tell(line: &str) {
    let _nobody_reads = writeln!(std::io::stderr(), "{line}");
}

/// A cluster's failure as people are told it.
fn said(failure: Failure) -> anyhow::Error {
    let problem = Problem::new(failure.code, failure.message);
    match failure.hint {
        Some(hint) => problem.hint(hint).into(),
        None => problem.into(),
    }
}

fn named(site: &Site) -> Resource {
    Resource {
        api_version: "v1".to_owned(),
        kind: "Namespace".to_owned(),
        namespace: None,
        name: site.namespace.clone(),
    }
}

fn text(object: &Object, path: &str) -> Option<String> {
    object.0.pointer(path).and_then(Value::as_str).map(str::to_owned)
}

fn is_ready(pod: &Object) -> bool {
    let conditions = pod.0.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        condition.get("type").and_then(Value::as_str) == Some("Ready")
            && condition.get("status").and_then(Value::as_str) == Some("True")
    })
}
