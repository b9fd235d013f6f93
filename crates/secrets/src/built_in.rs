//! The built-in secret manager: sealed values from wherever they are kept, opened with the wrapping key on the server's side.

use async_trait::async_trait;
use manifold_model::SecretId;
use manifold_model::secret::SecretType;

use crate::{Key, Opened, Result, SecretBytes, SecretError, SecretManager, envelope};

/// A secret as it is kept.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Id.
    pub id: SecretId,
    /// Type.
    pub kind: SecretType,
    /// Sealed value; empty for credentials.
    pub sealed: Vec<u8>,
}

/// Where sealed values are kept; the store, to the server.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// A secret by id.
    async fn by_id(&self, id: &SecretId) -> Result<Option<Sealed>>;
    /// A secret by name and type.
    async fn by_name(&self, name: &str, kind: SecretType) -> Result<Option<Sealed>>;
    /// All secrets of a type.
    async fn all(&self, kind: SecretType) -> Result<Vec<Sealed>>;
}

/// The built-in secret manager.
#[derive(Debug)]
pub struct BuiltIn<S> {
    key: Key,
    source: S,
}

impl<S: Source> BuiltIn<S> {
    /// A manager over sealed values and the key that sealed them.
    pub fn new(key: Key, source: S) -> Self {
        Self { key, source }
    }

    /// The wrapping key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Seals a value for the secret with this id.
    ///
    /// # Errors
    /// The value is too long ([`envelope::MAX_VALUE`]).
    pub fn seal(&self, id: &SecretId, value: &[u8]) -> Result<Vec<u8>> {
        envelope::seal(&self.key, id, value)
    }

    fn open_sealed(&self, secret: &Sealed) -> Result<SecretBytes> {
        match secret.kind {
            SecretType::EncryptedText | SecretType::EncryptedFile => {
                envelope::open(&self.key, &secret.id, &secret.sealed)
            }
            SecretType::SshCredential | SecretType::WinRmCredential => {
                Err(SecretError::NoValue(secret.id.to_string()))
            }
        }
    }
}

#[async_trait]
impl<S: Source> SecretManager for BuiltIn<S> {
    async fn open(&self, id: &SecretId) -> Result<SecretBytes> {
        let found = self.source.by_id(id).await?;
        self.open_sealed(&found.ok_or_else(|| SecretError::Missing(id.to_string()))?)
    }

    async fn open_named(&self, name: &str, kind: Option<SecretType>) -> Result<Opened> {
        let wanted = match kind {
            Some(kind) => vec![kind],
            None => vec![SecretType::EncryptedText, SecretType::EncryptedFile],
        };
        for kind in wanted {
            if let Some(found) = self.source.by_name(name, kind).await? {
                return Ok(Opened { value: self.open_sealed(&found)?, id: found.id });
            }
        }
        Err(SecretError::Missing(name.to_owned()))
    }

    async fn maskable(&self) -> Result<Vec<Opened>> {
        let texts = self.source.all(SecretType::EncryptedText).await?;
        texts
            .into_iter()
            .map(|secret| Ok(Opened { value: self.open_sealed(&secret)?, id: secret.id }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use secrecy::ExposeSecret;

    use super::*;

    /// Secrets in a list, by (name, secret).
    struct Listed(Vec<(String, Sealed)>);

    #[async_trait]
    impl Source for Listed {
        async fn by_id(&self, id: &SecretId) -> Result<Option<Sealed>> {
            Ok(self.0.iter().find(|(_, secret)| secret.id == *id).map(|(_, secret)| secret.clone()))
        }

        async fn by_name(&self, name: &str, kind: SecretType) -> Result<Option<Sealed>> {
            let mut found = self.0.iter().filter(|(one, secret)| one == name && secret.kind == kind);
            Ok(found.next().map(|(_, secret)| secret.clone()))
        }

        async fn all(&self, kind: SecretType) -> Result<Vec<Sealed>> {
            Ok(self.0.iter().map(|(_, secret)| secret.clone()).filter(|secret| secret.kind == kind).collect())
        }
    }

    fn manager() -> BuiltIn<Listed> {
        let key = Key::random().unwrap();
        let listed = [
            ("file", "token", SecretType::EncryptedFile, "in a file"),
            ("text", "token", SecretType::EncryptedText, "as text"),
            ("ssh", "login", SecretType::SshCredential, ""),
        ]
        .map(|(id, name, kind, value)| {
            let sealed = envelope::seal(&key, &id.into(), value.as_bytes()).unwrap();
            (name.to_owned(), Sealed { id: id.into(), kind, sealed })
        });
        BuiltIn::new(key, Listed(listed.to_vec()))
    }

    #[tokio::test]
    async fn secrets_open_by_id_and_name() {
        let manager = manager();
        assert_eq!(manager.open(&"file".into()).await.unwrap().expose_secret(), b"in a file");
        let named = manager.open_named("token", None).await.unwrap();
        assert_eq!((named.id.as_str(), named.value.expose_secret()), ("text", &b"as text"[..]));
        let file = manager.open_named("token", Some(SecretType::EncryptedFile)).await.unwrap();
        assert_eq!(file.id.as_str(), "file");
        assert!(!format!("{file:?}").contains("in a file"));
    }

    #[tokio::test]
    async fn what_cannot_be_opened_says_why() {
        let manager = manager();
        assert!(matches!(manager.open(&"none".into()).await, Err(SecretError::Missing(_))));
        assert!(matches!(manager.open_named("none", None).await, Err(SecretError::Missing(_))));
        assert!(matches!(manager.open(&"ssh".into()).await, Err(SecretError::NoValue(_))));
    }

    #[tokio::test]
    async fn only_texts_are_masked() {
        let masked = manager().maskable().await.unwrap();
        assert_eq!(masked.len(), 1);
        assert_eq!(masked[0].value.expose_secret(), b"as text");
    }
}
