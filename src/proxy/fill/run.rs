//! The fetch itself: ask the origin, and find out what its answer is to those who wait and to the store.

use std::rc::Rc;
use std::sync::Arc;

use http::{Response, StatusCode};
use http_body::Body as _;
use tokio::sync::oneshot;
use tracing::debug;

use super::gather::{Fill, Sight};
use super::keep::Keep;
use super::response::{Fetched, SharedResponse};
use super::table::{Lead, News};
use crate::entry::{Entry, Lineage};
use crate::label::Label;
use crate::origin::{self, FetchError, Purpose, RequestBody};
use crate::policy::{self, Exchange, Fate, NotSelected, NotStorable, StoredFacts, StoredHead};
use crate::proxy::Proxy;
use crate::proxy::answer::{Answer, Outcome};
use crate::proxy::ask::{Ask, Asker, FillKey};
use crate::proxy::body::Body;
use crate::proxy::explain::Question;
use crate::proxy::failure::Failure;
use crate::proxy::place::Place;
use crate::proxy::shared_body::SharedBody;
use crate::store::Claim;
use crate::time::{self, Timestamp};

/// Fetches for `ask`, and for its followers if it leads; with the validators of what is stored, if anything is.
///
/// Runs to the end whether or not the client stays: what can be stored is worth having.
pub(super) async fn run(
    proxy: Rc<Proxy>,
    ask: Rc<Ask>,
    place: Place,
    stored: Option<Rc<Entry>>,
    right: Right,
    to_client: oneshot::Sender<Fetched>,
) {
    let key = ask.fill_key(place.key);
    let Right { lead, claim } = right;
    let sight = if stored.is_some() { Sight::Stored } else { Sight::Unknown };
    let fill = Fill { key, proxy, ask, place, lead, claim, sight };
    let requested = time::now();
    match fill.ask_the_origin(stored.as_deref()).await {
        Err(error) => fill.fail(&error, to_client),
        Ok(response) => match stored {
            Some(stored) if response.status() == StatusCode::NOT_MODIFIED => {
                fill.validated(stored, response, requested, to_client).await;
            }
            Some(_) | None => fill.answered(response, requested, to_client).await,
        },
    }
}

/// What a fetch may do.
pub(in crate::proxy) struct Right {
    /// Have others follow it.
    pub(in crate::proxy) lead: Option<Lead>,
    /// Store what it brings.
    pub(in crate::proxy) claim: Claim,
}

/// Fetches for `ask` what most likely cannot be stored: nobody follows, and nothing is lost if its client leaves before
/// there is an answer. So this needs no task of its own, unless the answer can be stored after all.
pub(in crate::proxy) async fn run_alone(proxy: &Rc<Proxy>, ask: &Rc<Ask>, place: &Place) -> Fetched {
    let claim = proxy.store.claim(&place.whole, place.lineage);
    let requested = time::now();
    let head = || proxy.origin.outbound().head(&ask.inbound.asked(&Purpose::Cacheable, &proxy.rules));
    let response = match proxy.origin.send(proxy.client(&ask.inbound), head, RequestBody::Empty).await {
        Ok(response) => response,
        Err(error) => return Fetched::Failed(Failure::from(&error)),
    };
    proxy.note_fetch(None, response.body().took());
    let storable = storable(proxy, ask, &response, requested);
    ask.note(|explanation| explanation.storable(&storable));
    match storable {
        Ok(facts) => {
            let fill = Fill::adopting(Rc::clone(proxy), Rc::clone(ask), place.clone(), claim);
            let (to_client, fetched) = oneshot::channel();
            proxy.tasks.spawn(fill.share(response, facts, to_client));
            fetched.await.unwrap_or(Fetched::Failed(Failure::Closed))
        }
        Err(reason) => {
            refuse(proxy, ask.fill_key(place.key), reason);
            Fetched::Direct(response, reason)
        }
    }
}

