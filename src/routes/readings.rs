//! The readings of a path: the paths that an origin may take it for.
//!
//! An origin may decode a path once more, merge `//`, resolve dot segments, take `\` for `/`, drop
//! `;parameters`, end the path at a decoded delimiter, or ignore a `/` at the end. Each step is
//! applied to each reading, until no new one appears or the limit is reached. The tree ignores
//! letter case, so letter case needs no step.

use std::borrow::Cow;

use crate::limits::{ROUTE_READING_BYTES_MAX, ROUTE_READINGS_MAX};

use crate::routes::bytes::{decode, encoded, is_plain_when_encoded};
use crate::routes::descent::has_odd_segment;
use crate::routes::segment::is_plain_text;

/// The readings of one path.
#[derive(Debug)]
pub(super) struct PathReadings {
    /// The readings, the path itself first. None occurs twice.
    pub(super) paths: Vec<Vec<u8>>,
    /// Whether these are all readings.
    pub(super) coverage: ReadingCoverage,
}

/// Whether a list of readings is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadingCoverage {
    /// There are no further readings.
    All,
    /// The path has more readings than the limit, or is too long.
    Some,
}

/// A step from one reading to another.
type ReadingStep = fn(&[u8]) -> Cow<'_, [u8]>;

const STEPS: [ReadingStep; 7] = [
    decode,
    without_parameters,
    up_to_delimiter,
    with_slashes,
    with_single_slashes,
    without_dot_segments,
    without_final_slash,
];

impl PathReadings {
    /// Computes the readings of a path.
    pub(super) fn of(path: &[u8]) -> Self {
        let limit = if path.len() > ROUTE_READING_BYTES_MAX { 1 } else { ROUTE_READINGS_MAX };
        let mut readings = Self { paths: vec![path.to_vec()], coverage: ReadingCoverage::All };
        let mut next = 0;
        while let Some(reading) = readings.paths.get(next).cloned() {
            for step in STEPS {
                readings.add(&step(&reading), limit);
            }
            next += 1;
        }
        if readings.coverage == ReadingCoverage::Some {
            // The reading of an origin that takes every step is the likeliest of those left out.
            let mut reading = path.to_vec();
            for step in STEPS {
                reading = step(&reading).into_owned();
            }
            readings.add(&reading, usize::MAX);
        }
        readings
    }

    fn add(&mut self, reading: &[u8], limit: usize) {
        if self.paths.iter().any(|known| known == reading) {
            return;
        }
        if self.paths.len() < limit {
            self.paths.push(reading.to_vec());
        } else {
            self.coverage = ReadingCoverage::Some;
        }
    }
}

/// Returns whether a path has no reading but itself. Such a path is decoded already.
pub(super) fn has_single_reading(path: &[u8]) -> bool {
    STEPS.iter().all(|step| *step(path) == *path)
}

/// Drops `;` and the rest of the segment behind it.
fn without_parameters(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.contains(&b';') {
        return Cow::Borrowed(path);
    }
    let mut in_parameters = false;
    let stays = |byte: &u8| {
        in_parameters = *byte == b';' || (in_parameters && *byte != b'/');
        !in_parameters
    };
    Cow::Owned(path.iter().copied().filter(stays).collect())
}

/// Drops the first control, `?` or `#` and the rest of the path behind it.
fn up_to_delimiter(path: &[u8]) -> Cow<'_, [u8]> {
    let is_delimiter = |byte: &u8| byte.is_ascii_control() || matches!(byte, b'?' | b'#');
    let end = path.iter().position(is_delimiter).unwrap_or(path.len());
    Cow::Borrowed(path.get(..end).unwrap_or_default())
}

/// Takes `\` for `/`.
fn with_slashes(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.contains(&b'\\') {
        return Cow::Borrowed(path);
    }
    Cow::Owned(path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect())
}

/// Merges adjacent slashes.
fn with_single_slashes(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.windows(2).any(|pair| pair == b"//") {
        return Cow::Borrowed(path);
    }
    let mut merged = path.to_vec();
    merged.dedup_by(|byte, before| *byte == b'/' && *before == b'/');
    Cow::Owned(merged)
}

/// Resolves `.` and `..` segments (RFC 3986 §5.2.4).
fn without_dot_segments(path: &[u8]) -> Cow<'_, [u8]> {
    let is_dots = |segment: &[u8]| matches!(segment, b"." | b"..");
    if !path.split(|byte| *byte == b'/').any(is_dots) {
        return Cow::Borrowed(path);
    }
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut ends_with_dots = false;
    for segment in path.split(|byte| *byte == b'/').skip(1) {
        ends_with_dots = is_dots(segment);
        match segment {
            b"." => {}
            b".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let mut resolved = Vec::with_capacity(path.len());
    for segment in kept {
        resolved.push(b'/');
        resolved.extend_from_slice(segment);
    }
    if ends_with_dots || resolved.is_empty() {
        resolved.push(b'/');
    }
    Cow::Owned(resolved)
}

/// Drops a `/` at the end.
fn without_final_slash(path: &[u8]) -> Cow<'_, [u8]> {
    Cow::Borrowed(path.strip_suffix(b"/").filter(|path| !path.is_empty()).unwrap_or(path))
}

