//! Requests that go to the origin: as the leader of a shared fetch, as a follower, or alone.

use std::rc::Rc;

use http::{Method, Response, StatusCode};
use tokio::sync::{oneshot, watch};

use crate::entry::{Entry, KeyGeneration, StoredValue};
use crate::label::Label;
use crate::origin::{self, FetchPurpose, RequestBody};
use crate::policy::{self, Exchange, FreshenOutcome, NotStorable, Reuse, Ruling, StoredHead};
use crate::proxy::Proxy;
use crate::proxy::answer::cache_status::{CacheStatus, ForwardReason};
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::present::{
    present, {self},
};
use crate::proxy::answer::response::{Outcome, ProxyAnswer};
use crate::proxy::explain::{
    RuleQuestion, {self},
};
use crate::proxy::fetch::stand_in::{failed, stand, stand_in, stand_in_for};
use crate::proxy::fetch::{
    FetchOutcome, FetchRole, FetchState, LeaderGuard, SharedResponse, {self},
};
use crate::proxy::lookup::find::{just_stored, stored_meanwhile};
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::request::CacheRequest;
use crate::store::{StorePermit, Superseded};
use crate::time;

/// The maximum number of shared fetches that a request joins, if they turn out to be for other
/// variants.
const JOINS_MAX: usize = 2;

/// A request that no store could answer.
#[derive(Clone)]
pub(in crate::proxy) struct FetchRequest {
    pub(in crate::proxy) ask: Rc<CacheRequest>,
    pub(in crate::proxy) place: CacheLocation,
    pub(in crate::proxy) forward: ForwardReason,
    /// The stored entry to validate. It may be served stale if the origin fails.
    pub(in crate::proxy) stored: Option<Rc<Entry>>,
}

/// Answers from the origin, and shares one fetch with concurrent requests for the key.
pub(in crate::proxy) async fn answer(proxy: &Rc<Proxy>, mut errand: FetchRequest) -> ProxyAnswer {
    let pauses = &proxy.shared.pauses;
    if errand.stored.is_some()
        && let Some(failure) = pauses.of(&errand.place.key, time::instant())
        && let Some(answer) = stand_in(proxy, &errand, failure).await
    {
        return answer;
    }
    if let Some(reason) = errand.ask.facts.forbids_storing() {
        return unstored(proxy, &errand, reason).await;
    }
    // A client that requires a response newer than its own request cannot take one that was
    // requested earlier.
    if errand.forward == ForwardReason::Request {
        return lead(proxy, errand, Leadership::Alone).await;
    }
    let mut may_lead_anew = true;
    for _ in 0..JOINS_MAX {
        let key = errand.ask.fill_key(errand.place.key);
        if let Some(reason) = proxy.shared.uncacheable.known(&key, time::instant()).reason {
            return Box::pin(doubtful(proxy, &errand, reason)).await;
        }
        let claim = || proxy.store.claim(&errand.place.whole, errand.place.lineage);
        let news = match proxy.shared.fills.join(key, claim) {
            FetchRole::Alone => break,
            FetchRole::Follower(news) => news,
            FetchRole::Leader(leader, claim) => {
                // Another fetch may have ended since the lookup.
                return match just_stored(proxy, &errand.ask, &errand.place) {
                    Some(hit) => stand(&errand.ask, hit).await,
                    None => lead(proxy, errand, Leadership::Shared(leader, claim)).await,
                };
            }
        };
        match follow(proxy, &errand, news).await {
            FollowOutcome::Answered(answer) => return *answer,
            FollowOutcome::OtherVariant(own) => {
                errand.ask.note_place(&own, &proxy.rules);
                errand = FetchRequest { place: own, stored: None, ..errand };
            }
            FollowOutcome::Stored => match stored_meanwhile(proxy, &errand.ask).await {
                Some(hit) => return stand(&errand.ask, hit).await,
                None => break,
            },
            FollowOutcome::Failed(failure) => {
                if !may_lead_anew || !failure.may_be_of_the_request() {
                    return failed(proxy, &errand, failure).await;
                }
                if let Some(answer) = stand_in_for(proxy, &errand, failure).await {
                    return answer;
                }
                may_lead_anew = false;
            }
            FollowOutcome::InVain => break,
        }
    }
    if errand.stored.is_some()
        && let Some(failure) = pauses.of(&errand.place.key, time::instant())
        && let Some(answer) = stand_in(proxy, &errand, failure).await
    {
        return answer;
    }
    lead(proxy, errand, Leadership::Alone).await
}

