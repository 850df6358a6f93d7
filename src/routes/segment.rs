//! The bytes of one segment as words, so that two segments are compared by a few instructions.

/// The bytes that are read at once.
const WORD: usize = size_of::<u64>();
/// The segments whose words are all of their bytes have at most this length.
const WHOLE: usize = 2 * WORD;
/// A `/` in each byte.
const SLASHES: u64 = 0x2f2f_2f2f_2f2f_2f2f;
/// The lowest bit of each byte.
const LOWEST: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte.
const HIGHEST: u64 = 0x8080_8080_8080_8080;
/// A plain byte in each byte.
const PADDING: u64 = 0x6161_6161_6161_6161;
/// The bit that tells the cases of a letter apart, in each byte.
const CASE: u64 = 0x2020_2020_2020_2020;

/// The first and the last eight bytes of a segment. A shorter segment has zeros behind it, and no
/// last bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SegmentWords {
    head: u64,
    tail: u64,
    length: usize,
}

impl SegmentWords {
    /// Returns the words of a segment.
    pub(super) fn of(segment: &[u8]) -> Self {
        let (head, tail) = match (segment.first_chunk(), segment.last_chunk()) {
            (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
            _ => (short_word(segment), 0),
        };
        Self { head, tail, length: segment.len() }
    }

    /// Returns the words of the first segment of a path without its first `/`.
    #[inline(always)]
    pub(super) fn first(path: &[u8]) -> Self {
        let Some(first) = path.first_chunk() else {
            let word = short_word(path);
            let length = slash_in(word).unwrap_or(path.len());
            return Self { head: word & !(u64::MAX << (8 * length)), tail: 0, length };
        };
        let head = u64::from_le_bytes(*first);
        match slash_in(head) {
            Some(length) => Self { head: head & !(u64::MAX << (8 * length)), tail: 0, length },
            None => Self::of_long(path, head),
        }
    }

    /// Returns the words of the first segment of a path, which has at least eight bytes.
    fn of_long(path: &[u8], head: u64) -> Self {
        let mut length = WORD;
        while let Some(rest) = path.get(length..) {
            let (word, read) = match rest.first_chunk() {
                Some(bytes) => (u64::from_le_bytes(*bytes), WORD),
                None => (short_word(rest), rest.len()),
            };
            if let Some(behind) = slash_in(word) {
                length += behind;
                break;
            }
            length += read;
            if read < WORD {
                break;
            }
        }
        let tail = path
            .get(length - WORD..)
            .and_then(<[u8]>::first_chunk)
            .map_or(0, |tail| u64::from_le_bytes(*tail));
        Self { head, tail, length }
    }

    /// Returns a number that is equal for equal segments of any letter case, and rarely for others.
    #[inline]
    pub(super) const fn key(self) -> u64 {
        (self.head | CASE) ^ (self.tail | CASE).rotate_left(29) ^ (self.length as u64).rotate_left(58)
    }

    /// Returns the length of the segment.
    #[inline]
    pub(super) const fn length(self) -> usize {
        self.length
    }

    /// Returns whether the words are all bytes of the segment.
    #[inline]
    pub(super) const fn are_whole(self) -> bool {
        self.length <= WHOLE
    }

    /// Returns whether a whole segment consists of unreserved bytes.
    #[inline]
    pub(super) const fn are_plain(self) -> bool {
        is_plain_word(padded(self.head, self.length)) && (self.length <= WORD || is_plain_word(self.tail))
    }

    /// Returns whether the segment is empty, `.` or `..`.
    #[inline]
    pub(super) const fn is_odd(self) -> bool {
        const DOTS: u64 = 0x2e2e;
        self.length <= 2 && self.head == DOTS >> (8 * (2 - self.length))
    }
}

/// Returns fewer than eight bytes as a word.
#[inline]
fn short_word(bytes: &[u8]) -> u64 {
    let half = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
    match (bytes.first_chunk(), bytes.last_chunk(), bytes) {
        (Some(first), Some(last), _) => half(first) | half(last) << (8 * (bytes.len() % WORD - 4)),
        (_, _, [one]) => u64::from(*one),
        (_, _, [one, two]) => u64::from(*one) | u64::from(*two) << 8,
        (_, _, [one, two, three]) => u64::from(*one) | u64::from(*two) << 8 | u64::from(*three) << 16,
        _ => 0,
    }
}

/// Returns the index of the first `/` in a word.
#[inline]
fn slash_in(word: u64) -> Option<usize> {
    let other = word ^ SLASHES;
    // The highest bit of the first byte that is zero, and perhaps of bytes behind it.
    let found = other.wrapping_sub(LOWEST) & !other & HIGHEST;
    (found != 0).then(|| found.trailing_zeros() as usize / 8)
}

/// Returns whether a path, or a part of one, consists of unreserved bytes and `/`.
pub(super) fn is_plain_text(path: &[u8]) -> bool {
    let (chunks, rest) = path.as_chunks();
    let are_chunks_plain = chunks.iter().all(is_plain_chunk);
    are_chunks_plain
        && match (path.last_chunk(), path.first_chunk(), path.last_chunk()) {
            // The last bytes of a longer path are compared again with those in front of them.
            (Some(last), _, _) => rest.is_empty() || is_plain_chunk(last),
            (None, Some(first), Some(last)) => {
                is_plain_word(u64::from_le_bytes(*first)) && is_plain_word(u64::from_le_bytes(*last))
            }
            _ => is_plain_word(padded(short_word(path), path.len())),
        }
}

/// Returns whether each byte is unreserved or `/`. The loop has a fixed length and no branch, so
/// the compiler makes vectors of it.
fn is_plain_chunk(bytes: &[u8; WHOLE]) -> bool {
    let odd = bytes.iter().fold(0, |odd, &byte| {
        let is_plain = ((byte | 0x20).wrapping_sub(b'a') < 26)
            | (byte.wrapping_sub(b'-') < 13)
            | (byte == b'_')
            | (byte == b'~');
        odd | u8::from(!is_plain)
    });
    odd == 0
}

/// Returns a word with plain bytes behind its first ones.
#[inline]
const fn padded(word: u64, length: usize) -> u64 {
    if length < WORD { word | PADDING << (8 * length) } else { word }
}

/// Returns whether each byte of a word is unreserved or `/`.
#[inline]
const fn is_plain_word(word: u64) -> bool {
    /// Returns a word with this byte in each place.
    const fn each(byte: u8) -> u64 {
        LOWEST * byte as u64
    }
    // The highest bit of each byte below 128 that lies between two others. No sum has a carry.
    const fn between(word: u64, first: u8, last: u8) -> u64 {
        (word + each(128 - first)) & !(word + each(127 - last))
    }
    // The highest bit of each byte below 128 that equals another. No difference has a borrow.
    const fn equal(word: u64, byte: u8) -> u64 {
        HIGHEST - (word ^ each(byte))
    }
    if word & HIGHEST != 0 {
        return false;
    }
    let letters = between(word | CASE, b'a', b'z');
    // The range has `-`, `.`, `/` and the digits.
    let others = between(word, b'-', b'9') | equal(word, b'_') | equal(word, b'~');
    (letters | others) & HIGHEST == HIGHEST
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::routes::bytes::is_unreserved;

    #[test]
    fn equal_segments_of_any_letter_case_have_one_key() {
        let key = |text: &str| SegmentWords::of(text.as_bytes()).key();
        for (one, other) in [("", ""), ("v1", "V1"), ("Accounts", "aCCOUNTS"), ("accounts-35", "ACCOUNTS-35")]
        {
            assert_eq!(key(one), key(other), "{one}");
        }
        for (one, other) in [("", "a"), ("v1", "v2"), ("a", "aa"), ("accounts-35", "accounts-36")] {
            assert_ne!(key(one), key(other), "{one}");
        }
    }

    #[test]
    fn empty_and_dot_segments_are_odd() {
        for (segment, is_odd) in [
            ("", true),
            (".", true),
            ("..", true),
            ("...", false),
            ("a", false),
            (".a", false),
            ("a.", false),
            ("\0", false),
            (".\0", false),
        ] {
            assert_eq!(SegmentWords::of(segment.as_bytes()).is_odd(), is_odd, "{segment:?}");
        }
    }

    #[test]
    fn a_byte_that_is_not_plain_is_found_at_every_index() {
        for length in 0..70 {
            let mut path = vec![b'/'; length];
            assert!(is_plain_text(&path));
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    path[at] = byte;
                    let is_plain = is_unreserved(byte) || byte == b'/';
                    assert_eq!(is_plain_text(&path), is_plain, "{byte} at {at} of {length}");
                    let words = SegmentWords::of(&path);
                    assert!(
                        words.are_plain() == is_plain || !words.are_whole(),
                        "{byte} at {at} of {length}"
                    );
                }
                path[at] = b'a';
            }
        }
    }

    proptest! {
        #[test]
        fn a_segment_in_a_path_has_the_words_of_the_segment(
            segments in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..6),
        ) {
            let segments: Vec<Vec<u8>> = segments
                .into_iter()
                .map(|segment| segment.into_iter().filter(|byte| *byte != b'/').collect())
                .collect();
            let path = segments.join(&b'/');
            let mut rest = path.as_slice();
            for segment in segments {
                let words = SegmentWords::first(rest);
                prop_assert_eq!(words, SegmentWords::of(&segment));
                rest = rest.get(words.length() + 1..).unwrap_or_default();
            }
        }
    }
}
