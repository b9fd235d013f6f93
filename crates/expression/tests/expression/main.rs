//! Tests of the expression language through its public interface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod delegate;
#[path = "../../../../fuzz/fuzz_targets/exercise.rs"]
mod exercise;
mod language;
mod limits;
mod name;
mod panics;
mod table;
