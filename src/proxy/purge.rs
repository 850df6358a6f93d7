//! A purge: of what an operator names, and by the method `PURGE` of the resource that it addresses.
//!
//! `PURGE` is no method of HTTP's, and what it does is for few: where `purge_allow` names nobody it
//! is passed on like any method that we do not know, for the origin may know it. Where it names
//! somebody, it goes no further, and everybody else is refused.
//!
//! **Always:** a fetch that began before a purge stores nothing of what was purged.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::Proxy;
use super::options::Options;
use crate::proxy::answer::body::AnswerBody;
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::response::{Outcome, ProxyAnswer};
use crate::proxy::request::InboundRequest;
use crate::purge::{self, PurgeName, PurgeOrder};
use crate::store::{PurgeError, PurgeResult, PurgeStrength};
use crate::time;

impl Proxy {
    /// Purges what an order names, and returns when it is so.
    ///
    /// Dropping it leaves a part of it done; a purge can be repeated.
    pub async fn purge(&self, order: &PurgeOrder) -> Result<PurgeResult, PurgeError> {
        self.store.purge(&order.scopes(), order.strength).await
    }
}

/// Whether a request with this method is for us.
pub(super) fn is_asked(options: &Options, method: &Method) -> bool {
    !options.purge_allow.is_empty() && method.as_str() == "PURGE"
}

/// Purges what the request addresses, if its client may do that.
pub(super) async fn answer(proxy: &Proxy, inbound: InboundRequest) -> ProxyAnswer {
    if !is_allowed(proxy, &inbound) {
        inbound.notes.note(|explanation| explanation.failed(Failure::PurgeNotAllowed));
        return Failure::PurgeNotAllowed.into();
    }
    let begun = time::instant();
    let order = PurgeOrder { named: vec![PurgeName::Url(inbound.target)], strength: PurgeStrength::Hard };
    let said = proxy.purge(&order).await;
    let document = purge::PurgeOutcome::document(&order, &said, time::instant().duration_since(begun));
    let status = purge::PurgeOutcome::of(&said).status();
    ProxyAnswer::new(Outcome::Purge, status, head(status), AnswerBody::Whole(Bytes::from(document)))
}

/// The client is the peer itself, unless that is a trusted proxy: then it is whom the trusted
/// proxies vouch for, so that a load balancer among the allowed does not let everybody in.
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
