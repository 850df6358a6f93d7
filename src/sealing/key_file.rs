//! The key file: a line `id:base64 of 32 bytes` for each key, in the order of use.
//!
//! ```text
//! # comment, or an empty line
//! 2026-11:q83v…=      seals, and opens
//! 2026-08:Zx1c…=      opens
//! ```
//!
//! The parser reports all faults at once, with their lines, and shows no byte of a key.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::keys::{SealKey, SealKeys};
use crate::limits::{KEY_BYTES, KEY_FILE_BYTES_MAX, KEY_ID_BYTES_MAX, KEYS_MAX};

/// The bits of a file's mode that let every user of the machine read or write it.
const MODE_OF_OTHERS: u32 = 0o006;
/// The hint that follows a malformed line.
const LINE_HINT: &str = "write id:key, with a key from `openssl rand -base64 32`";

/// The reason why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The path names no regular file.
    #[error("is not a file")]
    NotAFile,
    /// Every user of the machine can read or write the file.
    #[error(
        "every user of this machine can read or write it (mode {mode:04o}); `chmod 600` it, or set \
         `defaultMode: 0440` of a Kubernetes secret"
    )]
    OpenToOthers {
        /// The permissions of the file.
        mode: u32,
    },
    /// The file changed while it was read.
    #[error("changed while it was read; write a new file and rename it over this one")]
    Changed,
    /// The content has faults.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Content(Vec<KeyFileFault>),
}

/// A fault in the content of a key file. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileFault {
    /// The file has no key.
    #[error("has no key; {LINE_HINT}")]
    Empty,
    /// The file has more bytes than any key file.
    #[error("is larger than {KEY_FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// The file has too many keys.
    #[error("has more than {KEYS_MAX} keys; remove old ones")]
    TooMany,
    /// A line without a colon.
    #[error("line {0} has no colon; {LINE_HINT}")]
    NoColon(usize),
    /// A line with an invalid id.
    #[error("line {0} has an invalid id: it is 1 to {KEY_ID_BYTES_MAX} letters, digits, `-`, `.` and `_`")]
    Id(usize),
    /// A line whose key is not base64.
    #[error("line {0} has a key that is not base64; {LINE_HINT}")]
    Base64(usize),
    /// A line whose key has another length.
    #[error("line {line} has a key of {bytes} bytes, and not of {KEY_BYTES}; {LINE_HINT}")]
    Length {
        /// The line.
        line: usize,
        /// The number of bytes in the key.
        bytes: usize,
    },
    /// A line with a key of equal bytes: a placeholder.
    #[error("line {0} has a key that is not random; {LINE_HINT}")]
    NotRandom(usize),
    /// A second key in a file that has one.
    #[error("line {0} has a second key: names have one, because another key empties the cache")]
    SecondKey(usize),
    /// A line with the id of an earlier line.
    #[error("line {line} repeats the id of line {first}")]
    RepeatedId {
        /// The line.
        line: usize,
        /// The earlier line.
        first: usize,
    },
    /// A line with the key of an earlier line.
    #[error("line {line} repeats the key of line {first}")]
    RepeatedKey {
        /// The line.
        line: usize,
        /// The earlier line.
        first: usize,
    },
}

/// A line with a key.
pub(super) struct KeyLine<'a> {
    pub(super) number: usize,
    id: &'a str,
    pub(super) key: Zeroizing<[u8; KEY_BYTES]>,
}

impl SealKeys {
    /// Reads a key file.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        read(path).and_then(|bytes| Self::parse(&bytes).map_err(KeyFileError::Content))
    }

    /// Parses the content of a key file; an error has every fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<KeyFileFault>> {
        let lines = key_lines(bytes)?;
        let mut keys = lines.iter().map(|line| SealKey::new(line.id, &line.key));
        keys.next().map(|first| Self::new(first, keys.collect())).ok_or_else(|| vec![KeyFileFault::Empty])
    }
}

/// Parses the lines of a key file; an error has every fault.
pub(super) fn key_lines(bytes: &[u8]) -> Result<Vec<KeyLine<'_>>, Vec<KeyFileFault>> {
    if bytes.len() > KEY_FILE_BYTES_MAX {
        return Err(vec![KeyFileFault::TooLarge]);
    }
    let mut faults = Vec::new();
    let mut lines: Vec<KeyLine<'_>> = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        match key_line(index + 1, line) {
            Err(fault) => faults.push(fault),
            Ok(line) => {
                let number = line.number;
                if let Some(first) = lines.iter().find(|first| first.id == line.id) {
                    faults.push(KeyFileFault::RepeatedId { line: number, first: first.number });
                }
                if let Some(first) = lines.iter().find(|first| first.key == line.key) {
                    faults.push(KeyFileFault::RepeatedKey { line: number, first: first.number });
                }
                lines.push(line);
            }
        }
    }
    if lines.len() > KEYS_MAX {
        faults.push(KeyFileFault::TooMany);
    }
    if faults.is_empty() && lines.is_empty() {
        faults.push(KeyFileFault::Empty);
    }
    if faults.is_empty() { Ok(lines) } else { Err(faults) }
}

/// Reads a file that no other user of the machine can read.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    read_beside(path, || ())
}

