//! One answer of `/stats`, and the difference of two.
//!
//! Another version of CacheWarp may give the answer, so a missing member counts as zero or empty,
//! and is no error.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::telemetry::{BUCKET_BOUNDS, percentile};

/// Counts by name.
pub(super) type CountsByName = Vec<(String, u64)>;

/// The values of one answer.
#[derive(Debug, Default)]
pub(super) struct StatsSample {
    pub(super) version: String,
    /// Time since the start of the process.
    pub(super) uptime: Duration,
    pub(super) workers: u64,
    /// Requests by outcome.
    pub(super) requests: CountsByName,
    /// Requests that could have been hits.
    pub(super) cacheable: u64,
    /// Histogram buckets by outcome.
    buckets: Vec<(String, Vec<u64>)>,
    pub(super) memory_bytes: u64,
    pub(super) memory_entries: u64,
    pub(super) redis_health: String,
    pub(super) redis_connections: CountsByName,
    pub(super) redis_in_flight: u64,
    pub(super) redis_commands: CountsByName,
    pub(super) origin_open: u64,
    pub(super) origin_idle: u64,
    pub(super) origin_requests: CountsByName,
    pub(super) clients_open: u64,
    pub(super) shared_fetches: u64,
    /// Requests by path.
    pub(super) top: CountsByName,
}

impl StatsSample {
    pub(super) fn of(stats: &Value) -> Self {
        let buckets = members(stats, "latency")
            .map(|(outcome, latency)| (outcome.clone(), items(latency, "buckets").map(whole).collect()));
        Self {
            version: text(stats, "version"),
            uptime: Duration::from_millis(number(stats, "now_ms")),
            workers: number(stats, "workers"),
            requests: counts(stats, "requests"),
            cacheable: number(stats, "cacheable"),
            buckets: buckets.collect(),
            memory_bytes: number(stats, "memory.bytes"),
            memory_entries: number(stats, "memory.entries"),
            redis_health: text(stats, "redis.health"),
            redis_connections: counts(stats, "redis.connections"),
            redis_in_flight: number(stats, "redis.in_flight"),
            redis_commands: counts(stats, "redis.commands"),
            origin_open: number(stats, "origin.open"),
            origin_idle: number(stats, "origin.idle"),
            origin_requests: counts(stats, "origin.requests"),
            clients_open: number(stats, "clients.open"),
            shared_fetches: number(stats, "shared_fetches"),
            top: items(stats, "top").map(|path| (text(path, "path"), number(path, "requests"))).collect(),
        }
    }

    /// Returns the time since `before`, or `None` if `before` is of another process, whose counts
    /// do not compare.
    pub(super) fn since(&self, before: &Self) -> Option<Duration> {
        self.uptime.checked_sub(before.uptime).filter(|elapsed| !elapsed.is_zero())
    }

    /// Returns the time within which this part of an outcome's requests since `before` were
    /// answered.
    pub(super) fn percentile(&self, before: Option<&Self>, outcome: &str, part: f64) -> Option<Duration> {
        let counts = self.bucket_counts(outcome)?;
        let earlier = before.and_then(|before| before.bucket_counts(outcome)).unwrap_or_default();
        let zeros = std::iter::repeat(&0);
        let between: Vec<u64> = counts
            .iter()
            .zip(earlier.iter().chain(zeros))
            .map(|(now, then)| now.saturating_sub(*then))
            .collect();
        (between.len() == BUCKET_BOUNDS.len() + 1).then(|| percentile(&between, part)).flatten()
    }

    fn bucket_counts(&self, outcome: &str) -> Option<&[u64]> {
        self.buckets.iter().find(|(name, _)| name == outcome).map(|(_, counts)| counts.as_slice())
    }
}

/// Returns the increase of each count.
pub(super) fn between(now: &CountsByName, before: &CountsByName) -> CountsByName {
    let earlier = |name: &str| before.iter().find(|(known, _)| known == name).map_or(0, |(_, count)| *count);
    now.iter().map(|(name, count)| (name.clone(), count.saturating_sub(earlier(name)))).collect()
}

fn at<'a>(stats: &'a Value, way: &str) -> Option<&'a Value> {
    way.split('.').try_fold(stats, |value, member| value.get(member))
}

fn members<'a>(stats: &'a Value, way: &str) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
    at(stats, way).and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

fn items<'a>(stats: &'a Value, way: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    at(stats, way).and_then(Value::as_array).into_iter().flatten()
}

fn number(stats: &Value, way: &str) -> u64 {
    at(stats, way).map(whole).unwrap_or_default()
}

/// Replaces all characters but those of ASCII that are one column wide: the text comes from the
/// network, a terminal would obey control characters, and others move what is behind them.
fn printable(text: &str) -> String {
    let visible = |letter: char| letter == ' ' || letter.is_ascii_graphic();
    text.chars().map(|letter| if visible(letter) { letter } else { char::REPLACEMENT_CHARACTER }).collect()
}

fn text(stats: &Value, way: &str) -> String {
    at(stats, way).and_then(Value::as_str).map(printable).unwrap_or_default()
}

fn counts(stats: &Value, way: &str) -> CountsByName {
    members(stats, way).map(|(name, count)| (printable(name), whole(count))).collect()
}

fn whole(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}
