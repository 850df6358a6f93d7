//! The proxy of one worker: the parts that a request needs on its way, and the steps that several
//! ways share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, header};

use crate::client_address::{AddressPermit, ClientNetwork};
use crate::entry::{JsonCheck, KeyGeneration};
use crate::key::{CacheKey, Target, TargetError};
use crate::origin::{FetchPurpose, OriginClient};
use crate::policy::{self, CacheRules, RequestFacts, RulesDigest};
use crate::proxy::admission::load::AdmittedRequest;
use crate::proxy::answer::failure::Failure;
use crate::proxy::fetch::tasks::BackgroundTasks;
use crate::proxy::metrics::Metrics;
use crate::proxy::options::{FetchLease, Options};
use crate::proxy::recent_purges::RecentPurge;
use crate::proxy::request::{CacheRequest, FetchKey, InboundRequest};
use crate::proxy::rules::{RequestRules, RuleSet};
use crate::proxy::shared::ProxyShared;
use crate::routes::RouteTable;
use crate::store::{Store, StorePermit};
use crate::telemetry::{Registry, RouteSummary, WorkerRouteCounts};
use crate::time;

/// The proxy of one worker.
pub struct Proxy {
    pub(in crate::proxy) options: Options,
    /// The rules of requests that arrive now.
    rules: RefCell<Rc<RuleSet>>,
    route_counts: RefCell<WorkerRouteCounts>,
    /// The rules by which answers lose their tags. No route changes them.
    pub(in crate::proxy) tag_rules: CacheRules,
    pub(in crate::proxy) shared: ProxyShared,
    pub(in crate::proxy) store: Rc<Store>,
    pub(in crate::proxy) origin: OriginClient,
    pub(in crate::proxy) json: RefCell<JsonCheck>,
    pub(in crate::proxy) tasks: BackgroundTasks,
    pub(in crate::proxy) metrics: Metrics,
    /// The moving mean of recent fetch times.
    pub(in crate::proxy) fetch_took: Cell<Duration>,
}

impl Proxy {
    /// Creates the proxy of one worker from its parts.
    pub fn new(
        options: Options,
        rules: CacheRules,
        routes: Option<Arc<RouteTable>>,
        shared: ProxyShared,
        store: Rc<Store>,
        origin: OriginClient,
        registry: &Registry,
    ) -> Rc<Self> {
        let metrics = Metrics::new(registry);
        store.set_rules(rules_digest(&rules, routes.as_deref()));
        let tag_rules = rules.clone();
        shared.note_routes(routes.as_deref());
        let mut route_counts = shared.route_counts.worker();
        let rules = RuleSet::new(rules, &options, routes, 0, &mut route_counts);
        let rules = RefCell::new(Rc::new(rules));
        let route_counts = RefCell::new(route_counts);
        let json = RefCell::new(JsonCheck::new());
        Rc::new(Self {
            options,
            rules,
            route_counts,
            tag_rules,
            shared,
            store,
            origin,
            json,
            tasks: BackgroundTasks::default(),
            metrics,
            fetch_took: Cell::default(),
        })
    }

    /// Uses these routes for the requests that arrive from now on. Each request in progress keeps
    /// its rules.
    pub fn use_routes(&self, routes: Option<Arc<RouteTable>>, generation: u64) {
        let cache = self.rules().settings().cache.clone();
        self.store.set_rules(rules_digest(&cache, routes.as_deref()));
        self.shared.note_routes(routes.as_deref());
        let counts = &mut *self.route_counts.borrow_mut();
        self.rules.replace(Rc::new(RuleSet::new(cache, &self.options, routes, generation, counts)));
    }

