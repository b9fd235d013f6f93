//! The real parts that tests stand on; a part that cannot be started is an error, never a skipped test. Tests only.

pub mod certificates;
pub mod cluster;
pub mod delegate;
mod leash;
pub mod postgres;
pub mod programs;
pub mod proxy;
pub mod server;
pub mod sshd;
