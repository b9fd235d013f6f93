//! Where delegates connect: a WebSocket that is handed on. What is said on it is not the API's business, and it has no API key: the delegate
//! proves who it is on the connection itself.

use std::net::SocketAddr;

use async_trait::async_trait;
use axum::Extension;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::Api;

/// Largest WebSocket message of a delegate, bytes; it sends pieces of at most 64 KiB.
const MESSAGE_BYTES: usize = 256 << 10;

/// Takes the connections of delegates.
#[async_trait]
pub trait Door: Send + Sync + 'static {
    /// Serves one until it ends.
    async fn serve(&self, socket: WebSocket, peer: SocketAddr);
}

/// The address that a connection comes from: the server puts it into the extensions of each request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// `GET /api/delegate/connect`.
pub async fn connect(
    State(api): State<Api>,
    Extension(Peer(peer)): Extension<Peer>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    if api.shutdown.is_cancelled() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    upgrade
        .max_message_size(MESSAGE_BYTES)
        .max_frame_size(MESSAGE_BYTES)
        .on_upgrade(move |socket| async move { api.delegates.serve(socket, peer).await })
}
