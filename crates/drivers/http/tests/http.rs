//! Requests to a small server of our own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use manifold_driver::contract::{self, Captured, Known};
use manifold_driver::{Driver, Found};
use manifold_driver_http::limits::MAX_BODY;
use manifold_driver_http::{HttpDriver, spec};
use manifold_model::kind::{Class, KindName};
use manifold_model::task::{HttpTask, Outcome, Payload, Task, TaskResult};
use manifold_model::{Code, Failure, FailureClass, Hole, LogId, Piece, Rendered, TaskId, code};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server that answers each path as told and remembers what it was asked.
#[derive(Clone)]
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

type Answers = Arc<BTreeMap<&'static str, String>>;

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
}

impl Server {
    async fn start(answers: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = Self { address, asked: Arc::default() };
        let (answers, asked): (Answers, _) = (Arc::new(answers.into_iter().collect()), server.asked.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answers.clone(), asked.clone()));
            }
        });
        server
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, answers: Answers, asked: Arc<Mutex<Vec<String>>>) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    let head = loop {
        let count = stream.read(&mut buffer).await.unwrap_or_default();
        request.extend_from_slice(&buffer[..count]);
        if request.first() == Some(&0x16) {
            // The beginning of TLS, which this server does not speak.
            drop(stream.write_all(b"what?").await);
            return;
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some(at) = text.find("\r\n\r\n") {
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if request.len() >= at + 4 + length {
                break text;
            }
        }
        if count == 0 {
            return;
        }
    };
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().unwrap().push(head);
    match answers.get(path.as_str()) {
        Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
        // A path without an answer hangs until the client goes away.
        None => drop(stream.read(&mut buffer).await),
    }
}

fn request(method: &str, url: impl Into<String>) -> HttpTask {
    HttpTask {
        method: method.to_owned(),
        url: Rendered::text(url),
        headers: Vec::new(),
        body: Rendered::default(),
        assertion: Rendered::default(),
        outputs: Vec::new(),
        use_proxy: false,
    }
}

fn secret() -> Rendered {
    Rendered(vec![Piece::Hole(Hole::Secret { name: "token".to_owned() })])
}

fn fact(text: &str) -> Rendered {
    Rendered(vec![Piece::Hole(Hole::Expression { text: text.to_owned(), known: BTreeMap::new() })])
}

async fn perform(http: HttpTask, timeout_ms: u64) -> (Outcome, Arc<Captured>) {
    let secrets = [("token".to_owned(), "s3cret".to_owned())].into();
    let (context, log) = contract::context(Arc::new(Known { secrets, ..Known::default() }));
    let task = task(http, timeout_ms);
    (HttpDriver::default().perform(&task, &context).await, log)
}

fn task(http: HttpTask, timeout_ms: u64) -> Task {
    Task {
        id: TaskId::from("task"),
        kind: KindName::from("HTTP"),
        class: Class::Idempotent,
        attempt: 1,
        step: None,
        log: LogId::from("log"),
        timeout_ms,
        selectors: Vec::new(),
        capabilities: Vec::new(),
        payload: Payload::Http(http),
    }
}

fn failure_of(outcome: &Outcome) -> &Failure {
    match &outcome.result {
        TaskResult::Failed { failure } => failure,
        other => panic!("{other:?} instead of a failure"),
    }
}

#[track_caller]
fn assert_fails(outcome: &Outcome, class: FailureClass, code: Code) {
    let failure = failure_of(outcome);
    assert_eq!((failure.class, &failure.code), (class, &code), "{}", failure.message);
}

