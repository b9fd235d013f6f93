//! A connection: length-delimited frames over any byte stream, one typed half to send and one to receive.

use std::marker::PhantomData;

use bytes::{Buf, BufMut, BytesMut};
use futures::StreamExt;
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use crate::convert::{delegate_from_wire, delegate_to_wire, server_from_wire, server_to_wire};
use crate::error::LinkError;
use crate::limits::{MAX_FRAME, MAX_GREETING, SEND_DEADLINE, WRITE_BATCH};
use crate::message::{FromDelegate, FromServer};
use crate::wire;

/// Bytes of a frame's length in front of it (big-endian).
const LENGTH: usize = 4;

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::message::FromDelegate {}
    impl Sealed for crate::message::FromServer {}
}

/// A message of one direction: [`FromDelegate`] or [`FromServer`].
pub trait Message: sealed::Sealed + Sized {
    /// Appends the message's frame body.
    ///
    /// # Errors
    /// [`LinkError::TooLarge`], with nothing appended.
    fn encode(&self, into: &mut BytesMut) -> Result<(), LinkError>;

    /// Reads a frame body.
    ///
    /// # Errors
    /// [`LinkError::Malformed`].
    fn decode(body: BytesMut) -> Result<Self, LinkError>;
}

impl Message for FromDelegate {
    fn encode(&self, into: &mut BytesMut) -> Result<(), LinkError> {
        append(&delegate_to_wire(self)?, self.name(), into)
    }

    fn decode(body: BytesMut) -> Result<Self, LinkError> {
        let frame = wire::DelegateFrame::decode(body.freeze())
            .map_err(|cause| LinkError::malformed(cause.to_string()))?;
        delegate_from_wire(frame)
    }
}

impl Message for FromServer {
    fn encode(&self, into: &mut BytesMut) -> Result<(), LinkError> {
        append(&server_to_wire(self)?, self.name(), into)
    }

    fn decode(body: BytesMut) -> Result<Self, LinkError> {
        let frame = wire::ServerFrame::decode(body.freeze())
            .map_err(|cause| LinkError::malformed(cause.to_string()))?;
        server_from_wire(frame)
    }
}

fn append(frame: &impl prost::Message, what: &'static str, into: &mut BytesMut) -> Result<(), LinkError> {
    let size = frame.encoded_len();
    let length = match u32::try_from(size) {
        Ok(length) if size <= MAX_FRAME => length,
        _ => return Err(LinkError::TooLarge { what, size, limit: MAX_FRAME }),
    };
    into.reserve(LENGTH + size);
    into.put_u32(length);
    frame.encode(into).map_err(|cause| LinkError::malformed(cause.to_string()))
}

/// The sending half.
pub struct Sender<M> {
    stream: Box<dyn AsyncWrite + Send + Unpin>,
    buffer: BytesMut,
    sends: PhantomData<fn(M)>,
}

impl<M: Message> Sender<M> {
    /// Puts a message into the buffer; writes the buffer out when a batch is full. Call [`Sender::flush`] when there is no more to say.
    ///
    /// # Errors
    /// [`LinkError::TooLarge`] leaves the connection usable; every other error ends it.
    pub async fn feed(&mut self, message: &M) -> Result<(), LinkError> {
        message.encode(&mut self.buffer)?;
        if self.buffer.len() >= WRITE_BATCH { self.write().await } else { Ok(()) }
    }

    /// Writes everything out.
    ///
    /// # Errors
    /// [`LinkError::Io`], [`LinkError::Stalled`].
    pub async fn flush(&mut self) -> Result<(), LinkError> {
        self.write().await?;
        within_deadline(self.stream.flush()).await
    }

    /// Sends one message at once.
    ///
    /// # Errors
    /// As [`Sender::feed`] and [`Sender::flush`].
    pub async fn send(&mut self, message: &M) -> Result<(), LinkError> {
        self.feed(message).await?;
        self.flush().await
    }

    /// Says that nothing more will come: the peer sees a clean end.
    ///
    /// # Errors
    /// As [`Sender::flush`].
    pub async fn close(mut self) -> Result<(), LinkError> {
        self.flush().await?;
        within_deadline(self.stream.shutdown()).await
    }

    async fn write(&mut self) -> Result<(), LinkError> {
        let Self { stream, buffer, .. } = self;
        within_deadline(async {
            while buffer.has_remaining() {
                if stream.write_buf(buffer).await? == 0 {
                    return Err(std::io::ErrorKind::WriteZero.into());
                }
            }
            Ok(())
        })
        .await
    }
}

async fn within_deadline(write: impl Future<Output = std::io::Result<()>>) -> Result<(), LinkError> {
    match timeout(SEND_DEADLINE, write).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(LinkError::Stalled { what: "take what was sent", seconds: SEND_DEADLINE.as_secs() }),
    }
}

/// The receiving half.
pub struct Receiver<M> {
    frames: FramedRead<Box<dyn AsyncRead + Send + Unpin>, LengthDelimitedCodec>,
    receives: PhantomData<fn() -> M>,
}

impl<M: Message> Receiver<M> {
    /// The peer is known: frames may be as large as [`MAX_FRAME`] from now on.
    pub fn greeted(&mut self) {
        self.frames.decoder_mut().set_max_frame_length(MAX_FRAME);
    }

    /// The next message; `None` when the peer ended the connection between two frames. Safe to drop and call again.
    ///
    /// # Errors
    /// [`LinkError::Malformed`], [`LinkError::Io`]: the connection is of no more use.
    pub async fn recv(&mut self) -> Result<Option<M>, LinkError> {
        match self.frames.next().await {
            None => Ok(None),
            Some(Ok(body)) => M::decode(body).map(Some),
            Some(Err(cause)) if cause.kind() == std::io::ErrorKind::InvalidData => {
                let limit = self.frames.decoder().max_frame_length();
                Err(LinkError::malformed(format!("a frame is larger than {limit} bytes")))
            }
            Some(Err(cause)) => Err(LinkError::Io(cause)),
        }
    }
}

/// The delegate's end of a connection.
pub fn delegate_end<S>(stream: S) -> (Sender<FromDelegate>, Receiver<FromServer>)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    halves(stream)
}

/// The server's end of a connection.
pub fn server_end<S>(stream: S) -> (Sender<FromServer>, Receiver<FromDelegate>)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    halves(stream)
}

fn halves<S, Out, In>(stream: S) -> (Sender<Out>, Receiver<In>)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, write) = tokio::io::split(stream);
    let codec = LengthDelimitedCodec::builder()
        .length_field_length(LENGTH)
        .max_frame_length(MAX_GREETING)
        .new_codec();
    let frames = FramedRead::with_capacity(Box::new(read) as Box<_>, codec, WRITE_BATCH);
    (
        Sender { stream: Box::new(write), buffer: BytesMut::with_capacity(WRITE_BATCH), sends: PhantomData },
        Receiver { frames, receives: PhantomData },
    )
}
