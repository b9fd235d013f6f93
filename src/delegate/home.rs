//! The folder of a delegate: a lock, its identity, whether it has joined, its spool.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use manifold_link::Identity;
use manifold_model::{Problem, code};

use crate::folder;

/// The folder, held by this process alone.
pub struct Home {
    folder: PathBuf,
    /// The key.
    pub identity: Arc<Identity>,
    /// Holds the folder as long as it is open.
    _lock: File,
}

impl Home {
    /// Opens the folder, which is made if need be, with a new identity.
    ///
    /// # Errors
    /// `DELEGATE_FOLDER_IN_USE` when another delegate has it; `DELEGATE_FOLDER_UNUSABLE` when something in it cannot be used.
    pub fn open(path: &Path) -> Result<Self, Box<Problem>> {
        let unusable = |path: &Path, why: &dyn std::fmt::Display| {
            let what = format!("{} cannot be used", path.display());
            let problem = Problem::new(code!("DELEGATE_FOLDER_UNUSABLE"), what).detail(why.to_string());
            Box::new(
                problem.hint("give a folder that this user may write to; an empty one makes a new delegate"),
            )
        };
        folder::private(path).map_err(|error| unusable(path, &error))?;
        let lock_path = path.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(|error| unusable(&lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let what = format!("another delegate runs in {}", path.display());
                let problem = Problem::new(code!("DELEGATE_FOLDER_IN_USE"), what);
                return Err(Box::new(problem.hint("give each delegate a folder of its own")));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(&lock_path, &error)),
        }
        let identity_path = path.join("identity");
        let identity = identity(&identity_path).map_err(|error| unusable(&identity_path, &error))?;
        Ok(Self { folder: path.to_owned(), identity: Arc::new(identity), _lock: lock })
    }

    /// Whether a server has welcomed this identity before.
    pub fn joined(&self) -> bool {
        self.folder.join("joined").exists()
    }

    /// A server has welcomed it.
    ///
    /// # Errors
    /// It cannot be written down.
    pub fn join(&self) -> io::Result<()> {
        if self.joined() { Ok(()) } else { folder::private_file(&self.folder.join("joined"), b"") }
    }

    /// Where outcomes rest.
    pub fn spool(&self) -> PathBuf {
        self.folder.join("spool")
    }
}

/// The key of the file, or a new one written there.
fn identity(path: &Path) -> io::Result<Identity> {
    match std::fs::read(path) {
        Ok(bytes) => Identity::from_pkcs8(&bytes)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it holds no Ed25519 key")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let identity =
                Identity::generate().ok_or_else(|| io::Error::other("the system gives no randomness"))?;
            // First whole, then under its name: a delegate that dies in between has no half a key.
            let begun = path.with_extension("begun");
            match std::fs::remove_file(&begun) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            folder::private_file(&begun, identity.pkcs8())?;
            std::fs::rename(&begun, path)?;
            Ok(identity)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_stays_and_a_folder_has_one_delegate() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("data");
        let first = Home::open(&folder).unwrap();
        assert_eq!(Home::open(&folder).err().unwrap().code, code!("DELEGATE_FOLDER_IN_USE"));
        let id = first.identity.id();
        assert!(!first.joined());
        first.join().unwrap();
        drop(first);
        let again = Home::open(&folder).unwrap();
        assert!(again.joined() && again.identity.id() == id);
        drop(again);
        std::fs::write(folder.join("identity"), "garbled").unwrap();
        assert_eq!(Home::open(&folder).err().unwrap().code, code!("DELEGATE_FOLDER_UNUSABLE"));
    }
}
