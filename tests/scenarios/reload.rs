//! The life cycle of a process: start, readiness, reload, drain, and its supervisor.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use cachewarp::time;
use tempfile::NamedTempFile;

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

/// A process with a routes file in front of an origin.
struct Routed {
    program: Program,
    addr: SocketAddr,
    admin: SocketAddr,
    file: NamedTempFile,
}

impl Routed {
    fn start(origin: &Origin, routes: &str) -> Self {
        let file = NamedTempFile::new().unwrap();
        fs::write(file.path(), routes).unwrap();
        let routes_file = format!("--routes-file={}", file.path().display());
        let origin_url = format!("--origin-url={}", origin.url());
        let program = start(&[&origin_url, &routes_file], &[], Some("ADMIN_TOKEN=t"));
        let (addr, admin) = (program.await_addr(), program.await_admin_addr());
        Self { program, addr, admin, file }
    }

    fn reload(&self, routes: &str) -> Response {
        fs::write(self.file.path(), routes).unwrap();
        post_reload(self.admin, "t")
    }

    /// Sends requests over several connections, which reach every worker, and returns the
    /// `Cache-Status` of each.
    fn statuses(&self, path: &str) -> Vec<String> {
        (0..16).map(|_| client::get(self.addr, path).cache_status().to_owned()).collect()
    }
}

const FRESH: (&str, &str) = ("Cache-Control", "max-age=600");

#[test]
fn a_reload_replaces_the_routes_of_every_worker() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json_with(&[FRESH], "{}"));
    let off = "[[route]]\nname = 'a'\npath = '/a'\nmode = 'off'\n";
    let on = "[[route]]\nname = 'a'\npath = '/a'\nmode = 'on'\n";
    let routed = Routed::start(&origin, off);
    let passes = |status: &String| status.starts_with("CacheWarp; fwd=bypass");
    assert!(routed.statuses("/a").iter().all(passes));
    for _ in 0..5 {
        let done = routed.reload(on);
        assert_eq!(done.text(), r#"{"reloaded":["log_level","admin_token","routes"]}"#);
        assert!(!routed.statuses("/a").iter().any(passes), "a worker has the old routes");
        assert_eq!(routed.reload(off).status, 200);
        assert!(routed.statuses("/a").iter().all(passes), "a worker has the old routes");
    }

    // A file with errors changes nothing, and every error is reported.
    let wrong = "[[route]]\nname = 'a'\npth = '/a'\n[[route]]\nname = 'b'\npth = '/b'\n";
    let refused = routed.reload(wrong);
    let text = refused.text();
    assert!(refused.status == 422 && text.contains("line 3") && text.contains("line 6"), "{text}");
    assert!(routed.statuses("/a").iter().all(passes));
    let large = "[[route]]\nname = 'a'\npath = '/a'\nmax_body = '2MiB'\n";
    let refused = routed.reload(large);
    assert!(refused.status == 422 && refused.text().contains("max_body"), "{}", refused.text());
    assert!(routed.statuses("/a").iter().all(passes));

    fs::write(routed.file.path(), on).unwrap();
    routed.program.signal("HUP");
    until("the signal to take effect", || !routed.statuses("/a").iter().any(passes));
    fs::write(routed.file.path(), off).unwrap();
    let admin_addr = format!("--admin-addr={}", routed.admin);
    let ended = Program::run(&["reload", &admin_addr, "--admin-token=t"]);
    assert!(ended.code == Some(0) && ended.stdout.contains("routes"), "{} {}", ended.stdout, ended.stderr);
    assert!(routed.statuses("/a").iter().all(passes));
}

/// Returns the value of a series of metrics; 0 without the series.
fn metric(admin: SocketAddr, series: &str) -> f64 {
    let page = client::get(admin, "/metrics");
    let value = page.text().lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
    value.unwrap_or_default()
}

#[test]
fn a_reload_keeps_the_counts_of_each_route() {
    let origin = Origin::start();
    for path in ["/a", "/b", "/none"] {
        origin.answer(path, Answer::json_with(&[FRESH], "{}"));
    }
    let plain = start(&[&format!("--origin-url={}", origin.url())], &[], None);
    assert_eq!(client::get(plain.await_addr(), "/a").status, 200);
    assert!(!client::get(plain.await_admin_addr(), "/metrics").text().contains("route="), "no routes file");

    let route = |name: &str, path: &str, members: &str| {
        format!("[[route]]\nname = '{name}'\npath = '{path}'\n{members}\n")
    };
    let routed = Routed::start(&origin, &[route("a", "/a", ""), route("b", "/b", "")].concat());
    let counts = |name: &str| {
        let of = |family: &str, label: &str| {
            metric(routed.admin, &format!("cachewarp_route_{family}{{route=\"{name}\"{label}}}"))
        };
        [
            of("responses_total", ",status=\"2xx\""),
            of("cache_results_total", ",result=\"hit\""),
            of("cache_results_total", ",result=\"miss\""),
            of("duration_seconds_count", ""),
        ]
    };
    for path in ["/a", "/b", "/none"] {
        assert_eq!(routed.statuses(path).len(), 16);
    }
    let before = ["a", "b"].map(counts);
    for [responses, hits, misses, times] in before {
        assert_eq!([responses, hits + misses, times], [16.0; 3]);
        assert!(misses >= 1.0 && hits >= 1.0, "{hits} hits, {misses} misses");
    }
    assert_eq!(metric(routed.admin, "cachewarp_routes_with_override"), 0.0);

    // The name `a` moves to another path, and its counts go on. A request that passes is no miss.
    let members = "mode = 'off'\noverride = ['private']";
    assert_eq!(routed.reload(&[route("c", "/a", ""), route("a", "/b", members)].concat()).status, 200);
    assert_eq!((routed.statuses("/a").len(), routed.statuses("/b").len()), (16, 16));
    assert_eq!(counts("a"), [32.0, before[0][1], before[0][2], 32.0]);
    assert_eq!(counts("b"), before[1]);
    let of_c = counts("c");
    assert_eq!((of_c[0], of_c[1] + of_c[2], of_c[3]), (16.0, 16.0, 16.0));
    assert_eq!(metric(routed.admin, "cachewarp_routes_with_override"), 1.0);

    let token = [("Authorization", "Bearer t")];
    let stats = Client::connect(routed.admin).request("GET", "/stats", &token);
    let stats: serde_json::Value = serde_json::from_str(stats.text()).unwrap();
    let of_a = &stats["routes"][0];
    assert_eq!(of_a["route"], "a");
    assert_eq!([of_a["hit"].as_f64(), of_a["miss"].as_f64()], [Some(before[0][1]), Some(before[0][2])]);
    assert_eq!((&of_a["responses"]["2xx"], of_a["p99_ms"].is_number()), (&32.into(), true));
    assert_eq!(stats["routes"].as_array().map(Vec::len), Some(3));
    assert_eq!(stats["route_overrides"][0], "route a overrides private of the origin");
}

