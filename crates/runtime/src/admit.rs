//! Who may connect as a delegate: hello, a common version, and for whoever comes from outside the proof and the account's word.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use manifold_control::delegates::{Admission, Applicant};
use manifold_link::{
    Challenge, FromDelegate, FromServer, Hello, PROVEN, Proof, Receiver, Sender, id_of, negotiate, proven,
};
use manifold_model::delegate::Announced;
use manifold_model::{DelegateId, Failure, FailureClass, code};

use crate::Shared;
use crate::serve::ServeError;

/// Connections from outside that may be introducing themselves at once.
const HANDSHAKES: usize = 64;
/// The same from one address.
const HANDSHAKES_OF_ADDRESS: usize = 16;

/// Where a connection comes from: the server knows it, the peer has no say in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// From the delegate inside the server, which needs no proof.
    Inside,
    /// From another machine, or from another process of this one.
    Remote {
        /// Its address.
        peer: SocketAddr,
    },
}

/// A delegate that is let in.
pub struct Admitted {
    /// Its id.
    pub id: DelegateId,
    /// What it said.
    pub hello: Hello,
    /// Version that both speak.
    pub version: u32,
}

/// Connections that are introducing themselves, by address.
#[derive(Default)]
pub struct Handshakes(Mutex<HashMap<IpAddr, usize>>);

impl Handshakes {
    fn counts(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more; `None` when there are too many.
    fn begin(self: &Arc<Self>, address: IpAddr) -> Option<Handshake> {
        let mut counts = self.counts();
        let all: usize = counts.values().sum();
        let count = counts.entry(address).or_default();
        if all >= HANDSHAKES || *count >= HANDSHAKES_OF_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Handshake { all: Arc::clone(self), address })
    }
}

/// One that introduces itself; its place is free again when this is dropped.
struct Handshake {
    all: Arc<Handshakes>,
    address: IpAddr,
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut counts = self.all.counts();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// Hears who dials. `None`: it was told why it may not come in, and the connection is over.
///
/// # Errors
/// The connection broke, or the peer spoke nonsense.
pub async fn admit(
    shared: &Shared,
    send: &mut Sender<FromServer>,
    receive: &mut Receiver<FromDelegate>,
    origin: Origin,
) -> Result<Option<Admitted>, ServeError> {
    let handshake = match origin {
        Origin::Inside => None,
        Origin::Remote { peer } => match shared.handshakes.begin(peer.ip()) {
            Some(handshake) => Some(handshake),
            None => return refuse(send, origin, "somebody", busy()).await,
        },
    };
    let hello = manifold_link::hello(receive).await?;
    let version = match negotiate(&hello.versions) {
        Ok(version) => version,
        Err(failure) => return refuse(send, origin, &hello.name, *failure).await,
    };
    let admitted = match origin {
        Origin::Inside => {
            let named = || DelegateId::derived(&["delegate", &hello.name]);
            Ok(hello.delegate.clone().unwrap_or_else(named))
        }
        Origin::Remote { .. } if version < PROVEN => Err(Verdict::Refused(without_proof(version))),
        Origin::Remote { .. } => prove(shared, send, receive, &hello).await?,
    };
    drop(handshake);
    match admitted {
        Ok(id) => Ok(Some(Admitted { id, hello, version })),
        Err(Verdict::Refused(failure)) => refuse(send, origin, &hello.name, failure).await,
        Err(Verdict::Waiting) => {
            send.send(&FromServer::Waiting).await?;
            Ok(None)
        }
    }
}

/// Why a delegate does not come in.
enum Verdict {
    Refused(Failure),
    Waiting,
}

async fn prove(
    shared: &Shared,
    send: &mut Sender<FromServer>,
    receive: &mut Receiver<FromDelegate>,
    hello: &Hello,
) -> Result<Result<DelegateId, Verdict>, ServeError> {
    let Some(challenge) = Challenge::fresh(shared.now()) else {
        return Ok(Err(Verdict::Refused(without_randomness())));
    };
    let nonce = challenge.nonce.clone();
    send.send(&FromServer::Challenge(challenge)).await?;
    let Proof { signature, token } = manifold_link::proof(receive).await?;
    let id = id_of(&hello.key);
    if hello.delegate.as_ref() != Some(&id) || !proven(&hello.key, &nonce, &hello.name, &signature) {
        return Ok(Err(Verdict::Refused(unproven())));
    }
    let token = match token.map(|token| String::from_utf8(token.0.to_vec())).transpose() {
        Ok(token) => token,
        Err(_) => return Ok(Err(Verdict::Refused(unproven()))),
    };
    let applicant = Applicant {
        id: id.clone(),
        name: hello.name.clone(),
        key: hello.key.clone(),
        token,
        announced: announced(hello),
    };
    Ok(match shared.control.admit_delegate(applicant).await {
        Ok(Admission::Admitted) => Ok(id),
        Ok(Admission::Waiting) => Err(Verdict::Waiting),
        Err(failure) => Err(Verdict::Refused(failure)),
    })
}

/// What a delegate says of itself, as the account keeps it.
pub fn announced(hello: &Hello) -> Announced {
    Announced {
        kind: hello.kind,
        program: hello.program.clone(),
        host: hello.host.clone(),
        address: hello.address.clone(),
        description: hello.description.clone(),
        selectors: hello.selectors.clone(),
        capabilities: hello.capabilities.clone(),
        kinds: hello.kinds.clone(),
    }
}

async fn refuse(
    send: &mut Sender<FromServer>,
    origin: Origin,
    name: &str,
    failure: Failure,
) -> Result<Option<Admitted>, ServeError> {
    tracing::warn!(?origin, name, code = %failure.code, reason = failure.message, "a delegate is refused");
    send.send(&FromServer::Refused(Box::new(failure))).await?;
    Ok(None)
}

fn busy() -> Failure {
    Failure::new(
        FailureClass::Delegate,
        code!("DELEGATE_HANDSHAKES_FULL"),
        "too many delegates are connecting at this moment",
    )
    .hint("the delegate dials again by itself")
}

fn without_randomness() -> Failure {
    Failure::new(
        FailureClass::Delegate,
        code!("RANDOMNESS_MISSING"),
        "the server's system gives no randomness, so no delegate can prove who it is",
    )
    .hint("the delegate dials again by itself")
}

fn without_proof(version: u32) -> Failure {
    Failure::new(
        FailureClass::Delegate,
        code!("DELEGATE_VERSION_UNSUPPORTED"),
        format!(
            "protocol version {version} has no proof of identity; from outside version {PROVEN} is needed"
        ),
    )
    .hint("install the delegate from the same release as the server")
}

fn unproven() -> Failure {
    Failure::new(
        FailureClass::Delegate,
        code!("DELEGATE_PROOF_INVALID"),
        "the delegate did not prove that it is who it says",
    )
    .hint("its identity file belongs to another delegate, or something between delegate and server changes what they say")
}
