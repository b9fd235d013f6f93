//! Delegates that join, wait, work and are sent away, on a real store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::Arc;

use manifold_control::delegates::{Admission, Applicant};
use manifold_control::{Actor, Control, ExposeSecret, Limits, Parts, SystemClock};
use manifold_model::delegate::{Announced, DelegateStatus};
use manifold_model::{DelegateId, Failure, KeyId};
use manifold_store::Store;
use manifold_store::logs::LogStore;
use manifold_store::sqlite::SqliteStore;

const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const OTHER_KEY: &str = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

struct Site {
    control: Control,
    store: Arc<dyn Store>,
    actor: Actor,
    _folder: tempfile::TempDir,
}

impl Site {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::default());
        let store = SqliteStore::open(&folder.path().join("manifold.db"), clock.clone()).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let control = Control::new(Parts {
            store: Arc::clone(&store),
            logs: LogStore::open(&folder.path().join("logs")).unwrap(),
            vault: manifold_secrets::Key::random().unwrap(),
            public_url: "http://127.0.0.1".to_owned(),
            kinds: Arc::new(Vec::new()),
            clock,
            account: "account".to_owned(),
            limits: Limits::default(),
        });
        Self { control, store, actor: Actor::key(KeyId::from("key1"), "tests"), _folder: folder }
    }

    async fn token(&self, name: &str, approval_required: bool) -> String {
        let (_, text) =
            self.control.create_delegate_token(&self.actor, name, approval_required).await.unwrap();
        text.expose_secret().to_owned()
    }

    async fn admit(&self, applicant: Applicant) -> Result<Admission, Failure> {
        self.control.admit_delegate(applicant).await
    }

    async fn refused(&self, applicant: Applicant) -> String {
        let failure = self.admit(applicant).await.unwrap_err();
        assert!(failure.hint.is_some(), "{failure:?}");
        failure.code.to_string()
    }
}

fn applicant(id: &str, token: Option<&str>) -> Applicant {
    Applicant {
        id: id.into(),
        name: format!("{id}-name"),
        key: KEY.to_owned(),
        token: token.map(ToOwned::to_owned),
        announced: Announced { host: "host".to_owned(), ..Announced::default() },
    }
}

#[tokio::test]
async fn a_token_lets_in_and_a_key_is_known_again() {
    let site = Site::new().await;
    let token = site.token("west", false).await;
    assert!(token.starts_with("mfd.") && token.len() == 68);
    for bad in [None, Some(""), Some("mfd."), Some("mfd.00"), Some(&*"x".repeat(5_000))] {
        assert_eq!(site.refused(applicant("one", bad)).await, "DELEGATE_TOKEN_INVALID");
    }
    assert!(site.store.delegates().await.unwrap().is_empty(), "nothing is written of whoever is refused");
    assert_eq!(site.admit(applicant("one", Some(&format!(" {token}\n")))).await, Ok(Admission::Admitted));
    assert_eq!(site.admit(applicant("one", None)).await, Ok(Admission::Admitted), "known by its key");
    let stranger = Applicant { key: OTHER_KEY.to_owned(), ..applicant("one", Some(&token)) };
    assert_eq!(site.refused(stranger).await, "DELEGATE_KEY_MISMATCH");

    let mut moved = applicant("one", None);
    moved.announced.host = "moved".to_owned();
    assert_eq!(site.admit(moved).await, Ok(Admission::Admitted));
    let row = site.control.delegate(&site.actor, &"one".into()).await.unwrap();
    assert_eq!((row.announced.host.as_str(), row.status), ("moved", DelegateStatus::Enabled));
    let kept = format!("{:?}", site.store.delegate_tokens().await.unwrap());
    assert!(!kept.contains(&token) && !kept.contains(&token[4..]), "only its hash is kept");
}

#[tokio::test]
async fn an_approval_is_waited_for() {
    let site = Site::new().await;
    let token = site.token("careful", true).await;
    assert_eq!(site.admit(applicant("one", Some(&token))).await, Ok(Admission::Waiting));
    assert_eq!(site.admit(applicant("two", Some(&token))).await, Ok(Admission::Waiting));
    assert_eq!(site.admit(applicant("one", None)).await, Ok(Admission::Waiting));
    let (one, two): (DelegateId, DelegateId) = ("one".into(), "two".into());
    let row = site.control.approve_delegate(&site.actor, &one).await.unwrap();
    assert_eq!(row.status, DelegateStatus::Enabled);
    site.control.approve_delegate(&site.actor, &one).await.unwrap();
    assert_eq!(site.admit(applicant("one", None)).await, Ok(Admission::Admitted));
    let late = site.control.reject_delegate(&site.actor, &one).await.unwrap_err();
    assert_eq!(late.code().to_string(), "DELEGATE_NOT_WAITING");
    site.control.reject_delegate(&site.actor, &two).await.unwrap();
    assert_eq!(site.refused(applicant("two", Some(&token))).await, "DELEGATE_DELETED");
    let dead = site.control.approve_delegate(&site.actor, &two).await.unwrap_err();
    assert_eq!(dead.code().to_string(), "DELEGATE_DELETED");
    let nobody = site.control.approve_delegate(&site.actor, &"three".into()).await.unwrap_err();
    assert!(nobody.to_string().contains("does not exist"), "{nobody}");
}

