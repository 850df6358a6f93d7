//! Sealed values beside the entries: lists of digests.
//!
//! ```text
//! number of the key (4)  nonce (12)  content, encrypted  tag (16)
//! ```

use super::keys::{KeyNumber, SealError, SealKeys, UnsealError};
use super::nonce::SealNonce;
use super::sizes::{KEY_NUMBER_BYTES, NONCE_BYTES, TAG_BYTES};

/// Bytes that a sealed value has besides its content.
pub const SEAL_BYTES: usize = KEY_NUMBER_BYTES + NONCE_BYTES + TAG_BYTES;

impl SealKeys {
    /// Seals a value. The seal covers `context` too.
    pub fn seal_value(
        &self,
        nonce: &SealNonce,
        context: &[u8],
        content: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let key = self.sealing();
        let mut sealed = Vec::with_capacity(SEAL_BYTES + content.len());
        sealed.extend_from_slice(&key.number().0);
        sealed.extend_from_slice(nonce.as_bytes());
        let front = sealed.len();
        sealed.extend_from_slice(content);
        let tag = key.seal(nonce, context, sealed.get_mut(front..).unwrap_or_default())?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// Seals a value so that equal values stay equal, as a script needs that compares them.
    pub fn seal_repeatable(&self, context: &[u8], content: &[u8]) -> Result<Vec<u8>, SealError> {
        self.seal_value(&self.sealing().repeatable_nonce(context, content), context, content)
    }

    /// Opens a value that was sealed with this context.
    pub fn open_value(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, UnsealError> {
        let parts = || {
            let (number, rest) = sealed.split_first_chunk()?;
            let (nonce, rest) = rest.split_first_chunk()?;
            let (content, tag) = rest.split_last_chunk()?;
            Some((KeyNumber(*number), nonce, content, tag))
        };
        let (number, nonce, content, tag) = parts().ok_or(UnsealError::Forged)?;
        let mut content = content.to_vec();
        self.find(number)?.open(nonce, context, &mut content, tag)?;
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_with_its_context_only() {
        let keys = SealKeys::parse(b"a:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
        let sealed = keys.seal_value(&SealNonce::draw().unwrap(), b"c", b"content").unwrap();
        assert_eq!(sealed.len(), SEAL_BYTES + 7);
        assert_eq!(keys.open_value(b"c", &sealed).as_deref(), Ok(&b"content"[..]));
        assert_eq!(keys.open_value(b"d", &sealed), Err(UnsealError::Forged));
        for cut in 0..sealed.len() {
            assert!(keys.open_value(b"c", &sealed[..cut]).is_err(), "{cut}");
        }
        let repeatable = keys.seal_repeatable(b"c", b"content").unwrap();
        assert_eq!(keys.seal_repeatable(b"c", b"content").as_ref(), Ok(&repeatable));
        assert_eq!(keys.open_value(b"c", &repeatable).as_deref(), Ok(&b"content"[..]));
        let other = SealKeys::parse(b"a:AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
        assert_eq!(other.open_value(b"c", &sealed), Err(UnsealError::UnknownKey));
    }
}
