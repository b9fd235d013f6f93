//! Secrets as records: what they are, never their values.

use serde::{Deserialize, Serialize};

use crate::{Millis, SecretId};

/// Secret types (`behaviour.md` 20).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SecretType {
    /// Text.
    EncryptedText,
    /// Bytes of a file.
    EncryptedFile,
    /// How to sign in to hosts over SSH.
    SshCredential,
    /// How to sign in to hosts over WinRM.
    #[serde(rename = "WINRM_CREDENTIAL")]
    WinRmCredential,
}

/// What is known of a secret without opening it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct SecretRecord {
    /// Id.
    pub id: SecretId,
    /// Name, unique per account and type.
    pub name: String,
    /// Type.
    pub kind: SecretType,
    /// Secret manager; the built-in one has the account's id.
    pub manager_id: String,
    /// Usage scope as given in GraphQL, `None` when none was given.
    pub usage_scope: Option<serde_json::Value>,
    /// `scopedToAccount`.
    pub scoped_to_account: bool,
    /// `inheritScopesFromSM`.
    pub inherit_scopes_from_sm: bool,
    /// Credentials: the part that is not secret, as an [`SshCredential`] or the WinRM fields.
    pub credential: Option<serde_json::Value>,
    /// When it was made.
    pub created_at: Millis,
}

/// How to sign in to a host over SSH; secrets are named by id.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct SshCredential {
    /// User on the host.
    pub user_name: String,
    /// Port; 22 when absent.
    pub port: Option<u16>,
    /// Method.
    pub method: SshMethod,
}

/// SSH authentication methods.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "method", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum SshMethod {
    /// A private key in a secret.
    SshKey {
        /// Secret (file or text) with the key in OpenSSH or PEM form.
        key: SecretId,
        /// Secret with the passphrase.
        passphrase: Option<SecretId>,
    },
    /// A private key file on the delegate.
    SshKeyFilePath {
        /// Path on the delegate's machine.
        path: String,
        /// Secret with the passphrase.
        passphrase: Option<SecretId>,
    },
    /// A password.
    Password {
        /// Secret with the password.
        password: SecretId,
    },
}
