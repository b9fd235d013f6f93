//! The Apply step: some of the files, any kind, neither versioned nor rolled back (`behaviour.md` 22).

use manifold_model::Failure;

use crate::apply::{apply, check, place};
use crate::job::{Job, Outputs};
use crate::label;
use crate::render::Files;
use crate::steady::wait_from;

/// What is left out.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// The dry run.
    pub skip_dry_run: bool,
    /// Waiting.
    pub skip_steady_state: bool,
    /// Templates.
    pub skip_rendering: bool,
}

/// Applies files.
///
/// # Errors
/// They cannot be rendered, an object may not be applied, or does not get steady.
pub async fn apply_files(job: &Job<'_>, files: &[String], how: How) -> Result<Outputs, Failure> {
    let rendering = job.render(Files::Named { paths: files, plain: how.skip_rendering }).await?;
    let mut objects = rendering.objects;
    place(&job.cluster, &mut objects, &job.kubernetes.namespace).await?;
    label::release(&mut objects, &job.kubernetes.release);
    let release = &job.kubernetes.release;
    let checked = check(&job.cluster, &objects, release, how.skip_dry_run, job.context).await?;
    let mut applied = Vec::with_capacity(checked.len());
    for one in &checked {
        applied.push(apply(&job.cluster, one, job.context).await?);
    }
    if !how.skip_steady_state {
        wait_from(&job.cluster, applied, job.context).await?;
    }
    Ok(Outputs::new())
}
