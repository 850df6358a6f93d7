//! What the server counts.
//!
//! Everything here is counted once for a connection or a mishap, nothing for an ordinary request.

use tokio::sync::OwnedSemaphorePermit;

use crate::client_address::AddressPermit;
use crate::telemetry::{Counter, Counters, Gauge, Registry};

crate::labels! {
    /// The version of HTTP that a connection speaks.
    pub enum HttpProtocol {
        /// HTTP/1.0 or HTTP/1.1.
        Http1 => "http1",
        /// HTTP/2.
        Http2 => "http2",
    }
}

crate::labels! {
    /// Why a connection was closed by the server, most often with an answer of its own.
    pub enum ConnectionRefusal {
        /// 408: the head took longer than `client_head_timeout`.
        SlowHead => "slow-head",
        /// 400: not HTTP.
        Malformed => "malformed",
        /// 400: a request that two parsers could end at two places.
        AmbiguousFraming => "ambiguous-framing",
        /// Closed without an answer: `max_connections_per_address`.
        ManyOfAddress => "many-of-address",
        /// 431 or 414: the head or its target is too long, or has too many fields.
        HeadTooLarge => "head-too-large",
    }
}

/// One worker's counters of one listener.
#[derive(Clone)]
pub(super) struct Metrics {
    open: Gauge,
    accepted: Counter,
    accept_failures: Counter,
    spoken: Counters<HttpProtocol>,
    refused: Counters<ConnectionRefusal>,
    panics: Counter,
    cut: Counter,
    unread: Counters<HttpProtocol>,
}

impl Metrics {
    /// Registers them.
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            open: registry.gauge("cachewarp_client_connections_open", "Client connections open now."),
            accepted: registry
                .counter("cachewarp_client_connections_accepted", "Client connections accepted."),
            accept_failures: registry.counter(
                "cachewarp_client_accept_failures",
                "Client connections that could not be accepted.",
            ),
            spoken: registry.counters(
                "cachewarp_client_connections",
                "Client connections that sent something, by protocol.",
                "protocol",
            ),
            refused: registry.counters(
                "cachewarp_client_refusals",
                "Client connections closed with an answer of the server's own, by reason.",
                "reason",
            ),
            panics: registry.counter("cachewarp_panics", "Requests and connections that ended in a panic."),
            cut: registry.counter(
                "cachewarp_client_connections_cut",
                "Client connections closed with work in them, at the end of a drain.",
            ),
            unread: registry.counters(
                "cachewarp_client_answers_cut",
                "Answers cut because the client did not take them within client_body_timeout, by protocol.",
                "protocol",
            ),
        }
    }

    /// A connection was accepted and has this permit; it is open as long as the place exists.
    pub(super) fn accepted(
        &self,
        permit: OwnedSemaphorePermit,
        of_address: AddressPermit,
    ) -> ConnectionGuard {
        self.accepted.inc();
        self.open.add(1);
        ConnectionGuard { open: self.open.clone(), _permit: permit, _of_address: of_address }
    }

    /// A connection could not be accepted.
    pub(super) fn accept_failed(&self) {
        self.accept_failures.inc();
    }

    /// A connection turned out to speak this.
    pub(super) fn speaks(&self, protocol: HttpProtocol) {
        self.spoken.inc(protocol);
    }

    /// A connection was, or is about to be, closed with an answer of our own.
    pub(super) fn refused(&self, refusal: ConnectionRefusal) {
        self.refused.inc(refusal);
    }

    /// A request or a connection panicked.
    pub(super) fn panicked(&self) {
        self.panics.inc();
    }

    /// Counts answers that were cut because their client did not take them.
    pub(super) fn unread(&self, protocol: HttpProtocol, answers: usize) {
        self.unread.add(protocol, answers as u64);
    }

    /// So many connections were cut by the end of a drain.
    pub(super) fn cut(&self, connections: usize) {
        self.cut.add(connections as u64);
    }
}

/// One of the connections that may be open at one time.
pub(super) struct ConnectionGuard {
    open: Gauge,
    _permit: OwnedSemaphorePermit,
    _of_address: AddressPermit,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.open.add(-1);
    }
}
