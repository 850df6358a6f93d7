//! The way of a request: chooses its handler, and counts its answer.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Instant;

use http::header::AGE;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use crate::answer_budget::AnswerHold;
use crate::client_address::AddressPermit;
use crate::interim::InterimSink;
use crate::label::Label;
use crate::limits::UNCOUNTED_HIT_BYTES_MAX;
use crate::origin::RequestBody;
use crate::policy;
use crate::proxy::admission::load::AdmittedRequest;
use crate::proxy::answer::body::{AdmittedBody, AnswerBody};
use crate::proxy::answer::cache_status::{self, AnswerReasons};
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::outcome::Outcome;
use crate::proxy::answer::response::ProxyAnswer;
use crate::proxy::dispatch::{self, Dispatch};
use crate::proxy::explain::notes::ExplainNotes;
use crate::proxy::metrics::RequestMethod;
use crate::proxy::request::{CacheRequest, Caller, InboundRequest};
use crate::proxy::rules::RuledRequest;
use crate::proxy::unsafe_exchange::{OriginReached, UnsafeExchange};
use crate::proxy::worker::Proxy;
use crate::proxy::{health, lookup, pass, purge, query};
use crate::request_id::RequestId;
use crate::telemetry::RouteCounter;
use crate::telemetry::access::{AnswerFacts, RequestRecord};
use crate::telemetry::trace::SpanAttribute;
use crate::time;

/// A response, or the future that produces it.
pub enum PendingResponse {
    /// A response from memory, or a refusal.
    AtOnce(Response<AdmittedBody>),
    /// A response that needs Redis or the origin. Dropping the future does not stop a shared fetch:
    /// its task continues for the followers and for the store.
    Later(Pin<Box<dyn Future<Output = Response<AdmittedBody>>>>),
}

/// The start of a request: its time, its method, its access log line and its explanation.
struct RequestStart {
    at: Instant,
    method: RequestMethod,
    record: RequestRecord,
    notes: ExplainNotes,
    /// The counts of the request's route.
    counter: Option<RouteCounter>,
}

