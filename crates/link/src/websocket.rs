//! A byte stream over the binary messages of a WebSocket, whichever library speaks it.

use std::io;

use bytes::Bytes;
use futures::{Sink, SinkExt, Stream, StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

use crate::limits::MAX_MESSAGE;

/// Joins what comes in and what goes out into one stream. What is written goes out in messages of at most [`MAX_MESSAGE`] bytes, and no more than
/// one of them waits; shutting it down closes the WebSocket.
pub fn stream<In, Out>(incoming: In, outgoing: Out) -> impl AsyncRead + AsyncWrite + Send
where
    In: Stream<Item = io::Result<Bytes>> + Send + 'static,
    Out: Sink<Bytes, Error = io::Error> + Send + 'static,
{
    let outgoing = Box::pin(outgoing).with_flat_map(|bytes: Bytes| stream::iter(pieces(bytes).map(Ok)));
    let incoming = StreamReader::new(Box::pin(incoming.fuse()));
    tokio::io::join(incoming, SinkWriter::new(CopyToBytes::new(outgoing)))
}

fn pieces(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let piece = bytes.split_to(MAX_MESSAGE.min(bytes.len()));
        (!piece.is_empty()).then_some(piece)
    })
}
