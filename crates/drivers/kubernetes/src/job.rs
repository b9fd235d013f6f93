//! A task that is being done, and what its actions share: connection, log, manifests, outputs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use manifold_driver::Context;
use manifold_model::kubernetes::{KubernetesTask, output};
use manifold_model::task::{OutputValue, Task};
use manifold_model::{Failure, FailureClass, code};
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::connect::Clusters;
use crate::helm::Helm;
use crate::label;
use crate::record::Place;
use crate::render::{Files, Rendering, Request, render};
use crate::section::{FETCH, INITIALIZE};

/// Outputs by name.
pub type Outputs = BTreeMap<String, OutputValue>;

/// Bytes of manifests that an export step hands on: they travel with every task that inherits them.
const EXPORT_LIMIT: usize = 1 << 20;

/// A task that is being done.
pub struct Job<'a> {
    /// The task.
    pub task: &'a Task,
    /// What to do.
    pub kubernetes: &'a KubernetesTask,
    /// Log, cancellation, secrets.
    pub context: &'a Context,
    /// The cluster.
    pub cluster: Cluster,
    /// Where the release's history is.
    pub place: Place,
    /// Helm, where it is installed.
    pub helm: Option<&'a Helm>,
    /// What is true however the task ends.
    said: &'a Mutex<Outputs>,
}

impl<'a> Job<'a> {
    /// Begins it: nothing is sent yet.
    ///
    /// # Errors
    /// The release cannot have this name, or a credential cannot be opened.
    pub async fn begin(
        clusters: &Arc<Clusters>,
        helm: Option<&'a Helm>,
        task: &'a Task,
        kubernetes: &'a KubernetesTask,
        context: &'a Context,
        time: (Instant, Duration),
        said: &'a Mutex<Outputs>,
    ) -> Result<Self, Failure> {
        let resolver = context.resolver.as_ref();
        label::check_release(&kubernetes.release)?;
        let cluster = Cluster::connect(clusters, &kubernetes.cluster, resolver, time).await?;
        let place = Place::of(&kubernetes.namespace, &kubernetes.release);
        Ok(Self { task, kubernetes, context, cluster, place, helm, said })
    }

    /// Says what holds from now on, even when the task fails or is stopped later: a rollback finds by it what is in the cluster.
    pub fn say(&self, outputs: &Outputs) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).extend(outputs.clone());
    }

    /// Renders manifests and says in the log what was rendered.
    ///
    /// # Errors
    /// As [`render`].
    pub async fn render(&self, files: Files<'_>) -> Result<Rendering, Failure> {
        let KubernetesTask { manifests, release, namespace, .. } = self.kubernetes;
        let deadline = self.cluster.deadline();
        let request = Request { manifests, files, release, namespace, helm: self.helm, deadline };
        let rendering = render(&request, self.context.resolver.as_ref()).await?;
        for note in &rendering.notes {
            self.note(FETCH, note).await;
        }
        let line = format!("{} files, {} objects", manifests.files.len(), rendering.objects.len());
        self.note(FETCH, &line).await;
        for object in &rendering.objects {
            self.note(INITIALIZE, &format!("{} {}", object.api_version(), object.resource())).await;
        }
        Ok(rendering)
    }

    /// The output of an export step: the rendered text, sealed when a secret is in it.
    ///
    /// # Errors
    /// It is too large, or cannot be sealed.
    pub async fn exported(&self, rendering: Rendering) -> Result<Outputs, Failure> {
        if rendering.text.len() > EXPORT_LIMIT {
            let bytes = rendering.text.len();
            let message =
                format!("the rendered manifests have {bytes} bytes, {EXPORT_LIMIT} can be exported");
            return Err(Failure::new(FailureClass::Application, code!("K8S_MANIFESTS_TOO_LARGE"), message)
                .hint("let the steps render the manifests themselves"));
        }
        let value = match rendering.secret {
            true => {
                let sealed = self.context.resolver.seal(output::MANIFESTS, &rendering.text).await?;
                OutputValue { value: String::new(), secret: true, sealed: Some(sealed) }
            }
            false => OutputValue { value: rendering.text, secret: false, sealed: None },
        };
        self.note(INITIALIZE, "the manifests are exported; nothing is deployed").await;
        Ok(Outputs::from([(output::MANIFESTS.to_owned(), value)]))
    }

    /// Writes a line.
    pub async fn note(&self, section: &str, line: &str) {
        self.context.log.note(section, line).await;
    }
}
