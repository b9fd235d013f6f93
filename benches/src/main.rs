//! Measures the product against a baseline in the same run and prints ratios (`docs/performance.md`). Nothing here is a test: machines differ,
//! and a figure that is worse than its target is something to look into, not a failure.
//!
//! `cargo xtask bench [legs|ssh|start|steps|plan|kubernetes|watches]`

mod kube_client;
mod kubernetes;
mod kubernetes_tree;
mod legs;
mod plan;
mod process;
mod report;
mod ssh;
mod start;
mod steps;
mod tree;
mod watches;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: manifold-bench [legs [N] | ssh [N] | start | steps [N [postgres|URL]] | plan | kubernetes [N] | watches [N]]";

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => all().await,
        ["legs"] => legs::measure(&binary()?, legs::LEGS).await,
        ["legs", count] => legs::measure(&binary()?, number(count)?).await,
        ["ssh"] => ssh::measure(&binary()?, ssh::HOSTS).await,
        ["ssh", count] => ssh::measure(&binary()?, number(count)?).await,
        ["start"] => start::measure(&binary()?).await,
        ["steps"] => steps::measure(steps::LEGS).await.map(drop),
        ["steps", count] => steps::measure(number(count)?).await.map(drop),
        ["steps", count, address] => steps::measure_postgres(number(count)?, address).await.map(drop),
        ["kubernetes"] => kubernetes::measure(&binary()?, kubernetes::NAMESPACES).await,
        ["kubernetes", count] => kubernetes::measure(&binary()?, number(count)?).await,
        ["watches"] => watches::measure(&binary()?, watches::LEGS).await,
        ["watches", count] => watches::measure(&binary()?, number(count)?).await,
        ["plan"] => plan::measure(),
        _ => bail!(USAGE),
    }
}

async fn all() -> Result<()> {
    let binary = binary()?;
    start::measure(&binary).await?;
    plan::measure()?;
    steps::measure(steps::LEGS).await?;
    legs::measure(&binary, legs::LEGS).await?;
    ssh::measure(&binary, ssh::HOSTS).await?;
    kubernetes::measure(&binary, kubernetes::NAMESPACES).await?;
    watches::measure(&binary, watches::LEGS).await
}

/// The product's binary, built beside this one.
fn binary() -> Result<PathBuf> {
    let path = std::env::current_exe().context("find this program")?.with_file_name("manifold");
    if !path.exists() {
        bail!("{} is not there: run `cargo xtask bench`, which builds it", path.display());
    }
    Ok(path)
}

fn number(text: &str) -> Result<u32> {
    text.parse().with_context(|| format!("{text:?} is no number"))
}
