//! The contract suites of the driver's classes, on a real API server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use manifold_driver::Resolver;
use manifold_driver::contract::{self, Hooks};
use manifold_model::FailureClass;
use manifold_model::kubernetes::{ClusterSignIn, KubernetesAction};
use manifold_model::task::{Payload, Task};
use manifold_testkit::cluster;
use serde_json::Value;

use crate::world::{Release, by, deployment, rollout};

const MOMENTS: [u64; 9] = [0, 15, 40, 80, 130, 200, 350, 700, 1500];

fn moments(upto: usize) -> Vec<Duration> {
    MOMENTS.iter().take(upto).map(|millis| Duration::from_millis(*millis)).collect()
}

/// Rollouts, or applied files, of one small Deployment each. The effect is a generation of it.
struct Peer {
    release: Release,
    made: AtomicU32,
    applies: bool,
}

impl Peer {
    fn new(prefix: &str, applies: bool) -> Self {
        Self { release: Release::new(&cluster::one().unwrap(), prefix), made: AtomicU32::new(0), applies }
    }

    fn action(&self) -> KubernetesAction {
        match self.applies {
            false => rollout(),
            true => KubernetesAction::Apply {
                files: vec!["all.yaml".to_owned()],
                skip_dry_run: false,
                skip_steady_state: false,
                skip_rendering: false,
            },
        }
    }

    fn task(&self, name: &str) -> Task {
        self.release.task(name, "suite", self.action(), &[(&path(name), "")])
    }
}

/// The file of a task is named as its Deployment.
fn path(name: &str) -> String {
    format!("{name}.yaml")
}

fn text(name: &str) -> String {
    let tag = if name.ends_with("never") { "never" } else { "v1" };
    deployment(name, tag, 1)
}

fn name(task: &Task) -> String {
    task.step.as_ref().unwrap().execution.to_string()
}

#[async_trait]
impl Hooks for Peer {
    async fn task(&self, takes: Duration) -> Task {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let ending = if takes > Duration::from_secs(10) { "never" } else { "good" };
        let mut task = self.task(&format!("web-{number}-{ending}"));
        if self.applies {
            let path = path(&name(&task));
            if let Payload::Kubernetes(kubernetes) = &mut task.payload {
                kubernetes.action = match &kubernetes.action {
                    KubernetesAction::Apply { skip_dry_run, skip_steady_state, skip_rendering, .. } => {
                        KubernetesAction::Apply {
                            files: vec![path],
                            skip_dry_run: *skip_dry_run,
                            skip_steady_state: *skip_steady_state,
                            skip_rendering: *skip_rendering,
                        }
                    }
                    other => other.clone(),
                };
            }
        }
        task
    }

    async fn effects(&self, task: &Task) -> u64 {
        let found = self.release.cluster.get("deployment", &self.release.namespace, &name(task));
        found.ok().and_then(|live| live["metadata"]["generation"].as_u64()).unwrap_or(0)
    }

    /// Nothing of a task runs but in the driver itself.
    async fn runs(&self, _task: &Task) -> bool {
        false
    }

    async fn flood(&self, _bytes: u64) -> Option<Task> {
        None
    }

    async fn failing(&self) -> Vec<(Task, FailureClass)> {
        let with = |target: manifold_model::kubernetes::ClusterTarget, name: &str| {
            let mut task = self.task(name);
            task.timeout_ms = 20_000;
            if let Payload::Kubernetes(kubernetes) = &mut task.payload {
                kubernetes.cluster = target;
            }
            task
        };
        let cluster = &self.release.cluster;
        let ca = || Some(cluster.ca_pem().unwrap());
        let token = |name: &str| ClusterSignIn::Token { token: name.to_owned() };
        let mut lost = with(self.release.target.clone(), "web-lost-good");
        if let Payload::Kubernetes(kubernetes) = &mut lost.payload {
            "no-such-namespace".clone_into(&mut kubernetes.namespace);
        }
        vec![
            (
                with(by("wrong", cluster.url(), ca(), token("wrong")), "web-a-good"),
                FailureClass::Authentication,
            ),
            (
                with(by("gone", "https://127.0.0.1:1", ca(), token("token")), "web-b-good"),
                FailureClass::Connectivity,
            ),
            (lost, FailureClass::Application),
            (Task { timeout_ms: 3_000, ..self.task("web-c-never") }, FailureClass::Timeout),
        ]
    }

    fn resolver(&self) -> Arc<dyn Resolver> {
        let names: Vec<String> = (0..40)
            .flat_map(|number| ["good", "never"].map(|ending| format!("web-{number}-{ending}")))
            .chain(["web-a-good", "web-b-good", "web-c-never", "web-lost-good"].map(str::to_owned))
            .collect();
        let texts: Vec<(String, String)> = names.into_iter().map(|name| (path(&name), text(&name))).collect();
        let files: Vec<(&str, &str)> =
            texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        self.release.resolver(&files)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollouts_are_probeable() {
    let peer = Peer::new("probe", false);
    contract::probeable(&peer.release.driver, &peer, &moments(9)).await.unwrap();
    let history = peer.release.cluster.get("configmap", &peer.release.namespace, &peer.release.name).unwrap();
    let text = history["data"]["history"].as_str().unwrap();
    let history: Value = serde_json::from_str(text).unwrap();
    let numbers: Vec<u64> =
        history["releases"].as_array().unwrap().iter().filter_map(|one| one["number"].as_u64()).collect();
    assert_eq!(numbers, (1..=9).collect::<Vec<u64>>(), "each task has one release");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applied_files_are_idempotent() {
    let peer = Peer::new("again", true);
    contract::idempotent(&peer.release.driver, &peer).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_deadline_classed() {
    let peer = Peer::new("suite", false);
    contract::cancelled(&peer.release.driver, &peer, &moments(7)).await.unwrap();
    contract::deadline(&peer.release.driver, &peer).await.unwrap();
    contract::classed(&peer.release.driver, &peer).await.unwrap();
}
