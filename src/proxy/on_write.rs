//! The purges of a write: the tags that `on_write` of its route names, and the cache groups that its
//! response lists (RFC 9875 §3).
//!
//! A write counts if it succeeded, or if its outcome is unknown. A refused write purges nothing, so
//! a client without the right to write cannot empty the cache.

use http::{HeaderMap, StatusCode};

use crate::policy::{self, GroupNames};
use crate::proxy::fetch::tags;
use crate::proxy::request::InboundRequest;
use crate::proxy::worker::Proxy;
use crate::store::{CacheTag, PurgeScope};

/// Purges after the response to a request. The purge holds on this node once this returns.
pub(in crate::proxy) async fn purge_answered(
    proxy: &Proxy,
    inbound: &InboundRequest,
    status: StatusCode,
    head: &HeaderMap,
) {
    let InboundRequest { method, target, .. } = inbound;
    let groups = GroupNames::invalidated(method, status, head);
    let mut changed: Vec<_> = tags::groups(&groups, target).into_iter().map(PurgeScope::Group).collect();
    if policy::may_have_written(method, status) {
        changed.extend(of_route(inbound));
    }
    purge(proxy, &changed).await;
}

/// Purges after a request whose outcome is unknown, because the origin gave no response.
pub(in crate::proxy) async fn purge_unanswered(proxy: &Proxy, inbound: &InboundRequest) {
    purge(proxy, &of_route(inbound)).await;
}

async fn purge(proxy: &Proxy, changed: &[PurgeScope]) {
    if !changed.is_empty() {
        proxy.store.purge_changed(changed).await;
    }
}

/// Returns the tags that the rules of the request purge. No entry has a tag that is none.
fn of_route(inbound: &InboundRequest) -> Vec<PurgeScope> {
    let write = inbound.rules.write(&inbound.method, &inbound.target);
    let tags = write.tags.iter().filter_map(|tag| CacheTag::of_route(tag).ok());
    tags.map(PurgeScope::Tag).collect()
}
