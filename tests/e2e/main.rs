//! End to end: the real binary, spoken to over its public API, on real peers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says with a panic what is wrong"
)]

mod bad_input;
mod claims;
mod config_as_code;
mod constraints;
mod crash;
mod delegates;
mod demo;
mod everything;
mod kubernetes;
mod legs;
mod releases;
mod scene;
mod selection;
mod servers;
mod shared;
mod site;
mod sources;
mod ssh;
mod statuses;
mod store;
mod story;
mod strategies;
mod tree;
mod variables;
mod verify;

/// The binary under test.
const BINARY: &str = env!("CARGO_BIN_EXE_manifold");
