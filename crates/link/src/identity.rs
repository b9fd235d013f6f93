//! A delegate's identity: an Ed25519 key. Its id is derived from the public key, so nobody can claim another's.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use data_encoding::BASE64;
use manifold_model::{DelegateId, Millis};
use zeroize::Zeroizing;

use crate::limits::NONCE;
use crate::message::Challenge;

/// What the signature is for: one for something else is worth nothing here.
const PURPOSE: &[u8] = b"manifold-delegate-v2";

/// The key pair of a delegate.
pub struct Identity {
    pair: Ed25519KeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl Identity {
    /// A new one; `None` when the system gives no randomness.
    #[must_use]
    pub fn generate() -> Option<Self> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok()?;
        Self::from_pkcs8(document.as_ref())
    }

    /// One that was kept; `None` when these bytes are no Ed25519 key in PKCS#8.
    #[must_use]
    pub fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).ok()?;
        Some(Self { pair, pkcs8: Zeroizing::new(pkcs8.to_vec()) })
    }

    /// The private key as it is kept.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public key, base64.
    #[must_use]
    pub fn key(&self) -> String {
        BASE64.encode(self.pair.public_key().as_ref())
    }

    /// The delegate's id.
    #[must_use]
    pub fn id(&self) -> DelegateId {
        id_of(&self.key())
    }

    /// Signs a server's nonce under this name.
    #[must_use]
    pub fn prove(&self, nonce: &[u8], name: &str) -> Vec<u8> {
        self.pair.sign(&signed(nonce, &self.id(), name)).as_ref().to_vec()
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.id())
    }
}

impl Challenge {
    /// A new one; `None` when the system gives no randomness.
    #[must_use]
    pub fn fresh(time: Millis) -> Option<Self> {
        let mut nonce = vec![0; NONCE];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        Some(Self { nonce, time })
    }
}

/// The id of the delegate with this public key (base64).
#[must_use]
pub fn id_of(key: &str) -> DelegateId {
    DelegateId::derived(&["delegate key", key])
}

/// Whether whoever signed the nonce under this name holds the private key of `key` (base64).
#[must_use]
pub fn proven(key: &str, nonce: &[u8], name: &str, signature: &[u8]) -> bool {
    let Ok(public) = BASE64.decode(key.as_bytes()) else { return false };
    UnparsedPublicKey::new(&ED25519, public).verify(&signed(nonce, &id_of(key), name), signature).is_ok()
}

/// The bytes that are signed: each part behind its length, so that no two lists of parts give the same bytes.
fn signed(nonce: &[u8], id: &DelegateId, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in [PURPOSE, nonce, id.as_str().as_bytes(), name.as_bytes()] {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}
