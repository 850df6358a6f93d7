//! Base path as a boundary: finds request targets that leave it.
//!
//! Servers parse paths differently: some decode `%2e`, `%2f` and `%5c` before they resolve dot
//! segments, some decode twice, some treat `\` as `/`, drop `;parameters`, merge `//`, or skip
//! control characters. An origin behind a base path may parse in any of these ways, so a target is
//! inside only if all of them keep it inside.
//!
//! **Always:** no server's parsing leads to a smaller depth below the base path than the depth
//! counted here.

use percent_encoding::percent_decode;

/// Maximum number of times a segment is decoded. A segment that still changes then counts as
/// leaving the base path.
const DECODINGS_MAX: usize = 8;

/// Returns whether a path, with or without a query, leaves the base path that precedes it.
pub(super) fn leaves_base(path_and_query: &str) -> bool {
    let path = path_and_query.split(['?', '#']).next().unwrap_or_default();
    // Most paths contain no byte of a dot segment.
    if !path.bytes().any(|byte| matches!(byte, b'.' | b'%' | b'\\') || !byte.is_ascii()) {
        return false;
    }
    let mut depth = 0_i64;
    for segment in path.split('/') {
        let Some(decoded) = decoded(segment) else { return true };
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
        let depth = match readings(part).map(|reading| step(&reading)).into_iter().min() {
            Some(step) => depth + step,
            None => depth,
        };
        (depth.min(least), depth)
    })
}

/// Returns whether a server may treat a segment as no step.
fn is_empty_step(segment: &[u8]) -> bool {
    readings(segment).iter().any(|reading| step(reading) == 0)
}

/// Returns the depth change of one part.
fn step(part: &[u8]) -> i64 {
    match part {
        b"" | b"." => 0,
        b".." => -1,
        _ => 1,
    }
}

/// Returns a part without the bytes that servers ignore: a parameter, anything after an encoded `?`
/// or `#`, control characters and white space. Some servers also end a part at a NUL, the others
/// skip it.
fn readings(part: &[u8]) -> [Vec<u8>; 2] {
    let end = part.iter().position(|byte| matches!(byte, b';' | b'?' | b'#')).unwrap_or(part.len());
    let part = part.get(..end).unwrap_or_default();
    let until_nul = part.split(|byte| *byte == 0).next().unwrap_or_default();
    let visible = |part: &[u8]| -> Vec<u8> {
        part.iter().copied().filter(|byte| !byte.is_ascii_control() && *byte != b' ').collect()
    };
    [visible(until_nul), visible(part)]
}

/// Other encodings of `.`, `/` and `\`: overlong and broken UTF-8, full width, and look-alikes that
/// some servers fold.
const ENCODINGS: [(&[u8], u8); 24] = [
    (b"\xc0\xae", b'.'),
    (b"\xc0\xaf", b'/'),
    (b"\xc1\x9c", b'\\'),
    (b"\xc0\x2e", b'.'),
    (b"\xc0\x2f", b'/'),
    (b"\xc0\x5c", b'\\'),
    (b"\xe0\x80\xae", b'.'),
    (b"\xe0\x80\xaf", b'/'),
    (b"\xe0\x81\x9c", b'\\'),
    (b"\xf0\x80\x80\xae", b'.'),
    (b"\xf0\x80\x80\xaf", b'/'),
    (b"\xf0\x80\x81\x9c", b'\\'),
    (b"\xf8\x80\x80\x80\xae", b'.'),
    (b"\xf8\x80\x80\x80\xaf", b'/'),
    (b"\xf8\x80\x80\x81\x9c", b'\\'),
    (b"\xfc\x80\x80\x80\x80\xae", b'.'),
    (b"\xfc\x80\x80\x80\x80\xaf", b'/'),
    (b"\xfc\x80\x80\x80\x81\x9c", b'\\'),
    // U+FF0E, U+FF0F, U+FF3C, U+2215, U+2216, U+2044.
    (b"\xef\xbc\x8e", b'.'),
    (b"\xef\xbc\x8f", b'/'),
    (b"\xef\xbc\xbc", b'\\'),
    (b"\xe2\x88\x95", b'/'),
    (b"\xe2\x88\x96", b'\\'),
    (b"\xe2\x81\x84", b'/'),
];

/// Decodes a segment until it no longer changes; `None` if it still changes after
/// [`DECODINGS_MAX`] times.
fn decoded(segment: &str) -> Option<Vec<u8>> {
    let mut bytes = normalized(segment.as_bytes());
    for _ in 0..DECODINGS_MAX {
        if !bytes.contains(&b'%') {
            return Some(bytes);
        }
        let once = normalized(&percent_decode(&decode_units(&bytes)).collect::<Vec<u8>>());
        if once == bytes {
            return Some(bytes);
        }
        bytes = once;
    }
    None
}

/// Decodes `%u` with four hexadecimal digits, as some servers do, to UTF-8.
fn decode_units(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        match unit(rest) {
            Some(character) => {
                plain.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = rest.get(6..).unwrap_or_default();
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}

fn unit(bytes: &[u8]) -> Option<char> {
    let [b'%', b'u' | b'U', digits @ ..] = bytes else { return None };
    let digits = std::str::from_utf8(digits.get(..4)?).ok()?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}

/// Replaces each of [`ENCODINGS`] with its ASCII byte.
fn normalized(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        // No encoding begins with an ASCII byte, and most paths have no other.
        let encodings = if first.is_ascii() { &[][..] } else { &ENCODINGS };
        match encodings.iter().find(|(encoding, _)| rest.starts_with(encoding)) {
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
            "/%f0%80%80%ae%f0%80%80%ae/admin",
            "/..%f8%80%80%80%afadmin",
            "/%fc%80%80%80%80%ae%fc%80%80%80%80%ae/admin",
            "/%c0%2e%c0%2e/admin",
            "/..%c0%2fadmin",
            "/%252525252e%252525252e/admin",
            "/%25252525252525252525252525252e./admin",
            "/%uff0e%uff0e/admin",
            "/..%uff0fadmin",
            "/..%U005cadmin",
            "/..%u2215admin",
            "/..%e2%88%95admin",
            "/.%00./admin",
            "/%00../admin",
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
        let decoded = decoded(path).expect("a path of the test settles");
        let decoded = String::from_utf8_lossy(&decoded).into_owned();
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
