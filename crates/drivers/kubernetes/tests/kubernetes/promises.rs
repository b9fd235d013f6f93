//! The contract suites for canary, blue/green and swap, on a real cluster.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use manifold_driver::contract::{self, Hooks, Known};
use manifold_driver::{Driver, Resolver};
use manifold_driver_kubernetes::label::COLOR;
use manifold_driver_kubernetes::{KubernetesDriver, KubernetesSettings};
use manifold_model::FailureClass;
use manifold_model::kubernetes::{Instances, KubernetesAction, KubernetesTask, Manifests, TextFile};
use manifold_model::task::{FileSource, Payload, Task};
use manifold_testkit::cluster::{Cluster, one};
use serde_json::Value;

use crate::leg::{service, step, task, web};
use crate::world::{known, target};

/// When a task is left: while it connects, renders, tries, writes down, applies, waits, wraps up.
const MOMENTS: [u64; 9] = [0, 15, 40, 80, 150, 300, 600, 1000, 1800];

enum What {
    Canary,
    BlueGreen,
    Swap,
}

struct World {
    cluster: Arc<Cluster>,
    what: What,
}

impl World {
    fn driver() -> KubernetesDriver {
        KubernetesDriver::new(KubernetesSettings::default())
    }

    fn action(&self) -> KubernetesAction {
        match self.what {
            What::Canary => KubernetesAction::Canary {
                instances: Instances::Count(2),
                skip_dry_run: false,
                export: false,
            },
            What::BlueGreen => KubernetesAction::BlueGreen { skip_dry_run: false, export: false },
            What::Swap => {
                KubernetesAction::Swap { service1: "one".to_owned(), service2: "two".to_owned(), undo: false }
            }
        }
    }

    fn with(&self, files: &[&str], namespace: &str) -> Task {
        let file = |path: &&str| TextFile {
            path: (*path).to_owned(),
            source: FileSource::Document { path: (*path).to_owned(), revision: 1 },
        };
        let manifests = Manifests { files: files.iter().map(file).collect(), ..Manifests::default() };
        let kubernetes = KubernetesTask {
            cluster: target(&self.cluster),
            namespace: namespace.to_owned(),
            release: format!("release-{namespace}"),
            manifests,
            action: self.action(),
        };
        task(step("e1", 1), kubernetes)
    }
}

fn kubernetes(task: &Task) -> &KubernetesTask {
    match &task.payload {
        Payload::Kubernetes(kubernetes) => kubernetes,
        other => panic!("{other:?}"),
    }
}

fn releases(cluster: &Cluster, task: &Task) -> u64 {
    let KubernetesTask { namespace, release, .. } = kubernetes(task);
    let Ok(map) = cluster.get("configmap", namespace, release) else { return 0 };
    let history: Value = serde_json::from_str(map["data"]["history"].as_str().unwrap()).unwrap();
    history["releases"].as_array().map_or(0, |releases| releases.len() as u64)
}

#[async_trait]
impl Hooks for World {
    async fn task(&self, takes: Duration) -> Task {
        let namespace = self.cluster.namespace("promise").unwrap();
        if matches!(self.what, What::Swap) {
            for (name, app) in [("one", "a"), ("two", "b")] {
                let create = ["-n", &namespace, "create", "service", "clusterip", name, "--tcp=80:80"];
                self.cluster.kubectl(&create).unwrap();
                let app = format!("app={app}");
                self.cluster.kubectl(&["-n", &namespace, "set", "selector", "service", name, &app]).unwrap();
            }
        }
        let workload = if takes > Duration::from_secs(1) { "never.yaml" } else { "web.yaml" };
        self.with(&[workload, "service.yaml"], &namespace)
    }

    async fn effects(&self, task: &Task) -> u64 {
        let namespace = &kubernetes(task).namespace;
        let selector =
            |name: &str| self.cluster.get("service", namespace, name).unwrap()["spec"]["selector"].clone();
        match self.what {
            What::Canary => {
                let copy = self.cluster.get("deployment", namespace, "web-canary").unwrap();
                assert_eq!(copy["status"]["availableReplicas"], 2);
                releases(&self.cluster, task)
            }
            What::BlueGreen => {
                assert_eq!([&selector("web")[COLOR], &selector("web-stage")[COLOR]], ["blue", "blue"]);
                let sets = self.cluster.list("deployments", namespace, "").unwrap();
                releases(&self.cluster, task) * sets.len() as u64
            }
            What::Swap => u64::from(selector("one")["app"] == "b" && selector("two")["app"] == "a"),
        }
    }

    async fn runs(&self, _: &Task) -> bool {
        false
    }

    async fn flood(&self, _: u64) -> Option<Task> {
        None
    }

    async fn failing(&self) -> Vec<(Task, FailureClass)> {
        let namespace = self.cluster.namespace("failing").unwrap();
        let none = self.with(&["service.yaml"], &namespace);
        let missing = self.with(&["web.yaml"], "no-such-namespace");
        let never = {
            let mut task = self.with(&["never.yaml", "service.yaml"], &namespace);
            task.timeout_ms = 3000;
            task
        };
        vec![
            (none, FailureClass::Application),
            (missing, FailureClass::Application),
            (never, FailureClass::Timeout),
        ]
    }

    fn resolver(&self) -> Arc<dyn Resolver> {
        let mut known: Known = known(&self.cluster);
        for (path, text) in
            [("web.yaml", web("v1", 2)), ("never.yaml", web("v1-never", 2)), ("service.yaml", service("web"))]
        {
            known.files.insert(path.to_owned(), Bytes::from(text));
        }
        Arc::new(known)
    }
}

async fn probeable(what: What) {
    let world = World { cluster: one().unwrap(), what };
    let driver: &dyn Driver = &World::driver();
    contract::probeable(driver, &world, &MOMENTS.map(Duration::from_millis)).await.unwrap();
}

async fn ends(what: What) {
    let world = World { cluster: one().unwrap(), what };
    let driver: &dyn Driver = &World::driver();
    contract::cancelled(driver, &world, &[0, 30, 300, 1500].map(Duration::from_millis)).await.unwrap();
    contract::deadline(driver, &world).await.unwrap();
    contract::classed(driver, &world).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_left_at_any_moment_is_made_once() {
    probeable(What::Canary).await;
    ends(What::Canary).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_left_at_any_moment_is_made_once() {
    probeable(What::BlueGreen).await;
    ends(What::BlueGreen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_left_at_any_moment_is_one_swap() {
    probeable(What::Swap).await;
}
