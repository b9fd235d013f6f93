//! Who asks: the key of a request, checked before its body is looked at.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use manifold_control::{Actor, Control, Error};

/// The key that a request carries: `x-api-key`, or a bearer token.
#[must_use]
pub fn key_of(headers: &HeaderMap) -> Option<&str> {
    if let Some(key) = headers.get("x-api-key") {
        return key.to_str().ok();
    }
    let bearer = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = bearer.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The holder of the request's key.
///
/// # Errors
/// [`Error::InvalidToken`] when it has none, or one that nobody holds.
pub async fn actor_of(control: &Control, headers: &HeaderMap) -> Result<Actor, Error> {
    let key = key_of(headers).ok_or(Error::InvalidToken)?;
    control.authenticate(key).await
}
