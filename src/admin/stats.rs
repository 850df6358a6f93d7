//! `GET /stats`: the state of this process, as a JSON document.
//!
//! Every number is also a metric of `/metrics`; the document selects some of them. Counts begin at
//! the start of the process: a client that wants rates reads twice, and computes the percentiles of
//! the interval from the buckets. With `?top=10`, the document lists the most requested paths. They
//! are counted only while clients request them.

use std::rc::Rc;
use std::time::Instant;

use http::{StatusCode, Uri};

use super::problem::AdminProblem;
use super::query::{self, QueryError};
use super::response::{AdminResponse, json};
use crate::json::{JsonObject, object};
use crate::label::Label;
use crate::limits::{
    OPERATOR_SHOWN_BYTES_MAX, REGISTERED_NAME_BYTES_MAX, ROUTE_NAME_BYTES_MAX, TOP_PATH_BYTES_MAX,
    TOP_PATHS_SHOWN_MAX,
};
use crate::proxy::{self, Proxy, RecentPurge};
use crate::store::{ConnectionState, ServerState, Store};
use crate::telemetry::{
    BUCKET_BOUNDS, CacheResult, MetricSnapshot, Registry, RouteSummary, StatusClass, percentile,
};
use crate::time::{self, millis};

/// The outcomes that are hits, each with its tier.
pub(super) const HITS: [(&str, &str); 2] = [("hit-memory", "memory"), ("hit-redis", "redis")];
/// The percentiles that are shown of a latency.
const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];
/// An escaped byte takes at most six bytes.
const PATH_ESCAPED_BYTES_MAX: usize = 6 * TOP_PATH_BYTES_MAX;

/// The parts of the process that the document describes.
pub(super) struct StatsSource {
    pub(super) registry: Registry,
    pub(super) store: Rc<Store>,
    pub(super) proxy: Rc<Proxy>,
    /// Number of workers of the process.
    pub(super) workers: usize,
    pub(super) begun: Instant,
}

/// Returns the document.
pub(super) async fn answer(source: &StatsSource, uri: &Uri) -> Result<AdminResponse, AdminProblem> {
    let top = top(uri.query())?;
    let health = source.store.health().await;
    let snapshot = source.registry.snapshot();
    let now = time::instant();
    let document = object(|object| {
        object.text("version", env!("CARGO_PKG_VERSION"), usize::MAX);
        object.seconds("uptime", now.duration_since(source.begun));
        object.number("now_ms", millis(now.duration_since(source.begun)));
        object.number("workers", source.workers as u64);
        write_requests(object, &snapshot);
        write_latency(object, &snapshot);
        object.object("memory", usize::MAX, |object| {
            number(object, &snapshot, "bytes", "cachewarp_memory_bytes");
            number(object, &snapshot, "entries", "cachewarp_memory_entries");
        });
        object.object("redis", usize::MAX, |object| {
            object.word("health", health.word());
            numbers(object, &snapshot, "connections", "cachewarp_redis_connections");
            number(object, &snapshot, "in_flight", "cachewarp_redis_commands_in_flight");
            numbers(object, &snapshot, "commands", "cachewarp_redis_commands");
            number(object, &snapshot, "reconnects", "cachewarp_redis_reconnects");
            let others = source.store.nodes_with_other_rules();
            object.texts(
                "nodes_with_other_rules",
                others.iter().map(String::as_str),
                REGISTERED_NAME_BYTES_MAX,
            );
            object.objects("servers", source.store.servers().iter(), write_server);
            object.objects("each", source.store.connections().iter(), write_connection);
        });
        object.object("origin", usize::MAX, |object| {
            number(object, &snapshot, "open", "cachewarp_origin_connections_open");
            number(object, &snapshot, "idle", "cachewarp_origin_connections_idle");
            numbers(object, &snapshot, "requests", ORIGIN_REQUESTS);
            numbers(object, &snapshot, "failures", "cachewarp_origin_failures");
        });
        object.object("clients", usize::MAX, |object| {
            number(object, &snapshot, "open", "cachewarp_client_connections_open");
            number(object, &snapshot, "accepted", "cachewarp_client_connections_accepted");
        });
        number(object, &snapshot, "shared_fetches", "cachewarp_shared_fetches");
        let routes = source.proxy.route_counts();
        if !routes.is_empty() {
            object.objects("routes", routes.iter(), write_route);
            let overrides = source.proxy.route_overrides();
            object.texts("route_overrides", overrides.iter().map(String::as_str), OPERATOR_SHOWN_BYTES_MAX);
        }
        object.objects("recent_purges", source.proxy.recent_purges().iter(), write_purge);
        if let Some(count) = top {
            let paths = source.proxy.popular_paths(count);
            object.objects("top", paths.iter(), |object, (path, count)| {
                object.text("path", path, PATH_ESCAPED_BYTES_MAX);
                object.number("requests", *count);
            });
        }
    });
    Ok(json(StatusCode::OK, document))
}

/// Writes the state of one connection to Redis, as its worker last published it.
fn write_connection(object: &mut JsonObject<'_>, connection: &ConnectionState) {
    object.text("server", &connection.server, usize::MAX);
    object.word("lane", connection.lane.word());
    object.word("state", connection.status.word());
    object.word("breaker", connection.breaker.word());
    object.seconds("silence", connection.silence);
    object.number("in_flight", connection.commands);
    object.number("in_flight_bytes", connection.bytes);
    if let Some(oldest) = connection.oldest {
        object.seconds("oldest", oldest);
    }
    object.number("reconnects", connection.reconnects);
    object.number("received_bytes", connection.received);
    object.number("sent_bytes", connection.sent);
}

