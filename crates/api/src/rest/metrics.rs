//! Counters of the API in Prometheus text. Labels are routes and statuses, never targets or runs.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

type Labels = Vec<(&'static str, String)>;

/// Counters of the API.
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    seconds: Histogram,
    open: Gauge,
}

impl Metrics {
    /// New counters.
    #[must_use]
    pub fn new(version: &str) -> Self {
        let mut registry = Registry::with_prefix("manifold");
        let requests = Family::<Labels, Counter>::default();
        let seconds = Histogram::new(exponential_buckets(0.001, 4.0, 8));
        let open = Gauge::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register("http_request_seconds", "Time to the head of the answer", seconds.clone());
        registry.register("http_requests_open", "Requests being answered", open.clone());
        registry.register("build", "The server", Info::new(vec![("version", version.to_owned())]));
        Self { registry, requests, seconds, open }
    }

    /// All of them as text; `more` is what others count.
    #[must_use]
    pub fn text(&self, more: &str) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode_registry(&mut text, &self.registry);
        text.push_str(more);
        let _ = encode_eof(&mut text);
        text
    }
}

/// Counts a request.
pub async fn count(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("other", MatchedPath::as_str)
        .trim_start_matches("/gateway")
        .to_owned();
    let began = Instant::now();
    metrics.open.inc();
    let response = next.run(request).await;
    metrics.open.dec();
    metrics.seconds.observe(began.elapsed().as_secs_f64());
    let labels = vec![("route", route), ("status", response.status().as_u16().to_string())];
    metrics.requests.get_or_create(&labels).inc();
    response
}
