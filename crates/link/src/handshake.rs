//! The first frames: hello, from version 2 on a challenge and its proof, then welcome, wait or refusal; which version both speak.

use manifold_model::{Failure, FailureClass, Millis, code};
use tokio::time::timeout;

use crate::connection::{Message, Receiver, Sender};
use crate::error::LinkError;
use crate::identity::Identity;
use crate::limits::HANDSHAKE_DEADLINE;
use crate::message::{FromDelegate, FromServer, Hello, Proof, Sensitive, Welcome};

/// Protocol versions spoken here, newest first.
pub const VERSIONS: [u32; 2] = [2, 1];
/// The first version with a proof of identity: nobody comes in from outside with an older one.
pub const PROVEN: u32 = 2;

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

/// What a delegate proves itself with.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Its key.
    pub identity: std::sync::Arc<Identity>,
    /// The token by which it joins; `None` once it has joined.
    pub token: Option<Sensitive>,
}

/// The delegate's part: says hello, proves who it is when asked, and waits for the welcome. The second result is the server's time, if it said
/// one.
///
/// # Errors
/// [`LinkError::Refused`] when the server does not want it, [`LinkError::Waiting`] when somebody has to approve it first; the errors of the
/// connection.
pub async fn greet(
    send: &mut Sender<FromDelegate>,
    receive: &mut Receiver<FromServer>,
    hello: Hello,
    credentials: Option<&Credentials>,
) -> Result<(Welcome, Option<Millis>), LinkError> {
    let name = hello.name.clone();
    send.send(&FromDelegate::Hello(hello)).await?;
    let mut time = None;
    let mut answer = first(receive, "the welcome").await?;
    if let FromServer::Challenge(challenge) = answer {
        let credentials = credentials.ok_or(LinkError::NoIdentity)?;
        let signature = credentials.identity.prove(&challenge.nonce, &name);
        let proof = Proof { signature, token: credentials.token.clone() };
        send.send(&FromDelegate::Proof(proof)).await?;
        time = Some(challenge.time);
        answer = first(receive, "the welcome").await?;
    }
    match answer {
        FromServer::Welcome(welcome) if VERSIONS.contains(&welcome.version) => {
            receive.greeted();
            Ok((welcome, time))
        }
        FromServer::Welcome(welcome) => Err(LinkError::malformed(format!(
            "the server chose protocol version {}, which was not offered",
            welcome.version
        ))),
        FromServer::Refused(failure) => Err(LinkError::Refused(failure)),
        FromServer::Waiting => Err(LinkError::Waiting),
        other => Err(LinkError::Unexpected { found: other.name(), expected: "a welcome" }),
    }
}

/// The server's part after its challenge: waits for the proof.
///
/// # Errors
/// As [`hello`].
pub async fn proof(receive: &mut Receiver<FromDelegate>) -> Result<Proof, LinkError> {
    match first(receive, "the proof").await? {
        FromDelegate::Proof(proof) => Ok(proof),
        other => Err(LinkError::Unexpected { found: other.name(), expected: "a proof" }),
    }
}

/// The server's first part: waits for the hello. Then [`negotiate`] and answer with a welcome or a refusal;
/// [`Receiver::greeted`] after the welcome.
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