/// Writes the counts of one Redis server since the start, also of a server that the client no
/// longer uses.
fn write_server(object: &mut JsonObject<'_>, (server, state): &(String, ServerState)) {
    object.text("server", server, usize::MAX);
    object.number("replies", state.replies.count());
    write_times(object, &state.replies.counts);
    object.number("received_bytes", state.received);
    object.number("sent_bytes", state.sent);
}

/// Writes the counts of one route since the start, also of a route that a reload removed.
fn write_route(object: &mut JsonObject<'_>, route: &RouteSummary) {
    object.text("route", &route.name, ROUTE_NAME_BYTES_MAX);
    object.object("responses", usize::MAX, |object| {
        for (class, count) in StatusClass::ALL.iter().zip(route.responses) {
            object.number(class.word(), count);
        }
    });
    for (result, count) in CacheResult::ALL.iter().zip(route.results) {
        object.number(result.word(), count);
    }
    write_times(object, &route.times.counts);
}

/// Reads the number of paths that the query requests.
fn top(query: Option<&str>) -> Result<Option<usize>, QueryError> {
    let mut top = None;
    for (name, value) in query::pairs(query)? {
        match name.as_ref() {
            "top" if top.is_some() => return Err(QueryError::Twice("top")),
            "top" => {
                let count = value.parse().ok().filter(|count| (1..=TOP_PATHS_SHOWN_MAX).contains(count));
                top = Some(count.ok_or(QueryError::Top)?);
            }
            _ => return Err(QueryError::Unknown { given: name.into_owned(), known: "top" }),
        }
    }
    Ok(top)
}

fn write_requests(object: &mut JsonObject<'_>, snapshot: &MetricSnapshot) {
    numbers(object, snapshot, "requests", REQUESTS);
    let of = |outcomes: &mut dyn FnMut(&str) -> bool| requests_of(snapshot, outcomes);
    let cacheable = of(&mut is_cacheable);
    object.number("cacheable", whole(cacheable));
    object.object("hit_ratio", usize::MAX, |object| {
        for (hit, tier) in HITS {
            object.ratio(tier, of(&mut |outcome| outcome == hit) / cacheable);
        }
        object.ratio("all", of(&mut |outcome| HITS.iter().any(|(hit, _)| *hit == outcome)) / cacheable);
    });
}

/// Returns the number of requests with these outcomes.
pub(super) fn requests_of(snapshot: &MetricSnapshot, outcomes: &mut dyn FnMut(&str) -> bool) -> f64 {
    snapshot.numbers(REQUESTS).filter(|(outcome, _)| outcomes(outcome)).map(|(_, count)| count).sum()
}

pub(super) fn is_cacheable(outcome: &str) -> bool {
    proxy::cacheable_outcomes().any(|cacheable| cacheable == outcome)
}

const REQUESTS: &str = "cachewarp_requests";
pub(super) const REQUEST_DURATION: &str = "cachewarp_request_duration";
pub(super) const ORIGIN_REQUESTS: &str = "cachewarp_origin_requests";

/// Writes one purge order, without the names that it purges.
fn write_purge(object: &mut JsonObject<'_>, purge: &RecentPurge) {
    object.number("at_ms", purge.at.as_millis());
    object.word("outcome", purge.outcome.word());
    object.word("strength", purge.strength);
    for (kind, count) in purge.named {
        object.number(kind, count);
    }
    object.number("took_ms", millis(purge.took));
}

fn write_latency(object: &mut JsonObject<'_>, snapshot: &MetricSnapshot) {
    object.numbers("latency_bounds_us", BUCKET_BOUNDS.iter().copied());
    object.object("latency", usize::MAX, |object| {
        for (outcome, counts) in snapshot.buckets(REQUEST_DURATION) {
            if counts.iter().all(|count| *count == 0) {
                continue;
            }
            object.object(outcome, usize::MAX, |object| {
                write_times(object, counts);
            });
        }
    });
}

/// Writes the buckets, and the percentiles if the buckets are not empty.
fn write_times(object: &mut JsonObject<'_>, counts: &[u64]) {
    for (name, part) in PERCENTILES {
        if let Some(took) = percentile(counts, part) {
            object.milliseconds(&format!("{name}_ms"), took);
        }
    }
    object.numbers("buckets", counts.iter().copied());
}

fn number(object: &mut JsonObject<'_>, snapshot: &MetricSnapshot, name: &str, metric: &str) {
    if let Some(number) = snapshot.number(metric) {
        object.number(name, whole(number));
    }
}

fn numbers(object: &mut JsonObject<'_>, snapshot: &MetricSnapshot, name: &str, metric: &str) {
    object.object(name, usize::MAX, |object| {
        for (label, number) in snapshot.numbers(metric) {
            object.number(label, whole(number));
        }
    });
}

/// Rounds a metric to a whole number. Gauges can be negative for a moment, between the counts of
/// two workers; then the result is 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast to an integer saturates")]
pub(super) fn whole(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_is_a_number_within_bounds() {
        assert_eq!(top(None), Ok(None));
        assert_eq!(top(Some("top=10")), Ok(Some(10)));
        for query in ["top=0", "top", "top=101", "top=-1", "top=a"] {
            assert_eq!(top(Some(query)), Err(QueryError::Top), "{query}");
        }
        assert_eq!(top(Some("top=1&top=1")), Err(QueryError::Twice("top")));
        assert!(matches!(top(Some("tops=1")), Err(QueryError::Unknown { .. })));
    }

    #[test]
    fn a_number_is_whole_and_not_below_zero() {
        assert_eq!([-1.0, 0.4, 7.0, f64::NAN].map(whole), [0, 0, 7, 0]);
    }
}
