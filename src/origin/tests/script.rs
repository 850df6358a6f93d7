//! Both ends of a dialogue: an origin that sends scripted bytes, and a client whose body the test
//! writes.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::key::{Authority, Scheme};
use crate::origin::{
    AddressShare, FetchError, HostField, LinkRewrite, Options, OriginAddresses, OriginBody, OriginClient,
    OutageLog, RequestBody, ViaName,
};
use crate::telemetry::Registry;

/// Origin on a free port that responds only as scripted.
pub(super) struct ScriptedOrigin {
    listener: TcpListener,
    pub(super) registry: Registry,
}

/// Connection of the client, at the origin's end.
pub(super) struct OriginPeer(TcpStream);

impl ScriptedOrigin {
    pub(super) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, registry: Registry::new() }
    }

    pub(super) fn options(&self) -> Options {
        let authority = self.listener.local_addr().unwrap().to_string();
        Options {
            scheme: Scheme::Http,
            authority: Authority::parse(Scheme::Http, authority.as_bytes()).unwrap(),
            base_path: String::new(),
            host: HostField::Origin,
            ca_file: None,
            identity: None,
            server_name: None,
            trusted_proxies: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(60),
            connections_max: 8,
            queue_timeout: Duration::from_secs(5),
            outages: OutageLog::default(),
            connection_max_age: None,
            addresses: OriginAddresses::default(),
            address_share: AddressShare::Bounded,
            via: ViaName::new(),
            request_id_header: None,
            socket: None,
            links: LinkRewrite::On,
        }
    }

    pub(super) fn client(&self) -> OriginClient {
        OriginClient::new(self.options(), &self.registry).unwrap()
    }

    pub(super) async fn accept(&self) -> OriginPeer {
        let accepted = timeout(Duration::from_secs(30), self.listener.accept()).await;
        OriginPeer(accepted.expect("the client connects").unwrap().0)
    }

    /// Accepts a connection, reads one request without a body, and responds.
    pub(super) async fn answer(&self, bytes: impl AsRef<[u8]>) -> OriginPeer {
        let mut peer = self.accept().await;
        peer.answer(bytes).await;
        peer
    }

    /// Returns the value of a series, as scraped.
    pub(super) fn metric(&self, series: &str) -> u64 {
        let text = self.registry.render();
        let line = text
            .lines()
            .find(|line| line.starts_with(series))
            .unwrap_or_else(|| panic!("{series} in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

impl OriginPeer {
    pub(super) fn into_stream(self) -> TcpStream {
        self.0
    }

    /// Reads one head, to its empty line.
    pub(super) async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// Reads this number of bytes.
    pub(super) async fn read(&mut self, bytes: usize) -> String {
        let mut text = vec![0; bytes];
        self.0.read_exact(&mut text).await.unwrap();
        String::from_utf8(text).unwrap()
    }

    pub(super) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    pub(super) async fn answer(&mut self, bytes: impl AsRef<[u8]>) {
        self.head().await;
        self.write(bytes).await;
    }

    /// Waits until the client has closed the connection, ignoring the bytes before.
    pub(super) async fn closed(mut self) {
        let mut rest = Vec::new();
        // A reset closes it too.
        drop(self.0.read_to_end(&mut rest).await);
    }
}

/// Sends a request with a fixed head.
pub(super) async fn send(
    client: &OriginClient,
    request: Request<RequestBody>,
) -> Result<Response<OriginBody>, FetchError> {
    send_from(client, IpAddr::V4(Ipv4Addr::LOCALHOST), request).await
}

/// Sends a request of the client with this address.
pub(super) async fn send_from(
    client: &OriginClient,
    address: IpAddr,
    request: Request<RequestBody>,
) -> Result<Response<OriginBody>, FetchError> {
    let (head, body) = request.into_parts();
    client.send(address.into(), || Ok(head.clone()), body).await
}

/// Returns a request without a body.
pub(super) fn request(method: Method, path: &str) -> Request<RequestBody> {
    with_body(method, path, RequestBody::Empty)
}

pub(super) fn get(path: &str) -> Request<RequestBody> {
    request(Method::GET, path)
}

pub(super) fn with_body(method: Method, path: &str, body: RequestBody) -> Request<RequestBody> {
    Request::builder().method(method).uri(path).header("host", "origin.test").body(body).unwrap()
}

/// Reads a response to the end of its body.
pub(super) async fn read(response: Result<Response<OriginBody>, FetchError>) -> Result<String, FetchError> {
    let body = response?.into_body().collect().await?;
    assert!(body.trailers().is_none());
    Ok(String::from_utf8(body.to_bytes().to_vec()).unwrap())
}

/// Returns a request body that a client is sending, and the client's end. `head` holds the bytes
/// written first, beginning with the request head.
pub(super) async fn upload(head: &str) -> (RequestBody, DuplexStream) {
    let (mut client, server) = duplex(1024 * 1024);
    let (sender, receiver) = oneshot::channel();
    let sender = Cell::new(Some(sender));
    let service = service_fn(move |request: Request<Incoming>| {
        sender.take().unwrap().send(request.into_body()).unwrap();
        pending::<Result<Response<Empty<Bytes>>, Infallible>>()
    });
    spawn_local(async move {
        let server =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
        drop(server.await);
    });
    client.write_all(head.as_bytes()).await.unwrap();
    (RequestBody::Streaming(receiver.await.unwrap()), client)
}
