//! What is counted of the origin.

use std::rc::Rc;
use std::time::Duration;

use super::outages::{AnswerProof, OutageLog};
use super::{FetchError, FetchPhase, Options};
use crate::labels;
use crate::telemetry::{Counter, Counters, Gauge, Histogram, Registry};

labels! {
    /// How an exchange ended. Each that was begun ends in one of these.
    pub(super) enum ExchangeOutcome {
        /// The whole answer was read.
        Complete => "complete",
        /// The connection became a tunnel.
        Switched => "switched",
        /// Whoever asked went away before the end.
        Abandoned => "abandoned",
        /// There was no answer, or no whole one.
        Failed => "failed",
    }
}

labels! {
    /// Which connection a request was written to.
    pub(super) enum ConnectionChoice {
        /// One that was dialled for it.
        Fresh => "fresh",
        /// One that had carried others.
        Reused => "reused",
        /// One that was dialled because a reused one turned out to be closed.
        Retried => "retried",
    }
}

labels! {
    /// Why a request was not sent.
    pub(super) enum OriginRefusal {
        /// As many connections are open as may be, tunnels among them.
        Connections => "connections",
        /// As many requests wait as may.
        QueueFull => "queue-full",
        /// It has waited for as long as it may.
        QueueTimeout => "queue-timeout",
        /// The circuit breaker is open.
        BreakerOpen => "breaker-open",
    }
}

impl OriginRefusal {
    fn of(error: &FetchError) -> Option<Self> {
        let reasons = [
            (matches!(error, FetchError::Busy), Self::Connections),
            (matches!(error, FetchError::QueueFull), Self::QueueFull),
            (matches!(error, FetchError::QueueTimeout), Self::QueueTimeout),
            (matches!(error, FetchError::BreakerOpen), Self::BreakerOpen),
        ];
        reasons.into_iter().find_map(|(is_so, reason)| is_so.then_some(reason))
    }
}

/// One worker's share.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    /// The origin's name, for the log.
    origin: String,
    outages: OutageLog,
    requests: Counters<ExchangeOutcome>,
    failures: Counters<FetchPhase>,
    timeouts: Counter,
    sends: Counters<ConnectionChoice>,
    open: Gauge,
    idle: Gauge,
    limit: Gauge,
    waiting: Gauge,
    refused: Counters<OriginRefusal>,
    breaker_opened: Counter,
    connect: Histogram,
    head: Histogram,
}

impl Metrics {
    pub(super) fn new(options: &Options, registry: &Registry) -> Self {
        Self {
            origin: options.authority.as_str().to_owned(),
            outages: options.outages.clone(),
            requests: registry.counters(
                "cachewarp_origin_requests",
                "Exchanges with the origin, by how they ended",
                "result",
            ),
            failures: registry.counters(
                "cachewarp_origin_failures",
                "Exchanges with the origin that failed, by the part that failed",
                "phase",
            ),
            timeouts: registry
                .counter("cachewarp_origin_timeouts", "Exchanges with the origin that a deadline ended"),
            sends: registry.counters(
                "cachewarp_origin_sends",
                "Requests written to the origin, by the connection they were written to",
                "connection",
            ),
            open: registry.gauge(
                "cachewarp_origin_connections_open",
                "Connections to the origin, being dialled and tunnels included",
            ),
            idle: registry.gauge(
                "cachewarp_origin_connections_idle",
                "Connections to the origin that wait for a request",
            ),
            limit: registry.gauge(
                "cachewarp_origin_limit",
                "Requests that the origin may be asked at one time, as it has shown it can do",
            ),
            waiting: registry
                .gauge("cachewarp_origin_waiting", "Requests that wait for their turn at the origin"),
            refused: registry.counters(
                "cachewarp_origin_refusals",
                "Requests that were not sent to the origin, by reason",
                "reason",
            ),
            breaker_opened: registry.counter(
                "cachewarp_origin_breaker_opened",
                "How often a circuit breaker has opened, because the origin failed again and again",
            ),
            connect: registry.histogram(
                "cachewarp_origin_connect",
                "Name resolution, connect and TLS handshake of connections that came to be",
            ),
            head: registry
                .histogram("cachewarp_origin_head", "From sending a request to the head of its answer"),
        }
    }

    /// Begins an exchange.
    pub(super) fn begin(self: &Rc<Self>) -> ExchangeTally {
        ExchangeTally { metrics: Rc::clone(self), outcome: ExchangeOutcome::Abandoned }
    }

    /// A request is about to be written.
    pub(super) fn sent(&self, route: ConnectionChoice) -> SentRequest<'_> {
        SentRequest { sends: &self.sends, route: Some(route) }
    }

    /// The gauge of connections that have a socket, or are about to.
    pub(super) fn open(&self) -> Gauge {
        self.open.clone()
    }

    pub(super) fn idle(&self, connections: usize) {
        self.idle.set(i64::try_from(connections).unwrap_or(i64::MAX));
    }

    /// So many may be under way.
    pub(super) fn limited(&self, requests: usize) {
        self.limit.set(i64::try_from(requests).unwrap_or(i64::MAX));
    }

    /// So many wait.
    pub(super) fn waiting(&self, requests: usize) {
        self.waiting.set(i64::try_from(requests).unwrap_or(i64::MAX));
    }

    pub(super) fn breaker_opened(&self) {
        self.breaker_opened.inc();
        self.outages.breaker_opened(&self.origin);
    }

    pub(super) fn connected(&self, took: Duration) {
        self.connect.observe(took);
    }

    pub(super) fn answered(&self, route: ConnectionChoice, took: Duration) {
        self.head.observe(took);
        let proof = match route {
            ConnectionChoice::Fresh | ConnectionChoice::Retried => AnswerProof::Connection,
            ConnectionChoice::Reused => AnswerProof::Head,
        };
        self.outages.succeeded(&self.origin, proof);
    }
}

/// A request that is written. It is counted when this is dropped.
pub(super) struct SentRequest<'a> {
    sends: &'a Counters<ConnectionChoice>,
    route: Option<ConnectionChoice>,
}

impl SentRequest<'_> {
    /// Not one byte of it was.
    pub(super) fn not_at_all(mut self) {
        self.route = None;
    }
}

impl Drop for SentRequest<'_> {
    fn drop(&mut self) {
        if let Some(route) = self.route {
            self.sends.inc(route);
        }
    }
}

/// One exchange. It is counted when this is dropped, so that each is, exactly once.
#[derive(Debug)]
pub(super) struct ExchangeTally {
    metrics: Rc<Metrics>,
    outcome: ExchangeOutcome,
}

impl ExchangeTally {
    pub(super) fn complete(mut self) {
        self.outcome = ExchangeOutcome::Complete;
        self.metrics.outages.succeeded(&self.metrics.origin, AnswerProof::Body);
    }

    pub(super) fn switched(mut self) {
        self.outcome = ExchangeOutcome::Switched;
    }

    pub(super) fn failed(mut self, error: &FetchError) {
        self.outcome = ExchangeOutcome::Failed;
        self.metrics.outages.failed(&self.metrics.origin, error);
        self.metrics.failures.inc(error.phase());
        if let Some(refusal) = OriginRefusal::of(error) {
            self.metrics.refused.inc(refusal);
        }
        if error.is_timeout() {
            self.metrics.timeouts.inc();
        }
    }
}

impl Drop for ExchangeTally {
    fn drop(&mut self) {
        self.metrics.requests.inc(self.outcome);
    }
}
