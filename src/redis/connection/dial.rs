//! Dials a server: from an address to a socket.

use std::cell::Cell;
use std::rc::Rc;

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::encryption::TlsSource;
use crate::limits::{REDIS_KEEPALIVE, REDIS_UNACKNOWLEDGED_MAX};
use crate::redis::error::ConnectError;
use crate::redis::options::RedisAddress;

/// A socket to a server: TCP, TLS or unix.
pub(in crate::redis) trait RedisSocket: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> RedisSocket for T {}

/// Dials one server.
pub(in crate::redis) struct Dialer {
    address: RedisAddress,
    /// Present if the address uses TLS.
    tls: Option<Rc<TlsSource>>,
    /// Whether the last connection ended at `HELLO`: the next one uses RESP2.
    pub(super) ended_at_hello: Cell<bool>,
    /// An in-process server that replaces the one at the address.
    #[cfg(test)]
    model: Option<crate::redis::tests::RedisModel>,
}

impl Dialer {
    pub(in crate::redis) fn new(address: RedisAddress, tls: Option<Rc<TlsSource>>) -> Self {
        Self {
            address,
            tls,
            ended_at_hello: Cell::new(false),
            #[cfg(test)]
            model: None,
        }
    }

    /// Creates a dialler of an in-process server.
    #[cfg(test)]
    pub(in crate::redis) fn to_model(model: crate::redis::tests::RedisModel) -> Self {
        Self { model: Some(model), ..Self::new(RedisAddress::Unix("model".into()), None) }
    }

    /// Returns the address.
    pub(in crate::redis) fn address(&self) -> &RedisAddress {
        &self.address
    }

    /// Connects, with TLS if the address uses it. Has no timeout of its own.
    ///
    /// Cancel safe: the socket is closed.
    pub(in crate::redis) async fn dial(&self) -> Result<Box<dyn RedisSocket>, ConnectError> {
        #[cfg(test)]
        if let Some(model) = &self.model {
            return model.dial().map_err(ConnectError::Connect);
        }
        let (host, port) = match &self.address {
            RedisAddress::Unix(path) => {
                let socket = UnixStream::connect(path).await.map_err(ConnectError::Connect)?;
                return Ok(Box::new(socket));
            }
            RedisAddress::Tcp { host, port } | RedisAddress::Tls { host, port } => (host.as_str(), *port),
        };
        #[cfg(test)]
        if let Some(dialled) = crate::redis::tests::dial(port) {
            return dialled.map_err(ConnectError::Connect);
        }
        let socket = tcp(host, port).await.map_err(ConnectError::Connect)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(socket)) };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| ConnectError::Name)?;
        let connector = tls.connector().await?;
        Ok(Box::new(connector.connect(name, socket).await.map_err(ConnectError::Tls)?))
    }
}

async fn tcp(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    // Batches are written at once, so Nagle's algorithm only delays them.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket
        .set_tcp_keepalive(&TcpKeepalive::new().with_time(REDIS_KEEPALIVE).with_interval(REDIS_KEEPALIVE))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(REDIS_UNACKNOWLEDGED_MAX))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::ServerConfig;
    use tempfile::NamedTempFile;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::tls;

    struct CertificateAuthority {
        pem: String,
        acceptor: TlsAcceptor,
    }

    fn certify(host: &str) -> CertificateAuthority {
        let certified = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        CertificateAuthority { pem: certified.cert.pem(), acceptor: TlsAcceptor::from(Arc::new(server)) }
    }

    async fn dial_tls(
        authority: CertificateAuthority,
        trusted: &str,
    ) -> Result<Box<dyn RedisSocket>, ConnectError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address =
            RedisAddress::Tls { host: "localhost".to_owned(), port: listener.local_addr().unwrap().port() };
        let serve = async move {
            let socket = listener.accept().await.unwrap().0;
            if let Ok(mut socket) = authority.acceptor.accept(socket).await {
                socket.write_all(b"+PONG\r\n").await.unwrap();
                socket.flush().await.unwrap();
            }
        };
        let ca_file = NamedTempFile::new().unwrap();
        std::fs::write(ca_file.path(), trusted).unwrap();
        let options = tls::Options { ca_file: Some(ca_file.path().to_owned()), identity: None };
        let tls = TlsSource::to(&address, &options);
        let dialler = Dialer::new(address, tls);
        let (socket, ()) = tokio::join!(dialler.dial(), serve);
        socket
    }

    #[tokio::test]
    async fn tls_connects_to_the_host_in_the_certificate() {
        let authority = certify("localhost");
        let pem = authority.pem.clone();
        let mut reply = [0; 7];
        dial_tls(authority, &pem).await.unwrap().read_exact(&mut reply).await.unwrap();
        assert_eq!(&reply, b"+PONG\r\n");
    }

    #[tokio::test]
    async fn tls_refuses_another_host_or_authority() {
        let elsewhere = certify("elsewhere.example");
        let pem = elsewhere.pem.clone();
        assert!(matches!(dial_tls(elsewhere, &pem).await, Err(ConnectError::Tls(_))));
        let pem = certify("localhost").pem;
        assert!(matches!(dial_tls(certify("localhost"), &pem).await, Err(ConnectError::Tls(_))));
    }

    #[tokio::test]
    async fn dialling_fails_without_a_server() {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let addresses = [
            RedisAddress::Tcp { host: "127.0.0.1".to_owned(), port },
            RedisAddress::Tls { host: "127.0.0.1".to_owned(), port },
            RedisAddress::Unix(folder.path().join("missing")),
        ];
        for address in addresses {
            assert!(matches!(Dialer::new(address, None).dial().await, Err(ConnectError::Connect(_))));
        }
    }
}
