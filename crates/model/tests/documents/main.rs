//! Documents of the configuration tree: reading, printing, paths, views, references, import.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod assemble;
mod canonical;
#[path = "../../../../fuzz/fuzz_targets/document.rs"]
mod fuzzed;
mod import;
mod path;
mod references;
mod tree;
mod view;
mod yaml;
