//! The life cycle of a process: start, readiness, reload, drain, and its supervisor.

use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::harness::{
    Answer, Authority, Client, Gate, Origin, PATIENCE, Program, Proxy, Redis, Response, Start, TlsClient,
    client, until,
};

/// The flags of a process with free ports and without Redis.
const FLAGS: [&str; 4] =
    ["--listen-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", "--redis-url=off", "--worker-threads=2"];

fn start(flags: &[&str], environment: &[(&str, &str)], dotenv: Option<&str>) -> Program {
    let arguments: Vec<&str> = FLAGS.iter().chain(flags).copied().collect();
    Program::start(&Start { arguments: &arguments, environment, dotenv })
}

fn post_reload(addr: SocketAddr, token: &str) -> Response {
    let token = format!("Bearer {token}");
    let fields =
        [("Authorization", token.as_str()), ("Content-Type", "application/json"), ("Content-Length", "2")];
    let mut client = Client::connect(addr);
    client.send_head("POST", "/reload", &fields);
    client.send("{}");
    client.response()
}

/// Returns the status of a request with this token.
fn stats(addr: SocketAddr, token: &str) -> u16 {
    Client::connect(addr).request("GET", "/stats", &[("Authorization", &format!("Bearer {token}"))]).status
}

#[test]
fn a_reload_replaces_the_token_and_the_log_level() {
    let program = start(&[], &[], Some("ADMIN_TOKEN=first"));
    let (addr, admin) = (program.await_addr(), program.await_admin_addr());
    assert_eq!((stats(admin, "first"), stats(admin, "second")), (200, 401));

    program.write(".env", "ADMIN_TOKEN=second\nLOG_LEVEL=debug");
    program.signal("HUP");
    let line = program.await_line("reloaded");
    assert!(line.contains("admin_token") && line.contains("log_level"), "{line}");
    assert_eq!((stats(admin, "first"), stats(admin, "second")), (401, 200));
    let mut ambiguous = Client::connect(addr);
    ambiguous.send("GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na");
    assert_eq!(ambiguous.response().status, 400);
    program.await_line("a request has ambiguous framing");

    // An invalid setting changes nothing.
    program.write(".env", "ADMIN_TOKEN=third\nLOG_LEVEL=inof");
    program.signal("HUP");
    program.await_line("nothing was reloaded");
    let refused = post_reload(admin, "second");
    assert!(
        refused.status == 422 && refused.text().contains("inof"),
        "{} {}",
        refused.status,
        refused.text()
    );
    assert_eq!((stats(admin, "third"), stats(admin, "second")), (401, 200));

    program.write(".env", "ADMIN_TOKEN=third");
    assert_eq!(post_reload(admin, "first").status, 401);
    let reloaded = post_reload(admin, "second");
    assert_eq!((reloaded.status, reloaded.text()), (200, r#"{"reloaded":["log_level","admin_token"]}"#));
    assert_eq!(stats(admin, "third"), 200);

    let admin_addr = format!("--admin-addr={admin}");
    let ended = Program::run(&["reload", &admin_addr, "--admin-token=third"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("admin_token"), "{}", ended.stdout);
    assert_eq!(Program::run(&["reload", &admin_addr, "--admin-token=first"]).code, Some(1));
}

#[test]
fn a_reload_needs_json_without_content() {
    let program = start(&[], &[], None);
    let admin = program.await_admin_addr();
    for (media, body, status) in
        [("application/json", "[]", 400), ("text/plain", "{}", 415), ("application/json", "{}", 200)]
    {
        let mut client = Client::connect(admin);
        let fields = [("Host", "localhost"), ("Content-Type", media), ("Content-Length", "2")];
        let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        client.send(format!("POST /reload HTTP/1.1\r\n{fields}\r\n{body}"));
        assert_eq!(client.response().status, status, "{media} {body}");
    }
    assert_eq!(client::get(admin, "/reload").status, 405);
}

#[test]
fn a_storm_of_signals_is_one_reload_and_another() {
    let program = start(&[], &[], Some("ADMIN_TOKEN=first"));
    let admin = program.await_admin_addr();
    program.write(".env", "ADMIN_TOKEN=second");
    let storm = format!("for i in $(seq 500); do kill -HUP {}; done", program.pid());
    assert!(Command::new("sh").args(["-c", &storm]).status().unwrap().success());
    until("the last signal to take effect", || stats(admin, "second") == 200);
    program.signal("TERM");
    let ended = program.end();
    let reloads = ended.stderr.lines().filter(|line| line.contains("reloaded")).count();
    assert!((1..100).contains(&reloads), "{reloads} reloads of 500 signals");
    assert_eq!(ended.code, Some(0));
}

/// Clients that complete handshakes, one after another, until they are stopped.
struct Handshakes {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<thread::JoinHandle<Option<String>>>,
}

impl Handshakes {
    fn begin(addr: SocketAddr, authority: &Authority) -> Self {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let clients = (0..3).map(|_| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            let config = authority.client(None, &["http/1.1"]);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let answer =
                        TlsClient::connect(addr, &config).and_then(|mut client| client.get("/health", &[]));
                    match answer {
                        Ok(answer) if answer.status == 200 => done.fetch_add(1, Ordering::Relaxed),
                        Ok(answer) => return Some(answer.head.start),
                        Err(error) => return Some(error.to_string()),
                    };
                }
                None
            })
        });
        let clients = clients.collect();
        Self { stop, done, clients }
    }

    fn await_more(&self, count: usize) {
        let before = self.done.load(Ordering::Relaxed);
        until("more handshakes", || {
            thread::yield_now();
            self.done.load(Ordering::Relaxed) >= before + count
                || self.clients.iter().all(thread::JoinHandle::is_finished)
        });
    }

    fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().filter_map(|client| client.join().unwrap()).collect()
    }
}

