//! The contract suite: what every home of the store must do. A home passes [`suite`] in its tests; nothing else uses this module.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test suite in the library, so that every home can run it"
)]

mod barriers;
mod catalog;
mod compare;
mod constraints;
mod executions;
mod fixtures;
mod journal;
mod leases;
mod lists;
mod locks;
mod prune;
mod records;
mod tasks;
mod timers;
mod together;

use std::sync::Arc;

use async_trait::async_trait;

use manifold_model::Millis;

use crate::Store;

pub use compare::compare;

/// A place in which a store lives. Opening it again after the store was dropped is what a restart finds: the last committed image.
#[async_trait]
pub trait Home: Send + Sync {
    /// Opens the store; an earlier one has been dropped.
    async fn open(&self) -> Arc<dyn Store>;
    /// Lets this much time pass for its clock, or makes what it holds so much older, milliseconds.
    async fn pass(&self, ms: Millis);
}

/// Runs the whole contract; each part gets an empty home of its own.
///
/// # Panics
/// When the home breaks the contract, saying where.
pub async fn suite<M, H>(make: M)
where
    M: Fn() -> H,
    H: Home,
{
    catalog::run(&make).await;
    records::run(&make).await;
    executions::run(&make).await;
    journal::run(&make).await;
    leases::run(&make).await;
    tasks::run(&make).await;
    timers::run(&make).await;
    together::run(&make).await;
    locks::run(&make).await;
    constraints::run(&make).await;
    barriers::run(&make).await;
    lists::run(&make).await;
    prune::run(&make).await;
}
