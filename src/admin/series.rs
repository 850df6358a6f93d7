//! `GET /series`: the course of the last hour, as a JSON document.
//!
//! The worker of the admin listener takes one sample of the metrics at each interval and keeps the
//! differences in a bounded ring, so that an operator who opens the page after a fault sees it. A
//! point has counts and percentiles of the whole process, and no name of a client, path or key.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use http::StatusCode;
use tokio::time::sleep;

use super::response::{AdminResponse, json};
use super::stats::{HITS, ORIGIN_REQUESTS, REQUEST_DURATION, StatsSource, is_cacheable, requests_of, whole};
use crate::json::{JsonObject, object};
use crate::limits::{SERIES_INTERVAL, SERIES_POINTS_MAX};
use crate::telemetry::percentile;
use crate::time::{self, millis};

/// The counts of a process since its start, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct SeriesCounts {
    /// Time since the start.
    at: Duration,
    requests: u64,
    cacheable: u64,
    memory_hits: u64,
    redis_hits: u64,
    failed: u64,
    origin_requests: u64,
    /// Requests of all outcomes by their time to the head.
    buckets: Vec<u64>,
}

impl SeriesCounts {
    fn of(source: &StatsSource) -> Self {
        let snapshot = source.registry.snapshot();
        let requests = |outcomes: &mut dyn FnMut(&str) -> bool| whole(requests_of(&snapshot, outcomes));
        let [memory_hits, redis_hits] = HITS.map(|(hit, _)| requests(&mut |outcome| outcome == hit));
        let mut buckets = Vec::new();
        for (_, counts) in snapshot.buckets(REQUEST_DURATION) {
            buckets.resize(counts.len(), 0);
            buckets.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        Self {
            at: time::instant().duration_since(source.begun),
            requests: requests(&mut |_| true),
            cacheable: requests(&mut is_cacheable),
            memory_hits,
            redis_hits,
            failed: requests(&mut |outcome| outcome == FAILED),
            origin_requests: whole(snapshot.numbers(ORIGIN_REQUESTS).map(|(_, count)| count).sum()),
            buckets,
        }
    }
}

/// The outcome of requests that the origin or the proxy failed.
const FAILED: &str = "failed";

/// The counts of one interval.
#[derive(Debug, PartialEq, Eq)]
struct SeriesPoint {
    counts: SeriesCounts,
    took: Duration,
    median: Option<Duration>,
    p99: Option<Duration>,
}

impl SeriesPoint {
    fn between(before: &SeriesCounts, now: &SeriesCounts) -> Self {
        let since = |of: fn(&SeriesCounts) -> u64| of(now).saturating_sub(of(before));
        let earlier = before.buckets.iter().chain(std::iter::repeat(&0));
        let buckets: Vec<u64> =
            now.buckets.iter().zip(earlier).map(|(now, before)| now.saturating_sub(*before)).collect();
        Self {
            median: percentile(&buckets, 0.5),
            p99: percentile(&buckets, 0.99),
            took: now.at.saturating_sub(before.at),
            counts: SeriesCounts {
                at: now.at,
                requests: since(|counts| counts.requests),
                cacheable: since(|counts| counts.cacheable),
                memory_hits: since(|counts| counts.memory_hits),
                redis_hits: since(|counts| counts.redis_hits),
                failed: since(|counts| counts.failed),
                origin_requests: since(|counts| counts.origin_requests),
                // The point keeps the percentiles.
                buckets: Vec::new(),
            },
        }
    }

    fn write(&self, object: &mut JsonObject<'_>) {
        object.number("at_ms", millis(self.counts.at));
        object.number("took_ms", millis(self.took));
        object.number("requests", self.counts.requests);
        object.number("cacheable", self.counts.cacheable);
        object.number("memory_hits", self.counts.memory_hits);
        object.number("redis_hits", self.counts.redis_hits);
        object.number("failed", self.counts.failed);
        object.number("origin_requests", self.counts.origin_requests);
        for (name, took) in [("p50_ms", self.median), ("p99_ms", self.p99)] {
            if let Some(took) = took {
                object.milliseconds(name, took);
            }
        }
    }
}

/// The points of the last hour.
#[derive(Debug, Default)]
pub(super) struct SeriesRing {
    last: RefCell<Option<SeriesCounts>>,
    points: RefCell<VecDeque<SeriesPoint>>,
}

impl SeriesRing {
    /// Takes a sample at each interval; never ends.
    pub(super) async fn keep(&self, source: &StatsSource) -> Infallible {
        loop {
            self.add(SeriesCounts::of(source));
            sleep(SERIES_INTERVAL).await;
        }
    }

    fn add(&self, now: SeriesCounts) {
        if let Some(before) = &*self.last.borrow() {
            let mut points = self.points.borrow_mut();
            if points.len() >= SERIES_POINTS_MAX {
                points.pop_front();
            }
            points.push_back(SeriesPoint::between(before, &now));
        }
        self.last.replace(Some(now));
    }

    /// Returns the document: the points, the oldest first.
    pub(super) fn answer(&self) -> AdminResponse {
        let document = object(|object| {
            object.number("interval_ms", millis(SERIES_INTERVAL));
            object.objects("points", self.points.borrow().iter(), |object, point| point.write(object));
        });
        json(StatusCode::OK, document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(number: u64) -> SeriesCounts {
        SeriesCounts {
            at: Duration::from_secs(number),
            requests: 10 * number,
            cacheable: 8 * number,
            memory_hits: 4 * number,
            redis_hits: 2 * number,
            failed: number,
            origin_requests: 3 * number,
            buckets: Vec::new(),
        }
    }

    #[test]
    fn a_point_has_the_counts_of_its_interval() {
        let ring = SeriesRing::default();
        ring.add(counts(1));
        assert!(ring.points.borrow().is_empty());
        ring.add(counts(4));
        let points = ring.points.borrow();
        let expected = SeriesCounts { at: Duration::from_secs(4), ..counts(3) };
        let point = SeriesPoint { counts: expected, took: Duration::from_secs(3), median: None, p99: None };
        assert_eq!(*points, [point]);
    }

    #[test]
    fn counts_of_less_than_before_are_zero() {
        let point = SeriesPoint::between(&counts(4), &counts(1));
        assert_eq!((point.counts.requests, point.took), (0, Duration::ZERO));
    }

    #[test]
    fn the_ring_drops_its_oldest_points() {
        let ring = SeriesRing::default();
        let last = SERIES_POINTS_MAX as u64 + 10;
        (0..=last).for_each(|number| ring.add(counts(number)));
        let points = ring.points.borrow();
        let ends =
            points.front().zip(points.back()).map(|(oldest, newest)| (oldest.counts.at, newest.counts.at));
        assert_eq!(points.len(), SERIES_POINTS_MAX);
        assert_eq!(ends, Some((Duration::from_secs(11), Duration::from_secs(last))));
    }
}
