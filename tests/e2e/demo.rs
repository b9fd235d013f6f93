//! `manifold demo --once`: the main job on a machine with nothing installed.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// How long the demonstration may take.
const DEMO: Duration = Duration::from_secs(120);

#[tokio::test]
async fn the_demonstration_goes_as_told() -> Result<()> {
    let running =
        Command::new(crate::BINARY).args(["demo", "--once"]).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(DEMO, running).await.context("the demonstration hangs")??;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(0), "{said}{complaints}");
    for part in [
        "12 hosts of an SSH fleet",
        "1. Release 1.0 goes to eu, us, ap",
        "2. Release 2.0",
        "ap failed its health check, rolled back alone and serves 1.0; the others keep 2.0",
    ] {
        ensure!(said.contains(part), "{part:?} is not in {said}");
    }
    ensure!(!said.contains("NOT AS TOLD"), "{said}");
    Ok(())
}
