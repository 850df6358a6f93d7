//! One client connection, from its first byte to its last.
//!
//! ```text
//! accepted ──► Opening ──► HTTP/1.1 ──┬─ client closes ───────────────────────────► closed
//!                 │                   ├─ not HTTP, or too large: hyper answers ─► linger ─► closed
//!                 │                   ├─ slow head: 408 ────────────────────────► linger ─► closed
//!                 │                   ├─ idle ──────────────────────────────────► closed
//!                 │                   └─ 101 ──► the upgrade's handler owns the socket
//!                 └──────► HTTP/2 ────── as HTTP/1.1, with GOAWAY
//! ```
//!
//! A PROXY header precedes everything on a connection of a trusted proxy (`proxied.rs`). On a
//! listener with TLS, a handshake precedes the opening, and ALPN decides the protocol.
//! Elsewhere, the first bytes of a connection show its protocol: HTTP/2 with prior knowledge begins
//! with 24 bytes that no HTTP/1.1 request begins with (RFC 9113 §3.4).

use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::accepting::AcceptedSocket;
use super::activity::ConnectionActivity;
use super::client_socket::ClientSocket;
use super::drain::Shutdown;
use super::drive::drain_begun;
use super::handshake::{EncryptedConnection, HANDSHAKE_FAILURE, HANDSHAKE_RECORD, Handshakes};
use super::metrics::{ConnectionGuard, ConnectionRefusal, HttpProtocol, Metrics};
use super::proxied::ProxiedPeers;
use super::service::{ConnectionExchange, ConnectionPeer, Handler};
use super::watch::{ClientTimeouts, ConnectionWatch};
use super::{close, http1, http2};
use crate::key::Scheme;
use crate::label::Label;
use crate::limits::{CLIENT_OPENING_BYTES_MAX, DRAIN_GRACE};
use crate::request_id::RequestIdSource;
use crate::telemetry::access::RequestRecorder;
use crate::telemetry::trace::Tracer;

/// The HTTP/2 connection preface (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The context that all connections of one worker's listener share.
pub(super) struct WorkerContext<H> {
    pub(super) handler: Rc<H>,
    pub(super) limits: ClientTimeouts,
    /// The handshakes of a listener that speaks TLS.
    pub(super) handshakes: Option<Handshakes>,
    pub(super) metrics: Metrics,
    /// The peers whose connections begin with a PROXY header, if there are any.
    pub(super) proxied: Option<ProxiedPeers>,
    /// The access log, if there is one.
    pub(super) recorder: Option<Rc<RequestRecorder>>,
    /// The ids of requests, unless they get none.
    pub(super) request_ids: Option<Rc<RequestIdSource>>,
    /// The tracer, if there is a collector.
    pub(super) tracer: Option<Rc<Tracer>>,
    pub(super) shutdown: Shutdown,
}

impl<H> WorkerContext<H> {
    /// Returns the peers whose connections begin with a PROXY header, if this is one of them.
    pub(super) fn proxied_peer(&self, peer: IpAddr) -> Option<&ProxiedPeers> {
        self.proxied.as_ref().filter(|proxied| proxied.trusted.covers(peer))
    }
}

/// Serves one connection until it is closed. Dropping the future closes the connection at once.
pub(super) async fn begin<H: Handler>(
    worker: Rc<WorkerContext<H>>,
    mut stream: AcceptedSocket,
    mut peer: ConnectionPeer,
    mut guard: ConnectionGuard,
    activity: Arc<ConnectionActivity>,
) {
    if let Some(proxied) = worker.proxied_peer(peer.addr.ip()) {
        let client = match &mut stream {
            AcceptedSocket::Tcp(stream) => Box::pin(proxied.client(stream, peer, &mut guard)).await,
            AcceptedSocket::Unix(stream) => Box::pin(proxied.client(stream, peer, &mut guard)).await,
        };
        let Some(client) = client else { return };
        peer = client;
    }
    let stream = match (stream, &worker.handshakes) {
        (AcceptedSocket::Tcp(stream), Some(handshakes)) => {
            // The box keeps the state of a handshake out of every later state of the connection.
            let handshake = Box::pin(handshakes.perform(stream, &worker.shutdown)).await;
            if let Some(EncryptedConnection { stream, protocol, certificate }) = handshake {
                let peer = ConnectionPeer { scheme: Scheme::Https, certificate, ..peer };
                let client = ConnectedClient { peer, guard, negotiated: Some(protocol) };
                serve(worker, ClientSocket::Tls(stream), client, activity).await;
            }
            return;
        }
        (AcceptedSocket::Tcp(stream), None) => ClientSocket::Plain(stream),
        // The settings refuse TLS on a unix socket.
        (AcceptedSocket::Unix(stream), _) => ClientSocket::Unix(stream),
    };
    let client = ConnectedClient { peer, guard, negotiated: None };
    serve(worker, stream, client, activity).await;
}

