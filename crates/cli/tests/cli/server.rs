//! A server that answers as it is told and keeps what it was asked.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method and path with query.
    pub line: String,
    /// Body.
    pub body: Vec<u8>,
}

type Answer = dyn Fn(&str, &Value) -> Value + Send + Sync;

#[derive(Clone)]
struct Shared {
    answer: Arc<Answer>,
    requests: Arc<Mutex<Vec<Request>>>,
}

/// A running server; ends with the test.
pub struct Server {
    /// Its address.
    pub url: String,
    shared: Shared,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    /// Answers GraphQL by `answer(query, variables)` and everything else by `answer("METHOD /path?query", null)`; a string and a list of
    /// bytes are sent as they are, a number is a status, other values are sent as JSON. The key is `key`.
    pub fn start(answer: impl Fn(&str, &Value) -> Value + Send + Sync + 'static) -> Self {
        let shared = Shared { answer: Arc::new(answer), requests: Arc::default() };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let app = Router::new().fallback(handle).with_state(shared.clone());
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { url, shared, _runtime: runtime }
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Variables of the newest GraphQL request whose query holds `part`.
    pub fn variables(&self, part: &str) -> Value {
        let requests = self.requests();
        let bodies =
            requests.iter().rev().filter_map(|request| serde_json::from_slice::<Value>(&request.body).ok());
        let mut found =
            bodies.filter(|body| body["query"].as_str().is_some_and(|query| query.contains(part)));
        found.next().unwrap_or_else(|| panic!("nobody asked {part}"))["variables"].clone()
    }
}

async fn handle(
    State(shared): State<Shared>,
    method: axum::http::Method,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let line = format!("{method} {uri}");
    shared.requests.lock().unwrap().push(Request { line: line.clone(), body: body.to_vec() });
    if headers.get("x-api-key").is_none_or(|key| key != "key") {
        let body = json!({ "responseMessages": [{ "code": "INVALID_TOKEN", "level": "ERROR", "message": "Token is not valid." }] });
        return (StatusCode::UNAUTHORIZED, axum::Json(body)).into_response();
    }
    let answer = if uri.path() == "/api/graphql" {
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        (shared.answer)(body["query"].as_str().unwrap_or_default(), &body["variables"])
    } else {
        (shared.answer)(&line, &Value::Null)
    };
    match answer {
        Value::String(text) => text.into_response(),
        Value::Number(status) => {
            StatusCode::from_u16(status.as_u64().unwrap() as u16).unwrap().into_response()
        }
        Value::Array(bytes) => {
            bytes.iter().map(|byte| byte.as_u64().unwrap() as u8).collect::<Vec<u8>>().into_response()
        }
        other => axum::Json(other).into_response(),
    }
}
