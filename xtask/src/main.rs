//! The repository's chores: `cargo xtask tidy`, `test`, `schema`, `parts`, `bench`, `sim`.

mod codes;
mod crash_points;
mod edges;
mod names;
mod parts;
mod sizes;
mod suite;
mod tree;

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: cargo xtask tidy [--fast] | test | schema [--check] | parts | \
    sim [--seeds N] [--from S] [--threads N] | sim --seed X | bench [legs|ssh|start|steps|plan|kubernetes|watches]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["tidy"] => tidy(true),
        ["tidy", "--fast"] => tidy(false),
        ["test"] => suite::run(),
        ["parts"] => parts::install(),
        ["bench", what @ ..] => bench(what),
        ["sim", how @ ..] => simulate(how),
        ["schema"] => schema(false),
        ["schema", "--check"] => schema(true),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Checks the house: edges, names, dead files, error pages, crash points; with `lints` also rustfmt and clippy.
fn tidy(lints: bool) -> Result<()> {
    let root = tree::root()?;
    let files = tree::rust_files(&root)?;
    let mut complaints = Vec::new();
    complaints.extend(edges::check(&root)?);
    complaints.extend(names::check(&root, &files));
    complaints.extend(codes::check(&root, &files)?);
    complaints.extend(crash_points::check(&files));
    sizes::print(&root, &files);
    if lints {
        run("cargo", &["fmt", "--all", "--check"])?;
        run("cargo", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])?;
    }
    if complaints.is_empty() {
        println!("tidy: {} files are in order", files.len());
        return Ok(());
    }
    complaints.iter().for_each(|complaint| println!("tidy: {complaint}"));
    bail!("{} complaints", complaints.len())
}

/// Writes `schema.graphql` from the code, or checks that it has not drifted.
fn schema(check: bool) -> Result<()> {
    let path = tree::root()?.join("schema.graphql");
    let output = Command::new("cargo")
        .args(["run", "--quiet", "--locked", "-p", "manifold-api", "--example", "schema"])
        .output()
        .context("run the schema example")?;
    if !output.status.success() {
        bail!("the schema example failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    if !check {
        return std::fs::write(&path, output.stdout).context("write schema.graphql");
    }
    let committed = std::fs::read(&path).context("read schema.graphql")?;
    if committed != output.stdout {
        bail!("schema.graphql is not what the code says; run `cargo xtask schema` and commit it");
    }
    Ok(())
}

/// Builds the product and the program that measures it, and measures (`docs/performance.md`).
fn bench(what: &[&str]) -> Result<()> {
    let build = ["build", "--release", "--locked", "-p", "manifold", "-p", "manifold-bench", "--bins"];
    run("cargo", &build)?;
    // Not by `cargo run`: built for one package alone, its dependencies may have other features and would be built again.
    run(&tree::target()?.join("release/manifold-bench").to_string_lossy(), what)
}

/// Runs the simulation (`docs/simulation.md`): 10,000 seeds, or those asked for.
fn simulate(how: &[&str]) -> Result<()> {
    run("cargo", &["build", "--release", "--locked", "-p", "manifold-sim", "--bins"])?;
    run(&tree::target()?.join("release/manifold-sim").to_string_lossy(), how)
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program)
        .args(arguments)
        .status()
        .with_context(|| format!("run {program} {}", arguments.join(" ")))?;
    if !status.success() {
        bail!("{program} {} failed", arguments.join(" "));
    }
    Ok(())
}
