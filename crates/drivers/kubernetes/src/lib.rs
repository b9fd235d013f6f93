//! The driver for Kubernetes clusters (`behaviour.md` 22).

pub mod apply;
pub mod cluster;
pub mod connect;
pub mod discovery;
pub mod helm;
pub mod history;
pub mod label;
pub mod limits;
pub mod object;
pub mod ownership;
pub mod parse;
pub mod reasons;
pub mod record;
pub mod render;
pub mod rollout_status;
pub mod section;
pub mod steady;
pub mod trouble;
pub mod values;
pub mod version;
pub mod workload;
