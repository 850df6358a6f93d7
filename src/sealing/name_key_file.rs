//! The file with the key of names: a key file with one line.

use std::path::Path;

use super::key_file::{KeyFileError, KeyFileFault, key_lines, read};
use crate::key::NameKey;

impl NameKey {
    /// Reads the file of a name key.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        read(path).and_then(|bytes| Self::parse(&bytes).map_err(KeyFileError::Content))
    }

    /// Parses the content of the file; an error has every fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<KeyFileFault>> {
        match &key_lines(bytes)?[..] {
            [line] => Ok(Self::new(&line.key)),
            lines => Err(lines.iter().skip(1).map(|line| KeyFileFault::SecondKey(line.number)).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_key() {
        let lines = [
            "a:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            "b:AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        ];
        let [one, other] = lines.map(|line| NameKey::parse(line.as_bytes()).unwrap());
        assert_ne!(one.number(), other.number());
        // The id names the key for operators only.
        let renamed = NameKey::parse(lines[0].replacen('a', "c", 1).as_bytes()).unwrap();
        assert_eq!(one.number(), renamed.number());
        let second = NameKey::parse(lines.join("\n").as_bytes()).unwrap_err();
        assert_eq!(second, [KeyFileFault::SecondKey(2)]);
        assert_eq!(NameKey::parse(b"").unwrap_err(), [KeyFileFault::Empty]);
        assert!(NameKey::parse(b"a:AAEC").is_err());
    }
}
