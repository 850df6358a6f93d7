//! The rules of requests: the settings, and the members of the route that a request matches.
//!
//! Every set of rules is made when the process starts or reloads the routes, so a request takes one
//! of them and a hit decides nothing anew. A request keeps its set until it ends. Without a routes
//! file, all requests have the rules of the settings.
//!
//! **Invariant:** members that allow storing are part of the rules of a plain path only.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::hop::QUERY_CONTENT;
use crate::key::{CacheKey, Target};
use crate::origin::{ExchangeDeadlines, OriginClient};
use crate::policy::{CacheRules, OverrideSet, RulesDigest, StaleResponses, StatedFreshness};
use crate::proxy::options::Options;
use crate::routes::{
    PathForm, Route, RouteFreshness, RouteMatch, RouteMembers, RouteOverride, RouteTable, RouteWrite,
    StaleUse, WriteGuarantee,
};
use crate::store::{CacheTag, MemoryUse};
use crate::telemetry::{RouteCounter, WorkerRouteCounts};

/// The rules of a request.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct RequestRules {
    /// The rules of the policy.
    pub(in crate::proxy) cache: CacheRules,
    /// The time that a request waits for a shared fetch of its key before it fetches alone.
    pub(in crate::proxy) collapse_timeout: Duration,
    /// The time that the origin may take for the response head; the setting if it is `None`.
    pub(in crate::proxy) origin_head_timeout: Option<Duration>,
    /// The time between two pieces of the origin's response; the setting if it is `None`.
    pub(in crate::proxy) origin_body_timeout: Option<Duration>,
    /// The number of reloads of the routes before this one.
    pub(in crate::proxy) generation: u64,
    /// The name of the route that the rules belong to, shared with lines of the access log.
    pub(in crate::proxy) route: Option<Arc<str>>,
    /// The use of memory for the responses of the route.
    pub(in crate::proxy) memory: MemoryUse,
    /// The guarantee that writes give for the responses of the route.
    guarantee: WriteGuarantee,
    /// The method of the requests: `GET`, also for `HEAD`, or `QUERY`.
    retrieval: Method,
    /// The counts of the route.
    pub(in crate::proxy) counter: Option<RouteCounter>,
    /// The routes among which the request found its own.
    table: Option<Arc<RouteTable>>,
}

crate::labels! {
    /// The reason for which a request passes the cache.
    pub(in crate::proxy) enum PassReason {
        /// Its route does not cache.
        Route => "route",
        /// It is a `QUERY`, and a route of its path lists other methods only.
        Method => "route-method",
        /// Its path has several readings, and one of them belongs to another route.
        AmbiguousPath => "ambiguous-path",
    }
}

/// The rules of one request, and the reason for which it passes the cache, if it does.
pub(in crate::proxy) struct RuledRequest {
    pub(in crate::proxy) rules: Rc<RequestRules>,
    pub(in crate::proxy) passes: Option<PassReason>,
}

impl RuledRequest {
    /// Returns a request with these rules that does not pass the cache.
    pub(in crate::proxy) fn of(rules: &Rc<RequestRules>) -> Self {
        Self { rules: Rc::clone(rules), passes: None }
    }
}

/// The rules of all requests of a worker.
pub(in crate::proxy) struct RuleSet {
    settings: Rc<RequestRules>,
    /// The rules of `QUERY` requests without a route.
    queries: Rc<RequestRules>,
    routes: Option<RulesByRoute>,
}

/// The rules of each route.
struct RulesByRoute {
    table: Arc<RouteTable>,
    each: Vec<RulesByForm>,
    /// The rules of each route for `QUERY` requests.
    queries: Vec<RulesByForm>,
}

/// The rules of a route.
struct RulesByForm {
    /// The rules for paths to which all members apply.
    plain: Rc<RequestRules>,
    /// The rules for other paths: without the members that allow storing.
    other: Rc<RequestRules>,
}

impl RuleSet {
    /// Creates the rules of the settings and of each route.
    pub(in crate::proxy) fn new(
        cache: CacheRules,
        options: &Options,
        routes: Option<Arc<RouteTable>>,
        generation: u64,
        counts: &mut WorkerRouteCounts,
    ) -> Self {
        let digest = cache.client_certificates.digest(RulesDigest::NONE);
        let settings = RequestRules {
            cache: CacheRules { digest, ..cache },
            collapse_timeout: options.collapse_timeout,
            origin_head_timeout: None,
            origin_body_timeout: None,
            generation,
            route: None,
            memory: MemoryUse::Usual,
            guarantee: WriteGuarantee::None,
            retrieval: Method::GET,
            counter: None,
            table: routes.clone(),
        };
        let routes = routes.map(|table| {
            let counters = counts.counters(table.routes().iter().map(|route| &*route.name));
            let each = table.routes().iter().zip(table.guarantees()).zip(counters);
            let each = each.map(|((route, guarantee), counter)| {
                RulesByForm::of(&RequestRules { counter, ..settings.clone() }, route, guarantee)
            });
            let each: Vec<RulesByForm> = each.collect();
            let queries = each.iter().map(RulesByForm::for_queries).collect();
            RulesByRoute { table, each, queries }
        });
        let queries = Rc::new(settings.for_queries());
        Self { settings: Rc::new(settings), queries, routes }
    }

