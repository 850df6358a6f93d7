//! Purges: by an operator's order, and by the method `PURGE` for the resource that the request
//! addresses.
//!
//! `PURGE` is not a standard HTTP method. If `purge_allow` is empty, `PURGE` passes to the origin
//! like any unknown method, because the origin may support it. Otherwise the proxy handles `PURGE`
//! itself and refuses every other client.
//!
//! **Always:** a fetch that began before a purge stores nothing that was purged.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::proxy::answer::body::AnswerBody;
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::outcome::Outcome;
use crate::proxy::answer::response::ProxyAnswer;
use crate::proxy::options::Options;
use crate::proxy::recent_purges::RecentPurge;
use crate::proxy::request::InboundRequest;
use crate::proxy::worker::Proxy;
use crate::purge::{self, PurgeName, PurgeOrder};
use crate::store::{PurgeError, PurgeResult, PurgeScope, PurgeStrength};
use crate::time;

impl Proxy {
    /// Purges the responses that an order names, and returns once the purge is complete.
    ///
    /// Dropping the future leaves the purge partly done. A purge can be repeated.
    pub async fn purge(&self, order: &PurgeOrder) -> Result<PurgeResult, PurgeError> {
        let (at, begun) = (time::now(), time::instant());
        let result = self.store.purge(&self.scopes(order), order.strength).await;
        let took = time::instant().saturating_duration_since(begun);
        self.shared.purges.add(RecentPurge::of(order, at, purge::PurgeOutcome::of(&result), took));
        result
    }
}

impl Proxy {
    /// Counts the stored resources that an order names. `None` if the number is unknown: Redis does
    /// not list the entries of a tag, a group or a prefix.
    pub async fn count_named(&self, order: &PurgeOrder) -> Option<u64> {
        let keys: Option<Vec<_>> = self
            .scopes(order)
            .iter()
            .map(|scope| match scope {
                PurgeScope::Url(key) => Some(*key),
                PurgeScope::Tag(_) | PurgeScope::Group(_) | PurgeScope::Prefix(_) | PurgeScope::All => None,
            })
            .collect();
        self.store.count_stored(&keys?).await
    }

    fn scopes(&self, order: &PurgeOrder) -> Vec<PurgeScope> {
        let rules = self.rules();
        order.scopes(|target| rules.resource_keys(target))
    }
}

/// Returns whether the proxy handles a request with this method as a purge.
pub(super) fn is_purge_request(options: &Options, method: &Method) -> bool {
    !options.purge_allow.is_empty() && method.as_str() == "PURGE"
}

/// Purges the response that the request addresses, if its client is allowed to.
pub(super) async fn answer(proxy: &Proxy, inbound: InboundRequest) -> ProxyAnswer {
    if !is_allowed(proxy, &inbound) {
        inbound.notes.note(|explanation| explanation.failed(Failure::PurgeNotAllowed));
        return Failure::PurgeNotAllowed.into();
    }
    let begun = time::instant();
    let order = PurgeOrder { named: vec![PurgeName::Url(inbound.target)], strength: PurgeStrength::Hard };
    let found = proxy.count_named(&order).await;
    let result = proxy.purge(&order).await;
    let took = time::instant().duration_since(begun);
    let document = purge::PurgeOutcome::document(&order, &result, found, took);
    let status = purge::PurgeOutcome::of(&result).status();
    ProxyAnswer::new(Outcome::Purge, status, head(status), AnswerBody::Whole(Bytes::from(document)))
}

/// Checks the client against `purge_allow`. The client is the peer, or, if the peer is a trusted
/// proxy, the address that the trusted proxies vouch for. An allowed load balancer therefore does
/// not admit every client.
fn is_allowed(proxy: &Proxy, inbound: &InboundRequest) -> bool {
    let client = proxy.origin.outbound().client(&inbound.headers, inbound.caller.peer);
    client.is_some_and(|client| proxy.options.purge_allow.iter().any(|network| network.contains(&client)))
}

fn head(status: StatusCode) -> HeaderMap {
    let mut head = HeaderMap::new();
    let media = if status.is_success() { "application/json" } else { "application/problem+json" };
    head.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    head.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        head.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    head
}
