//! What the tests share: clusters, manifests, tasks, a context.

use std::sync::Arc;

use bytes::Bytes;
use manifold_driver::contract::{Known, context};
use manifold_driver::{Driver, Resolver};
use manifold_driver_kubernetes::{KubernetesDriver, KubernetesSettings};
use manifold_model::kind::Class;
use manifold_model::kubernetes::{
    ClusterAccess, ClusterSignIn, ClusterTarget, KubernetesAction, KubernetesTask, Manifests, TextFile,
};
use manifold_model::plan::StepKey;
use manifold_model::task::{FileSource, Outcome, Payload, Task, TaskResult, TaskStep};
use manifold_model::{ExecutionId, Failure};
use manifold_testkit::cluster::Cluster;

/// A cluster by URL and token.
pub fn target(cluster: &Cluster) -> ClusterTarget {
    let ca = Some(cluster.ca_pem().unwrap());
    by(cluster.name(), cluster.url(), ca, ClusterSignIn::Token { token: "safeharness:token".to_owned() })
}

/// A cluster by URL.
pub fn by(name: &str, url: &str, ca: Option<String>, sign_in: ClusterSignIn) -> ClusterTarget {
    let access = ClusterAccess::Url { url: url.to_owned(), ca, sign_in, insecure: false };
    ClusterTarget { name: name.to_owned(), access }
}

/// Secrets of a cluster.
pub fn known(cluster: &Cluster) -> Known {
    let (certificate, key) = cluster.client_certificate().unwrap();
    let mut known = Known::default();
    for (name, value) in [
        ("token", cluster.token().to_owned()),
        ("powerless", cluster.powerless_token().to_owned()),
        ("certificate", certificate),
        ("key", key),
        ("ca", cluster.ca_pem().unwrap()),
        ("wrong", "not-a-token".to_owned()),
        ("password", "pa:ss word".to_owned()),
    ] {
        known.secrets.insert(name.to_owned(), value);
    }
    known
}

/// A driver without helm.
pub fn driver() -> KubernetesDriver {
    KubernetesDriver::new(KubernetesSettings::default())
}

/// A release in a namespace of its own, and what deploys to it.
pub struct Release {
    pub cluster: Arc<Cluster>,
    pub namespace: String,
    pub name: String,
    pub target: ClusterTarget,
    pub driver: KubernetesDriver,
    /// Seconds that a task has.
    pub seconds: u64,
}

/// What came of a task.
pub struct Done {
    pub outcome: Outcome,
    pub log: String,
}

impl Release {
    pub fn new(cluster: &Arc<Cluster>, prefix: &str) -> Self {
        Self {
            cluster: Arc::clone(cluster),
            namespace: cluster.namespace(prefix).unwrap(),
            name: format!("release-{prefix}"),
            target: target(cluster),
            driver: driver(),
            seconds: 60,
        }
    }

    /// A task; the same execution and step are the same task. Manifests: (path, text).
    pub fn task(
        &self,
        execution: &str,
        step: &str,
        action: KubernetesAction,
        files: &[(&str, &str)],
    ) -> Task {
        let execution = ExecutionId::from(execution);
        let key = step.bytes().map(u32::from).sum::<StepKey>();
        let source = |path: &str| FileSource::Document { path: path.to_owned(), revision: 1 };
        let files = files
            .iter()
            .map(|(path, _)| TextFile { path: (*path).to_owned(), source: source(path) })
            .collect();
        Task {
            id: Task::id_of(&execution, key, 1, None),
            kind: "K8S_DEPLOYMENT_ROLLING".into(),
            class: Class::Probeable,
            attempt: 1,
            step: Some(TaskStep { execution, step: key, name: step.to_owned(), instance: None }),
            log: "log".into(),
            timeout_ms: self.seconds * 1000,
            selectors: Vec::new(),
            capabilities: Vec::new(),
            payload: Payload::Kubernetes(Box::new(KubernetesTask {
                cluster: self.target.clone(),
                namespace: self.namespace.clone(),
                release: self.name.clone(),
                manifests: Manifests { files, ..Manifests::default() },
                action,
            })),
        }
    }

    /// Secrets and files.
    pub fn resolver(&self, files: &[(&str, &str)]) -> Arc<dyn Resolver> {
        let mut known = known(&self.cluster);
        for (path, text) in files {
            known.files.insert((*path).to_owned(), Bytes::copy_from_slice(text.as_bytes()));
        }
        Arc::new(known)
    }

    pub async fn perform(&self, task: &Task, files: &[(&str, &str)]) -> Done {
        let (context, log) = context(self.resolver(files));
        let outcome = self.driver.perform(task, &context).await;
        Done { outcome, log: log.all() }
    }

    /// Rolls one file out.
    pub async fn roll(&self, execution: &str, text: &str) -> Done {
        let files = [("all.yaml", text)];
        self.perform(&self.task(execution, "roll", rollout(), &files), &files).await
    }

    /// Does something without manifests.
    pub async fn act(&self, execution: &str, step: &str, action: KubernetesAction) -> Done {
        self.perform(&self.task(execution, step, action, &[]), &[]).await
    }

    pub async fn roll_back(&self, execution: &str) -> Done {
        self.act(execution, "back", KubernetesAction::RollbackRollout {}).await
    }

    /// The image of a workload's first container.
    pub fn image(&self, kind: &str, name: &str) -> String {
        let object = self.cluster.get(kind, &self.namespace, name).unwrap();
        object["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
    }

    pub fn names(&self, kind: &str) -> Vec<String> {
        let listed = self.cluster.list(kind, &self.namespace, "").unwrap();
        listed.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }
}

impl Done {
    pub fn failure(&self) -> &Failure {
        match &self.outcome.result {
            TaskResult::Failed { failure } => failure,
            other => panic!("{other:?}\n{}", self.log),
        }
    }

    pub fn good(&self) -> &Self {
        assert_eq!(self.outcome.result, TaskResult::Succeeded, "{}", self.log);
        self
    }
}

pub fn rollout() -> KubernetesAction {
    KubernetesAction::Rollout { skip_dry_run: false, export: false }
}

/// A Deployment.
pub fn deployment(name: &str, tag: &str, replicas: u32) -> String {
    workload("Deployment", name, tag, replicas, "")
}

/// A workload; `more` is added to its container, indented by ten.
pub fn workload(kind: &str, name: &str, tag: &str, replicas: u32, more: &str) -> String {
    let replicas = match kind {
        "DaemonSet" => String::new(),
        "StatefulSet" => format!("  replicas: {replicas}\n  serviceName: {name}\n"),
        _ => format!("  replicas: {replicas}\n"),
    };
    format!(
        "---\napiVersion: apps/v1\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n{replicas}  selector:\n    matchLabels: {{app: {name}}}\n  \
         template:\n    metadata:\n      labels: {{app: {name}}}\n    spec:\n      containers:\n        - name: app\n          \
         image: registry.example/app:{tag}\n{more}"
    )
}

/// A ConfigMap.
pub fn config(name: &str, value: &str) -> String {
    format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  key: {value}\n")
}
