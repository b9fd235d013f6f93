//! The same random calls on SQLite and on PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::Arc;

use manifold_store::clock::SystemClock;
use manifold_store::contract::compare;
use manifold_store::postgres::PostgresStore;
use manifold_store::sqlite::SqliteStore;
use manifold_testkit::postgres::shared;

/// Seeds; each is one sequence.
const SEEDS: u64 = 30;
/// Calls of a sequence.
const CALLS: u32 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn both_homes_answer_the_same() {
    for seed in 1..=SEEDS {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::default());
        let one = SqliteStore::open(&folder.path().join("manifold.db"), clock).await.unwrap();
        let other = PostgresStore::open(&shared().unwrap().database().unwrap()).await.unwrap();
        compare(&one, &other, seed, CALLS).await;
    }
}
