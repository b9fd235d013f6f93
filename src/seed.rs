//! The configuration tree of `--seed`, imported at start. Importing the same tree twice changes nothing.

use std::path::Path;

use anyhow::{Context, Result};
use manifold_control::{Actor, Control};

/// Imports a folder that holds `Setup/`.
///
/// # Errors
/// The folder cannot be read, or its documents are refused; then nothing was imported.
pub async fn import(control: &Control, folder: &Path) -> Result<()> {
    let files = manifold_cli::tree::read(folder).with_context(|| format!("read {}", folder.display()))?;
    let report = control.import(&Actor::server(), files, "seed").await.context("import the seed")?;
    for warning in &report.warnings {
        tracing::warn!("seed: {warning}");
    }
    tracing::info!(documents = report.written, revision = report.revision, "the seed is imported");
    Ok(())
}