#[tokio::test]
async fn a_request_is_sent_logged_judged_and_its_outputs_published() {
    let server = Server::start([("/health", answer("200 OK", "", "{\"up\":true}"))]).await;
    let http = HttpTask {
        headers: vec![("x-token".to_owned(), secret()), ("accept".to_owned(), Rendered::text("*/*"))],
        body: Rendered::text("ping"),
        assertion: Rendered::text("true"),
        outputs: vec![
            ("body".to_owned(), fact("httpResponseBody")),
            ("code".to_owned(), fact("httpResponseCode")),
            ("method".to_owned(), fact("httpResponseMethod")),
            ("token".to_owned(), secret()),
        ],
        ..request("post", server.url("/health"))
    };
    let (outcome, log) = perform(http, 10_000).await;
    assert_eq!(outcome.result, TaskResult::Succeeded);
    let values: Vec<_> =
        outcome.outputs.iter().map(|(name, output)| (name.as_str(), output.value.as_str())).collect();
    assert_eq!(values, [("body", "{\"up\":true}"), ("code", "200"), ("method", "POST"), ("token", "")]);
    assert_eq!(outcome.outputs["token"].sealed.as_deref(), Some("sealed-token-6"));
    let asked = server.asked().remove(0);
    assert!(asked.starts_with("POST /health HTTP/1.1\r\n") && asked.ends_with("\r\n\r\nping"), "{asked}");
    assert!(asked.contains("x-token: s3cret\r\n"), "{asked}");
    let text = log.text("Execute");
    assert!(text.starts_with(&format!("POST {}\nStatus 200, 11 bytes in ", server.url("/health"))), "{text}");
    assert!(text.ends_with("{\"up\":true}\nAssertion true: true\n"), "{text}");
}

#[tokio::test]
async fn without_an_assertion_the_status_decides_and_with_one_the_assertion() {
    let server = Server::start([
        ("/good", answer("204 No Content", "", "")),
        ("/bad", answer("503 Service Unavailable", "", "later")),
    ])
    .await;
    assert_eq!(perform(request("GET", server.url("/good")), 10_000).await.0.result, TaskResult::Succeeded);
    let (outcome, log) = perform(request("GET", server.url("/bad")), 10_000).await;
    assert_fails(&outcome, FailureClass::Application, code!("HTTP_STATUS"));
    assert!(log.all().contains("later"));
    let asserts =
        |text: &str| HttpTask { assertion: Rendered::text(text), ..request("GET", server.url("/bad")) };
    assert_eq!(perform(asserts("true"), 10_000).await.0.result, TaskResult::Succeeded);
    let (outcome, _) = perform(asserts("false"), 10_000).await;
    assert_fails(&outcome, FailureClass::Application, code!("HTTP_ASSERTION_FAILED"));
}

#[tokio::test]
async fn what_cannot_be_reached_is_connectivity_and_what_hangs_is_a_timeout() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (outcome, _) = perform(request("GET", format!("http://{closed}/")), 10_000).await;
    assert_fails(&outcome, FailureClass::Connectivity, code!("HTTP_UNREACHABLE"));
    let (outcome, _) = perform(request("GET", "http://host.invalid/"), 10_000).await;
    assert_fails(&outcome, FailureClass::Connectivity, code!("HTTP_UNREACHABLE"));
    let server =
        Server::start([("/torn", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_owned())]).await;
    let (outcome, _) = perform(request("GET", format!("https://{}/", server.address)), 10_000).await;
    assert_fails(&outcome, FailureClass::Connectivity, code!("HTTP_UNREACHABLE"));
    let (outcome, _) = perform(request("GET", server.url("/torn")), 10_000).await;
    assert_fails(&outcome, FailureClass::Connectivity, code!("HTTP_CONNECTION_LOST"));
    let (outcome, _) = perform(request("GET", server.url("/hangs")), 300).await;
    assert_fails(&outcome, FailureClass::Timeout, code!("HTTP_TIMED_OUT"));
}

#[tokio::test]
async fn a_cancel_ends_a_request_at_once() {
    let server = Server::start([]).await;
    let (context, _) = contract::context(Arc::new(Known::default()));
    let task = task(request("GET", server.url("/hangs")), 60_000);
    let driver = HttpDriver::default();
    let cancel = async {
        while server.asked().is_empty() {
            tokio::task::yield_now().await;
        }
        context.cancel.cancel();
    };
    let done = async { tokio::join!(driver.perform(&task, &context), cancel).0 };
    let outcome = tokio::time::timeout(Duration::from_secs(20), done).await.unwrap();
    assert_eq!(outcome.result, TaskResult::Cancelled);
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let bad = [
        request("GET", "file:///etc/passwd"),
        request("GET", "not a url"),
        request("GE T", "http://127.0.0.1:1/"),
        HttpTask {
            headers: vec![("x y".to_owned(), Rendered::default())],
            ..request("GET", "http://127.0.0.1:1/")
        },
        HttpTask {
            headers: vec![("x".to_owned(), Rendered::text("a\r\nb: c"))],
            ..request("GET", "http://127.0.0.1:1/")
        },
    ];
    for http in bad {
        let (outcome, _) = perform(http, 10_000).await;
        assert_fails(&outcome, FailureClass::Application, code!("HTTP_REQUEST_INVALID"));
    }
}

