//! The built-in secret manager over the store.

use std::sync::Arc;

use async_trait::async_trait;
use manifold_model::secret::SecretType;
use manifold_model::{Problem, SecretId, code};
use manifold_secrets::{Sealed, SecretError, Source};
use manifold_store::{SecretRow, Store};

use crate::{Control, Error, Result};

/// Sealed values as the store keeps them, for [`manifold_secrets::BuiltIn`].
pub struct StoredSecrets(pub Arc<dyn Store>);

fn sealed(row: SecretRow) -> Sealed {
    Sealed { id: row.record.id, kind: row.record.kind, sealed: row.sealed }
}

fn unreadable(error: manifold_store::StoreError) -> SecretError {
    SecretError::Source(Box::new(error))
}

#[async_trait]
impl Source for StoredSecrets {
    async fn by_id(&self, id: &SecretId) -> manifold_secrets::Result<Option<Sealed>> {
        Ok(self.0.secret(id).await.map_err(unreadable)?.map(sealed))
    }

    async fn by_name(&self, name: &str, kind: SecretType) -> manifold_secrets::Result<Option<Sealed>> {
        Ok(self.0.secret_named(name, Some(kind)).await.map_err(unreadable)?.map(sealed))
    }

    async fn all(&self, kind: SecretType) -> manifold_secrets::Result<Vec<Sealed>> {
        let mut all = Vec::new();
        for record in self.0.secrets().await.map_err(unreadable)? {
            if record.kind == kind {
                all.extend(self.0.secret(&record.id).await.map_err(unreadable)?.map(sealed));
            }
        }
        Ok(all)
    }
}

impl Control {
    /// Seals a value for a secret.
    pub(crate) fn seal(&self, id: &SecretId, value: &[u8]) -> Result<Vec<u8>> {
        self.manager.seal(id, value).map_err(|error| {
            tracing::error!(%error, "a secret cannot be sealed");
            Error::unavailable(Problem::new(code!("SECRET_NOT_SEALED"), "the secret cannot be sealed now"))
        })
    }
}
