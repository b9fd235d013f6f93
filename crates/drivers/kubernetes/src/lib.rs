//! The driver for Kubernetes clusters (`behaviour.md` 22).

pub mod history;
pub mod object;
pub mod parse;
