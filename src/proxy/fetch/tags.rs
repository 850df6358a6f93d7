//! The tags and groups by which a response can be purged.

use http::HeaderMap;

use crate::entry::TagDigest;
use crate::key::Target;
use crate::limits::{GROUPS_MAX, TAGS_MAX};
use crate::policy::{self, GroupNames, NotStorable};
use crate::proxy::request::InboundRequest;
use crate::store::{CacheGroup, CacheTag};

/// Returns the digests of a response's tags, of the tags that its route gives it, and of its groups
/// in its own origin (RFC 9875 §2). A response with too many tags is not stored, since a purge
/// would miss it.
pub(in crate::proxy) fn cache_tags(
    head: &HeaderMap,
    inbound: &InboundRequest,
) -> Result<Vec<TagDigest>, NotStorable> {
    let InboundRequest { target, rules, .. } = inbound;
    let name_key = rules.cache.keys.name_key();
    let own = policy::tags(head, &rules.cache)?;
    let of_route = rules.route_tags(target).ok_or(NotStorable::Tags)?;
    let own = own.into_iter().map(CacheTag::parse);
    let mut digests: Vec<TagDigest> = Vec::new();
    for tag in own.chain(of_route.iter().map(|tag| CacheTag::of_route(tag))) {
        let digest = tag.map_err(|_| NotStorable::Tags)?.digest(name_key);
        if !digests.contains(&digest) {
            digests.push(digest);
        }
    }
    if digests.len() > TAGS_MAX - GROUPS_MAX {
        return Err(NotStorable::Tags);
    }
    digests.extend(groups(&GroupNames::of(head), target).iter().map(|group| group.digest(name_key)));
    Ok(digests)
}

/// Returns the groups in the target's origin.
pub(in crate::proxy) fn groups(named: &GroupNames, target: &Target) -> Vec<CacheGroup> {
    let names = named.names().iter();
    names.filter_map(|name| CacheGroup::new(target.scheme, target.authority.clone(), name).ok()).collect()
}
