//! What server and delegate say to each other, versioned: protocol-buffer messages in length-delimited frames over any byte stream
//! (`design.md` 6): one in memory inside the server, a WebSocket between machines; the frames are the same.
//!
//! - **Who dials.** From version 2 on the server may answer a hello with a challenge; the delegate signs it with the key of its hello, and
//!   names its token when it joins. Inside the server there is no challenge, and no peer can ask for that.
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
mod identity;
pub mod limits;
mod message;
mod websocket;
mod wire;

pub use connection::{Message, Receiver, Sender, delegate_end, server_end};
pub use error::LinkError;
pub use handshake::{Credentials, PROVEN, VERSIONS, greet, hello, negotiate, proof};
pub use identity::{Identity, id_of, proven};

pub use message::{
    Answer, Ask, Challenge, Credential, FromDelegate, FromServer, Hello, Lease, LogChunk, OutcomeAck, Proof,
    Request, Sensitive, TaskFrame, TaskOutcome, Welcome,
};
pub use websocket::stream;
