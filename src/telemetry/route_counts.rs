//! The counts of each route: responses by status class, hits and misses, and times to the head.
//!
//! A name of a route identifies its counts. A worker counts in its own cells, which the process
//! adds at a scrape. A reload takes the cells of a name that is known already, so no count is lost
//! or moves to another route. The first [`ROUTES_COUNTED_MAX`] routes of a file have their own
//! series, and the further ones share [`OTHER`]; so do new names of a process that has
//! [`ROUTE_SERIES_MAX`] names. A request without a route counts in no series.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;

use super::histograms::{BUCKETS, SERIES_CELLS, observe_at};
use super::registry::Registry;
use super::shard::CounterShard;
use super::status::StatusClass;
use super::tally::DurationSummary;
use crate::label::{Label, OTHER};
use crate::limits::{ROUTE_SERIES_MAX, ROUTES_COUNTED_MAX};

crate::labels! {
    /// The result of a request that could have been a hit.
    pub enum CacheResult {
        /// Answered from memory or Redis.
        Hit => "hit",
        /// Answered with the help of the origin, or of another request's fetch.
        Miss => "miss",
    }
}

/// The first cell of the results, behind those of the status classes.
const RESULTS: usize = StatusClass::ALL.len();
/// The first cell of the times to the head.
const TIMES: usize = RESULTS + CacheResult::ALL.len();
const CELLS: usize = TIMES + SERIES_CELLS;

/// The counts of all routes of a process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct RouteCounts(Arc<Mutex<Vec<RouteSeries>>>);

/// The cells of one name.
#[derive(Debug)]
struct RouteSeries {
    name: Box<str>,
    /// One for each worker that has counted for the name.
    parts: Vec<CounterShard>,
}

/// The counts of one route at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSummary {
    /// The name of the route, or [`OTHER`].
    pub name: String,
    /// The responses of each [`StatusClass`].
    pub responses: [u64; StatusClass::ALL.len()],
    /// The requests of each [`CacheResult`].
    pub results: [u64; CacheResult::ALL.len()],
    /// The times from a request's head to its response's head.
    pub times: DurationSummary,
}

/// The counts of all routes in one worker.
#[derive(Debug)]
pub struct WorkerRouteCounts {
    process: RouteCounts,
    own: Vec<(Box<str>, RouteCounter)>,
}

/// The counts of one route in one worker. Clones share them.
#[derive(Clone, Debug)]
pub struct RouteCounter(CounterShard);

impl RouteCounter {
    /// Counts a response whose head took this long. `result` is that of a request that could have
    /// been a hit.
    pub fn answered(&self, status: StatusCode, result: Option<CacheResult>, took: Duration) {
        self.0.add(StatusClass::of(status).index(), 1);
        if let Some(result) = result {
            self.0.add(RESULTS + result.index(), 1);
        }
        observe_at(&self.0, TIMES, took);
    }
}

impl RouteCounts {
    /// Declares the families of routes.
    pub fn new(registry: &Registry) -> Self {
        let counts = Self::default();
        let responses = counts.clone();
        registry.listed_counter_pairs(
            "cachewarp_route_responses",
            "Responses to requests that match a route, by route and status class",
            ["route", "status"],
            move || responses.each(|route| words::<StatusClass>().zip(route.responses)),
        );
        let results = counts.clone();
        registry.listed_counter_pairs(
            "cachewarp_route_cache_results",
            "Requests that could have been hits, by route and result",
            ["route", "result"],
            move || results.each(|route| words::<CacheResult>().zip(route.results)),
        );
        let times = counts.clone();
        registry.listed_histograms(
            "cachewarp_route_duration_seconds",
            "Time from a request's head to its response's head, by route",
            "route",
            move || times.read().into_iter().map(|route| (route.name, route.times)).collect(),
        );
        counts
    }

    /// Returns the counts of a worker that has not counted yet.
    pub fn worker(&self) -> WorkerRouteCounts {
        WorkerRouteCounts { process: self.clone(), own: Vec::new() }
    }

    /// Returns the sums of all workers, in the order in which the names became known.
    pub fn read(&self) -> Vec<RouteSummary> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(RouteSeries::read).collect()
    }

    fn each<I: Iterator<Item = (&'static str, u64)>>(
        &self,
        series: impl Fn(&RouteSummary) -> I,
    ) -> Vec<([String; 2], u64)> {
        let routes = self.read();
        let of_route = routes.iter().flat_map(|route| {
            series(route).map(|(word, count)| ([route.name.clone(), word.to_owned()], count))
        });
        of_route.collect()
    }

    /// Adds the cells of a worker; `None` if the process has too many names for a new one.
    fn join(&self, name: &str) -> Option<RouteCounter> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let part = CounterShard::new(CELLS);
        if let Some(series) = all.iter_mut().find(|series| *series.name == *name) {
            series.parts.push(part.clone());
        } else if all.len() < ROUTE_SERIES_MAX || name == OTHER {
            all.push(RouteSeries { name: name.into(), parts: vec![part.clone()] });
        } else {
            return None;
        }
        Some(RouteCounter(part))
    }
}

