//! The base path as a boundary: which request targets lead out of it.
//!
//! Servers read a path in different ways: some decode `%2e`, `%2f` and `%5c` before they resolve
//! dot segments, some decode twice, some take `\` for `/`, drop `;parameters`, merge `//`, or skip
//! control characters. An origin behind a base path may read it in any of these ways, so a target
//! stays inside only if it does in all of them.
//!
//! **Always:** the depth below the base path is never smaller in any server's reading than it is
//! counted here.

use percent_encoding::percent_decode_str;

/// How often a path is decoded: as often as servers in a row may do it.
const DECODINGS_MAX: usize = 4;

/// Tells whether a path, with or without a query, leads out of the base path that it is put behind.
pub(super) fn leads_out(path_and_query: &str) -> bool {
    let path = path_and_query.split(['?', '#']).next().unwrap_or_default();
    // Most paths have nothing that could be a dot segment.
    if !path.bytes().any(|byte| matches!(byte, b'.' | b'%' | b'\\') || !byte.is_ascii()) {
        return false;
    }
    let mut depth = 0_i64;
    for segment in path.split('/') {
        let decoded = decoded(segment);
        let (least, whole) = parts(&decoded);
        // A server that resolves what is between encoded slashes goes this way, and all others see
        // one segment.
        if depth + least < 0 {
            return true;
        }
        depth += whole.min(i64::from(!is_nothing(&decoded)));
        if depth < 0 {
            return true;
        }
    }
    false
}

/// How far the parts of a segment, between slashes that were encoded, lead: at the least on the
/// way, and in the end.
fn parts(segment: &[u8]) -> (i64, i64) {
    segment.split(|byte| matches!(byte, b'/' | b'\\')).fold((0, 0), |(least, depth), part| {
        let part = meant(part);
        let depth = match &part[..] {
            b"" | b"." => depth,
            b".." => depth - 1,
            _ => depth + 1,
        };
        (depth.min(least), depth)
    })
}

/// Tells whether a segment may be no step at all.
fn is_nothing(segment: &[u8]) -> bool {
    matches!(&meant(segment)[..], b"" | b".")
}

/// A segment without what servers skip: a parameter, what follows a NUL or an encoded `?` or `#`,
/// control characters and white space.
fn meant(part: &[u8]) -> Vec<u8> {
    let end = part.iter().position(|byte| matches!(byte, b';' | b'?' | b'#' | 0)).unwrap_or(part.len());
    let part = part.get(..end).unwrap_or_default();
    part.iter().copied().filter(|byte| !byte.is_ascii_control() && *byte != b' ').collect()
}

/// Other spellings of `.`, `/` and `\`: in more bytes than UTF-8 allows, and in full width.
const SPELLINGS: [(&[u8], u8); 9] = [
    (b"\xc0\xae", b'.'),
    (b"\xc0\xaf", b'/'),
    (b"\xc1\x9c", b'\\'),
    (b"\xe0\x80\xae", b'.'),
    (b"\xe0\x80\xaf", b'/'),
    (b"\xe0\x81\x9c", b'\\'),
    (b"\xef\xbc\x8e", b'.'),
    (b"\xef\xbc\x8f", b'/'),
    (b"\xef\xbc\xbc", b'\\'),
];

/// A segment decoded as often as it changes, at most [`DECODINGS_MAX`] times.
fn decoded(segment: &str) -> Vec<u8> {
    let mut bytes = plain(segment.as_bytes());
    for _ in 0..DECODINGS_MAX {
        // `%u002e` is how some servers write what they decode to one character.
        let text = String::from_utf8_lossy(&bytes).replace("%u00", "%").replace("%U00", "%");
        if !bytes.contains(&b'%') {
            break;
        }
        bytes = plain(&percent_decode_str(&text).collect::<Vec<u8>>());
    }
    bytes
}

/// The same with one spelling for each of the characters that matter.
fn plain(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, behind)) = rest.split_first() {
        match SPELLINGS.iter().find(|(spelling, _)| rest.starts_with(spelling)) {
            Some((spelling, byte)) => {
                plain.push(*byte);
                rest = rest.get(spelling.len()..).unwrap_or_default();
            }
            None => {
                plain.push(*first);
                rest = behind;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_leads_out() {
        for path in [
            "/..",
            "/../",
            "/../admin",
            "/../public/a",
            "/./../admin",
            "//../admin",
            "/a/../../admin",
            "/a/b/../../../admin",
            "/a//../../admin",
            "/%2e%2e/admin",
            "/%2E%2e/admin",
            "/.%2e/admin",
            "/%2e./admin",
            "/%252e%252e/admin",
            "/%25252e./admin",
            "/..%2fadmin",
            "/..%2Fadmin",
            "/%2e%2e%2fadmin",
            "/a%2f..%2f..%2fadmin",
            "/a%2fb/../../admin",
            "/a/..%2f..%2fadmin",
            "/..%5cadmin",
            "/..\\admin",
            "/\\../admin",
            "/a\\..\\..\\admin",
            "/..;/admin",
            "/..;a=b/admin",
            "/%2e%2e;a/admin",
            "/..%3b/admin",
            "/;a/../admin",
            "/a;/../../admin",
            "/..%00/admin",
            "/..%00x/admin",
            "/.%09./admin",
            "/..%0d%0a/admin",
            "/..%20/admin",
            "/..%3fx/admin",
            "/..%23/admin",
            "/%c0%ae%c0%ae/admin",
            "/%c0%ae%c0%ae%c0%afadmin",
            "/%e0%80%ae%e0%80%ae/admin",
            "/%u002e%u002e/admin",
            "/%ef%bc%8e%ef%bc%8e/admin",
            "/..?a",
            "/../admin?a=/b/c",
        ] {
            assert!(leads_out(path), "{path}");
        }
    }

    #[test]
    fn what_stays() {
        for path in [
            "/",
            "/a",
            "/a/b.json",
            "/.well-known/a",
            "/...",
            "/..a/b",
            "/a..",
            "/a/..",
            "/a/../b",
            "/a/./b/../c",
            "/a/b/../../c",
            "/a/%2e%2e/b",
            "/a%2fb/c",
            "/a%2fb/../c",
            "/%2fa",
            "/a%20b/%C3%BC",
            "/100%/a",
            "/a;v=1/b",
            "/a?b=../../c",
            "/a?../..",
            "/a%2e%2eb",
            "*",
        ] {
            assert!(!leads_out(path), "{path}");
        }
    }

    /// One way of reading a path, as a server may have it.
    fn resolved_below_root(path: &str, slashes: bool, merge: bool) -> bool {
        let decoded = String::from_utf8_lossy(&decoded(path)).into_owned();
        let path = if slashes { decoded.replace('\\', "/") } else { path.to_owned() };
        let mut depth = 0_i64;
        for segment in path.split('/').skip(1) {
            let segment = segment.split(';').next().unwrap_or_default();
            depth += match segment {
                "." => 0,
                "" if merge => 0,
                ".." | "%2e%2e" | ".%2e" | "%2E." => -1,
                _ => 1,
            };
            if depth < 0 {
                return false;
            }
        }
        true
    }

    proptest! {
        #[test]
        fn what_stays_inside_does_so_in_every_reading(
            path in r"(/|\.|\.\.|a|%2e|%2E|%2f|%5c|\\|;x|%252e|//){0,12}",
        ) {
            let path = format!("/{path}");
            if !leads_out(&path) {
                for (slashes, merge) in [(false, false), (false, true), (true, false), (true, true)] {
                    prop_assert!(resolved_below_root(&path, slashes, merge), "{path} {slashes} {merge}");
                }
            }
        }
    }
}
