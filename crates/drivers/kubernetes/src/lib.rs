//! The driver for Kubernetes clusters (`behaviour.md` 22).

pub mod cluster;
pub mod connect;
pub mod discovery;
pub mod helm;
pub mod history;
pub mod label;
pub mod limits;
pub mod object;
pub mod parse;
pub mod render;
pub mod trouble;
pub mod values;
pub mod version;
pub mod workload;
