//! Base path as a boundary: finds request targets that leave it.
//!
//! Servers parse paths differently: some decode `%2e`, `%2f` and `%5c` before they resolve dot
//! segments, some decode twice, some treat `\` as `/`, drop `;parameters`, merge `//`, or skip
//! control characters. An origin behind a base path may parse in any of these ways, so a target is
//! inside only if all of them keep it inside.
//!
//! **Always:** no server's parsing leads to a smaller depth below the base path than the depth
//! counted here.

use percent_encoding::percent_decode_str;

/// Maximum number of times a path is decoded, for several decoding servers in a row.
const DECODINGS_MAX: usize = 4;

/// Returns whether a path, with or without a query, leaves the base path that precedes it.
pub(super) fn leaves_base(path_and_query: &str) -> bool {
    let path = path_and_query.split(['?', '#']).next().unwrap_or_default();
    // Most paths contain no byte of a dot segment.
    if !path.bytes().any(|byte| matches!(byte, b'.' | b'%' | b'\\') || !byte.is_ascii()) {
        return false;
    }
    let mut depth = 0_i64;
    for segment in path.split('/') {
        let decoded = decoded(segment);
        let (least, end) = segment_depth(&decoded);
        // A server that decodes slashes resolves the parts; every other server sees one segment.
        if depth + least < 0 {
            return true;
        }
        depth += end.min(i64::from(!is_empty_step(&decoded)));
        if depth < 0 {
            return true;
        }
    }
    false
}

/// Returns the depth change of a segment whose slashes were encoded: its minimum on the way, and
/// its end.
fn segment_depth(segment: &[u8]) -> (i64, i64) {
    segment.split(|byte| matches!(byte, b'/' | b'\\')).fold((0, 0), |(least, depth), part| {
        let part = strip_ignored(part);
        let depth = match &part[..] {
            b"" | b"." => depth,
            b".." => depth - 1,
            _ => depth + 1,
        };
        (depth.min(least), depth)
    })
}

/// Returns whether a server may treat a segment as no step.
fn is_empty_step(segment: &[u8]) -> bool {
    matches!(&strip_ignored(segment)[..], b"" | b".")
}

/// Removes the bytes that servers ignore: a parameter, anything after a NUL or an encoded `?` or
/// `#`, control characters and white space.
fn strip_ignored(part: &[u8]) -> Vec<u8> {
    let end = part.iter().position(|byte| matches!(byte, b';' | b'?' | b'#' | 0)).unwrap_or(part.len());
    let part = part.get(..end).unwrap_or_default();
    part.iter().copied().filter(|byte| !byte.is_ascii_control() && *byte != b' ').collect()
}

/// Other encodings of `.`, `/` and `\`: overlong UTF-8, and full width.
const ENCODINGS: [(&[u8], u8); 9] = [
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

/// Decodes a segment until it no longer changes, at most [`DECODINGS_MAX`] times.
fn decoded(segment: &str) -> Vec<u8> {
    let mut bytes = normalized(segment.as_bytes());
    for _ in 0..DECODINGS_MAX {
        // Some servers decode `%u002e` to one character.
        let text = String::from_utf8_lossy(&bytes).replace("%u00", "%").replace("%U00", "%");
        if !bytes.contains(&b'%') {
            break;
        }
        bytes = normalized(&percent_decode_str(&text).collect::<Vec<u8>>());
    }
    bytes
}

/// Replaces each of [`ENCODINGS`] with its ASCII byte.
fn normalized(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        match ENCODINGS.iter().find(|(encoding, _)| rest.starts_with(encoding)) {
            Some((encoding, byte)) => {
                plain.push(*byte);
                rest = rest.get(encoding.len()..).unwrap_or_default();
            }
            None => {
                plain.push(*first);
                rest = tail;
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
    fn paths_that_leave_the_base() {
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
            assert!(leaves_base(path), "{path}");
        }
    }

    #[test]
    fn paths_that_stay_inside() {
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
            assert!(!leaves_base(path), "{path}");
        }
    }

    /// Resolves a path as one kind of server does.
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
        fn an_inner_path_stays_inside_for_every_server(
            path in r"(/|\.|\.\.|a|%2e|%2E|%2f|%5c|\\|;x|%252e|//){0,12}",
        ) {
            let path = format!("/{path}");
            if !leaves_base(&path) {
                for (slashes, merge) in [(false, false), (false, true), (true, false), (true, true)] {
                    prop_assert!(resolved_below_root(&path, slashes, merge), "{path} {slashes} {merge}");
                }
            }
        }
    }
}
