//! The driver of the kind `HTTP`: one request from the delegate, judged by an assertion (`behaviour.md` 23).

mod failure;
mod kind;
pub mod limits;
mod request;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use manifold_driver::{Context, Driver, Found, wrong_payload};
use manifold_model::kind::KindSpec;
use manifold_model::task::{HttpTask, Outcome, OutputValue, Payload, Task, TaskResult};
use manifold_model::{Failure, FailureClass, code};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde_json::Value;
use tokio::time::{Instant, timeout};

pub use kind::{HTTP, spec};

use limits::{CONNECT_DEADLINE, MAX_BODY, MAX_OUTPUT, MAX_SHOWN};
use request::Request;

/// Unit under which the step logs.
const UNIT: &str = "Execute";

/// The driver. Connections are kept and used again.
#[derive(Default)]
pub struct HttpDriver {
    direct: OnceLock<Client>,
    /// Through the proxy that the delegate's environment names.
    proxied: OnceLock<Client>,
}

/// An answer, its body cut at [`MAX_BODY`].
struct Answer {
    status: u16,
    body: String,
    cut: bool,
}

#[async_trait]
impl Driver for HttpDriver {
    fn kinds(&self) -> Vec<KindSpec> {
        vec![spec()]
    }

    async fn perform(&self, task: &Task, context: &Context) -> Outcome {
        let Payload::Http(http) = &task.payload else {
            return Outcome::failed(wrong_payload(task));
        };
        let deadline = Duration::from_millis(task.timeout_ms);
        let place = http.url.masked();
        let done = tokio::select! {
            biased;
            () = context.cancel.cancelled() => return Outcome::of(TaskResult::Cancelled),
            done = timeout(deadline, self.exchange(http, context)) => done,
        };
        match done {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(failure)) => Outcome::failed(failure),
            Err(_) => Outcome::failed(failure::timed_out(&place, task.timeout_ms)),
        }
    }

    async fn probe(&self, _: &Task, _: &Context) -> Found {
        Found::Unknown { seen: "a request leaves no trace by which to tell whether it was sent".to_owned() }
    }
}

impl HttpDriver {
    async fn exchange(&self, http: &HttpTask, context: &Context) -> Result<Outcome, Failure> {
        let client = self.client(http.use_proxy)?;
        let request = Request::of(http, &*context.resolver).await?;
        let (method, place) = (request.method.to_string(), request.place());
        context.log.note(UNIT, &format!("{method} {place}")).await;
        let begun = Instant::now();
        let response = request.send(client).await?;
        let answer = read(response, &place).await?;
        log(&answer, begun.elapsed(), context).await;
        let facts = BTreeMap::from([
            ("httpResponseCode".to_owned(), Value::from(answer.status)),
            ("httpResponseBody".to_owned(), Value::from(answer.body.as_str())),
            ("httpResponseMethod".to_owned(), Value::from(method)),
        ]);
        judge(http, &answer, &facts, context).await?;
        let mut outcome = Outcome::succeeded();
        outcome.outputs = outputs(http, &facts, context).await?;
        Ok(outcome)
    }

    fn client(&self, proxied: bool) -> Result<&Client, Failure> {
        let cell = if proxied { &self.proxied } else { &self.direct };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let mut builder = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_DEADLINE)
            .user_agent(concat!("manifold/", env!("CARGO_PKG_VERSION")));
        if !proxied {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| {
            Failure::new(
                FailureClass::Delegate,
                code!("HTTP_CLIENT_UNAVAILABLE"),
                format!("the delegate cannot make HTTP requests: {error}"),
            )
            .hint("install the system's CA certificates on the delegate")
        })?;
        Ok(cell.get_or_init(|| client))
    }
}

/// Reads an answer as far as it is kept.
async fn read(mut response: Response, place: &str) -> Result<Answer, Failure> {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let mut cut = false;
    while let Some(part) =
        response.chunk().await.map_err(|error| failure::unreachable(&error.without_url(), place))?
    {
        let fits = part.len().min(MAX_BODY - body.len());
        body.extend_from_slice(part.get(..fits).unwrap_or_default());
        if fits < part.len() {
            cut = true;
            break;
        }
    }
    Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned(), cut })
}

async fn log(answer: &Answer, took: Duration, context: &Context) {
    let more = if answer.cut { " and more" } else { "" };
    let line =
        format!("Status {}, {} bytes{more} in {} ms", answer.status, answer.body.len(), took.as_millis());
    context.log.note(UNIT, &line).await;
    if answer.body.is_empty() {
        return;
    }
    let mut end = MAX_SHOWN.min(answer.body.len());
    while !answer.body.is_char_boundary(end) {
        end -= 1;
    }
    let shown = answer.body.get(..end).unwrap_or_default();
    context.log.write(UNIT, Bytes::copy_from_slice(shown.as_bytes())).await;
    let rest = if end < answer.body.len() { "\n[the rest of the body is not shown]" } else { "" };
    context.log.write(UNIT, Bytes::from(format!("{rest}\n"))).await;
}

async fn judge(
    http: &HttpTask,
    answer: &Answer,
    facts: &BTreeMap<String, Value>,
    context: &Context,
) -> Result<(), Failure> {
    let text = http.assertion.masked();
    if text.trim().is_empty() {
        return if answer.status < 400 { Ok(()) } else { Err(failure::status(answer.status)) };
    }
    let holds = context.resolver.condition(&http.assertion, facts).await?;
    context.log.note(UNIT, &format!("Assertion {text}: {holds}")).await;
    if holds { Ok(()) } else { Err(failure::assertion(&text, answer.status)) }
}

async fn outputs(
    http: &HttpTask,
    facts: &BTreeMap<String, Value>,
    context: &Context,
) -> Result<BTreeMap<String, OutputValue>, Failure> {
    let mut outputs = BTreeMap::new();
    for (name, text) in &http.outputs {
        let filled = context.resolver.render(text, facts).await?;
        if filled.text.len() > MAX_OUTPUT {
            return Err(Failure::new(
                FailureClass::Application,
                code!("HTTP_OUTPUT_TOO_LARGE"),
                format!("the output {name:?} has {} bytes; at most {MAX_OUTPUT} are kept", filled.text.len()),
            )
            .hint("publish the part of the answer that is needed"));
        }
        let output = if filled.secret {
            let sealed = context.resolver.seal(name, &filled.text).await?;
            OutputValue { value: String::new(), secret: true, sealed: Some(sealed) }
        } else {
            OutputValue { value: filled.text, secret: false, sealed: None }
        };
        outputs.insert(name.clone(), output);
    }
    Ok(outputs)
}
