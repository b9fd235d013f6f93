//! What a server or delegate says of itself while it runs: logs on standard error, and traces of executions to whoever collects them (OTLP over
//! HTTP). Traces never hold anything up: when the collector is slow or away, they are dropped and counted.

use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use manifold_model::{Millis, Problem, code};
use manifold_runtime::Span;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Executions whose spans wait to be sent.
const WAITING: usize = 1_024;
/// Spans of one request.
const BATCH: usize = 512;
/// How long spans are gathered before they are sent.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take.
const ANSWER: Duration = Duration::from_secs(10);

/// How logs are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs go to standard error from now on; `MANIFOLD_LOG=debug` and the like choose what.
pub fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_env("MANIFOLD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let coloured = std::io::IsTerminal::is_terminal(&std::io::stderr());
            logs.with_ansi(coloured).init();
        }
        LogFormat::Json => {
            logs.json().flatten_event(true).with_current_span(true).with_span_list(false).init()
        }
    }
}

/// Where spans are given to be sent.
type Spans = mpsc::Sender<Vec<Span>>;

/// Where spans are given to be sent, and who sends them until the shutdown.
///
/// # Errors
/// `CONFIG_INVALID` when the endpoint is no address of a collector.
pub fn traces(endpoint: &str, shutdown: CancellationToken) -> Result<(Spans, JoinHandle<()>), Box<Problem>> {
    let mut exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(address(endpoint)?)
        .with_timeout(ANSWER)
        .build()
        .map_err(|error| unusable(endpoint, error.to_string()))?;
    exporter.set_resource(&Resource::builder_empty().with_service_name("manifold").build());
    let (sender, receiver) = mpsc::channel(WAITING);
    Ok((sender, tokio::spawn(send(exporter, receiver, shutdown))))
}

/// The address of the collector's traces: its base, or the whole of it.
fn address(endpoint: &str) -> Result<String, Box<Problem>> {
    let base = endpoint.trim().trim_end_matches('/');
    if !["http://", "https://"].iter().any(|scheme| base.len() > scheme.len() && base.starts_with(scheme)) {
        return Err(unusable(endpoint, "it is no http:// or https:// address".to_owned()));
    }
    Ok(if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") })
}

fn unusable(endpoint: &str, why: String) -> Box<Problem> {
    let what = format!("otlp_endpoint is set to {endpoint:?}, where no traces can be sent");
    let problem = Problem::new(code!("CONFIG_INVALID"), what).detail(why);
    Box::new(problem.hint("give the address of a collector for OTLP over HTTP, like http://127.0.0.1:4318"))
}

/// Sends what comes until the shutdown, and then what is there already.
async fn send(
    exporter: opentelemetry_otlp::SpanExporter,
    mut spans: mpsc::Receiver<Vec<Span>>,
    shutdown: CancellationToken,
) {
    loop {
        let mut batch = tokio::select! {
            () = shutdown.cancelled() => break,
            first = spans.recv() => match first {
                Some(first) => first,
                None => return,
            },
        };
        let until = tokio::time::Instant::now() + GATHER;
        while batch.len() < BATCH && !shutdown.is_cancelled() {
            match tokio::time::timeout_at(until, spans.recv()).await {
                Ok(Some(more)) => batch.extend(more),
                Ok(None) | Err(_) => break,
            }
        }
        export(&exporter, batch).await;
    }
    let mut last = Vec::new();
    while let Ok(more) = spans.try_recv() {
        last.extend(more);
    }
    export(&exporter, last).await;
}

async fn export(exporter: &opentelemetry_otlp::SpanExporter, spans: Vec<Span>) {
    let mut spans: Vec<SpanData> = spans.into_iter().map(data).collect();
    while !spans.is_empty() {
        let rest = spans.split_off(spans.len().min(BATCH));
        let many = spans.len();
        match tokio::time::timeout(ANSWER, exporter.export(spans)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(spans = many, error = &error as &dyn std::error::Error, "spans were dropped");
            }
            Err(_) => tracing::warn!(spans = many, "spans were dropped: the collector does not answer"),
        }
        spans = rest;
    }
}