/// The result of following another request's fetch.
enum FollowOutcome {
    /// The shared response answers this request too.
    Answered(Box<ProxyAnswer>),
    /// The shared response is for other request fields. This location is the request's own.
    OtherVariant(CacheLocation),
    /// Another node has fetched and stored the response.
    Stored,
    /// The fetch failed.
    Failed(Failure),
    /// The fetch took too long, or its response is not sharable.
    InVain,
}

async fn follow(
    proxy: &Proxy,
    errand: &FetchRequest,
    mut news: watch::Receiver<FetchState>,
) -> FollowOutcome {
    let begun = time::instant();
    errand.note_role(explain::ExplainedRole::Follower);
    let waited = tokio::time::timeout(
        proxy.options.coalesce_timeout,
        news.wait_for(|news| !matches!(news, FetchState::Fetching)),
    );
    let news = match waited.await {
        Ok(Ok(news)) => news.clone(),
        Ok(Err(_)) | Err(_) => FetchState::Alone,
    };
    proxy.metrics.waited(time::instant().duration_since(begun));
    match news {
        FetchState::Shared(response) => {
            errand.ask.note_place(&response.place, &proxy.rules);
            join(errand, &response).await
        }
        FetchState::Failed(failure) => FollowOutcome::Failed(failure),
        FetchState::Stored => FollowOutcome::Stored,
        FetchState::Errored => match stand_in(proxy, errand, policy::OriginFailure::ErrorResponse).await {
            Some(answer) => FollowOutcome::Answered(Box::new(answer)),
            None => FollowOutcome::InVain,
        },
        FetchState::Alone | FetchState::Fetching => FollowOutcome::InVain,
    }
}

/// Takes the shared response, if the policy lets it answer this request.
async fn join(errand: &FetchRequest, response: &SharedResponse) -> FollowOutcome {
    let FetchRequest { ask, place, forward, .. } = errand;
    if let Some(variants) = &response.place.variants {
        let own = CacheLocation::variant(place.whole, place.lineage, variants.clone(), &ask.inbound.headers);
        if own.key != response.place.key {
            return FollowOutcome::OtherVariant(own);
        }
    }
    let shared = match ask.share(&response.facts, time::now()) {
        Reuse::Fresh { age, .. } | Reuse::StaleWhileRevalidate { age, .. } | Reuse::Stale { age, .. } => {
            response.answer(age)
        }
        Reuse::Validate(_) | Reuse::Not(_) => None,
    };
    let Some(answer) = shared else { return FollowOutcome::InVain };
    let answer = answer.with_status(CacheStatus::Collapsed { forward: *forward });
    let answer = present(ask, answer, response.facts.received).await.unwrap_or_else(present::failed);
    FollowOutcome::Answered(Box::new(answer))
}

/// The role of a request that fetches.
enum Leadership {
    /// Fetches for itself and for its followers.
    Shared(LeaderGuard, StorePermit),
    /// Fetches for itself.
    Alone,
}

impl FetchRequest {
    fn note_role(&self, role: explain::ExplainedRole) {
        self.ask.note(|explanation| explanation.goes_forward(role, self.forward));
    }
}

/// Fetches, also for its followers if it leads.
async fn lead(proxy: &Rc<Proxy>, errand: FetchRequest, leadership: Leadership) -> ProxyAnswer {
    let (lead, claim) = match leadership {
        Leadership::Shared(leader, claim) => (Some(leader), claim),
        Leadership::Alone => (None, proxy.store.claim(&errand.place.whole, errand.place.lineage)),
    };
    errand.note_role(if lead.is_some() {
        explain::ExplainedRole::Leader
    } else {
        explain::ExplainedRole::Alone
    });
    let fetched = in_a_task(proxy, &errand, fetch::FetchRights { lead, claim }).await;
    came(proxy, &errand, fetched, None).await
}

