//! TLS to a name with several addresses: all are used, the name is verified at each, and an address
//! with another certificate is left out.

use std::net::SocketAddr;

use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet, spawn_local};
use tokio_rustls::TlsAcceptor;

use super::addresses::{EJECTED, FixedResolver, IN_USE, answered};
use super::script::{ScriptedOrigin, get, send};
use super::tls::TestAuthority;
use crate::key::{Authority, Scheme};
use crate::origin::{FetchError, Options, OriginAddresses, OriginClient};

const NAME: &str = "origin.test";
const TLS_FAILURES: &str = "cachewarp_origin_address_failures_total{reason=\"tls\"}";

/// Encrypted origin that answers every request with its address and the name that the client
/// indicated, until it is dropped.
struct EncryptedOrigin {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for EncryptedOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl EncryptedOrigin {
    async fn start(ip: [u8; 4], acceptor: TlsAcceptor) -> Self {
        let listener = TcpListener::bind(SocketAddr::from((ip, 0))).await.unwrap();
        let addr = listener.local_addr().unwrap();
        Self { addr, task: spawn_local(serve(listener, addr, acceptor)) }
    }
}

async fn serve(listener: TcpListener, addr: SocketAddr, acceptor: TlsAcceptor) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = acceptor.clone();
        connections.spawn_local(async move {
            // A client that refuses the certificate ends the handshake.
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let name = stream.get_ref().1.server_name().unwrap_or_default().to_owned();
            let body = format!("{} {name}", addr.ip());
            let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let mut head = Vec::new();
            while let Ok(byte) = stream.read_u8().await {
                head.push(byte);
                if head.ends_with(b"\r\n\r\n") {
                    head.clear();
                    drop(stream.write_all(response.as_bytes()).await);
                    drop(stream.flush().await);
                }
            }
        });
    }
}

/// Returns a client that trusts the authority, and whose name has these addresses.
fn client(origin: &ScriptedOrigin, authorities: &NamedTempFile, addrs: &[SocketAddr]) -> OriginClient {
    let options = Options {
        scheme: Scheme::Https,
        authority: Authority::parse(Scheme::Https, NAME.as_bytes()).unwrap(),
        addresses: OriginAddresses::with_resolver(FixedResolver::of(addrs)),
        ca_file: Some(authorities.path().to_owned()),
        ..origin.options()
    };
    OriginClient::new(options, &origin.registry).unwrap()
}

#[tokio::test(flavor = "local")]
async fn every_address_is_used_under_the_verified_name() {
    let (origin, authority) = (ScriptedOrigin::listen().await, TestAuthority::new());
    let one = EncryptedOrigin::start([127, 0, 0, 1], authority.server(NAME)).await;
    let two = EncryptedOrigin::start([127, 0, 0, 2], authority.server(NAME)).await;
    let client = client(&origin, &authority.file(), &[one.addr, two.addr]);
    assert_eq!(answered(&client, 100).await, ["127.0.0.1 origin.test", "127.0.0.2 origin.test"]);
    assert_eq!((origin.metric(IN_USE), origin.metric(EJECTED)), (2, 0));
    assert_eq!(origin.metric("cachewarp_origin_sends_total{connection=\"fresh\"}"), 2);
}

/// The certificate of an address names another host, even that address, or is of an unknown
/// authority.
#[tokio::test(flavor = "local")]
async fn an_address_with_another_certificate_is_ejected_and_answers_nothing() {
    let (authority, stranger) = (TestAuthority::new(), TestAuthority::new());
    let acceptors = [authority.server("other.test"), authority.server("127.0.0.1"), stranger.server(NAME)];
    for acceptor in acceptors {
        let origin = ScriptedOrigin::listen().await;
        let wrong = EncryptedOrigin::start([127, 0, 0, 1], acceptor).await;
        let right = EncryptedOrigin::start([127, 0, 0, 2], authority.server(NAME)).await;
        let client = client(&origin, &authority.file(), &[wrong.addr, right.addr]);
        assert_eq!(answered(&client, 50).await, ["127.0.0.2 origin.test"], "no request fails");
        assert_eq!((origin.metric(IN_USE), origin.metric(EJECTED)), (1, 1));
        assert_eq!(origin.metric(TLS_FAILURES), 3);
    }
}

#[tokio::test(flavor = "local")]
async fn the_last_address_with_another_certificate_answers_nothing() {
    let (origin, authority) = (ScriptedOrigin::listen().await, TestAuthority::new());
    let addrs = [[127, 0, 0, 1], [127, 0, 0, 2]].map(|ip| (ip, authority.server("other.test")));
    let mut servers = Vec::new();
    for (ip, acceptor) in addrs {
        servers.push(EncryptedOrigin::start(ip, acceptor).await);
    }
    let addrs: Vec<_> = servers.iter().map(|server| server.addr).collect();
    let client = client(&origin, &authority.file(), &addrs);
    for number in 0..5 {
        let error = send(&client, get(&format!("/{number}"))).await.map(drop).unwrap_err();
        assert!(matches!(error, FetchError::Tls(_)), "{error:?}");
    }
    assert_eq!(origin.metric(IN_USE), 1, "the last address stays");
}
