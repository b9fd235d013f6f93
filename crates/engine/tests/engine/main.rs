//! Scenarios and properties of whole executions, through the public API only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod build;
mod kubernetes;
mod legs;
mod many;
mod permits;
mod pipelines;
mod properties;
mod rendering;
mod repairs;
mod requests;
mod runner;
