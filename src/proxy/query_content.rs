//! The content of a `QUERY` (RFC 10008), and its digest, which is part of the cache key.
//!
//! The digest covers every byte of the content and every `Content-*` field except its length, so
//! two requests share a response only if an origin cannot tell their content apart. CacheWarp does
//! not interpret the content.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};

use crate::hop::{self, QUERY_CONTENT};
use crate::key::{CacheKey, FieldHasher};
use crate::origin::RequestBody;
use crate::proxy::admission::load::HeldBytes;

/// Separates the digests of contents from other uses of the hash.
const CONTENT_DOMAIN: &[u8] = b"cw-query-content-1";

/// The beginning of the names of fields that describe the content.
const CONTENT_PREFIX: &str = "content-";

/// The content of a `QUERY`.
pub(in crate::proxy) struct QueryContent {
    bytes: Bytes,
    digest: HeaderValue,
    /// The count of the bytes, for as long as the request or its refresh needs them.
    _held: HeldBytes,
}

impl QueryContent {
    /// Returns the content of a request with these fields; `None` if the fields that describe it
    /// reach the origin in part only.
    pub(in crate::proxy) fn new(bytes: Bytes, headers: &HeaderMap, held: HeldBytes) -> Option<Self> {
        let digest = HeaderValue::try_from(digest(&bytes, headers)?).ok()?;
        Some(Self { bytes, digest, _held: held })
    }

    /// Writes the digest into the request's fields, from which the key is made.
    pub(in crate::proxy) fn mark(&self, headers: &mut HeaderMap) {
        headers.insert(QUERY_CONTENT, self.digest.clone());
    }

    /// Copies the fields that describe the content from one request to another with this content.
    pub(in crate::proxy) fn describe(from: &HeaderMap, to: &mut HeaderMap) {
        for name in from.keys().filter(|name| describes_content(name)) {
            // A field that also selects the variant is there already, with all its lines.
            if !to.contains_key(name) {
                to.extend(from.get_all(name).iter().map(|line| (name.clone(), line.clone())));
            }
        }
    }

    /// Returns the content as the body of a request to the origin.
    pub(in crate::proxy) fn to_body(&self) -> RequestBody {
        RequestBody::Whole(self.bytes.clone())
    }

    /// Returns the key under which a fetch is shared while the list of variants is not known.
    pub(in crate::proxy) fn fetch_key(&self, resource: &CacheKey) -> CacheKey {
        resource.variant(0, [(QUERY_CONTENT.as_str().as_bytes(), self.digest.as_bytes())].into_iter())
    }
}

/// Returns whether a field describes the content. CGI and its successors read `_` as `-`.
fn describes_content(name: &HeaderName) -> bool {
    let text = name.as_str().as_bytes();
    let is_same = |(byte, of_prefix): (&u8, &u8)| byte == of_prefix || (*byte == b'_' && *of_prefix == b'-');
    text.len() > CONTENT_PREFIX.len()
        && text.iter().zip(CONTENT_PREFIX.as_bytes()).all(is_same)
        && *name != CONTENT_LENGTH
}

/// Returns the hexadecimal digest; `None` if `Connection` removes a field that describes the
/// content.
fn digest(bytes: &[u8], headers: &HeaderMap) -> Option<String> {
    if hop::named_in_connection(headers).any(|name| describes_content(&name)) {
        return None;
    }
    let mut hash = FieldHasher::new(CONTENT_DOMAIN);
    let mut names: Vec<&HeaderName> = headers.keys().filter(|name| describes_content(name)).collect();
    names.sort_unstable_by_key(|name| name.as_str());
    for name in names {
        for line in headers.get_all(name) {
            hash.field(name.as_str().as_bytes());
            hash.field(line.as_bytes());
        }
    }
    // No field has an empty name, so the content begins here.
    hash.field(b"");
    hash.field(bytes);
    Some(blake3::Hash::from_bytes(hash.finish()).to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use http::header::{CONTENT_LANGUAGE, CONTENT_TYPE};

    use super::*;

    fn of(bytes: &str, fields: &[(&'static str, &'static str)]) -> Option<String> {
        let headers: HeaderMap = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        digest(bytes.as_bytes(), &headers)
    }

    #[test]
    fn every_difference_of_the_content_changes_the_digest() {
        const JSON: (&str, &str) = ("content-type", "application/json");
        let digests = [
            of("", &[]),
            of("{}", &[]),
            of("{} ", &[]),
            of("{}", &[JSON]),
            of("{}", &[("content-type", "application/json ")]),
            of("{}", &[JSON, ("content-encoding", "gzip")]),
            of("{}", &[JSON, ("content-language", "de")]),
            of("{}", &[JSON, ("content-location", "/a")]),
            of("{}", &[JSON, ("content_type", "text/csv")]),
            of("{}", &[JSON, ("content-x", "")]),
            of("application/json{}", &[]),
        ];
        for (at, one) in digests.iter().enumerate() {
            assert!(one.is_some() && !digests[..at].contains(one), "{at}");
        }
    }

    #[test]
    fn other_fields_and_their_order_do_not_change_the_digest() {
        let (json, german) = (("content-type", "application/json"), ("content-language", "de"));
        let length = ("content-length", "2");
        assert_eq!(of("{}", &[json, german]), of("{}", &[german, length, ("accept", "*/*"), json]));
    }

    #[test]
    fn every_line_of_the_fields_is_copied_once() {
        let json = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let german = || (CONTENT_LANGUAGE, HeaderValue::from_static("de"));
        let from = HeaderMap::from_iter([json.clone(), german(), german()]);
        let mut to = HeaderMap::from_iter([json]);
        QueryContent::describe(&from, &mut to);
        assert_eq!(to, from);
        assert_eq!(digest(b"{}", &to), digest(b"{}", &from));
    }

    #[test]
    fn a_field_of_the_content_that_connection_removes_leaves_no_digest() {
        for named in ["content-language", "close, Content-Location", "content_md5"] {
            assert_eq!(of("{}", &[("connection", named)]), None, "{named}");
        }
        // `Connection` cannot remove these.
        assert!(of("{}", &[("connection", "content-type, content-encoding, content-length")]).is_some());
    }
}
