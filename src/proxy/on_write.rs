//! The purges of a write: the tags that `on_write` of its route names, and the cache groups that
//! its response lists (RFC 9875 §3).
//!
//! A write counts if it succeeded, or if its outcome is unknown. A refused write purges nothing, so
//! a client without the right to write cannot empty the cache. With `wait`, the answer is delayed
//! until every node has confirmed the purge; an answer without the confirmation says so. Each
//! worker has one sync in flight and one waiting (`store/fleet/waiting_writes.rs`).
//!
//! With `hold`, a mark is in Redis before the purge is recorded, and a fetch asks for the mark
//! after it has taken its permit (`store/purge/hold.rs`): a fetch that a lagging replica of the
//! origin answers either sees the mark or is older than the purge. Memory serves the routes that
//! such a write names only while Redis tracks the entry (`MemoryUse`).

use http::{HeaderMap, StatusCode};

use crate::policy::{self, GroupNames};
use crate::proxy::answer::cache_status;
use crate::proxy::answer::response::ProxyAnswer;
use crate::proxy::fetch::tags;
use crate::proxy::metrics::WriteWaitOutcome;
use crate::proxy::request::InboundRequest;
use crate::proxy::worker::Proxy;
use crate::routes::{RouteWrite, WriteWait};
use crate::store::{CacheTag, ChangedTags, PurgeScope, WriteConfirmation};
use crate::time;

/// The statement about its purge that the answer to a write carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum WriteMark {
    /// The answer says nothing: its route does not wait, or every node has confirmed.
    None,
    /// The route waits, and some node may serve an older response.
    Unconfirmed,
}

impl WriteMark {
    /// Marks an answer.
    pub(in crate::proxy) fn apply(self, mut answer: ProxyAnswer) -> ProxyAnswer {
        if self == Self::Unconfirmed {
            cache_status::add_purge_unconfirmed(answer.response.headers_mut());
            answer.reasons.detail = Some(cache_status::PURGE_UNCONFIRMED);
        }
        answer
    }
}

/// Purges after the response to a request. The purge holds on this node once this returns.
pub(in crate::proxy) async fn purge_answered(
    proxy: &Proxy,
    inbound: &InboundRequest,
    status: StatusCode,
    head: &HeaderMap,
) -> WriteMark {
    let InboundRequest { method, target, rules, .. } = inbound;
    let groups = tags::groups(&GroupNames::invalidated(method, status, head), target);
    let write =
        if policy::may_have_written(method, status) { rules.write(method, target) } else { RouteWrite::NONE };
    let mut changed = of_route(&write);
    changed.scopes.extend(groups.into_iter().map(PurgeScope::Group));
    purge(proxy, &changed, write.wait).await
}

/// Purges after a request whose outcome is unknown, because the origin gave no response.
pub(in crate::proxy) async fn purge_unanswered(proxy: &Proxy, inbound: &InboundRequest) -> WriteMark {
    let write = inbound.rules.write(&inbound.method, &inbound.target);
    purge(proxy, &of_route(&write), write.wait).await
}

async fn purge(proxy: &Proxy, changed: &ChangedTags, wait: WriteWait) -> WriteMark {
    if changed.scopes.is_empty() {
        return WriteMark::None;
    }
    if wait == WriteWait::None {
        proxy.store.purge_changed(changed).await;
        return WriteMark::None;
    }
    let outcome = if proxy.shared.write_waits.admits(time::instant()) {
        match proxy.store.purge_changed_everywhere(changed).await {
            WriteConfirmation::Confirmed => WriteWaitOutcome::Confirmed,
            WriteConfirmation::Unconfirmed => WriteWaitOutcome::Unconfirmed,
        }
    } else {
        proxy.store.purge_changed(changed).await;
        WriteWaitOutcome::RateLimited
    };
    proxy.metrics.write_waited(outcome);
    match outcome {
        WriteWaitOutcome::Confirmed => WriteMark::None,
        WriteWaitOutcome::Unconfirmed | WriteWaitOutcome::RateLimited => WriteMark::Unconfirmed,
    }
}

/// Returns the tags that a write purges. No entry has a text as a tag that is no valid tag.
fn of_route(write: &RouteWrite) -> ChangedTags {
    let tags = write.tags.iter().filter_map(|tag| CacheTag::of_route(tag).ok());
    let held = write.held.iter().filter_map(|(tag, time)| Some((CacheTag::of_route(tag).ok()?, *time)));
    ChangedTags { scopes: tags.map(PurgeScope::Tag).collect(), held: held.collect() }
}
