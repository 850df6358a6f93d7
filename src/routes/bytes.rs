//! Bytes of paths: their classes, their decoding, and the normal form of a segment.

use std::borrow::Cow;

/// Returns whether a byte has one meaning in every path (RFC 3986 §2.3).
pub(super) const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Returns whether a percent-encoded byte has one meaning: it is neither reserved (RFC 3986 §2.2),
/// nor a control, nor a backslash, nor a percent sign, which a second decoding would read again.
pub(super) const fn is_plain_when_encoded(byte: u8) -> bool {
    let is_reserved = matches!(
        byte,
        b':' | b'/'
            | b'?'
            | b'#'
            | b'['
            | b']'
            | b'@'
            | b'!'
            | b'$'
            | b'&'
            | b'\''
            | b'('
            | b')'
            | b'*'
            | b'+'
            | b','
            | b';'
            | b'='
    );
    !is_reserved && !byte.is_ascii_control() && byte != b'\\' && byte != b'%'
}

/// Returns the byte that `%XX` at the beginning of a text encodes.
pub(super) fn encoded(text: &[u8]) -> Option<u8> {
    match text {
        [b'%', high, low, ..] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// The bytes of a text with each `%XX` decoded once; a malformed one stays as it is.
pub(super) fn decoded(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (byte, taken) = match encoded(rest) {
            Some(byte) => (byte, 3),
            None => (*rest.first()?, 1),
        };
        rest = rest.get(taken..).unwrap_or_default();
        Some(byte)
    })
}

/// Returns a text with each `%XX` decoded once.
pub(super) fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if text.contains(&b'%') { Cow::Owned(decoded(text).collect()) } else { Cow::Borrowed(text) }
}

/// Returns the normal form of a segment or a remainder: decoded once, then encoded again. Two
/// spellings that some origin decodes to one value have one normal form.
pub(super) fn normal_form(text: &[u8]) -> Cow<'_, str> {
    match decode(text) {
        Cow::Borrowed(text) => encode_normal(text),
        Cow::Owned(decoded) => Cow::Owned(encode_normal(&decoded).into_owned()),
    }
}

/// Returns the normal form of a value that is decoded: percent-encoded except for unreserved
/// bytes, `@` and `:`.
pub(super) fn encode_normal(decoded: &[u8]) -> Cow<'_, str> {
    let stays = |byte: u8| is_unreserved(byte) || matches!(byte, b'@' | b':');
    if let Ok(text) = std::str::from_utf8(decoded)
        && text.bytes().all(stays)
    {
        return Cow::Borrowed(text);
    }
    let mut normal = String::with_capacity(decoded.len());
    for &byte in decoded {
        if stays(byte) {
            normal.push(char::from(byte));
        } else {
            push_encoded(&mut normal, byte);
        }
    }
    Cow::Owned(normal)
}

/// Returns the canonical spelling of a segment, which is one for all that RFC 3986 §6.2.2 calls
/// equivalent: only unreserved bytes are decoded, and hexadecimal digits are in upper case.
pub(super) fn canonical(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let mut canonical = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(&first) = rest.first() {
        match encoded(rest) {
            Some(byte) if is_unreserved(byte) => canonical.push(byte),
            Some(byte) => {
                let mut text = String::new();
                push_encoded(&mut text, byte);
                canonical.extend_from_slice(text.as_bytes());
            }
            None => canonical.push(first),
        }
        rest = rest.get(if encoded(rest).is_some() { 3 } else { 1 }..).unwrap_or_default();
    }
    Cow::Owned(canonical)
}

/// Appends `%XX` in upper case.
pub(super) fn push_encoded(text: &mut String, byte: u8) {
    let digit =
        |value: u8| char::from_digit(u32::from(value), 16).map_or('0', |digit| digit.to_ascii_uppercase());
    text.extend(['%', digit(byte >> 4), digit(byte & 15)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_decoded_once() {
        for (text, want) in [
            ("a%20b", "a b"),
            ("%2541", "%41"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("%2f%2F", "//"),
        ] {
            assert_eq!(&*decode(text.as_bytes()), want.as_bytes(), "{text}");
        }
    }

    #[test]
    fn spellings_of_one_value_have_one_normal_form() {
        for (text, want) in [
            ("EURUSD", "EURUSD"),
            ("EUR%55SD", "EURUSD"),
            ("a%20b", "a%20b"),
            ("caf%c3%a9", "caf%C3%A9"),
            ("user@x.com", "user@x.com"),
            ("user%40x.com", "user@x.com"),
            ("1,2", "1%2C2"),
            ("a%2fb", "a%2Fb"),
            ("a/b", "a%2Fb"),
            ("%", "%25"),
            ("", ""),
        ] {
            assert_eq!(normal_form(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn equal_uris_have_one_canonical_spelling() {
        for (text, want) in [
            ("r%61tes", "rates"),
            ("a%2fb", "a%2Fb"),
            ("a%3a", "a%3A"),
            ("a:b", "a:b"),
            ("%zz", "%zz"),
            ("%4", "%4"),
        ] {
            assert_eq!(&*canonical(text.as_bytes()), want.as_bytes(), "{text}");
        }
    }
}