/// Returns the decoded form of a plain path, else nothing. `/` is plain. Another path is plain if
/// no segment is empty or a dot segment, and each decodes to UTF-8 and has only unreserved bytes
/// and encodings of bytes that are not reserved.
///
/// Some decoders read bytes that are not UTF-8 as `/`.
pub(super) fn decoded_if_plain<'b>(path: &[u8], buffer: &'b mut [u8]) -> Option<Cow<'b, [u8]>> {
    let mut rest = path.strip_prefix(b"/")?;
    let mut heap = Vec::new();
    if path.len() > buffer.len() {
        heap.resize(path.len(), 0);
    }
    let room: &mut [u8] = if heap.is_empty() { &mut *buffer } else { &mut heap };
    let mut filled = 0;
    let mut push = |text: &[u8]| {
        room.get_mut(filled..filled + text.len())?.copy_from_slice(text);
        filled += text.len();
        Some(())
    };
    push(b"/")?;
    loop {
        let next = rest.iter().position(|byte| *byte == b'%').unwrap_or(rest.len());
        let (text, behind) = rest.split_at_checked(next).filter(|(text, _)| is_plain_text(text))?;
        push(text)?;
        if behind.is_empty() {
            break;
        }
        let byte = encoded(behind).filter(|byte| is_plain_when_encoded(*byte))?;
        push(&[byte])?;
        rest = behind.get(3..)?;
    }
    let decoded = if heap.is_empty() {
        Cow::Borrowed(buffer.get(..filled)?)
    } else {
        heap.truncate(filled);
        Cow::Owned(heap)
    };
    let is_text = std::str::from_utf8(&decoded).is_ok();
    (is_text && (!has_odd_segment(decoded.get(1..)?) || &*decoded == b"/")).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(path: &str) -> Vec<String> {
        let readings = PathReadings::of(path.as_bytes()).paths;
        readings.into_iter().map(|path| String::from_utf8_lossy(&path).into_owned()).collect()
    }

    #[test]
    fn a_path_has_readings() {
        for (path, want) in [
            ("/", &["/"][..]),
            ("/a/b", &["/a/b"]),
            ("/a/", &["/a/", "/a"]),
            ("//a", &["//a", "/a"]),
            ("/a;x=1/b", &["/a;x=1/b", "/a/b"]),
            ("/a%2Fb", &["/a%2Fb", "/a/b"]),
            ("/%61", &["/%61", "/a"]),
            ("/%2561", &["/%2561", "/%61", "/a"]),
            ("/a%00.css", &["/a%00.css", "/a\0.css", "/a"]),
            ("/a%3Fb", &["/a%3Fb", "/a?b", "/a"]),
            ("/a\\b", &["/a\\b", "/a/b"]),
            ("/a/../b", &["/a/../b", "/b"]),
            ("/a/..", &["/a/..", "/"]),
            ("/../..", &["/../..", "/"]),
            ("/a/./b", &["/a/./b", "/a/b"]),
            ("/a/b/..", &["/a/b/..", "/a/", "/a"]),
            ("/a%3Bx/b", &["/a%3Bx/b", "/a;x/b", "/a/b"]),
            ("/a/%2e%2e/b", &["/a/%2e%2e/b", "/a/../b", "/b"]),
        ] {
            assert_eq!(readings(path), want, "{path}");
        }
    }

    #[test]
    fn readings_have_a_limit() {
        let path = "/a//b/;x/%2e%2e/c%5Cd%2F%2Fe;y%00/f/./%253Bz//";
        let many = PathReadings::of(path.as_bytes());
        assert_eq!(many.coverage, ReadingCoverage::Some);
        assert_eq!(many.paths.len(), ROUTE_READINGS_MAX + 1);
        let long = format!("/{}//", "a".repeat(ROUTE_READING_BYTES_MAX));
        let long = PathReadings::of(long.as_bytes());
        assert_eq!((long.coverage, long.paths.len()), (ReadingCoverage::Some, 2));
        assert!(!long.paths[1].ends_with(b"/"), "the last reading took every step");
    }

    #[test]
    fn plain_paths_are_decoded() {
        let mut buffer = [0; 16];
        for (path, want) in [
            ("/", Some("/")),
            ("/a/b", Some("/a/b")),
            ("/EUR%20USD", Some("/EUR USD")),
            ("/caf%C3%A9", Some("/café")),
            ("/%61/a-much-longer-path-than-the-buffer%20", Some("/a/a-much-longer-path-than-the-buffer ")),
            ("", None),
            ("a", None),
            ("/a/", None),
            ("//", None),
            ("/a//b", None),
            ("/a/../b", None),
            ("/%2e%2e", None),
            ("/a;b", None),
            ("/a:b", None),
            ("/a\\b", None),
            ("/a%2Fb", None),
            ("/a%5Cb", None),
            ("/a%00", None),
            ("/a%0a", None),
            ("/a%7F", None),
            ("/a%25", None),
            ("/a%3B", None),
            ("/a%FF", None),
            ("/a%C0%AFb", None),
            ("/a%zz", None),
            ("/a%2", None),
        ] {
            let decoded = decoded_if_plain(path.as_bytes(), &mut buffer);
            assert_eq!(decoded.as_deref(), want.map(str::as_bytes), "{path}");
        }
    }
}
