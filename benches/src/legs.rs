//! P4, P5, P6, P7: legs of five steps that do nothing, through the real binary and its public API, against a bare loop that makes the same
//! number of appends to the same kind of store.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use manifold_testkit::server::{Server, until};

use crate::report::{self, ROUNDS, figure};
use crate::tree::{self, APPLICATION, PIPELINE};
use crate::{process, steps};

/// Legs, unless told otherwise.
pub const LEGS: u32 = 10_000;
/// Steps of a leg.
const STEPS: u32 = 5;
/// How long a run may take before the measurement gives up.
const LIMIT: Duration = Duration::from_secs(300);

/// What one run took.
struct Run {
    accepted: Duration,
    wall: Duration,
    cpu: Duration,
    peak_memory: f64,
}

/// Measures and prints.
pub async fn measure(binary: &Path, legs: u32) -> Result<()> {
    report::head(&format!("legs: {legs} legs x {STEPS} NOOP steps, start to done (P4, P5, P6)"));
    let bare = steps::measure(legs).await?;
    let mut runs = Vec::new();
    for _ in 0..ROUNDS {
        runs.push(undisturbed(binary, legs).await?);
    }
    let of = |pick: fn(&Run) -> f64| report::median(runs.iter().map(pick).collect());
    let count = f64::from(legs * STEPS);
    let wall = of(|run| run.wall.as_secs_f64());
    let cpu = of(|run| run.cpu.as_secs_f64()) * 1e6 / count;
    figure("request to answer", of(|run| report::ms(run.accepted)), "ms", "");
    figure("start to done", wall, "s", "<= 5");
    figure("peak memory", of(|run| run.peak_memory), "MiB", "<= 400");
    figure("durable steps", count / wall, "/s", ">= 20000");
    figure("server CPU a step, delegate included", cpu, "us", "<= 50");
    figure("wall over the bare appends", wall / bare.wall.as_secs_f64().max(f64::EPSILON), "x", "");
    figure("CPU over the bare appends", cpu / bare.cpu_a_step.max(f64::EPSILON), "x", "");
    disturbed(binary, legs).await
}

async fn server(binary: &Path, legs: u32) -> Result<(Server, String)> {
    let server = Server::start(binary, &["--enable-test-kinds"]).await?;
    let steps: String =
        (1..=STEPS).map(|number| format!("    - type: NOOP\n      name: step {number}\n")).collect();
    let names: Vec<String> = (0..legs).map(|number| format!("region-{number:05}")).collect();
    let infrastructures: Vec<_> =
        names.iter().map(|name| (name.clone(), vec![format!("host-of-{name}")])).collect();
    server.import(&tree::application(&steps, &infrastructures)).await?;
    Ok((server, names.join(",")))
}

async fn undisturbed(binary: &Path, legs: u32) -> Result<Run> {
    let (server, names) = server(binary, legs).await?;
    let pid = server.pid().context("the server has ended")?;
    let (began, cpu) = (Instant::now(), process::cpu(pid)?);
    let execution =
        server.started((APPLICATION, "pipeline", PIPELINE), &[("infrastructure", &names)], &[]).await?;
    let accepted = began.elapsed();
    let status = server.ended(&execution, LIMIT).await?;
    let wall = began.elapsed();
    ensure!(status == "SUCCESS", "the pipeline ended {status}");
    Ok(Run { accepted, wall, cpu: process::cpu(pid)? - cpu, peak_memory: process::peak_memory(pid)? })
}

/// Kills the server when about half of the legs have ended, and sees how soon it goes on.
async fn disturbed(binary: &Path, legs: u32) -> Result<()> {
    report::head(&format!("legs: kill -9 with {legs} legs in flight, started again (P7)"));
    let (mut server, names) = server(binary, legs).await?;
    let execution =
        server.started((APPLICATION, "pipeline", PIPELINE), &[("infrastructure", &names)], &[]).await?;
    until("the first legs have ended", LIMIT, async || {
        Ok((ended(&server, &execution).await? > 0).then_some(()))
    })
    .await?;
    server.kill().await?;
    let began = Instant::now();
    server.start_again().await?;
    let ready = began.elapsed();
    let before = ended(&server, &execution).await?;
    until("a leg ends", LIMIT, async || Ok((ended(&server, &execution).await? > before).then_some(())))
        .await?;
    let resumed = began.elapsed();
    let status = server.ended(&execution, LIMIT).await?;
    ensure!(status == "SUCCESS", "the pipeline ended {status}");
    figure("legs that had ended when it was started again", before as f64, "", "");
    figure("exec to ready", report::ms(ready), "ms", "");
    figure("exec to the first leg that ends", report::ms(resumed), "ms", "<= 1000");
    figure("exec to all done", began.elapsed().as_secs_f64(), "s", "all working <= 5");
    Ok(())
}

/// How many legs have ended, by the pipeline's journal.
async fn ended(server: &Server, execution: &str) -> Result<usize> {
    let events = server.events(execution).await?;
    Ok(events.iter().filter_map(|event| event.pointer("/ends")?.as_array()).map(Vec::len).sum())
}