#[tokio::test]
async fn a_deletion_or_a_revocation_ends_a_connection() {
    let site = Site::new().await;
    let (west, east) = (site.token("west", false).await, site.token("east", false).await);
    for (id, token) in [("one", &west), ("two", &west), ("three", &east)] {
        assert_eq!(site.admit(applicant(id, Some(token))).await, Ok(Admission::Admitted));
    }
    let server = site.store.join("node", "1").await.unwrap();
    for id in ["one", "two", "three"] {
        site.store.lease(&server, &id.into()).await.unwrap();
    }
    site.control.delete_delegate(&site.actor, &"one".into()).await.unwrap();
    site.control.delete_delegate(&site.actor, &"one".into()).await.unwrap();
    site.control.revoke_delegate_token(&site.actor, "west").await.unwrap();
    let again = site.control.revoke_delegate_token(&site.actor, "west").await.unwrap();
    assert!(again.revoked_at.is_some());
    let rows = site.control.delegates(&site.actor).await.unwrap();
    let connected: Vec<_> = rows.iter().map(|row| (row.id.as_str(), row.connection.is_some())).collect();
    assert_eq!(connected, [("one", false), ("two", false), ("three", true)]);
    assert_eq!(site.refused(applicant("one", None)).await, "DELEGATE_DELETED");
    assert_eq!(site.refused(applicant("two", Some(&east))).await, "DELEGATE_TOKEN_REVOKED");
    assert_eq!(site.refused(applicant("four", Some(&west))).await, "DELEGATE_TOKEN_REVOKED");
    let nothing = site.control.revoke_delegate_token(&site.actor, "north").await.unwrap_err();
    assert!(nothing.to_string().contains("does not exist"));
}

#[tokio::test]
async fn what_is_announced_is_bounded() {
    let site = Site::new().await;
    let token = site.token("west", false).await;
    let base = || applicant("one", Some(&token));
    let kind = serde_json::json!({
        "name": "NOOP", "class": "IDEMPOTENT", "player": "DELEGATE", "stands": [], "properties": [],
        "touches_infrastructure": false, "deploys": false
    });
    let kind: manifold_model::kind::KindSpec = serde_json::from_value(kind).unwrap();
    type Spoil = fn(&mut Applicant);
    let bad: [(&str, Spoil); 11] = [
        ("id", |a| a.id = "../x".into()),
        ("long id", |a| a.id = "x".repeat(65).into()),
        ("name", |a| a.name = "a b".to_owned()),
        ("long name", |a| a.name = "x".repeat(129)),
        ("key", |a| a.key = "AAAA".to_owned()),
        ("no key", |a| a.key = String::new()),
        ("description", |a| a.announced.description = "x".repeat(1_025)),
        ("host", |a| a.announced.host = "a\u{1b}[2J".to_owned()),
        ("selectors", |a| a.announced.selectors = (0..65).map(|n| n.to_string()).collect()),
        ("selector", |a| a.announced.selectors = vec!["x".repeat(257)]),
        ("capability", |a| a.announced.capabilities = vec![" ".to_owned()]),
    ];
    for (what, spoil) in bad {
        let mut applicant = base();
        spoil(&mut applicant);
        assert_eq!(site.refused(applicant).await, "DELEGATE_ANNOUNCEMENT_REFUSED", "{what}");
    }
    let mut many = base();
    many.announced.kinds = vec![kind.clone(); 257];
    assert_eq!(site.refused(many.clone()).await, "DELEGATE_ANNOUNCEMENT_REFUSED");
    many.announced.kinds = vec![kind; 256];
    assert_eq!(site.admit(many).await, Ok(Admission::Admitted));
}

#[tokio::test]
async fn the_one_inside_a_server_is_nobody_else() {
    let site = Site::new().await;
    let token = site.token("west", false).await;
    let server = site.store.join("node", "1").await.unwrap();
    let row = manifold_store::DelegateRow {
        id: "embedded".into(),
        name: "embedded".to_owned(),
        status: DelegateStatus::Enabled,
        key: String::new(),
        token: String::new(),
        announced: Announced::default(),
        scopes: Default::default(),
        created_at: 1,
        seen: 1,
        connection: None,
    };
    site.store.enrol(row).await.unwrap();
    let lease = site.store.lease(&server, &"embedded".into()).await.unwrap();
    assert_eq!(site.refused(applicant("embedded", Some(&token))).await, "DELEGATE_KEY_MISMATCH");
    let live = site.control.delete_delegate(&site.actor, &"embedded".into()).await.unwrap_err();
    assert_eq!(live.code().to_string(), "DELEGATE_EMBEDDED");
    site.store.release(&lease).await.unwrap();
    let gone = site.control.delete_delegate(&site.actor, &"embedded".into()).await.unwrap();
    assert_eq!(gone.status, DelegateStatus::Deleted);
    let back = site.control.approve_delegate(&site.actor, &"embedded".into()).await.unwrap();
    assert_eq!(back.status, DelegateStatus::Enabled);
}

#[tokio::test]
async fn tokens_have_one_name_each() {
    let site = Site::new().await;
    site.token("west", false).await;
    let twice = site.control.create_delegate_token(&site.actor, "west", true).await.unwrap_err();
    assert_eq!(twice.code().to_string(), "NAME_TAKEN");
    for bad in ["", "a b", "ä", &"x".repeat(129)] {
        let refused = site.control.create_delegate_token(&site.actor, bad, false).await.unwrap_err();
        assert_eq!(refused.code().to_string(), "NAME_INVALID", "{bad}");
    }
    let listed = site.control.delegate_tokens(&site.actor).await.unwrap();
    assert_eq!(listed.len(), 1);
}