fn certificate(addr: SocketAddr, authority: &Authority) -> Vec<u8> {
    let client = TlsClient::connect(addr, &authority.client(None, &[])).unwrap();
    client.session().peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn no_handshake_fails_while_certificates_are_replaced() {
    let authority = Authority::new();
    let [certificate_file, key_file] = authority.issue("localhost");
    let flags = [
        format!("--tls-cert-file={certificate_file}"),
        format!("--tls-key-file={key_file}"),
        "--admin-token=sesame".to_owned(),
    ];
    let program = start(&flags.each_ref().map(String::as_str), &[], None);
    let (addr, admin) = (program.await_addr(), program.await_admin_addr());
    let load = Handshakes::begin(addr, &authority);
    let mut last = certificate(addr, &authority);
    for _ in 0..3 {
        load.await_more(10);
        authority.issue("localhost");
        let answer = post_reload(admin, "sesame");
        assert!(answer.text().contains("certificates"), "{}", answer.text());
        let new = certificate(addr, &authority);
        assert_ne!(new, last);
        last = new;
    }

    // A half replaced pair keeps the previous one, and is completed by the watch of the files.
    let key = std::fs::read(&key_file).unwrap();
    authority.issue("localhost");
    let new_key = std::fs::read(&key_file).unwrap();
    std::fs::write(&key_file, key).unwrap();
    assert_eq!(post_reload(admin, "sesame").status, 422);
    load.await_more(10);
    assert_eq!(certificate(addr, &authority), last);
    std::fs::write(&key_file, new_key).unwrap();
    until("the watch to notice the files", || certificate(addr, &authority) != last);
    load.await_more(10);
    assert_eq!(load.end(), Vec::<String>::new());
}

#[test]
fn checks_have_paths_of_their_own() {
    let origin = Origin::start();
    for path in ["/health", "/ready", "/live"] {
        origin.answer(path, Answer::json(r#"{"of":"api"}"#));
    }
    let ready = r#"{"status":"ready"}"#;
    let proxy = Proxy::start(&origin.url(), &[]);
    let answer = proxy.get("/ready");
    assert_eq!((answer.status, answer.text(), answer.field("cache-control")), (200, ready, Some("no-store")));
    assert_eq!(client::get(proxy.admin_addr(), "/ready").text(), ready);
    assert!(proxy.get("/health").text().contains("redis"));

    let proxy = Proxy::start(&origin.url(), &[("health_path", ""), ("ready_path", "/live")]);
    assert_eq!(proxy.get("/live").text(), ready);
    for path in ["/health", "/ready"] {
        assert_eq!(proxy.get(path).text(), r#"{"of":"api"}"#);
    }
    let admin_addr = format!("--admin-addr={}", proxy.admin_addr());
    assert_eq!(Program::run(&["health", "--health-path=", &admin_addr]).code, Some(0));
}

#[test]
fn a_drain_is_announced_before_it_begins_and_operators_see_it_end() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/slow", Answer::silent().pass(&gate).send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    let url = format!("--origin-url={}", origin.url());
    let program = start(&["--drain-delay=1h", &url], &[], None);
    let (addr, admin) = (program.await_addr(), program.await_admin_addr());
    assert_eq!(client::get(addr, "/ready").status, 200);
    program.signal("TERM");
    program.await_line("not ready any more");
    let draining = (503, r#"{"status":"draining"}"#.to_owned());
    let check = |addr| {
        let answer = client::get(addr, "/ready");
        (answer.status, answer.text().to_owned())
    };
    assert_eq!((check(addr), check(admin)), (draining.clone(), draining.clone()));
    assert_eq!(client::get(addr, "/health").status, 200);
    let mut slow = Client::connect(addr);
    slow.send_head("GET", "/slow", &[]);
    gate.await_arrivals(1);

    // A second signal ends the delay.
    program.signal("TERM");
    program.await_line("draining");
    assert_eq!(check(admin), draining);
    gate.open();
    assert_eq!(slow.response().status, 200);
    assert_eq!(program.end().code, Some(0));
}

#[test]
fn the_supervisor_learns_of_each_state() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let await_state = |state: &str| {
        let mut bytes = [0; 256];
        loop {
            let length = socket.recv(&mut bytes).unwrap();
            if bytes[..length].starts_with(state.as_bytes()) {
                return;
            }
            assert!(bytes.starts_with(b"WATCHDOG=1"), "{state}");
        }
    };
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "100000")];
    let program = start(&[], &environment, None);
    await_state("READY=1");
    await_state("WATCHDOG=1");
    await_state("WATCHDOG=1");
    program.signal("HUP");
    await_state("RELOADING=1\nMONOTONIC_USEC=");
    await_state("READY=1");
    program.signal("TERM");
    await_state("STOPPING=1");
    assert_eq!(program.end().code, Some(0));
}

#[test]
fn the_first_response_of_a_process_is_stored_in_redis() {
    let (origin, redis) = (Origin::start(), Redis::start());
    for number in 0..4 {
        let path = format!("/{number}");
        origin.answer(&path, Answer::json_with(&[("Cache-Control", "max-age=60")], "{}"));
        // The timeout of a lookup would leave its response unstored.
        let settings = [
            ("redis_url", redis.url()),
            ("cache_memory_size", "0".to_owned()),
            ("redis_timeout", "10s".to_owned()),
        ];
        let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
        let proxy = Proxy::start(&origin.url(), &settings);
        assert_eq!(proxy.get(&path).cache_status(), "CacheWarp; fwd=uri-miss; stored");
        until("the response to be stored", || redis.keys().len() == number + 1);
        assert!(proxy.get(&path).cache_status().starts_with("CacheWarp; hit"));
    }
}
