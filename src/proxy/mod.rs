//! The path of a request. Does not know that Redis exists.
//!
//! [`route`] says what a request is for; [`cached`] is the handler to read first; [`pass`] is for
//! everything that is not cached; [`fill`] fetches once for everybody who asks. What the cache may
//! do is never decided here: that is [`policy`]'s, and every answer from a store or from a shared
//! fetch has been through its gates.

mod admission;
mod answer;
mod dispatch;
mod explain;
mod fetch;
mod health;
mod lookup;
mod metrics;
mod options;
mod pass;
mod popular;
mod purge;
mod request;
mod tunnel;
mod unsafe_exchange;

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use crate::client_address::{AddressPermit, ClientNetwork};
use crate::entry::JsonCheck;
use crate::key::{CacheKey, Scheme, Target, TargetError};
use crate::limits::UNCOUNTED_HIT_BYTES_MAX;
use crate::origin::{self, FetchError, FetchPurpose, OriginClient, RequestBody};
use crate::policy::{self, CacheRules};
use crate::proxy::admission::doorkeeper::Doorkeeper;
use crate::proxy::admission::load::{AdmittedRequest, LoadLimiter};
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::response::ProxyAnswer;
use crate::proxy::dispatch::Dispatch;
use crate::proxy::fetch::pauses::RefreshPauses;
use crate::proxy::fetch::tasks::BackgroundTasks;
use crate::proxy::fetch::{FetchTable, SlowKeys, UncacheableKeys};
use crate::proxy::request::{CacheRequest, FetchKey, InboundRequest};
use crate::proxy::unsafe_exchange::{OriginReached, UnsafeExchange};
use crate::store::Store;
use crate::telemetry::Registry;
use crate::time;
use explain::ExplainNotes;
use metrics::Metrics;
use popular::PopularPaths;

pub use crate::proxy::answer::body::{AdmittedBody, AnswerBody, BodyError};
pub use options::{AccessLog, FetchLease, Options};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The address at the other end of the connection.
    pub peer: IpAddr,
    /// How it reached us.
    pub scheme: Scheme,
}

/// What all workers of a process share on this path: who fetches what, and what cannot be shared.
#[derive(Clone)]
pub struct ProxyShared {
    fills: Arc<FetchTable>,
    uncacheable: Arc<UncacheableKeys>,
    slow: Arc<SlowKeys>,
    doorkeeper: Arc<Doorkeeper>,
    popular: Arc<PopularPaths>,
    pauses: Arc<RefreshPauses>,
    load: LoadLimiter,
}

impl ProxyShared {
    /// Nothing is being fetched yet.
    pub fn new(options: &Options, registry: &Registry) -> Self {
        let shared = Self {
            fills: FetchTable::new(),
            uncacheable: Arc::new(UncacheableKeys::new()),
            slow: Arc::new(SlowKeys::new()),
            doorkeeper: Arc::new(Doorkeeper::new(options.first_sight_bytes)),
            popular: Arc::new(PopularPaths::new()),
            pauses: Arc::new(RefreshPauses::new(time::instant())),
            load: LoadLimiter::new(
                options.requests_max,
                options.requests_per_address_max,
                options.body_bytes_max,
            ),
        };
        metrics::watch_fills(&shared.fills, registry);
        metrics::watch_load(&shared.load, registry);
        shared
    }
}

/// A response, or the work that leads to it.
pub enum PendingResponse {
    /// Memory had it, or the request is refused.
    AtOnce(Response<AdmittedBody>),
    /// Somebody has to be asked. The work may be dropped: a fetch that it began goes on for those
    /// who follow it, and for the store.
    Later(Pin<Box<dyn Future<Output = Response<AdmittedBody>>>>),
}

/// What is known of a request before anything is.
struct RequestStart {
    at: Instant,
    line: Option<metrics::AccessLogLine>,
    notes: ExplainNotes,
}

/// One worker's proxy.
pub struct Proxy {
    options: Options,
    rules: CacheRules,
    shared: ProxyShared,
    store: Rc<Store>,
    origin: OriginClient,
    json: RefCell<JsonCheck>,
    tasks: BackgroundTasks,
    metrics: Metrics,
    /// How long the origin takes of late: a moving mean.
    fetch_took: Cell<Duration>,
}

