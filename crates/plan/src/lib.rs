//! Request + catalog + kinds on offer → a frozen plan, or every reason why not (`design.md` 2). Pure: no I/O, no clock, no randomness, so the
//! same question always has the same answer, and a preview is the answer without the start.

mod artifacts;
mod collisions;
mod commands;
mod complaints;
mod constraints;
mod course;
mod entities;
mod facts;
mod freeze;
mod given;
mod infrastructures;
mod inputs;
mod kinds;
mod manifests;
mod options;
mod reach;
mod resolve;
mod roles;
mod settings;
mod steps;
mod tables;
mod values;

pub use artifacts::artifact_needs;
pub use facts::{Artifacts, Facts, FileState, Files, LOCK_QUEUE_LIMIT, MAX_LEGS, NoArtifacts, NoFiles};
pub use freeze::plan;
pub use inputs::{InputVariable, inputs};
pub use options::{Candidate, Options, options};
