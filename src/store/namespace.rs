//! The namespace: the prefix of every name in Redis.
//!
//! ```text
//! <redis_key_prefix><16 digits of the origin, or cache_namespace>:    and after it
//!
//!   <32 digits>         an entry or a tombstone, by half of its key's digest
//!   clock               the purge log
//!   tag:<32 digits>     the generation of a tag
//!   hold:<32 digits>    the mark of a tag whose answers are not stored, after a write
//!   lease:<32 digits>   the lease of a fetch
//!   vary:<32 digits>    the variants of a resource, for operators
//!   warm:<node_name>    the keys that a node hits most
//!   server              the run of the server with all keys
//!   nodes               the registry of nodes
//!   sync  ack:<16 digits>    channels
//!   rights              the trial of the Redis user's rights; never stored
//! ```
//!
//! A cache key names the target that a client requested, not the origin that answers: two APIs on
//! the same host and path have the same keys. The namespace keeps them apart.
//!
//! **Always:** [`Namespace::name`] makes every name of a key and of a channel, so that no two
//! origins of one Redis share an entry, a purge, a lease or a list.

use crate::key::OriginBase;

/// The name of the purge log, after the namespace.
pub(super) const LOG_NAME: &str = "clock";
/// The name of the registry of nodes, after the namespace.
pub(super) const REGISTRY_NAME: &str = "nodes";
/// The name of the server's run, after the namespace.
pub(super) const RUN_NAME: &str = "server";
/// The prefix of the names of tag generations, after the namespace and before 32 digits.
pub(super) const TAG_PREFIX: &str = "tag:";
/// The prefix of the names of holds, after the namespace and before 32 digits.
pub(super) const HOLD_PREFIX: &str = "hold:";
/// The prefix of the names of leases, after the namespace and before 32 digits.
pub(super) const LEASE_PREFIX: &str = "lease:";
/// The prefix of the names of lists of variants, after the namespace and before 32 digits.
pub(super) const VARY_PREFIX: &str = "vary:";

/// The prefix of all names of one origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace(Box<str>);

impl Namespace {
    /// Returns the namespace of an origin, derived from its scheme, authority and base path.
    pub fn of_origin(key_prefix: &str, origin: &OriginBase) -> Self {
        Self::named(key_prefix, &format!("{:016x}", origin.digest()))
    }

    /// Returns the namespace with a name that an operator chose.
    ///
    /// A colon separates the prefix from the name, so that no two pairs give one namespace: a name
    /// has no colon.
    pub fn named(key_prefix: &str, name: &str) -> Self {
        let separator = if key_prefix.is_empty() || key_prefix.ends_with(':') { "" } else { ":" };
        Self(format!("{key_prefix}{separator}{name}:").into())
    }

    /// Returns the prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Builds a name in this namespace.
    pub(super) fn name(&self, parts: &[&[u8]]) -> Vec<u8> {
        let bytes = self.0.len() + parts.iter().map(|part| part.len()).sum::<usize>();
        let mut name = Vec::with_capacity(bytes);
        name.extend_from_slice(self.0.as_bytes());
        parts.iter().for_each(|part| name.extend_from_slice(part));
        name
    }

    /// Returns the part of a name after the namespace; `None` if the name is not in it.
    pub(super) fn strip<'a>(&self, name: &'a [u8]) -> Option<&'a [u8]> {
        name.strip_prefix(self.0.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::key::{Authority, Scheme};

    fn base(scheme: Scheme, authority: &str, path: &str) -> OriginBase {
        OriginBase {
            scheme,
            authority: Authority::parse(scheme, authority.as_bytes()).unwrap(),
            path: path.to_owned(),
        }
    }

    #[test]
    fn different_origins_have_different_namespaces() {
        let origins = [
            base(Scheme::Http, "api.test", ""),
            base(Scheme::Https, "api.test", ""),
            base(Scheme::Http, "api.test:443", ""),
            base(Scheme::Http, "api.test:8080", ""),
            base(Scheme::Http, "api.tes", ""),
            base(Scheme::Http, "api.test", "/v1"),
            base(Scheme::Http, "api.test", "/v2"),
            base(Scheme::Http, "api.test", "/V1"),
            base(Scheme::Http, "api.test", "/v1/v1"),
            base(Scheme::Http, "localhost", ""),
            base(Scheme::Http, "127.0.0.1", ""),
        ];
        let namespaces: HashSet<_> = origins
            .iter()
            .map(|origin| Namespace::of_origin("cachewarp:", origin).as_str().to_owned())
            .collect();
        assert_eq!(namespaces.len(), origins.len());
        for namespace in namespaces {
            let digits = namespace.strip_prefix("cachewarp:").unwrap().strip_suffix(':').unwrap();
            assert!(digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()), "{digits}");
        }
    }

    #[test]
    fn default_port_and_host_case_are_ignored() {
        let of = |scheme, authority| Namespace::of_origin("x", &base(scheme, authority, "/v1"));
        assert_eq!(of(Scheme::Http, "API.test:80"), of(Scheme::Http, "api.test"));
        assert_eq!(of(Scheme::Https, "api.test:443"), of(Scheme::Https, "api.test"));
    }

    #[test]
    fn names_begin_with_their_namespace() {
        let namespace = Namespace::named("cachewarp:", "payments");
        let name = namespace.name(&[b"tag:", b"0123"]);
        assert_eq!(name, b"cachewarp:payments:tag:0123");
        assert_eq!(namespace.strip(&name), Some(&b"tag:0123"[..]));
        assert_eq!(Namespace::named("cachewarp:", "payment").strip(&name), None);
    }

    #[test]
    fn a_prefix_and_a_name_do_not_run_together() {
        assert_eq!(Namespace::named("cw-", "v1").as_str(), "cw-:v1:");
        assert_ne!(Namespace::named("cw-v", "1"), Namespace::named("cw-", "v1"));
        assert_eq!(Namespace::named("cw:", "1").as_str(), "cw:1:");
        assert_eq!(Namespace::named("", "1").as_str(), "1:");
    }
}
