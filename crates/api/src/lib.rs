//! HTTP only: GraphQL, REST, subscriptions; thin over `control`. Everything is served below `/` and below `/gateway` alike (R1).

#![allow(clippy::duplicated_attributes, reason = "fields of an interface repeat their types")]
#![allow(clippy::result_large_err, reason = "a refusal happens once a request; its size costs nothing")]

pub mod access;
pub mod delegates;
pub mod error;
pub mod feed;
pub mod graphql;
pub mod guard;
pub mod request;
pub mod rest;
pub mod schema;
pub mod shape;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use manifold_control::Control;
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tower_http::trace::TraceLayer;

/// Bytes of a request body; zip uploads have a limit of their own.
pub const BODY_BYTES: usize = 10 << 20;

/// Characters of a request's id that are logged.
const REQUEST_ID: usize = 64;

/// What the server tells the API about itself.
pub struct Options {
    /// Version of the server.
    pub version: &'static str,
    /// Cancelled when the server ends: streams and sockets end with it.
    pub shutdown: CancellationToken,
    /// Whether the server can take work now: `/readyz`.
    pub ready: Arc<dyn Fn() -> bool + Send + Sync>,
    /// What others count, as OpenMetrics text without the end mark, for `/metrics`.
    pub more_metrics: MoreMetrics,
    /// Takes the connections of delegates.
    pub delegates: Arc<dyn delegates::Door>,
}

/// Counts of others than the API, when somebody asks.
pub type MoreMetrics = Arc<dyn Fn() -> futures::future::BoxFuture<'static, String> + Send + Sync>;

/// Everything handlers use.
#[derive(Clone)]
pub struct Api {
    /// The use cases.
    pub control: Arc<Control>,
    /// The schema.
    pub schema: schema::ApiSchema,
    /// Ends streams and sockets.
    pub shutdown: CancellationToken,
    /// Whether the server can take work now.
    pub ready: Arc<dyn Fn() -> bool + Send + Sync>,
    /// What `/metrics` shows.
    pub metrics: Arc<rest::metrics::Metrics>,
    /// What others count.
    pub more_metrics: MoreMetrics,
    /// Takes the connections of delegates.
    pub delegates: Arc<dyn delegates::Door>,
}

/// All routes.
pub fn router(control: Arc<Control>, options: Options) -> Router {
    let api = Api {
        schema: schema::build(Some(Arc::clone(&control)), options.version),
        control,
        shutdown: options.shutdown,
        ready: options.ready,
        more_metrics: options.more_metrics,
        metrics: Arc::new(rest::metrics::Metrics::new(options.version)),
        delegates: options.delegates,
    };
    let metrics = Arc::clone(&api.metrics);
    let routes = Router::new()
        .route("/api/graphql", get(graphql::socket).post(graphql::post))
        .route("/api/delegate/connect", get(delegates::connect))
        .merge(rest::routes())
        .with_state(api.clone());
    // The header of the key never shows up in a trace.
    let secret = [axum::http::HeaderName::from_static("x-api-key"), axum::http::header::AUTHORIZATION];
    Router::new()
        .merge(routes.clone())
        .nest("/gateway", routes)
        .merge(rest::health::routes().with_state(api))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(axum::middleware::from_fn_with_state(metrics, rest::metrics::count))
        .layer(
            ServiceBuilder::new()
                .layer(SetSensitiveRequestHeadersLayer::new(secret))
                .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
                .layer(TraceLayer::new_for_http().make_span_with(request_span))
                .layer(PropagateRequestIdLayer::x_request_id())
                .layer(CompressionLayer::new())
                .layer(CatchPanicLayer::custom(rest::panicked)),
        )
}

/// What every line that is logged for a request says of it. The query of its address stays out: it is long, and of the client's making.
fn request_span(request: &axum::extract::Request) -> tracing::Span {
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let id: String = id.chars().take(REQUEST_ID).collect();
    tracing::info_span!("request", request_id = id, method = %request.method(), path = request.uri().path())
}

/// The schema as text, as `schema.graphql` has it.
#[must_use]
pub fn schema_sdl() -> String {
    schema::build(None, "").sdl()
}
