//! The fetch: sends the request to the origin, and decides who gets the response and whether it is
//! stored.

use std::rc::Rc;
use std::sync::Arc;

use http::{Response, StatusCode};
use http_body::Body as _;
use tokio::sync::oneshot;
use tracing::debug;

use crate::entry::{Entry, KeyGeneration};
use crate::origin::{self, FetchError, FetchPurpose};
use crate::policy::{
    self, CacheRules, Exchange, FreshenOutcome, Initiator, NotSelectedError, NotStorable, StoredFacts,
    StoredHead,
};
use crate::proxy::answer::body::AnswerBody;
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::outcome::Outcome;
use crate::proxy::answer::response::ProxyAnswer;
use crate::proxy::answer::shared_body::SharedBody;
use crate::proxy::explain::notes::RuleQuestion;
use crate::proxy::fetch::active::{ActiveFetch, count_refusal, is_of_the_request, refuse};
use crate::proxy::fetch::head_digest::HeadDigest;
use crate::proxy::fetch::keep::ResponseToStore;
use crate::proxy::fetch::request::FetchRequest;
use crate::proxy::fetch::response::{FetchOutcome, SharedResponse};
use crate::proxy::fetch::retry_after::note_refusal;
use crate::proxy::fetch::table::FetchState;
use crate::proxy::fetch::tags::cache_tags;
use crate::proxy::request::CacheRequest;
use crate::proxy::worker::Proxy;
use crate::time::{self, Timestamp};

/// Fetches a response that is probably not storable. No request follows, and nothing is lost if the
/// client leaves early. The fetch therefore needs no task of its own, unless the response turns out
/// to be storable.
pub(in crate::proxy::fetch) async fn run_alone(
    proxy: &Rc<Proxy>,
    fetch_request: &FetchRequest,
) -> FetchOutcome {
    let FetchRequest { request, location, .. } = fetch_request;
    let permit = fetch_request.permit(proxy);
    let requested = time::now();
    let response = match proxy.send(&request.inbound, &FetchPurpose::Cacheable).await {
        Ok(response) => response,
        Err(error) => return FetchOutcome::Failed(Failure::from(&error)),
    };
    proxy.note_fetch(None, response.body().took());
    let storable = storable(request, &response, requested);
    request.note(|explanation| explanation.storable(&storable));
    match storable {
        Ok(facts) => {
            let fetch = ActiveFetch::new(proxy, request, location, None, None, permit);
            let (to_client, fetched) = oneshot::channel();
            proxy.tasks.spawn(fetch.share(response, facts, to_client));
            fetched.await.unwrap_or(FetchOutcome::Failed(Failure::Closed))
        }
        Err(reason) => {
            let key = request.fetch_key(location.key);
            if is_of_the_request(request, response.status()) {
                count_refusal(proxy, key, reason);
            } else {
                refuse(proxy, key, reason);
            }
            note_refusal(proxy, request, response.status(), response.headers());
            FetchOutcome::Direct(response, reason)
        }
    }
}

/// Decides whether a response is storable, as far as its head shows.
fn storable(
    request: &CacheRequest,
    response: &Response<origin::OriginBody>,
    requested: Timestamp,
) -> Result<StoredFacts, NotStorable> {
    let rules = request.rules();
    let facts = policy::storable(&exchange(request, response, requested), rules)?;
    body_fits(rules, response)?;
    if request.inbound.rules.route.is_some() {
        cache_tags(response.headers(), &request.inbound)?;
    }
    Ok(facts.jittered(rules.jitter, fastrand::f64()))
}

fn exchange<'a>(
    request: &'a CacheRequest,
    response: &'a Response<origin::OriginBody>,
    requested: Timestamp,
) -> Exchange<'a> {
    Exchange {
        request: &request.facts,
        target: &request.inbound.target,
        status: response.status(),
        response: response.headers(),
        requested,
        received: time::now(),
    }
}

/// Checks that the body's framing proves its completeness, or that its content may, and that its
/// known length is within the limit.
pub(in crate::proxy::fetch) fn body_fits(
    rules: &CacheRules,
    response: &Response<origin::OriginBody>,
) -> Result<(), NotStorable> {
    if !response.body().framing().proves_whole() && !policy::is_json(response.headers()) {
        // The end of the connection may be the end of the body or a truncation. A JSON text shows
        // the difference, once it is there.
        return Err(NotStorable::Undelimited);
    }
    if response.body().size_hint().lower() > rules.body_bytes_max as u64 {
        return Err(NotStorable::BodyTooLarge);
    }
    Ok(())
}

impl ActiveFetch {
    /// Sends the request, with the validators of the stored entry if there is one, and handles the
    /// response.
    ///
    /// The fetch runs to completion even if the client leaves, because its response can be stored.
    pub(in crate::proxy::fetch) async fn run(self, to_client: oneshot::Sender<FetchOutcome>) {
        let requested = time::now();
        match self.send_request().await {
            Err(error) => self.fail(&error, to_client),
            Ok(response) => match self.stored.clone() {
                Some(stored) if response.status() == StatusCode::NOT_MODIFIED => {
                    self.validated(stored, response, requested, to_client).await;
                }
                Some(_) | None => self.answered(response, requested, to_client).await,
            },
        }
    }

    async fn send_request(&self) -> Result<Response<origin::OriginBody>, FetchError> {
        let origin = &self.proxy.origin;
        let head = || {
            let mut head =
                origin.outbound().head(&self.request.inbound.to_outbound(&FetchPurpose::Cacheable))?;
            if let Some(stored) = &self.stored {
                policy::make_conditional(&mut head.headers, &stored.head);
            }
            Ok(head)
        };
        let response =
            self.proxy.exchange(&self.request.inbound, head, self.request.inbound.outbound_content()).await?;
        let shared = self.lead.as_ref().map(|_| self.key);
        self.proxy.note_fetch(shared, response.body().took());
        Ok(response)
    }

