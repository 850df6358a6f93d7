//! Requests that bypass the cache: every method except `GET`, `HEAD` and `QUERY`, `GET` and `HEAD`
//! with content, `QUERY` with large content, and upgrades. Both directions are streamed and nothing
//! is buffered.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LOCATION;
use http::{Method, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tracing::debug;

use crate::entry::KeyGeneration;
use crate::key::CacheKey;
use crate::origin::{self, FetchError, FetchPurpose, OriginTunnel, RequestBody, UpgradeProtocol};
use crate::policy::{self, Exchange, NotStorable, StoredFacts};
use crate::proxy::admission::load::RequestPermit;
use crate::proxy::answer::body::AnswerBody;
use crate::proxy::answer::cache_status::{self, AnswerReasons};
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::outcome::Outcome;
use crate::proxy::answer::response::ProxyAnswer;
use crate::proxy::fetch::post;
use crate::proxy::on_write::{self, WriteMark};
use crate::proxy::request::InboundRequest;
use crate::proxy::rules::{PassReason, RuledRequest};
use crate::proxy::tunnel::{self, TunnelEnd};
use crate::proxy::unsafe_exchange::OriginReached;
use crate::proxy::worker::Proxy;
use crate::telemetry::access::{AnswerEnd, TunnelRecord};
use crate::time::{self, Timestamp};

/// Sends a request to the origin and streams the response back. Sets `reached` once the origin may
/// have the request.
///
/// Dropping the future aborts the exchange. An unsafe request must run to completion: see
/// [`UnsafeExchange`].
///
/// [`UnsafeExchange`]: crate::proxy::unsafe_exchange::UnsafeExchange
pub(super) async fn answer(
    proxy: &Rc<Proxy>,
    inbound: InboundRequest,
    body: RequestBody,
    reached: &Cell<OriginReached>,
    _permit: RequestPermit,
) -> ProxyAnswer {
    let resource = inbound.rule_set.resource_key(&inbound.target);
    // Only the response to a `POST` can be stored. No lookup precedes it that reads the purge log.
    let before = if inbound.method == Method::POST {
        proxy.store.read_first_log().await;
        Some(proxy.store.permit(&resource, KeyGeneration::NONE))
    } else {
        None
    };
    let requested = time::now();
    let head = || {
        reached.set(OriginReached::Perhaps);
        proxy.origin.outbound().passed_head(&inbound.to_outbound(&FetchPurpose::Pass))
    };
    match proxy.exchange(&inbound, head, body).await {
        Ok(response) => {
            let storable = before.filter(|before| !before.is_superseded()).and_then(|before| {
                let facts = storable_for_gets(proxy, &inbound, &response, requested)?;
                Some((facts, before))
            });
            let mut changed = invalidate_changed(proxy, &inbound, &response);
            // The permit follows the request's own invalidation and precedes any later one.
            let storable = storable.map(|(facts, before)| (facts, proxy.store.renew(before)));
            if storable.is_some() {
                changed.retain(|key| *key != resource);
            }
            remove(proxy, &changed).await;
            let storable = match storable {
                Some((facts, permit)) => {
                    proxy.store.replace_by_own(permit, facts.received).await.map(|permit| (facts, permit))
                }
                None => None,
            };
            let (status, head) = (response.status(), response.headers());
            let mark = on_write::purge_answered(proxy, &inbound, status, head).await;
            mark.apply(match storable {
                Some((facts, permit)) => post::store_post(proxy, inbound, response, facts, permit).await,
                None => ProxyAnswer::from_origin(Outcome::Pass, response),
            })
        }
        Err(error) => {
            let mut mark = WriteMark::None;
            if error.leaves_outcome_unknown() && policy::is_unsafe(&inbound.method) {
                // The origin may have applied the request, so the stored response of the target
                // counts as changed (RFC 9111 §4.4).
                let changed = inbound.rule_set.resource_keys(&inbound.target);
                changed.iter().for_each(|key| proxy.store.supersede(key));
                remove(proxy, &changed).await;
                mark = on_write::purge_unanswered(proxy, &inbound).await;
            }
            mark.apply(failed(proxy, &inbound, &error))
        }
    }
}

/// Sends a request without content to the origin and streams the response back, because the rules
/// of a route keep it from the cache.
pub(super) async fn uncached(
    proxy: &Proxy,
    inbound: InboundRequest,
    reason: PassReason,
    _permit: RequestPermit,
) -> ProxyAnswer {
    match proxy.send(&inbound, &FetchPurpose::Pass).await {
        Ok(response) => {
            let mut answer = ProxyAnswer::from_origin(Outcome::Pass, response);
            cache_status::append_pass(answer.response.headers_mut(), reason, inbound.rules.route.as_deref());
            answer
        }
        Err(error) => failed(proxy, &inbound, &error),
    }
}

fn failed(proxy: &Proxy, inbound: &InboundRequest, error: &FetchError) -> ProxyAnswer {
    let failure = Failure::from(error);
    if failure == Failure::MalformedBody {
        proxy.metrics.refused(failure);
    }
    inbound.notes.note(|explanation| explanation.failed(failure));
    failure.into()
}

/// Returns the facts to store if the response to a `POST` declares itself the representation for
/// later `GET`s, and for how long (RFC 9110 §9.3.3).
fn storable_for_gets(
    proxy: &Proxy,
    inbound: &InboundRequest,
    response: &Response<origin::OriginBody>,
    requested: Timestamp,
) -> Option<StoredFacts> {
    if inbound.method != Method::POST || !response.headers().contains_key(CONTENT_LOCATION) {
        return None;
    }
    let RuledRequest { rules, passes: None } = inbound.rule_set.of_get(&inbound.target) else {
        return None;
    };
    if !rules.cache.keys.is_asked(&inbound.target) {
        // The origin answered for parameters that the key lacks.
        return None;
    }
    let exchange = Exchange {
        request: &inbound.facts(&rules.cache),
        target: &inbound.target,
        status: response.status(),
        response: response.headers(),
        requested,
        received: time::now(),
    };
    let ruling = policy::storable_post(&exchange, proxy.origin.outbound().base(), &rules.cache);
    let ruling = ruling.and_then(|facts| {
        if proxy.may_change_the_store(inbound, &rules) { Ok(facts) } else { Err(NotStorable::UnkeyedField) }
    });
    inbound.notes.note(|explanation| explanation.storable(&ruling));
    ruling.ok()
}

/// Invalidates the fetches in progress of every target that an unsafe request changed (RFC 9111
/// §4.4), and returns their keys. The caller removes the stored responses before the client learns
/// of the change.
fn invalidate_changed(
    proxy: &Proxy,
    inbound: &InboundRequest,
    response: &Response<origin::OriginBody>,
) -> Vec<CacheKey> {
    let origin = proxy.origin.outbound().base();
    let targets =
        policy::invalidated(&inbound.method, &inbound.target, origin, response.status(), response.headers());
    let changed: Vec<CacheKey> =
        targets.iter().flat_map(|target| inbound.rule_set.resource_keys(target)).collect();
    for key in &changed {
        proxy.store.supersede(key);
    }
    changed
}

/// Removes the values of these keys from every node. The keys of a target, for `GET` and for
/// `QUERY`, take one round trip, and no allocation, which every write would pay.
async fn remove(proxy: &Proxy, keys: &[CacheKey]) {
    let tombstone = async |key: &CacheKey| proxy.store.write_tombstone(key, KeyGeneration::new()).await;
    for keys in keys.chunks(2) {
        match keys {
            [one, other] => {
                let ((), ()) = tokio::join!(tombstone(one), tombstone(other));
            }
            keys => {
                for key in keys {
                    tombstone(key).await;
                }
            }
        }
    }
}

/// Sends an upgrade request. A tunnel begins only if the origin switches protocols.
pub(super) async fn upgrade(
    proxy: &Rc<Proxy>,
    inbound: InboundRequest,
    protocol: UpgradeProtocol,
    client: Option<OnUpgrade>,
    _permit: RequestPermit,
) -> ProxyAnswer {
    let mut response = match proxy.send(&inbound, &FetchPurpose::Upgrade(protocol)).await {
        Ok(response) => response,
        Err(error) => return failed(proxy, &inbound, &error),
    };
    // Only a 101 switches protocols (CVE-2024-23326: a 200 was taken for a switch). Bytes that the
    // client sent before the 101 wait until then.
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return ProxyAnswer::from_origin(Outcome::Pass, response);
    }
    if let Some(client) = client {
        // The request's permit ends with the response head. The tunnel holds an origin connection
        // for much longer, so it takes an address permit of its own; the body of the 101 holds its
        // permit at the origin.
        let permit = match proxy.admit_address(proxy.client(&inbound)) {
            Ok(permit) => permit,
            Err(failure) => {
                inbound.notes.note(|explanation| explanation.failed(failure));
                return failure.into();
            }
        };
        let record = inbound.record.take_for_tunnel();
        let head = std::mem::take(response.headers_mut());
        let mut body = response.into_body();
        if let Some(origin) = body.take_tunnel() {
            let tunnel = tunnel(client, origin, proxy.options.tunnel_idle_timeout, record);
            proxy.tasks.spawn(async move {
                tunnel.await;
                drop((permit, body));
            });
        }
        let reasons = AnswerReasons::default();
        return ProxyAnswer { response: switched(head), outcome: Outcome::Tunnel, reasons };
    }
    let head = std::mem::take(response.headers_mut());
    let reasons = AnswerReasons::default();
    ProxyAnswer { response: switched(head), outcome: Outcome::Tunnel, reasons }
}

/// Returns the 101 with the origin's header fields.
fn switched(head: http::HeaderMap) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Whole(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = head;
    response
}

/// Waits until the client has switched protocols, then copies bytes between both sides.
async fn tunnel(client: OnUpgrade, origin: OriginTunnel, idle_timeout: Duration, record: TunnelRecord) {
    let client = match client.await {
        Ok(client) => client,
        Err(error) => return debug!(%error, "upgrade failed after the 101"),
    };
    match tunnel::carry(TokioIo::new(client), origin, idle_timeout, &record.bytes).await {
        TunnelEnd::Closed(Ok(())) => record.ended(AnswerEnd::TunnelClosed),
        TunnelEnd::Closed(Err(error)) => debug!(%error, "tunnel failed"),
        TunnelEnd::Idle => {
            debug!("tunnel timed out");
            record.ended(AnswerEnd::TunnelIdle);
        }
    }
}
