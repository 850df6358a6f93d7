//! The proxy: routes a request, answers it from a store or from the origin, and counts it. This
//! module does not depend on Redis.
//!
//! [`dispatch`] chooses the route of a request. [`lookup::cached`] is the handler to read first.
//! [`pass`] handles every request that bypasses the cache. [`fetch`] sends one request to the
//! origin for all concurrent requests of a key. [`policy`] decides what the cache may do: every
//! answer from a store or from a shared fetch passes its checks.

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

/// The client of a request.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The address at the other end of the connection.
    pub peer: IpAddr,
    /// The scheme by which the client connected.
    pub scheme: Scheme,
}

/// The state that all workers of a process share: fetches in progress, uncacheable keys, and load.
#[derive(Clone)]
pub struct ProxyShared {
    fetches: Arc<FetchTable>,
    uncacheable: Arc<UncacheableKeys>,
    slow: Arc<SlowKeys>,
    doorkeeper: Arc<Doorkeeper>,
    popular: Arc<PopularPaths>,
    pauses: Arc<RefreshPauses>,
    load: LoadLimiter,
}

impl ProxyShared {
    /// Creates the state of a process that has no fetch in progress.
    pub fn new(options: &Options, registry: &Registry) -> Self {
        let shared = Self {
            fetches: FetchTable::new(),
            uncacheable: Arc::new(UncacheableKeys::new()),
            slow: Arc::new(SlowKeys::new()),
            doorkeeper: Arc::new(Doorkeeper::new(options.admission_budget)),
            popular: Arc::new(PopularPaths::new()),
            pauses: Arc::new(RefreshPauses::new(time::instant())),
            load: LoadLimiter::new(
                options.requests_max,
                options.requests_per_address_max,
                options.body_bytes_max,
            ),
        };
        metrics::watch_fetches(&shared.fetches, registry);
        metrics::watch_load(&shared.load, registry);
        shared
    }
}

/// A response, or the future that produces it.
pub enum PendingResponse {
    /// A response from memory, or a refusal.
    AtOnce(Response<AdmittedBody>),
    /// A response that needs Redis or the origin. Dropping the future does not stop a shared fetch:
    /// its task continues for the followers and for the store.
    Later(Pin<Box<dyn Future<Output = Response<AdmittedBody>>>>),
}

/// The start of a request: its time, its access log line and its explanation.
struct RequestStart {
    at: Instant,
    line: Option<metrics::AccessLogLine>,
    notes: ExplainNotes,
}

/// The proxy of one worker.
pub struct Proxy {
    options: Options,
    rules: CacheRules,
    shared: ProxyShared,
    store: Rc<Store>,
    origin: OriginClient,
    json: RefCell<JsonCheck>,
    tasks: BackgroundTasks,
    metrics: Metrics,
    /// The moving mean of recent fetch times.
    fetch_took: Cell<Duration>,
}

impl Proxy {
    /// Creates the proxy of one worker from its parts.
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

    /// Waits at most `timeout` for fetches to finish and be stored, then closes the store.
    pub async fn close(&self, timeout: Duration) {
        self.tasks.finish(timeout).await;
        self.store.close().await;
    }

    /// Returns the `count` most requested paths, with approximate request counts. The process
    /// counts paths only while an operator reads them.
    pub fn popular_paths(&self, count: usize) -> Vec<(String, u64)> {
        self.shared.popular.top(count)
    }

