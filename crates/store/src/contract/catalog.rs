//! The catalog: one revision a change, all or nothing.

use std::sync::Arc;

use manifold_model::EntityId;

use super::Home;
use crate::{CatalogChange, DocumentPut, Hint, Store, StoreError};

pub(super) async fn run<H: Home>(make: &impl Fn() -> H) {
    changes_make_revisions(&*make().open().await).await;
    a_refused_change_leaves_nothing(&*make().open().await).await;
    paths_may_be_swapped_but_not_shared(&*make().open().await).await;
    the_past_stays_readable(&*make().open().await).await;
    thousands_of_documents_go_in_at_once(&*make().open().await).await;
}

fn put(id: &str, path: &str, body: &str, refs: &[&str]) -> DocumentPut {
    DocumentPut {
        id: id.into(),
        path: path.to_owned(),
        application: Some("app".into()),
        kind: "WORKFLOW".to_owned(),
        body: Arc::from(body.as_bytes()),
        is_file: false,
        refs: refs.iter().map(|id| EntityId::from(*id)).collect(),
    }
}

fn change(puts: Vec<DocumentPut>, deletes: &[&str]) -> CatalogChange {
    CatalogChange {
        puts,
        deletes: deletes.iter().map(|id| EntityId::from(*id)).collect(),
        author: "ci".to_owned(),
        source: "import".to_owned(),
        reason: "why".to_owned(),
        at: 5,
        expected: None,
    }
}

async fn changes_make_revisions(store: &dyn Store) {
    assert_eq!(store.catalog_revision().await.unwrap(), 0);
    let mut hints = store.hints();
    let first = change(vec![put("a", "A.yaml", "a1", &["b"]), put("b", "B.yaml", "b1", &[])], &[]);
    assert_eq!(store.commit_catalog(first).await.unwrap(), 1);
    assert_eq!(hints.try_recv().unwrap(), Hint::Catalog(1));
    let mut second = change(vec![put("a", "Z.yaml", "a2", &["c"])], &["b"]);
    second.at = 9;
    second.expected = Some(1);
    assert_eq!(store.commit_catalog(second).await.unwrap(), 2);
    let head = store.catalog().await.unwrap();
    assert_eq!((head.revision, head.documents.len()), (2, 1));
    let document = &head.documents[0];
    assert_eq!((document.path.as_str(), &document.body[..]), ("Z.yaml", &b"a2"[..]));
    assert_eq!((document.revision, document.created_at), (2, 5), "created once, written twice");
    let (changed, deleted) = store.catalog_since(1).await.unwrap();
    assert_eq!(changed.documents, head.documents);
    assert_eq!(deleted, [EntityId::from("b")]);
    let (changed, deleted) = store.catalog_since(2).await.unwrap();
    assert!(changed.documents.is_empty() && deleted.is_empty() && changed.revision == 2);
    assert!(store.referrers(&"b".into()).await.unwrap().is_empty(), "references follow the text");
    assert_eq!(store.referrers(&"c".into()).await.unwrap(), [EntityId::from("a")]);
}

async fn a_refused_change_leaves_nothing(store: &dyn Store) {
    store.commit_catalog(change(vec![put("a", "A.yaml", "a1", &[])], &[])).await.unwrap();
    let mut stale = change(vec![put("b", "B.yaml", "b1", &[])], &[]);
    stale.expected = Some(0);
    let refused = store.commit_catalog(stale).await;
    assert!(matches!(refused, Err(StoreError::Conflict { expected: 0, found: 1 })));
    let missing = store.commit_catalog(change(vec![put("b", "B.yaml", "b1", &[])], &["x"])).await;
    assert!(matches!(missing, Err(StoreError::Missing(_))));
    let head = store.catalog().await.unwrap();
    assert_eq!((head.revision, head.documents.len()), (1, 1));
}

async fn paths_may_be_swapped_but_not_shared(store: &dyn Store) {
    store
        .commit_catalog(change(vec![put("a", "A.yaml", "a", &[]), put("b", "B.yaml", "b", &[])], &[]))
        .await
        .unwrap();
    store
        .commit_catalog(change(vec![put("a", "B.yaml", "a", &[]), put("b", "A.yaml", "b", &[])], &[]))
        .await
        .unwrap();
    let shared = store.commit_catalog(change(vec![put("c", "A.yaml", "c", &[])], &[])).await;
    assert!(matches!(shared, Err(StoreError::Exists(_))));
    let replaced = store.commit_catalog(change(vec![put("c", "A.yaml", "c", &[])], &["b"])).await;
    assert_eq!(replaced.unwrap(), 3, "a deleted document's path is free in the same change");
}

async fn the_past_stays_readable(store: &dyn Store) {
    store.commit_catalog(change(vec![put("a", "A.yaml", "1", &[])], &[])).await.unwrap();
    store.commit_catalog(change(vec![put("a", "B.yaml", "2", &[])], &[])).await.unwrap();
    store.commit_catalog(change(vec![put("n", "A.yaml", "3", &[])], &[])).await.unwrap();
    store.commit_catalog(change(vec![], &["a"])).await.unwrap();
    let at = async |path, revision| {
        let body = store.document_at(path, revision).await.unwrap();
        body.map(|body| String::from_utf8(body.to_vec()).unwrap())
    };
    assert_eq!(at("A.yaml", 0).await, None);
    assert_eq!(at("A.yaml", 1).await.as_deref(), Some("1"));
    assert_eq!(at("A.yaml", 2).await, None, "it was renamed away");
    assert_eq!(at("A.yaml", 3).await.as_deref(), Some("3"));
    assert_eq!(at("B.yaml", 3).await.as_deref(), Some("2"));
    assert_eq!(at("B.yaml", 4).await, None, "it was deleted");
    let history = store.document_history(&"a".into(), 10).await.unwrap();
    let short: Vec<_> = history.iter().map(|one| (one.revision, one.body.is_some())).collect();
    assert_eq!(short, [(4, false), (2, true), (1, true)]);
    assert_eq!((history[0].author.as_str(), history[0].reason.as_str()), ("ci", "why"));
    assert_eq!(store.document_history(&"a".into(), 1).await.unwrap().len(), 1);
}

async fn thousands_of_documents_go_in_at_once(store: &dyn Store) {
    let puts = (0..3000).map(|n| put(&format!("id{n}"), &format!("{n:05}.yaml"), "x", &["app"])).collect();
    store.commit_catalog(change(puts, &[])).await.unwrap();
    let head = store.catalog().await.unwrap();
    assert_eq!(head.documents.len(), 3000);
    assert!(head.documents.is_sorted_by(|a, b| a.path < b.path));
    assert_eq!(store.referrers(&"app".into()).await.unwrap().len(), 3000);
}
