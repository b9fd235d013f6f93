//! What server and delegate say to each other, versioned: protocol-buffer messages in length-delimited frames over any byte stream
//! (`design.md` 6). Today the stream is one in memory, inside the server; the frames would be the same over any other.
//!
//! - **Places.** A delegate offers `free` places in its hello. A task takes one until its acknowledgement; the server never sends more.
//! - **Reconnects.** The server hands out again, under the new lease, what the delegate had; the delegate does not start it twice, and
//!   sends its open requests again then.
//! - **Outcomes** are kept by the delegate until acknowledged and come again on each new connection.
//! - **Logs** flow under a window of bytes ([`limits::LOG_WINDOW`]); chunks that were not credited come again after a reconnect.
//! - **Requests** (secrets, credentials, files, sealing) name the task they are for, so that the server grants only what it refers to.

mod connection;
mod convert;
mod error;
mod handshake;
pub mod limits;
mod message;
mod wire;

pub use connection::{Message, Receiver, Sender, delegate_end, server_end};
pub use error::LinkError;
pub use handshake::{VERSIONS, greet, hello, negotiate};
pub use message::{
    Answer, Ask, Credential, FromDelegate, FromServer, Hello, Lease, LogChunk, OutcomeAck, Request,
    Sensitive, TaskFrame, TaskOutcome, Welcome,
};
