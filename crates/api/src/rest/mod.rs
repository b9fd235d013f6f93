//! The calls that are plain HTTP (`wire.md` 1.1, `behaviour.md` 17).

pub mod config_as_code;
pub mod executions;
pub mod export;
pub mod health;
pub mod metrics;
pub mod node;
pub mod upload;

use axum::Json;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use manifold_control::model::{Problem, code};
use serde_json::json;

use crate::Api;

/// All routes but those of health.
pub fn routes() -> Router<Api> {
    Router::new().merge(executions::routes()).merge(config_as_code::routes()).merge(export::routes())
}

/// What a client hears when a handler panicked: a bug, told as one.
pub fn panicked(cause: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let text = cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| cause.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(cause = text, "a request handler panicked");
    let problem = Problem::new(code!("BUG"), "this is a bug; the request was not completed")
        .hint("look for the request id in the server's log and report it");
    let body = json!({
        "errors": [{"message": problem.message, "extensions": {"code": problem.code, "problems": [problem]}}],
    });
    (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response()
}