/// The client of a connection on which HTTP begins.
pub(super) struct ConnectedClient {
    pub(super) peer: ConnectionPeer,
    pub(super) guard: ConnectionGuard,
    /// The protocol that TLS negotiated.
    pub(super) negotiated: Option<HttpProtocol>,
}

/// Serves HTTP until the connection is closed.
pub(super) async fn serve<S, H>(
    worker: Rc<WorkerContext<H>>,
    mut stream: S,
    client: ConnectedClient,
    activity: Arc<ConnectionActivity>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let ConnectedClient { peer, guard, negotiated } = client;
    let mut watch = ConnectionWatch::new(Arc::clone(&activity), worker.limits);
    let (protocol, replay) = match open(&mut stream, &mut watch, &worker.shutdown).await {
        OpeningOutcome::Speaks(protocol, replay) => (negotiated.unwrap_or(protocol), replay),
        OpeningOutcome::Tls => {
            worker.metrics.refused(ConnectionRefusal::Tls);
            return close::send(&mut stream, &HANDSHAKE_FAILURE).await;
        }
        OpeningOutcome::Slow => {
            let (refusal, status) = (ConnectionRefusal::SlowHead, StatusCode::REQUEST_TIMEOUT);
            worker.metrics.refused(refusal);
            if let Some(recorder) = &worker.recorder {
                recorder.refused(peer.addr.ip(), peer.scheme, status, refusal.word());
            }
            return close::refuse(&mut stream, status, "").await;
        }
        OpeningOutcome::Silent => return,
    };
    worker.metrics.speaks(protocol);
    let exchange = Rc::new(ConnectionExchange {
        handler: Rc::clone(&worker.handler),
        peer,
        activity,
        metrics: worker.metrics.clone(),
        recorder: worker.recorder.clone(),
        request_ids: worker.request_ids.clone(),
        tracer: worker.tracer.clone(),
        shutdown: worker.shutdown.clone(),
        streams: match protocol {
            HttpProtocol::Http1 => None,
            HttpProtocol::Http2 => Some(watch.watch_streams()),
        },
        protocol,
    });
    match protocol {
        HttpProtocol::Http1 => http1::serve(exchange, stream, replay, guard, watch, &worker.shutdown).await,
        // The box keeps the larger state of HTTP/2 out of the connections of HTTP/1.1.
        HttpProtocol::Http2 => {
            Box::pin(http2::serve(exchange, stream, replay, guard, watch, &worker.shutdown)).await;
        }
    }
}

/// The result of reading the first bytes of a connection.
enum OpeningOutcome {
    /// The client speaks this protocol. The bytes are consumed, and hyper must receive them again.
    Speaks(HttpProtocol, Bytes),
    /// The client begins a TLS handshake on a connection without TLS.
    Tls,
    /// The client sent too few bytes within the time limit.
    Slow,
    /// The client sent nothing and closed, or its time is over.
    Silent,
}

async fn open<S: AsyncRead + Unpin>(
    stream: &mut S,
    watch: &mut ConnectionWatch,
    shutdown: &Shutdown,
) -> OpeningOutcome {
    let mut read = BytesMut::with_capacity(CLIENT_OPENING_BYTES_MAX);
    loop {
        tokio::select! {
            biased;
            count = stream.read_buf(&mut read) => match (count, opening(&read)) {
                (Ok(1..), _) if read.first() == Some(&HANDSHAKE_RECORD) => return OpeningOutcome::Tls,
                (Ok(1..), Some(protocol)) => return OpeningOutcome::Speaks(protocol, read.freeze()),
                (Ok(1..), None) => {}
                (Ok(0) | Err(_), _) => return OpeningOutcome::Silent,
            },
            () = drain_begun(shutdown, DRAIN_GRACE), if read.is_empty() => return OpeningOutcome::Silent,
            _ = poll_fn(|cx| watch.poll_overdue(cx)) => {
                return if read.is_empty() { OpeningOutcome::Silent } else { OpeningOutcome::Slow };
            }
        }
    }
}

/// Returns the protocol that the first bytes of a connection show, or `None` if they are too few.
fn opening(bytes: &[u8]) -> Option<HttpProtocol> {
    if bytes.starts_with(HTTP2_PREFACE) {
        Some(HttpProtocol::Http2)
    } else if HTTP2_PREFACE.starts_with(bytes) {
        None
    } else {
        Some(HttpProtocol::Http1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_is_recognised_at_every_cut() {
        for cut in 0..HTTP2_PREFACE.len() {
            assert_eq!(opening(&HTTP2_PREFACE[..cut]), None);
        }
        let mut wire = HTTP2_PREFACE.to_vec();
        assert_eq!(opening(&wire), Some(HttpProtocol::Http2));
        wire.extend(b"more");
        assert_eq!(opening(&wire), Some(HttpProtocol::Http2));
        for other in ["G", "PO", "PRI * HTTP/1", "\r\n"] {
            assert_eq!(opening(other.as_bytes()), Some(HttpProtocol::Http1));
        }
    }
}
