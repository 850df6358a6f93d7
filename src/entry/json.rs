//! The JSON check of bodies. Only this module names simd-json.
//!
//! The grammar decides, and values do not (RFC 8259 §6, §8.2): a number of any size and a lone
//! surrogate in an escape are JSON. simd-json checks first, up to [`JSON_TAPE_BYTES_MAX`]; it is
//! the faster one, and refuses such values. serde_json then checks a refused or larger text against
//! the grammar alone, and takes one byte of memory for each level of nesting. A pass that counts
//! the levels precedes both.
//!
//! simd-json rewrites the slice that it parses, and the stored body must stay as the origin sent
//! it. The check therefore parses a copy in scratch memory. It decodes a body with a
//! `Content-Encoding` up to a bound, so a compression bomb counts as undecodable and exhausts no
//! memory. Nothing is ever re-serialised.

use memchr::memchr2_iter;
use serde::de::IgnoredAny;
use simd_json::Buffers;

use super::inflate::{self, ContentCoding};
use crate::limits::{JSON_AT_ONCE_BYTES_MAX, JSON_NESTING_MAX, JSON_TAPE_BYTES_MAX};

/// The reason why a body with a JSON content type is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonCheckError {
    /// The body is not JSON (RFC 8259), or is nested more than [`JSON_NESTING_MAX`] levels deep.
    #[error("the body is not valid JSON")]
    Invalid,
    /// The check cannot decode its `Content-Encoding`.
    #[error("the content coding is not supported")]
    UnknownCoding,
    /// The body does not decode, or decodes to more bytes than allowed.
    #[error("the encoded body is corrupt or decodes to more than the limit")]
    Undecodable,
}

/// The kind of a JSON text, as far as its end shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonShape {
    /// An object, an array or a string: no beginning of it is JSON, so a truncated one is invalid.
    Delimited,
    /// A number or a literal: a beginning of `12` is JSON too.
    Scalar,
}

/// A JSON validator with its scratch memory.
#[derive(Default)]
pub struct JsonCheck {
    decoded: Vec<u8>,
    scratch: Vec<u8>,
    buffers: Buffers,
}

impl JsonCheck {
    /// Returns a validator with empty scratch memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks a body as [`JsonCheck::check`] does, if it has at most [`JSON_AT_ONCE_BYTES_MAX`]
    /// bytes before and after decoding. Returns `None` for a larger one, which would keep a worker
    /// busy for too long.
    pub fn check_at_once(
        &mut self,
        body: &[u8],
        content_encoding: Option<&[u8]>,
        decoded_bytes_max: usize,
    ) -> Option<Result<JsonShape, JsonCheckError>> {
        if body.len() > JSON_AT_ONCE_BYTES_MAX {
            return None;
        }
        let at_once_max = decoded_bytes_max.min(JSON_AT_ONCE_BYTES_MAX);
        match self.check(body, content_encoding, at_once_max) {
            Err(JsonCheckError::Undecodable) if at_once_max < decoded_bytes_max => None,
            verdict => Some(verdict),
        }
    }

    /// Checks that `body`, decoded by `content_encoding`, is one JSON text of at most
    /// `decoded_bytes_max` bytes.
    pub fn check(
        &mut self,
        body: &[u8],
        content_encoding: Option<&[u8]>,
        decoded_bytes_max: usize,
    ) -> Result<JsonShape, JsonCheckError> {
        match content_encoding.map_or(Some(ContentCoding::Identity), ContentCoding::parse) {
            None => Err(JsonCheckError::UnknownCoding),
            Some(ContentCoding::Identity) => self.check_text(body),
            Some(coding) => {
                let mut decoded = std::mem::take(&mut self.decoded);
                decoded.clear();
                let verdict = inflate::inflate(coding, body, decoded_bytes_max, &mut decoded)
                    .map_err(|_| JsonCheckError::Undecodable)
                    .and_then(|()| self.check_text(&decoded));
                self.decoded = decoded;
                verdict
            }
        }
    }

    fn check_text(&mut self, text: &[u8]) -> Result<JsonShape, JsonCheckError> {
        if is_nested_too_deep(text) {
            return Err(JsonCheckError::Invalid);
        }
        if self.accepts(text) || is_grammatical(text) {
            return Ok(shape(text));
        }
        Err(JsonCheckError::Invalid)
    }

