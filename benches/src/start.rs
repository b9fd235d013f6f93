//! P12: a server on an empty store, from exec to ready, and the memory it then has.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use manifold_testkit::server::Server;

use crate::process;
use crate::report::{self, ROUNDS, figure};

/// Measures and prints.
pub async fn measure(binary: &Path) -> Result<()> {
    report::head("start: a server on an empty store (P12)");
    let (mut times, mut bare, mut memories) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        Command::new(binary).arg("--version").output().context("run the binary")?;
        bare.push(report::ms(began.elapsed()));
        let began = Instant::now();
        let server = Server::start(binary, &[]).await?;
        times.push(report::ms(began.elapsed()));
        memories.push(process::peak_memory(server.pid().context("the server has ended")?)?);
    }
    let (ready, bare) = (report::median(times), report::median(bare));
    figure("exec to ready", ready, "ms", "<= 100");
    figure("ratio to `manifold --version`", ready / bare.max(f64::EPSILON), "x", "");
    figure("peak memory", report::median(memories), "MiB", "<= 40");
    Ok(())
}
