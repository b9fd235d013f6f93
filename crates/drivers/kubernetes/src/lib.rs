//! The driver for Kubernetes clusters (`behaviour.md` 22).

pub mod apply;
pub mod apply_step;
pub mod blue_green;
pub mod canary;
pub mod cluster;
pub mod connect;
pub mod delete;
pub mod discovery;
pub mod helm;
pub mod history;
pub mod job;
pub mod kinds;
pub mod label;
pub mod limits;
pub mod object;
pub mod ownership;
pub mod parse;
mod perform;
pub mod reasons;
pub mod record;
pub mod release;
pub mod render;
pub mod revision;
pub mod rollback;
pub mod rollout;
pub mod rollout_status;
pub mod scale;
pub mod section;
pub mod services;
pub mod steady;
pub mod swap;
pub mod trouble;
pub mod values;
pub mod version;
pub mod workload;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use manifold_driver::{Context, Driver, Found, wrong_payload};
use manifold_model::kind::KindSpec;
use manifold_model::task::{Outcome, Payload, Task};

use connect::Clusters;
use helm::Helm;

/// What a delegate has for tasks on clusters.
#[derive(Clone, Default, Debug)]
pub struct KubernetesSettings {
    /// The program `helm`, for manifests that are Go templates.
    pub helm: Option<PathBuf>,
    /// The delegate's own kubeconfig, instead of what `KUBECONFIG` and the home directory say.
    pub kubeconfig: Option<PathBuf>,
}

/// The kinds on Kubernetes clusters ([`kinds`]).
pub struct KubernetesDriver {
    clusters: Arc<Clusters>,
    helm: Option<Helm>,
}

impl KubernetesDriver {
    /// A driver without connections yet.
    #[must_use]
    pub fn new(settings: KubernetesSettings) -> Self {
        Self { clusters: Arc::new(Clusters::new(settings.kubeconfig)), helm: settings.helm.map(Helm::new) }
    }

    /// What the delegate can do with it beyond what every delegate can: `helm` when it is there.
    #[must_use]
    pub fn capabilities(&self) -> Vec<String> {
        self.helm.iter().map(|_| "helm".to_owned()).collect()
    }
}

#[async_trait]
impl Driver for KubernetesDriver {
    fn kinds(&self) -> Vec<KindSpec> {
        kinds::specs()
    }

    async fn perform(&self, task: &Task, context: &Context) -> Outcome {
        match &task.payload {
            Payload::Kubernetes(kubernetes) => {
                perform::perform(&self.clusters, self.helm.as_ref(), task, kubernetes, context).await
            }
            _ => Outcome::failed(wrong_payload(task)),
        }
    }

    async fn probe(&self, task: &Task, context: &Context) -> Found {
        match &task.payload {
            Payload::Kubernetes(kubernetes) => {
                perform::probe(&self.clusters, task, kubernetes, context).await
            }
            _ => Found::NotStarted,
        }
    }
}
