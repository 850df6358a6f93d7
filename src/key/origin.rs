//! The base URL of the origin.

use crate::key::hasher::FieldHasher;
use crate::key::target::{Authority, Scheme};

/// Separates the digests of origins from keys.
const ORIGIN_DOMAIN: &[u8] = b"cw-org-1";

/// The base URL of the origin, which clients do not see. The origin may use it in its own links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginBase {
    /// The scheme of the connections to the origin.
    pub scheme: Scheme,
    /// The origin's host and port.
    pub authority: Authority,
    /// The base path, put before every path: empty, or beginning with `/` and not ending with it.
    pub path: String,
}

impl OriginBase {
    /// Returns a 64-bit digest that distinguishes this origin from others.
    pub fn digest(&self) -> u64 {
        let mut hash = FieldHasher::new(ORIGIN_DOMAIN);
        hash.field(self.scheme.as_str().as_bytes());
        hash.field(self.authority.as_str().as_bytes());
        hash.field(self.path.as_bytes());
        hash.finish().first_chunk().map_or(0, |head| u64::from_be_bytes(*head))
    }
}
