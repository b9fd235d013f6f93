//! The Kubernetes driver on real programs and real clusters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod rendering;
