//! Planning, rule by rule; S and D numbers are those of `behaviour.md` 1 and 2.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod artifacts;
mod collisions;
mod fanout;
mod kubernetes;
mod properties;
mod questions;
mod stages;
mod steps;
mod variables;
mod world;