impl Proxy {
    /// Answers one request from a store, from the origin, or with a failure. Every request gets a
    /// response.
    ///
    /// The proxy notes in `record` the facts of the access log, and sends `id` to the origin.
    /// `interims` makes the sink of the request's interim responses.
    pub fn respond(
        self: Rc<Self>,
        caller: Caller,
        request: Request<Incoming>,
        record: RequestRecord,
        id: Option<RequestId>,
        interims: impl FnOnce() -> InterimSink,
    ) -> PendingResponse {
        let mut begun = RequestStart {
            at: record.begun().unwrap_or_else(time::instant),
            method: RequestMethod::from(request.method()),
            notes: ExplainNotes::of(&self.options, request.headers()),
            record: record.clone(),
            counter: None,
        };
        let notes = begun.notes.clone();
        self.shared.popular.record(request.uri().path());
        let (mut parts, body) = request.into_parts();
        let content = dispatch::RequestContent::of(&body);
        let outbound = self.origin.outbound();
        record.note(|facts| facts.client = outbound.client(&parts.headers, caller.peer));
        let mut route =
            dispatch::route(&parts, caller.scheme, content, &outbound.base().authority, &self.options.probes)
                .below(outbound);
        if purge::is_purge_request(&self.options, &parts.method) {
            route = route.into_purge();
        }
        // The host of the key is the host that the client addressed.
        let mut route = route.map_target(|target| outbound.addressed(target, &parts.headers, caller.peer));
        if self.options.query_body_max == 0 {
            route = route.without_queries();
        }
        let rule_set = self.rules();
        let comes_as_query = matches!(route, Dispatch::Query(_));
        let ruled = match route.target() {
            Some(target) if comes_as_query => rule_set.of_query(target),
            Some(target) => rule_set.of(&parts.method, target),
            None => RuledRequest::of(rule_set.settings()),
        };
        begun.counter.clone_from(&ruled.rules.counter);
        // The content of a `QUERY` is streamed, as that of any passed request.
        let query_passes = ruled.passes.filter(|_| comes_as_query);
        if let Some(reason) = ruled.passes {
            route = route.into_uncached(reason);
        }
        notes.note(|explanation| explanation.route(route.word()));
        let client = parts.extensions.remove::<OnUpgrade>();
        let is_query = comes_as_query && query_passes.is_none();
        let inbound = |target| {
            notes.note(|explanation| {
                let key = if is_query {
                    ruled.rules.cache.keys.resource(&target)
                } else {
                    rule_set.resource_key(&target)
                };
                explanation.target(&target, key, self.store.namespace());
                explanation.ruled(&ruled);
            });
            let RuledRequest { rules, .. } = ruled;
            record.note(|facts| facts.route = rules.logged_route());
            if let Some(route) = rules.route.as_deref() {
                record.trace().note("http.route", || SpanAttribute::Text(route.to_owned().into()));
            }
            let mut headers = parts.headers;
            self.origin.outbound().strip_unvouched(&mut headers, &rules.cache.keys, caller.peer);
            let rules = (rules, rule_set);
            InboundRequest::new(parts.method, target, headers, caller, notes, rules).recorded(record, id)
        };
        match route {
            Dispatch::Ready => self.at_once(begun, health::ready(&self.options.readiness)),
            Dispatch::Health => self.later(begun, None, async |proxy| health::answer(proxy).await),
            Dispatch::Cached(target) => {
                let mut request = CacheRequest::new(inbound(target));
                let known = match lookup::cached::answer_from_memory(&self, &request) {
                    ControlFlow::Break(answer) => return self.respond_from_memory(begun, request, answer),
                    ControlFlow::Continue(known) => known,
                };
                if let Err(failure) = self.forwardable(&request.inbound) {
                    return self.refuse(begun, failure);
                }
                request.inbound.interims = interims();
                let request = Rc::new(request);
                match self.admit(&request.inbound) {
                    Ok(AdmittedRequest { permit, address_permit }) => {
                        let answer =
                            async |proxy: &_| lookup::cached::answer(proxy, request, known, permit).await;
                        self.later(begun, Some(address_permit), answer)
                    }
                    Err(failure) => {
                        let answer =
                            async move |proxy: &_| lookup::cached::shed(proxy, request, known, failure).await;
                        self.later(begun, None, answer)
                    }
                }
            }
            Dispatch::Query(target) => {
                let mut inbound = inbound(target);
                if let Err(failure) = self.forwardable(&inbound) {
                    return self.refuse(begun, failure);
                }
                inbound.interims = interims();
                PendingResponse::Later(Box::pin(async move {
                    let (answer, address_permit) = query::answer(&self, inbound, body).await;
                    self.answered(begun, answer, address_permit)
                }))
            }
            Dispatch::Purge(target) => {
                let inbound = inbound(target);
                self.later(begun, None, async |proxy| purge::answer(proxy, inbound).await)
            }
            Dispatch::Pass(target) => {
                let mut inbound = inbound(target);
                if let Err(failure) = self.forwardable(&inbound) {
                    return self.refuse(begun, failure);
                }
                inbound.interims = interims();
                let AdmittedRequest { permit, address_permit } = match self.admit(&inbound) {
                    Ok(admission) => admission,
                    Err(failure) => return self.shed(begun, failure),
                };
                let reached = Rc::new(Cell::new(OriginReached::No));
                let (proxy, at_origin) = (Rc::clone(&self), Rc::clone(&reached));
                let goes_on = policy::is_unsafe(&inbound.method);
                let route_name = inbound.rules.route.clone();
                let work = self.work(begun, Some(address_permit), async move |proxy| {
                    let body = RequestBody::Streaming(body);
                    let mut answer = pass::answer(proxy, inbound, body, &at_origin, permit).await;
                    if let Some(reason) = query_passes.filter(|_| answer.outcome == Outcome::Pass) {
                        let head = answer.response.headers_mut();
                        cache_status::append_pass(head, reason, route_name.as_deref());
                    }
                    answer
                });
                if goes_on {
                    PendingResponse::Later(Box::pin(UnsafeExchange::new(proxy, reached, work)))
                } else {
                    PendingResponse::Later(work)
                }
            }
            Dispatch::Uncached(target, reason) => {
                let mut inbound = inbound(target);
                if let Err(failure) = self.forwardable(&inbound) {
                    return self.refuse(begun, failure);
                }
                inbound.interims = interims();
                match self.admit(&inbound) {
                    Ok(AdmittedRequest { permit, address_permit }) => {
                        let answer = async move |proxy: &Rc<Self>| {
                            pass::uncached(proxy, inbound, reason, permit).await
                        };
                        self.later(begun, Some(address_permit), answer)
                    }
                    Err(failure) => self.shed(begun, failure),
                }
            }
            Dispatch::Upgrade(target, protocol) => {
                let mut inbound = inbound(target);
                if let Err(failure) = self.forwardable(&inbound) {
                    return self.refuse(begun, failure);
                }
                inbound.interims = interims();
                match self.admit(&inbound) {
                    Ok(AdmittedRequest { permit, address_permit }) => {
                        let answer =
                            async |proxy: &_| pass::upgrade(proxy, inbound, protocol, client, permit).await;
                        self.later(begun, Some(address_permit), answer)
                    }
                    Err(failure) => self.shed(begun, failure),
                }
            }
            Dispatch::Options => self.at_once(begun, ProxyAnswer::options()),
            Dispatch::Refused(failure) => self.refuse(begun, failure),
        }
    }

