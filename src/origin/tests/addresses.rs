//! Names with several addresses: all are used, one that fails is left out, and the name may move.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{advance, pause, timeout};

use super::script::{ScriptedOrigin, get, read, send, upload};
use crate::key::{Authority, Scheme};
use crate::limits::{ORIGIN_ADDRESS_KEPT, ORIGIN_EJECTION_MIN, ORIGIN_RESOLVE_INTERVAL};
use crate::origin::{FetchError, NameResolver, Options, OriginAddresses, OriginClient, ResolvedName};

const FIRST: [u8; 4] = [127, 0, 0, 1];
const SECOND: [u8; 4] = [127, 0, 0, 2];

/// Resolver whose answer the test sets.
#[derive(Clone, Default)]
pub(super) struct FixedResolver(Arc<Mutex<Vec<SocketAddr>>>);

impl FixedResolver {
    pub(super) fn of(answer: &[SocketAddr]) -> Self {
        Self(Arc::new(Mutex::new(answer.to_vec())))
    }

    fn set(&self, answer: &[SocketAddr]) {
        *self.0.lock().unwrap() = answer.to_vec();
    }
}

impl NameResolver for FixedResolver {
    fn resolve<'a>(&'a self, host: &'a str, _port: u16) -> ResolvedName<'a> {
        assert_eq!(host, "origin.test");
        Box::pin(async { Ok(self.0.lock().map_err(|_| io::ErrorKind::Other)?.clone()) })
    }
}

/// Origin that answers every request with its address, until it is dropped with its connections.
struct AddressedOrigin {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl AddressedOrigin {
    async fn start(addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(addr).unwrap();
        let listener = socket.listen(64).unwrap();
        let addr = listener.local_addr().unwrap();
        Self { addr, task: spawn_local(serve(listener, addr)) }
    }

    async fn at(ip: [u8; 4]) -> Self {
        Self::start((ip, 0).into()).await
    }

    /// Ends the origin and its connections, and waits until it has.
    async fn stop(self) -> SocketAddr {
        self.task.abort();
        drop(self.task.await);
        self.addr
    }
}

/// Serves the connections in one task, so that they end together.
async fn serve(listener: TcpListener, addr: SocketAddr) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        connections.spawn_local(async move {
            let body = addr.ip().to_string();
            let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let mut head = Vec::new();
            while let Ok(byte) = stream.read_u8().await {
                head.push(byte);
                if head.ends_with(b"\r\n\r\n") {
                    head.clear();
                    drop(stream.write_all(response.as_bytes()).await);
                }
            }
        });
    }
}

/// Returns a client whose name resolves to what the resolver answers.
fn client(origin: &ScriptedOrigin, resolver: &FixedResolver) -> OriginClient {
    with_options(origin, resolver, origin.options())
}

fn with_options(origin: &ScriptedOrigin, resolver: &FixedResolver, options: Options) -> OriginClient {
    let addresses = OriginAddresses::with_resolver(resolver.clone());
    let authority = Authority::parse(Scheme::Http, b"origin.test").unwrap();
    OriginClient::new(Options { addresses, authority, ..options }, &origin.registry).unwrap()
}

/// Sends requests one after the other. Returns the bodies of the answers, each once.
pub(super) async fn answered(client: &OriginClient, requests: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    for number in 0..requests {
        bodies.push(read(send(client, get(&format!("/{number}"))).await).await.unwrap());
    }
    bodies.sort();
    bodies.dedup();
    bodies
}

/// Returns an address where nothing listens.
async fn refused(ip: [u8; 4]) -> SocketAddr {
    AddressedOrigin::at(ip).await.stop().await
}

pub(super) const IN_USE: &str = "cachewarp_origin_addresses{state=\"in-use\"}";
pub(super) const EJECTED: &str = "cachewarp_origin_addresses{state=\"ejected\"}";