/// Fetches alone, because the last response for this key was not storable.
pub(in crate::proxy) async fn doubtful(
    proxy: &Rc<Proxy>,
    errand: &FetchRequest,
    reason: NotStorable,
) -> ProxyAnswer {
    let FetchRequest { ask, place, stored, .. } = errand;
    ask.note(|explanation| explanation.rule(RuleQuestion::Collapse, Ruling::no(reason)));
    // A response that cannot be stored need not be whole.
    if stored.is_none() && !ask.is_plain() {
        return Box::pin(directly(proxy, ask, errand.forward, reason.word())).await;
    }
    errand.note_role(explain::ExplainedRole::Alone);
    let fetched = match stored {
        None => fetch::run_alone(proxy, ask, place).await,
        Some(_) => {
            let claim = proxy.store.claim(&place.whole, place.lineage);
            Box::pin(in_a_task(proxy, errand, fetch::FetchRights { lead: None, claim })).await
        }
    };
    match fetched {
        // This is the usual case: the response is passed to the client as it is.
        FetchOutcome::Direct(response, reason)
            if ask.is_plain() && policy::OriginFailure::of(response.status()).is_none() =>
        {
            unshared(errand, response, reason)
        }
        fetched @ (FetchOutcome::Shared(..)
        | FetchOutcome::Validated(..)
        | FetchOutcome::Direct(..)
        | FetchOutcome::Stored
        | FetchOutcome::Failed(_)) => Box::pin(came(proxy, errand, fetched, Some(reason))).await,
    }
}

/// Turns the outcome of a fetch into the client's answer. `doubt` is the reason for which the last
/// response was not storable.
async fn came(
    proxy: &Rc<Proxy>,
    errand: &FetchRequest,
    fetched: FetchOutcome,
    doubt: Option<NotStorable>,
) -> ProxyAnswer {
    let forward = errand.forward;
    match fetched {
        FetchOutcome::Shared(whole, admission) => {
            let promise = match doubt {
                None => CacheStatus::storing(&proxy.store, forward, admission),
                Some(reason) => CacheStatus::NotStored { forward, reason: reason.word() },
            };
            cut(errand, whole.with_status(promise)).await
        }
        FetchOutcome::Validated(whole, kept) => {
            let status = match kept {
                Ok(()) => CacheStatus::Validated { forward },
                Err(reason) => CacheStatus::ValidatedOnly { forward, reason: reason.word() },
            };
            cut(errand, whole.with_status(status)).await
        }
        FetchOutcome::Direct(response, reason) => {
            let error = policy::OriginFailure::of(response.status());
            if let Some(error) = error
                && let Some(answer) = stand_in(proxy, errand, error).await
            {
                return answer;
            }
            // The whole was fetched for the store, which cannot keep it. The client gets the range
            // that it requested.
            if errand.ask.is_partial() && response.status() == StatusCode::OK {
                return directly(proxy, &errand.ask, forward, reason.word()).await;
            }
            let whole = unshared(errand, response, reason);
            cut(errand, whole).await
        }
        FetchOutcome::Stored => {
            errand.note_role(explain::ExplainedRole::Follower);
            match stored_meanwhile(proxy, &errand.ask).await {
                Some(hit) => stand(&errand.ask, hit).await,
                // The response was purged again, or does not answer this request.
                None => Box::pin(lead(proxy, errand.clone(), Leadership::Alone)).await,
            }
        }
        FetchOutcome::Failed(failure) => failed(proxy, errand, failure).await,
    }
}

/// Returns the origin's response, for this client alone.
fn unshared(
    errand: &FetchRequest,
    response: Response<origin::OriginBody>,
    reason: NotStorable,
) -> ProxyAnswer {
    let status = CacheStatus::NotStored { forward: errand.forward, reason: reason.word() };
    ProxyAnswer::from_origin(Outcome::Uncacheable, response).with_status(status)
}

/// Fetches in a task of its own, which continues if the client leaves.
async fn in_a_task(proxy: &Rc<Proxy>, errand: &FetchRequest, right: fetch::FetchRights) -> FetchOutcome {
    let (to_client, fetched) = oneshot::channel();
    let FetchRequest { ask, place, stored, .. } = errand;
    let fetch = fetch::run(Rc::clone(proxy), Rc::clone(ask), place.clone(), stored.clone(), right, to_client);
    proxy.tasks.spawn(fetch);
    fetched.await.unwrap_or(FetchOutcome::Failed(Failure::Closed))
}

