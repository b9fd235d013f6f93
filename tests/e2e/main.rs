//! End to end: the real binary, spoken to over its public API, on real peers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says with a panic what is wrong"
)]

mod site;
mod sources;
mod ssh;
mod strategies;
