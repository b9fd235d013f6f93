//! Manifold: one pipeline in, every infrastructure out. Wiring only: what a command does is in its file or crate.

/// Prints a line. Whether anybody still reads it changes nothing: what was made must be removed.
macro_rules! say {
    ($($line:tt)*) => {
        { let _nobody_reads = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($line)*))); }
    };
}

mod admin_key;
mod config;
mod database;
mod delegate;
mod demo;
mod door;
mod drivers;
mod embedded;
mod fleet;
mod folder;
mod interrupts;
mod node;
mod seed;
mod server;
mod store;
mod telemetry;
mod tls;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use manifold_model::Problem;

/// Deploys one Workflow to many infrastructures at once, each with its own outcome and its own rollback.
#[derive(Parser)]
#[command(name = "manifold", version, max_term_width = 110)]
struct Manifold {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Server(Box<config::ServerFlags>),
    /// Run a delegate, which does a server's work near the infrastructure; or see to delegates and the tokens with which they join
    Delegate(Box<DelegateCommand>),
    /// Run a server and two deployments of an application: to an SSH fleet of its own, or to Kubernetes clusters that you have
    Demo(demo::DemoFlags),
    /// Look a store through, copy it, back it up or restore it; on the server's side
    Store(store::StoreFlags),
    /// Try on this machine, in a store of its own, that no crash loses or doubles anything
    Verify(verify::VerifyFlags),
    #[command(flatten)]
    Client(manifold_cli::Command),
}

/// `manifold delegate` with a verb, or without one.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct DelegateCommand {
    #[command(subcommand)]
    verb: Option<manifold_cli::DelegateCommand>,
    #[command(flatten)]
    run: Option<delegate::DelegateFlags>,
}

/// Exit code of a start that was refused (`design.md` 9).
const REFUSED: u8 = 3;
/// Exit code of a server that cannot go on.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    // Two providers are in the graph of TLS users; the process must name one before the first handshake.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("manifold: another TLS provider was installed first");
        return ExitCode::from(70);
    }
    let command = Manifold::parse().command;
    if let Err(wrong) = manifold_model::crash::arm() {
        eprintln!("manifold: {wrong}");
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("manifold: cannot start threads: {error}");
            return ExitCode::from(70);
        }
    };
    let code = runtime.block_on(run(command));
    // Commands on hosts and helpers of drivers outlive us by design; nobody waits for them here.
    runtime.shutdown_background();
    code
}

async fn run(command: Command) -> ExitCode {
    match command {
        Command::Server(flags) => ended(serve(*flags).await),
        Command::Delegate(command) => delegate(*command).await,
        Command::Demo(flags) => demo::run(flags).await,
        Command::Store(flags) => store::run(flags).await,
        Command::Verify(flags) => verify::run(flags).await,
        Command::Client(command) => manifold_cli::run(command, Manifold::command(), &drivers::offer()).await,
    }
}

/// Sees to delegates, or runs one.
async fn delegate(command: DelegateCommand) -> ExitCode {
    match command {
        DelegateCommand { verb: Some(verb), .. } => manifold_cli::run_delegate(verb).await,
        DelegateCommand { verb: None, run: Some(flags) } => {
            telemetry::log_to_stderr(flags.log_format);
            ended(delegate::run(flags).await)
        }
        DelegateCommand { verb: None, run: None } => Manifold::command()
            .error(
                clap::error::ErrorKind::MissingRequiredArgument,
                "give --server, --name and --data, or a verb",
            )
            .exit(),
    }
}

/// Runs the server until a signal.
async fn serve(flags: config::ServerFlags) -> anyhow::Result<()> {
    let print_config = flags.print_config;
    let settings = config::settings(flags).map_err(|problem| *problem)?;
    if print_config {
        print!("{}", toml::to_string_pretty(&settings)?);
        return Ok(());
    }
    telemetry::log_to_stderr(settings.log_format);
    let mut server = server::start(settings).await?;
    println!("listening on {}://{}", server.scheme, server.address);
    tokio::select! {
        ended = server.ended() => ended?,
        stopped = signal() => stopped?,
    }
    server.stop().await;
    Ok(())
}

/// Waits for SIGINT or SIGTERM.
pub(crate) async fn signal() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

fn ended(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    match error.downcast_ref::<Problem>() {
        Some(problem) => {
            eprintln!("manifold: {problem}");
            ExitCode::from(REFUSED)
        }
        None => {
            eprintln!("manifold: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}
