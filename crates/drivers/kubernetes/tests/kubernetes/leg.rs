//! A service deployed to a namespace of a cluster, step by step, as an execution does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use manifold_driver::contract::context;
use manifold_driver::{Driver, Resolver};
use manifold_driver_kubernetes::{KubernetesDriver, KubernetesSettings};
use manifold_model::kind::Class;
use manifold_model::kubernetes::{KubernetesAction, KubernetesTask, Manifests, TextFile};
use manifold_model::task::{FileSource, Outcome, Payload, Task, TaskResult, TaskStep};
use manifold_model::{ExecutionId, Failure};
use manifold_testkit::cluster::{Cluster, one};
use serde_json::Value;

use crate::world::{known, target};

/// How long a step may take.
const STEP: Duration = Duration::from_secs(90);

/// A namespace with the service's files.
pub struct Leg {
    pub cluster: Arc<Cluster>,
    pub namespace: String,
    pub manifests: Manifests,
    files: BTreeMap<String, Bytes>,
    driver: KubernetesDriver,
}

/// One step of one execution.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    pub execution: &'a str,
    pub key: u32,
    pub attempt: u32,
}

/// The first attempt of a step.
pub fn step(execution: &str, key: u32) -> Step<'_> {
    Step { execution, key, attempt: 1 }
}

impl Leg {
    pub fn new(prefix: &str) -> Self {
        let cluster = one().unwrap();
        let namespace = cluster.namespace(prefix).unwrap();
        let helm = manifold_testkit::programs::program("helm").ok();
        let driver = KubernetesDriver::new(KubernetesSettings { helm, ..KubernetesSettings::default() });
        Self { cluster, namespace, manifests: Manifests::default(), files: BTreeMap::new(), driver }
    }

    /// Puts a manifest file, instead of what was there.
    pub fn file(&mut self, path: &str, text: &str) {
        self.files.insert(path.to_owned(), Bytes::from(text.to_owned()));
        self.manifests.files.retain(|file| file.path != path);
        let source = FileSource::Document { path: path.to_owned(), revision: 1 };
        self.manifests.files.push(TextFile { path: path.to_owned(), source });
    }

    /// The task of a step.
    pub fn task(&self, step: Step<'_>, action: KubernetesAction) -> Task {
        let kubernetes = KubernetesTask {
            cluster: target(&self.cluster),
            namespace: self.namespace.clone(),
            release: format!("release-{}", self.namespace),
            manifests: self.manifests.clone(),
            action,
        };
        task(step, kubernetes)
    }

    /// Performs a task; its outcome and its log.
    pub async fn perform(&self, task: &Task) -> (Outcome, String) {
        let mut known = known(&self.cluster);
        known.files = self.files.clone();
        let (context, log) = context(Arc::new(known) as Arc<dyn Resolver>);
        let outcome = self.driver.perform(task, &context).await;
        (outcome, log.all())
    }

    /// Performs a step that succeeds; its outputs.
    pub async fn done(&self, step: Step<'_>, action: KubernetesAction) -> BTreeMap<String, String> {
        let (outcome, log) = self.perform(&self.task(step, action)).await;
        assert_eq!(outcome.result, TaskResult::Succeeded, "{log}");
        outcome.outputs.into_iter().map(|(name, value)| (name, value.value)).collect()
    }

    /// Performs a step that fails.
    pub async fn failed(&self, step: Step<'_>, action: KubernetesAction) -> Failure {
        let (outcome, log) = self.perform(&self.task(step, action)).await;
        match outcome.result {
            TaskResult::Failed { failure } => failure,
            other => panic!("{other:?}\n{log}"),
        }
    }

    /// An object of the namespace.
    pub fn get(&self, kind: &str, name: &str) -> Value {
        self.cluster.get(kind, &self.namespace, name).unwrap()
    }

    /// The names of a kind's objects with these labels.
    pub fn names(&self, kind: &str, labels: &str) -> Vec<String> {
        let all = self.cluster.list(kind, &self.namespace, labels).unwrap();
        all.iter().map(|object| object["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// `kubectl` on the namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let mut all = vec!["-n", self.namespace.as_str()];
        all.extend(arguments);
        self.cluster.kubectl(&all).unwrap()
    }

    /// Values of a key of a service's selector.
    pub fn selects(&self, service: &str, key: &str) -> String {
        self.get("service", service)["spec"]["selector"][key].as_str().unwrap_or_default().to_owned()
    }
}

/// The task of a step.
pub fn task(step: Step<'_>, kubernetes: KubernetesTask) -> Task {
    let execution = ExecutionId::from(step.execution);
    Task {
        id: Task::id_of(&execution, step.key, step.attempt, Some(&kubernetes.namespace)),
        kind: "K8S".into(),
        class: Class::Probeable,
        attempt: step.attempt,
        step: Some(TaskStep { execution, step: step.key, name: "Step".to_owned(), instance: None }),
        log: "log".into(),
        timeout_ms: u64::try_from(STEP.as_millis()).unwrap(),
        selectors: Vec::new(),
        capabilities: Vec::new(),
        payload: Payload::Kubernetes(Box::new(kubernetes)),
    }
}

/// A Deployment with a `ConfigMap` that its Pods read.
pub fn web(tag: &str, replicas: u32) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: web}}\ndata: {{tag: \"{tag}\"}}\n---\n\
         apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: {replicas}\n  \
         selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    \
         spec: {{containers: [{{name: web, image: \"registry.example/web:{tag}\", envFrom: [{{configMapRef: {{name: web}}}}]}}]}}\n"
    )
}

/// A service of the Pods of [`web`].
pub fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}\n"
    )
}