#[test]
fn requests_are_answered_during_reloads_of_the_routes() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json_with(&[FRESH], "{}"));
    let file = |number: usize| format!("[[route]]\nname = 'r{number}'\npath = '/a'\n");
    let routed = Routed::start(&origin, &file(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (addr, is_over) = (routed.addr, Arc::clone(&is_over));
            thread::spawn(move || {
                let mut client = Client::connect(addr);
                let mut answers = 0;
                while !is_over.load(Ordering::SeqCst) {
                    let answer = client.get("/a");
                    assert_eq!((answer.status, answer.text()), (200, "{}"));
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    for number in 1..=20 {
        assert_eq!(routed.reload(&file(number)).status, 200);
    }
    is_over.store(true, Ordering::SeqCst);
    let answers: Vec<usize> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    assert!(answers.iter().all(|answers| *answers > 0), "{answers:?}");
}

#[test]
fn a_write_in_progress_keeps_its_rules() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/a", Answer::json_with(&[FRESH, ("Cache-Tag", "t")], "{}"));
    let answer = "HTTP/1.1 204 No Content\r\n\r\n";
    origin.answer("/w", Answer::silent().pass(&gate).send(answer));
    let purging =
        "[[route]]\nname = 'w'\npath = '/w'\nmethods = ['POST']\non_write = { purge_tags = ['t'] }\n";
    let other = "[[route]]\nname = 'w'\npath = '/w'\nmethods = ['POST']\norigin_head_timeout = '9s'\n";
    let routed = Routed::start(&origin, purging);
    let is_stored = || {
        let fields = [("Cache-Control", "only-if-cached")];
        Client::connect(routed.addr).request("GET", "/a", &fields).status == 200
    };
    let fill = || {
        client::get(routed.addr, "/a");
        until("the response to be stored", is_stored);
    };
    fill();
    let content = [("Content-Length", "0")];
    let mut before = Client::connect(routed.addr);
    before.send_head("POST", "/w", &content);
    gate.await_arrivals(1);
    assert_eq!(routed.reload(other).status, 200);
    assert!(is_stored(), "no route changes the rules of this entry");
    gate.open();
    assert_eq!(before.response().status, 204);
    assert!(!is_stored(), "the write began with the rules that purge");
    fill();
    assert_eq!(Client::connect(routed.addr).request("POST", "/w", &content).status, 204);
    assert!(is_stored());
}

#[test]
fn a_fetch_in_progress_is_not_joined_after_a_reload() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=600\r\n\
                  Content-Length: 2\r\n\r\n{}";
    origin.answer("/a", Answer::silent().pass(&gate).send(answer));
    let file = |timeout: u8| format!("[[route]]\nname = 'a'\npath = '/a'\ncollapse_timeout = '{timeout}m'\n");
    let routed = Routed::start(&origin, &file(1));
    let mut clients: Vec<_> = (0..4).map(|_| Client::connect(routed.addr)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send_head("GET", "/a", &[]);
        if number == 0 || number == 2 {
            origin.await_count("/a", 1 + number / 2);
        }
        if number == 1 {
            assert_eq!(routed.reload(&file(2)).status, 200);
        }
    }
    gate.open();
    assert!(clients.iter_mut().all(|client| client.response().status == 200));
    assert_eq!(origin.count("/a"), 2, "one fetch for each generation");
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
    let key = fs::read(&key_file).unwrap();
    authority.issue("localhost");
    let new_key = fs::read(&key_file).unwrap();
    fs::write(&key_file, key).unwrap();
    assert_eq!(post_reload(admin, "sesame").status, 422);
    load.await_more(10);
    assert_eq!(certificate(addr, &authority), last);
    fs::write(&key_file, new_key).unwrap();
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

/// A Redis that accepts connections and never replies delays the start by `redis_start_timeout`,
/// and not by the time of a connect.
#[test]
fn a_silent_redis_delays_a_start_for_a_bounded_time() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let redis = format!("redis://{}", silent.local_addr().unwrap());
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    for (timeout, least) in [("0", Duration::ZERO), ("1s", Duration::from_secs(1))] {
        let begun = time::instant();
        let settings = [
            ("redis_url", redis.as_str()),
            ("cache_namespace", "test"),
            ("redis_connect_timeout", "1h"),
            ("redis_start_timeout", timeout),
        ];
        let proxy = Proxy::start(&origin.url(), &settings);
        assert_eq!(proxy.get("/a").status, 200, "{timeout}");
        assert!(begun.elapsed() >= least, "{timeout}");
    }
}
