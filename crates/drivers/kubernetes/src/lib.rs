//! The driver for Kubernetes clusters (`behaviour.md` 22).

pub mod helm;
pub mod history;
pub mod object;
pub mod parse;
pub mod render;
pub mod values;
