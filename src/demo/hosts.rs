//! The demonstration on this machine: an SSH fleet of its own, three infrastructures of it, and a second release that one of them cannot run.

mod story;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use manifold_cli::client::Client;
use serde_json::json;
use tokio::process::Command;

use super::{DemoFlags, Ending, Interrupts, client, settings};
use crate::fleet::{self, Fleet};
use crate::{folder, server};

/// A document of the tree with its path.
macro_rules! tree {
    ($path:literal) => {
        (concat!("Setup/", $path), include_str!(concat!("hosts/tree/Setup/", $path)))
    };
}

/// Infrastructures of the demonstration, in the order in which they are chosen.
const INFRASTRUCTURES: [&str; 3] = ["eu", "us", "ap"];
/// Hosts of each.
const HOSTS: u8 = 4;
/// Name of the SSH credential and of the secret with its key.
const CREDENTIAL: &str = "demo-fleet";
/// The configuration tree, but for the infrastructure definitions: those name the fleet's addresses.
const TREE: &[(&str, &str)] = &[
    tree!("Cloud Providers/hosts.yaml"),
    tree!("Applications/Shop/Index.yaml"),
    tree!("Applications/Shop/Defaults.yaml"),
    tree!("Applications/Shop/Services/cart/Index.yaml"),
    tree!("Applications/Shop/Services/cart/Artifact Servers/releases.yaml"),
    tree!("Applications/Shop/Services/cart/Commands/Install.yaml"),
    tree!("Applications/Shop/Services/cart/Commands/Start.yaml"),
    tree!("Applications/Shop/Services/cart/Commands/Stop the old process.yaml"),
    tree!("Applications/Shop/Services/cart/Commands/Check health.yaml"),
    tree!("Applications/Shop/Environments/production/Index.yaml"),
    tree!("Applications/Shop/Workflows/roll-cart.yaml"),
    tree!("Applications/Shop/Pipelines/ship.yaml"),
];
/// Head of an infrastructure definition; the host names follow.
const INFRASTRUCTURE: &str = include_str!("hosts/tree/infrastructure.yaml");
/// Builds of the cart, by number.
const RELEASES: &[(&str, &str)] = &[
    ("1.0", include_str!("hosts/releases/1.0/cart.sh")),
    ("2.0", include_str!("hosts/releases/2.0/cart.sh")),
];

/// Starts the fleet and a server, deploys twice, and serves on unless told otherwise.
pub async fn demonstrate(flags: &DemoFlags) -> Result<Ending> {
    let place = tempfile::Builder::new().prefix("manifold-demo-").tempdir().context("make a folder")?;
    let fleet = Fleet::start(&place.path().join("hosts"), &INFRASTRUCTURES, HOSTS)
        .await
        .context("start the fleet")?;
    say!(
        "{} hosts of an SSH fleet listen on port {}, {HOSTS} in each of {}",
        INFRASTRUCTURES.len() * usize::from(HOSTS),
        fleet.port,
        INFRASTRUCTURES.join(", ")
    );
    let known_hosts = place.path().join("known_hosts");
    folder::private_file(&known_hosts, fleet.known_hosts.as_bytes()).context("write the known hosts")?;
    let settings = settings(flags, place.path(), vec![known_hosts])?;
    let mut server = server::start(settings).await.context("start the server")?;
    say!("the server listens on http://{}", server.address);
    let client = client(&server)?;
    prepare(&client, place.path(), &fleet).await?;
    let as_told = story::tell(&client, &fleet).await;
    if !flags.once
        && let Ok(as_told) = as_told
    {
        story::where_to_look(&server, as_told);
        let mut interrupts = Interrupts::listen()?;
        tokio::select! {
            ended = server.ended() => ended?,
            () = interrupts.next() => {}
        }
    }
    server.stop().await;
    stop_processes(&fleet).await;
    as_told.map(Ending::told)
}

/// Releases, credential and configuration.
async fn prepare(client: &Client, place: &Path, fleet: &Fleet) -> Result<()> {
    let releases = place.join("releases");
    for (number, script) in RELEASES {
        let folder = releases.join(number);
        std::fs::create_dir_all(&folder).context("make a release's folder")?;
        std::fs::write(folder.join("cart.sh"), script).context("write a release")?;
    }
    make_credential(client, fleet).await.context("make the SSH credential")?;
    let files = documents(fleet, &releases);
    let report = manifold_cli::import::import(client, files).await.context("import the application")?;
    say!("{} documents of the application Shop are imported", report.written);
    Ok(())
}

fn documents(fleet: &Fleet, releases: &Path) -> Vec<(String, Vec<u8>)> {
    let releases = releases.to_string_lossy();
    let mut files: Vec<(String, Vec<u8>)> = TREE
        .iter()
        .map(|(path, text)| ((*path).to_owned(), text.replace("{{releases}}", &releases).into_bytes()))
        .collect();
    for (name, hosts) in &fleet.infrastructures {
        let names: String = hosts.iter().map(|host| format!("  - {}\n", host.address)).collect();
        let path =
            format!("Setup/Applications/Shop/Environments/production/Infrastructure Definitions/{name}.yaml");
        files.push((path, format!("{INFRASTRUCTURE}{names}").into_bytes()));
    }
    files
}

async fn make_credential(client: &Client, fleet: &Fleet) -> Result<()> {
    const CREATE: &str =
        "mutation($input: CreateSecretInput!) { createSecret(input: $input) { secret { id } } }";
    let key = json!({ "secretType": "ENCRYPTED_TEXT",
        "encryptedText": { "name": format!("{CREDENTIAL}-key"), "value": fleet.user_key } });
    let made = client.graphql(CREATE, json!({ "input": key })).await?;
    let id = made.pointer("/createSecret/secret/id").and_then(serde_json::Value::as_str);
    let id = id.context("the answer names no secret")?;
    let credential = json!({ "secretType": "SSH_CREDENTIAL", "sshCredential": {
        "name": CREDENTIAL, "authenticationScheme": "SSH",
        "sshAuthentication": { "userName": fleet::USER, "port": fleet.port, "sshAuthenticationMethod": {
            "sshCredentialType": "SSH_KEY", "inlineSSHKey": { "sshKeySecretFileId": id } } } } });
    client.graphql(CREATE, json!({ "input": credential })).await?;
    Ok(())
}

/// Where the cart of an infrastructure runs below a host's home.
fn runtime_path(home: &Path, infrastructure: &str) -> PathBuf {
    home.join("Shop/cart/production").join(infrastructure).join("runtime")
}

/// Ends the processes that deployments left on the hosts.
async fn stop_processes(fleet: &Fleet) {
    for (name, hosts) in &fleet.infrastructures {
        for host in hosts {
            let Ok(pid) = std::fs::read_to_string(runtime_path(&host.home, name).join("cart.pid")) else {
                continue;
            };
            let stopped = Command::new("/bin/kill").arg(pid.trim()).stderr(Stdio::null()).status().await;
            if let Err(error) = stopped {
                tracing::warn!(%error, pid = pid.trim(), "cannot stop a demonstration process");
            }
        }
    }
}