/// Applies the client's range and conditions to the origin's response.
async fn cut(errand: &FetchRequest, whole: ProxyAnswer) -> ProxyAnswer {
    if errand.ask.is_plain() {
        return whole;
    }
    present(&errand.ask, whole, time::now()).await.unwrap_or_else(present::failed)
}

/// Sends the client's request unchanged and streams the response back, for a range or a condition
/// that the store cannot answer.
pub(in crate::proxy) async fn directly(
    proxy: &Proxy,
    ask: &CacheRequest,
    forward: ForwardReason,
    reason: &'static str,
) -> ProxyAnswer {
    ask.note(|explanation| explanation.goes_forward(explain::ExplainedRole::Alone, forward));
    match proxy.send(&ask.inbound, &FetchPurpose::Pass, RequestBody::Empty).await {
        Ok(response) => ProxyAnswer::from_origin(Outcome::Uncacheable, response)
            .with_status(CacheStatus::NotStored { forward, reason }),
        Err(error) => {
            let failure = Failure::from(&error);
            ask.note(|explanation| explanation.failed(failure));
            failure.of_fetch(forward)
        }
    }
}

/// Fetches a response that is not stored: for a `HEAD`, or for a request with `no-store`. A
/// response to `HEAD` still updates the stored response to `GET` (RFC 9111 §4.3.5).
async fn unstored(proxy: &Proxy, errand: &FetchRequest, reason: NotStorable) -> ProxyAnswer {
    let FetchRequest { ask, forward, stored, place } = errand;
    errand.note_role(explain::ExplainedRole::Alone);
    ask.note(|explanation| explanation.rule(RuleQuestion::Store, Ruling::no(reason)));
    let claim = proxy.store.claim(&place.whole, place.lineage);
    let requested = time::now();
    match proxy.send(&ask.inbound, &FetchPurpose::Pass, RequestBody::Empty).await {
        Ok(response) => {
            if let Some(stored) = stored.as_deref()
                && ask.inbound.method == Method::HEAD
            {
                let exchange = Exchange {
                    request: &ask.facts,
                    status: response.status(),
                    response: response.headers(),
                    requested,
                    received: time::now(),
                };
                heed_head(proxy, errand, stored, &exchange, &claim).await;
            }
            if let Some(error) = policy::OriginFailure::of(response.status()) {
                if stored.is_some() {
                    let retry_after = policy::retry_after(response.headers(), time::now());
                    proxy.pause_refresh(&place.key, error, retry_after);
                }
                if let Some(answer) = stand_in(proxy, errand, error).await {
                    return answer;
                }
            }
            ProxyAnswer::from_origin(Outcome::Uncacheable, response)
                .with_status(CacheStatus::NotStored { forward: *forward, reason: reason.word() })
        }
        Err(error) => {
            let failure = Failure::from(&error);
            if stored.is_some() && failure.is_of_the_origin() {
                proxy.pause_refresh(&place.key, policy::OriginFailure::Disconnected, None);
            }
            failed(proxy, errand, failure).await
        }
    }
}

async fn heed_head(
    proxy: &Proxy,
    errand: &FetchRequest,
    stored: &Entry,
    exchange: &Exchange<'_>,
    claim: &StorePermit,
) {
    let FetchRequest { ask, place, .. } = errand;
    let head =
        StoredHead { status: stored.status, fields: &stored.head, body_bytes: stored.body.len() as u64 };
    let fate = if ask.inbound.may_change_the_store(proxy) {
        policy::freshen_by_head(head, exchange, &proxy.rules)
    } else {
        FreshenOutcome::Unchanged(NotStorable::UnkeyedField)
    };
    ask.note(|explanation| explanation.rule(RuleQuestion::Freshen, &fate));
    match fate {
        FreshenOutcome::Updated { facts, fields } => {
            let entry = Entry { facts, head: fields, ..stored.clone() };
            let keep_for = facts.keep_for(exchange.received);
            let tags = fetch::names(&entry.head, &ask.inbound.target, &proxy.rules);
            let entry = StoredValue::Response(entry);
            if let Err(Superseded) = proxy.store.put(&place.key, &entry, &tags, keep_for, claim).await {
                proxy.metrics.not_stored(NotStorable::Changed);
            }
        }
        FreshenOutcome::Unchanged(_) => {}
        FreshenOutcome::Invalidated(_) => proxy.store.bury(&place.key, KeyGeneration::new()).await,
    }
}
