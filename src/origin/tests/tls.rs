//! TLS: an origin with a trusted certificate, and others.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::script::{ScriptedOrigin, get, read, send};
use crate::key::Scheme;
use crate::origin::{FetchError, FetchPhase, Options, OriginClient, OriginOptionsError};
use crate::tls::{TlsError, TlsIdentity};

/// Certificate authority of this test.
pub(super) struct TestAuthority(CertifiedIssuer<'static, KeyPair>);

impl TestAuthority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn file(&self) -> NamedTempFile {
        file(&self.0.pem())
    }

    /// Returns an acceptor with a certificate for `name`.
    pub(super) fn server(&self, name: &str) -> TlsAcceptor {
        let (certificate, key) = self.issue(name);
        acceptor(&certificate, &key)
    }

    fn issue(&self, name: &str) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        (params.signed_by(&key, &self.0).unwrap(), key)
    }
}

/// Returns an acceptor with this certificate.
fn acceptor(certificate: &Certificate, key: &KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn options(origin: &ScriptedOrigin, authorities: &NamedTempFile) -> Options {
    Options { scheme: Scheme::Https, ca_file: Some(authorities.path().to_owned()), ..origin.options() }
}

/// Reads one request and responds.
async fn answer(stream: &mut TlsStream<TcpStream>, bytes: &str) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// Returns the result of a handshake with a self-signed certificate of an authority.
async fn handshake(name: &str, is_listed: bool, is_valid: bool) -> Result<(), FetchError> {
    let origin = ScriptedOrigin::listen().await;
    let certificate = |name: &str| {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        if !is_valid {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap(), key)
    };
    let ((own, key), (other, _)) = (certificate(name), certificate(name));
    let listed = file(&if is_listed { own.pem() } else { other.pem() });
    let client = OriginClient::new(options(&origin, &listed), &origin.registry).unwrap();
    let acceptor = acceptor(&own, &key);
    let served = async {
        if let Ok(mut stream) = acceptor.accept(origin.accept().await.into_stream()).await {
            answer(&mut stream, HELLO).await;
        }
    };
    let (response, ()) = tokio::join!(send(&client, get("/")), served);
    response.map(drop)
}

#[tokio::test(flavor = "local")]
async fn a_listed_self_signed_certificate_is_accepted_though_it_is_an_authoritys() {
    assert!(handshake("127.0.0.1", true, true).await.is_ok());
    for (name, is_listed, is_valid) in
        [("127.0.0.2", true, true), ("127.0.0.1", false, true), ("127.0.0.1", true, false)]
    {
        let refused = handshake(name, is_listed, is_valid).await;
        assert!(matches!(refused, Err(FetchError::Tls(_))), "{name} {is_listed} {is_valid}: {refused:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_trusted_origin_is_accepted() {
    let (origin, authority) = (ScriptedOrigin::listen().await, TestAuthority::new());
    let client = OriginClient::new(options(&origin, &authority.file()), &origin.registry).unwrap();
    let acceptor = authority.server("127.0.0.1");
    let served = async {
        let mut stream = acceptor.accept(origin.accept().await.into_stream()).await.unwrap();
        answer(&mut stream, HELLO).await;
        stream
    };
    let (first, mut stream) = tokio::join!(send(&client, get("/")), served);
    assert_eq!(read(first).await.unwrap(), "hello");
    let (second, ()) = tokio::join!(send(&client, get("/")), answer(&mut stream, HELLO));
    assert_eq!(read(second).await.unwrap(), "hello");
    assert_eq!(origin.metric("cachewarp_origin_sends_total{connection=\"reused\"}"), 1);

    // A session ticket that arrives with the close is no byte of a response.
    let again = async {
        let mut head = [0; 16];
        stream.read_exact(&mut head).await.unwrap();
        drop(stream);
        let mut stream = acceptor.accept(origin.accept().await.into_stream()).await.unwrap();
        answer(&mut stream, HELLO).await;
        stream
    };
    let (third, _stream) = tokio::join!(send(&client, get("/")), again);
    assert_eq!(read(third).await.unwrap(), "hello");
}

#[tokio::test(flavor = "local")]
async fn the_client_certificate_and_the_server_name_reach_the_origin() {
    let (origin, authority) = (ScriptedOrigin::listen().await, TestAuthority::new());
    let ((certificate, key), trusted) = (authority.issue("api.test"), authority.file());
    let mut clients = rustls::RootCertStore::empty();
    clients.add(authority.0.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(clients), Arc::clone(&provider));
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(clients.build().unwrap()).with_single_cert(
        vec![certificate.der().clone()],
        PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
    );
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));

    let (own, own_key) = authority.issue("proxy.test");
    let (own, own_key) = (file(&own.pem()), file(&own_key.serialize_pem()));
    let identity =
        TlsIdentity { certificate_file: own.path().to_owned(), key_file: own_key.path().to_owned() };
    let named = Options {
        identity: Some(identity),
        server_name: Some("api.test".try_into().unwrap()),
        ..options(&origin, &trusted)
    };
    let anonymous = Options { identity: None, ..named.clone() };
    for (options, expected) in [(named, Some("api.test")), (anonymous, None)] {
        let client = OriginClient::new(options, &origin.registry).unwrap();
        let served = async {
            let mut stream = acceptor.accept(origin.accept().await.into_stream()).await.ok()?;
            answer(&mut stream, HELLO).await;
            let (_, session) = stream.get_ref();
            let peer = session.peer_certificates().unwrap()[0].clone();
            let peer = rustls::server::ParsedCertificate::try_from(&peer)
                .is_ok_and(|peer| verify_server_name(&peer, &"proxy.test".try_into().unwrap()).is_ok());
            Some((session.server_name().unwrap().to_owned(), peer))
        };
        let (response, seen) = tokio::join!(send(&client, get("/")), served);
        assert_eq!(seen, expected.map(|name| (name.to_owned(), true)));
        assert_eq!(response.is_ok(), expected.is_some());
    }
}

#[tokio::test(flavor = "local")]
async fn an_untrusted_origin_is_refused() {
    let (origin, authority) = (ScriptedOrigin::listen().await, TestAuthority::new());
    let client = OriginClient::new(options(&origin, &authority.file()), &origin.registry).unwrap();
    for acceptor in [TestAuthority::new().server("127.0.0.1"), authority.server("127.0.0.2")] {
        let refused = async { drop(acceptor.accept(origin.accept().await.into_stream()).await) };
        let (response, ()) = tokio::join!(send(&client, get("/")), refused);
        let error = response.err().unwrap();
        assert!(matches!(error, FetchError::Tls(_)), "{error:?}");
        assert_eq!(error.phase(), FetchPhase::Tls);
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_stalled_handshake_times_out() {
    let (origin, authorities) = (ScriptedOrigin::listen().await, TestAuthority::new().file());
    let options = Options { connect_timeout: Duration::from_secs(3), ..options(&origin, &authorities) };
    let client = OriginClient::new(options, &origin.registry).unwrap();
    let (response, peer) = tokio::join!(send(&client, get("/")), origin.accept());
    let error = response.err().unwrap();
    assert!(matches!(error, FetchError::TlsTimeout), "{error:?}");
    peer.closed().await;
    assert_eq!(origin.metric("cachewarp_origin_connections_open"), 0);
}

#[tokio::test(flavor = "local")]
async fn files_without_an_authority_are_refused() {
    let origin = ScriptedOrigin::listen().await;
    let bad = |text: &str| OriginClient::new(options(&origin, &file(text)), &origin.registry).err().unwrap();
    assert!(matches!(bad(""), OriginOptionsError::Tls(TlsError::NoCertificate(_))));
    assert!(matches!(bad("-----BEGIN CERTIFICATE-----\nx"), OriginOptionsError::Tls(TlsError::File { .. })));
    let missing = Options { ca_file: Some("/nonexistent/ca.pem".into()), ..options(&origin, &file("")) };
    let error = OriginClient::new(missing, &origin.registry).err().unwrap();
    assert!(matches!(error, OriginOptionsError::Tls(TlsError::File { .. })));
}