    /// Returns the rules of requests that arrive now.
    pub(in crate::proxy) fn rules(&self) -> Rc<RuleSet> {
        Rc::clone(&self.rules.borrow())
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

    /// Returns the last purge orders of the process, the latest first.
    pub fn recent_purges(&self) -> Vec<RecentPurge> {
        self.shared.purges.list()
    }

    /// Returns the counts of each route, summed over all workers of the process.
    pub fn route_counts(&self) -> Vec<RouteSummary> {
        self.shared.route_counts.read()
    }

    /// Returns one line for each route that lifts a prohibition of the origin.
    pub fn route_overrides(&self) -> Vec<String> {
        self.rules().table().map(RouteTable::overrides).unwrap_or_default()
    }

    /// Checks whether the origin has this target below its base path. The cache looks up no other
    /// target.
    pub fn reaches(&self, target: &Target) -> Result<(), TargetError> {
        self.origin.outbound().reaches(target)
    }

    /// Returns the client of a request.
    pub(in crate::proxy) fn client(&self, inbound: &InboundRequest) -> ClientNetwork {
        inbound.client(self.origin.outbound())
    }

    pub(in crate::proxy) fn admit(&self, inbound: &InboundRequest) -> Result<AdmittedRequest, Failure> {
        self.shared.load.admit(self.client(inbound)).map_err(|overload| {
            self.metrics.not_admitted(overload);
            overload.into()
        })
    }

    pub(in crate::proxy) fn admit_address(&self, client: ClientNetwork) -> Result<AddressPermit, Failure> {
        self.shared.load.admit_address(client).map_err(|overload| {
            self.metrics.not_admitted(overload);
            overload.into()
        })
    }

    /// Starts a pause after a failed fetch. During the pause, the entry of `key` is served stale
    /// where the policy allows it.
    pub(in crate::proxy) fn pause_refresh(
        &self,
        key: &CacheKey,
        failure: policy::OriginFailure,
        retry_after: Option<Duration>,
    ) {
        self.shared.pauses.failed(key, failure, retry_after, time::instant(), fastrand::f64());
    }

    /// Updates the moving mean of fetch times (over about eight fetches) and, for a shared fetch,
    /// the record of its key.
    pub(in crate::proxy) fn note_fetch(&self, shared: Option<FetchKey>, took: Duration) {
        if let (FetchLease::Adaptive, Some(key)) = (self.options.fetch_lease, shared) {
            self.shared.slow.note(key, took);
        }
        let mean = self.fetch_took.get();
        self.fetch_took.set(if mean.is_zero() { took } else { (mean * 7 + took) / 8 });
    }

    /// Takes the permit to store the response of a fetch that begins now, and asks whether a write
    /// holds the responses of the route.
    pub(in crate::proxy) fn permit(
        &self,
        request: &CacheRequest,
        resource: &CacheKey,
        generation: KeyGeneration,
    ) -> StorePermit {
        let permit = self.store.permit(resource, generation);
        match request.inbound.rules.held_tag(&request.inbound.target) {
            None => permit,
            Some(tag) => self.store.unless_held(permit, &tag),
        }
    }

    /// Returns whether the response to this request, sent with the client's own fields, may store,
    /// update or remove shared responses. It may if a shared fetch would have sent the same fields.
    /// A shared fetch needs no such check. `rules` are those of a `GET` of the target.
    pub(in crate::proxy) fn may_change_the_store(
        &self,
        inbound: &InboundRequest,
        rules: &RequestRules,
    ) -> bool {
        // A shared fetch does not send these cookies.
        let as_get = RequestFacts::read(&Method::GET, &inbound.headers, &rules.cache);
        let has_ignored_cookies = inbound.headers.contains_key(header::COOKIE) && !as_get.shows_cookies();
        !has_ignored_cookies
            && self.origin.outbound().sends_as_shared(&inbound.outbound_by(rules, &FetchPurpose::Pass))
    }
}

/// Returns the digest of the rules that nodes must have in common to confirm each other's purges:
/// their routes, and their meaning of client certificates.
fn rules_digest(rules: &CacheRules, routes: Option<&RouteTable>) -> u64 {
    let routes = RulesDigest(routes.map_or(0, RouteTable::digest).to_be_bytes());
    u64::from_be_bytes(rules.client_certificates.digest(routes).0)
}