impl RouteSeries {
    fn read(&self) -> RouteSummary {
        let sum = |cell: usize| self.parts.iter().fold(0_u64, |sum, part| sum.wrapping_add(part.read(cell)));
        RouteSummary {
            name: self.name.clone().into(),
            responses: std::array::from_fn(sum),
            results: std::array::from_fn(|result| sum(RESULTS + result)),
            times: DurationSummary {
                counts: std::array::from_fn(|bucket| sum(TIMES + bucket)),
                nanos: sum(TIMES + BUCKETS),
            },
        }
    }
}

impl WorkerRouteCounts {
    /// Returns the counter of each name of a routes file, in the order of the file.
    pub fn counters<'n>(&mut self, names: impl Iterator<Item = &'n str>) -> Vec<Option<RouteCounter>> {
        let counted = |(at, name)| if at < ROUTES_COUNTED_MAX { name } else { OTHER };
        names.enumerate().map(counted).map(|name| self.counter(name)).collect()
    }

    fn counter(&mut self, name: &str) -> Option<RouteCounter> {
        if let Some((_, counter)) = self.own.iter().find(|(known, _)| **known == *name) {
            return Some(counter.clone());
        }
        match self.process.join(name) {
            Some(counter) => {
                self.own.push((name.into(), counter.clone()));
                Some(counter)
            }
            None => self.counter(OTHER),
        }
    }
}

fn words<L: Label>() -> impl Iterator<Item = &'static str> {
    L::ALL.iter().map(|label| label.word())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(worker: &mut WorkerRouteCounts, names: &[String]) -> Vec<RouteCounter> {
        worker.counters(names.iter().map(String::as_str)).into_iter().flatten().collect()
    }

    fn hit(counter: &RouteCounter) {
        counter.answered(StatusCode::OK, Some(CacheResult::Hit), Duration::from_millis(1));
    }

    fn hits(process: &RouteCounts) -> Vec<(String, u64)> {
        process.read().into_iter().map(|route| (route.name, route.results[0])).collect()
    }

    #[test]
    fn a_reload_keeps_the_counts_of_each_name() {
        let registry = Registry::new();
        let process = RouteCounts::new(&registry);
        assert!(!registry.render().contains("route="), "no routes, no series");
        let mut workers = [process.worker(), process.worker()];
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for worker in &mut workers {
            let before = counts(worker, &names(&["a", "b"]));
            before.iter().for_each(hit);
            // The order changes, a name leaves, and a name comes.
            let after = counts(worker, &names(&["c", "b"]));
            after.iter().for_each(hit);
            // A request that began before the reload ends.
            hit(&before[0]);
            counts(worker, &names(&["a"])).iter().for_each(hit);
        }
        let want = [("a", 6), ("b", 4), ("c", 2)].map(|(name, hits)| (name.to_owned(), hits));
        assert_eq!(hits(&process), want);
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let process = RouteCounts::default();
        let mut worker = process.worker();
        let names: Vec<_> = (0..ROUTES_COUNTED_MAX + 2).map(|number| format!("r{number}")).collect();
        counts(&mut worker, &names).iter().for_each(hit);
        let counted = hits(&process);
        assert_eq!(counted.len(), ROUTES_COUNTED_MAX + 1);
        assert_eq!(counted.last(), Some(&(OTHER.to_owned(), 2)));
        for file in 0..5 {
            let names: Vec<_> = (0..ROUTES_COUNTED_MAX).map(|number| format!("f{file}-{number}")).collect();
            counts(&mut worker, &names).iter().for_each(hit);
        }
        let counted = hits(&process);
        assert_eq!(counted.len(), ROUTE_SERIES_MAX);
        let all: u64 = counted.iter().map(|(_, hits)| hits).sum();
        assert_eq!(all, 6 * ROUTES_COUNTED_MAX as u64 + 2, "every request counts once");
    }

    #[test]
    fn a_response_counts_in_every_family() {
        let registry = Registry::new();
        let process = RouteCounts::new(&registry);
        let counters = counts(&mut process.worker(), &["rates".to_owned()]);
        hit(&counters[0]);
        counters[0].answered(StatusCode::BAD_GATEWAY, None, Duration::from_secs(20));
        counters[0].answered(StatusCode::NOT_FOUND, Some(CacheResult::Miss), Duration::ZERO);
        let text = registry.render();
        for line in [
            r#"cachewarp_route_responses_total{route="rates",status="2xx"} 1"#,
            r#"cachewarp_route_responses_total{route="rates",status="4xx"} 1"#,
            r#"cachewarp_route_responses_total{route="rates",status="5xx"} 1"#,
            r#"cachewarp_route_cache_results_total{route="rates",result="hit"} 1"#,
            r#"cachewarp_route_cache_results_total{route="rates",result="miss"} 1"#,
            r#"cachewarp_route_duration_seconds_count{route="rates"} 3"#,
            r#"cachewarp_route_duration_seconds_bucket{route="rates",le="10.0"} 2"#,
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
    }
}
