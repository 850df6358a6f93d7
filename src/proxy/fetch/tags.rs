//! The tags and groups by which a response can be purged.

use http::HeaderMap;

use crate::entry::TagDigest;
use crate::key::Target;
use crate::policy::{self, GroupNames};
use crate::proxy::request::InboundRequest;
use crate::store::{CacheGroup, CacheTag};

/// Returns the digests of a response's tags, and of its groups in its own origin (RFC 9875 §2).
pub(in crate::proxy) fn cache_tags(head: &HeaderMap, inbound: &InboundRequest) -> Vec<TagDigest> {
    let tags = policy::tags(head, &inbound.rules.cache).unwrap_or_default();
    let tags = tags.into_iter().filter_map(|tag| CacheTag::parse(tag).ok()).map(|tag| tag.digest());
    let groups = groups(&GroupNames::of(head), &inbound.target);
    tags.chain(groups.iter().map(CacheGroup::digest)).collect()
}

/// Returns the groups in the target's origin.
pub(in crate::proxy) fn groups(named: &GroupNames, target: &Target) -> Vec<CacheGroup> {
    let names = named.names().iter();
    names.filter_map(|name| CacheGroup::new(target.scheme, target.authority.clone(), name).ok()).collect()
}
