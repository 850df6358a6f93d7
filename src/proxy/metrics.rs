//! What this path counts, and the access log.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use tracing::info;

use super::answer::{Answer, Outcome};
use super::fill::Fills;
use super::load::Load;
use super::options::{AccessLog, Options};
use crate::label::Label;
use crate::policy::NotStorable;
use crate::telemetry::{Counter, Counters, Histogram, Histograms, Registry};

/// One worker's counters.
pub(super) struct Metrics {
    requests: Counters<Outcome>,
    latency: Histograms<Outcome>,
    not_stored: Counters<NotStorable>,
    collapsed_wait: Histogram,
    refreshes: Counter,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            requests: registry.counters(
                "cachewarp_requests",
                "Requests, by how they were answered",
                "outcome",
            ),
            latency: registry.histograms(
                "cachewarp_request_duration_seconds",
                "From a request's head to its response's head",
                "outcome",
            ),
            not_stored: registry.counters(
                "cachewarp_not_stored",
                "Responses to cacheable requests that were not stored, by reason",
                "reason",
            ),
            collapsed_wait: registry.histogram(
                "cachewarp_collapsed_wait_seconds",
                "How long requests waited for another request's fetch",
            ),
            refreshes: registry.counter("cachewarp_refreshes", "Refreshes begun in the background"),
        }
    }

    pub(super) fn answered(&self, answer: &Answer, took: Duration, line: Option<Line>) {
        self.requests.inc(answer.outcome);
        self.latency.observe(answer.outcome, took);
        if let Some(Line { method, path }) = line {
            info!(
                target: "cachewarp::access",
                %method,
                path,
                status = answer.response.status().as_u16(),
                outcome = answer.outcome.word(),
                ms = took.as_secs_f64() * 1e3,
                "request"
            );
        }
    }

    pub(super) fn not_stored(&self, reason: NotStorable) {
        self.not_stored.inc(reason);
    }

    pub(super) fn refreshed(&self) {
        self.refreshes.inc();
    }

    pub(super) fn waited(&self, took: Duration) {
        self.collapsed_wait.observe(took);
    }
}

/// What the access log says of a request. The path without the query: queries carry tokens.
pub(super) struct Line {
    method: Method,
    path: String,
}

impl Line {
    /// Kept only where there is an access log to write.
    pub(super) fn of<B>(options: &Options, request: &Request<B>) -> Option<Self> {
        match options.access_log {
            AccessLog::Off => None,
            AccessLog::On => {
                Some(Self { method: request.method().clone(), path: request.uri().path().to_owned() })
            }
        }
    }
}

/// Shows what was taken on.
pub(super) fn watch_load(load: &Load, registry: &Registry) {
    let requests = load.clone();
    registry.sampled("cachewarp_requests_waiting", "Requests that wait for Redis or the origin", move || {
        requests.requests() as f64
    });
    let bodies = load.clone();
    registry.sampled("cachewarp_body_bytes", "Bytes that the bodies of fetches under way hold", move || {
        bodies.body_bytes() as f64
    });
}

/// Shows how many fetches are shared.
pub(super) fn watch_fills(fills: &Arc<Fills>, registry: &Registry) {
    let fills = Arc::clone(fills);
    registry.sampled("cachewarp_fills", "Fetches under way that others may join", move || fills.len() as f64);
}
