//! A path and its segments, found in one pass.

use crate::limits::ROUTE_SEGMENTS_MAX;

use crate::routes::bytes::is_unreserved;

/// The most segments whose beginnings are noted: those of a pattern, and one behind.
const STARTS: usize = ROUTE_SEGMENTS_MAX + 1;

/// The bytes that are compared with `/` at once.
const WORD: usize = size_of::<u64>();
/// A `/` in each byte.
const SLASHES: u64 = 0x2f2f_2f2f_2f2f_2f2f;
/// All bits but the highest of each byte.
const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// A path that begins with `/`, and its segments.
pub(super) struct SplitPath<'p> {
    path: &'p [u8],
    /// The index of the first byte of each segment.
    starts: [u32; STARTS],
    /// The number of segments, also of those beyond the array.
    count: usize,
}

impl<'p> SplitPath<'p> {
    /// Splits a path. A path without `/` at its beginning has no segments.
    pub(super) fn of(path: &'p [u8]) -> Self {
        let mut split = Self { path, starts: [0; STARTS], count: 0 };
        if path.first() != Some(&b'/') {
            return split;
        }
        let mut at = 0_u32;
        let (words, rest) = path.as_chunks::<WORD>();
        for word in words {
            let other = u64::from_le_bytes(*word) ^ SLASHES;
            // The highest bit of each byte that is zero.
            let mut found = !(((other & LOW_BITS) + LOW_BITS) | other | LOW_BITS);
            while found != 0 {
                split.push(at + found.trailing_zeros() / 8 + 1);
                found &= found - 1;
            }
            at += 8;
        }
        for &byte in rest {
            at += 1;
            if byte == b'/' {
                split.push(at);
            }
        }
        split
    }

    fn push(&mut self, start: u32) {
        if let Some(slot) = self.starts.get_mut(self.count) {
            *slot = start;
        }
        self.count += 1;
    }

    /// Returns the number of segments.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Returns whether the path consists of unreserved bytes, and has no empty or dot segment but
    /// an empty last one.
    pub(super) fn is_unreserved(&self) -> bool {
        let Some((b'/', segments)) = self.path.split_first() else { return false };
        let segments = segments.strip_suffix(b"/").unwrap_or(segments);
        self.path == b"/" || segments.split(|byte| *byte == b'/').all(is_plain_segment)
    }

    /// Returns whether the path ends with an empty segment. The path `/` does not.
    pub(super) fn ends_with_slash(&self) -> bool {
        self.count > 1 && self.path.last() == Some(&b'/')
    }

    /// Returns a segment. Those beyond the longest pattern are not found.
    #[inline]
    pub(super) fn segment(&self, at: usize) -> Option<&'p [u8]> {
        let start = self.start(at)?;
        let end = if at + 1 == self.count { self.path.len() } else { self.start(at + 1)?.checked_sub(1)? };
        self.path.get(start..end)
    }

    /// Returns the path from a segment on.
    pub(super) fn remainder(&self, at: usize) -> Option<&'p [u8]> {
        self.path.get(self.start(at)?..)
    }

    fn start(&self, at: usize) -> Option<usize> {
        if at >= self.count {
            return None;
        }
        usize::try_from(*self.starts.get(at)?).ok()
    }
}

/// Returns whether a segment consists of unreserved bytes, and is neither empty nor a dot segment.
pub(super) fn is_plain_segment(segment: &[u8]) -> bool {
    !matches!(segment, b"" | b"." | b"..") && segment.iter().all(|byte| is_unreserved(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_segments() {
        for (path, want, is_unreserved, slash) in [
            ("/", &[""][..], true, false),
            ("/a", &["a"], true, false),
            ("/a/", &["a", ""], true, true),
            ("/a/b-c/D.e~_", &["a", "b-c", "D.e~_"], true, false),
            ("/a//b", &["a", "", "b"], false, false),
            ("//", &["", ""], false, true),
            ("/a/./b", &["a", ".", "b"], false, false),
            ("/a/..", &["a", ".."], false, false),
            ("/a/...", &["a", "..."], true, false),
            ("/a;x", &["a;x"], false, false),
            ("/a%20", &["a%20"], false, false),
            ("", &[], false, false),
            ("*", &[], false, false),
        ] {
            let split = SplitPath::of(path.as_bytes());
            let segments: Vec<_> = (0..split.count()).map(|at| split.segment(at).unwrap()).collect();
            let want: Vec<_> = want.iter().map(|text| text.as_bytes()).collect();
            assert_eq!(
                (segments, split.is_unreserved(), split.ends_with_slash()),
                (want, is_unreserved, slash),
                "{path}"
            );
        }
        let split = SplitPath::of(b"/a/b/c");
        assert_eq!((split.remainder(1), split.remainder(3)), (Some(&b"b/c"[..]), None));
    }

    #[test]
    fn segments_beyond_the_longest_pattern_are_counted_only() {
        let path = "/a".repeat(ROUTE_SEGMENTS_MAX + 5);
        let split = SplitPath::of(path.as_bytes());
        assert_eq!(split.count(), ROUTE_SEGMENTS_MAX + 5);
        assert_eq!(split.segment(ROUTE_SEGMENTS_MAX - 1), Some(&b"a"[..]));
        assert_eq!(split.segment(ROUTE_SEGMENTS_MAX + 1), None);
    }
}
