//! The shipped self-test, shortened: some points of every part, and its report can be had again from its seed.

use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

/// How long the short version may take on a busy machine.
const SHORT: Duration = Duration::from_secs(300);

async fn verify(arguments: &[&str]) -> Result<(Output, String)> {
    let mut command = Command::new(crate::BINARY);
    command.arg("verify").args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(SHORT, command.output()).await.context("the self-test hangs")??;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok((output, said))
}

/// The self-test with a report: what it printed, and the report without what differs from run to run.
async fn reported(arguments: &[&str]) -> Result<(String, Value)> {
    let folder = scratch_folder()?;
    let file = folder.path().join("report.json");
    let file_name = file.to_string_lossy().into_owned();
    let mut all = vec!["--crash", "--report", &file_name];
    all.extend(arguments);
    let (output, said) = verify(&all).await?;
    ensure!(output.status.code() == Some(0), "{said}");
    let mut report: Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    ensure!(report["observed"]["trials"].is_array(), "{report:#}");
    report.as_object_mut().context("no object")?.remove("observed");
    Ok((said, report))
}

fn scratch_folder() -> Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("manifold-test-").tempdir().context("make a folder")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_crash_at_some_points_of_every_part_loses_or_doubles_anything() -> Result<()> {
    let (said, report) = reported(&["--quick", "--seed", "11", "--jobs", "3"]).await?;
    for part in ["10 tried, 10 reached", "0 effects lost, 0 doubled", "all is well"] {
        ensure!(said.contains(part), "{part:?} is not in {said}");
    }
    for field in ["lost", "doubled"] {
        ensure!(report[field] == 0, "{report:#}");
    }
    ensure!(report["tried"] == 10 && report["reached"] == 10, "{report:#}");
    let trials = report["trials"].as_array().context("no trials")?;
    ensure!(trials.len() == 10 && trials.iter().all(|trial| trial["well"] == true), "{report:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_seed_makes_the_same_report() -> Result<()> {
    let arguments = ["--points", "LOCK_REFUSED,BARRIER_BROKEN", "--seed", "12", "--jobs", "4"];
    let (_, one) = reported(&arguments).await?;
    let (_, other) = reported(&arguments).await?;
    ensure!(one == other, "{one:#} {other:#}");
    ensure!(one["trials"].as_array().map(Vec::len) == Some(4), "{one:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_points_are_listed_and_their_number_is_what_the_code_has() -> Result<()> {
    let (output, said) = verify(&["--list"]).await?;
    ensure!(output.status.success(), "{said}");
    let points = manifold_model::crash::all();
    for point in &points {
        ensure!(said.lines().any(|line| line.split(' ').next() == Some(point)), "{point} is not in {said}");
    }
    ensure!(said.contains(&format!("{} points", points.len())), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_that_is_none_is_refused_by_the_test_and_by_the_server() -> Result<()> {
    let (output, said) = verify(&["--crash", "--points", "nowhere"]).await?;
    ensure!(output.status.code() == Some(1) && said.contains("nowhere"), "{said}");
    let mut server = Command::new(crate::BINARY);
    let server = server.arg("server").env("MANIFOLD_CRASH_AT", "nowhere").env("MANIFOLD_CRASH_TEST", "1");
    let output = tokio::time::timeout(SHORT, server.output()).await.context("the server runs")??;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(2) && said.contains("no such point"), "{said}");
    Ok(())
}