impl Proxy {
    /// Puts the parts of one worker together.
    pub fn new(
        options: Options,
        rules: CacheRules,
        shared: ProxyShared,
        store: Rc<Store>,
        origin: OriginClient,
        registry: &Registry,
    ) -> Rc<Self> {
        let metrics = Metrics::new(registry);
        let json = RefCell::new(JsonCheck::new());
        Rc::new(Self {
            options,
            rules,
            shared,
            store,
            origin,
            json,
            tasks: BackgroundTasks::default(),
            metrics,
            fetch_took: Cell::default(),
        })
    }

    /// Lets fills end and be stored, for at most `patience`; then lets go of Redis.
    pub async fn close(&self, patience: Duration) {
        self.tasks.finish(patience).await;
        self.store.close().await;
    }

    /// The paths asked for most, at most so many, and how often about: counted while somebody asks
    /// for them, by the whole process.
    pub fn popular_paths(&self, count: usize) -> Vec<(String, u64)> {
        self.shared.popular.top(count)
    }

    /// Answers one request: from a store, from the origin, or with what went wrong. Never fails.
    pub fn respond(self: Rc<Self>, caller: Caller, request: Request<Incoming>) -> PendingResponse {
        let begun = RequestStart {
            at: time::instant(),
            line: metrics::AccessLogLine::of(&self.options, &request),
            notes: ExplainNotes::of(&self.options, request.headers()),
        };
        let notes = begun.notes.clone();
        self.shared.popular.asked(request.uri().path());
        let (mut parts, body) = request.into_parts();
        let content = dispatch::RequestContent::of(&body);
        let mut route = dispatch::route(&parts, caller.scheme, content).below(self.origin.outbound());
        if purge::is_asked(&self.options, &parts.method) {
            route = route.of_a_purge();
        }
        notes.note(|explanation| explanation.route(route.word()));
        let client = parts.extensions.remove::<OnUpgrade>();
        let inbound = |target| {
            let target = self.origin.outbound().addressed(target, &parts.headers, caller.peer);
            notes.note(|explanation| explanation.target(&target, self.store.namespace()));
            InboundRequest { method: parts.method, target, headers: parts.headers, caller, notes }
        };
        match route {
            Dispatch::Health => self.later(begun, None, async |proxy| health::answer(proxy).await),
            Dispatch::Cached(target) => {
                let ask = CacheRequest::new(inbound(target), &self.rules);
                let known = match lookup::cached::at_hand(&self, &ask) {
                    ControlFlow::Break(answer) => return self.at_hand(begun, ask, answer),
                    ControlFlow::Continue(known) => known,
                };
                let ask = Rc::new(ask);
                match self.admit(&ask.inbound) {
                    Ok(AdmittedRequest { place, of_address }) => {
                        let answer = async |proxy: &_| lookup::cached::answer(proxy, ask, known, place).await;
                        self.later(begun, Some(of_address), answer)
                    }
                    Err(failure) => {
                        let answer =
                            async move |proxy: &_| lookup::cached::shed(proxy, ask, known, failure).await;
                        self.later(begun, None, answer)
                    }
                }
            }
            Dispatch::Purge(target) => {
                let inbound = inbound(target);
                self.later(begun, None, async |proxy| purge::answer(proxy, inbound).await)
            }
            Dispatch::Pass(target) => {
                let inbound = inbound(target);
                let AdmittedRequest { place, of_address } = match self.admit(&inbound) {
                    Ok(admission) => admission,
                    Err(failure) => return self.shed(begun, failure),
                };
                let reached = Rc::new(Cell::new(OriginReached::No));
                let (proxy, at_origin) = (Rc::clone(&self), Rc::clone(&reached));
                let goes_on = policy::is_unsafe(&inbound.method);
                let work = self.work(begun, Some(of_address), async move |proxy| {
                    pass::answer(proxy, inbound, body, &at_origin, place).await
                });
                if goes_on {
                    PendingResponse::Later(Box::pin(UnsafeExchange::new(proxy, reached, work)))
                } else {
                    PendingResponse::Later(work)
                }
            }
            Dispatch::Upgrade(target, protocol) => {
                let inbound = inbound(target);
                match self.admit(&inbound) {
                    Ok(AdmittedRequest { place, of_address }) => {
                        let answer =
                            async |proxy: &_| pass::upgrade(proxy, inbound, protocol, client, place).await;
                        self.later(begun, Some(of_address), answer)
                    }
                    Err(failure) => self.shed(begun, failure),
                }
            }
            Dispatch::Refused(failure) => {
                begun.notes.note(|explanation| explanation.failed(failure));
                self.metrics.refused(failure);
                self.at_once(begun, failure.into())
            }
        }
    }

