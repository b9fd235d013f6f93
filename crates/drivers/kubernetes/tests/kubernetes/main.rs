//! The driver on real API servers, with real controllers, and on the real helm.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod actions;
mod blue_green;
mod canary;
mod cluster;
mod crashes;
mod leg;
mod promises;
mod rendering;
mod rollout;
mod suites;
mod waits;
mod world;
