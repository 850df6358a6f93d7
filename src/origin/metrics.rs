//! Metrics of the origin client.

use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;

use super::ejection::{AddressFailure, AddressState};
use super::outages::{AnswerProof, OutageLog};
use crate::labels;
use crate::origin::error::{FetchError, FetchPhase};
use crate::origin::options::Options;
use crate::telemetry::{Counter, Counters, Gauge, Gauges, Histogram, Registry, StatusClass};

labels! {
    /// Outcome of an exchange. Each exchange has exactly one.
    pub(super) enum ExchangeOutcome {
        /// The complete response was read.
        Complete => "complete",
        /// The connection became a tunnel.
        Switched => "switched",
        /// The client left before the end.
        Abandoned => "abandoned",
        /// There was no response, or no complete one.
        Failed => "failed",
    }
}

labels! {
    /// Connection that a request was written to.
    pub(super) enum ConnectionChoice {
        /// A connection dialled for this request.
        Fresh => "fresh",
        /// A connection that has carried other requests.
        Reused => "reused",
        /// A connection dialled because a reused one was closed.
        Retried => "retried",
    }
}

labels! {
    /// Reason why a request was not sent.
    pub(super) enum OriginRefusal {
        /// All connection slots are occupied, tunnels included.
        Connections => "connections",
        /// The queue is full.
        QueueFull => "queue-full",
        /// The request waited for the whole time-out.
        QueueTimeout => "queue-timeout",
        /// The circuit breaker is open.
        BreakerOpen => "breaker-open",
    }
}

impl OriginRefusal {
    fn from_error(error: &FetchError) -> Option<Self> {
        let reasons = [
            (matches!(error, FetchError::Busy), Self::Connections),
            (matches!(error, FetchError::QueueFull), Self::QueueFull),
            (matches!(error, FetchError::QueueTimeout), Self::QueueTimeout),
            (matches!(error, FetchError::BreakerOpen), Self::BreakerOpen),
        ];
        reasons.into_iter().find_map(|(matches, reason)| matches.then_some(reason))
    }
}

/// Metrics of one worker.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    /// Name of the origin, for the log.
    origin: String,
    outages: OutageLog,
    requests: Counters<ExchangeOutcome>,
    failures: Counters<FetchPhase>,
    timeouts: Counter,
    sends: Counters<ConnectionChoice>,
    responses: Counters<StatusClass>,
    open: Gauge,
    idle: Gauge,
    limit: Gauge,
    waiting: Gauge,
    tunnels: Gauge,
    refused: Counters<OriginRefusal>,
    breaker_opened: Counter,
    addresses: Gauges<AddressState>,
    address_failures: Counters<AddressFailure>,
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
                "Exchanges with the origin, by outcome",
                "result",
            ),
            failures: registry.counters(
                "cachewarp_origin_failures",
                "Failed exchanges with the origin, by phase",
                "phase",
            ),
            timeouts: registry
                .counter("cachewarp_origin_timeouts", "Exchanges with the origin that timed out"),
            sends: registry.counters(
                "cachewarp_origin_sends",
                "Requests written to the origin, by kind of connection",
                "connection",
            ),
            responses: registry.counters(
                "cachewarp_origin_responses",
                "Responses of the origin, by status class",
                "status",
            ),
            open: registry.gauge(
                "cachewarp_origin_connections_open",
                "Open connections to the origin, including tunnels and connections being dialled",
            ),
            idle: registry.gauge("cachewarp_origin_connections_idle", "Idle connections to the origin"),
            limit: registry
                .gauge("cachewarp_origin_limit", "Current limit on concurrent requests to the origin"),
            waiting: registry
                .gauge("cachewarp_origin_waiting", "Requests waiting in the queue for the origin"),
            tunnels: registry.gauge("cachewarp_origin_tunnels", "Open tunnels to the origin"),
            refused: registry.counters(
                "cachewarp_origin_refusals",
                "Requests not sent to the origin, by reason",
                "reason",
            ),
            breaker_opened: registry.counter(
                "cachewarp_origin_breaker_opened",
                "Times a circuit breaker opened after repeated failures of the origin",
            ),
            addresses: registry.gauges(
                "cachewarp_origin_addresses",
                "Addresses that the origin's name resolves to, by state",
                "state",
            ),
            address_failures: registry.counters(
                "cachewarp_origin_address_failures",
                "Failures counted against one address of the origin, by reason",
                "reason",
            ),
            connect: registry.histogram(
                "cachewarp_origin_connect",
                "Time of name resolution, connect and TLS handshake of a successful connection",
            ),
            head: registry
                .histogram("cachewarp_origin_head", "Time from sending a request to its response head"),
        }
    }

    /// Begins an exchange.
    pub(super) fn begin(self: &Rc<Self>) -> ExchangeTally {
        ExchangeTally { metrics: Rc::clone(self), outcome: ExchangeOutcome::Abandoned }
    }

    /// Begins the write of a request.
    pub(super) fn begin_send(&self, choice: ConnectionChoice) -> SentRequest<'_> {
        SentRequest { sends: &self.sends, choice: Some(choice) }
    }

    /// Returns the gauge of connections with a socket or being dialled.
    pub(super) fn open_gauge(&self) -> Gauge {
        self.open.clone()
    }

    pub(super) fn set_idle(&self, connections: usize) {
        self.idle.set(i64::try_from(connections).unwrap_or(i64::MAX));
    }

    /// Sets the current limit on concurrent requests.
    pub(super) fn set_limit(&self, requests: usize) {
        self.limit.set(i64::try_from(requests).unwrap_or(i64::MAX));
    }

    /// Changes the number of open tunnels.
    pub(super) fn add_tunnels(&self, change: i64) {
        self.tunnels.add(change);
    }

    /// Sets the number of waiting requests.
    pub(super) fn set_waiting(&self, requests: usize) {
        self.waiting.set(i64::try_from(requests).unwrap_or(i64::MAX));
    }

    pub(super) fn breaker_opened(&self) {
        self.breaker_opened.inc();
        self.outages.breaker_opened(&self.origin);
    }

    /// Changes the number of addresses in this state. The workers share the addresses, and each
    /// counts the changes that it makes.
    pub(super) fn add_addresses(&self, state: AddressState, change: i64) {
        self.addresses.add(state, change);
    }

    pub(super) fn record_address_failure(&self, failure: AddressFailure) {
        self.address_failures.inc(failure);
    }

    pub(super) fn record_connect(&self, took: Duration) {
        self.connect.observe(took);
    }

    pub(super) fn record_head(&self, choice: ConnectionChoice, status: StatusCode, took: Duration) {
        self.head.observe(took);
        self.responses.inc(StatusClass::of(status));
        let proof = match choice {
            ConnectionChoice::Fresh | ConnectionChoice::Retried => AnswerProof::Connection,
            ConnectionChoice::Reused => AnswerProof::Head,
        };
        self.outages.succeeded(&self.origin, proof);
    }
}

/// Written request. Dropping it counts it.
pub(super) struct SentRequest<'a> {
    sends: &'a Counters<ConnectionChoice>,
    choice: Option<ConnectionChoice>,
}

impl SentRequest<'_> {
    /// Leaves the request uncounted, because no byte of it was written.
    pub(super) fn cancel(mut self) {
        self.choice = None;
    }
}

impl Drop for SentRequest<'_> {
    fn drop(&mut self) {
        if let Some(choice) = self.choice {
            self.sends.inc(choice);
        }
    }
}

/// Exchange in progress. Dropping it counts it, so that each is counted exactly once.
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
        if let Some(refusal) = OriginRefusal::from_error(error) {
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
