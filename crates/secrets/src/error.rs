//! Why a secret cannot be had.

use std::path::PathBuf;

use manifold_model::{Code, code};

use crate::SealKeyId;

/// Result of an operation on secrets.
pub type Result<T> = std::result::Result<T, SecretError>;

/// Why a secret cannot be had. No variant ever holds a value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// No such secret.
    #[error("there is no secret {0}")]
    Missing(String),
    /// A credential has no value of its own.
    #[error("secret {0} is a credential; it has no value of its own")]
    NoValue(String),
    /// The sealed value was changed or belongs to another secret.
    #[error("the sealed value of secret {0} is damaged or belongs to another secret")]
    Damaged(String),
    /// Too long to be sealed.
    #[error("the value of a secret is {size} bytes long, at most {limit} are allowed")]
    TooLong {
        /// Bytes.
        size: usize,
        /// Allowed.
        limit: usize,
    },
    /// Sealed with another key.
    #[error(
        "sealed with key {wanted}, but the key file holds key {found}; bring the key file that belongs to this store"
    )]
    OtherKey {
        /// Key that is needed.
        wanted: SealKeyId,
        /// Key that is there.
        found: SealKeyId,
    },
    /// Others can read the key file.
    #[error("the key file {} can be read by others (mode {mode:03o}); run chmod 600 on it", path.display())]
    KeyExposed {
        /// Key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file holds something else.
    #[error("the key file {} is no key of Manifold: {why}", path.display())]
    KeyMalformed {
        /// Key file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// The key file cannot be read or written.
    #[error("the key file {} cannot be used", path.display())]
    KeyUnusable {
        /// Key file.
        path: PathBuf,
        /// Cause.
        #[source]
        cause: std::io::Error,
    },
    /// Where secrets are kept cannot be reached.
    #[error("secrets cannot be read")]
    Source(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The cryptographic library failed.
    #[error("the cryptographic library cannot {0}")]
    Crypto(&'static str),
}

impl SecretError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Missing(_) => code!("SECRET_MISSING"),
            Self::NoValue(_) => code!("SECRET_WITHOUT_VALUE"),
            Self::Damaged(_) => code!("SECRET_DAMAGED"),
            Self::TooLong { .. } => code!("SECRET_TOO_LONG"),
            Self::OtherKey { .. } => code!("KEY_OTHER"),
            Self::KeyExposed { .. } => code!("KEY_FILE_EXPOSED"),
            Self::KeyMalformed { .. } | Self::KeyUnusable { .. } => code!("KEY_FILE_UNUSABLE"),
            Self::Source(_) | Self::Crypto(_) => code!("SECRET_UNREADABLE"),
        }
    }
}
