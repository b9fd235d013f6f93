//! Starts the two clusters of a test run, says where they are, and ends them when its input ends.
//!
//! For a person: `cargo run -p manifold-testkit --example clusters`, then `KUBECONFIG=… kubectl get pods -A`; Ctrl-D ends them.

use std::io::Read;

use anyhow::Result;
use manifold_testkit::cluster;

fn main() -> Result<()> {
    let (east, west) = cluster::pair()?;
    println!("{}", cluster::describe(&[&east, &west])?.display());
    println!("KUBECONFIG={}:{}", east.kubeconfig().display(), west.kubeconfig().display());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
