//! Replacement of one process by another without a refused request.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::harness::{Answer, Client, Gate, Origin, PATIENCE, Program, Redis, Start, until};

/// A thread that sends requests, one after another and each on a new connection, until it is
/// stopped. It counts responses and failures.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<thread::JoinHandle<Option<String>>>,
}

impl Load {
    fn begin(addr: SocketAddr) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let clients = (0..4).map(|_| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match send_twice(addr) {
                        Ok(()) => answered.fetch_add(1, Ordering::Relaxed),
                        Err(error) => return Some(error),
                    };
                }
                None
            })
        });
        let clients = clients.collect();
        Self { stop, answered, clients }
    }

    fn await_more(&self, count: usize) {
        let before = self.answered.load(Ordering::Relaxed);
        until("more answers", || {
            thread::yield_now();
            self.answered.load(Ordering::Relaxed) >= before + count
                || self.clients.iter().all(thread::JoinHandle::is_finished)
        });
    }

    /// Stops the load. Returns the first failure of each client.
    fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().filter_map(|client| client.join().unwrap()).collect()
    }
}

/// Sends two requests on a new connection, and expects the second response unless the first one
/// closes the connection.
fn send_twice(addr: SocketAddr) -> Result<(), String> {
    let mut stream =
        TcpStream::connect_timeout(&addr, PATIENCE).map_err(|error| format!("to connect: {error}"))?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    for _ in 0..2 {
        stream
            .write_all(b"GET /a HTTP/1.1\r\nHost: test\r\n\r\n")
            .map_err(|error| format!("to send: {error}"))?;
        let mut read = BufReader::new(&stream);
        let head = crate::harness::client::head_of(&mut read).map_err(|error| format!("to read: {error}"))?;
        if !head.start.contains(" 200 ") {
            return Err(head.start);
        }
        let mut body = [0; 2];
        read.read_exact(&mut body).map_err(|error| format!("a body: {error}"))?;
        if head.field("connection") == Some("close") {
            break;
        }
    }
    Ok(())
}

/// Starts the program as systemd does: with an open listening socket.
fn start_on(socket: &TcpListener, origin: &Origin) -> Program {
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=clients exec \"$0\" \"$@\" 3<&0 </dev/null";
    let origin = format!("--origin-url={}", origin.url());
    let flags = ["--redis-url=off", "--admin-addr=off", "--worker-threads=2", &origin];
    Program::start_by(script, OwnedFd::from(socket.try_clone().unwrap()), &flags)
}

#[test]
fn a_new_process_on_the_inherited_socket_takes_over_under_load() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=60")], "{}"));
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    let mut serving = start_on(&socket, &origin);
    assert_eq!(serving.await_addr(), addr);
    let load = Load::begin(addr);
    load.await_more(50);
    for _ in 0..2 {
        let successor = start_on(&socket, &origin);
        successor.await_addr();
        serving.signal("TERM");
        let ended = serving.end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        serving = successor;
        load.await_more(50);
    }
    assert_eq!(load.end(), Vec::<String>::new());
}

#[test]
fn a_new_process_listens_beside_the_old_one_if_both_allow_it() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    let url = format!("--origin-url={}", origin.url());
    let start = |addr: &str| {
        let addr = format!("--listen-addr={addr}");
        let flags = [
            &addr,
            &url,
            "--listen-reuse-port=true",
            "--redis-url=off",
            "--admin-addr=off",
            "--worker-threads=2",
        ];
        Program::start(&Start { arguments: &flags, ..Start::default() })
    };
    let first = start("127.0.0.1:0");
    let addr = first.await_addr();
    let second = start(&addr.to_string());
    assert_eq!(second.await_addr(), addr);
    first.signal("TERM");
    assert_eq!(first.end().code, Some(0));
    assert_eq!(crate::harness::client::get(addr, "/a").status, 200);
}

#[test]
fn a_drain_finishes_requests_in_flight_and_announces_the_close() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let slow = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n";
    origin.answer("/slow", Answer::silent().pass(&gate).send(slow).send("{}"));
    origin.answer("/a", Answer::json("{}"));
    let url = format!("--origin-url={}", origin.url());
    let flags =
        ["--listen-addr=127.0.0.1:0", "--redis-url=off", "--admin-addr=off", "--worker-threads=1", &url];
    let program = Program::start(&Start { arguments: &flags, ..Start::default() });
    let addr = program.await_addr();
    let (mut busy, mut kept) = (Client::connect(addr), Client::connect(addr));
    assert_eq!(kept.get("/a").field("connection"), None);
    busy.send_head("GET", "/slow", &[]);
    gate.await_arrivals(1);
    program.signal("TERM");
    program.await_line("draining");
    assert_eq!(kept.get("/a").field("connection"), Some("close"), "the last response must say close");
    assert_eq!(kept.rest(), b"");
    gate.open();
    let answer = busy.response();
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    assert_eq!(program.end().code, Some(0));
}

#[test]
fn an_abandoned_fetch_is_stored_before_the_process_ends() {
    let (origin, gate, redis) = (Origin::start(), Gate::new(), Redis::start());
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=600\r\nContent-Length: 2\r\n\r\n";
    origin.answer("/slow", Answer::silent().pass(&gate).send(head).send("{}"));
    let (url, redis_url) = (format!("--origin-url={}", origin.url()), format!("--redis-url={}", redis.url()));
    let flags = ["--listen-addr=127.0.0.1:0", "--admin-addr=off", "--worker-threads=1", &url, &redis_url];
    let program = Program::start(&Start { arguments: &flags, ..Start::default() });
    let addr = program.await_addr();
    until("Redis to be connected", || {
        crate::harness::client::get(addr, "/health").text().contains("\"connected")
    });
    let mut client = Client::connect(addr);
    client.send_head("GET", "/slow", &[]);
    gate.await_arrivals(1);
    drop(client);
    program.signal("TERM");
    program.await_line("draining");
    assert!(redis.keys().is_empty());
    gate.open();
    let ended = program.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(redis.keys().len(), 1);
}