    /// Returns the address permit of an answer from memory: a large body holds memory until its
    /// client has read it.
    pub(in crate::proxy) fn permit_of_hit(
        &self,
        inbound: &InboundRequest,
        answer: &ProxyAnswer,
    ) -> Result<Option<AddressPermit>, Failure> {
        let is_large = answer.response.body().buffer().0 > UNCOUNTED_HIT_BYTES_MAX;
        is_large.then(|| self.admit_address(self.client(inbound))).transpose()
    }

    fn respond_from_memory(
        &self,
        begun: RequestStart,
        request: CacheRequest,
        answer: ProxyAnswer,
    ) -> PendingResponse {
        let address_permit = self.permit_of_hit(&request.inbound, &answer);
        self.store.recycle(request.inbound.headers);
        match address_permit {
            Ok(address_permit) => PendingResponse::AtOnce(self.answered(begun, answer, address_permit)),
            Err(failure) => self.shed(begun, failure),
        }
    }

    fn refuse(&self, begun: RequestStart, failure: Failure) -> PendingResponse {
        begun.notes.note(|explanation| explanation.failed(failure));
        self.metrics.refused(failure);
        self.at_once(begun, failure.into())
    }

    fn shed(&self, begun: RequestStart, failure: Failure) -> PendingResponse {
        begun.notes.note(|explanation| explanation.failed(failure));
        self.at_once(begun, failure.into())
    }

    fn at_once(&self, begun: RequestStart, answer: ProxyAnswer) -> PendingResponse {
        PendingResponse::AtOnce(self.answered(begun, answer, None))
    }

    fn later(
        self: Rc<Self>,
        begun: RequestStart,
        address_permit: Option<AddressPermit>,
        work: impl AsyncFnOnce(&Rc<Self>) -> ProxyAnswer + 'static,
    ) -> PendingResponse {
        PendingResponse::Later(self.work(begun, address_permit, work))
    }

    fn work(
        self: Rc<Self>,
        begun: RequestStart,
        address_permit: Option<AddressPermit>,
        work: impl AsyncFnOnce(&Rc<Self>) -> ProxyAnswer + 'static,
    ) -> Pin<Box<dyn Future<Output = Response<AdmittedBody>>>> {
        Box::pin(async move {
            let answer = work(&self).await;
            self.answered(begun, answer, address_permit)
        })
    }

    /// Returns the resources that an answer holds until its client has read it.
    fn hold(&self, body: &AnswerBody, permit: AddressPermit) -> AnswerHold {
        let (bytes, address) = body.buffer();
        if bytes > UNCOUNTED_HIT_BYTES_MAX {
            self.shared.answers.hold(permit.client(), address, bytes, Some(permit))
        } else {
            AnswerHold::permit(permit)
        }
    }

    fn answered(
        &self,
        begun: RequestStart,
        mut answer: ProxyAnswer,
        address_permit: Option<AddressPermit>,
    ) -> Response<AdmittedBody> {
        policy::strip_tags(answer.response.headers_mut(), &self.tag_rules);
        begun.notes.attach(&mut answer);
        let took = time::instant().duration_since(begun.at);
        self.metrics.answered(begun.method, &answer, took);
        if let Some(counter) = &begun.counter {
            counter.answered(answer.response.status(), answer.outcome.cache_result(), took);
        }
        begun.record.answered(took, |facts| note_answer(facts, &answer));
        let outcome = answer.outcome.word();
        begun.record.trace().note("cachewarp.outcome", || SpanAttribute::Text(outcome.into()));
        let timer = self.metrics.time_response(answer.outcome, begun.at);
        let hold = address_permit.map(|permit| self.hold(answer.response.body(), permit));
        answer.response.map(|body| AdmittedBody::new(body, hold, timer))
    }
}

/// Notes an answer for the access log.
fn note_answer(facts: &mut AnswerFacts, answer: &ProxyAnswer) {
    let AnswerReasons { tier, forward, detail, age } = answer.reasons;
    facts.outcome = Some(answer.outcome.word());
    facts.tier = tier.map(Label::word);
    facts.forward = forward.map(Label::word);
    facts.detail = detail;
    facts.age = age.or_else(|| {
        let age = answer.response.headers().get(AGE)?;
        age.to_str().ok()?.parse().ok()
    });
}
