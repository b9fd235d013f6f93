//! Documents of the configuration tree: reading, printing, paths, views, references, import.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod canonical;
mod path;
mod yaml;
