//! Two nodes behind a HAProxy that restarts none of its requests, over TLS on both sides.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use rustls::ClientConfig;
use tempfile::TempDir;

use crate::harness::{Answer, Authority, Client, Origin, Program, Redis, Start, TlsClient, client, until};

/// Returns a free address whose IP address no client uses as its own, so that the port stays free
/// while a process restarts.
fn address(last: u8) -> SocketAddr {
    TcpListener::bind((std::net::Ipv4Addr::new(127, 18, 7, last), 0)).unwrap().local_addr().unwrap()
}

/// A HAProxy with two backend servers, `node0` and `node1`.
struct HaProxy {
    child: Child,
    front: SocketAddr,
    status: SocketAddr,
    _folder: TempDir,
}

impl HaProxy {
    /// Returns `None` if the machine has no HAProxy.
    fn start(authority: &Authority, nodes: [SocketAddr; 2]) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let [certificate, key] = authority.issue("localhost");
        let pair = folder.path().join("front.pem");
        fs::write(&pair, [fs::read(certificate).unwrap(), fs::read(key).unwrap()].concat()).unwrap();
        let (front, status) = (address(3), address(4));
        let servers = [0, 1].map(|node| {
            format!(
                "server node{node} {} ssl verify required ca-file {} sni str(localhost) check check-ssl check-sni localhost\n",
                nodes[node],
                authority.ca_file()
            )
        });
        let config = format!(
            "defaults
    mode http
    retries 0
    timeout connect 10s
    timeout client 30s
    timeout server 30s
frontend clients
    bind {front} ssl crt {}
    default_backend nodes
frontend status
    bind {status}
    stats enable
    stats uri /
backend nodes
    option httpchk GET /ready
    default-server inter 1s fall 1 rise 1
    {}    {}",
            pair.display(),
            servers[0],
            servers[1]
        );
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, config).unwrap();
        let child =
            Command::new("haproxy").arg("-db").arg("-f").arg(&file).stdin(Stdio::null()).spawn().ok()?;
        until("HAProxy to listen", || TcpStream::connect(status).is_ok());
        Some(Self { child, front, status, _folder: folder })
    }

    /// Waits until HAProxy sends requests to a node, or sends none.
    fn await_state(&self, node: usize, state: &str) {
        until(&format!("HAProxy to see node {node} {state}"), || {
            let page = client::get(self.status, "/;csv");
            let row = format!("nodes,node{node},");
            // The eighteenth column is the state.
            page.text()
                .lines()
                .find(|line| line.starts_with(&row))
                .and_then(|line| line.split(',').nth(17))
                .is_some_and(|now| now == state)
        });
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Clients that send requests without a pause until they are stopped or one fails.
struct TlsLoad {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Result<(), String>>>,
}

impl TlsLoad {
    fn begin(addr: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let clients = (0..4).map(|_| {
            let (stop, answered, config) = (Arc::clone(&stop), Arc::clone(&answered), Arc::clone(config));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    send_some(addr, &config, &answered)?;
                }
                Ok(())
            })
        });
        let clients = clients.collect();
        Self { stop, answered, clients }
    }

    fn await_more(&self, count: usize) {
        let before = self.answered.load(Ordering::Relaxed);
        until("more answers", || {
            self.answered.load(Ordering::Relaxed) >= before + count
                || self.clients.iter().any(JoinHandle::is_finished)
        });
    }

    /// Stops the clients. Returns their failures.
    fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().filter_map(|client| client.join().unwrap().err()).collect()
    }
}

/// Sends a response from the cache, one that is not stored, and a write, over one connection.
fn send_some(addr: SocketAddr, config: &Arc<ClientConfig>, answered: &AtomicUsize) -> Result<(), String> {
    let mut client = TlsClient::connect(addr, config).map_err(|error| format!("connect: {error}"))?;
    for (method, target) in [("GET", "/a"), ("GET", "/private"), ("POST", "/write"), ("GET", "/a")] {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        let answer = client.send(head).and_then(|()| client.response());
        match answer {
            Ok(response) if response.status == 200 => answered.fetch_add(1, Ordering::Relaxed),
            Ok(response) => {
                return Err(format!("{method} {target}: {} {}", response.status, response.text()));
            }
            Err(error) => return Err(format!("{method} {target}: {error}")),
        };
    }
    Ok(())
}

#[test]
fn a_rolling_restart_fails_no_request() {
    let (origin, redis, authority) = (Origin::start(), Redis::start(), Authority::new());
    origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=60")], "{}"));
    origin.answer("/private", Answer::json_with(&[("Cache-Control", "no-store")], "{}"));
    origin.answer("/write", Answer::json("{}"));
    let [certificate, key] = authority.issue("localhost");
    let nodes = [address(1), address(2)];
    let start = |node: usize| {
        let arguments = [
            format!("--listen-addr={}", nodes[node]),
            format!("--origin-url={}", origin.url()),
            format!("--redis-url={}", redis.url()),
            format!("--tls-cert-file={certificate}"),
            format!("--tls-key-file={key}"),
            "--admin-addr=127.0.0.1:0".to_owned(),
            "--worker-threads=1".to_owned(),
            // HAProxy checks each node every second.
            "--drain-delay=4s".to_owned(),
        ];
        let arguments = arguments.each_ref().map(String::as_str);
        let program = Program::start(&Start { arguments: &arguments, ..Start::default() });
        assert_eq!(program.await_addr(), nodes[node]);
        program
    };
    let mut programs = vec![start(0), start(1)];
    let Some(proxy) = HaProxy::start(&authority, nodes) else {
        println!("haproxy is missing: the rolling restart is not tried");
        return;
    };
    (0..2).for_each(|node| proxy.await_state(node, "UP"));

    let load = TlsLoad::begin(proxy.front, &authority.client(None, &["http/1.1"]));
    for node in 0..2 {
        load.await_more(200);
        programs[node].signal("TERM");
        proxy.await_state(node, "DOWN");
        let ended = programs.remove(node).end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        load.await_more(200);
        programs.insert(node, start(node));
        proxy.await_state(node, "UP");
    }
    load.await_more(200);
    assert_eq!(load.end(), Vec::<String>::new());

    for program in &programs {
        let page = Client::connect(program.await_admin_addr()).get("/metrics");
        let hits = page.text().lines().filter(|line| {
            line.starts_with("cachewarp_requests_total{") && line.contains("hit") && !line.ends_with(" 0")
        });
        assert!(hits.count() > 0, "each new process must have answered requests: {}", page.text());
    }
}