    /// Returns the rules of the settings.
    pub(in crate::proxy) fn settings(&self) -> &Rc<RequestRules> {
        &self.settings
    }

    /// Returns the routes.
    pub(in crate::proxy) fn table(&self) -> Option<&RouteTable> {
        self.routes.as_ref().map(|routes| &*routes.table)
    }

    /// Finds the rules of a request.
    pub(in crate::proxy) fn of(&self, method: &Method, target: &Target) -> RuledRequest {
        match &self.routes {
            None => RuledRequest::of(&self.settings),
            Some(routes) => routes.of(method, target, &self.settings),
        }
    }

    /// Finds the rules of a `QUERY` of the target.
    pub(in crate::proxy) fn of_query(&self, target: &Target) -> RuledRequest {
        match &self.routes {
            None => RuledRequest::of(&self.queries),
            Some(routes) => routes.of_query(target, &self.queries),
        }
    }

    /// Finds the rules of a `GET` of the target.
    pub(in crate::proxy) fn of_get(&self, target: &Target) -> RuledRequest {
        self.of(&Method::GET, target)
    }

    /// Returns the key under which a `GET` of the target is stored.
    pub(in crate::proxy) fn resource_key(&self, target: &Target) -> CacheKey {
        self.of_get(target).rules.cache.keys.resource(target)
    }

    /// Returns every key under which responses of the target are stored: that of `GET` requests,
    /// and that of `QUERY` requests.
    pub(in crate::proxy) fn resource_keys(&self, target: &Target) -> [CacheKey; 2] {
        [self.resource_key(target), self.of_query(target).rules.cache.keys.resource(target)]
    }
}

impl RulesByRoute {
    fn of(&self, method: &Method, target: &Target, settings: &Rc<RequestRules>) -> RuledRequest {
        let found = self.table.find(method, target.authority.as_str(), target.path_and_query.path());
        let rules = found.index().and_then(|index| self.each.get(index));
        let rules = rules.map_or(settings, |rules| if found.permits() { &rules.plain } else { &rules.other });
        RuledRequest { rules: Rc::clone(rules), passes: PassReason::of(&found) }
    }

    fn of_query(&self, target: &Target, settings: &Rc<RequestRules>) -> RuledRequest {
        let (authority, path) = (target.authority.as_str(), target.path_and_query.path());
        let Some(found) = self.table.find_query(authority, path) else {
            return RuledRequest { rules: Rc::clone(settings), passes: Some(PassReason::Method) };
        };
        let rules = found.index().and_then(|index| self.queries.get(index));
        let rules = rules.map_or(settings, |rules| if found.permits() { &rules.plain } else { &rules.other });
        RuledRequest { rules: Rc::clone(rules), passes: PassReason::of(&found) }
    }
}

impl PassReason {
    fn of(found: &RouteMatch<'_, '_>) -> Option<Self> {
        if found.is_ambiguous() {
            Some(Self::AmbiguousPath)
        } else {
            found.passes_through().then_some(Self::Route)
        }
    }
}

impl RulesByForm {
    fn of(settings: &RequestRules, route: &Route, guarantee: WriteGuarantee) -> Self {
        let other = settings.with(route, PathForm::NotPlain, guarantee);
        let plain = settings.with(route, PathForm::Plain, guarantee);
        Self { plain: Rc::new(plain), other: Rc::new(other) }
    }

    fn for_queries(&self) -> Self {
        Self { plain: Rc::new(self.plain.for_queries()), other: Rc::new(self.other.for_queries()) }
    }
}

impl RequestRules {
    /// Returns the rules of a route for paths of this form.
    fn with(&self, route: &Route, form: PathForm, guarantee: WriteGuarantee) -> Self {
        let members = &route.members;
        let mut cache = self.cache.clone();
        cache.digest = cache.client_certificates.digest(RulesDigest(route.rules_digest()));
        restrict(&mut cache, members);
        match form {
            PathForm::Plain => permit(&mut cache, members),
            // A route that lowers the default lifetime lowers it for every path.
            PathForm::NotPlain => {
                cache.default_ttl = cache.default_ttl.min(members.default_ttl.unwrap_or(Duration::MAX));
            }
        }
        Self {
            cache,
            collapse_timeout: members.collapse_timeout.unwrap_or(self.collapse_timeout),
            origin_head_timeout: members.origin_head_timeout,
            origin_body_timeout: members.origin_body_timeout,
            generation: self.generation,
            route: Some(route.name.as_ref().into()),
            memory: match guarantee {
                WriteGuarantee::None => MemoryUse::Usual,
                WriteGuarantee::Confirmed | WriteGuarantee::Held => MemoryUse::TrackedOnly,
            },
            guarantee,
            retrieval: Method::GET,
            counter: self.counter.clone(),
            table: self.table.clone(),
        }
    }