/// Everything that can be said before the body is there.
fn storable(
    proxy: &Proxy,
    ask: &Ask,
    response: &Response<origin::Body>,
    requested: Timestamp,
) -> Result<StoredFacts, NotStorable> {
    let facts = policy::storable(&exchange(ask, response, requested), &proxy.rules)?;
    body_fits(proxy, response)?;
    Ok(facts.jittered(proxy.rules.jitter, fastrand::f64()))
}

fn exchange<'a>(ask: &'a Ask, response: &'a Response<origin::Body>, requested: Timestamp) -> Exchange<'a> {
    Exchange {
        request: &ask.facts,
        status: response.status(),
        response: response.headers(),
        requested,
        received: time::now(),
    }
}

/// Whether the body will show that it is whole, and is not known to be too large.
pub(super) fn body_fits(proxy: &Proxy, response: &Response<origin::Body>) -> Result<(), NotStorable> {
    if !response.body().framing().proves_whole() {
        // The end of the connection is the end of the body, or a cut: nothing can tell.
        return Err(NotStorable::Undelimited);
    }
    if response.body().size_hint().lower() > proxy.rules.body_bytes_max as u64 {
        return Err(NotStorable::BodyTooLarge);
    }
    Ok(())
}

/// Counts why an answer is not stored, and sees to it that the next requests for it do not queue.
pub(super) fn refuse(proxy: &Proxy, key: FillKey, reason: NotStorable) {
    proxy.metrics.not_stored(reason);
    debug!(reason = reason.word(), credentialed = key.asker == Asker::Credentialed, "not stored");
    let uncacheable = &proxy.shared.uncacheable;
    // The others say nothing of the next answer.
    if reason == NotStorable::Changed {
        uncacheable.changed(&key);
    } else if !matches!(reason, NotStorable::CutBody | NotStorable::BodyMemory | NotStorable::FirstSight) {
        uncacheable.add(key, reason, time::instant());
    }
}

impl Fill {
    async fn ask_the_origin(&self, stored: Option<&Entry>) -> Result<Response<origin::Body>, FetchError> {
        let origin = &self.proxy.origin;
        let head = || {
            let mut head =
                origin.outbound().head(&self.ask.inbound.asked(&Purpose::Cacheable, &self.proxy.rules))?;
            if let Some(stored) = stored {
                policy::make_conditional(&mut head.headers, &stored.head);
            }
            Ok(head)
        };
        let asker = self.proxy.client(&self.ask.inbound);
        let response = origin.send(asker, head, RequestBody::Empty).await?;
        let shared = self.lead.as_ref().map(|_| self.key);
        self.proxy.note_fetch(shared, response.body().took());
        Ok(response)
    }

    fn fail(mut self, error: &FetchError, to_client: oneshot::Sender<Fetched>) {
        let failure = Failure::from(error);
        debug!(%error, "a fetch failed");
        if failure.is_of_the_origin() {
            self.pause(policy::Failure::Disconnected, None);
        }
        if let Some(lead) = self.lead.take() {
            lead.end(News::Failed(failure));
        }
        // The client may have left; then nobody needs to know.
        drop(to_client.send(Fetched::Failed(failure)));
    }

    /// A response of its own right.
    async fn answered(
        self,
        response: Response<origin::Body>,
        requested: Timestamp,
        to_client: oneshot::Sender<Fetched>,
    ) {
        let storable = storable(&self.proxy, &self.ask, &response, requested);
        self.ask.note(|explanation| explanation.storable(&storable));
        match storable {
            Ok(facts) => self.share(response, facts, to_client).await,
            Err(reason) => self.hand_over(response, reason, to_client).await,
        }
    }

    /// The answer is for the client alone: it gets the origin's own stream, at the origin's own pace.
    async fn hand_over(
        mut self,
        response: Response<origin::Body>,
        reason: NotStorable,
        to_client: oneshot::Sender<Fetched>,
    ) {
        // Before anyone learns of the answer: a follower must not find the response that it ends.
        self.reject(response.status(), reason).await;
        match policy::Failure::of(response.status()) {
            Some(failure) => {
                self.pause(failure, policy::retry_after(response.headers(), time::now()));
                self.tell(News::Errored);
            }
            None => {
                self.succeeded();
                self.tell(News::Alone);
            }
        }
        drop(to_client.send(Fetched::Direct(response, reason)));
    }