    fn fail(mut self, error: &FetchError, to_client: oneshot::Sender<FetchOutcome>) {
        let failure = Failure::from(error);
        debug!(%error, "fetch failed");
        if failure.is_of_the_origin() {
            self.pause(policy::OriginFailure::Disconnected, None);
        }
        if let Some(lead) = self.lead.take() {
            let head = failure.may_be_of_the_head().then(|| {
                let sent = self.request.inbound.to_outbound(&FetchPurpose::Cacheable);
                HeadDigest::of_any_client(self.proxy.origin.outbound(), &sent)
            });
            lead.end(FetchState::Failed(failure, head.flatten()));
        }
        // The send fails if the client has left.
        drop(to_client.send(FetchOutcome::Failed(failure)));
    }

    /// Handles a full response.
    async fn answered(
        self,
        response: Response<origin::OriginBody>,
        requested: Timestamp,
        to_client: oneshot::Sender<FetchOutcome>,
    ) {
        let storable = storable(&self.request, &response, requested);
        self.request.note(|explanation| explanation.storable(&storable));
        match storable {
            Ok(facts) => self.share(response, facts, to_client).await,
            Err(reason) => self.hand_over(response, reason, to_client).await,
        }
    }

    /// Passes the origin's stream to the client alone, at the origin's own pace.
    async fn hand_over(
        mut self,
        response: Response<origin::OriginBody>,
        reason: NotStorable,
        to_client: oneshot::Sender<FetchOutcome>,
    ) {
        // The stored response is removed before the response is published: a follower must not find
        // an entry that it invalidates.
        self.reject(response.status(), reason).await;
        note_refusal(&self.proxy, &self.request, response.status(), response.headers());
        let failure = policy::OriginFailure::of(response.status());
        let paused_by = match policy::OriginFailure::of_refresh(response.status()) {
            // A refresh that brings another error would otherwise be repeated at once.
            other @ Some(_) if self.request.initiator == Initiator::Refresh => other,
            Some(_) | None => failure,
        };
        match paused_by {
            Some(failure) => self.pause(failure, policy::retry_after(response.headers(), time::now())),
            None => self.succeeded(),
        }
        if self.is_of_the_leader(response.status()) {
            if let Some(lead) = self.lead.take() {
                lead.end(FetchState::OfLeader(failure));
            }
        } else {
            self.publish(if failure.is_some() { FetchState::Errored } else { FetchState::Alone });
        }
        drop(to_client.send(FetchOutcome::Direct(response, reason)));
    }

    /// Handles a `304`: the stored response is still valid (RFC 9111 §4.3.4).
    async fn validated(
        mut self,
        stored: Rc<Entry>,
        response: Response<origin::OriginBody>,
        requested: Timestamp,
        to_client: oneshot::Sender<FetchOutcome>,
    ) {
        let head =
            StoredHead { status: stored.status, fields: &stored.head, body_bytes: stored.body.len() as u64 };
        let freshened =
            policy::freshen(head, &exchange(&self.request, &response, requested), self.request.rules());
        self.request.note(|explanation| explanation.rule(RuleQuestion::Validate, &freshened));
        let freshened = match freshened {
            Ok(freshened) => freshened,
            Err(NotSelectedError) => return Box::pin(self.start_over(to_client)).await,
        };
        self.succeeded();
        let mut answer = freshened.answer;
        policy::strip_addressed(&mut answer);
        let body = AnswerBody::Whole(stored.body.clone());
        let answer = Box::new(ProxyAnswer::new(Outcome::Validated, stored.status, answer, body));
        self.request.note(|explanation| explanation.rule(RuleQuestion::Freshen, &freshened.outcome));
        match freshened.outcome {
            FreshenOutcome::Updated { facts, fields } => {
                let facts = facts.jittered(self.request.rules().jitter, fastrand::f64());
                let location = ResponseToStore::location(&self.location, &fields, &facts, &self.request);
                self.request.note(|explanation| explanation.fetched(&facts, facts.received));
                self.request.note_location(&location);
                let body =
                    Arc::new(SharedBody::from_whole(stored.body.clone(), self.proxy.shared.load.hold()));
                let (status, head) = (stored.status, fields);
                let span = response.extensions().get().copied();
                let shared = Arc::new(SharedResponse { facts, location, status, head, body, span });
                self.publish(FetchState::Shared(Arc::clone(&shared)));
                drop(to_client.send(FetchOutcome::Validated(answer, Ok(()))));
                self.keep(&shared, stored.body.clone()).await;
            }
            FreshenOutcome::Unchanged(reason) => {
                self.refuse(reason);
                self.publish(FetchState::Alone);
                drop(to_client.send(FetchOutcome::Validated(answer, Err(reason))));
            }
            FreshenOutcome::Invalidated(reason) => {
                self.refuse(reason);
                self.withdraw().await;
                self.publish(FetchState::Alone);
                drop(to_client.send(FetchOutcome::Validated(answer, Err(reason))));
            }
        }
    }

    /// Handles a `304` that does not match the stored response: removes the entry and fetches again
    /// without validators.
    async fn start_over(mut self, to_client: oneshot::Sender<FetchOutcome>) {
        let generation = KeyGeneration::new();
        self.proxy.store.write_tombstone(&self.location.key, generation).await;
        self.stored = None;
        // A variant's list keeps its generation.
        if self.location.key == self.location.whole && !self.permit.is_superseded() {
            self.location.generation = generation;
            self.permit = self.proxy.permit(&self.request, &self.location.whole, generation);
        }
        self.run(to_client).await;
    }
}
