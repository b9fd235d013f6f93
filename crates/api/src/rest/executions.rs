//! Executions over plain HTTP: status, abort, rollback, journals and logs as NDJSON (`wire.md` 1.8, 3.6).

use axum::Json;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use futures::{Stream, StreamExt};
use manifold_control::logs::{key_of, public_name};
use manifold_control::model::execution::ExecutionRow;
use manifold_control::model::{EntityId, ExecutionId, LogId, Problem, code};
use manifold_control::{Actor, Error, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{RestError, envelope};
use crate::feed::{self, Feed};
use crate::{Api, access};

/// The routes.
pub fn routes() -> Router<Api> {
    Router::new()
        .route("/api/external/v1/executions/{id}/status", get(status))
        .route("/api/executions", get(nothing).put(nothing))
        .route("/api/executions/", get(nothing).put(nothing))
        .route("/api/executions/{id}", put(interrupt))
        .route("/api/executions/{id}/rollback", post(rollback))
        .route("/api/executions/{id}/events", get(events))
        .route("/api/executions/{id}/logs/{log}", get(log))
}

async fn status(
    State(api): State<Api>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> std::result::Result<Json<Value>, RestError> {
    let actor = access::actor_of(&api.control, &headers).await?;
    let row = api.control.execution(&actor, &ExecutionId::from(id)).await?;
    Ok(Json(json!({"status": row.state.status.public_name()})))
}

/// Clients that lost the id want an answer that can be read (`wire.md` 3.6).
async fn nothing(State(api): State<Api>, headers: HeaderMap) -> std::result::Result<Json<Value>, RestError> {
    access::actor_of(&api.control, &headers).await?;
    Ok(Json(json!({"metaData": {}})))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Interrupt {
    execution_interrupt_type: Option<String>,
    reason: Option<String>,
}

async fn interrupt(
    State(api): State<Api>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Bytes,
) -> std::result::Result<Json<Value>, RestError> {
    let actor = access::actor_of(&api.control, &headers).await?;
    let asked: Interrupt = serde_json::from_slice(&body).map_err(|error| {
        Problem::new(code!("REQUEST_UNREADABLE"), format!("the body is not JSON: {error}"))
            .hint("send {\"executionInterruptType\": \"ABORT_ALL\"}")
    })?;
    let kind = asked.execution_interrupt_type.unwrap_or_default();
    let reason = asked.reason.unwrap_or_default();
    let id = ExecutionId::from(id);
    let row = match kind.as_str() {
        "ABORT_ALL" | "ABORT" => api.control.abort(&actor, &id, &reason).await?,
        "PAUSE_ALL" | "PAUSE" => api.control.pause(&actor, &id, &reason).await?,
        "RESUME_ALL" | "RESUME" => api.control.resume_paused(&actor, &id, &reason).await?,
        "ROLLBACK" => api.control.rollback(&actor, &id, &reason).await?,
        other => {
            let problem =
                Problem::new(code!("INPUT_UNSUPPORTED"), format!("there is no interrupt {other:?}"))
                    .item(other)
                    .hint("ABORT_ALL, PAUSE_ALL, RESUME_ALL or ROLLBACK");
            return Err(problem.into());
        }
    };
    Ok(envelope(interrupted(&actor, &row, &kind, api.control.account())))
}

fn interrupted(actor: &Actor, row: &ExecutionRow, kind: &str, account: &str) -> Value {
    json!({
        "uuid": EntityId::random(),
        "appId": row.application.id,
        "executionInterruptType": kind,
        "seized": false,
        "environmentId": row.environment.as_ref().map(|environment| &environment.id),
        "executionUuid": row.id,
        "stateExecutionInstanceId": null,
        "accountId": account,
        "properties": null,
        "createdBy": {"uuid": actor.id(), "name": actor.name(), "email": ""},
        "lastUpdatedBy": {"uuid": actor.id(), "name": actor.name(), "email": ""},
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rollback {
    reason: String,
}

async fn rollback(
    State(api): State<Api>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Bytes,
) -> std::result::Result<Json<Value>, RestError> {
    let actor = access::actor_of(&api.control, &headers).await?;
    let asked = if body.is_empty() {
        Rollback::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| {
            Problem::new(code!("REQUEST_UNREADABLE"), format!("the body is not JSON: {error}"))
        })?
    };
    let row = api.control.rollback(&actor, &ExecutionId::from(id), &asked.reason).await?;
    Ok(envelope(interrupted(&actor, &row, "ROLLBACK", api.control.account())))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tail {
    after: u64,
    from: u64,
    follow: bool,
}

async fn events(
    State(api): State<Api>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(tail): Query<Tail>,
) -> std::result::Result<Response, RestError> {
    let actor = access::actor_of(&api.control, &headers).await?;
    let id = ExecutionId::from(id);
    api.control.execution(&actor, &id).await?;
    let feed = Feed { control: api.control, actor, shutdown: api.shutdown };
    let batches = feed::journal(feed, id, tail.after, tail.follow);
    Ok(ndjson(batches.map(|batch| {
        let mut text = Vec::new();
        for event in batch? {
            line(&mut text, &event)?;
        }
        Ok(text)
    })))
}

async fn log(
    State(api): State<Api>,
    headers: HeaderMap,
    Path((id, log)): Path<(String, String)>,
    Query(tail): Query<Tail>,
) -> std::result::Result<Response, RestError> {
    let actor = access::actor_of(&api.control, &headers).await?;
    let id = ExecutionId::from(id);
    api.control.execution(&actor, &id).await?;
    // The whole public name or only its second half.
    let key = match log.split_once('.') {
        Some((execution, _)) if execution == id.as_str() => key_of(&log)?,
        _ => key_of(&public_name(&id, &LogId::from(log)))?,
    };
    let feed = Feed { control: api.control, actor, shutdown: api.shutdown };
    let pages = feed::log(feed, key, tail.from, tail.follow);
    Ok(ndjson(pages.map(|page| {
        let mut text = Vec::new();
        for one in page?.lines {
            line(&mut text, &one)?;
        }
        Ok(text)
    })))
}

fn line(text: &mut Vec<u8>, item: &impl serde::Serialize) -> Result<()> {
    serde_json::to_writer(&mut *text, item).map_err(|error| {
        Error::unavailable(Problem::new(code!("BUG"), format!("an item cannot be written as JSON: {error}")))
    })?;
    text.push(b'\n');
    Ok(())
}

/// One JSON value a line. A failure in the middle is the last line, as the status has been sent already.
fn ndjson(batches: impl Stream<Item = Result<Vec<u8>>> + Send + 'static) -> Response {
    let bytes = batches.map(|batch| {
        let text = batch.unwrap_or_else(|error| {
            let mut text = json!({"error": error.to_string(), "code": error.code()}).to_string().into_bytes();
            text.push(b'\n');
            text
        });
        Ok::<_, std::convert::Infallible>(Bytes::from(text))
    });
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(bytes)).into_response()
}