    /// Tells whether a request for this target can be answered: what is stored of any other is not
    /// looked for.
    pub fn reaches(&self, target: &Target) -> Result<(), TargetError> {
        self.origin.outbound().reaches(target)
    }

    /// The client whose request this is, as far as trusted proxies vouch for it; else its
    /// connection's other end.
    fn client(&self, inbound: &InboundRequest) -> ClientNetwork {
        let peer = inbound.caller.peer;
        self.origin.outbound().client(&inbound.headers, peer).unwrap_or(peer).into()
    }

    fn admit(&self, inbound: &InboundRequest) -> Result<AdmittedRequest, Failure> {
        self.shared.load.admit(self.client(inbound)).map_err(|overload| {
            self.metrics.not_admitted(overload);
            overload.into()
        })
    }

    fn admit_of_address(&self, client: ClientNetwork) -> Result<AddressPermit, Failure> {
        self.shared.load.admit_of_address(client).map_err(|overload| {
            self.metrics.not_admitted(overload);
            overload.into()
        })
    }

    /// An answer of memory. A large one holds memory until its client has it, and so a permit.
    fn at_hand(&self, begun: RequestStart, ask: CacheRequest, answer: ProxyAnswer) -> PendingResponse {
        let is_large =
            matches!(answer.response.body(), AnswerBody::Whole(body) if body.len() > UNCOUNTED_HIT_BYTES_MAX);
        let of_address = is_large.then(|| self.admit_of_address(self.client(&ask.inbound))).transpose();
        self.store.recycle(ask.inbound.headers);
        match of_address {
            Ok(of_address) => PendingResponse::AtOnce(self.answered(begun, answer, of_address)),
            Err(failure) => self.shed(begun, failure),
        }
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
        of_address: Option<AddressPermit>,
        work: impl AsyncFnOnce(&Rc<Self>) -> ProxyAnswer + 'static,
    ) -> PendingResponse {
        PendingResponse::Later(self.work(begun, of_address, work))
    }

    fn work(
        self: Rc<Self>,
        begun: RequestStart,
        of_address: Option<AddressPermit>,
        work: impl AsyncFnOnce(&Rc<Self>) -> ProxyAnswer + 'static,
    ) -> Pin<Box<dyn Future<Output = Response<AdmittedBody>>>> {
        Box::pin(async move {
            let answer = work(&self).await;
            self.answered(begun, answer, of_address)
        })
    }

    fn answered(
        &self,
        begun: RequestStart,
        mut answer: ProxyAnswer,
        of_address: Option<AddressPermit>,
    ) -> Response<AdmittedBody> {
        policy::strip_tags(answer.response.headers_mut(), &self.rules);
        begun.notes.attach(&mut answer);
        let took = time::instant().duration_since(begun.at);
        self.metrics.answered(&answer, took, begun.line);
        answer.response.map(|body| AdmittedBody::new(body, of_address))
    }

    /// Begins a pause in which the entry of `key` is served stale, where it may be, since its fetch
    /// failed.
    fn pause_refresh(&self, key: &CacheKey, failure: policy::OriginFailure, retry_after: Option<Duration>) {
        self.shared.pauses.failed(key, failure, retry_after, time::instant(), fastrand::f64());
    }

    /// Remembers how long a fetch took: a moving mean over about the last eight; and of which key,
    /// if others shared it.
    fn note_fetch(&self, shared: Option<FetchKey>, took: Duration) {
        if let (FetchLease::Adaptive, Some(key)) = (self.options.fetch_lease, shared) {
            self.shared.slow.note(key, took);
        }
        let mean = self.fetch_took.get();
        self.fetch_took.set(if mean.is_zero() { took } else { (mean * 7 + took) / 8 });
    }

    /// Sends a request to the origin, with the head that is right for its purpose.
    async fn send(
        &self,
        inbound: &InboundRequest,
        purpose: &FetchPurpose,
        body: RequestBody,
    ) -> Result<Response<origin::OriginBody>, FetchError> {
        let head = || self.origin.outbound().head(&inbound.asked(purpose, &self.rules));
        self.origin.send(self.client(inbound), head, body).await
    }
}
