//! The TLS handshake of a client connection.
//!
//! A handshake has a deadline (`tls_handshake_timeout`), and the connection counts against the
//! client's address and `max_connections` meanwhile. A worker has at most [`TLS_HANDSHAKES_MAX`]
//! unfinished handshakes: a new one ends the oldest. A client with an answer to each message
//! finishes within a few round trips, so a flood ends its own handshakes first.
//!
//! A client that sends plain HTTP gets `400`. A failed handshake is counted by its reason; TLS
//! itself sends the alert.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use http::StatusCode;
use rustls::{AlertDescription, HandshakeKind, ProtocolVersion, ServerConnection};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::close;
use super::drain::Shutdown;
use super::drive::drain_begun;
use super::metrics::HttpProtocol;
use crate::limits::{CLIENT_TLS_BUFFER_BYTES_MAX, DRAIN_GRACE, TLS_HANDSHAKES_MAX};
use crate::telemetry::{Counters, Registry};
use crate::tls::{ClientCertificate, ListenerOptions, ListenerTls, TlsError};

/// The protocols by ALPN (RFC 7301 §6, RFC 9113 §3.2), the preferred one first.
const PROTOCOLS: [(&[u8], HttpProtocol); 2] =
    [(b"h2", HttpProtocol::Http2), (b"http/1.1", HttpProtocol::Http1)];

/// The type of the first record of a TLS client (RFC 8446 §5.1).
pub(super) const HANDSHAKE_RECORD: u8 = 22;

/// A record with the fatal alert `handshake_failure`, in the version that every client reads.
pub(super) const HANDSHAKE_FAILURE: [u8; 7] = [21, 3, 1, 0, 2, 2, 40];

/// Reads the files of a listener and offers HTTP by ALPN.
pub fn open_tls(options: &ListenerOptions) -> Result<ListenerTls, TlsError> {
    ListenerTls::open(options, &PROTOCOLS.map(|(name, _)| name))
}

crate::labels! {
    /// The end of a handshake.
    pub(super) enum HandshakeEnd {
        /// A new session.
        Full => "full",
        /// A resumed session.
        Resumed => "resumed",
        /// The client exceeded `tls_handshake_timeout`.
        TimedOut => "timed-out",
        /// A newer handshake ended this one, because the worker had too many.
        Displaced => "displaced",
        /// The client closed the connection.
        ClientClosed => "client-closed",
        /// The client sent plain HTTP.
        PlainHttp => "plain-http",
        /// The client refused the certificate.
        CertificateRefused => "certificate-refused",
        /// The client has no client certificate, and `tls_client_auth` requires one.
        NoClientCertificate => "no-client-certificate",
        /// The client certificate is not of `tls_client_ca_file`, has expired, or does not match
        /// its signature.
        ClientCertificateInvalid => "client-certificate-invalid",
        /// The client and the listener have no version, cipher suite or protocol in common.
        Incompatible => "incompatible",
        /// The client sent no TLS, or broke its rules.
        Malformed => "malformed",
    }
}

crate::labels! {
    /// The version of TLS that a connection uses.
    pub(super) enum TlsVersion {
        /// TLS 1.2.
        Tls12 => "tls12",
        /// TLS 1.3.
        Tls13 => "tls13",
    }
}

/// A connection after its handshake.
pub(super) struct EncryptedConnection {
    pub(super) stream: Box<TlsStream<TcpStream>>,
    pub(super) protocol: HttpProtocol,
    pub(super) certificate: ClientCertificate,
}

/// The handshakes of one worker's listener.
pub(super) struct Handshakes {
    tls: ListenerTls,
    unfinished: UnfinishedHandshakes,
    ended: Counters<HandshakeEnd>,
    versions: Counters<TlsVersion>,
}

impl Handshakes {
    /// Registers the metrics.
    pub(super) fn new(tls: ListenerTls, registry: &Registry) -> Self {
        Self {
            tls,
            unfinished: UnfinishedHandshakes::default(),
            ended: registry.counters(
                "cachewarp_tls_handshakes",
                "TLS handshakes of clients, by their end: a full or a resumed session, or the reason of the failure.",
                "result",
            ),
            versions: registry.counters(
                "cachewarp_tls_connections",
                "Client connections over TLS, by version.",
                "version",
            ),
        }
    }

    /// Performs the handshake of a connection; `None` if it fails. The connection is closed then.
    pub(super) async fn perform(
        &self,
        stream: TcpStream,
        shutdown: &Shutdown,
    ) -> Option<EncryptedConnection> {
        let place = self.unfinished.begin();
        let end = tokio::select! {
            biased;
            () = place.displaced() => Err(HandshakeEnd::Displaced),
            end = timeout(self.tls.handshake_timeout(), shake(self.tls.acceptor(), stream, shutdown)) => {
                end.unwrap_or(Err(HandshakeEnd::TimedOut))
            }
        };
        drop(place);
        match end {
            Ok(mut stream) => {
                let (_, session) = stream.get_mut();
                session.set_buffer_limit(Some(CLIENT_TLS_BUFFER_BYTES_MAX));
                let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
                self.ended.inc(if resumed { HandshakeEnd::Resumed } else { HandshakeEnd::Full });
                let is_newest = session.protocol_version() == Some(ProtocolVersion::TLSv1_3);
                self.versions.inc(if is_newest { TlsVersion::Tls13 } else { TlsVersion::Tls12 });
                let (protocol, certificate) = (protocol(session), certificate(session));
                Some(EncryptedConnection { stream, protocol, certificate })
            }
            Err(end) => {
                self.ended.inc(end);
                None
            }
        }
    }
}

