//! Account records: settings, keys, secrets, artifacts.

use std::collections::BTreeMap;

use manifold_model::artifact::Artifact;
use manifold_model::secret::{SecretRecord, SecretType};

use super::Home;
use crate::{ApiKeyRow, SecretRow, Store, StoreError};

pub(super) async fn run<H: Home>(make: &impl Fn() -> H) {
    let store = make().open().await;
    settings(&*store).await;
    keys(&*store).await;
    secrets(&*store).await;
    artifacts(&*store).await;
}

async fn settings(store: &dyn Store) {
    assert_eq!(store.setting("account").await.unwrap(), None);
    assert_eq!(store.put_setting("account", "a", true).await.unwrap(), "a");
    assert_eq!(store.put_setting("account", "b", true).await.unwrap(), "a", "the first one stays");
    assert_eq!(store.put_setting("account", "c", false).await.unwrap(), "c");
    assert_eq!(store.setting("account").await.unwrap().as_deref(), Some("c"));
}

async fn keys(store: &dyn Store) {
    let key = |id: &str, hash: &str| ApiKeyRow {
        id: id.into(),
        name: "ci".to_owned(),
        hash: hash.to_owned(),
        created_at: 1,
    };
    store.put_api_key(key("1", "x")).await.unwrap();
    store.put_api_key(key("2", "y")).await.unwrap();
    store.put_api_key(key("1", "z")).await.unwrap();
    assert_eq!(store.api_keys().await.unwrap(), [key("1", "z"), key("2", "y")]);
    store.delete_api_key(&"1".into()).await.unwrap();
    assert!(matches!(store.delete_api_key(&"1".into()).await, Err(StoreError::Missing(_))));
    assert_eq!(store.api_keys().await.unwrap().len(), 1);
}

async fn secrets(store: &dyn Store) {
    let secret = |id: &str, name: &str, kind| SecretRow {
        record: SecretRecord {
            id: id.into(),
            name: name.to_owned(),
            kind,
            manager_id: "m".to_owned(),
            usage_scope: None,
            scoped_to_account: false,
            inherit_scopes_from_sm: true,
            credential: None,
            created_at: 1,
        },
        sealed: vec![1, 2, 3],
    };
    use SecretType::{EncryptedText, SshCredential};
    store.put_secret(secret("1", "root", EncryptedText)).await.unwrap();
    store.put_secret(secret("2", "root", SshCredential)).await.unwrap();
    let taken = store.put_secret(secret("3", "root", EncryptedText)).await;
    assert!(matches!(taken, Err(StoreError::Exists(_))));
    store.put_secret(secret("1", "admin", EncryptedText)).await.unwrap();
    assert_eq!(store.secret(&"1".into()).await.unwrap(), Some(secret("1", "admin", EncryptedText)));
    assert_eq!(store.secret(&"9".into()).await.unwrap(), None);
    assert_eq!(store.secret_named("root", Some(EncryptedText)).await.unwrap(), None);
    let found = store.secret_named("root", None).await.unwrap().unwrap();
    assert_eq!(found.record.kind, SshCredential);
    let names: Vec<_> = store.secrets().await.unwrap().into_iter().map(|record| record.name).collect();
    assert_eq!(names, ["admin", "root"]);
    store.delete_secret(&"1".into()).await.unwrap();
    assert!(matches!(store.delete_secret(&"1".into()).await, Err(StoreError::Missing(_))));
}

async fn artifacts(store: &dyn Store) {
    let source = "source".into();
    let build = |no: &str, at: i64, size: &str| Artifact {
        id: Artifact::id_of(&source, no),
        source: source.clone(),
        source_name: "builds".to_owned(),
        source_kind: "CUSTOM".to_owned(),
        build_no: no.to_owned(),
        metadata: BTreeMap::from([("size".to_owned(), size.to_owned())]),
        collected_at: at,
    };
    assert_eq!(store.put_artifacts(vec![build("2", 10, "1"), build("1", 10, "1")]).await.unwrap(), 2);
    assert_eq!(store.put_artifacts(vec![build("3", 20, "1"), build("2", 20, "7")]).await.unwrap(), 1);
    let page = store.artifacts(&source, 0, 2).await.unwrap();
    let order: Vec<_> = page.items.iter().map(|one| one.build_no.as_str()).collect();
    assert_eq!((page.total, order), (3, vec!["3", "2"]));
    assert_eq!(store.artifacts(&source, 2, 2).await.unwrap().items[0].build_no, "1");
    let known = store.artifact(&Artifact::id_of(&source, "2")).await.unwrap().unwrap();
    assert_eq!(known, build("2", 10, "7"), "it keeps its time and takes the new facts");
    assert_eq!(store.artifact(&"none".into()).await.unwrap(), None);
}
