//! A storable response: shares the body while it arrives, gathers it, checks it and stores it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::sleep;
use tracing::debug;

use crate::limits::{FETCH_LAG_TIMEOUT, INFLATE_FACTOR_MAX};
use crate::policy::{self, Initiator, NotStorable, Ruling, StoredFacts};
use crate::proxy::admission::doorkeeper::Admission;
use crate::proxy::answer::body::{AnswerBody, SharedReader};
use crate::proxy::answer::outcome::Outcome;
use crate::proxy::answer::response::ProxyAnswer;
use crate::proxy::answer::shared_body::{BrokenBody, SharedBody};
use crate::proxy::explain::notes::RuleQuestion;
use crate::proxy::fetch::active::ActiveFetch;
use crate::proxy::fetch::json_checks::GatheredBody;
use crate::proxy::fetch::keep::ResponseToStore;
use crate::proxy::fetch::response::{FetchOutcome, SharedResponse};
use crate::proxy::fetch::table::FetchState;
use crate::proxy::worker::Proxy;
use crate::{origin, time};

impl ActiveFetch {
    /// Publishes the response to the followers, then gathers the body and stores it.
    pub(in crate::proxy::fetch) async fn share(
        mut self,
        response: Response<origin::OriginBody>,
        facts: StoredFacts,
        to_client: oneshot::Sender<FetchOutcome>,
    ) {
        let (mut parts, mut incoming) = response.into_parts();
        let framing = incoming.framing();
        let body = Arc::new(SharedBody::new(incoming.size_hint().exact(), self.proxy.shared.load.hold()));
        let Some(reader) = body.reader() else { return };
        let shared = Arc::new(SharedResponse {
            location: ResponseToStore::location(&self.location, &parts.headers, &facts, &self.request),
            facts,
            status: parts.status,
            head: policy::stored_fields(&parts.headers, facts.received, self.request.rules()),
            body: Arc::clone(&body),
            span: parts.extensions.get().copied(),
        });
        self.request.note_location(&shared.location);
        // The client of this fetch gets the origin's own head, including cookies.
        policy::strip_addressed(&mut parts.headers);
        let own = ProxyAnswer::new(
            Outcome::Miss,
            parts.status,
            parts.headers,
            AnswerBody::Shared(SharedReader(reader)),
        );
        self.publish(FetchState::Shared(Arc::clone(&shared)));
        let admission = self.admission();
        drop(to_client.send(FetchOutcome::Shared(Box::new(own), admission)));

        let gathered = match self.gather(&mut incoming, &body, &shared).await {
            // Without a tier, the followers have already received the body, and nothing is stored.
            Ok(_) if !self.proxy.store.has_tier() => {
                return self.proxy.metrics.not_stored(NotStorable::NoTier);
            }
            Ok(whole) => match admission.refusal() {
                Some(reason) => Err(reason),
                None => self.checked(whole, framing, shared.status, &shared.head).await,
            },
            Err(reason) => Err(reason),
        };
        match &gathered {
            Err(NotStorable::CutBody) => self.pause(policy::OriginFailure::Disconnected, None),
            Ok(_) | Err(_) => self.succeeded(),
        }
        match gathered {
            Ok(whole) => {
                self.proxy.shared.doorkeeper.stored(admission, whole.len());
                self.keep(&shared, whole).await;
            }
            Err(reason) => self.reject(shared.status, reason).await,
        }
    }

    /// Asks the doorkeeper whether a storable response may be stored. A key with a stored entry is
    /// always admitted.
    fn admission(&self) -> Admission {
        let Proxy { shared, store, .. } = &*self.proxy;
        let admission = if self.stored.is_some() {
            Admission::Again
        } else {
            let now = time::instant();
            shared.doorkeeper.admit(self.key.key.short(), store.room(now), now)
        };
        if let Some(reason) = admission.refusal() {
            self.request.note(|explanation| explanation.rule(RuleQuestion::Store, Ruling::no(reason)));
        }
        admission
    }

