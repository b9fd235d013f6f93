//! The API against a real store in a folder of its own, through the router.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod catalog;
mod config_as_code;
mod delegates;
mod executions;
mod guard;
mod schema;
mod secrets;
mod shop;
mod transport;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use manifold_control::model::KeyId;
use manifold_control::model::kind::{ANYWHERE, Class, KindSpec, Player};
use manifold_control::{Control, Limits, Parts, SystemClock};
use manifold_store::logs::LogStore;
use manifold_store::sqlite::SqliteStore;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// The key of the tests.
const KEY: &str = "key-of-the-tests";
/// The account of the tests.
const ACCOUNT: &str = "accountOfTheTestsXXXXX";

/// A server without a port.
struct Server {
    router: Router,
    control: Arc<Control>,
    store: Arc<SqliteStore>,
    _folder: tempfile::TempDir,
}

fn kinds() -> Vec<KindSpec> {
    ["SHELL_SCRIPT", "HTTP"]
        .map(|name| KindSpec {
            name: name.into(),
            class: Class::Probeable,
            class_by: Vec::new(),
            rolled_back_by: None,
            player: Player::Delegate,
            stands: ANYWHERE.to_vec(),
            properties: Vec::new(),
            capabilities: Vec::new(),
            touches_infrastructure: false,
            infrastructure_types: Vec::new(),
            reads_manifests: false,
            deploys: false,
            test_only: false,
        })
        .to_vec()
}

/// Nobody connects in these tests.
struct NoDoor;

#[async_trait::async_trait]
impl manifold_api::delegates::Door for NoDoor {
    async fn serve(&self, _: axum::extract::ws::WebSocket, _: std::net::SocketAddr) {}
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::default());
        let store =
            Arc::new(SqliteStore::open(&folder.path().join("manifold.db"), clock.clone()).await.unwrap());
        let control = Arc::new(Control::new(Parts {
            store: store.clone(),
            logs: LogStore::open(&folder.path().join("logs")).unwrap(),
            vault: manifold_secrets::Key::random().unwrap(),
            public_url: "http://127.0.0.1".to_owned(),
            kinds: Arc::new(kinds()),
            clock,
            account: ACCOUNT.to_owned(),
            limits: Limits::default(),
        }));
        control.add_api_key(KeyId::from("key1"), "tests", KEY).await.unwrap();
        let options = manifold_api::Options {
            version: "test",
            shutdown: CancellationToken::new(),
            ready: Arc::new(|| true),
            more_metrics: Arc::new(|| Box::pin(async { "# TYPE other gauge\nother 1\n".to_owned() })),
            delegates: Arc::new(NoDoor),
        };
        Self { router: manifold_api::router(Arc::clone(&control), options), control, store, _folder: folder }
    }

    /// A server with the shop in it.
    async fn shop() -> Self {
        let server = Self::start().await;
        let answer = server.import(&shop::files()).await;
        assert_eq!(answer["resource"]["status"], "SUCCESS", "{answer:#}");
        server
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, Vec<u8>) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, body.to_vec())
    }

    async fn json(&self, request: Request<Body>) -> (StatusCode, Value) {
        let (status, body) = self.send(request).await;
        let json = serde_json::from_slice(&body).unwrap_or_else(|error| {
            panic!("{status}: {error}: {}", String::from_utf8_lossy(&body));
        });
        (status, json)
    }

    /// A query with variables; the whole envelope.
    async fn graphql(&self, query: &str, variables: Value) -> Value {
        let body = json!({"query": query, "variables": variables}).to_string();
        let (status, json) = self.json(post("/api/graphql", "application/json", body)).await;
        assert_eq!(status, StatusCode::OK, "{json:#}");
        json
    }

    /// A query that must succeed; its data.
    async fn data(&self, query: &str, variables: Value) -> Value {
        let envelope = self.graphql(query, variables).await;
        assert!(envelope.get("errors").is_none(), "{envelope:#}");
        envelope["data"].clone()
    }

    /// A query that must fail; its first error.
    async fn error(&self, query: &str, variables: Value) -> Value {
        let envelope = self.graphql(query, variables).await;
        assert!(envelope["errors"][0]["message"].is_string(), "{envelope:#}");
        envelope["errors"][0].clone()
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.json(with_key(Request::get(path)).body(Body::empty()).unwrap()).await
    }

    async fn upsert(&self, path: &str, text: &str) -> Value {
        let path = format!("/gateway/api/setup-as-code/yaml/upsert-entity?yamlFilePath={}", escaped(path));
        let (status, json) = self.json(multipart(&path, &[("yamlContent", "a.yaml", text.as_bytes())])).await;
        assert_eq!(status, StatusCode::OK, "{json:#}");
        json["resource"].clone()
    }

    async fn import(&self, files: &[(String, String)]) -> Value {
        let archive = zipped(files.iter().map(|(path, text)| (path.as_str(), text.as_bytes())));
        let request =
            multipart("/api/setup-as-code/yaml/upsert-entities", &[("file", "setup.zip", &archive)]);
        self.json(request).await.1
    }

    /// Id of the application, of a pipeline and of a workflow.
    async fn ids(&self) -> (String, String, String) {
        let application = self.data("{applicationByName(name: \"shop\") {id}}", json!({})).await;
        let application = application["applicationByName"]["id"].as_str().unwrap().to_owned();
        let data = self
            .data(
                "query($a: String!) { p: pipelineByName(applicationId: $a, pipelineName: \"release\") {id}
                   w: workflowByName(applicationId: $a, workflowName: \"deploy\") {id} }",
                json!({"a": application}),
            )
            .await;
        let text = |value: &Value| value["id"].as_str().unwrap().to_owned();
        (application, text(&data["p"]), text(&data["w"]))
    }
}

fn with_key(builder: axum::http::request::Builder) -> axum::http::request::Builder {
    builder.header("X-Api-Key", KEY)
}

fn post(path: &str, kind: &str, body: impl Into<Body>) -> Request<Body> {
    with_key(Request::post(path)).header("content-type", kind).body(body.into()).unwrap()
}

fn multipart(path: &str, parts: &[(&str, &str, &[u8])]) -> Request<Body> {
    let mut body = Vec::new();
    for (name, file, content) in parts {
        body.extend_from_slice(
            format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\r\n")
                .as_bytes(),
        );
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--edge--\r\n");
    post(path, "multipart/form-data; boundary=edge", body)
}

fn zipped<'f>(files: impl Iterator<Item = (&'f str, &'f [u8])>) -> Vec<u8> {
    use std::io::Write;
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (path, content) in files {
        writer.start_file(path, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn escaped(text: &str) -> String {
    text.replace(' ', "%20")
}