#[tokio::test]
async fn redirects_are_followed_without_taking_credentials_to_another_host() {
    let other = Server::start([("/there", answer("200 OK", "", "there"))]).await;
    let away = format!("location: {}\r\n", other.url("/there"));
    let server = Server::start([
        ("/away", answer("302 Found", &away, "")),
        ("/near", answer("307 Temporary Redirect", "location: /away\r\n", "")),
        ("/loop", answer("302 Found", "location: /loop\r\n", "")),
        ("/file", answer("302 Found", "location: file:///etc/passwd\r\n", "")),
    ])
    .await;
    let headers = vec![
        ("authorization".to_owned(), Rendered::text("Basic eDp5")),
        ("x-token".to_owned(), secret()),
        ("x-trace".to_owned(), Rendered::text("1")),
    ];
    let http = HttpTask { headers: headers.clone(), ..request("GET", server.url("/near")) };
    assert_eq!(perform(http, 10_000).await.0.result, TaskResult::Succeeded);
    assert!(server.asked()[1].contains("x-token: s3cret"), "the same host may know");
    let asked = other.asked().remove(0);
    assert!(asked.contains("x-trace: 1") && !asked.contains("s3cret") && !asked.contains("eDp5"), "{asked}");
    let (outcome, _) = perform(request("POST", server.url("/away")), 10_000).await;
    assert_eq!(outcome.result, TaskResult::Succeeded, "302 to a POST is the answer");
    assert_eq!(other.asked().len(), 1, "a POST is not sent twice");
    let (outcome, _) = perform(request("GET", server.url("/loop")), 10_000).await;
    assert_fails(&outcome, FailureClass::Application, code!("HTTP_REDIRECTS"));
    let (outcome, _) = perform(request("GET", server.url("/file")), 10_000).await;
    assert_fails(&outcome, FailureClass::Application, code!("HTTP_REQUEST_INVALID"));
}

#[tokio::test]
async fn a_huge_body_is_cut_and_a_huge_output_refused() {
    let huge = "ü".repeat(MAX_BODY);
    let server = Server::start([("/huge", answer("200 OK", "", &huge))]).await;
    let (outcome, log) = perform(request("GET", server.url("/huge")), 10_000).await;
    assert_eq!(outcome.result, TaskResult::Succeeded);
    let text = log.all();
    assert!(text.contains(&format!("{MAX_BODY} bytes and more")) && text.len() < 20_000, "{}", text.len());
    let outputs = vec![("body".to_owned(), fact("httpResponseBody"))];
    let (outcome, _) = perform(HttpTask { outputs, ..request("GET", server.url("/huge")) }, 10_000).await;
    assert_fails(&outcome, FailureClass::Application, code!("HTTP_OUTPUT_TOO_LARGE"));
}

#[tokio::test]
async fn a_password_in_the_url_is_not_shown() {
    let server = Server::start([("/a", answer("200 OK", "", ""))]).await;
    let url = format!("http://ops:hunter2@{}/a", server.address);
    let (outcome, log) = perform(request("GET", url), 10_000).await;
    assert_eq!(outcome.result, TaskResult::Succeeded);
    assert!(!log.all().contains("hunter2"), "{}", log.all());
    assert!(server.asked()[0].contains("authorization: Basic "), "{:?}", server.asked());
}

#[tokio::test]
async fn the_class_follows_the_method_and_a_probe_cannot_know() {
    let class = |method: &str| {
        let properties = serde_json::json!({ "method": method });
        spec().class_of(properties.as_object().unwrap())
    };
    assert_eq!((class("get"), class("PUT")), (Class::Idempotent, Class::Idempotent));
    assert_eq!((class("POST"), class("PATCH")), (Class::Unsafe, Class::Unsafe));
    let (context, _) = contract::context(Arc::new(Known::default()));
    let found = HttpDriver::default().probe(&task(request("POST", "http://x/"), 1000), &context).await;
    assert!(matches!(found, Found::Unknown { .. }));
}
