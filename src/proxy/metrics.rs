//! The metrics of the request path.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Method;

use crate::answer_budget::AnswerBudget;
use crate::key::TargetError;
use crate::policy::NotStorable;
use crate::proxy::admission::load::{LoadLimiter, OverloadReason};
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::outcome::Outcome;
use crate::proxy::answer::response::ProxyAnswer;
use crate::proxy::fetch::table::FetchTable;
use crate::telemetry::{
    Counter, CounterGrid, Counters, DurationTimer, Histogram, Histograms, Registry, StatusClass,
};

crate::labels! {
    /// The reason for which a request is refused, independent of the store and the origin.
    pub(super) enum RequestRefusal {
        /// The request has no host, several hosts, a malformed host, or a target form that its
        /// method does not allow.
        BadTarget => "bad-target",
        /// The path leads out of the base path of `origin_url`.
        OutsideBase => "outside-base-path",
        /// The target is too long.
        TargetTooLong => "target-too-long",
        /// The method is `CONNECT` or `TRACE`.
        Method => "method-not-allowed",
        /// This process has already forwarded the request.
        Loop => "loop",
        /// `Connection` lists too many options.
        ConnectionOptions => "connection-options",
        /// The chunked coding of the request's content is invalid.
        MalformedBody => "client-body-malformed",
    }
}

crate::labels! {
    /// The kind of a check of a JSON body.
    pub(in crate::proxy) enum JsonCheckKind {
        /// The worker checked a small body.
        AtOnce => "at-once",
        /// A blocking thread checked a large body.
        Apart => "apart",
        /// The body is known to be invalid.
        Remembered => "remembered",
    }
}

crate::labels! {
    /// The outcome of the wait of a write.
    pub(in crate::proxy) enum WriteWaitOutcome {
        /// Every node has confirmed the purge.
        Confirmed => "confirmed",
        /// Some node did not confirm in time, or Redis did not accept the purge.
        Unconfirmed => "unconfirmed",
        /// The write purged without waiting, because of `on_write_rate`.
        RateLimited => "rate-limited",
    }
}

crate::labels! {
    /// The method of a request.
    pub(super) enum RequestMethod {
        /// RFC 9110 §9.3.1.
        Get => "GET",
        /// RFC 9110 §9.3.2.
        Head => "HEAD",
        /// RFC 9110 §9.3.3.
        Post => "POST",
        /// RFC 9110 §9.3.4.
        Put => "PUT",
        /// RFC 9110 §9.3.5.
        Delete => "DELETE",
        /// RFC 9110 §9.3.6.
        Connect => "CONNECT",
        /// RFC 9110 §9.3.7.
        Options => "OPTIONS",
        /// RFC 9110 §9.3.8.
        Trace => "TRACE",
        /// RFC 5789: as frequent in an API as the methods of RFC 9110.
        Patch => "PATCH",
        /// RFC 10008.
        Query => "QUERY",
        /// Any other method. Clients choose its name, so it is no label.
        Other => "other",
    }
}

impl From<&Method> for RequestMethod {
    fn from(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::HEAD => Self::Head,
            Method::POST => Self::Post,
            Method::PUT => Self::Put,
            Method::DELETE => Self::Delete,
            Method::CONNECT => Self::Connect,
            Method::OPTIONS => Self::Options,
            Method::TRACE => Self::Trace,
            Method::PATCH => Self::Patch,
            Method::QUERY => Self::Query,
            _ => Self::Other,
        }
    }
}

