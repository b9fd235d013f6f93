//! How a value is sealed: with a random key of its own (AES-256-GCM), which the wrapping key wraps. The secret's id is authenticated with both,
//! so a sealed value moved to another secret does not open.
//!
//! Layout: `M` `S` version, length of the key id, key id, wrapped key (nonce, 32 bytes, tag), value (nonce, bytes, tag).

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use manifold_model::SecretId;
use zeroize::{Zeroize, Zeroizing};

use crate::key::{KEY_BYTES, Key};
use crate::{Result, SealKeyId, SecretBytes, SecretError};

/// Longest value that is sealed: 1 MiB, also the longest encrypted file.
pub const MAX_VALUE: usize = 1024 * 1024;

const MAGIC: [u8; 3] = [b'M', b'S', 1];
const TAG: usize = 16;
const WRAPPED: usize = NONCE_LEN + KEY_BYTES + TAG;

/// What a ciphertext is for; authenticated with it, so that one cannot stand in for the other.
#[derive(Clone, Copy)]
enum Purpose {
    Key,
    Value,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Key => "manifold secret key",
            Self::Value => "manifold secret value",
        }
    }
}

/// Seals the value of a secret under the wrapping key.
///
/// # Errors
/// The value is longer than [`MAX_VALUE`].
pub fn seal(key: &Key, id: &SecretId, value: &[u8]) -> Result<Vec<u8>> {
    if value.len() > MAX_VALUE {
        return Err(SecretError::TooLong { size: value.len(), limit: MAX_VALUE });
    }
    let own = Key::random()?;
    let key_id = key.id().as_str().as_bytes();
    let length = u8::try_from(key_id.len()).map_err(|_| SecretError::Crypto("name the key"))?;
    let mut sealed =
        Vec::with_capacity(MAGIC.len() + 1 + key_id.len() + WRAPPED + NONCE_LEN + value.len() + TAG);
    sealed.extend_from_slice(&MAGIC);
    sealed.push(length);
    sealed.extend_from_slice(key_id);
    encrypt(key.bytes(), Purpose::Key, id, own.bytes(), &mut sealed)?;
    encrypt(own.bytes(), Purpose::Value, id, value, &mut sealed)?;
    Ok(sealed)
}

/// Opens what [`seal`] made.
///
/// # Errors
/// Sealed with another key, changed since, or sealed for another secret.
pub fn open(key: &Key, id: &SecretId, sealed: &[u8]) -> Result<SecretBytes> {
    let damaged = || SecretError::Damaged(id.to_string());
    let (key_id, rest) = split_key_id(sealed).ok_or_else(damaged)?;
    if key_id != *key.id() {
        return Err(SecretError::OtherKey { wanted: key_id, found: key.id().clone() });
    }
    let (wrapped, value) = rest.split_at_checked(WRAPPED).ok_or_else(damaged)?;
    let own = decrypt(key.bytes(), Purpose::Key, id, wrapped).ok_or_else(damaged)?;
    let value = decrypt(&own, Purpose::Value, id, value).ok_or_else(damaged)?;
    // A copy of the exact length, so that making it a slice moves nothing and leaves no remains.
    Ok(value.to_vec().into())
}

/// The id of the key that sealed a value.
///
/// # Errors
/// It is no sealed value.
pub fn key_id(id: &SecretId, sealed: &[u8]) -> Result<SealKeyId> {
    split_key_id(sealed).map(|(key_id, _)| key_id).ok_or_else(|| SecretError::Damaged(id.to_string()))
}

fn split_key_id(sealed: &[u8]) -> Option<(SealKeyId, &[u8])> {
    let (length, rest) = sealed.strip_prefix(&MAGIC)?.split_first()?;
    let (key_id, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((SealKeyId::from(std::str::from_utf8(key_id).ok()?), rest))
}

fn encrypt(key: &[u8], purpose: Purpose, id: &SecretId, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let failed = |_| SecretError::Crypto("seal a value");
    let cipher = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(failed)?;
    let mut buffer = Zeroizing::new(Vec::with_capacity(plain.len() + TAG));
    buffer.extend_from_slice(plain);
    let nonce = cipher.seal_in_place_append_tag(associated(purpose, id), &mut *buffer).map_err(failed)?;
    out.extend_from_slice(nonce.as_ref());
    out.extend_from_slice(&buffer);
    Ok(())
}

fn decrypt(key: &[u8], purpose: Purpose, id: &SecretId, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let cipher = RandomizedNonceKey::new(&AES_256_GCM, key).ok()?;
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let length = cipher.open_in_place(nonce, associated(purpose, id), &mut buffer).ok()?.len();
    // What stood behind the plain text was the tag.
    buffer.get_mut(length..)?.zeroize();
    buffer.truncate(length);
    Some(buffer)
}

fn associated(purpose: Purpose, id: &SecretId) -> Aad<Vec<u8>> {
    let mut bytes = purpose.name().as_bytes().to_vec();
    bytes.push(0);
    bytes.extend_from_slice(id.as_str().as_bytes());
    Aad::from(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn every_changed_byte_is_noticed() {
        let key = Key::random().unwrap();
        let id = SecretId::from("one");
        let sealed = seal(&key, &id, b"hunter2").unwrap();
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(open(&key, &id, &changed).is_err(), "byte {place}");
            assert!(open(&key, &id, &sealed[..place]).is_err(), "cut at {place}");
        }
        assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
    }

    #[test]
    fn a_value_opens_for_its_secret_and_key_alone() {
        let (key, other) = (Key::random().unwrap(), Key::random().unwrap());
        let sealed = seal(&key, &"one".into(), b"x").unwrap();
        assert!(matches!(open(&key, &"two".into(), &sealed), Err(SecretError::Damaged(_))));
        let refused = open(&other, &"one".into(), &sealed).unwrap_err();
        assert!(matches!(&refused, SecretError::OtherKey { wanted, found }
            if wanted == key.id() && found == other.id()));
        assert_eq!(key_id(&"one".into(), &sealed).unwrap(), *key.id());
        assert_ne!(sealed, seal(&key, &"one".into(), b"x").unwrap(), "no two seals are alike");
    }

    #[test]
    fn a_value_too_long_is_refused() {
        let key = Key::random().unwrap();
        let refused = seal(&key, &"one".into(), &vec![0; MAX_VALUE + 1]).unwrap_err();
        assert!(matches!(refused, SecretError::TooLong { limit: MAX_VALUE, .. }));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(value: Vec<u8>, id: String) {
            let key = Key::random().unwrap();
            let id = SecretId::from(id);
            let sealed = seal(&key, &id, &value).unwrap();
            let opened = open(&key, &id, &sealed).unwrap();
            prop_assert_eq!(opened.expose_secret(), &value[..]);
        }

        #[test]
        fn garbage_never_opens(garbage: Vec<u8>) {
            let key = Key::random().unwrap();
            prop_assert!(open(&key, &"one".into(), &garbage).is_err());
        }
    }
}
