//! The commands of a client without the server: what the tests run.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use manifold_model::unused::Offer;

#[derive(Parser)]
#[command(name = "manifold")]
struct Client {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    #[command(subcommand)]
    Delegate(manifold_cli::DelegateCommand),
    #[command(flatten)]
    Client(manifold_cli::Command),
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut offer = Offer::default();
    offer.steps.entry("COMMAND".to_owned()).or_default();
    match Client::parse().command {
        Command::Delegate(command) => manifold_cli::run_delegate(command).await,
        Command::Client(command) => manifold_cli::run(command, Client::command(), &offer).await,
    }
}
