//! The state of a process that all its workers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::answer_budget::AnswerBudget;
use crate::proxy::admission::doorkeeper::Doorkeeper;
use crate::proxy::admission::load::LoadLimiter;
use crate::proxy::admission::write_rate::WriteRate;
use crate::proxy::fetch::json_checks::JsonChecks;
use crate::proxy::fetch::pauses::RefreshPauses;
use crate::proxy::fetch::refusals::OriginRefusals;
use crate::proxy::fetch::slow::SlowKeys;
use crate::proxy::fetch::table::FetchTable;
use crate::proxy::fetch::uncacheable::UncacheableKeys;
use crate::proxy::metrics;
use crate::proxy::options::Options;
use crate::proxy::popular::PopularPaths;
use crate::proxy::recent_purges::RecentPurges;
use crate::proxy::request::FetchScope;
use crate::routes::RouteTable;
use crate::telemetry::{Registry, RouteCounts};
use crate::time;

/// The state that all workers of a process share: fetches in progress, uncacheable keys, and load.
#[derive(Clone)]
pub struct ProxyShared {
    pub(in crate::proxy) fetches: Arc<FetchTable>,
    /// The fetches for requests that forbid an older response.
    pub(in crate::proxy) newer_fetches: Arc<FetchTable>,
    pub(in crate::proxy) uncacheable: Arc<UncacheableKeys>,
    pub(in crate::proxy) slow: Arc<SlowKeys>,
    pub(in crate::proxy) doorkeeper: Arc<Doorkeeper>,
    pub(in crate::proxy) popular: Arc<PopularPaths>,
    pub(in crate::proxy) purges: Arc<RecentPurges>,
    pub(in crate::proxy) pauses: Arc<RefreshPauses>,
    pub(in crate::proxy) refusals: Arc<OriginRefusals>,
    pub(in crate::proxy) json_checks: Arc<JsonChecks>,
    pub(in crate::proxy) load: LoadLimiter,
    pub(in crate::proxy) write_waits: Arc<WriteRate>,
    pub(in crate::proxy) answers: AnswerBudget,
    pub(in crate::proxy) route_counts: RouteCounts,
    /// The number of routes in use that lift a prohibition of the origin.
    overriding: Arc<AtomicUsize>,
}

impl ProxyShared {
    /// Creates the state of a process that has no fetch in progress.
    pub fn new(options: &Options, registry: &Registry) -> Self {
        let shared = Self {
            fetches: FetchTable::new(FetchScope::Any),
            newer_fetches: FetchTable::new(FetchScope::Newer),
            uncacheable: Arc::new(UncacheableKeys::new()),
            slow: Arc::new(SlowKeys::new()),
            doorkeeper: Arc::new(Doorkeeper::new(options.admission_budget)),
            popular: Arc::new(PopularPaths::new()),
            purges: Arc::default(),
            pauses: Arc::new(RefreshPauses::new(time::instant())),
            refusals: Arc::new(OriginRefusals::new(time::instant())),
            json_checks: Arc::new(JsonChecks::new()),
            write_waits: Arc::new(WriteRate::per_second(options.on_write_rate)),
            load: LoadLimiter::new(
                options.requests_max,
                options.requests_per_address_max,
                options.body_bytes_max,
            ),
            answers: AnswerBudget::new(options.answer_bytes_max),
            route_counts: RouteCounts::new(registry),
            overriding: Arc::default(),
        };
        metrics::watch_fetches([&shared.fetches, &shared.newer_fetches], registry);
        metrics::watch_load(&shared.load, registry);
        metrics::watch_answers(&shared.answers, registry);
        metrics::watch_overrides(&shared.overriding, registry);
        shared
    }

    /// Notes the routes that a worker uses from now on.
    pub(in crate::proxy) fn note_routes(&self, routes: Option<&RouteTable>) {
        let overriding = routes.map_or(0, |routes| routes.overrides().len());
        self.overriding.store(overriding, Ordering::Relaxed);
    }
}
