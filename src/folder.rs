//! Folders and files that only this user may read.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Makes a folder, and those above it, that only this user may enter. One that is there stays as it is.
///
/// # Errors
/// It cannot be made.
pub fn private(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a new file that only this user may read; an existing one is an error.
///
/// # Errors
/// It is there, or cannot be written.
pub fn private_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Writes a new file that only this user may read, whole or not at all; an existing one stays as it is.
///
/// # Errors
/// It cannot be written.
pub fn private_file_once(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = Path::new(&draft);
    private_file(draft, content)?;
    let linked = match std::fs::hard_link(draft, path) {
        // Another start was quicker: its file holds.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    std::fs::remove_file(draft)?;
    linked
}

/// Takes the folder for this process alone; `None` when another process has it. The lock is let go when the file is dropped, and by the system
/// when the process dies.
///
/// # Errors
/// The lock's file cannot be used.
pub fn lock(folder: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
