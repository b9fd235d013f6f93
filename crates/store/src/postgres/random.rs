//! Random numbers for pauses and names; not for secrets.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Any number.
pub(super) fn number() -> u64 {
    // Each state has keys of its own.
    RandomState::new().build_hasher().finish()
}

/// A number below a bound; 0 when the bound is.
pub(super) fn below(bound: u64) -> u64 {
    number().checked_rem(bound).unwrap_or_default()
}