/// Parses one line with a key.
fn key_line(number: usize, line: &[u8]) -> Result<KeyLine<'_>, KeyFileFault> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(KeyFileFault::NoColon(number))?;
    let (id, key) = line.split_at_checked(colon).ok_or(KeyFileFault::NoColon(number))?;
    let id = str::from_utf8(id.trim_ascii()).map_err(|_| KeyFileFault::Id(number))?;
    let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if id.is_empty() || id.len() > KEY_ID_BYTES_MAX || !id.bytes().all(is_id) {
        return Err(KeyFileFault::Id(number));
    }
    let key = key.get(1..).unwrap_or_default().trim_ascii();
    let decoded = Zeroizing::new(STANDARD.decode(key).map_err(|_| KeyFileFault::Base64(number))?);
    let key = <[u8; KEY_BYTES]>::try_from(decoded.as_slice());
    let key = Zeroizing::new(key.map_err(|_| KeyFileFault::Length { line: number, bytes: decoded.len() })?);
    if key.windows(2).all(|pair| pair.first() == pair.last()) {
        return Err(KeyFileFault::NotRandom(number));
    }
    Ok(KeyLine { number, id, key })
}

/// Reads a file twice, because it must not change meanwhile. Calls `beside` between the two.
fn read_beside(path: &Path, beside: impl FnOnce()) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let mut file = File::open(path)?;
    let known = file.metadata()?;
    if !known.is_file() {
        return Err(KeyFileError::NotAFile);
    }
    let mode = known.mode() & 0o7777;
    if mode & MODE_OF_OTHERS != 0 {
        return Err(KeyFileError::OpenToOthers { mode });
    }
    let bytes = read_once(&mut file)?;
    beside();
    file.rewind()?;
    if read_once(&mut file)? != bytes {
        return Err(KeyFileError::Changed);
    }
    Ok(bytes)
}

/// Reads a file as far as the parser takes it, and one byte beyond.
fn read_once(file: &mut File) -> io::Result<Zeroizing<Vec<u8>>> {
    // The capacity suffices, so no copy of the bytes is left behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES_MAX + 64));
    file.take(KEY_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn line(id: &str, seed: &str) -> String {
        format!("{id}:{}\n", STANDARD.encode(blake3::hash(seed.as_bytes()).as_bytes()))
    }

    fn faults(content: &str) -> Vec<String> {
        SealKeys::parse(content.as_bytes()).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let content = format!("# new\n\n {}\r\n{}", line("2026-11", "a"), line("2026-08", "b").trim_end());
        let keys = SealKeys::parse(content.as_bytes()).unwrap();
        assert_eq!(keys.to_string(), "2026-11 seals, 2026-08 opens");
    }

    #[test]
    fn all_faults_are_reported_with_their_lines_and_without_keys() {
        let short = format!("k3:{}", STANDARD.encode([1, 2, 3]));
        let equal = format!("k4:{}", STANDARD.encode([9; KEY_BYTES]));
        let content = format!(
            "{}no colon\n!:AAAA\nk2:***\n{short}\n{equal}\n{}{}",
            line("k1", "a"),
            line("k1", "b"),
            line("k5", "a")
        );
        let faults = faults(&content);
        let expected = [
            "line 2 has no colon; write id:key",
            "line 3 has an invalid id: it is 1 to 32",
            "line 4 has a key that is not base64",
            "line 5 has a key of 3 bytes, and not of 32",
            "line 6 has a key that is not random",
            "line 7 repeats the id of line 1",
            "line 8 repeats the key of line 1",
        ];
        assert_eq!(faults.len(), expected.len(), "{faults:?}");
        for (fault, expected) in faults.iter().zip(expected) {
            assert!(fault.starts_with(expected), "{fault}");
        }
        let key = STANDARD.encode(blake3::hash(b"a").as_bytes());
        assert!(!faults.join("").contains(&key));
    }

    #[test]
    fn empty_and_large_files_are_refused() {
        for content in ["", "\n\n", "# only a comment\n"] {
            assert!(faults(content)[0].starts_with("has no key"), "{content:?}");
        }
        assert!(faults(&"#".repeat(KEY_FILE_BYTES_MAX + 1))[0].starts_with("is larger"));
        let many: String = (0..=KEYS_MAX).map(|key| line(&format!("k{key}"), &format!("s{key}"))).collect();
        assert!(faults(&many)[0].starts_with("has more than"));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, line("k", "a")).unwrap();
        for (mode, usable) in [(0o600, true), (0o400, true), (0o440, true), (0o644, false), (0o602, false)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let read = SealKeys::read(&path);
            assert_eq!(read.is_ok(), usable, "{mode:o}");
            if let Err(error) = read {
                assert!(error.to_string().contains(&format!("mode {mode:04o}")), "{error}");
            }
        }
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let write = |content: &str| {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        };
        write(&line("k", "a"));
        let read = read_beside(&path, || write(&(line("k", "a") + &line("l", "b"))));
        assert!(matches!(read, Err(KeyFileError::Changed)), "{read:?}");
        let read = read_beside(&path, || write(&line("k", "c")));
        assert!(matches!(read, Err(KeyFileError::Changed)), "{read:?}");
        // A file that another one replaces is whole.
        let read = read_beside(&path, || {
            fs::write(folder.path().join("new"), line("l", "b")).unwrap();
            fs::rename(folder.path().join("new"), &path).unwrap();
        });
        assert!(read.is_ok(), "{read:?}");
    }

    #[test]
    fn an_unreadable_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let missing = SealKeys::read(&folder.path().join("none")).unwrap_err();
        assert!(missing.to_string().starts_with("cannot be read: "), "{missing}");
        assert!(matches!(SealKeys::read(folder.path()), Err(KeyFileError::NotAFile)));
    }
}
