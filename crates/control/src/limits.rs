//! Limits of the use cases, all on `docs/limits.md`.

use std::time::Duration;

/// Limits of the use cases.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Infrastructures selected for one stage (D6).
    pub infrastructures_per_stage: u32,
    /// Workflows that may wait for one infrastructure lock (`behaviour.md` 8.1).
    pub lock_queue: u32,
    /// Notes of an execution, characters.
    pub notes_chars: usize,
    /// How long a start waits for the collection of one artifact source.
    pub collect_wait: Duration,
    /// Bytes of one secret.
    pub secret_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            infrastructures_per_stage: 10_000,
            lock_queue: 20,
            notes_chars: 10_000,
            collect_wait: Duration::from_secs(90),
            secret_bytes: 1 << 20,
        }
    }
}
