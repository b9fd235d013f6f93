//! How refusals look on the wire: GraphQL errors with `extensions`, REST envelopes, the 401 body (`wire.md` 1.4).

use async_graphql::{ErrorExtensionValues, ErrorExtensions, Value};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use manifold_control::Error;
use manifold_control::model::Problem;
use serde_json::json;

/// A refusal as a GraphQL error: the message for everybody, `extensions` for clients that know us.
#[must_use]
pub fn graphql(error: Error) -> async_graphql::Error {
    async_graphql::Error::new(error.to_string())
        .extend_with(|_, extensions| extend(extensions, &error.problems()))
}

/// A problem found before there was a use case.
#[must_use]
pub fn server_error(problem: Problem) -> async_graphql::ServerError {
    let mut error = async_graphql::ServerError::new(problem.message.clone(), None);
    let mut extensions = ErrorExtensionValues::default();
    extend(&mut extensions, &[problem]);
    error.extensions = Some(extensions);
    error
}

fn extend(extensions: &mut ErrorExtensionValues, problems: &[Problem]) {
    if let Some(first) = problems.first() {
        extensions.set("code", first.code.0.as_ref());
    }
    let list = serde_json::to_value(problems).ok().and_then(|list| Value::from_json(list).ok());
    extensions.set("problems", list.unwrap_or_default());
}

/// The body of a 401, as the Go SDK reads it.
#[must_use]
pub fn invalid_token() -> Response {
    let body = json!({
        "metaData": {}, "resource": null,
        "responseMessages": [{"code": "INVALID_TOKEN", "level": "ERROR", "message": "Token is not valid."}],
    });
    (StatusCode::UNAUTHORIZED, Json(body)).into_response()
}

/// A refusal of a REST call.
#[derive(Debug)]
pub struct RestError(pub Error);

impl From<Error> for RestError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<Problem> for RestError {
    fn from(problem: Problem) -> Self {
        Self(Error::refused(problem))
    }
}

impl IntoResponse for RestError {
    fn into_response(self) -> Response {
        let status = match &self.0 {
            Error::InvalidToken => return invalid_token(),
            Error::Refused { .. } => StatusCode::BAD_REQUEST,
            Error::NotFound { .. } => StatusCode::NOT_FOUND,
            Error::Conflict { .. } => StatusCode::CONFLICT,
            Error::Unavailable { .. } | Error::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let code = self.0.code();
        let body = json!({
            "metaData": {}, "resource": null,
            "responseMessages": [{"code": code, "level": "ERROR", "message": self.0.to_string()}],
            "problems": self.0.problems(),
        });
        (status, Json(body)).into_response()
    }
}

/// The REST envelope of a success.
pub fn envelope(resource: serde_json::Value) -> Json<serde_json::Value> {
    Json(json!({"metaData": {}, "resource": resource, "responseMessages": []}))
}
