//! The driver on real API servers, with real controllers, and on the real helm.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod cluster;
mod rendering;
mod world;
