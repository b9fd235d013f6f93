//! Sections of a step's log (`behaviour.md` 22).

/// Manifests and values are fetched.
pub const FETCH: &str = "Fetch Files";
/// They are rendered and tried.
pub const INITIALIZE: &str = "Initialize";
/// What will be done is written down.
pub const PREPARE: &str = "Prepare";
/// Objects are applied, scaled, deleted.
pub const APPLY: &str = "Apply";
/// Workloads are waited for.
pub const WAIT: &str = "Wait for Steady State";
/// What is no longer needed goes.
pub const WRAP_UP: &str = "Wrap Up";
