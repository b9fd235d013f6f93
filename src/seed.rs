//! The configuration tree of `--seed`, imported at start. Importing the same tree twice changes nothing.

use std::path::Path;

use anyhow::{Context, Result, bail};
use manifold_control::import::{Incoming, Source, Written};
use manifold_control::{Actor, Control};
use manifold_model::KeyId;

/// Imports a folder that holds `Setup/`.
///
/// # Errors
/// The folder cannot be read, or its documents are refused; then nothing was imported.
pub async fn import(control: &Control, folder: &Path) -> Result<()> {
    let files = manifold_cli::tree::read(folder).with_context(|| format!("read {}", folder.display()))?;
    let files = files.into_iter().map(|(path, bytes)| Incoming { path, bytes }).collect();
    let actor = Actor::key(KeyId::from("seed"), "seed");
    let report = control.import(&actor, files, Source::Seed, "").await.context("import the seed")?;
    let problems = report.problems.iter().chain(report.files.iter().flat_map(|file| &file.problems));
    if !report.ok {
        let complaints: Vec<String> = problems.map(ToString::to_string).collect();
        bail!("the seed {} is refused:\n{}", folder.display(), complaints.join("\n"));
    }
    problems.for_each(|problem| tracing::warn!("seed: {problem}"));
    let written =
        report.files.iter().filter(|file| matches!(file.written, Written::Created | Written::Updated));
    tracing::info!(documents = written.count(), revision = report.revision, "the seed is imported");
    Ok(())
}
