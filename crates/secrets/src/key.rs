//! The key that wraps the keys of secrets: 32 random bytes in `DIR/key`, kept apart from backups (`design.md` 9).

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use zeroize::Zeroizing;

use crate::{Result, SecretError};

/// Bytes of a key (AES-256).
pub(crate) const KEY_BYTES: usize = 32;
/// First word of a key file.
const FORMAT: &str = "manifold-key-1";
/// A key file is one short line; more is not read.
const FILE_LIMIT: u64 = 1024;

/// Names a key without telling it: the first 8 bytes of a digest of it, hexadecimal. It stands in every sealed value and in the store.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SealKeyId(String);

impl SealKeyId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SealKeyId {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for SealKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The wrapping key with its id.
pub struct Key {
    id: SealKeyId,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Key {
    /// A new random key.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn random() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_| SecretError::Crypto("make a key"))?;
        Ok(Self::of(bytes))
    }

    fn of(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"manifold key id");
        hash.update(bytes.as_ref());
        let id = hash.finish().as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { id: SealKeyId(id), bytes }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &SealKeyId {
        &self.id
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// Reads a key file; makes one (mode 0600) when there is none. Blocks on the file.
    ///
    /// # Errors
    /// The file can be read by others, holds no key, or cannot be used.
    pub fn load_or_create(path: &Path) -> Result<Self> {
        match Self::load(path) {
            Err(SecretError::KeyUnusable { cause, .. }) if cause.kind() == ErrorKind::NotFound => {
                Self::random()?.write_new(path)?;
                Self::load(path)
            }
            other => other,
        }
    }

    /// Reads a key file. Blocks on the file.
    ///
    /// # Errors
    /// There is none, it can be read by others, holds no key, or cannot be used.
    pub fn load(path: &Path) -> Result<Self> {
        let unusable = |cause| SecretError::KeyUnusable { path: path.to_owned(), cause };
        let file = File::open(path).map_err(unusable)?;
        let mode = file.metadata().map_err(unusable)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SecretError::KeyExposed { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(FILE_LIMIT).read_to_string(&mut text).map_err(unusable)?;
        Self::parse(&text).map_err(|why| SecretError::KeyMalformed { path: path.to_owned(), why })
    }

    fn parse(text: &str) -> std::result::Result<Self, &'static str> {
        let mut words = text.split_ascii_whitespace();
        if words.next() != Some(FORMAT) {
            return Err("it does not begin with manifold-key-1");
        }
        let (Some(id), Some(hex), None) = (words.next(), words.next(), words.next()) else {
            return Err("it must hold the id and the key, one line");
        };
        let key = Self::of(from_hex(hex).ok_or("the key is not 64 hexadecimal digits")?);
        if key.id.as_str() != id {
            return Err("the id does not belong to the key; the file is damaged");
        }
        Ok(key)
    }

    /// Writes the key under a name of its own first, so that a crash never leaves half a key and two starts never two keys.
    fn write_new(&self, path: &Path) -> Result<()> {
        let unusable = |cause| SecretError::KeyUnusable { path: path.to_owned(), cause };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(unusable)?;
        let draft = draft_of(path);
        let mut line = Zeroizing::new(format!("{FORMAT} {} ", self.id));
        for byte in self.bytes.iter() {
            line.push_str(&Zeroizing::new(format!("{byte:02x}")));
        }
        line.push('\n');
        let written = write_private(&draft, line.as_bytes()).and_then(|()| {
            match fs::hard_link(&draft, path) {
                // Another start was quicker: its key holds.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
                other => other,
            }
        });
        let removed = fs::remove_file(&draft);
        written.map_err(unusable)?;
        removed.map_err(unusable)?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(unusable)
    }
}

fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    PathBuf::from(name)
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // A draft left by a crash of a process with the same number is worthless.
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn from_hex(hex: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    if hex.len() != 2 * KEY_BYTES || !hex.is_ascii() {
        return None;
    }
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Checks that a store was sealed with this key; a store without a key id takes any.
///
/// # Errors
/// [`SecretError::OtherKey`]: the server must not start, it could open nothing and would seal with a key that other servers lack.
pub fn check_key_id(stored: Option<&str>, key: &Key) -> Result<()> {
    match stored {
        Some(stored) if stored != key.id.as_str() => {
            Err(SecretError::OtherKey { wanted: stored.into(), found: key.id.clone() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/key");
        let key = Key::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Key::load_or_create(&path).unwrap();
        assert_eq!((key.id(), key.bytes()), (again.id(), again.bytes()));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft stays");
        assert!(!format!("{key:?}").contains(&format!("{:?}", key.bytes())));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        Key::load_or_create(&path).unwrap();
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let refused = Key::load_or_create(&path).unwrap_err();
            assert!(matches!(refused, SecretError::KeyExposed { mode: found, .. } if found == mode));
            assert!(refused.to_string().contains("chmod 600"));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        Key::load(&path).unwrap();
    }

    #[test]
    fn a_damaged_key_file_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        Key::load_or_create(&path).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let last = good.trim_end().chars().last().unwrap();
        let flipped =
            format!("{}{}", &good.trim_end()[..good.len() - 2], if last == '0' { '1' } else { '0' });
        for bad in ["", "hello", "manifold-key-1", &flipped, &good.repeat(2), &good.replace(' ', " é")] {
            fs::write(&path, bad).unwrap();
            let refused = Key::load_or_create(&path).unwrap_err();
            assert!(matches!(refused, SecretError::KeyMalformed { .. }), "{bad}: {refused}");
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(Key::load_or_create(&path), Err(SecretError::KeyUnusable { .. })));
    }

    #[test]
    fn a_store_takes_its_own_key_only() {
        let (key, other) = (Key::random().unwrap(), Key::random().unwrap());
        check_key_id(None, &key).unwrap();
        check_key_id(Some(key.id().as_str()), &key).unwrap();
        let refused = check_key_id(Some(other.id().as_str()), &key).unwrap_err();
        assert!(matches!(&refused, SecretError::OtherKey { wanted, .. } if wanted == other.id()));
    }
}
