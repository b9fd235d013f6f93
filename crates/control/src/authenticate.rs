//! API key → who asks. Only hashes of keys are kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use manifold_model::KeyId;
use manifold_secrets::api_key;
use manifold_store::ApiKeyRow;
use tokio::sync::Mutex;

use crate::{Actor, Control, Error, Result};

/// Longest key that is looked at, bytes; longer ones are refused unread.
const LONGEST_KEY: usize = 1024;
/// How long the list of keys is believed: a key deleted by another server is refused after at most this long.
const LIST_LIVES: Duration = Duration::from_secs(5);

/// How long the list is believed that a key is unknown, so that one added by another server is taken soon and wrong ones do not make the store
/// read again and again.
const MISS_LIVES: Duration = Duration::from_millis(250);

/// The keys as last read.
#[derive(Debug, Default)]
pub(crate) struct KeyList {
    read: Mutex<Option<(Instant, Arc<[ApiKeyRow]>)>>,
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
        let hash = api_key::hash(key);
        let found = match holder(&self.api_keys(LIST_LIVES).await?, &hash) {
            // Another server may have added it since.
            None => holder(&self.api_keys(MISS_LIVES).await?, &hash),
            found => found,
        };
        found.ok_or(Error::InvalidToken)
    }

    /// Adds an API key; the key itself is not kept. The same id again replaces the key.
    ///
    /// # Errors
    /// When the store cannot write.
    pub async fn add_api_key(&self, id: KeyId, name: &str, key: &str) -> Result<()> {
        let row =
            ApiKeyRow { id, name: name.to_owned(), hash: api_key::hash(key.trim()), created_at: self.now() };
        self.store.put_api_key(row).await?;
        *self.keys.read.lock().await = None;
        Ok(())
    }

    /// The keys, read anew when the list is older than this.
    async fn api_keys(&self, lives: Duration) -> Result<Arc<[ApiKeyRow]>> {
        let mut read = self.keys.read.lock().await;
        if let Some((when, keys)) = read.as_ref()
            && when.elapsed() < lives
        {
            return Ok(Arc::clone(keys));
        }
        let keys: Arc<[ApiKeyRow]> = self.store.api_keys().await?.into();
        *read = Some((Instant::now(), Arc::clone(&keys)));
        Ok(keys)
    }
}

/// Whose key has this hash. Every row is compared in full, so that the time says nothing about how close a guess was.
fn holder(keys: &[ApiKeyRow], hash: &str) -> Option<Actor> {
    let mut found = None;
    for row in keys {
        if api_key::same(row.hash.as_bytes(), hash.as_bytes()) {
            found = Some(row);
        }
    }
    found.map(|row| Actor::key(row.id.clone(), row.name.clone()))
}