/// The counters of one worker.
pub(super) struct Metrics {
    requests: Counters<Outcome>,
    latency: Histograms<Outcome>,
    durations: Histograms<Outcome>,
    responses: CounterGrid<RequestMethod, StatusClass, Outcome>,
    refused: Counters<RequestRefusal>,
    not_stored: Counters<NotStorable>,
    json_checks: Counters<JsonCheckKind>,
    collapsed_wait: Histogram,
    refreshes: Counter,
    withdrawals: Counter,
    retry_after_refusals: Counter,
    unsafe_continued: Counter,
    write_waits: Counters<WriteWaitOutcome>,
    overloads: Counters<OverloadReason>,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            requests: registry.counters("cachewarp_requests", "Requests, by outcome", "outcome"),
            latency: registry.histograms(
                "cachewarp_request_duration_seconds",
                "Time from a request's head to its response's head",
                "outcome",
            ),
            durations: registry.histograms(
                "cachewarp_response_duration_seconds",
                "Time from a request's head to its response's last byte",
                "outcome",
            ),
            responses: registry.counter_grid(
                "cachewarp_responses",
                "Responses, by method, status class and outcome",
                ["method", "status", "outcome"],
            ),
            refused: registry.counters(
                "cachewarp_requests_refused",
                "Requests refused for their target or method, by reason",
                "reason",
            ),
            not_stored: registry.counters(
                "cachewarp_not_stored",
                "Responses to cacheable requests that were not stored, by reason",
                "reason",
            ),
            json_checks: registry.counters(
                "cachewarp_json_checks",
                "JSON checks of bodies to be stored, by kind",
                "kind",
            ),
            collapsed_wait: registry.histogram(
                "cachewarp_collapsed_wait_seconds",
                "Time that requests waited for another request's fetch",
            ),
            refreshes: registry.counter("cachewarp_refreshes", "Background refreshes started"),
            withdrawals: registry.counter(
                "cachewarp_withdrawals",
                "Stored responses removed because the origin's answer invalidated them",
            ),
            retry_after_refusals: registry.counter(
                "cachewarp_retry_after_refusals",
                "Requests answered with 503 because the origin refused an equal one with Retry-After",
            ),
            unsafe_continued: registry.counter(
                "cachewarp_writes_unabandoned",
                "Unsafe requests that continued after their client left",
            ),
            write_waits: registry.counters(
                "cachewarp_write_wait",
                "Writes with `wait` that purged, by whether every node confirmed in time",
                "outcome",
            ),
            overloads: registry.counters(
                "cachewarp_requests_not_admitted",
                "Requests over a load limit, answered stale or with 503, by limit",
                "reason",
            ),
        }
    }

    /// Counts an answer whose head took this long.
    pub(super) fn answered(&self, method: RequestMethod, answer: &ProxyAnswer, took: Duration) {
        self.requests.inc(answer.outcome);
        self.latency.observe(answer.outcome, took);
        self.responses.inc(method, StatusClass::of(answer.response.status()), answer.outcome);
    }

    /// Returns the measurement of a response up to its last byte.
    pub(super) fn time_response(&self, outcome: Outcome, begun: Instant) -> DurationTimer {
        self.durations.timer(outcome, begun)
    }

    /// Counts a request that is refused for its target or method. Any other failure is counted at
    /// its cause.
    pub(super) fn refused(&self, failure: Failure) {
        let refusal = match failure {
            Failure::BadTarget(TargetError::OutsideBase) => RequestRefusal::OutsideBase,
            Failure::BadTarget(_) => RequestRefusal::BadTarget,
            Failure::TargetTooLong => RequestRefusal::TargetTooLong,
            Failure::MethodNotAllowed => RequestRefusal::Method,
            Failure::Loop => RequestRefusal::Loop,
            Failure::ConnectionOptions => RequestRefusal::ConnectionOptions,
            Failure::MalformedBody => RequestRefusal::MalformedBody,
            Failure::PurgeNotAllowed
            | Failure::OnlyIfCached
            | Failure::Refused
            | Failure::ConnectTimeout
            | Failure::HeadTimeout
            | Failure::BadAnswer
            | Failure::HeadTooLarge
            | Failure::Closed
            | Failure::Overloaded
            | Failure::BreakerOpen
            | Failure::RetryAfter(_)
            | Failure::Shed
            | Failure::PerAddressLimit
            | Failure::ClientBody => return,
        };
        self.refused.inc(refusal);
    }

    pub(super) fn not_stored(&self, reason: NotStorable) {
        self.not_stored.inc(reason);
    }

    pub(super) fn json_checked(&self, kind: JsonCheckKind) {
        self.json_checks.inc(kind);
    }

    pub(super) fn not_admitted(&self, overload: OverloadReason) {
        self.overloads.inc(overload);
    }

    pub(super) fn refreshed(&self) {
        self.refreshes.inc();
    }

    /// Counts a stored response that the origin's answer has ended.
    pub(super) fn withdrawn(&self) {
        self.withdrawals.inc();
    }

    /// Counts a request that the proxy refuses until the origin's `Retry-After` has passed.
    pub(super) fn refused_by_retry_after(&self) {
        self.retry_after_refusals.inc();
    }

    /// Counts an unsafe request that continues after its client has left.
    pub(super) fn unsafe_continued(&self) {
        self.unsafe_continued.inc();
    }

    /// Counts a write whose route waits for its purge.
    pub(super) fn write_waited(&self, outcome: WriteWaitOutcome) {
        self.write_waits.inc(outcome);
    }

    pub(super) fn waited(&self, took: Duration) {
        self.collapsed_wait.observe(took);
    }
}

/// Registers the gauges of the load.
pub(super) fn watch_load(load: &LoadLimiter, registry: &Registry) {
    let requests = load.clone();
    registry.sampled("cachewarp_requests_waiting", "Requests that wait for Redis or the origin", move || {
        requests.requests() as f64
    });
    let bodies = load.clone();
    registry.sampled("cachewarp_body_bytes", "Body bytes held by fetches in progress", move || {
        bodies.body_bytes() as f64
    });
}

/// Registers the metrics of the answers' budget.
pub(super) fn watch_answers(answers: &AnswerBudget, registry: &Registry) {
    let held = answers.clone();
    registry.sampled(
        "cachewarp_answer_bytes",
        "Bytes of stored responses that clients have not read yet",
        move || held.bytes() as f64,
    );
    let cut = answers.clone();
    registry.sampled_counter(
        "cachewarp_answers_over_budget",
        "Answers cut because unread answers exceeded max_answer_memory",
        move || cut.answers_cut() as f64,
    );
}

/// Registers the gauge of shared fetches.
pub(super) fn watch_fetches(tables: [&Arc<FetchTable>; 2], registry: &Registry) {
    let tables = tables.map(Arc::clone);
    registry.sampled(
        "cachewarp_shared_fetches",
        "Fetches in progress that other requests may join",
        move || tables.iter().map(|table| table.len()).sum::<usize>() as f64,
    );
}

/// Registers the gauge of routes with `override`.
pub(super) fn watch_overrides(overriding: &Arc<AtomicUsize>, registry: &Registry) {
    let overriding = Arc::clone(overriding);
    registry.sampled(
        "cachewarp_routes_with_override",
        "Routes in use that lift a prohibition of the origin",
        move || overriding.load(Ordering::Relaxed) as f64,
    );
}
