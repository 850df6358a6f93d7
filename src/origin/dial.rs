//! Dialler: from the origin's name to a connection, under one deadline.
//!
//! A name may have several addresses, some of them dead. The chosen address is tried first. Each
//! attempt gets a head start, then the next address is tried beside it. The first connection wins,
//! and the other attempts are dropped ("happy eyeballs", a small part of RFC 8305). With TLS, the
//! handshake is part of the attempt.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::address::{AddressUse, OriginAddress};
use super::ejection::AddressFailure;
use super::metrics::Metrics;
use super::selector::AddressSelector;
use super::socket::OriginStream;
use super::tls::OriginTls;
use crate::key::{Authority, Scheme};
use crate::limits::{ORIGIN_ATTEMPT_HEAD_START, ORIGIN_KEEPALIVE, ORIGIN_UNACKNOWLEDGED_MAX};
use crate::origin::error::{FetchError, FetchPhase, OriginOptionsError};
use crate::origin::options::Options;

/// Dialler of the origin, with its TLS.
pub(super) struct OriginDialer {
    selector: Rc<AddressSelector>,
    transport: OriginTransport,
    timeout: Duration,
}

/// Way to an address.
#[derive(Clone)]
enum OriginTransport {
    Tcp,
    Tls(OriginTls),
    /// Unix socket. It has no address, so the counts use a placeholder.
    Unix(Arc<Path>),
}

/// Connection that is ready for a request, and its address.
pub(super) struct DialledStream {
    pub(super) stream: OriginStream,
    pub(super) usage: Arc<AddressUse>,
}

/// Failure to connect to one address.
struct FailedAttempt {
    address: Arc<OriginAddress>,
    error: FetchError,
}

impl OriginDialer {
    pub(super) fn new(options: &Options, metrics: Rc<Metrics>) -> Result<Self, OriginOptionsError> {
        let (host, port) = host_and_port(options.scheme, &options.authority)?;
        let transport = match (&options.socket, options.scheme) {
            (Some(path), _) => OriginTransport::Unix(path.as_path().into()),
            (None, Scheme::Http) => OriginTransport::Tcp,
            (None, Scheme::Https) => OriginTransport::Tls(OriginTls::new(options, &host)?),
        };
        let selector = Rc::new(AddressSelector::new(options, (host, port), metrics));
        Ok(Self { selector, transport, timeout: options.connect_timeout })
    }

    /// Returns the choice between the addresses.
    pub(super) fn selector(&self) -> &Rc<AddressSelector> {
        &self.selector
    }

    /// Opens a connection that is ready for a request, to the chosen address if it accepts one.
    ///
    /// Cancel safe: dropping the future closes every attempt.
    pub(super) async fn dial(
        &self,
        chosen: Option<&Arc<OriginAddress>>,
    ) -> Result<DialledStream, FetchError> {
        let deadline = Instant::now() + self.timeout;
        let addresses = self.selector.attempts(chosen, deadline).await?;
        self.first_to_connect(addresses, deadline).await
    }

    /// Opens a connection to one address, and records the outcome of this probe.
    pub(super) async fn probe(&self, address: Arc<OriginAddress>) -> Option<DialledStream> {
        let is_connected = Rc::new(Cell::new(false));
        let attempt = attempt(Arc::clone(&address), self.transport.clone(), is_connected);
        let Ok(Ok(dialled)) = timeout(self.timeout, attempt).await else {
            self.selector.record_failed_probe(&address);
            return None;
        };
        self.selector.record_connected(&address);
        Some(dialled)
    }

    /// Resolves the name in the background.
    pub(super) async fn refresh(&self) {
        // A failure is logged, and the known addresses stay.
        drop(self.selector.resolve(Instant::now() + self.timeout).await);
    }