fn data(span: Span) -> SpanData {
    let context = SpanContext::new(
        TraceId::from_bytes(span.trace),
        SpanId::from_bytes(span.id),
        TraceFlags::SAMPLED,
        false,
        TraceState::default(),
    );
    SpanData {
        span_context: context,
        parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: span.name.into(),
        start_time: time(span.from),
        end_time: time(span.to),
        attributes: span.attributes.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: span.error.map_or(Status::Ok, Status::error),
        instrumentation_scope: InstrumentationScope::builder("manifold")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

fn time(at: Millis) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use axum::body::Bytes;
    use axum::routing::post;

    use super::*;

    #[test]
    fn endpoints_are_bases_or_whole_addresses() {
        assert_eq!(address("http://h:4318/").unwrap(), "http://h:4318/v1/traces");
        assert_eq!(address("https://h/v1/traces").unwrap(), "https://h/v1/traces");
        for bad in ["", "h:4318", "http://", "ftp://h"] {
            assert_eq!(address(bad).unwrap_err().code, code!("CONFIG_INVALID"), "{bad}");
        }
    }

    /// Fields of a protobuf message: number and bytes of those that have a length; others are passed over.
    fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let mut found = Vec::new();
        let varint = |bytes: &mut &[u8]| {
            let (mut value, mut shift) = (0_u64, 0);
            loop {
                let byte = bytes[0];
                *bytes = &bytes[1..];
                value |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value;
                }
            }
        };
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let length = match key & 7 {
                0 => {
                    varint(&mut bytes);
                    continue;
                }
                1 => 8,
                2 => usize::try_from(varint(&mut bytes)).unwrap(),
                5 => 4,
                other => panic!("wire type {other}"),
            };
            found.push((key >> 3, bytes[..length].to_vec()));
            bytes = &bytes[length..];
        }
        found
    }

    fn within(message: &[u8], number: u64) -> Vec<Vec<u8>> {
        fields(message).into_iter().filter(|(field, _)| *field == number).map(|(_, bytes)| bytes).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn spans_arrive_as_protobuf() {
        // Another test may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (sent, mut received) = mpsc::channel::<Bytes>(8);
        let collector = axum::Router::new().route(
            "/v1/traces",
            post(move |body: Bytes| async move {
                sent.send(body).await.unwrap();
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, collector).await });
        let (spans, sender) = traces(&endpoint, CancellationToken::new()).unwrap();
        let span = Span {
            trace: [7; 16],
            id: [1; 8],
            parent: Some([2; 8]),
            name: "workflow roll".to_owned(),
            from: 1_000,
            to: 2_500,
            error: Some("TIMEOUT_ERROR".to_owned()),
            attributes: vec![("manifold.execution", "e1".to_owned())],
        };
        spans.try_send(vec![span.clone(), Span { id: [3; 8], parent: None, error: None, ..span }]).unwrap();
        let body = tokio::time::timeout(Duration::from_secs(20), received.recv()).await.unwrap().unwrap();
        let resource = within(&body, 1).remove(0);
        let found = within(&within(&resource, 2)[0], 2);
        assert_eq!(found.len(), 2);
        let first = &found[0];
        assert_eq!(
            (within(first, 1), within(first, 2), within(first, 4)),
            (vec![vec![7; 16]], vec![vec![1; 8]], vec![vec![2; 8]])
        );
        assert_eq!(within(first, 5), [b"workflow roll".to_vec()]);
        assert_eq!(within(first, 7), [1_000_000_000_u64.to_le_bytes().to_vec()]);
        assert_eq!(within(first, 8), [2_500_000_000_u64.to_le_bytes().to_vec()]);
        assert_eq!(within(&within(first, 15)[0], 2), [b"TIMEOUT_ERROR".to_vec()]);
        drop(spans);
        sender.await.unwrap();
    }
}