    /// Counts why an answer is not stored, and removes the stored response if the answer ends it.
    pub(super) async fn reject(&mut self, status: StatusCode, reason: NotStorable) {
        self.refuse(reason);
        self.supersede(status, reason).await;
    }

    /// Removes the stored response that the origin was asked about, if this answer to the question ends it.
    pub(super) async fn supersede(&mut self, status: StatusCode, reason: NotStorable) {
        let Sight::Stored = self.sight else { return };
        let Self { ask, .. } = self;
        let fate = policy::withdrawn(ask.initiator, &ask.facts, status, reason);
        if let Fate::Removed(_) = fate {
            ask.note(|explanation| explanation.rule(Question::Freshen, &fate));
            self.withdraw().await;
        }
    }

    /// Removes the stored response from every node. Every withdrawal is carried out here.
    async fn withdraw(&mut self) {
        self.proxy.metrics.withdrawn();
        self.proxy.store.withdraw(&self.place.whole, &self.place.key).await;
        self.sight = Sight::Unknown;
    }

    /// What is stored is still right, says the origin (RFC 9111 §4.3.4).
    async fn validated(
        mut self,
        stored: Rc<Entry>,
        response: Response<origin::Body>,
        requested: Timestamp,
        to_client: oneshot::Sender<Fetched>,
    ) {
        let head =
            StoredHead { status: stored.status, fields: &stored.head, body_bytes: stored.body.len() as u64 };
        let freshened = policy::freshen(head, &exchange(&self.ask, &response, requested), &self.proxy.rules);
        self.ask.note(|explanation| explanation.rule(Question::Validate, &freshened));
        let freshened = match freshened {
            Ok(freshened) => freshened,
            Err(NotSelected) => return Box::pin(self.start_over(to_client)).await,
        };
        self.succeeded();
        let mut answer = freshened.answer;
        policy::strip_addressed(&mut answer);
        let body = Body::Whole(stored.body.clone());
        let answer = Box::new(Answer::new(Outcome::Validated, stored.status, answer, body));
        self.ask.note(|explanation| explanation.rule(Question::Freshen, &freshened.fate));
        match freshened.fate {
            Fate::Replaced { facts, fields } => {
                let facts = facts.jittered(self.proxy.rules.jitter, fastrand::f64());
                let place = Keep::place(&self.place, &fields, &facts, &self.ask, &self.proxy.rules);
                self.ask.note(|explanation| explanation.fetched(&facts, facts.received));
                self.ask.note_place(&place, &self.proxy.rules);
                let body =
                    Arc::new(SharedBody::whole_already(stored.body.clone(), self.proxy.shared.load.hold()));
                let (status, head) = (stored.status, fields);
                let shared = Arc::new(SharedResponse { facts, place, status, head, body });
                self.tell(News::Shared(Arc::clone(&shared)));
                drop(to_client.send(Fetched::Validated(answer, Ok(()))));
                self.keep(&shared, stored.body.clone()).await;
            }
            Fate::Kept(reason) => {
                self.refuse(reason);
                self.tell(News::Alone);
                drop(to_client.send(Fetched::Validated(answer, Err(reason))));
            }
            Fate::Removed(reason) => {
                self.refuse(reason);
                self.withdraw().await;
                self.tell(News::Alone);
                drop(to_client.send(Fetched::Validated(answer, Err(reason))));
            }
        }
    }

    /// The origin's `304` was about something else than what is stored: that goes, and the question is put anew.
    async fn start_over(self, to_client: oneshot::Sender<Fetched>) {
        let lineage = Lineage::new();
        self.proxy.store.bury(&self.place.key, lineage).await;
        let Self { proxy, ask, mut place, lead, claim, .. } = self;
        // Of a variant the list stays as it was.
        let claim = if place.key == place.whole && !claim.is_overtaken() {
            place.lineage = lineage;
            proxy.store.claim(&place.whole, lineage)
        } else {
            claim
        };
        run(proxy, ask, place, None, Right { lead, claim }, to_client).await;
    }
}
