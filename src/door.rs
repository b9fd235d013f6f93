//! Where delegates of other machines come in: their WebSocket becomes the link's stream.

use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use axum::extract::ws::{Message, WebSocket};
use futures::{SinkExt, StreamExt, future};
use manifold_runtime::{Origin, Runtime, serve_delegate};
use tokio_util::task::TaskTracker;

/// The door.
pub struct Door {
    runtime: Runtime,
    connections: TaskTracker,
}

impl Door {
    /// A door that leads to this runtime.
    pub fn new(runtime: Runtime) -> Self {
        Self { runtime, connections: TaskTracker::new() }
    }

    /// Waits until every delegate has been told to go.
    pub async fn ended(&self) {
        self.connections.close();
        self.connections.wait().await;
    }
}

#[async_trait]
impl manifold_api::delegates::Door for Door {
    async fn serve(&self, socket: WebSocket, peer: SocketAddr) {
        let (outgoing, incoming) = socket.split();
        let incoming = incoming.filter_map(|message| future::ready(bytes(message)));
        let outgoing = outgoing
            .sink_map_err(io::Error::other)
            .with(|bytes| future::ready(Ok::<_, io::Error>(Message::Binary(bytes))));
        let stream = manifold_link::stream(incoming, outgoing);
        let served = serve_delegate(&self.runtime, stream, Origin::Remote { peer });
        if let Err(error) = self.connections.track_future(served).await {
            tracing::warn!(%peer, error = &error as &dyn std::error::Error, "a delegate's connection broke");
        }
    }
}

/// The bytes of a message; pings and the like have none, texts are nothing a delegate says.
fn bytes(message: Result<Message, axum::Error>) -> Option<io::Result<axum::body::Bytes>> {
    match message {
        Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
        Ok(Message::Text(_)) => {
            Some(Err(io::Error::new(io::ErrorKind::InvalidData, "a text where bytes had to come")))
        }
        Ok(_) => None,
        Err(error) => Some(Err(io::Error::other(error))),
    }
}