#[tokio::test(flavor = "local")]
async fn all_addresses_are_used_and_their_connections_are_kept() {
    let origin = ScriptedOrigin::listen().await;
    let (one, two) = (AddressedOrigin::at(FIRST).await, AddressedOrigin::at(SECOND).await);
    let client = client(&origin, &FixedResolver::of(&[one.addr, two.addr]));
    assert_eq!(answered(&client, 100).await, ["127.0.0.1", "127.0.0.2"]);
    assert_eq!(origin.metric("cachewarp_origin_sends_total{connection=\"fresh\"}"), 2);
    assert_eq!((origin.metric(IN_USE), origin.metric(EJECTED)), (2, 0));
}

#[tokio::test(flavor = "local")]
async fn an_address_that_is_dead_from_the_start_costs_no_request() {
    let origin = ScriptedOrigin::listen().await;
    let (dead, alive) = (refused(FIRST).await, AddressedOrigin::at(SECOND).await);
    let client = client(&origin, &FixedResolver::of(&[dead, alive.addr]));
    for number in 0..50 {
        // Nothing was written to the dead address, so a request with a body goes to the other too.
        let (body, mut writer) = upload("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await;
        let request = http::Request::builder().method(Method::POST).uri(format!("/{number}"));
        let response = send(&client, request.header("host", "a").body(body).unwrap()).await;
        assert_eq!(read(response).await.unwrap(), "127.0.0.2");
        drop(writer.shutdown().await);
    }
    assert_eq!((origin.metric(IN_USE), origin.metric(EJECTED)), (1, 1));
    assert_eq!(origin.metric("cachewarp_origin_failures_total{phase=\"connect\"}"), 0);
    assert_eq!(origin.metric("cachewarp_origin_address_failures_total{reason=\"connect\"}"), 3);
}

#[tokio::test(flavor = "local")]
async fn an_address_that_dies_under_load_costs_no_get_and_returns() {
    let origin = ScriptedOrigin::listen().await;
    let (one, two) = (AddressedOrigin::at(FIRST).await, AddressedOrigin::at(SECOND).await);
    let client = client(&origin, &FixedResolver::of(&[one.addr, two.addr]));
    let rounds = async |rounds: usize| {
        let mut bodies = Vec::new();
        for _ in 0..rounds {
            let (a, b, c, d) = tokio::join!(
                send(&client, get("/a")),
                send(&client, get("/b")),
                send(&client, get("/c")),
                send(&client, get("/d")),
            );
            for response in [a, b, c, d] {
                bodies.push(read(response).await.unwrap());
            }
        }
        bodies.sort();
        bodies.dedup();
        bodies
    };
    assert_eq!(rounds(10).await, ["127.0.0.1", "127.0.0.2"]);
    let dead = one.stop().await;
    assert_eq!(rounds(20).await, ["127.0.0.2"], "no request fails");
    assert_eq!((origin.metric(IN_USE), origin.metric(EJECTED)), (1, 1));

    let again = AddressedOrigin::start(dead).await;
    pause();
    advance(ORIGIN_EJECTION_MIN).await;
    tokio::time::resume();
    let returned = timeout(Duration::from_secs(30), async {
        while origin.metric(EJECTED) > 0 {
            rounds(1).await;
        }
    });
    returned.await.unwrap();
    assert_eq!(rounds(20).await, ["127.0.0.1", "127.0.0.2"]);
    drop((again, two));
}

#[tokio::test(flavor = "local")]
async fn the_last_address_stays_in_use_while_all_fail() {
    let origin = ScriptedOrigin::listen().await;
    let (one, two) = (refused(FIRST).await, refused(SECOND).await);
    let client = client(&origin, &FixedResolver::of(&[one, two]));
    for number in 0..5 {
        let error = send(&client, get(&format!("/{number}"))).await.map(drop).unwrap_err();
        assert!(matches!(error, FetchError::Connect(_)), "{error:?}");
    }
    assert_eq!((origin.metric(IN_USE), origin.metric(EJECTED)), (1, 1));
    let two = AddressedOrigin::start(two).await;
    assert_eq!(answered(&client, 10).await, ["127.0.0.2"], "also if it is the ejected one");
    drop(two);
}

#[tokio::test(flavor = "local")]
async fn a_name_that_moves_is_followed_though_the_old_address_answers() {
    let origin = ScriptedOrigin::listen().await;
    let (old, new) = (AddressedOrigin::at(FIRST).await, AddressedOrigin::at(SECOND).await);
    let resolver = FixedResolver::of(&[old.addr]);
    let client = client(&origin, &resolver);
    assert_eq!(answered(&client, 2).await, ["127.0.0.1"]);
    resolver.set(&[new.addr]);
    pause();
    advance(ORIGIN_RESOLVE_INTERVAL).await;
    tokio::time::resume();
    // This request starts the resolution in the background.
    answered(&client, 1).await;
    let used =
        timeout(Duration::from_secs(30), async { while answered(&client, 1).await != ["127.0.0.2"] {} });
    used.await.unwrap();
    pause();
    advance(ORIGIN_ADDRESS_KEPT).await;
    tokio::time::resume();
    answered(&client, 1).await;
    let left = timeout(Duration::from_secs(30), async {
        while origin.metric(IN_USE) > 1 {
            answered(&client, 1).await;
        }
    });
    left.await.unwrap();
    assert_eq!(answered(&client, 50).await, ["127.0.0.2"]);
}

#[tokio::test(flavor = "local")]
async fn a_name_that_no_longer_resolves_keeps_its_addresses() {
    let origin = ScriptedOrigin::listen().await;
    let one = AddressedOrigin::at(FIRST).await;
    let resolver = FixedResolver::of(&[]);
    let client = client(&origin, &resolver);
    let error = send(&client, get("/")).await.map(drop).unwrap_err();
    assert!(matches!(error, FetchError::Resolve(_)), "{error:?}");
    resolver.set(&[one.addr]);
    assert_eq!(answered(&client, 1).await, ["127.0.0.1"]);
    resolver.set(&[]);
    pause();
    // Idle connections expire, so this request dials, and resolves first.
    advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    assert_eq!(answered(&client, 2).await, ["127.0.0.1"]);
    assert_eq!(origin.metric("cachewarp_origin_sends_total{connection=\"fresh\"}"), 2);
}

#[tokio::test(flavor = "local")]
async fn a_connection_ends_at_its_greatest_age() {
    let origin = ScriptedOrigin::listen().await;
    let one = AddressedOrigin::at(FIRST).await;
    let age = Duration::from_secs(20);
    let options = Options { connection_max_age: Some(age), ..origin.options() };
    let client = with_options(&origin, &FixedResolver::of(&[one.addr]), options);
    let fresh = || origin.metric("cachewarp_origin_sends_total{connection=\"fresh\"}");
    answered(&client, 3).await;
    pause();
    advance(age.mul_f64(0.7)).await;
    tokio::time::resume();
    answered(&client, 3).await;
    assert_eq!(fresh(), 1, "used until then");
    pause();
    advance(age.mul_f64(0.3)).await;
    tokio::time::resume();
    answered(&client, 3).await;
    assert_eq!(fresh(), 2);
}

#[tokio::test(flavor = "local")]
async fn idle_connections_of_one_address_do_not_keep_another_from_connecting() {
    let origin = ScriptedOrigin::listen().await;
    let (one, two) = (AddressedOrigin::at(FIRST).await, AddressedOrigin::at(SECOND).await);
    let options = Options { connections_max: 1, ..origin.options() };
    let client = with_options(&origin, &FixedResolver::of(&[one.addr, two.addr]), options);
    assert_eq!(answered(&client, 50).await, ["127.0.0.1", "127.0.0.2"]);
    assert_eq!(origin.metric("cachewarp_origin_connections_open"), 1);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_address_that_accepts_nothing_is_ejected_while_another_answers() {
    let origin = ScriptedOrigin::listen().await;
    // A listener with a full backlog drops further connects in silence.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((FIRST, 0).into()).unwrap();
    let full = socket.listen(0).unwrap();
    let silent = full.local_addr().unwrap();
    let _filling = tokio::net::TcpStream::connect(silent).await.unwrap();
    let two = AddressedOrigin::at(SECOND).await;
    let client = client(&origin, &FixedResolver::of(&[silent, two.addr]));
    for number in 0..50 {
        read(send(&client, get(&format!("/{number}"))).await).await.unwrap();
    }
    assert_eq!((origin.metric(IN_USE), origin.metric(EJECTED)), (1, 1));
    drop(full);
}
