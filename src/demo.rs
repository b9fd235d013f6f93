//! `manifold demo`: the main job, nothing to set up. Two deployments of one Workflow to several infrastructures; the second goes wrong on one of
//! them, and that leg alone goes back. Everything goes through the public API, as a user's would. The infrastructures are hosts of its own on
//! this machine, or namespaces of its own on clusters that somebody already has.

mod clusters;
mod hosts;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use manifold_cli::client::Client;
use manifold_cli::deploy::{self, Deployment, End};

use crate::config::{ServerFlags, Settings};
use crate::interrupts::Interrupts;
use crate::server::Server;

/// Exit code of a demonstration that was interrupted before its end.
const INTERRUPTED: u8 = 130;

/// Flags of `manifold demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoFlags {
    /// End after the demonstration; the exit code tells whether all went as told
    #[arg(long)]
    once: bool,
    /// Address to listen on [default: a free port of the loopback address]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<std::net::SocketAddr>,
    /// Deploy to the cluster of this kubeconfig's current context, or of another one, instead of hosts of its own; may be given up to 16
    /// times. A single one plays two infrastructures. Only namespaces `manifold-demo-…` are made, and removed at the end
    #[arg(long, value_name = "FILE[#CONTEXT]")]
    kubeconfig: Vec<String>,
}

/// How a demonstration ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    /// As told, and nothing is left behind.
    AsTold,
    /// Something did not go as told, or is left behind; it has been printed.
    NotAsTold,
    /// Somebody interrupted it.
    Interrupted,
}

impl Ending {
    fn told(as_told: bool) -> Self {
        if as_told { Self::AsTold } else { Self::NotAsTold }
    }
}

/// Runs the demonstration.
pub async fn run(flags: DemoFlags) -> ExitCode {
    let ending = if flags.kubeconfig.is_empty() {
        hosts::demonstrate(&flags).await
    } else {
        clusters::demonstrate(&flags).await
    };
    match ending {
        Ok(Ending::AsTold) => ExitCode::SUCCESS,
        Ok(Ending::NotAsTold) => ExitCode::FAILURE,
        Ok(Ending::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => crate::ended(Err(error)),
    }
}

/// Settings of the demonstration's server.
fn settings(flags: &DemoFlags, place: &Path, ssh_known_hosts: Vec<PathBuf>) -> Result<Settings> {
    let flags = ServerFlags {
        data: Some(place.join("data")),
        listen: Some(flags.listen.unwrap_or_else(|| ([127, 0, 0, 1], 0).into())),
        ssh_known_hosts,
        ..ServerFlags::default()
    };
    crate::config::settings(flags).map_err(|problem| (*problem).into())
}

/// A client of that server.
fn client(server: &Server) -> Result<Client> {
    Client::new(&format!("http://{}", server.address), &server.admin_key, &server.account)
        .context("make a client")
}

/// Deploys a build of the cart to all infrastructures in one start, and shows it on the screen.
async fn ship(client: &Client, infrastructures: &[&str], build: &str) -> Result<End> {
    let deployment = Deployment {
        application: "Shop".to_owned(),
        name: "ship".to_owned(),
        variables: vec![("infrastructure".to_owned(), infrastructures.join(","))],
        artifacts: vec![("cart".to_owned(), build.to_owned())],
        ..Deployment::default()
    };
    let started = deploy::start(client, &deployment).await.context("start the deployment")?;
    deploy::watch(client, &started.id).await.context("watch the deployment")
}

/// Says where to look at what happened.
fn where_to_look(server: &Server, infrastructures: &[&str]) {
    say!("\nThe server keeps serving. Look at it from another terminal:\n");
    say!("  export MANIFOLD_URL=http://{} MANIFOLD_ACCOUNT_ID={}", server.address, server.account);
    say!("  export MANIFOLD_API_KEY={}", server.admin_key);
    say!("  manifold execution list");
    let some = infrastructures.join(",");
    say!("  manifold deploy Shop ship --var infrastructure={some} --artifact cart=1.0 --watch");
}

/// Prints what did not go as told.
fn expect(held: bool, otherwise: &str) -> bool {
    if !held {
        say!("NOT AS TOLD: {otherwise}");
    }
    held
}