/// Returns the protocol that ALPN chose. A client without ALPN speaks HTTP/1.1: HTTP/2 over TLS
/// requires ALPN (RFC 9113 §3.3).
fn protocol(session: &ServerConnection) -> HttpProtocol {
    let chosen = session.alpn_protocol();
    let chosen = PROTOCOLS.iter().find(|(name, _)| chosen == Some(*name));
    chosen.map_or(HttpProtocol::Http1, |(_, protocol)| *protocol)
}

fn certificate(session: &ServerConnection) -> ClientCertificate {
    match session.peer_certificates() {
        Some([_, ..]) => ClientCertificate::Verified,
        Some([]) | None => ClientCertificate::None,
    }
}

async fn shake(
    acceptor: TlsAcceptor,
    mut stream: TcpStream,
    shutdown: &Shutdown,
) -> Result<Box<TlsStream<TcpStream>>, HandshakeEnd> {
    let mut first = [0];
    tokio::select! {
        biased;
        read = stream.peek(&mut first) => match read {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Err(HandshakeEnd::ClientClosed),
        },
        () = drain_begun(shutdown, DRAIN_GRACE) => return Err(HandshakeEnd::ClientClosed),
    }
    // The first byte of an HTTP/1.1 request, and of the preface of HTTP/2: a letter of the method.
    if first.iter().all(u8::is_ascii_alphabetic) {
        close::refuse(&mut stream, StatusCode::BAD_REQUEST, "this port requires https").await;
        return Err(HandshakeEnd::PlainHttp);
    }
    match acceptor.accept(stream).into_fallible().await {
        Ok(stream) => Ok(Box::new(stream)),
        Err((error, mut stream)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            let end = reason(&error);
            if end != HandshakeEnd::ClientClosed {
                // The alert reaches the client only if no reset follows it.
                close::linger(&mut stream).await;
            }
            Err(end)
        }
    }
}

fn reason(error: &io::Error) -> HandshakeEnd {
    use rustls::Error::{
        AlertReceived, InvalidCertificate, NoApplicationProtocol, NoCertificatesPresented, PeerIncompatible,
    };
    let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) else {
        return HandshakeEnd::ClientClosed;
    };
    if *error == NoCertificatesPresented {
        HandshakeEnd::NoClientCertificate
    } else if matches!(error, InvalidCertificate(_)) {
        HandshakeEnd::ClientCertificateInvalid
    } else if matches!(error, PeerIncompatible(_)) || *error == NoApplicationProtocol {
        HandshakeEnd::Incompatible
    } else if let AlertReceived(alert) = error {
        if is_about_certificate(*alert) {
            HandshakeEnd::CertificateRefused
        } else {
            HandshakeEnd::ClientClosed
        }
    } else {
        HandshakeEnd::Malformed
    }
}

/// Returns whether a client sends this alert because of the listener's certificate (RFC 8446 §6.2).
fn is_about_certificate(alert: AlertDescription) -> bool {
    [
        AlertDescription::BadCertificate,
        AlertDescription::UnsupportedCertificate,
        AlertDescription::CertificateRevoked,
        AlertDescription::CertificateExpired,
        AlertDescription::CertificateUnknown,
        AlertDescription::UnknownCA,
    ]
    .contains(&alert)
}

/// The unfinished handshakes of a worker, the oldest first.
#[derive(Default)]
struct UnfinishedHandshakes {
    begun: Cell<u64>,
    places: RefCell<BTreeMap<u64, Rc<Notify>>>,
}

/// The place of one handshake, which ends with it.
struct HandshakePlace<'a> {
    number: u64,
    displaced: Rc<Notify>,
    of: &'a UnfinishedHandshakes,
}

impl UnfinishedHandshakes {
    /// Takes a place for a new handshake. If none is free, the oldest handshake loses its own.
    fn begin(&self) -> HandshakePlace<'_> {
        let number = self.begun.get() + 1;
        self.begun.set(number);
        let displaced = Rc::new(Notify::new());
        let mut places = self.places.borrow_mut();
        if places.len() >= TLS_HANDSHAKES_MAX
            && let Some((_, oldest)) = places.pop_first()
        {
            oldest.notify_one();
        }
        places.insert(number, Rc::clone(&displaced));
        HandshakePlace { number, displaced, of: self }
    }
}

impl HandshakePlace<'_> {
    /// Waits until a newer handshake takes the place.
    async fn displaced(&self) {
        self.displaced.notified().await;
    }
}

impl Drop for HandshakePlace<'_> {
    fn drop(&mut self) {
        self.of.places.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_handshake_displaces_the_oldest_unfinished_one() {
        let unfinished = UnfinishedHandshakes::default();
        let mut places: Vec<_> = (0..TLS_HANDSHAKES_MAX).map(|_| unfinished.begin()).collect();
        places.remove(0);
        let _newer = unfinished.begin();
        let waited = timeout(std::time::Duration::ZERO, places[0].displaced()).await;
        assert!(waited.is_err(), "a finished handshake leaves its place to the next");
        let _newest = unfinished.begin();
        places[0].displaced().await;
        assert!(timeout(std::time::Duration::ZERO, places[1].displaced()).await.is_err());
        assert_eq!(unfinished.places.borrow().len(), TLS_HANDSHAKES_MAX);
    }
}
