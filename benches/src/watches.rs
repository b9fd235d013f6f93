//! Memory of legs that wait for a workload to get steady: each watches a Deployment whose pod never gets ready, in a namespace of its own; against
//! bare watches of the same Deployments in this process.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use manifold_testkit::cluster::Cluster;
use manifold_testkit::server::{Server, until};

use crate::report::{self, figure};
use crate::tree::{APPLICATION, PIPELINE};
use crate::{kube_client, kubernetes_tree, process};

/// Legs, unless told otherwise.
pub const LEGS: u32 = 1_000;
/// How long it may take until all of them wait.
const LIMIT: Duration = Duration::from_secs(900);
/// Between two questions how many wait: each is a large answer.
const PAUSE: Duration = Duration::from_secs(2);
/// How long all wait before memory is looked at again: each has told the reasons a few times then.
const LATER: Duration = Duration::from_secs(60);
/// Places of the delegate that no leg needs.
const SPARE: u32 = 24;

/// Measures and prints.
pub async fn measure(binary: &Path, legs: u32) -> Result<()> {
    report::head(&format!("watches: memory of {legs} legs that wait for a Deployment that never gets ready"));
    let cluster = Cluster::start("bench")?;
    let client = kube_client::client(&cluster).await?;
    let namespaces: Vec<String> = (0..legs).map(|number| format!("waiting-{number:05}")).collect();
    kube_client::make_namespaces(&client, &namespaces).await?;
    product(binary, &cluster, &namespaces).await?;
    let before = process::memory(std::process::id())?;
    let watches = kube_client::watch_all(&client, &namespaces).await?;
    let after = process::memory(std::process::id())?;
    ensure!(watches.len() == namespaces.len(), "not all watches were opened");
    figure("bare watches of the kube client: each", (after - before) * 1024.0 / f64::from(legs), "KiB", "");
    Ok(())
}

async fn product(binary: &Path, cluster: &Cluster, namespaces: &[String]) -> Result<()> {
    let legs = u32::try_from(namespaces.len())?;
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("manifold.toml");
    std::fs::write(&config, format!("[limits]\ndelegate_tasks = {}\n", legs + SPARE))?;
    let server = Server::start(binary, &["--config", &*config.to_string_lossy()]).await?;
    kubernetes_tree::introduce(&server, cluster).await?;
    server.import(&kubernetes_tree::small(cluster, namespaces)).await?;
    let pid = server.pid().context("the server has ended")?;
    let (empty, before) = (watched(cluster)?, process::memory(pid)?);
    let infrastructures = namespaces.join(",");
    let execution = server
        .started(
            (APPLICATION, "pipeline", PIPELINE),
            &[("infrastructure", &infrastructures)],
            &[("cart", "v1-never")],
        )
        .await?;
    until("all legs wait", LIMIT, async || {
        let status = server.status(&execution).await?;
        let open = matches!(status.as_str(), "QUEUED" | "RUNNING");
        ensure!(open, "the pipeline is {status}: {}", server.failures(&execution).await?);
        if watched(cluster)? - empty >= f64::from(legs) {
            return Ok(Some(()));
        }
        tokio::time::sleep(PAUSE).await;
        Ok(None)
    })
    .await?;
    let waiting = process::memory(pid)?;
    let cpu = process::cpu(pid)?;
    tokio::time::sleep(LATER).await;
    let (later, cpu) = (process::memory(pid)?, process::cpu(pid)? - cpu);
    let each = |memory: f64| (memory - before) * 1024.0 / f64::from(legs);
    figure("product: resident before, all definitions imported", before, "MiB", "");
    figure("product: resident when all wait", waiting, "MiB", "");
    figure("product: resident a minute later", later, "MiB", "");
    figure("product: a leg that waits, the leg included", each(waiting), "KiB", "");
    figure("product: the same a minute later", each(later), "KiB", "");
    figure("product: CPU of all while they wait", report::ms(cpu) / LATER.as_secs_f64(), "ms/s", "");
    figure("product: peak memory", process::peak_memory(pid)?, "MiB", "");
    Ok(())
}

/// Watches of Deployments at the API server, its controllers' included.
fn watched(cluster: &Cluster) -> Result<f64> {
    let labels = ["resource=\"deployments\"", "verb=\"WATCH\""];
    kube_client::counted(cluster, "apiserver_longrunning_requests", &labels)
}
