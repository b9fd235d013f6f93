//! Whole stores: checked, copied between the homes and back, backed up and restored.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::path::Path;
use std::sync::Arc;

use manifold_model::EntityId;
use manifold_store::clock::SystemClock;
use manifold_store::postgres::PostgresStore;
use manifold_store::sqlite::SqliteStore;
use manifold_store::transfer::{Place, TransferError, backup, check, copy, restore};
use manifold_store::{CatalogChange, DocumentPut, Store};
use manifold_testkit::postgres::shared;

async fn sqlite(folder: &Path) -> SqliteStore {
    SqliteStore::open(&folder.join("manifold.db"), Arc::new(SystemClock::default())).await.unwrap()
}

/// Something of several tables, and a large body for a page in the middle of the file.
async fn fill(store: &dyn Store) {
    for n in 0..300 {
        store.put_setting(&format!("setting {n}"), &"ü".repeat(n), false).await.unwrap();
    }
    store.put_setting("key_id", "k1", false).await.unwrap();
    let put = DocumentPut {
        id: EntityId::from("shop"),
        path: "Setup/Applications/Shop/Index.yaml".to_owned(),
        application: None,
        kind: "APPLICATION".to_owned(),
        body: Arc::from(vec![0x2a; 200_000]),
        is_file: true,
        refs: vec![EntityId::from("other")],
    };
    store.commit_catalog(CatalogChange { puts: vec![put], ..Default::default() }).await.unwrap();
    let server = store.join("node", "1.0").await.unwrap();
    store.lease(&server, &"delegate".into()).await.unwrap();
    store.release(&server).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_goes_to_postgres_and_back() {
    let (first, last) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = sqlite(first.path()).await;
    fill(&store).await;
    let from = Place::Folder(first.path().to_owned());
    let to = Place::Database(shared().unwrap().database().unwrap());
    let back = Place::Folder(last.path().join("new"));
    let locked = copy(&from, &to, false, &mut |_| {}).await.unwrap_err();
    assert_eq!(locked.code().to_string(), "STORE_LOCKED");
    drop(store);
    let there = copy(&from, &to, false, &mut |_| {}).await.unwrap();
    assert!(there.iter().any(|table| table.table == "settings" && table.rows == 301));
    let again = copy(&from, &to, false, &mut |_| {}).await.unwrap_err();
    assert!(matches!(again, TransferError::NotEmpty { .. }), "{again}");

    let Place::Database(url) = &to else { unreachable!() };
    let shared_store = PostgresStore::open(url).await.unwrap();
    assert_eq!(shared_store.setting("setting 2").await.unwrap().as_deref(), Some("üü"));
    let server = shared_store.join("node", "1.0").await.unwrap();
    let served = copy(&to, &back, false, &mut |_| {}).await.unwrap_err();
    assert!(matches!(served, TransferError::Served { .. }), "{served}");
    shared_store.release(&server).await.unwrap();
    drop(shared_store);
    copy(&to, &back, false, &mut |_| {}).await.unwrap();
    let Place::Folder(folder) = &back else { unreachable!() };
    let returned = sqlite(folder).await;
    assert_eq!(returned.catalog().await.unwrap().documents[0].body.len(), 200_000);
    assert!(returned.join("node", "1.0").await.unwrap().fence > server.fence, "fences only grow");
    for place in [&from, &to] {
        let checked = check(place, &mut |_| vec![]).await.unwrap();
        assert_eq!(checked.complaints, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_taken_while_the_store_is_open_and_restored_whole_or_not_at_all() {
    let (home, away) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = sqlite(home.path()).await;
    fill(&store).await;
    let logs = home.path().join("logs");
    std::fs::create_dir_all(logs.join("run")).unwrap();
    std::fs::write(logs.join("run/1"), "a line").unwrap();
    let file = away.path().join("backup");
    let place = Place::Folder(home.path().to_owned());
    let archived = backup(&place, Some(&logs), &file, "1.0").await.unwrap();
    assert_eq!(archived.key_id.as_deref(), Some("k1"));
    let again = backup(&place, Some(&logs), &file, "1.0").await.unwrap_err();
    assert!(matches!(again, TransferError::Exists(_)));

    let whole = std::fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for bad in [&whole[..whole.len() - 3], &whole[..whole.len() / 2], &flipped[..], b"no archive"] {
        let (bad_file, target) = (away.path().join("bad"), away.path().join("target"));
        std::fs::write(&bad_file, bad).unwrap();
        let target_logs = target.join("logs");
        let refused =
            restore(&bad_file, &Place::Folder(target.clone()), Some(&target_logs)).await.unwrap_err();
        assert!(matches!(refused, TransferError::Damaged { .. }), "{refused}");
        assert!(!target.join("manifold.db").exists());
    }
    let target = away.path().join("restored");
    let to = Place::Folder(target.clone());
    restore(&file, &to, Some(&target.join("logs"))).await.unwrap();
    assert_eq!(std::fs::read(target.join("logs/run/1")).unwrap(), b"a line");
    let refused = restore(&file, &to, Some(&target.join("logs"))).await.unwrap_err();
    assert!(matches!(refused, TransferError::NotEmpty { .. }));
    assert!(sqlite(&target).await.setting("setting 299").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_was_changed_is_found() {
    let home = tempfile::tempdir().unwrap();
    let store = sqlite(home.path()).await;
    fill(&store).await;
    store.fold_write_ahead_log().await.unwrap();
    drop(store);
    let path = home.path().join("manifold.db");
    let mut bytes = std::fs::read(&path).unwrap();
    // The tree of a table, in the middle: not the large body, whose bytes mean nothing to the database.
    let at = bytes.windows(11).position(|window| window == b"setting 200").unwrap() / 4096 * 4096;
    bytes[at..at + 64].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let checked = check(&Place::Folder(home.path().to_owned()), &mut |_| vec![]).await.unwrap();
    assert!(checked.complaints.iter().any(|complaint| complaint.id == "database"), "{checked:?}");
    let missing = check(&Place::Folder(home.path().join("nothing")), &mut |_| vec![]).await.unwrap_err();
    assert!(matches!(missing, TransferError::Missing(_)));
}
