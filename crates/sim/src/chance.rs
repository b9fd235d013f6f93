//! Chance from a seed: the one source of it in a run.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// A stream of numbers that follows from its seed (SplitMix64: passes the usual tests, and needs no crate).
pub(crate) struct Chance(Mutex<u64>);

impl Chance {
    /// The stream of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03))
    }

    /// The next number.
    pub(crate) fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number of the range; its start when it is empty.
    pub(crate) fn within(&self, range: Range<u64>) -> u64 {
        let width = range.end.saturating_sub(range.start).max(1);
        range.start + self.next() % width
    }

    /// An index below `count`.
    pub(crate) fn below(&self, count: usize) -> usize {
        usize::try_from(self.within(0..count as u64)).unwrap_or(0)
    }

    /// True so many times of a hundred.
    pub(crate) fn percent(&self, percent: u64) -> bool {
        self.within(0..100) < percent
    }

    /// One of these; `None` of none.
    pub(crate) fn one_of<'a, T>(&self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }
}
