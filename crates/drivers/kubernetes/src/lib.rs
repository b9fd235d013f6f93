//! The driver for Kubernetes clusters (`behaviour.md` 22).

pub mod cluster;
pub mod connect;
pub mod discovery;
pub mod limits;
pub mod object;
pub mod trouble;
