//! The commands of a client without the server: what the tests run.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

#[derive(Parser)]
#[command(name = "manifold")]
struct Client {
    #[command(subcommand)]
    command: manifold_cli::Command,
}

#[tokio::main]
async fn main() -> ExitCode {
    manifold_cli::run(Client::parse().command, Client::command(), &offer)
        .await
}
