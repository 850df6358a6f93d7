//! A fetch in progress: its parts, and the steps that each of its ends shares.

use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use tracing::debug;

use crate::entry::Entry;
use crate::label::Label;
use crate::policy::{self, FreshenOutcome, Initiator, NotStorable};
use crate::proxy::explain::notes::RuleQuestion;
use crate::proxy::fetch::table::{FetchState, LeaderGuard};
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::request::{CacheRequest, FetchKey, RequesterClass};
use crate::proxy::worker::Proxy;
use crate::store::StorePermit;
use crate::time;

/// A fetch in progress.
pub(in crate::proxy::fetch) struct ActiveFetch {
    pub(in crate::proxy::fetch) key: FetchKey,
    pub(in crate::proxy::fetch) proxy: Rc<Proxy>,
    pub(in crate::proxy::fetch) request: Rc<CacheRequest>,
    pub(in crate::proxy::fetch) location: CacheLocation,
    /// The stored entry that the fetch validates, until a response ends it.
    pub(in crate::proxy::fetch) stored: Option<Rc<Entry>>,
    /// Held while other requests may join.
    pub(in crate::proxy::fetch) lead: Option<LeaderGuard>,
    /// Taken before the request was sent to the origin.
    pub(in crate::proxy::fetch) permit: StorePermit,
}

impl ActiveFetch {
    /// Creates the fetch of `request`. Other requests may join it if it has a leader's guard.
    pub(in crate::proxy::fetch) fn new(
        proxy: &Rc<Proxy>,
        request: &Rc<CacheRequest>,
        location: &CacheLocation,
        stored: Option<Rc<Entry>>,
        lead: Option<LeaderGuard>,
        permit: StorePermit,
    ) -> Self {
        Self {
            key: request.fetch_key(location.key),
            proxy: Rc::clone(proxy),
            request: Rc::clone(request),
            location: location.clone(),
            stored,
            lead,
            permit,
        }
    }

    /// Counts the reason for which a response is not stored, and removes the stored response if
    /// this response ends it.
    pub(in crate::proxy::fetch) async fn reject(&mut self, status: StatusCode, reason: NotStorable) {
        if self.is_of_the_leader(status) {
            count_refusal(&self.proxy, self.key, reason);
        } else {
            self.refuse(reason);
        }
        self.supersede(status, reason).await;
    }

    /// Returns whether the fetch's own request may have caused a response with this status.
    pub(in crate::proxy::fetch) fn is_of_the_leader(&self, status: StatusCode) -> bool {
        is_of_the_request(&self.request, status)
    }

    /// Removes the stored response that was being validated, if this response ends it.
    pub(in crate::proxy::fetch) async fn supersede(&mut self, status: StatusCode, reason: NotStorable) {
        let Self { request, stored: Some(_), .. } = self else { return };
        let outcome = policy::withdrawn(request.initiator, &request.facts, status, reason);
        if let FreshenOutcome::Invalidated(_) = outcome {
            request.note(|explanation| explanation.rule(RuleQuestion::Freshen, &outcome));
            self.withdraw().await;
        }
    }

    /// Removes the stored response from every node. Every withdrawal goes through this function.
    pub(in crate::proxy::fetch) async fn withdraw(&mut self) {
        self.proxy.metrics.withdrawn();
        self.proxy.store.remove(&self.location.whole, &self.location.key).await;
        self.stored = None;
    }

    pub(in crate::proxy::fetch) fn refuse(&self, reason: NotStorable) {
        refuse(&self.proxy, self.key, reason);
    }

    /// Starts a pause after an origin failure, if an entry is stored that can be served stale.
    pub(in crate::proxy::fetch) fn pause(
        &self,
        failure: policy::OriginFailure,
        retry_after: Option<Duration>,
    ) {
        if self.stored.is_some() {
            self.proxy.pause_refresh(&self.location.key, failure, retry_after);
        }
    }

    /// Ends the pause after an origin success.
    pub(in crate::proxy::fetch) fn succeeded(&self) {
        if self.stored.is_some() {
            self.proxy.shared.pauses.succeeded(&self.location.key);
        }
    }

    pub(in crate::proxy::fetch) fn publish(&self, state: FetchState) {
        if let Some(lead) = &self.lead {
            lead.publish(state);
        }
    }
}

/// Returns whether a request may itself have caused its response: a client chose its fields, and
/// the status allows it. Such a response shows nothing about the key.
pub(in crate::proxy::fetch) fn is_of_the_request(request: &CacheRequest, status: StatusCode) -> bool {
    request.initiator == Initiator::Client && policy::may_be_of_one_request(status)
}

/// Counts the reason for which a response is not stored.
pub(in crate::proxy::fetch) fn count_refusal(proxy: &Proxy, key: FetchKey, reason: NotStorable) {
    proxy.metrics.not_stored(reason);
    debug!(
        reason = reason.word(),
        credentialed = key.requester == RequesterClass::Credentialed,
        "response not stored"
    );
}

/// Counts the reason for which a response is not stored, and remembers the key as uncacheable, so
/// that its next requests do not wait for each other.
pub(in crate::proxy::fetch) fn refuse(proxy: &Proxy, key: FetchKey, reason: NotStorable) {
    count_refusal(proxy, key, reason);
    let uncacheable = &proxy.shared.uncacheable;
    // The other reasons say nothing about the next response.
    if reason == NotStorable::Changed {
        uncacheable.changed(&key);
    } else if !matches!(
        reason,
        NotStorable::CutBody
            | NotStorable::BodyMemory
            | NotStorable::NotAdmitted
            | NotStorable::Held
            | NotStorable::CheckTimeout
    ) {
        uncacheable.add(key, reason, time::instant());
    }
}
