//! Runs seeds: `cargo xtask sim [--seeds N] [--from S] [--seed X] [--threads N]`.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use manifold_sim::{Options, run};

mod nightly;

const USAGE: &str = "usage: cargo xtask sim [--seeds N] [--from S] [--threads N] | --seed X";

fn main() -> ExitCode {
    match start() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sim: {error:#}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn start() -> Result<bool> {
    let mut night = nightly::Night::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value: u64 = arguments
            .next()
            .with_context(|| format!("{flag} needs a number"))?
            .parse()
            .with_context(|| format!("{flag} needs a number"))?;
        match flag.as_str() {
            "--seeds" => night.seeds = value,
            "--from" => night.from = value,
            "--threads" => night.threads = value.max(1),
            "--seed" => {
                let report = run(value, Options { loud: true, ..Options::default() })?;
                nightly::tell(&report);
                return Ok(report.violation.is_none());
            }
            _ => bail!("{flag} is not known"),
        }
    }
    night.run()
}
