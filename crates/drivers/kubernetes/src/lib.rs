//! The driver for Kubernetes clusters (`behaviour.md` 22).

pub mod object;
pub mod parse;