    /// Answers one request from a store, from the origin, or with a failure. Every request gets a
    /// response.
    pub fn respond(self: Rc<Self>, caller: Caller, request: Request<Incoming>) -> PendingResponse {
        let begun = RequestStart {
            at: time::instant(),
            line: metrics::AccessLogLine::of(&self.options, &request),
            notes: ExplainNotes::of(&self.options, request.headers()),
        };
        let notes = begun.notes.clone();
        self.shared.popular.record(request.uri().path());
        let (mut parts, body) = request.into_parts();
        let content = dispatch::RequestContent::of(&body);
        let mut route = dispatch::route(&parts, caller.scheme, content).below(self.origin.outbound());
        if purge::is_purge_request(&self.options, &parts.method) {
            route = route.into_purge();
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
                let request = CacheRequest::new(inbound(target), &self.rules);
                let known = match lookup::cached::answer_from_memory(&self, &request) {
                    ControlFlow::Break(answer) => return self.respond_from_memory(begun, request, answer),
                    ControlFlow::Continue(known) => known,
                };
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
            Dispatch::Purge(target) => {
                let inbound = inbound(target);
                self.later(begun, None, async |proxy| purge::answer(proxy, inbound).await)
            }
            Dispatch::Pass(target) => {
                let inbound = inbound(target);
                let AdmittedRequest { permit, address_permit } = match self.admit(&inbound) {
                    Ok(admission) => admission,
                    Err(failure) => return self.shed(begun, failure),
                };
                let reached = Rc::new(Cell::new(OriginReached::No));
                let (proxy, at_origin) = (Rc::clone(&self), Rc::clone(&reached));
                let goes_on = policy::is_unsafe(&inbound.method);
                let work = self.work(begun, Some(address_permit), async move |proxy| {
                    pass::answer(proxy, inbound, body, &at_origin, permit).await
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
                    Ok(AdmittedRequest { permit, address_permit }) => {
                        let answer =
                            async |proxy: &_| pass::upgrade(proxy, inbound, protocol, client, permit).await;
                        self.later(begun, Some(address_permit), answer)
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

    /// Checks whether the origin has this target below its base path. The cache looks up no other
    /// target.
    pub fn reaches(&self, target: &Target) -> Result<(), TargetError> {
        self.origin.outbound().reaches(target)
    }

    /// Returns the client that trusted proxies vouch for, else the peer of the connection.
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

    fn admit_address(&self, client: ClientNetwork) -> Result<AddressPermit, Failure> {
        self.shared.load.admit_address(client).map_err(|overload| {
            self.metrics.not_admitted(overload);
            overload.into()
        })
    }

    /// Returns an answer from memory. A large body holds memory until its client has read it, so it
    /// takes an address permit.
    fn respond_from_memory(
        &self,
        begun: RequestStart,
        request: CacheRequest,
        answer: ProxyAnswer,
    ) -> PendingResponse {
        let is_large =
            matches!(answer.response.body(), AnswerBody::Whole(body) if body.len() > UNCOUNTED_HIT_BYTES_MAX);
        let address_permit = is_large.then(|| self.admit_address(self.client(&request.inbound))).transpose();
        self.store.recycle(request.inbound.headers);
        match address_permit {
            Ok(address_permit) => PendingResponse::AtOnce(self.answered(begun, answer, address_permit)),
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

    fn answered(
        &self,
        begun: RequestStart,
        mut answer: ProxyAnswer,
        address_permit: Option<AddressPermit>,
    ) -> Response<AdmittedBody> {
        policy::strip_tags(answer.response.headers_mut(), &self.rules);
        begun.notes.attach(&mut answer);
        let took = time::instant().duration_since(begun.at);
        self.metrics.answered(&answer, took, begun.line);
        answer.response.map(|body| AdmittedBody::new(body, address_permit))
    }

    /// Starts a pause after a failed fetch. During the pause, the entry of `key` is served stale
    /// where the policy allows it.
    fn pause_refresh(&self, key: &CacheKey, failure: policy::OriginFailure, retry_after: Option<Duration>) {
        self.shared.pauses.failed(key, failure, retry_after, time::instant(), fastrand::f64());
    }

    /// Updates the moving mean of fetch times (over about eight fetches) and, for a shared fetch,
    /// the record of its key.
    fn note_fetch(&self, shared: Option<FetchKey>, took: Duration) {
        if let (FetchLease::Adaptive, Some(key)) = (self.options.fetch_lease, shared) {
            self.shared.slow.note(key, took);
        }
        let mean = self.fetch_took.get();
        self.fetch_took.set(if mean.is_zero() { took } else { (mean * 7 + took) / 8 });
    }

    /// Sends a request to the origin, with the head for its purpose.
    async fn send(
        &self,
        inbound: &InboundRequest,
        purpose: &FetchPurpose,
        body: RequestBody,
    ) -> Result<Response<origin::OriginBody>, FetchError> {
        let head = || self.origin.outbound().head(&inbound.to_outbound(purpose, &self.rules));
        self.origin.send(self.client(inbound), head, body).await
    }
}
