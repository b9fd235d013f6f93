//! P9: namespaces of one real API server that each get a release of a Deployment, a Service and a `ConfigMap`, and then the next one: through the
//! real binary and its public API, against bare kube clients in the same run. One bare client makes the requests that such a release needs (each
//! object looked at, tried, applied, the release written down before and after), the other applies and watches and nothing else.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::Client;
use manifold_testkit::cluster::Cluster;
use manifold_testkit::server::Server;

use crate::kube_client::{self, Care};
use crate::report::{self, ROUNDS, figure};
use crate::tree::{APPLICATION, PIPELINE};
use crate::{kubernetes_tree, process};

/// Namespaces, unless told otherwise.
pub const NAMESPACES: u32 = 50;
/// Releases in each namespace: the first, and one that updates it.
const RELEASES: [(u32, &str); 2] = [(1, "first"), (2, "update")];
/// How long a run may take before the measurement gives up.
const LIMIT: Duration = Duration::from_secs(300);

/// Who deploys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Minimal,
    Bare,
    Product,
}

const ALL: [Who; 3] = [Who::Minimal, Who::Bare, Who::Product];

/// What one run took.
struct Run {
    who: Who,
    release: u32,
    wall: Duration,
    cpu: Duration,
    /// At the API server, those of its controllers included.
    requests: f64,
}

/// The cluster and who deploys to it.
struct Scene {
    cluster: Cluster,
    client: Client,
    server: Server,
}

/// Measures and prints.
pub async fn measure(binary: &Path, count: u32) -> Result<()> {
    report::head(&format!(
        "kubernetes: {count} namespaces of one API server, 3 objects and 3 pods in each (P9)"
    ));
    let cluster = Cluster::start("bench")?;
    let client = kube_client::client(&cluster).await?;
    let server = Server::start(binary, &[]).await?;
    kubernetes_tree::introduce(&server, &cluster).await?;
    let definitions: Vec<String> = (1..=ROUNDS).flat_map(|round| names(Who::Product, round, count)).collect();
    server.import(&kubernetes_tree::whole(&cluster, &definitions)).await?;
    let scene = Scene { cluster, client, server };
    let mut runs = Vec::new();
    for round in 1..=ROUNDS {
        // The cluster gets fuller: nobody is always first or last.
        let mut order = ALL;
        order.rotate_left(round % ALL.len());
        for who in order {
            kube_client::make_namespaces(&scene.client, &names(who, round, count)).await?;
        }
        for (release, _) in RELEASES {
            for who in order {
                runs.push(run(&scene, who, &names(who, round, count), release).await?);
            }
        }
    }
    RELEASES.into_iter().for_each(|(release, name)| tell(&runs, release, name, f64::from(count)));
    let pid = scene.server.pid().context("the server has ended")?;
    figure("product: peak memory", process::peak_memory(pid)?, "MiB", "");
    Ok(())
}

fn names(who: Who, round: usize, count: u32) -> Vec<String> {
    let prefix = match who {
        Who::Minimal => "minimal",
        Who::Bare => "bare",
        Who::Product => "product",
    };
    (0..count).map(|number| format!("{prefix}-{round}-{number:04}")).collect()
}

async fn run(scene: &Scene, who: Who, namespaces: &[String], release: u32) -> Result<Run> {
    let pid = match who {
        Who::Product => scene.server.pid().context("the server has ended")?,
        _ => std::process::id(),
    };
    let requests = || kube_client::counted(&scene.cluster, "apiserver_request_total", &[]);
    let before = requests()?;
    let (began, cpu) = (Instant::now(), process::cpu(pid)?);
    let work = async {
        match who {
            Who::Minimal => kube_client::roll_all(&scene.client, namespaces, release, Care::None).await,
            Who::Bare => kube_client::roll_all(&scene.client, namespaces, release, Care::Full).await,
            Who::Product => deploy(&scene.server, &namespaces.join(","), release).await,
        }
    };
    tokio::time::timeout(LIMIT, work).await.context("not done in time")??;
    let (wall, cpu) = (began.elapsed(), process::cpu(pid)? - cpu);
    Ok(Run { who, release, wall, cpu, requests: requests()? - before })
}

/// From the request to the last outcome that is durable.
async fn deploy(server: &Server, definitions: &str, release: u32) -> Result<()> {
    let build = format!("v{release}");
    let execution = server
        .started((APPLICATION, "pipeline", PIPELINE), &[("infrastructure", definitions)], &[("cart", &build)])
        .await?;
    let status = server.ended(&execution, LIMIT).await?;
    if status != "SUCCESS" {
        eprintln!("{}", server.failures(&execution).await?);
    }
    ensure!(status == "SUCCESS", "the pipeline ended {status}");
    Ok(())
}

fn tell(runs: &[Run], release: u32, name: &str, count: f64) {
    let median = |who: Who, pick: fn(&Run) -> f64| {
        let of_it = runs.iter().filter(|run| run.who == who && run.release == release);
        report::median(of_it.map(pick).collect())
    };
    let wall = |who| median(who, |run| run.wall.as_secs_f64());
    let (minimal, bare, product) = (wall(Who::Minimal), wall(Who::Bare), wall(Who::Product));
    figure(&format!("{name}: bare, apply and watch only: makespan"), minimal, "s", "");
    figure(&format!("{name}: bare, same requests: makespan"), bare, "s", "");
    figure(&format!("{name}: product, request to last outcome durable"), product, "s", "");
    figure(&format!("{name}: product over same requests"), product / bare.max(f64::EPSILON), "x", "<= 1.15");
    figure(&format!("{name}: product over apply and watch"), product / minimal.max(f64::EPSILON), "x", "");
    for (who, of) in
        [(Who::Minimal, "apply and watch"), (Who::Bare, "same requests"), (Who::Product, "product")]
    {
        let cpu = median(who, |run| report::ms(run.cpu)) / count;
        let requests = median(who, |run| run.requests) / count;
        figure(&format!("{name}: {of}: CPU each"), cpu, "ms", "");
        figure(&format!("{name}: {of}: requests each, controllers' too"), requests, "", "");
    }
}
