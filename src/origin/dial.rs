//! Dialler: from the origin's name to a connection, under one deadline.
//!
//! A name may have several addresses, some of them dead. Each attempt gets a head start, then the
//! next address is tried beside it. The first connection wins, and the other attempts are dropped
//! ("happy eyeballs", a small part of RFC 8305). IPv6 and IPv4 alternate, so that a broken IPv6
//! costs one head start and not several.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::socket::OriginStream;
use super::tls::OriginTls;
use crate::key::{Authority, Scheme};
use crate::limits::{
    ORIGIN_ADDRESSES_MAX, ORIGIN_ATTEMPT_HEAD_START, ORIGIN_KEEPALIVE, ORIGIN_UNACKNOWLEDGED_MAX,
};
use crate::origin::error::{FetchError, OriginOptionsError};
use crate::origin::options::Options;
use crate::origin::outages::OutageLog;

/// Dialler of the origin, with its host, port and TLS.
pub(super) struct OriginDialer {
    host: String,
    port: u16,
    tls: Option<OriginTls>,
    timeout: Duration,
    outages: OutageLog,
}

impl OriginDialer {
    pub(super) fn new(options: &Options) -> Result<Self, OriginOptionsError> {
        let (host, port) = host_and_port(options.scheme, &options.authority)?;
        let tls = match options.scheme {
            Scheme::Http => None,
            Scheme::Https => Some(OriginTls::new(options, &host)?),
        };
        Ok(Self { host, port, tls, timeout: options.connect_timeout, outages: options.outages.clone() })
    }

    /// Opens a connection that is ready for a request.
    ///
    /// Cancel safe: dropping the future closes every attempt.
    pub(super) async fn dial(&self) -> Result<OriginStream, FetchError> {
        let deadline = Instant::now() + self.timeout;
        let tcp = timeout_at(deadline, self.tcp()).await.map_err(|_| FetchError::ConnectTimeout)??;
        let Some(tls) = &self.tls else { return Ok(OriginStream::Plain(tcp)) };
        let handshake = tls.connector.connect(tls.name.clone(), tcp);
        let stream = timeout_at(deadline, handshake).await.map_err(|_| FetchError::TlsTimeout)?;
        Ok(OriginStream::Tls(Box::new(stream.map_err(|error| FetchError::Tls(Arc::new(error)))?)))
    }

    async fn tcp(&self) -> Result<TcpStream, FetchError> {
        let resolved = lookup_host((self.host.as_str(), self.port)).await;
        let addresses =
            alternate_families(resolved.map_err(|error| FetchError::Resolve(Arc::new(error)))?.collect());
        if addresses.is_empty() {
            return Err(FetchError::Resolve(Arc::new(io::ErrorKind::NotFound.into())));
        }
        self.outages.resolved(&addresses);
        first_to_connect(addresses).await.map_err(|error| FetchError::Connect(Arc::new(error)))
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

/// Returns the first addresses, alternating IPv6 and IPv4, beginning with the resolver's first
/// family.
fn alternate_families(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_ipv6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_ipv6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    std::iter::from_fn(|| Some([first.next(), second.next()]))
        .take_while(|pair| pair.iter().any(Option::is_some))
        .flatten()
        .flatten()
        .take(ORIGIN_ADDRESSES_MAX)
        .collect()
}

/// Tries the addresses one after the other, without waiting for a slow one.
async fn first_to_connect(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut rest = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = rest.next() {
            attempts.spawn_local(connect(address));
        }
        let ended = if rest.len() == 0 {
            attempts.join_next().await
        } else {
            match timeout(ORIGIN_ATTEMPT_HEAD_START, attempts.join_next()).await {
                Ok(ended) => ended,
                Err(_head_start_is_over) => continue,
            }
        };
        match ended {
            None => return Err(failure),
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => failure = error,
            Some(Err(panicked)) => failure = io::Error::other(panicked),
        }
    }
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

    fn addresses(text: &str) -> Vec<SocketAddr> {
        text.split(' ').filter(|text| !text.is_empty()).map(|text| text.parse().unwrap()).collect()
    }

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

    #[test]
    fn address_families_alternate() {
        for (resolved, tried) in [
            ("", ""),
            ("1.1.1.1:1", "1.1.1.1:1"),
            ("[::1]:1 [::2]:1 [::3]:1 1.1.1.1:1", "[::1]:1 1.1.1.1:1 [::2]:1 [::3]:1"),
            ("1.1.1.1:1 [::1]:1 [::2]:1 1.1.1.2:1", "1.1.1.1:1 [::1]:1 1.1.1.2:1 [::2]:1"),
        ] {
            assert_eq!(alternate_families(addresses(resolved)), addresses(tried));
        }
        assert_eq!(alternate_families(vec!["1.1.1.1:1".parse().unwrap(); 100]).len(), ORIGIN_ADDRESSES_MAX);
    }

    #[tokio::test(flavor = "local")]
    async fn the_first_connection_wins() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let refused = {
            let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            closed.local_addr().unwrap()
        };
        let stream = first_to_connect(vec![refused, good]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        let error = first_to_connect(vec![refused]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
