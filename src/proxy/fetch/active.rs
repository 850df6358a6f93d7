//! A fetch in progress: its parts, and the steps that each of its ends shares.

use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use tracing::debug;

use crate::label::Label;
use crate::policy::{self, FreshenOutcome, NotStorable};
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
    /// Held while other requests may join.
    pub(in crate::proxy::fetch) lead: Option<LeaderGuard>,
    /// Taken before the request was sent to the origin.
    pub(in crate::proxy::fetch) permit: StorePermit,
    pub(in crate::proxy::fetch) prior: PriorKnowledge,
}

/// Whether something is stored for a key before its response arrives.
pub(in crate::proxy::fetch) enum PriorKnowledge {
    /// An entry is stored.
    Stored,
    /// No usable entry is known.
    Unknown,
}

impl ActiveFetch {
    /// Creates the fetch of a response that arrived in another way. No request follows it.
    pub(in crate::proxy::fetch) fn adopting(
        proxy: Rc<Proxy>,
        request: Rc<CacheRequest>,
        location: CacheLocation,
        permit: StorePermit,
    ) -> Self {
        Self {
            key: request.fetch_key(location.key),
            proxy,
            request,
            location,
            lead: None,
            permit,
            prior: PriorKnowledge::Unknown,
        }
    }

    /// Counts the reason for which a response is not stored, and removes the stored response if
    /// this response ends it.
    pub(in crate::proxy::fetch) async fn reject(&mut self, status: StatusCode, reason: NotStorable) {
        self.refuse(reason);
        self.supersede(status, reason).await;
    }

    /// Removes the stored response that was being validated, if this response ends it.
    pub(in crate::proxy::fetch) async fn supersede(&mut self, status: StatusCode, reason: NotStorable) {
        let PriorKnowledge::Stored = self.prior else { return };
        let Self { request, .. } = self;
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
        self.prior = PriorKnowledge::Unknown;
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
        match self.prior {
            PriorKnowledge::Stored => self.proxy.pause_refresh(&self.location.key, failure, retry_after),
            PriorKnowledge::Unknown => {}
        }
    }

    /// Ends the pause after an origin success.
    pub(in crate::proxy::fetch) fn succeeded(&self) {
        match self.prior {
            PriorKnowledge::Stored => self.proxy.shared.pauses.succeeded(&self.location.key),
            PriorKnowledge::Unknown => {}
        }
    }

    pub(in crate::proxy::fetch) fn publish(&self, state: FetchState) {
        if let Some(lead) = &self.lead {
            lead.publish(state);
        }
    }
}

/// Counts the reason for which a response is not stored, and remembers the key as uncacheable, so
/// that its next requests do not wait for each other.
pub(in crate::proxy::fetch) fn refuse(proxy: &Proxy, key: FetchKey, reason: NotStorable) {
    proxy.metrics.not_stored(reason);
    debug!(
        reason = reason.word(),
        credentialed = key.requester == RequesterClass::Credentialed,
        "response not stored"
    );
    let uncacheable = &proxy.shared.uncacheable;
    // The other reasons say nothing about the next response.
    if reason == NotStorable::Changed {
        uncacheable.changed(&key);
    } else if !matches!(
        reason,
        NotStorable::CutBody | NotStorable::BodyMemory | NotStorable::NotAdmitted | NotStorable::CheckTimeout
    ) {
        uncacheable.add(key, reason, time::instant());
    }
}
