//! The normal form of a path: one text for all spellings that an origin may take for one resource.
//!
//! An origin may decode a path more than once, take `\` for `/`, merge `//`, resolve dot segments,
//! drop `;parameters`, end the path at a decoded delimiter, and ignore letter case. The normal form
//! takes every step. Two resources of an origin that takes fewer may have one form.
//!
//! **Always:** the cost is linear in the length of the path, and a path in normal form costs one
//! pass and no allocation.

use std::borrow::Cow;

/// Returns the normal form of a path. It ends with a slash if the path names a collection.
pub(super) fn normal_path(path: &[u8]) -> Cow<'_, [u8]> {
    if is_normal(path) {
        return Cow::Borrowed(path);
    }
    Cow::Owned(with_plain_segments(&decoded(path)))
}

fn is_normal(path: &[u8]) -> bool {
    let is_plain = |byte: &u8| {
        !byte.is_ascii_uppercase() && !is_delimiter(*byte) && !matches!(byte, b'%' | b'\\' | b';')
    };
    path.first() == Some(&b'/')
        && path.iter().all(is_plain)
        && path.array_windows().all(|pair| !matches!(pair, b"//" | b"/."))
}

/// Returns whether a decoded byte may end a path.
const fn is_delimiter(byte: u8) -> bool {
    byte.is_ascii_control() || matches!(byte, b'?' | b'#')
}

/// Decodes until no `%XX` is left, up to the first delimiter, in lower case.
fn decoded(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    for byte in path {
        decoded.push(byte.to_ascii_lowercase());
        while let [.., b'%', high, low] = *decoded
            && let Some(byte) = encoded(high, low)
        {
            decoded.truncate(decoded.len().saturating_sub(3));
            decoded.push(if byte == b'\\' { b'/' } else { byte.to_ascii_lowercase() });
        }
        if decoded.last().copied().is_some_and(is_delimiter) {
            decoded.pop();
            break;
        }
        if let Some(last) = decoded.last_mut()
            && *last == b'\\'
        {
            *last = b'/';
        }
    }
    decoded
}

fn encoded(high: u8, low: u8) -> Option<u8> {
    let [high, low] = [high, low].map(|digit| char::from(digit).to_digit(16));
    u8::try_from(high? << 4 | low?).ok()
}

/// Drops parameters and empty segments, and resolves dot segments.
fn with_plain_segments(path: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut is_collection = false;
    for segment in path.split(|byte| *byte == b'/') {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        is_collection = matches!(name, b"" | b"." | b"..");
        match name {
            b"" | b"." => {}
            b".." => drop(kept.pop()),
            name => kept.push(name),
        }
    }
    let mut plain = Vec::with_capacity(path.len() + 1);
    for name in kept {
        plain.push(b'/');
        plain.extend_from_slice(name);
    }
    if is_collection {
        plain.push(b'/');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_path_have_one_form() {
        for path in [
            "/v1/bad",
            "/v1/bad;p=1",
            "/v1;a/bad;b;c",
            "/v1/%62ad",
            "/v1/%62%41%64",
            "/v1/%2562ad",
            "/v1/%25252562ad",
            "/V1/Bad",
            "//v1///bad",
            "/./v1/./bad",
            "/x/../v1/bad",
            "/v1%2fbad",
            "/v1%5cbad",
            "/v1\\bad",
            "/v1/bad%3fa",
            "/v1/bad%23a",
            "/v1/bad%00",
            "/%2e%2e/v1/bad",
            "/v1/bad%3bp=1",
            "/../v1/x/%2E./bad",
            "/v1/;x/bad",
        ] {
            assert_eq!(String::from_utf8_lossy(&normal_path(path.as_bytes())), "/v1/bad", "{path}");
        }
        for (path, form) in [
            ("/", "/"),
            ("", "/"),
            ("//", "/"),
            ("/;p", "/"),
            ("/v1/", "/v1/"),
            ("/v1/bad/..", "/v1/"),
            ("/v1/%", "/v1/%"),
            ("/v1/%4", "/v1/%4"),
            ("/v1/%zz", "/v1/%zz"),
            ("*", "/*"),
        ] {
            assert_eq!(String::from_utf8_lossy(&normal_path(path.as_bytes())), form, "{path}");
        }
    }

    #[test]
    fn the_normal_form_of_a_normal_form_is_itself() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let pieces = ["/", "%", "2", "5", "f", "c", ".", ";", "\\", "A", "a", "?", "3"];
            let length = random.usize(..12);
            let path: String = (0..length).filter_map(|_| random.choice(pieces)).collect();
            let form = normal_path(path.as_bytes());
            assert_eq!(normal_path(&form), form, "{path}");
        }
    }

    #[test]
    fn a_path_in_normal_form_costs_no_allocation() {
        for path in ["/", "/v1/accounts/17", "/v1/accounts/", "/a-b_c~d,e:f@g"] {
            let form = normal_path(path.as_bytes());
            assert!(matches!(form, Cow::Borrowed(form) if form == path.as_bytes()), "{path}");
        }
    }
}
