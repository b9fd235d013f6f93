//! The command line of Manifold's clients. Speaks the public API only; prints for people or as JSON (`docs/cli.md`).

pub mod archive;
pub mod client;
mod command;
pub mod connection;
pub mod constraint;
pub mod delegate;
pub mod deploy;
pub mod error;
pub mod execution;
pub mod exit;
mod explain;
pub mod import;
pub mod lines;
mod lint;
mod logs;
mod pages;
pub mod print;
pub mod run;
pub mod secret;
pub mod shell;
pub mod show;
pub mod tree;
pub mod watch;

pub use command::{Command, run, run_delegate};
pub use delegate::DelegateCommand;
