//! Digests of the heads that the origin receives. An origin that fails on one head says nothing
//! about requests with another.

use http::request::Parts;

use crate::client_address::X_FORWARDED_FOR;
use crate::key::{DIGEST_BYTES, FieldHasher};
use crate::origin::{OutboundHeads, OutboundRequest};

/// Separates the digests of heads from other uses of the hash.
const HEAD_DOMAIN: &[u8] = b"cw-refused-head-1";

/// The digest of a head for the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy) struct HeadDigest([u8; DIGEST_BYTES]);

impl HeadDigest {
    /// Returns the digest of the head that the origin receives of a request. It contains the
    /// client's address, and not the id of the request, for which no origin refuses one.
    pub(in crate::proxy::fetch) fn of_request(
        heads: &OutboundHeads,
        request: &OutboundRequest<'_>,
    ) -> Option<Self> {
        sent_head(heads, request).as_ref().map(Self::of)
    }

    /// Returns the digest of the head that the origin receives of a request, without the client's
    /// address.
    pub(in crate::proxy::fetch) fn of_any_client(
        heads: &OutboundHeads,
        request: &OutboundRequest<'_>,
    ) -> Option<Self> {
        let mut head = sent_head(heads, request)?;
        head.headers.remove(&X_FORWARDED_FOR);
        Some(Self::of(&head))
    }

    pub(in crate::proxy::fetch) fn of(head: &Parts) -> Self {
        let mut hash = FieldHasher::new(HEAD_DOMAIN);
        hash.field(head.method.as_str().as_bytes());
        hash.field(head.uri.path().as_bytes());
        hash.field(head.uri.query().unwrap_or_default().as_bytes());
        for (name, value) in &head.headers {
            hash.field(name.as_str().as_bytes());
            hash.field(value.as_bytes());
        }
        Self(hash.finish())
    }
}

fn sent_head(heads: &OutboundHeads, request: &OutboundRequest<'_>) -> Option<Parts> {
    heads.head(&OutboundRequest { id: None, ..*request }).ok()
}
