//! API key → who asks. Only hashes of keys are kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use manifold_model::KeyId;
use manifold_store::ApiKeyRow;
use subtle::ConstantTimeEq;
use tokio::sync::Mutex;

use crate::{Actor, Control, Error, Result};

/// Longest key that is looked at, bytes; longer ones are refused unread.
const LONGEST_KEY: usize = 1024;
/// How long the list of keys is believed: a key deleted by another server is refused after at most this long.
const LIST_LIVES: Duration = Duration::from_secs(5);

/// The keys as last read.
#[derive(Debug, Default)]
pub(crate) struct KeyList {
    read: Mutex<Option<(Instant, Arc<[ApiKeyRow]>)>>,
}

/// SHA-256 of a key, as it is kept: lower-case hexadecimal.
#[must_use]
pub fn hash_of_key(key: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
    digest.as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
        text
    })
}

impl Control {
    /// Who holds this key.
    ///
    /// # Errors
    /// [`Error::InvalidToken`] when nobody does.
    pub async fn authenticate(&self, key: &str) -> Result<Actor> {
        let key = key.trim();
        if key.is_empty() || key.len() > LONGEST_KEY {
            return Err(Error::InvalidToken);
        }
        let hash = hash_of_key(key);
        let keys = self.api_keys().await?;
        // Every row is compared in full, so that the time says nothing about how close a guess was.
        let mut found = None;
        for row in keys.iter() {
            if bool::from(row.hash.as_bytes().ct_eq(hash.as_bytes())) {
                found = Some(row);
            }
        }
        found.map(|row| Actor::key(row.id.clone(), row.name.clone())).ok_or(Error::InvalidToken)
    }

    /// Adds an API key; the key itself is not kept. The same id again replaces the key.
    ///
    /// # Errors
    /// When the store cannot write.
    pub async fn add_api_key(&self, id: KeyId, name: &str, key: &str) -> Result<()> {
        let row = ApiKeyRow { id, name: name.to_owned(), hash: hash_of_key(key.trim()), created_at: self.now() };
        self.store.put_api_key(row).await?;
        *self.keys.read.lock().await = None;
        Ok(())
    }

    async fn api_keys(&self) -> Result<Arc<[ApiKeyRow]>> {
        let mut read = self.keys.read.lock().await;
        if let Some((when, keys)) = read.as_ref()
            && when.elapsed() < LIST_LIVES
        {
            return Ok(Arc::clone(keys));
        }
        let keys: Arc<[ApiKeyRow]> = self.store.api_keys().await?.into();
        *read = Some((Instant::now(), Arc::clone(&keys)));
        Ok(keys)
    }
}
