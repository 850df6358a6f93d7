//! Metrics of the client side.
//!
//! The server counts connections and failures here, and nothing for an ordinary request.

use tokio::sync::OwnedSemaphorePermit;

use super::interims::InterimCounts;
use crate::client_address::AddressPermit;
use crate::telemetry::{Counter, Counters, Gauge, Registry};

crate::labels! {
    /// The version of HTTP that a connection uses.
    pub enum HttpProtocol {
        /// HTTP/1.0 or HTTP/1.1.
        Http1 => "http1",
        /// HTTP/2.
        Http2 => "http2",
    }
}

crate::labels! {
    /// The reason why the server closed a connection, usually with a response of its own.
    pub enum ConnectionRefusal {
        /// 408: the head took longer than `client_head_timeout`.
        SlowHead => "slow-head",
        /// 400: not HTTP.
        Malformed => "malformed",
        /// 400: a request whose end two parsers could place differently.
        AmbiguousFraming => "ambiguous-framing",
        /// Closed without a response: `max_connections_per_address`.
        PerAddressLimit => "per-address-limit",
        /// TLS on a listener for plain HTTP: a fatal alert.
        Tls => "tls",
        /// Closed without a response: a trusted proxy began without a valid PROXY header in time.
        ProxyHeader => "proxy-header",
        /// 431 or 414: the head or its target is too long, or has too many fields.
        HeadTooLarge => "head-too-large",
    }
}

crate::labels! {
    /// The end of an interim response.
    pub(super) enum InterimResult {
        /// The client gets it.
        Forwarded => "forwarded",
        /// The client has not read the earlier ones, or an earlier message.
        Dropped => "dropped",
    }
}

/// One worker's metrics of one listener.
#[derive(Clone)]
pub(super) struct Metrics {
    open: Gauge,
    parked: Gauge,
    accepted: Counter,
    accept_failures: Counter,
    spoken: Counters<HttpProtocol>,
    refused: Counters<ConnectionRefusal>,
    received: Counter,
    sent: Counter,
    panics: Counter,
    cut: Counter,
    unread: Counters<HttpProtocol>,
    malformed_streams: Counter,
    interims: Counters<InterimResult>,
}

impl Metrics {
    /// Registers the metrics.
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            open: registry.gauge("cachewarp_client_connections_open", "Client connections open now."),
            parked: registry.gauge(
                "cachewarp_client_connections_parked",
                "Open client connections of HTTP/1.1 that are idle and hold no buffers.",
            ),
            accepted: registry
                .counter("cachewarp_client_connections_accepted", "Client connections accepted."),
            accept_failures: registry.counter(
                "cachewarp_client_accept_failures",
                "Client connections that the server failed to accept.",
            ),
            spoken: registry.counters(
                "cachewarp_client_connections",
                "Client connections that sent data, by protocol.",
                "protocol",
            ),
            refused: registry.counters(
                "cachewarp_client_refusals",
                "Client connections that the server refused and closed, by reason.",
                "reason",
            ),
            received: registry.counter(
                "cachewarp_client_received_bytes",
                "Bytes of HTTP read from clients, heads included.",
            ),
            sent: registry
                .counter("cachewarp_client_sent_bytes", "Bytes of HTTP written to clients, heads included."),
            panics: registry.counter("cachewarp_panics", "Requests and connections that ended in a panic."),
            cut: registry.counter(
                "cachewarp_client_connections_cut",
                "Client connections with unfinished work that the end of a drain closed.",
            ),
            unread: registry.counters(
                "cachewarp_client_answers_cut",
                "Responses cut because the client did not read them within client_body_timeout, by protocol.",
                "protocol",
            ),
            malformed_streams: registry.counter(
                "cachewarp_client_malformed_streams",
                "HTTP/2 streams that the server reset because their request is malformed.",
            ),
            interims: registry.counters(
                "cachewarp_client_interim_responses",
                "Interim responses (102, 103) of the origin to a client of HTTP/1.1, by result.",
                "result",
            ),
        }
    }

    /// Counts an accepted connection. The connection counts as open until its guard is dropped.
    pub(super) fn accepted(
        &self,
        permit: OwnedSemaphorePermit,
        address_permit: Option<AddressPermit>,
    ) -> ConnectionGuard {
        self.accepted.inc();
        self.open.add(1);
        ConnectionGuard {
            open: self.open.clone(),
            received: self.received.clone(),
            sent: self.sent.clone(),
            malformed_streams: self.malformed_streams.clone(),
            interims: self.interims.clone(),
            _permit: permit,
            address_permit,
        }
    }

    /// Counts a connection as parked until the guard is dropped.
    pub(super) fn parked(&self) -> ParkedGuard {
        self.parked.add(1);
        ParkedGuard(self.parked.clone())
    }

    /// Counts a connection that the server could not accept.
    pub(super) fn accept_failed(&self) {
        self.accept_failures.inc();
    }

    /// Counts a connection by its protocol.
    pub(super) fn speaks(&self, protocol: HttpProtocol) {
        self.spoken.inc(protocol);
    }

    /// Counts a connection that the server closes with a response of its own.
    pub(super) fn refused(&self, refusal: ConnectionRefusal) {
        self.refused.inc(refusal);
    }

    /// Counts a request or a connection that panicked.
    pub(super) fn panicked(&self) {
        self.panics.inc();
    }

    /// Counts responses that the server cut because their client did not read them.
    pub(super) fn unread(&self, protocol: HttpProtocol, answers: usize) {
        self.unread.add(protocol, answers as u64);
    }

    /// Counts connections that the end of a drain cut.
    pub(super) fn cut(&self, connections: usize) {
        self.cut.add(connections as u64);
    }
}

/// A guard that counts one connection as open, counts its bytes, and holds its permits.
pub(super) struct ConnectionGuard {
    open: Gauge,
    received: Counter,
    sent: Counter,
    malformed_streams: Counter,
    interims: Counters<InterimResult>,
    _permit: OwnedSemaphorePermit,
    address_permit: Option<AddressPermit>,
}

impl ConnectionGuard {
    /// Holds the permit of the client whose address the connection stated.
    pub(super) fn hold(&mut self, permit: AddressPermit) {
        self.address_permit = Some(permit);
    }

    /// Counts bytes from the client.
    pub(super) fn received(&self, bytes: usize) {
        self.received.add(bytes as u64);
    }

    /// Counts bytes to the client.
    pub(super) fn sent(&self, bytes: usize) {
        self.sent.add(bytes as u64);
    }

    /// Counts interim responses.
    pub(super) fn forwarded(&self, counts: InterimCounts) {
        self.interims.add(InterimResult::Forwarded, counts.forwarded);
        self.interims.add(InterimResult::Dropped, counts.dropped);
    }

    /// Counts streams that are reset for a malformed request.
    pub(super) fn reset_malformed(&self, streams: u64) {
        if streams > 0 {
            self.malformed_streams.add(streams);
        }
    }
}

/// A guard that counts one connection as parked.
pub(super) struct ParkedGuard(Gauge);

impl Drop for ParkedGuard {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.open.add(-1);
    }
}
