//! The delegate inside the server: the same code as elsewhere, over an in-memory stream.

use std::time::Duration;

use manifold_delegate::{Delegate, DelegateConfig, Ended};
use manifold_model::DelegateId;
use manifold_runtime::{Origin, Runtime, serve_delegate};
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::drivers::drivers;

/// Name of the delegate inside the server.
const NAME: &str = "embedded";
/// Buffer of the in-memory stream in each direction, bytes.
const STREAM: usize = 1024 * 1024;
/// Pause before a broken connection is made anew.
const REDIAL: Duration = Duration::from_millis(200);

/// Runs the delegate until the shutdown, connecting anew whenever the connection breaks.
pub async fn run(runtime: Runtime, settings: Settings, node: String, shutdown: CancellationToken) {
    let mut config = identity(&settings, &node);
    config.max_tasks = settings.limits.delegate_tasks;
    let (drivers, capabilities) = drivers(&settings.drivers());
    config.capabilities = capabilities;
    let delegate = Delegate::new(config, drivers);
    while !shutdown.is_cancelled() {
        let (ours, theirs) = tokio::io::duplex(STREAM);
        let server = runtime.clone();
        let serving = tokio::spawn(async move { serve_delegate(&server, theirs, Origin::Inside).await });
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

/// Who the delegate is: where servers share the store, each has one of its own.
fn identity(settings: &Settings, node: &str) -> DelegateConfig {
    if settings.database_url.is_none() {
        return DelegateConfig::new(DelegateId::derived(&["delegate", NAME]), NAME);
    }
    let id = DelegateId::derived(&["delegate", NAME, node]);
    let mut config = DelegateConfig::new(id, format!("{NAME}-{node}"));
    config.selectors.push(NAME.to_owned());
    config
}
