//! End to end: the real binary, spoken to over its public API.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod claims;
mod config_as_code;
mod legs;
mod selection;
mod shared;
mod statuses;
mod story;
mod tree;
mod variables;