    /// Tries the addresses one after the other, without waiting for a slow one. Each address that
    /// is slower than a later one has failed.
    async fn first_to_connect(
        &self,
        addresses: Vec<Arc<OriginAddress>>,
        deadline: Instant,
    ) -> Result<DialledStream, FetchError> {
        let is_connected = Rc::new(Cell::new(false));
        let mut rest = addresses.into_iter();
        let mut attempts = JoinSet::new();
        let mut pending: Vec<Arc<OriginAddress>> = Vec::new();
        let mut failure = FetchError::Connect(Arc::new(io::ErrorKind::AddrNotAvailable.into()));
        loop {
            if let Some(address) = rest.next() {
                pending.push(Arc::clone(&address));
                attempts.spawn_local(attempt(address, self.transport.clone(), Rc::clone(&is_connected)));
            }
            let now = Instant::now();
            let due = if rest.len() == 0 { deadline } else { deadline.min(now + ORIGIN_ATTEMPT_HEAD_START) };
            match timeout_at(due, attempts.join_next()).await {
                Err(_) if due == deadline => {
                    for slow in &pending {
                        self.selector.record_failure(slow, AddressFailure::ConnectTimeout, None);
                    }
                    let is_in_handshake = is_connected.get();
                    return Err(if is_in_handshake {
                        FetchError::TlsTimeout
                    } else {
                        FetchError::ConnectTimeout
                    });
                }
                Err(_head_start_is_over) => {}
                Ok(None) => return Err(failure),
                Ok(Some(Ok(Ok(dialled)))) => {
                    let address = dialled.usage.address();
                    for slow in pending.iter().take_while(|pending| !Arc::ptr_eq(pending, address)) {
                        self.selector.record_failure(slow, AddressFailure::ConnectTimeout, None);
                    }
                    self.selector.record_connected(address);
                    return Ok(dialled);
                }
                Ok(Some(Ok(Err(FailedAttempt { address, error })))) => {
                    pending.retain(|pending| !Arc::ptr_eq(pending, &address));
                    let is_tls = error.phase() == FetchPhase::Tls;
                    let kind = if is_tls { AddressFailure::Tls } else { AddressFailure::Connect };
                    self.selector.record_failure(&address, kind, None);
                    failure = error;
                }
                Ok(Some(Err(panicked))) => {
                    failure = FetchError::Connect(Arc::new(io::Error::other(panicked)))
                }
            }
        }
    }
}

/// Returns the host as the resolver needs it, without the brackets of an IPv6 literal.
fn host_and_port(scheme: Scheme, authority: &Authority) -> Result<(String, u16), OriginOptionsError> {
    let default = match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    };
    let authority = authority.as_str();
    let (host, port) = match authority.rsplit_once(':') {
        // The last colon separates a port, unless it lies within an IPv6 literal.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap_or(0)),
        _ => (authority, default),
    };
    if port == 0 {
        return Err(OriginOptionsError::Authority(authority.to_owned()));
    }
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}

/// Connects to one address. Sets `is_connected` before the TLS handshake.
async fn attempt(
    address: Arc<OriginAddress>,
    transport: OriginTransport,
    is_connected: Rc<Cell<bool>>,
) -> Result<DialledStream, FailedAttempt> {
    let usage = AddressUse::begin(Arc::clone(&address));
    let stream = async {
        let failed = |error| FetchError::Connect(Arc::new(error));
        let tls = match transport {
            OriginTransport::Unix(path) => {
                return connect_unix(&path).await.map(OriginStream::Unix).map_err(failed);
            }
            OriginTransport::Tcp => None,
            OriginTransport::Tls(tls) => Some(tls),
        };
        let tcp = connect(address.socket_addr()).await.map_err(failed)?;
        let Some(tls) = tls else { return Ok(OriginStream::Plain(tcp)) };
        is_connected.set(true);
        let handshake = tls.connector.connect(tls.name, tcp).await;
        Ok(OriginStream::Tls(Box::new(handshake.map_err(|error| FetchError::Tls(Arc::new(error)))?)))
    };
    match stream.await {
        Ok(stream) => Ok(DialledStream { stream, usage }),
        Err(error) => Err(FailedAttempt { address, error }),
    }
}

async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let connected = UnixStream::connect(path).await;
    connected.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let connected = connect_to(address).await;
    connected.map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(ORIGIN_KEEPALIVE).with_interval(ORIGIN_KEEPALIVE),
    )?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(ORIGIN_UNACKNOWLEDGED_MAX))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_gives_host_and_port() {
        for (scheme, authority, expected) in [
            (Scheme::Http, "api.test", Some(("api.test", 80))),
            (Scheme::Https, "api.test", Some(("api.test", 443))),
            (Scheme::Http, "127.0.0.1:8080", Some(("127.0.0.1", 8080))),
            (Scheme::Http, "[::1]", Some(("::1", 80))),
            (Scheme::Https, "[::1]:8443", Some(("::1", 8443))),
            (Scheme::Http, "api.test:0", None),
        ] {
            let authority = Authority::parse(scheme, authority.as_bytes()).unwrap();
            let dialled = host_and_port(scheme, &authority).ok();
            assert_eq!(dialled.as_ref().map(|(host, port)| (host.as_str(), *port)), expected);
        }
    }
}
