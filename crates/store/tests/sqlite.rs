//! The contract on SQLite, and what only a file can show.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use manifold_store::Store;
use manifold_store::clock::{Clock, SystemClock};
use manifold_store::contract::{Home, suite};
use manifold_store::sqlite::{OpenError, SqliteStore};

struct File {
    folder: tempfile::TempDir,
    /// How much later than the machine's clock it is here, milliseconds.
    later: Arc<AtomicI64>,
}

impl File {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), later: Arc::default() }
    }

    async fn try_open(&self) -> Result<SqliteStore, OpenError> {
        let (machine, later) = (SystemClock::default(), self.later.clone());
        let clock = move || machine.now() + later.load(Ordering::SeqCst);
        SqliteStore::open(&self.folder.path().join("manifold.db"), Arc::new(clock)).await
    }
}

#[async_trait]
impl Home for File {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.try_open().await.unwrap())
    }

    async fn pass(&self, ms: i64) {
        self.later.fetch_add(ms, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_contract() {
    suite(File::new).await;
}

#[tokio::test]
async fn one_folder_is_open_once() {
    let home = File::new();
    let store = home.try_open().await.unwrap();
    let refused = home.try_open().await.err().unwrap();
    assert!(matches!(refused, OpenError::Locked(_)));
    assert_eq!(refused.code().to_string(), "STORE_LOCKED");
    drop(store);
    home.try_open().await.unwrap();
}

#[tokio::test]
async fn a_newer_a_damaged_and_a_foreign_database_are_refused_untouched() {
    let home = File::new();
    let path = home.folder.path().join("manifold.db");
    drop(home.try_open().await.unwrap());
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute(
        "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) \
         VALUES (999, 'future', '2030-01-01T00:00:00Z', '1')",
        [],
    )
    .unwrap();
    db.pragma_update(None, "journal_mode", "DELETE").unwrap();
    drop(db);
    let newer = home.try_open().await.err().unwrap();
    assert!(matches!(newer, OpenError::Newer { found: 999, known: 3, .. }), "{newer}");

    let mut bytes = std::fs::read(&path).unwrap();
    for byte in bytes.iter_mut().skip(4096) {
        *byte = 0x5a;
    }
    std::fs::write(&path, &bytes).unwrap();
    let damaged = home.try_open().await.err().unwrap();
    assert!(matches!(damaged, OpenError::Damaged { .. }), "{damaged}");
    std::fs::write(&path, "not a database, but long enough to be looked at as one").unwrap();
    assert!(matches!(home.try_open().await, Err(OpenError::Damaged { .. })));
    assert!(std::fs::read(&path).unwrap().starts_with(b"not a database"));

    std::fs::remove_file(&path).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute("CREATE TABLE recipes (a)", []).unwrap();
    let foreign = home.try_open().await.err().unwrap();
    assert!(matches!(foreign, OpenError::Damaged { .. }), "{foreign}");
}

#[tokio::test]
async fn an_older_database_is_brought_up_to_date() {
    let home = File::new();
    let path = home.folder.path().join("manifold.db");
    let store = home.try_open().await.unwrap();
    store.put_setting("kept", "value", false).await.unwrap();
    drop(store);
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(
        "DROP TABLE permits; DROP TABLE constraints; DROP TABLE servers; DROP TABLE bars; DROP TABLE delegate_tokens; \
         DROP TABLE plan_uses; DROP INDEX executions_ended; DROP INDEX idempotency_execution; \
         DROP INDEX leases_node; DROP INDEX tasks_leased; ALTER TABLE tasks DROP COLUMN held_by; \
         ALTER TABLE tasks DROP COLUMN reserved_until; ALTER TABLE tasks DROP COLUMN on_delegate; \
         DELETE FROM refinery_schema_history WHERE version > 1;",
    )
    .unwrap();
    drop(db);
    let store = home.try_open().await.unwrap();
    assert_eq!(store.setting("kept").await.unwrap().as_deref(), Some("value"));
    assert!(store.constraints().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_log_is_moved_and_a_backup_is_a_store() {
    use std::os::unix::fs::PermissionsExt;
    let home = File::new();
    let store = home.try_open().await.unwrap();
    for n in 0..50 {
        store.put_setting(&format!("s{n}"), "value", false).await.unwrap();
    }
    let log = home.folder.path().join("manifold.db-wal");
    assert!(log.metadata().unwrap().len() > 0);
    assert_eq!(store.fold_write_ahead_log().await.unwrap(), 0);
    assert_eq!(log.metadata().unwrap().len(), 0);
    store.check().await.unwrap();
    let mode = home.folder.path().join("manifold.db").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let copy = File::new();
    let target = copy.folder.path().join("manifold.db");
    store.backup(&target).await.unwrap();
    assert!(store.backup(&target).await.is_err(), "a backup overwrites nothing");
    let restored = copy.try_open().await.unwrap();
    assert_eq!(restored.setting("s49").await.unwrap().as_deref(), Some("value"));
}

/// What a process that was killed leaves: files as they were at that moment, never closed.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_kill() {
    let home = File::new();
    let store = Arc::new(home.try_open().await.unwrap());
    let writes = (0..200).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.put_setting(&format!("s{n}"), "value", false).await })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap().unwrap();
    }
    let copy = File::new();
    for name in ["manifold.db", "manifold.db-wal"] {
        std::fs::copy(home.folder.path().join(name), copy.folder.path().join(name)).unwrap();
    }
    let after = copy.try_open().await.unwrap();
    for n in 0..200 {
        assert!(after.setting(&format!("s{n}")).await.unwrap().is_some());
    }
}
