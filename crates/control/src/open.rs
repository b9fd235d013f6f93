//! Opening secrets, credentials and files for a delegate, and sealing what a step put out as secret. Only the runtime calls these, for a task that
//! refers to what it asks for.

use manifold_model::secret::{SecretRecord, SecretType, SshCredential, SshMethod};
use manifold_model::task::FileSource;
use manifold_model::{Failure, FailureClass, SecretId, TaskId, code};
use manifold_secrets::{ExposeSecret, SecretBytes, SecretError, SecretManager};
use manifold_store::{SecretRow, StoreError};

use crate::Control;

/// Port of SSH when a credential names none.
const SSH_PORT: u16 = 22;

/// Names of sealed outputs begin so; a name that a person may give cannot hold a slash.
pub(crate) const OUTPUT: &str = "output/";

/// An SSH credential with its secrets.
#[derive(Debug)]
pub struct OpenedCredential {
    /// User on the host.
    pub user_name: String,
    /// Port.
    pub port: u16,
    /// Method.
    pub method: SshMethod,
    /// Private key or password; `None` for a key file on the delegate.
    pub secret: Option<SecretBytes>,
    /// Passphrase of the key.
    pub passphrase: Option<SecretBytes>,
}

impl Control {
    /// The value of a text or file secret by name.
    ///
    /// # Errors
    /// A failure for the step: there is none of that name, or it cannot be opened.
    pub async fn open_secret(&self, name: &str) -> Result<SecretBytes, Failure> {
        match self.manager.open_named(name, None).await {
            Ok(opened) => Ok(opened.value),
            Err(SecretError::Missing(_)) => Err(missing(&format!("no secret is named {name:?}"))),
            Err(error) => Err(closed(&error)),
        }
    }

    /// An SSH credential by name, with its secrets.
    ///
    /// # Errors
    /// A failure for the step: there is none of that name, or a secret of it cannot be opened.
    pub async fn open_credential(&self, name: &str) -> Result<OpenedCredential, Failure> {
        let row = self.store.secret_named(name, Some(SecretType::SshCredential)).await;
        let Some(row) = row.map_err(|error| unreadable(&error))? else {
            return Err(missing(&format!("no SSH credential is named {name:?}")));
        };
        let credential: Option<SshCredential> =
            row.record.credential.and_then(|credential| serde_json::from_value(credential).ok());
        let Some(credential) = credential else {
            return Err(missing(&format!(
                "the SSH credential {name:?} signs in neither by key nor by password"
            )));
        };
        let (secret, passphrase) = match &credential.method {
            SshMethod::SshKey { key, passphrase } => (Some(key), passphrase.as_ref()),
            SshMethod::SshKeyFilePath { passphrase, .. } => (None, passphrase.as_ref()),
            SshMethod::Password { password } => (Some(password), None),
        };
        Ok(OpenedCredential {
            user_name: credential.user_name.clone(),
            port: credential.port.unwrap_or(SSH_PORT),
            secret: self.open_id(secret).await?,
            passphrase: self.open_id(passphrase).await?,
            method: credential.method,
        })
    }

    /// A part of a file document or secret file from an offset, and the size of the whole.
    ///
    /// # Errors
    /// A failure for the step: there is no such document, or the secret cannot be opened.
    pub async fn file_part(
        &self,
        source: &FileSource,
        offset: u64,
        limit: usize,
    ) -> Result<(Vec<u8>, u64), Failure> {
        let part = |whole: &[u8]| {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
            let bytes = whole.get(from..whole.len().min(from.saturating_add(limit))).unwrap_or_default();
            (bytes.to_vec(), whole.len() as u64)
        };
        match source {
            FileSource::Document { path, revision } => {
                let found =
                    self.store.document_at(path, *revision).await.map_err(|error| unreadable(&error))?;
                let whole = found.ok_or_else(|| {
                    Failure::new(
                        FailureClass::Application,
                        code!("FILE_MISSING"),
                        format!("there is no file {path} in the configuration as of revision {revision}"),
                    )
                    .hint("import the content of the file beside its document")
                })?;
                Ok(part(&whole))
            }
            FileSource::Secret { name } => Ok(part(self.open_secret(name).await?.expose_secret())),
        }
    }

    /// Seals a secret output of a step; returns the name under which it is found again.
    ///
    /// # Errors
    /// A failure for the step: the value is too long, or the store cannot write.
    pub async fn seal_output(&self, task: &TaskId, name: &str, value: &[u8]) -> Result<String, Failure> {
        let id = SecretId::derived(&["output", task.as_str(), name]);
        let sealed = self
            .manager
            .seal(&id, value)
            .map_err(|error| Failure::new(FailureClass::Application, error.code(), error.to_string()))?;
        let record = SecretRecord {
            id,
            name: format!("{OUTPUT}{task}/{name}"),
            kind: SecretType::EncryptedText,
            manager_id: self.account.clone(),
            usage_scope: None,
            scoped_to_account: false,
            inherit_scopes_from_sm: false,
            credential: None,
            created_at: self.now(),
        };
        let name = record.name.clone();
        self.store.put_secret(SecretRow { record, sealed }).await.map_err(|error| unreadable(&error))?;
        Ok(name)
    }

    async fn open_id(&self, id: Option<&SecretId>) -> Result<Option<SecretBytes>, Failure> {
        let Some(id) = id else { return Ok(None) };
        match self.manager.open(id).await {
            Ok(value) => Ok(Some(value)),
            Err(SecretError::Missing(_)) => {
                Err(missing("a secret of the credential does not exist any more"))
            }
            Err(error) => Err(closed(&error)),
        }
    }
}

fn closed(error: &SecretError) -> Failure {
    Failure::new(FailureClass::Authentication, error.code(), error.to_string())
}

fn missing(message: &str) -> Failure {
    Failure::new(FailureClass::Authentication, code!("SECRET_MISSING"), message)
        .hint("make the secret, or name one that exists")
}

fn unreadable(error: &StoreError) -> Failure {
    Failure::new(FailureClass::Delegate, code!("STORE_UNAVAILABLE"), error.to_string())
}
