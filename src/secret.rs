//! Text that must never be printed.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// A password or token: readable by the code that sends it, masked everywhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps the text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the text, for the one place that sends or compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns whether `text` is the text. The time does not depend on how much of it is right.
    pub fn is(&self, text: &[u8]) -> bool {
        // Digests have one length, and their comparison takes constant time.
        blake3::hash(self.0.as_bytes()) == blake3::hash(text)
    }
}

/// A secret that a reload may replace; clones share it. `None` is no secret.
#[derive(Clone, Debug, Default)]
pub struct SharedSecret(Arc<RwLock<Option<Secret>>>);

impl SharedSecret {
    /// Creates the secret of a process.
    pub fn new(secret: Option<Secret>) -> Self {
        Self(Arc::new(RwLock::new(secret)))
    }

    /// Returns the current secret.
    pub fn get(&self) -> Option<Secret> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the secret for every clone.
    pub fn set(&self, secret: Option<Secret>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = secret;
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_equals_its_text_and_is_never_printed() {
        let secret = Secret::new("open sesame");
        assert!(secret.is(b"open sesame"));
        for text in [&b""[..], b"open sesam", b"open sesame ", b"Open sesame"] {
            assert!(!secret.is(text), "{text:?}");
        }
        assert_eq!(format!("{secret:?}"), "***");
    }
}
