//! Secrets: how values are sealed at rest ([`envelope`]), the key that seals them ([`key`]), API keys, and a trait for secret managers with
//! the built-in one. Opened values live in memory only, in [`SecretBytes`], which wipe themselves and print as nothing.

pub mod api_key;
pub mod built_in;
pub mod envelope;
pub mod error;
pub mod key;

use async_trait::async_trait;
use manifold_model::SecretId;
use manifold_model::secret::SecretType;

pub use built_in::{BuiltIn, Sealed, Source};
pub use error::{Result, SecretError};
pub use key::{Key, SealKeyId};
pub use secrecy::{ExposeSecret, SecretString};

/// A secret value: wiped when dropped, never printed, read only through [`ExposeSecret`].
pub type SecretBytes = secrecy::SecretSlice<u8>;

/// A value with the id of its secret.
#[derive(Debug)]
pub struct Opened {
    /// Which secret.
    pub id: SecretId,
    /// Its value.
    pub value: SecretBytes,
}

/// A secret manager: opens secrets by id or name. The built-in one is [`BuiltIn`]; external ones are opened by the delegate.
#[async_trait]
pub trait SecretManager: Send + Sync + 'static {
    /// The value of a secret.
    ///
    /// # Errors
    /// There is no such secret, it has no value of its own (a credential), or it cannot be opened.
    async fn open(&self, id: &SecretId) -> Result<SecretBytes>;

    /// The value of a secret by name; without a type, an encrypted text before an encrypted file.
    ///
    /// # Errors
    /// As [`SecretManager::open`].
    async fn open_named(&self, name: &str, kind: Option<SecretType>) -> Result<Opened>;

    /// The values that logs must not show: all encrypted texts (`behaviour.md` 20: file secrets are not masked).
    ///
    /// # Errors
    /// One of them cannot be opened.
    async fn maskable(&self) -> Result<Vec<Opened>>;
}
