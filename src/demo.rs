//! `manifold demo`: the main job on this machine, nothing to set up. Two deployments of one Workflow to three infrastructures; in the second the
//! health check fails on one of them, and that leg alone goes back. Everything goes through the public API, as a user's would.

mod fleet;
mod story;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use manifold_cli::client::Client;
use serde_json::json;

use crate::config::{ServerFlags, Settings};
use crate::{folder, server};
use fleet::Fleet;

/// A document of the tree with its path.
macro_rules! tree {
    ($path:literal) => {
        (concat!("Setup/", $path), include_str!(concat!("demo/tree/Setup/", $path)))
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
const INFRASTRUCTURE: &str = include_str!("demo/tree/infrastructure.yaml");
/// Builds of the cart, by number.
const RELEASES: &[(&str, &str)] =
    &[("1.0", include_str!("demo/releases/1.0/cart.sh")), ("2.0", include_str!("demo/releases/2.0/cart.sh"))];

/// Flags of `manifold demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoFlags {
    /// End after the demonstration; the exit code tells whether all went as told
    #[arg(long)]
    once: bool,
    /// Address to listen on [default: a free port of the loopback address]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<std::net::SocketAddr>,
}

/// Runs the demonstration.
pub async fn run(flags: DemoFlags) -> ExitCode {
    match demonstrate(flags).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("manifold demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `Ok(false)` when something did not go as told.
async fn demonstrate(flags: DemoFlags) -> Result<bool> {
    let place = tempfile::Builder::new().prefix("manifold-demo-").tempdir().context("make a folder")?;
    let fleet = Fleet::start(&place.path().join("hosts"), &INFRASTRUCTURES, HOSTS)
        .await
        .context("start the fleet")?;
    println!(
        "{} hosts of an SSH fleet listen on port {}, {HOSTS} in each of {}",
        INFRASTRUCTURES.len() * usize::from(HOSTS),
        fleet.port,
        INFRASTRUCTURES.join(", ")
    );
    let mut server =
        server::start(settings(&flags, place.path(), &fleet)?).await.context("start the server")?;
    println!("the server listens on http://{}", server.address);
    let client = Client::new(&format!("http://{}", server.address), &server.admin_key, &server.account)
        .context("make a client")?;
    prepare(&client, place.path(), &fleet).await?;
    let as_told = story::tell(&client, &fleet).await;
    if !flags.once
        && let Ok(as_told) = as_told
    {
        story::where_to_look(&server, as_told);
        tokio::select! {
            ended = server.ended() => ended?,
            stopped = crate::signal() => stopped?,
        }
    }
    server.stop().await;
    fleet.stop_processes().await;
    as_told
}

fn settings(flags: &DemoFlags, place: &Path, fleet: &Fleet) -> Result<Settings> {
    let known_hosts = place.join("known_hosts");
    folder::private_file(&known_hosts, fleet.known_hosts.as_bytes()).context("write the known hosts")?;
    let flags = ServerFlags {
        data: Some(place.join("data")),
        listen: Some(flags.listen.unwrap_or_else(|| ([127, 0, 0, 1], 0).into())),
        ssh_known_hosts: vec![known_hosts],
        ..ServerFlags::default()
    };
    crate::config::settings(flags).map_err(|problem| (*problem).into())
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
    println!("{} documents of the application Shop are imported", report.written);
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
