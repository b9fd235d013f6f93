//! The commands of a client without the server: what the tests run.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use manifold_model::unused::Offer;

#[derive(Parser)]
#[command(name = "manifold")]
struct Client {
    #[command(subcommand)]
    command: manifold_cli::Command,
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut offer = Offer::default();
    offer.steps.entry("COMMAND".to_owned()).or_default();
    manifold_cli::run(Client::parse().command, Client::command(), &offer).await
}
