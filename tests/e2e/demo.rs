//! `manifold demo --once`: the main job on a machine with nothing installed, and on clusters that are there already.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use manifold_testkit::cluster::{self, Cluster};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long the demonstration may take.
const DEMO: Duration = Duration::from_secs(120);
/// How long it may take on clusters: a rollout that cannot go on is given its time, and namespaces are waited for.
const ON_CLUSTERS: Duration = Duration::from_secs(300);

async fn demo(arguments: &[&str], limit: Duration) -> Result<(Output, String, String)> {
    let mut command = Command::new(crate::BINARY);
    command.arg("demo").args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(limit, command.output()).await.context("the demonstration hangs")??;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output, said, complaints))
}

#[tokio::test]
async fn the_demonstration_goes_as_told() -> Result<()> {
    let (output, said, complaints) = demo(&["--once"], DEMO).await?;
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

fn argument(cluster: &Cluster) -> String {
    cluster.kubeconfig().display().to_string()
}

/// The two namespaces that a demonstration has said it made are not there any more.
fn all_gone(said: &str, clusters: &[&Cluster]) -> Result<()> {
    let names = said.lines().filter_map(|line| line.strip_prefix("the namespace "));
    let made: BTreeSet<&str> =
        names.filter_map(|rest| rest.split_once(" is made in ")).map(|(name, _)| name).collect();
    ensure!(made.len() == 2, "{made:?} were made: {said}");
    for cluster in clusters {
        let left = cluster.kubectl(&["get", "namespaces", "-o", "name"])?;
        ensure!(!made.iter().any(|name| left.contains(name)), "of {made:?} are left: {left}");
    }
    Ok(())
}

#[tokio::test]
async fn on_two_clusters_the_last_one_alone_goes_back() -> Result<()> {
    let (east, west) = cluster::pair()?;
    let arguments = ["--once", "--kubeconfig", &argument(&east), "--kubeconfig", &argument(&west)];
    let (output, said, complaints) = demo(&arguments, ON_CLUSTERS).await?;
    ensure!(output.status.code() == Some(0), "{said}{complaints}");
    for part in [
        "1. Release 1.0 goes to east, west",
        "2. Release 2.0",
        "east  busybox:1.37.0  2 of 2 pods ready  page \"ok 2.0: hello from east\"",
        "west  busybox:1.36.1  2 of 2 pods ready  page \"ok 1.0: hello from west\"",
        "west could not pull the image of 2.0, rolled back alone and runs 1.0; the others run 2.0",
        "all went as told",
    ] {
        ensure!(said.contains(part), "{part:?} is not in {said}{complaints}");
    }
    // The failure says which image, and why.
    ensure!(said.contains("ImagePull"), "{said}");
    ensure!(!said.contains("NOT AS TOLD"), "{said}");
    all_gone(&said, &[&east, &west])
}

#[tokio::test]
async fn an_interruption_in_the_middle_of_a_rollout_removes_the_namespaces() -> Result<()> {
    let east = cluster::one()?;
    let mut command = Command::new(crate::BINARY);
    command.args(["demo", "--kubeconfig", &argument(&east)]).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn()?;
    let run = async {
        let said = until(&mut child, "2. Release 2.0 names an image for east-2").await?;
        interrupt(&child)?;
        let status = child.wait().await?;
        ensure!(status.code() == Some(130), "{status}: {said}");
        Ok(said)
    };
    let said = tokio::time::timeout(ON_CLUSTERS, run).await.context("the demonstration hangs")??;
    all_gone(&said, &[&east])
}

/// Reads standard output up to a line; what came so far.
async fn until(child: &mut Child, wanted: &str) -> Result<String> {
    let output = child.stdout.take().context("no output")?;
    let mut lines = BufReader::new(output).lines();
    let mut said = String::new();
    while let Some(line) = lines.next_line().await? {
        said.push_str(&line);
        said.push('\n');
        if line.contains(wanted) {
            // Read on, or the demonstration would stop at a full pipe.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok(said);
        }
    }
    anyhow::bail!("{wanted:?} is not in {said}")
}

fn interrupt(child: &Child) -> Result<()> {
    let pid = child.id().context("it has ended")?.to_string();
    let sent = std::process::Command::new("kill").args(["-INT", &pid]).status()?;
    ensure!(sent.success(), "{sent}");
    Ok(())
}

#[tokio::test]
async fn kubeconfigs_that_cannot_be_kept_are_refused_before_anything_is_made() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, user: &str| -> Result<String> {
        let path = folder.path().join(name);
        let text = format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1'}}}}]\nusers: [{{name: u, user: {user}}}]\n"
        );
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let plugin = write("plugin", "{exec: {command: aws}}")?;
    let token = write("token", "{token: t}")?;
    let missing = Path::new(&token).with_file_name("none").display().to_string();
    for (argument, code) in [
        (plugin.as_str(), "KUBECONFIG_PLUGIN"),
        (missing.as_str(), "KUBECONFIG_INVALID"),
        (&format!("{token}#moon"), "KUBECONFIG_INVALID"),
        // A cluster that is not there.
        (&token, "K8S_UNREACHABLE"),
    ] {
        let (output, said, complaints) = demo(&["--once", "--kubeconfig", argument], DEMO).await?;
        ensure!(output.status.code() == Some(3), "{argument}: {said}{complaints}");
        ensure!(complaints.contains(&format!("[{code}]")), "{argument}: {complaints}");
        ensure!(!complaints.contains("left behind"), "{complaints}");
    }
    Ok(())
}
