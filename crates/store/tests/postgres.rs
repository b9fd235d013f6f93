//! The contract on PostgreSQL, and what only N servers on one database can show.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use manifold_model::ExecutionId;
use manifold_store::contract::{Home, suite};
use manifold_store::postgres::{OpenError, PostgresStore};
use manifold_store::{Hint, LEASE_MS, Store, StoreError};
use manifold_testkit::postgres::{self, Postgres, Shutdown};

/// How long something may take that comes by itself.
const SOON: Duration = Duration::from_secs(30);

struct Database {
    server: Arc<Postgres>,
    url: String,
}

impl Database {
    fn new() -> Self {
        Self::on(postgres::shared().unwrap())
    }

    fn on(server: Arc<Postgres>) -> Self {
        let url = server.database().unwrap();
        Self { server, url }
    }

    fn ask(&self, sql: &str) -> String {
        let name = self.url.rsplit('/').next().unwrap();
        self.server.query(name, sql).unwrap()
    }

    async fn store(&self) -> PostgresStore {
        PostgresStore::open(&self.url).await.unwrap()
    }
}

#[async_trait]
impl Home for Database {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.store().await)
    }

    /// What it holds becomes older.
    async fn pass(&self, ms: i64) {
        self.ask(&format!(
            "UPDATE servers SET expires_at = expires_at - {ms}; \
             UPDATE tasks SET reserved_until = reserved_until - {ms}, ended_at = ended_at - {ms}; \
             UPDATE bars SET barred_until = barred_until - {ms}"
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_the_contract() {
    suite(Database::new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_start_at_once_agree_on_the_schema() {
    let database = Database::new();
    let opened: Vec<_> = futures::future::join_all((0..4).map(|_| PostgresStore::open(&database.url))).await;
    let stores: Vec<_> = opened.into_iter().map(Result::unwrap).collect();
    stores[0].put_setting("a", "1", false).await.unwrap();
    assert_eq!(stores[3].setting("a").await.unwrap().as_deref(), Some("1"));
    assert_eq!(database.ask("SELECT count(*) FROM refinery_schema_history").trim(), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_cross_from_server_to_server_and_do_not_come_back() {
    let database = Database::new();
    let (here, there) = (database.store().await, database.store().await);
    let (mut mine, mut theirs) = (here.hints(), there.hints());
    here.tell(Hint::Inbox("run".into()));
    here.tell(Hint::Tasks);
    let mut heard = Vec::new();
    while heard.len() < 2 {
        heard.push(tokio::time::timeout(SOON, theirs.recv()).await.unwrap().unwrap());
    }
    assert!(
        heard.contains(&Hint::Inbox(ExecutionId::from("run"))) && heard.contains(&Hint::Tasks),
        "{heard:?}"
    );
    there.tell(Hint::Servers);
    let mut own = Vec::new();
    while own.last() != Some(&Hint::Servers) {
        own.push(tokio::time::timeout(SOON, mine.recv()).await.unwrap().unwrap());
    }
    assert_eq!(own, [Hint::Inbox("run".into()), Hint::Tasks, Hint::Servers], "its own hints came once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_a_damaged_and_a_foreign_database_are_refused_untouched() {
    let database = Database::new();
    drop(database.store().await);
    database.ask("INSERT INTO refinery_schema_history VALUES (999, 'future', '2030-01-01T00:00:00Z', '1')");
    let newer = PostgresStore::open(&database.url).await.err().unwrap();
    assert!(matches!(newer, OpenError::Newer { found: 999, known: 1, .. }), "{newer}");
    assert_eq!(newer.code().to_string(), "STORE_NEWER");

    database.ask("DELETE FROM refinery_schema_history WHERE version = 999; UPDATE refinery_schema_history SET checksum = 'x'");
    let garbled = PostgresStore::open(&database.url).await.err().unwrap();
    assert_eq!(garbled.code().to_string(), "STORE_DAMAGED", "{garbled}");
    database.ask("DROP TABLE refinery_schema_history; CREATE TABLE refinery_schema_history (recipe TEXT)");
    let foreign = PostgresStore::open(&database.url).await.err().unwrap();
    assert_eq!(foreign.code().to_string(), "STORE_DAMAGED", "{foreign}");
    database.ask("DROP TABLE refinery_schema_history");
    let taken = PostgresStore::open(&database.url).await.err().unwrap();
    assert_eq!(taken.code().to_string(), "STORE_DAMAGED", "{taken}");
    let nowhere = PostgresStore::open("postgres://postgres@127.0.0.1:1/none").await.err().unwrap();
    assert_eq!(nowhere.code().to_string(), "STORE_UNUSABLE", "{nowhere}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_cost_nobody_anything() {
    let database = Database::new();
    let store = database.store().await;
    let mut hints = store.hints();
    for round in 0..5 {
        store.put_setting("round", &round.to_string(), false).await.unwrap();
        database.ask(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        assert_eq!(store.setting("round").await.unwrap(), Some(round.to_string()));
    }
    // The connection for hints comes back too, and says that some may have been lost.
    while tokio::time::timeout(SOON, hints.recv()).await.unwrap().unwrap() != Hint::Everything {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_went_away_and_came_back_serves_again() {
    let server = Arc::new(Postgres::start().unwrap());
    let database = Database::on(Arc::clone(&server));
    let store = database.store().await;
    let lease = store.join("a", "1.0").await.unwrap();
    store.put_setting("kept", "yes", false).await.unwrap();
    server.stop(Shutdown::Immediate).unwrap();
    let begun = std::time::Instant::now();
    assert!(matches!(store.setting("kept").await, Err(StoreError::Broken { .. })));
    assert!(matches!(store.put_setting("kept", "no", false).await, Err(StoreError::Broken { .. })));
    assert!(matches!(store.renew(&lease).await, Err(StoreError::Broken { .. })));
    assert!(begun.elapsed() < SOON, "each call ends in bounded time");
    server.run().unwrap();
    assert_eq!(store.setting("kept").await.unwrap().as_deref(), Some("yes"));
    store.renew(&lease).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_takes_over_what_another_let_go() {
    let database = Database::new();
    let stores = [database.store().await, database.store().await, database.store().await];
    let mut leases = Vec::new();
    for (n, store) in stores.iter().enumerate() {
        leases.push(store.join(&format!("node-{n}"), "1.0").await.unwrap());
    }
    database.pass(LEASE_MS + 1).await;
    // All three are late and renew at once: whoever comes first keeps its lease and takes those of the rest, or finds them renewed.
    let renewed =
        futures::future::join_all(stores.iter().zip(&leases).map(|(store, lease)| store.renew(lease))).await;
    let kept: Vec<_> = renewed.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert!(!kept.is_empty());
    for outcome in renewed.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert!(matches!(outcome, StoreError::Fenced { .. }), "{outcome}");
    }
    let standing = stores[0].renew(&leases[0]).await;
    let left: i64 = database.ask("SELECT count(*) FROM servers").trim().parse().unwrap();
    assert!(left >= 1 && (standing.is_ok() || left < 3));
}