    /// Relays the body to its readers while it arrives, and keeps it while it may be stored. A body
    /// without readers has a deadline: it may never end, and each client could start another one.
    async fn gather(
        &mut self,
        incoming: &mut origin::OriginBody,
        body: &SharedBody,
        shared: &SharedResponse,
    ) -> Result<Bytes, NotStorable> {
        let status = shared.status;
        let mut gathered = Ok(0);
        let mut unread =
            pin!(sleep(unread_timeout(self.request.initiator, &shared.facts, incoming.timeout())));
        loop {
            let next = poll_fn(|cx| {
                if let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(cx) {
                    return Poll::Ready(Ok(frame));
                }
                let is_over = unread.is_elapsed() || unread.as_mut().poll(cx).is_ready();
                if is_over && !body.has_readers() {
                    return Poll::Ready(Err(NotStorable::Unread));
                }
                Poll::Pending
            });
            let frame = match next.await {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(reason) => {
                    // No request joins from here on; one that has joined is read for.
                    self.lead = None;
                    if body.has_readers() {
                        continue;
                    }
                    body.end(Err(BrokenBody::Cut));
                    return Err(reason);
                }
            };
            let piece = match frame.map(http_body::Frame::into_data) {
                Ok(Ok(piece)) => piece,
                Ok(Err(_)) => continue,
                Err(error) => {
                    debug!(%error, "response body ended early");
                    body.end(Err(BrokenBody::Cut));
                    return Err(NotStorable::CutBody);
                }
            };
            let fitted = gathered.is_ok();
            gathered = gathered.and_then(|bytes: usize| match bytes + piece.len() {
                total if total > self.body_bytes_max() => Err(NotStorable::BodyTooLarge),
                _ if self.proxy.shared.load.is_full_of_bodies() => Err(NotStorable::BodyMemory),
                total => Ok(total),
            });
            if fitted && let Err(reason) = gathered {
                // The whole body may arrive at once; followers that have been notified join now.
                yield_now().await;
                // No further reader can join, because the beginning is dropped.
                self.lead = None;
                body.relay();
                // The rest may take long, and the stored response is already invalid.
                self.supersede(status, reason).await;
            }
            body.push(piece);
            if let Err(reason) = gathered {
                if !body.has_readers() {
                    return Err(reason);
                }
                wait_for_room(body).await;
            }
        }
        body.end(Ok(()));
        gathered.map(|_| body.whole())
    }

    /// Checks JSON and its coding, after the clients have received the bytes. A body that only the
    /// end of its connection delimits is whole if it is a JSON text no beginning of which is one
    /// (RFC 9112 §8).
    async fn checked(
        &self,
        whole: Bytes,
        framing: origin::BodyFraming,
        status: StatusCode,
        head: &HeaderMap,
    ) -> Result<Bytes, NotStorable> {
        let has_json = policy::is_json(head) && (policy::means_content(status) || !whole.is_empty());
        if framing.proves_whole() && !has_json {
            return Ok(whole);
        }
        let decoded_bytes_max = self.body_bytes_max().saturating_mul(INFLATE_FACTOR_MAX);
        let Proxy { shared, json, metrics, .. } = &*self.proxy;
        let body = GatheredBody {
            bytes: &whole,
            content_encoding: head.get(CONTENT_ENCODING),
            framing,
            decoded_bytes_max,
        };
        shared.json_checks.check(json, metrics, &body).await?;
        Ok(whole)
    }

    pub(in crate::proxy::fetch) async fn keep(&mut self, shared: &SharedResponse, body: Bytes) {
        let kept = ResponseToStore {
            store: &self.proxy.store,
            looked_up: &self.location,
            request: &self.request,
            permit: &self.permit,
            shared,
        };
        match kept.put(body).await {
            Ok(()) => {
                let uncacheable = &self.proxy.shared.uncacheable;
                uncacheable.remove(&self.key);
                // Responses that need validation every time gain nothing from a shared fetch.
                if shared.facts.ttl(time::now()).is_zero() && !policy::is_shared_on_arrival(&shared.facts) {
                    uncacheable.add(self.key, NotStorable::Expired, time::instant());
                }
            }
            Err(reason) => self.reject(shared.status, reason).await,
        }
    }

    pub(in crate::proxy::fetch) fn body_bytes_max(&self) -> usize {
        self.request.rules().body_bytes_max
    }
}

/// Returns the time for which a body may go on without a reader: while the response can be fresh,
/// and at most for the time-out of a body. A background refresh never has a reader.
fn unread_timeout(initiator: Initiator, facts: &StoredFacts, body_timeout: Duration) -> Duration {
    match (initiator, facts.ttl(time::now())) {
        // A response that needs validation every time.
        (Initiator::Refresh, _) | (Initiator::Client, Duration::ZERO) => body_timeout,
        (Initiator::Client, ttl) => ttl.min(body_timeout),
    }
}

/// Waits for the slowest reader, for at most as long as it may delay the others.
async fn wait_for_room(body: &SharedBody) {
    while tokio::time::timeout(FETCH_LAG_TIMEOUT, poll_fn(|cx| body.poll_room(cx))).await.is_err() {
        body.cut_off_the_slowest();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Obligations, RulesDigest};

    #[test]
    fn a_refresh_has_the_time_of_a_body() {
        let facts = |lifetime: u64| StoredFacts {
            received: time::now(),
            initial_age: Duration::ZERO,
            lifetime: Duration::from_secs(lifetime),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            obligations: Obligations::default(),
            rules: RulesDigest::NONE,
        };
        let second = Duration::from_secs(1);
        let rows = [
            (Initiator::Client, 600, 30 * second),
            (Initiator::Client, 0, 30 * second),
            (Initiator::Refresh, 1, 30 * second),
            (Initiator::Refresh, 0, 30 * second),
        ];
        for (initiator, lifetime, want) in rows {
            assert_eq!(
                unread_timeout(initiator, &facts(lifetime), 30 * second),
                want,
                "{initiator:?} {lifetime}"
            );
        }
        assert!(unread_timeout(Initiator::Client, &facts(1), 30 * second) <= second);
    }
}
