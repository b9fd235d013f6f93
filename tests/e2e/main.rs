//! End to end: the real binary, its public API, real sshd.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod bad_input;
mod crash;
mod scene;

/// The binary under test.
const BINARY: &str = env!("CARGO_BIN_EXE_manifold");
