//! File documents fetched once for all tasks: 10,000 legs deploy the same manifests, and a document as of a revision never changes.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use manifold_model::Failure;
use tokio::sync::OnceCell;

use crate::limits::{MAX_KEPT_FILE, MAX_KEPT_FILES};

/// Path and catalog revision of a document.
type Key = (String, u64);

/// Documents that are kept, and those that are on their way.
#[derive(Default)]
pub(crate) struct Files(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    entries: HashMap<Key, Entry>,
    bytes: usize,
    /// Counts uses; the entry with the smallest count was used the longest ago.
    uses: u64,
}

struct Entry {
    /// Empty once the fetch has failed.
    content: Arc<OnceCell<Option<Bytes>>>,
    /// Bytes counted for it.
    counted: usize,
    used: u64,
}

impl Files {
    /// A document. Of those who want it at once one fetches it, for all; when that fails each tries for itself, for the reason may lie with the
    /// one's task.
    ///
    /// # Errors
    /// The fetch's.
    pub(crate) async fn get<F, W>(&self, path: &str, revision: u64, fetch: F) -> Result<Bytes, Failure>
    where
        F: Fn() -> W,
        W: Future<Output = Result<Bytes, Failure>>,
    {
        let key = (path.to_owned(), revision);
        let content = self.entry(&key);
        let mut failed = None;
        let kept = content
            .get_or_init(async || match fetch().await {
                Ok(bytes) => Some(bytes),
                Err(failure) => {
                    failed = Some(failure);
                    None
                }
            })
            .await;
        match (kept, failed) {
            (Some(bytes), _) => {
                self.count(&key, bytes.len());
                Ok(bytes.clone())
            }
            (None, Some(failure)) => {
                self.forget(&key, &content);
                Err(failure)
            }
            (None, None) => fetch().await,
        }
    }

    fn entry(&self, key: &Key) -> Arc<OnceCell<Option<Bytes>>> {
        let mut kept = self.kept();
        kept.uses += 1;
        let used = kept.uses;
        let entry = kept.entries.entry(key.clone()).or_insert_with(|| Entry {
            content: Arc::default(),
            counted: 0,
            used,
        });
        entry.used = used;
        Arc::clone(&entry.content)
    }

    /// Counts a document that has come, and lets go of those used the longest ago until all fit.
    fn count(&self, key: &Key, size: usize) {
        let mut kept = self.kept();
        match kept.entries.get_mut(key) {
            Some(entry) if entry.counted == 0 => entry.counted = size.max(1),
            _ => return,
        }
        kept.bytes += size.max(1);
        if size > MAX_KEPT_FILE {
            kept.remove(key);
        }
        while kept.bytes > MAX_KEPT_FILES {
            let oldest = kept.entries.iter().filter(|(_, entry)| entry.counted > 0);
            let Some(key) = oldest.min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone()) else {
                return;
            };
            kept.remove(&key);
        }
    }

    /// Forgets a fetch that failed, so that the next one who asks tries again.
    fn forget(&self, key: &Key, content: &Arc<OnceCell<Option<Bytes>>>) {
        let mut kept = self.kept();
        if kept.entries.get(key).is_some_and(|entry| Arc::ptr_eq(&entry.content, content)) {
            kept.remove(key);
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes = self.bytes.saturating_sub(entry.counted);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use std::sync::atomic::{AtomicU32, Ordering};

    use manifold_model::{FailureClass, code};
    use tokio::sync::Notify;

    use super::*;

    fn broken() -> Failure {
        Failure::new(FailureClass::Delegate, code!("SERVER_UNANSWERED"), "no answer")
    }

    #[tokio::test]
    async fn many_who_want_a_file_at_once_fetch_it_once() {
        let files = Files::default();
        let (fetched, go) = (AtomicU32::new(0), Notify::new());
        let fetch = || async {
            fetched.fetch_add(1, Ordering::SeqCst);
            go.notified().await;
            Ok(Bytes::from_static(b"text"))
        };
        let all = futures::future::join_all((0..100).map(|_| files.get("a", 1, fetch)));
        let (all, ()) = tokio::join!(all, async { go.notify_one() });
        assert!(all.iter().all(|one| one.as_ref().unwrap() == "text"));
        assert_eq!(fetched.load(Ordering::SeqCst), 1);
        let other = files.get("a", 2, async || Ok(Bytes::from_static(b"newer"))).await;
        assert_eq!(other.unwrap(), "newer", "another revision is another file");
    }

    #[tokio::test]
    async fn a_failed_fetch_is_tried_again_by_everybody() {
        let files = Files::default();
        let fetched = AtomicU32::new(0);
        let fetch = || async {
            match fetched.fetch_add(1, Ordering::SeqCst) {
                0 => Err(broken()),
                _ => Ok(Bytes::from_static(b"text")),
            }
        };
        let both = futures::future::join_all([files.get("a", 1, fetch), files.get("a", 1, fetch)]).await;
        assert_eq!(both.iter().filter(|one| one.is_ok()).count(), 1);
        assert!(files.get("a", 1, fetch).await.is_ok());
        let before = fetched.load(Ordering::SeqCst);
        assert!(files.get("a", 1, fetch).await.is_ok());
        assert_eq!(fetched.load(Ordering::SeqCst), before);
    }

    #[tokio::test]
    async fn what_was_used_the_longest_ago_goes_first() {
        let files = Files::default();
        let size = MAX_KEPT_FILE;
        let many = MAX_KEPT_FILES / size;
        for number in 0..=many {
            let fetch = async || Ok(Bytes::from(vec![0; size]));
            files.get(&number.to_string(), 1, fetch).await.unwrap();
        }
        assert!(files.kept().bytes <= MAX_KEPT_FILES);
        assert!(!files.kept().entries.contains_key(&("0".to_owned(), 1)));
        assert!(files.kept().entries.contains_key(&("1".to_owned(), 1)));
        files.get("large", 1, async || Ok(Bytes::from(vec![0; size + 1]))).await.unwrap();
        assert!(!files.kept().entries.contains_key(&("large".to_owned(), 1)));
        assert_eq!(files.kept().bytes, many * size);
    }
}
