//! Keys, and what they do: seal, open, and digest.
//!
//! A key's number is a digest of its id and of its bytes. A sealed value carries it, so a reader
//! finds the key without trying all, and two keys of one id have different numbers.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use aes_gcm_siv::aead::{AeadInOut, KeyInit};
use aes_gcm_siv::{Aes256GcmSiv, Nonce, Tag};

use super::nonce::SealNonce;
use super::sizes::{KEY_NUMBER_BYTES, NONCE_BYTES, TAG_BYTES};
use crate::limits::{KEY_BYTES, KEY_SEALS_MAX};

/// The domain of the numbers of keys.
const NUMBER_DOMAIN: &str = "cachewarp 2026 number of a key";
/// The domain of the nonces that follow from the content.
const NONCE_DOMAIN: &str = "cachewarp 2026 nonce of a repeatable seal";

/// The number by which a sealed value names its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyNumber(pub [u8; KEY_NUMBER_BYTES]);

/// One key of a key file.
pub struct SealKey {
    id: Box<str>,
    number: KeyNumber,
    cipher: Aes256GcmSiv,
    /// The key of the nonces that follow from the content.
    nonce_key: [u8; KEY_BYTES],
    /// The values that this process has sealed with the key.
    seals: AtomicU64,
}

/// The reason why a value cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key has sealed as many values as it may.
    #[error("the key has sealed as many values as it may; add a new one in front")]
    KeyUsedUp,
    /// The value is too large for the cipher.
    #[error("the value is too large to be sealed")]
    TooLarge,
}

/// The reason why a sealed value cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsealError {
    /// No key has this number.
    #[error("sealed with an unknown key")]
    UnknownKey,
    /// The value is not the one that was sealed, or it was sealed for another name.
    #[error("the seal does not fit")]
    Forged,
}

impl SealKey {
    pub(super) fn new(id: &str, bytes: &[u8; KEY_BYTES]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(NUMBER_DOMAIN);
        hasher.update(bytes);
        hasher.update(id.as_bytes());
        let number = KeyNumber(*hasher.finalize().as_bytes().first_chunk().unwrap_or(&[0; KEY_NUMBER_BYTES]));
        Self {
            id: id.into(),
            number,
            cipher: Aes256GcmSiv::new(bytes.into()),
            nonce_key: blake3::derive_key(NONCE_DOMAIN, bytes),
            seals: AtomicU64::new(0),
        }
    }

    /// Returns the id in the key file.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the number.
    pub fn number(&self) -> KeyNumber {
        self.number
    }

    /// Encrypts `content` in its place and returns the tag. The seal covers `context` too.
    pub fn seal(
        &self,
        nonce: &SealNonce,
        context: &[u8],
        content: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], SealError> {
        if self.seals.fetch_add(1, Ordering::Relaxed) >= KEY_SEALS_MAX {
            self.seals.store(KEY_SEALS_MAX, Ordering::Relaxed);
            return Err(SealError::KeyUsedUp);
        }
        let nonce = Nonce::from(*nonce.as_bytes());
        let tag = self.cipher.encrypt_inout_detached(&nonce, context, content.into());
        tag.map(Into::into).map_err(|_| SealError::TooLarge)
    }

    /// Returns the nonce of a seal that equal content repeats, so that equal values stay equal.
    pub fn repeatable_nonce(&self, context: &[u8], content: &[u8]) -> SealNonce {
        let mut hasher = blake3::Hasher::new_keyed(&self.nonce_key);
        hasher.update(&(context.len() as u64).to_be_bytes());
        hasher.update(context);
        hasher.update(content);
        SealNonce::of(*hasher.finalize().as_bytes().first_chunk().unwrap_or(&[0; NONCE_BYTES]))
    }

    /// Decrypts `content` in its place, if the seal fits it and `context`.
    pub fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        context: &[u8],
        content: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), UnsealError> {
        let (nonce, tag) = (Nonce::from(*nonce), Tag::from(*tag));
        let opened = self.cipher.decrypt_inout_detached(&nonce, context, content.into(), &tag);
        opened.map_err(|_| UnsealError::Forged)
    }
}

impl Drop for SealKey {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.nonce_key);
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SealKey").field(&self.id).finish()
    }
}

/// The keys of a key file, one at least: the first one seals, and all open.
#[derive(Debug)]
pub struct SealKeys {
    first: SealKey,
    others: Box<[SealKey]>,
}

impl SealKeys {
    pub(super) fn new(first: SealKey, others: Vec<SealKey>) -> Self {
        Self { first, others: others.into() }
    }

    /// Returns the key that seals.
    pub fn sealing(&self) -> &SealKey {
        &self.first
    }

