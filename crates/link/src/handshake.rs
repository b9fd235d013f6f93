//! The first frames: hello, then welcome or refusal; which version both speak.

use manifold_model::{Failure, FailureClass, code};
use tokio::time::timeout;

use crate::connection::{Message, Receiver, Sender};
use crate::error::LinkError;
use crate::limits::HANDSHAKE_DEADLINE;
use crate::message::{FromDelegate, FromServer, Hello, Welcome};

/// Protocol versions spoken here, newest first.
pub const VERSIONS: [u32; 1] = [1];

/// The newest version that both speak.
///
/// # Errors
/// The failure to refuse the delegate with, code `DELEGATE_VERSION_UNSUPPORTED`.
pub fn negotiate(theirs: &[u32]) -> Result<u32, Box<Failure>> {
    VERSIONS.into_iter().find(|version| theirs.contains(version)).ok_or_else(|| {
        Box::new(
            Failure::new(
                FailureClass::Delegate,
                code!("DELEGATE_VERSION_UNSUPPORTED"),
                format!(
                    "the delegate speaks the protocol versions {theirs:?}, the server speaks {VERSIONS:?}"
                ),
            )
            .hint("install the delegate from the same release as the server"),
        )
    })
}

/// The delegate's part: says hello and waits for the welcome.
///
/// # Errors
/// [`LinkError::Refused`] when the server does not want it; the errors of the connection.
pub async fn greet(
    send: &mut Sender<FromDelegate>,
    receive: &mut Receiver<FromServer>,
    hello: Hello,
) -> Result<Welcome, LinkError> {
    send.send(&FromDelegate::Hello(hello)).await?;
    match first(receive, "the welcome").await? {
        FromServer::Welcome(welcome) if VERSIONS.contains(&welcome.version) => Ok(welcome),
        FromServer::Welcome(welcome) => Err(LinkError::malformed(format!(
            "the server chose protocol version {}, which was not offered",
            welcome.version
        ))),
        FromServer::Refused(failure) => Err(LinkError::Refused(failure)),
        other => Err(LinkError::Unexpected { found: other.name(), expected: "a welcome" }),
    }
}

/// The server's first part: waits for the hello. Then [`negotiate`] and answer with a welcome or a refusal.
///
/// # Errors
/// The errors of the connection; [`LinkError::Unexpected`] for any other message.
pub async fn hello(receive: &mut Receiver<FromDelegate>) -> Result<Hello, LinkError> {
    match first(receive, "the hello").await? {
        FromDelegate::Hello(hello) => Ok(hello),
        other => Err(LinkError::Unexpected { found: other.name(), expected: "a hello" }),
    }
}

async fn first<M: Message>(receive: &mut Receiver<M>, what: &'static str) -> Result<M, LinkError> {
    match timeout(HANDSHAKE_DEADLINE, receive.recv()).await {
        Ok(message) => message?.ok_or(LinkError::Closed { before: what }),
        Err(_) => Err(LinkError::Stalled { what: "introduce itself", seconds: HANDSHAKE_DEADLINE.as_secs() }),
    }
}
