//! The nouns of Manifold: typed ids, configuration documents and their typed views, the frozen plan, every event of a
//! journal, tasks and their outcomes, kinds of steps. No I/O (but for [`crash`], in tests), no clock, no
//! randomness but for new ids.

pub mod artifact;
pub mod assemble;
pub mod canonical;
pub mod catalog;
pub mod cluster;
pub mod constraint;
pub mod crash;
pub mod delegate;
pub mod document;
pub mod entity;
pub mod event;
pub mod execution;
pub mod failure;
pub mod files;
pub mod id;
pub mod import;
pub mod kind;
pub mod kubernetes;
pub mod name;
mod newer;
pub mod node;
pub mod path;
pub mod plan;
pub mod problem;
pub mod references;
pub mod rendered;
pub mod request;
pub mod secret;
pub mod status;
pub mod steps;
pub mod target;
pub mod task;
pub mod unused;
pub mod view;
pub mod wait;
pub mod yaml;

pub use failure::{Failure, FailureClass};
pub use id::*;
pub use problem::{Code, Place, Problem};
pub use rendered::{Hole, Piece, Rendered};
pub use status::Status;

/// Milliseconds since 1970-01-01 UTC.
pub type Millis = i64;