    /// Returns all keys in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &SealKey> {
        [&self.first].into_iter().chain(&self.others)
    }

    /// Returns the key with this number.
    pub fn find(&self, number: KeyNumber) -> Result<&SealKey, UnsealError> {
        self.iter().find(|key| key.number == number).ok_or(UnsealError::UnknownKey)
    }

    /// Returns a digest of the set of keys. It does not depend on their order: two nodes with one
    /// set open each other's values.
    pub fn digest(&self) -> u64 {
        let mut numbers: Vec<_> = self.iter().map(|key| key.number).collect();
        numbers.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        for number in &numbers {
            hasher.update(&number.0);
        }
        u64::from_be_bytes(*hasher.finalize().as_bytes().first_chunk().unwrap_or(&[0; 8]))
    }

    /// Returns the number of values that this process has sealed with the key that seals.
    pub fn seals(&self) -> u64 {
        self.first.seals.load(Ordering::Relaxed)
    }

    /// Takes over the counts of the keys that stay.
    pub(super) fn continue_counts(&self, before: &Self) {
        for key in self.iter() {
            if let Ok(before) = before.find(key.number) {
                key.seals.fetch_max(before.seals.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
    }
}

/// Describes the keys for an operator: their ids, and never their bytes.
impl fmt::Display for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} seals", self.first.id)?;
        self.others.iter().try_for_each(|key| write!(f, ", {} opens", key.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(ids: &[&str]) -> SealKeys {
        let key = |id: &&str| SealKey::new(id, blake3::hash(id.as_bytes()).as_bytes());
        SealKeys::new(key(&ids[0]), ids[1..].iter().map(key).collect())
    }

    #[test]
    fn a_seal_is_that_of_rfc_8452() {
        // RFC 8452, appendix C.2: the second test of AEAD_AES_256_GCM_SIV.
        let mut bytes = [0; KEY_BYTES];
        bytes[0] = 1;
        let key = SealKey::new("rfc", &bytes);
        let mut nonce = [0; NONCE_BYTES];
        nonce[0] = 3;
        let mut content = 1_u64.to_le_bytes();
        let tag = key.seal(&SealNonce::of(nonce), b"", &mut content).unwrap();
        let sealed: String = content.iter().chain(&tag).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(sealed, "c2ef328e5c71c83b843122130f7364b761e0b97427e3df28");
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let keys = keys(&["a"]);
        let key = keys.sealing();
        let nonce = SealNonce::draw().unwrap();
        let mut content = *b"a value of some length";
        let tag = key.seal(&nonce, b"context", &mut content).unwrap();
        let whole = [&nonce.as_bytes()[..], b"context", &content, &tag].concat();
        let open = |whole: &[u8]| {
            let mut content = whole[NONCE_BYTES + 7..whole.len() - TAG_BYTES].to_vec();
            let (nonce, tag) = (whole.first_chunk().unwrap(), whole.last_chunk().unwrap());
            let context = &whole[NONCE_BYTES..NONCE_BYTES + 7];
            key.open(nonce, context, &mut content, tag).map(|()| content)
        };
        assert_eq!(open(&whole).as_deref(), Ok(&b"a value of some length"[..]));
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&changed), Err(UnsealError::Forged), "{bit}");
        }
    }

    #[test]
    fn keys_have_their_own_numbers_and_sets_their_digests() {
        let of = |ids: &[&str]| keys(ids).digest();
        assert_eq!(of(&["a", "b"]), of(&["b", "a"]));
        assert!(of(&["a"]) != of(&["b"]) && of(&["a"]) != of(&["a", "b"]));
        let two = keys(&["a", "b"]);
        assert_eq!(two.to_string(), "a seals, b opens");
        let number = two.others[0].number();
        assert_eq!(two.find(number).unwrap().id(), "b");
        assert_eq!(keys(&["a"]).find(number).err(), Some(UnsealError::UnknownKey));
        assert_ne!(SealKey::new("a", &[7; KEY_BYTES]).number(), SealKey::new("b", &[7; KEY_BYTES]).number());
        assert_ne!(SealKey::new("a", &[7; KEY_BYTES]).number(), SealKey::new("a", &[8; KEY_BYTES]).number());
    }

    #[test]
    fn a_key_seals_a_limited_number_of_values() {
        let before = keys(&["a"]);
        before.first.seals.store(KEY_SEALS_MAX - 1, Ordering::Relaxed);
        let after = keys(&["b", "a"]);
        after.continue_counts(&before);
        assert_eq!(after.seals(), 0);
        let nonce = SealNonce::draw().unwrap();
        let key = &after.others[0];
        assert!(key.seal(&nonce, b"", &mut [0]).is_ok());
        for _ in 0..3 {
            assert_eq!(key.seal(&nonce, b"", &mut [0]), Err(SealError::KeyUsedUp));
        }
    }

    #[test]
    fn equal_values_have_equal_nonces_under_one_key() {
        let keys = keys(&["a", "b"]);
        let nonce = |key: &SealKey, context: &[u8], content: &[u8]| {
            *key.repeatable_nonce(context, content).as_bytes()
        };
        let known = nonce(keys.sealing(), b"c", b"v");
        assert_eq!(known, nonce(keys.sealing(), b"c", b"v"));
        for other in [
            nonce(keys.sealing(), b"c", b"w"),
            nonce(keys.sealing(), b"d", b"v"),
            nonce(keys.sealing(), b"", b"cv"),
            nonce(&keys.others[0], b"c", b"v"),
        ] {
            assert_ne!(known, other);
        }
    }

    #[test]
    fn no_output_shows_a_key() {
        let shown = format!("{:?}", keys(&["a", "b"]));
        assert_eq!(shown, "SealKeys { first: SealKey(\"a\"), others: [SealKey(\"b\")] }");
    }
}