    /// Returns the same rules for `QUERY` requests, whose key has the content.
    fn for_queries(&self) -> Self {
        let mut rules = self.clone();
        rules.cache.keys = rules.cache.keys.for_queries(QUERY_CONTENT);
        rules.retrieval = Method::QUERY;
        rules
    }

    /// Returns the name of the route for the access log.
    pub(in crate::proxy) fn logged_route(&self) -> Option<Arc<str>> {
        self.route.clone()
    }

    /// Returns the deadlines of an exchange with the origin.
    pub(in crate::proxy) fn deadlines(&self, origin: &OriginClient) -> ExchangeDeadlines {
        let ExchangeDeadlines { head, body } = origin.deadlines();
        ExchangeDeadlines {
            head: self.origin_head_timeout.unwrap_or(head),
            body: self.origin_body_timeout.unwrap_or(body),
        }
    }

    /// Returns the tags that the route gives to the response to a request for the target; `None` if
    /// one is too long, so that a purge would miss the response.
    pub(in crate::proxy) fn route_tags(&self, target: &Target) -> Option<Vec<String>> {
        let (Some(table), Some(_)) = (&self.table, &self.route) else { return Some(Vec::new()) };
        table.find(&self.retrieval, target.authority.as_str(), target.path_and_query.path()).stored_tags()
    }

    /// Returns the tag that a write holds: while it does, the response to a request for the target
    /// is not stored. `None` if no write holds responses of the route.
    pub(in crate::proxy) fn held_tag(&self, target: &Target) -> Option<CacheTag> {
        let table = self.table.as_ref().filter(|_| self.guarantee == WriteGuarantee::Held)?;
        let path = target.path_and_query.path();
        let tag = table.find(&self.retrieval, target.authority.as_str(), path).implied_tag()?;
        CacheTag::of_route(&tag).ok()
    }

    /// Returns the purges of a write to the target, in every reading of its path.
    pub(in crate::proxy) fn write(&self, method: &Method, target: &Target) -> RouteWrite {
        let Some(table) = &self.table else { return RouteWrite::NONE };
        table.write(method, target.authority.as_str(), target.path_and_query.path())
    }
}

/// Applies the members that need no plain path.
fn restrict(cache: &mut CacheRules, members: &RouteMembers) {
    let RouteMembers { key_headers, harmless_headers, credential_headers, .. } = members;
    cache.negative_ttl = members.negative_ttl.unwrap_or(cache.negative_ttl);
    cache.stale_while_revalidate = members.stale_while_revalidate.unwrap_or(cache.stale_while_revalidate);
    cache.stale_if_error = members.stale_if_error.unwrap_or(cache.stale_if_error);
    cache.body_bytes_max = members.max_body.unwrap_or(cache.body_bytes_max);
    if let Some(types) = &members.content_types {
        cache.content_types = types.clone();
    }
    if let Some(statuses) = &members.statuses {
        cache.statuses = statuses.clone();
    }
    cache.client_cache_control = members.client_cache_control.unwrap_or(cache.client_cache_control);
    cache.keys = cache.keys.with(key_headers, members.query.clone());
    cache.fields = cache.fields.with(credential_headers, key_headers, harmless_headers);
    if let Some(cookies) = &members.ignored_cookies {
        cache.ignored_cookies = cache.ignored_cookies.with(cookies);
    }
}

/// Applies the members that need a plain path.
fn permit(cache: &mut CacheRules, members: &RouteMembers) {
    cache.default_ttl = members.default_ttl.unwrap_or(cache.default_ttl);
    cache.freshness = members.cache_control.as_ref().map(stated_freshness);
    cache.overrides = members.overrides.iter().fold(OverrideSet::NONE, |all, word| {
        all | match word {
            RouteOverride::Private => OverrideSet::PRIVATE,
            RouteOverride::NoStore => OverrideSet::NO_STORE,
            RouteOverride::SetCookie => OverrideSet::SET_COOKIE,
        }
    });
}

fn stated_freshness(stated: &RouteFreshness) -> StatedFreshness {
    StatedFreshness {
        lifetime: stated.max_age,
        stale_while_revalidate: stated.stale_while_revalidate,
        stale_if_error: stated.stale_if_error,
        stale_responses: match stated.stale_use {
            StaleUse::AsUsual => StaleResponses::Allowed,
            StaleUse::Forbidden => StaleResponses::Forbidden,
        },
    }
}
