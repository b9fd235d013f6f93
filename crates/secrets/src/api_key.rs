//! API keys, and tokens with which delegates join: made here, shown once, kept only as their SHA-256.

use aws_lc_rs::{constant_time, digest};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::{Result, SecretError};

/// Random bytes of a key; 256 bits cannot be guessed, so a plain digest is enough to keep it.
const RANDOM_BYTES: usize = 32;
/// What every key made here begins with, so that scanners for leaked keys know it.
const PREFIX: &str = "mfk_";
/// What every token with which delegates join begins with.
const DELEGATE_PREFIX: &str = "mfd.";

/// A new random API key: `mfk_` and 64 hexadecimal digits.
///
/// # Errors
/// The system gives no randomness.
pub fn random() -> Result<SecretString> {
    random_after(PREFIX)
}

/// A new random token with which delegates join: `mfd.` and 64 hexadecimal digits.
///
/// # Errors
/// The system gives no randomness.
pub fn random_delegate_token() -> Result<SecretString> {
    random_after(DELEGATE_PREFIX)
}

fn random_after(prefix: &str) -> Result<SecretString> {
    let mut bytes = Zeroizing::new([0u8; RANDOM_BYTES]);
    aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_| SecretError::Crypto("make an API key"))?;
    let digits = Zeroizing::new(hex(bytes.as_ref()));
    Ok(SecretString::from(format!("{prefix}{}", *digits)))
}

/// The SHA-256 of a key, lower-case hexadecimal: what the store keeps.
#[must_use]
pub fn hash(key: &str) -> String {
    hex(digest::digest(&digest::SHA256, key.as_bytes()).as_ref())
}

/// Whether a presented key is the one with this hash; takes as long whether or not it is.
#[must_use]
pub fn matches(presented: &str, hash_kept: &str) -> bool {
    same(hash(presented).as_bytes(), hash_kept.as_bytes())
}

/// Compares in a time that does not depend on where two values differ (only on whether their lengths do).
#[must_use]
pub fn same(one: &[u8], other: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(one, other).is_ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_key_matches_its_hash_alone() {
        let (key, other) = (random().unwrap(), random().unwrap());
        let kept = hash(key.expose_secret());
        assert_eq!((kept.len(), key.expose_secret().len()), (64, 68));
        assert!(matches(key.expose_secret(), &kept));
        assert!(!matches(other.expose_secret(), &kept));
        assert!(!matches("", &kept) && !matches(key.expose_secret(), ""));
        assert!(random_delegate_token().unwrap().expose_secret().starts_with("mfd."));
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
