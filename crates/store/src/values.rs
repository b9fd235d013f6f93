//! Values as columns of both homes hold them: numbers as 64-bit integers, the rest as JSON.

use manifold_model::Status;
use manifold_model::delegate::DelegateStatus;
use manifold_model::secret::SecretType;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Result, StoreError};

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Broken { action: "read what it holds", cause: Box::new(error) }
    }
}

/// A refusal of something that no caller should ask.
pub(crate) fn misuse(action: &'static str, why: impl Into<String>) -> StoreError {
    StoreError::Broken { action, cause: why.into().into() }
}

pub(crate) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| StoreError::Broken { action: "write a value as JSON", cause: Box::new(error) })
}

pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    Ok(serde_json::from_slice(bytes)?)
}

/// A count as a column has it; numbers above 2^63 do not occur.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A count from a column; columns read with it are never negative.
pub(crate) fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// A small count from a column; columns read with it were written from one.
pub(crate) fn small(number: i64) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

/// A secret's type as a column has it.
pub(crate) fn secret_type(kind: SecretType) -> &'static str {
    match kind {
        SecretType::EncryptedText => "ENCRYPTED_TEXT",
        SecretType::EncryptedFile => "ENCRYPTED_FILE",
        SecretType::SshCredential => "SSH_CREDENTIAL",
        SecretType::WinRmCredential => "WINRM_CREDENTIAL",
    }
}

/// A delegate's status from a column.
pub(crate) fn delegate_status(name: &str) -> Result<DelegateStatus> {
    from_json(serde_json::Value::from(name).to_string().as_bytes())
}

/// An execution's status from a column.
pub(crate) fn status(name: &str) -> Result<Status> {
    from_json(serde_json::Value::from(name).to_string().as_bytes())
}
