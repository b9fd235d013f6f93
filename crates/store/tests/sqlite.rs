//! The contract on SQLite, and what only a file can show.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::Arc;

use async_trait::async_trait;
use manifold_store::Store;
use manifold_store::clock::SystemClock;
use manifold_store::contract::{Home, suite};
use manifold_store::sqlite::{OpenError, SqliteStore};

struct File {
    folder: tempfile::TempDir,
}

impl File {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    async fn try_open(&self) -> Result<SqliteStore, OpenError> {
        SqliteStore::open(&self.folder.path().join("manifold.db"), Arc::new(SystemClock::default())).await
    }
}

#[async_trait]
impl Home for File {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.try_open().await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_contract() {
    suite(File::new).await;
}
