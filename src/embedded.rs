//! The delegate inside the server: the same code as elsewhere, over an in-memory stream.

use std::sync::Arc;
use std::time::Duration;

use manifold_delegate::{Delegate, DelegateConfig, Ended};
use manifold_driver::Driver;
use manifold_driver::noop::NoopDriver;
use manifold_driver_http::HttpDriver;
use manifold_driver_kubernetes::{KubernetesDriver, KubernetesSettings};
use manifold_driver_script::ScriptDriver;
use manifold_driver_ssh::{ArtifactDriver, Dialer, HostKeyPolicy, SshConfig, SshDriver};
use manifold_model::DelegateId;
use manifold_model::unused::Offer;
use manifold_runtime::{Runtime, serve_delegate};
use tokio_util::sync::CancellationToken;

use crate::config::{HostKeys, Settings};

/// Name of the delegate inside the server.
const NAME: &str = "embedded";
/// Buffer of the in-memory stream in each direction, bytes.
const STREAM: usize = 1024 * 1024;
/// Pause before a broken connection is made anew.
const REDIAL: Duration = Duration::from_millis(200);

/// Runs the delegate until the shutdown, connecting anew whenever the connection breaks.
pub async fn run(runtime: Runtime, settings: Settings, shutdown: CancellationToken) {
    let mut config = DelegateConfig::new(DelegateId::derived(&["delegate", NAME]), NAME);
    config.max_tasks = settings.limits.delegate_tasks;
    let kubernetes = kubernetes(&settings);
    config.capabilities = kubernetes.capabilities();
    let delegate = Delegate::new(config, drivers(&settings, kubernetes));
    while !shutdown.is_cancelled() {
        let (ours, theirs) = tokio::io::duplex(STREAM);
        let server = runtime.clone();
        let serving = tokio::spawn(async move { serve_delegate(&server, theirs).await });
        match delegate.run(ours, shutdown.clone()).await {
            Ok(Ended::Shutdown) => {}
            Ok(_) => tracing::info!("the delegate inside the server connects anew"),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the delegate inside the server lost its connection"
            ),
        }
        if let Ok(Err(error)) = serving.await {
            tracing::error!(error = &error as &dyn std::error::Error, "a delegate's connection broke");
        }
        if !shutdown.is_cancelled() {
            tokio::time::sleep(REDIAL).await;
        }
    }
}

/// What this build can run: the kinds of steps that the engine plays and those of its drivers. A script on a host is the same step as one on the
/// delegate to whoever writes it.
pub fn offer() -> Offer {
    let settings = Settings::default();
    let drivers = drivers(&settings, kubernetes(&settings));
    let mut kinds = manifold_engine::kinds();
    kinds.extend(drivers.iter().flat_map(|driver| driver.kinds()));
    Offer::of(&kinds)
}

/// All drivers of this build.
fn drivers(settings: &Settings, kubernetes: KubernetesDriver) -> Vec<Arc<dyn Driver>> {
    let ssh = ssh(settings);
    let here = manifold_driver::command::Settings {
        root: settings.data.join("attempts").to_string_lossy().into_owned(),
        kubeconfig: settings.kubernetes.kubeconfig.clone(),
        ..manifold_driver::command::Settings::default()
    };
    let mut drivers: Vec<Arc<dyn Driver>> = vec![
        Arc::new(SshDriver::new(ssh.clone())),
        Arc::new(ArtifactDriver::new(Arc::new(Dialer::new(ssh)), here.clone())),
        Arc::new(ScriptDriver::new(here)),
        Arc::new(HttpDriver::default()),
        Arc::new(kubernetes),
    ];
    if settings.enable_test_kinds {
        drivers.push(Arc::new(NoopDriver));
    }
    drivers
}

fn kubernetes(settings: &Settings) -> KubernetesDriver {
    let kubeconfig = settings.kubernetes.kubeconfig.clone();
    KubernetesDriver::new(KubernetesSettings { helm: settings.helm(), kubeconfig })
}

fn ssh(settings: &Settings) -> SshConfig {
    SshConfig {
        host_keys: match settings.ssh.host_keys {
            HostKeys::KnownHosts => HostKeyPolicy::KnownHosts,
            HostKeys::AcceptNew => HostKeyPolicy::AcceptNew,
        },
        known_hosts: settings.known_hosts(),
        ..SshConfig::default()
    }
}
