//! What an earlier release has stored goes on under this one: its database, plans, journals, tasks, sealed keys, as they were when it was killed.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use manifold_testkit::server::{Server, string};
use serde_json::json;

use crate::BINARY;

/// For whole runs.
const SOON: Duration = Duration::from_secs(60);
/// Data folders of releases, each with a finished and a paused run of the same pipeline: schema 2 on SQLite.
const RELEASES: [&str; 1] = ["sqlite-2"];

/// A server on the data folder that a killed server of another release left.
async fn server_after(release: &str) -> Result<Server> {
    let mut server = Server::start(BINARY, &["--enable-test-kinds"]).await?;
    server.kill().await?;
    std::fs::remove_dir_all(server.data())?;
    let archive = format!("{}/tests/fixtures/releases/{release}.tar.gz", env!("CARGO_MANIFEST_DIR"));
    let unpacked = Command::new("tar").args(["xzf", &archive, "-C"]).arg(server.folder()).status()?;
    ensure!(unpacked.success(), "{archive} cannot be unpacked");
    server.key = std::fs::read_to_string(server.data().join("admin-api-key"))?.trim().to_owned();
    server.start_again().await?;
    Ok(server)
}

#[tokio::test]
async fn a_run_that_an_earlier_release_left_goes_on() -> Result<()> {
    for release in RELEASES {
        let server = server_after(release).await?;
        let query = "{ executions(filters: [], limit: 10) { nodes { id status } } }";
        let found = server.data_of(query, json!({})).await?;
        ensure!(string(&found, "/executions/nodes/1/status")? == "SUCCESS", "{release}: {found}");
        let done = string(&found, "/executions/nodes/1/id")?;
        let kinds: Vec<String> =
            server.events(&done).await?.iter().filter_map(|event| string(event, "/event").ok()).collect();
        ensure!(kinds.len() > 3, "{release}: the journal of the finished run reads {kinds:?}");
        let open = string(&found, "/executions/nodes/0/id")?;
        ensure!(server.status(&open).await? == "PAUSED", "{release}: {found}");
        let (code, out, err) = server.cli(&["execution", "continue", &open]).await?;
        ensure!(code == 0, "{release}: {out}{err}");
        ensure!(
            server.ended(&open, SOON).await? == "SUCCESS",
            "{release}: {}",
            server.failures(&open).await?
        );
        ensure!(server.legs(&open).await?.len() == 2, "{release}");
        // And it can be started anew from the catalog that the other release wrote.
        let again =
            server.started(("Shop", "pipeline", "ship"), &[("infrastructure", "east,west")], &[]).await?;
        ensure!(server.ended(&again, SOON).await? == "SUCCESS", "{release}");
    }
    Ok(())
}
