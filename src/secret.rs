//! Text that must never be printed.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use crate::limits::SECRET_FILE_BYTES_MAX;

/// A password or token: readable by the code that sends it, masked everywhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps the text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// Reads the first line of a file.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut text = String::new();
        File::open(path)?.take(SECRET_FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() || text.len() > SECRET_FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its first line is no secret"));
        }
        Ok(Self::new(line))
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

    #[test]
    fn the_first_line_of_a_file_is_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for (text, expected) in [
            ("secret", Some("secret")),
            ("secret\n", Some("secret")),
            ("secret\r\nold\n", Some("secret")),
            (" s p \n", Some(" s p ")),
            ("", None),
            ("\nsecret", None),
        ] {
            std::fs::write(&path, text).unwrap();
            let read = Secret::read(&path).ok();
            assert_eq!(read.as_ref().map(Secret::expose), expected, "{text:?}");
        }
        std::fs::write(&path, "x".repeat(SECRET_FILE_BYTES_MAX + 1)).unwrap();
        assert!(Secret::read(&path).is_err());
        std::fs::write(&path, [0xff]).unwrap();
        assert!(Secret::read(&path).is_err());
        let missing = Secret::read(&folder.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
