//! The JSON check. Only this module names simd-json.
//!
//! simd-json rewrites the slice that it parses, and the stored body must stay as the origin sent
//! it. The check therefore parses a copy in scratch memory, which a worker reuses. It decodes a
//! body with a `Content-Encoding` into that scratch memory, up to a bound, so a compression bomb
//! counts as invalid JSON and exhausts no memory. Nothing is ever re-serialised.

use memchr::memchr_iter;
use simd_json::Buffers;

use super::inflate::{self, ContentCoding};
use crate::limits::JSON_VALUE_BYTES_MIN;

/// Bytes of scratch memory that are kept after a check; a larger allocation is freed.
const SCRATCH_KEPT_BYTES: usize = 4 << 20;

/// The reason why a body with a JSON content type is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonCheckError {
    /// The body is not JSON (RFC 8259), or is nested more than a thousand levels deep.
    #[error("the body is not valid JSON")]
    Invalid,
    /// The check cannot decode its `Content-Encoding`.
    #[error("the content coding is not supported")]
    UnknownCoding,
    /// The body does not decode, or decodes to more bytes or values than allowed.
    #[error("the encoded body is corrupt or decodes to more than the limit")]
    Undecodable,
}

/// A JSON validator with its scratch memory, one for each worker.
#[derive(Default)]
pub struct JsonCheck {
    scratch: Vec<u8>,
    buffers: Buffers,
}

impl JsonCheck {
    /// Returns a validator with empty scratch memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks that `body`, decoded by `content_encoding`, is one JSON text of at most
    /// `decoded_bytes_max` bytes.
    pub fn check(
        &mut self,
        body: &[u8],
        content_encoding: Option<&[u8]>,
        decoded_bytes_max: usize,
    ) -> Result<(), JsonCheckError> {
        self.scratch.clear();
        match content_encoding.map_or(Some(ContentCoding::Identity), ContentCoding::parse) {
            None => return Err(JsonCheckError::UnknownCoding),
            Some(ContentCoding::Identity) => self.scratch.extend_from_slice(body),
            Some(coding) => inflate::inflate(coding, body, decoded_bytes_max, &mut self.scratch)
                .map_err(|_| JsonCheckError::Undecodable)?,
        }
        // Each further value needs a comma. A comma inside a string counts as a value too; a body
        // with too many of them is not stored.
        if memchr_iter(b',', &self.scratch).count() > decoded_bytes_max / JSON_VALUE_BYTES_MIN {
            return Err(JsonCheckError::Undecodable);
        }
        let verdict = simd_json::to_tape_with_buffers(&mut self.scratch, &mut self.buffers).map(drop);
        if self.scratch.capacity() > SCRATCH_KEPT_BYTES {
            *self = Self::default();
        }
        verdict.map_err(|_| JsonCheckError::Invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &[u8]) -> Result<(), JsonCheckError> {
        JsonCheck::new().check(body, None, 1 << 20)
    }

    #[test]
    fn json_texts_of_every_kind_pass() {
        for text in [
            "{}",
            "[]",
            "null",
            "true",
            "1",
            "-0.5e10",
            "\"a\\u00e9\"",
            " {\"a\":[1,{\"b\":null}]}\n",
            "[[[[]]]]",
        ] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
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
            assert_eq!(check(text.as_bytes()), Err(JsonCheckError::Invalid), "{:.20}", text);
        }
        assert_eq!(check(b"\"\xff\""), Err(JsonCheckError::Invalid));
    }

    #[test]
    fn a_body_with_more_values_than_a_plain_body_can_have_is_not_parsed() {
        let most = 100;
        let check = |values: usize| {
            let text = format!("[{}1]", "1,".repeat(values));
            let body = inflate::tests::gzip(text.as_bytes());
            JsonCheck::new().check(&body, Some(b"gzip"), most * JSON_VALUE_BYTES_MIN)
        };
        assert_eq!(check(most), Ok(()));
        assert_eq!(check(most + 1), Err(JsonCheckError::Undecodable));
    }

    #[test]
    fn json_nested_deeper_than_simd_json_parses_is_refused() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(check(nested(1_000).as_bytes()), Ok(()));
        assert_eq!(check(nested(1_000_000).as_bytes()), Err(JsonCheckError::Invalid));
    }

    #[test]
    fn the_validator_works_after_a_refused_body() {
        let mut json = JsonCheck::new();
        assert!(json.check(b"{\"a\":[1,2", None, 100).is_err());
        assert_eq!(json.check(b"{\"a\":[1,2]}", None, 100), Ok(()));
    }

    #[test]
    fn encoded_bodies_are_decoded_and_checked() {
        let mut json = JsonCheck::new();
        let gzip = inflate::tests::gzip(b"{\"a\":1}");
        assert_eq!(json.check(&gzip, Some(b"gzip"), 100), Ok(()));
        assert_eq!(json.check(&gzip, Some(b" X-GZIP "), 100), Ok(()));
        assert_eq!(json.check(&inflate::tests::gzip(b"{"), Some(b"gzip"), 100), Err(JsonCheckError::Invalid));
        assert_eq!(json.check(&gzip, Some(b"br"), 100), Err(JsonCheckError::Undecodable));
        assert_eq!(json.check(&gzip, Some(b"gzip"), 6), Err(JsonCheckError::Undecodable));
        assert_eq!(json.check(&gzip, Some(b"gzip, gzip"), 100), Err(JsonCheckError::UnknownCoding));
        assert_eq!(json.check(b"{}", Some(b"compress"), 100), Err(JsonCheckError::UnknownCoding));
        assert_eq!(json.check(b"{}", Some(b"identity"), 100), Ok(()));
    }
}