    /// Returns whether simd-json accepts the text. It takes up to thirty bytes of memory for each
    /// byte, so it gets no large text.
    fn accepts(&mut self, text: &[u8]) -> bool {
        if text.len() > JSON_TAPE_BYTES_MAX {
            return false;
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(text);
        simd_json::to_tape_with_buffers(&mut self.scratch, &mut self.buffers).is_ok()
    }
}

/// Returns whether the text is UTF-8 (RFC 8259 §8.1) and follows the grammar. serde_json does not
/// recurse here, and evaluates neither numbers nor strings.
fn is_grammatical(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// Returns whether the text is nested more than [`JSON_NESTING_MAX`] levels deep.
fn is_nested_too_deep(text: &[u8]) -> bool {
    // A text with few opening brackets, inside strings or not, needs no second pass.
    if memchr2_iter(b'[', b'{', text).nth(JSON_NESTING_MAX).is_none() {
        return false;
    }
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    for &byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > JSON_NESTING_MAX {
            return true;
        }
    }
    false
}

/// Returns the shape of a valid text.
fn shape(text: &[u8]) -> JsonShape {
    match text.trim_ascii_start() {
        [b'{' | b'[' | b'"', ..] => JsonShape::Delimited,
        _ => JsonShape::Scalar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELIMITED: Result<JsonShape, JsonCheckError> = Ok(JsonShape::Delimited);
    const SCALAR: Result<JsonShape, JsonCheckError> = Ok(JsonShape::Scalar);
    const INVALID: Result<JsonShape, JsonCheckError> = Err(JsonCheckError::Invalid);

    fn check(body: &[u8]) -> Result<JsonShape, JsonCheckError> {
        JsonCheck::new().check(body, None, 1 << 20)
    }

    fn nested(depth: usize) -> String {
        "[".repeat(depth) + &"]".repeat(depth)
    }

    #[test]
    fn json_texts_of_every_kind_pass() {
        for text in ["{}", "[]", "\"a\\u00e9\"", " {\"a\":[1,{\"b\":null}]}\n", "[[[[]]]]", "\"\""] {
            assert_eq!(check(text.as_bytes()), DELIMITED, "{text}");
        }
        for text in ["null", "true", "1", "-0.5e10", "\n12 "] {
            assert_eq!(check(text.as_bytes()), SCALAR, "{text}");
        }
    }

    /// The values of RFC 8259 that implementations may refuse to represent (§6, §8.2, §9).
    #[test]
    fn the_grammar_decides_and_values_do_not() {
        let (deep, digits) = (nested(1_100), "9".repeat(10_000));
        for value in [
            "123456789012345678901234567890",
            "-123456789012345678901234567890",
            "18446744073709551616",
            "1e400",
            "-1E+400",
            "1e-99999",
            "0.1e99999999999999999999",
            "1.7976931348623159e308",
            "\"\\ud83d\"",
            "\"\\ude00\"",
            "\"\\ud83d\\ud83d\"",
            "\"\\ud83dx\"",
            "\"\\uDEAD\\u0000\"",
            &deep,
            &digits,
        ] {
            for text in [format!("{{\"wei\":{value}}}"), format!("[{value}]")] {
                assert_eq!(check(text.as_bytes()), DELIMITED, "{text:.60}");
                for cut in 1..text.len().min(100) {
                    assert_eq!(check(&text.as_bytes()[..cut]), INVALID, "{text:.60} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn what_resembles_such_values_is_refused() {
        let keys = format!("{{{}:1}}", "\"\\ud83d\"".repeat(2));
        for text in [
            "[0123456789012345678901234567890]",
            "[1e400.1]",
            "[1e]",
            "[1e+]",
            "[.1e400]",
            "[1e400,]",
            "[+1e400]",
            "[-]",
            "[\"\\ud83\"]",
            "[\"\\uzzzz\"]",
            "[\"\\ud83d\x01\"]",
            "[1e400] 1",
            "[1e400",
            &keys,
        ] {
            assert_eq!(check(text.as_bytes()), INVALID, "{text}");
        }
        assert_eq!(check(b"[1e400,\"\xff\"]"), INVALID, "not UTF-8");
        assert_eq!(check(b"[1e400,\"\xed\xa0\xbd\"]"), INVALID, "a surrogate in UTF-8");
    }

    #[test]
    fn invalid_json_is_refused() {
        let deep = "[".repeat(1_000_000);
        for text in [
            "",
            " ",
            "{",
            "{\"a\":}",
            "[1,]",
            "{'a':1}",
            "NaN",
            "01",
            "{} {}",
            "\"\x01\"",
            "\u{feff}{}",
            "<html>",
            &deep,
        ] {
            assert_eq!(check(text.as_bytes()), INVALID, "{text:.20}");
        }
        assert_eq!(check(b"\"\xff\""), INVALID);
    }

    /// A dense text of each structural byte. None of them takes memory that grows with it.
    #[test]
    fn a_small_body_that_decodes_to_structure_alone_takes_bounded_memory() {
        const DECODED: usize = 8 << 20;
        let times = |piece: &str| piece.repeat(DECODED / piece.len() - 2);
        for (text, want) in [
            (times("["), INVALID),
            (times("{\"\":"), INVALID),
            (times("[{\"\":"), INVALID),
            (times("]"), INVALID),
            (times(":"), INVALID),
            (times(","), INVALID),
            (times("\""), INVALID),
            (format!("[{}1]", times("1,")), DELIMITED),
            (format!("[{}[]]", times("[],")), DELIMITED),
            (format!("[{}{{}}]", times("{},")), DELIMITED),
            (format!("[{}\"\"]", times("\"\",")), DELIMITED),
            (format!("\"{}\"", times("[")), DELIMITED),
        ] {
            let body = inflate::tests::gzip(text.as_bytes());
            let mut json = JsonCheck::new();
            assert_eq!(json.check(&body, Some(b"gzip"), DECODED), want, "{text:.20}");
            assert_eq!(json.scratch.capacity(), 0, "{text:.20}: simd-json got it");
            assert_eq!(json.check_at_once(&body, Some(b"gzip"), DECODED), None, "{text:.20}");
        }
    }

    #[test]
    fn a_large_body_is_not_checked_at_once() {
        let mut json = JsonCheck::new();
        let mut at_once = |bytes: usize, decoded_max: usize| {
            let text = format!("\"{}\"", "x".repeat(bytes - 2));
            let plain = json.check_at_once(text.as_bytes(), None, decoded_max);
            let gzip = json.check_at_once(&inflate::tests::gzip(text.as_bytes()), Some(b"gzip"), decoded_max);
            (plain, gzip)
        };
        let most = JSON_AT_ONCE_BYTES_MAX;
        assert_eq!(at_once(most, most * 8), (Some(DELIMITED), Some(DELIMITED)));
        assert_eq!(at_once(most + 1, most * 8), (None, None));
        assert_eq!(at_once(1000, 999), (Some(DELIMITED), Some(Err(JsonCheckError::Undecodable))));
        assert_eq!(json.check_at_once(b"{", None, 99), Some(INVALID));
    }

    #[test]
    fn nesting_is_bounded_outside_strings_alone() {
        let most = JSON_NESTING_MAX;
        assert_eq!(check(nested(most).as_bytes()), DELIMITED);
        assert_eq!(check(nested(most + 1).as_bytes()), INVALID);
        assert_eq!(check("{\"a\":".repeat(most + 1).as_bytes()), INVALID);
        let brackets = "[".repeat(most + 1);
        for text in [
            format!("\"{brackets}\""),
            format!("[\"\\\"{brackets}\"]"),
            format!("[\"\\\\\",\"{brackets}\"]"),
            format!("[{}1]", "[],".repeat(most + 1)),
        ] {
            assert_eq!(check(text.as_bytes()), DELIMITED, "{text:.20}");
        }
    }

    /// The property by which a body that only the end of the connection delimits is stored.
    #[test]
    fn no_truncation_of_a_delimited_text_passes() {
        let text = "{\"a\": [1, 2.5e1, \"x\\\"]}\"], \"b\": {\"c\": null}}";
        let mut json = JsonCheck::new();
        for (coding, body) in [
            ("identity", text.as_bytes().to_vec()),
            ("gzip", inflate::tests::gzip(text.as_bytes())),
            ("deflate", inflate::tests::zlib(text.as_bytes())),
            ("br", inflate::tests::BROTLI.to_vec()),
            ("zstd", inflate::tests::ZSTD.to_vec()),
        ] {
            assert_eq!(json.check(&body, Some(coding.as_bytes()), 100), DELIMITED, "{coding}");
            for cut in 0..body.len() {
                let verdict = json.check(&body[..cut], Some(coding.as_bytes()), 100);
                assert!(verdict.is_err(), "{coding} cut at {cut} of {}", body.len());
            }
        }
    }

    #[test]
    fn the_validator_works_after_a_refused_body() {
        let mut json = JsonCheck::new();
        assert!(json.check(b"{\"a\":[1,2", None, 100).is_err());
        assert_eq!(json.check(b"{\"a\":[1,2]}", None, 100), DELIMITED);
    }

    #[test]
    fn encoded_bodies_are_decoded_and_checked() {
        let mut json = JsonCheck::new();
        let gzip = inflate::tests::gzip(b"{\"a\":1}");
        assert_eq!(json.check(&gzip, Some(b"gzip"), 100), DELIMITED);
        assert_eq!(json.check(&gzip, Some(b" X-GZIP "), 100), DELIMITED);
        assert_eq!(json.check(&inflate::tests::gzip(b"{"), Some(b"gzip"), 100), INVALID);
        assert_eq!(json.check(&gzip, Some(b"br"), 100), Err(JsonCheckError::Undecodable));
        assert_eq!(json.check(&gzip, Some(b"gzip"), 6), Err(JsonCheckError::Undecodable));
        assert_eq!(json.check(&gzip, Some(b"gzip, gzip"), 100), Err(JsonCheckError::UnknownCoding));
        assert_eq!(json.check(b"{}", Some(b"compress"), 100), Err(JsonCheckError::UnknownCoding));
        assert_eq!(json.check(b"{}", Some(b"identity"), 100), DELIMITED);
    }
}
