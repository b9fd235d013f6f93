//! The clusters and the proxy do what other tests rely on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod pods;
mod proxy;
