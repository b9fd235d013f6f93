//! Commands and scripts on SSH hosts, files to them, and the artifact sources that serve files.

use std::sync::Arc;

use async_trait::async_trait;
use manifold_driver::clock::now;
use manifold_driver::command::{Attempt, Settings};
use manifold_driver::{Context, Driver, Found, script, wrong_payload};
use manifold_model::Failure;
use manifold_model::kind::{Class, KindSpec, Player, PropertySpec, Stand};
use manifold_model::task::{HostTarget, Outcome, Payload, Task};
use tokio::sync::Semaphore;

pub mod artifact;
pub mod collect;
pub mod connection;
pub mod host;
pub mod known_hosts;
pub mod transfer;
mod units;

pub use collect::ArtifactDriver;
pub use connection::{Dialer, HostKeyPolicy, SshConfig};
use host::Host;

/// Infrastructure item type of physical hosts.
const HOSTS: &str = "PHYSICAL_DATA_CENTER_SSH";

/// The kinds `COMMAND` and `SHELL_SCRIPT_ON_HOST`.
pub struct SshDriver {
    dialer: Arc<Dialer>,
    attempts: Arc<Settings>,
    /// Files on their way at once; bounds the bytes.
    flight: Semaphore,
}

impl SshDriver {
    /// A driver with these settings.
    #[must_use]
    pub fn new(config: SshConfig) -> Self {
        let attempts = Arc::new(config.attempts.clone());
        let flight = Semaphore::new(units::files_in_flight(config.bytes_in_flight));
        Self { dialer: Arc::new(Dialer::new(config)), attempts, flight }
    }

    /// The dialler, so that an [`ArtifactDriver`] shares its limits and host keys.
    #[must_use]
    pub fn dialer(&self) -> Arc<Dialer> {
        Arc::clone(&self.dialer)
    }

    fn host(&self, target: &HostTarget, context: &Context, programs: usize) -> Host {
        Host::new(Arc::clone(&self.dialer), target.clone(), Arc::clone(&context.resolver), programs)
    }

    fn attempt(&self, task: &Task) -> Attempt {
        Attempt::of(&self.attempts, &task.id, task.attempt)
    }
}

fn property(name: &str, required: bool, strict: bool) -> PropertySpec {
    PropertySpec { name: name.to_owned(), required, strict }
}

fn command() -> KindSpec {
    KindSpec {
        name: "COMMAND".into(),
        class: Class::Probeable,
        class_by: Vec::new(),
        rolled_back_by: None,
        player: Player::Instances,
        stands: vec![Stand::Phase, Stand::Rollback],
        properties: vec![
            property("commandName", true, true),
            property("timeoutMillis", false, true),
            property("delegateSelectors", false, true),
            property("executeOnDelegate", false, true),
            property("templateUuid", false, true),
            property("templateVariables", false, false),
            property("templateVersion", false, true),
        ],
        capabilities: Vec::new(),
        touches_infrastructure: true,
        infrastructure_types: vec![HOSTS.to_owned()],
        reads_manifests: false,
        deploys: true,
        test_only: false,
    }
}

fn shell_script() -> KindSpec {
    let strict = [
        "host",
        "timeoutMillis",
        "commandPath",
        "executeOnDelegate",
        "connectionType",
        "connectionAttributeName",
        "connectionAttributes",
        "sshKeyRefName",
        "sshKeyRef",
        "scriptType",
        "outputVars",
        "secretOutputVars",
        "publishAsVar",
        "sweepingOutputName",
        "sweepingOutputScope",
        "delegateSelectors",
        "includeInfraSelectors",
        "templateUuid",
        "templateVersion",
    ];
    let mut properties =
        vec![property("scriptString", true, false), property("templateVariables", false, false)];
    properties.extend(strict.map(|name| property(name, false, true)));
    KindSpec {
        name: "SHELL_SCRIPT_ON_HOST".into(),
        stands: vec![Stand::PreDeployment, Stand::Phase, Stand::Rollback, Stand::PostDeployment],
        properties,
        // A script may look or act; FirstGen does not count it as a deployment.
        deploys: false,
        ..command()
    }
}

#[async_trait]
impl Driver for SshDriver {
    fn kinds(&self) -> Vec<KindSpec> {
        vec![command(), shell_script()]
    }

    async fn perform(&self, task: &Task, context: &Context) -> Outcome {
        let started_at = now();
        let mut outcome = match &task.payload {
            Payload::Command(command) => units::perform(self, task, command, context).await,
            Payload::Script(script) => match &script.host {
                Some(target) => {
                    let host = self.host(target, context, 1);
                    let outcome = script::perform(&host, self.attempt(task), task, script, context).await;
                    host.leave().await;
                    outcome
                }
                None => Outcome::failed(wrong_payload(task)),
            },
            _ => Outcome::failed(wrong_payload(task)),
        };
        (outcome.started_at, outcome.ended_at) = (started_at, now());
        outcome
    }

    async fn probe(&self, task: &Task, context: &Context) -> Found {
        match &task.payload {
            Payload::Command(command) => units::probe(self, task, command, context).await,
            Payload::Script(script) => match &script.host {
                Some(target) => {
                    let host = self.host(target, context, 2);
                    script::probe(&host, &self.attempt(task), task, script, context).await
                }
                None => Found::NotStarted,
            },
            _ => Found::NotStarted,
        }
    }

    async fn stop(&self, task: &Task, context: &Context) -> Result<(), Failure> {
        match &task.payload {
            Payload::Command(command) => units::stop(self, task, command, context).await,
            Payload::Script(script) => match &script.host {
                Some(target) => {
                    let host = self.host(target, context, 1);
                    let stopped = script::stop(&host, &self.attempt(task)).await;
                    host.leave().await;
                    stopped
                }
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}
