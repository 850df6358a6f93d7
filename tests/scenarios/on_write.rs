//! The member `on_write`: a write purges the responses of the routes and tags that its route names.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cachewarp::time::instant;
use tempfile::NamedTempFile;

use crate::admin::{admin_request, purge};
use crate::harness::write_history::{self, FRESH, UNCONFIRMED, WriteHistory, is_hit, routes_file, together};
use crate::harness::{Answer, Gate, Origin, Program, Proxy, Redis, Response, Start, until};

const WRITE: &str = "/accounts/7/payments";
/// Members by which a write waits, and holds nothing.
const WAIT: &str = ", wait = true, hold = \"0s\"";
/// Responses that a write of account 7 purges: by a route, whatever the query, and by a tag.
const PURGED: [&str; 5] = ["/accounts/7", "/accounts/7?page=2", "/accounts/7/items", "/ledgers/7", "/totals"];
/// Responses that it leaves.
const KEPT: [&str; 4] = ["/accounts/8", "/accounts/8/items", "/ledgers/8", "/accounts"];

/// Returns whether the response is stored, without changing the store.
fn is_stored(node: &Proxy, target: &str) -> bool {
    node.get_with(target, &[("Cache-Control", "only-if-cached")]).status == 200
}

/// Starts an origin whose responses to `GET` are cacheable.
fn api() -> Origin {
    let origin = Origin::start();
    for target in PURGED.iter().chain(&KEPT) {
        let path = target.split('?').next().unwrap();
        let tag = match path.rsplit_once('/').unwrap() {
            ("/ledgers", id) => format!("ledger:{id}"),
            (_, last) => last.to_owned(),
        };
        origin.answer(path, Answer::json_with(&[FRESH, ("Cache-Tag", &tag)], "{}"));
    }
    origin
}

/// Starts nodes with a Redis between them.
fn nodes<const N: usize>(origin: &Origin, redis: &Redis, settings: &[(&str, &str)]) -> [Proxy; N] {
    nodes_with("", origin, redis, settings)
}

/// Starts nodes whose writes wait for each other, without a hold.
fn waiting<const N: usize>(origin: &Origin, redis: &Redis, settings: &[(&str, &str)]) -> [Proxy; N] {
    nodes_with(WAIT, origin, redis, settings)
}

fn nodes_with<const N: usize>(
    members: &str,
    origin: &Origin,
    redis: &Redis,
    settings: &[(&str, &str)],
) -> [Proxy; N] {
    let file = routes_file(members);
    let own = [("routes_file", file.path().to_str().unwrap())];
    std::array::from_fn(|_| {
        Proxy::start_with_redis(&origin.url(), &redis.url(), &[&own[..], settings].concat())
    })
}

/// Starts a node without Redis.
fn alone(origin: &Origin, settings: &[(&str, &str)]) -> Proxy {
    let file = routes_file("");
    let own = [("routes_file", file.path().to_str().unwrap())];
    Proxy::start(&origin.url(), &[&own[..], settings].concat())
}

/// Fills every node with every response.
fn fill(nodes: &[Proxy]) {
    for node in nodes {
        for target in PURGED.iter().chain(&KEPT) {
            until("the response to be stored", || is_hit(&node.get(target)));
        }
    }
}

fn write(node: &Proxy, method: &str, target: &str) -> Response {
    node.connect().request(method, target, &[("Content-Length", "0")])
}

/// Checks that a node has none of the purged responses, and all others.
fn assert_purged(node: &Proxy, case: &str) {
    for target in PURGED {
        assert!(!is_stored(node, target), "{case}: {target} is still stored");
    }
    for target in KEPT {
        assert!(is_stored(node, target), "{case}: {target} is purged");
    }
}

fn assert_kept(node: &Proxy, case: &str) {
    for target in PURGED.iter().chain(&KEPT) {
        assert!(is_stored(node, target), "{case}: {target} is purged");
    }
}

#[test]
fn a_write_that_succeeds_purges_its_routes_and_tags_on_every_node() {
    let (origin, redis) = (api(), Redis::start());
    let nodes: [Proxy; 2] = nodes(&origin, &redis, &[("redis_timeout", "10s")]);
    for status in [200, 201, 202, 204] {
        origin.answer(WRITE, Answer::new(status, &[], ""));
        fill(&nodes);
        assert_eq!(write(&nodes[0], "POST", WRITE).status, status);
        assert_purged(&nodes[0], &format!("{status}"));
        until("the other node to purge", || PURGED.iter().all(|target| !is_stored(&nodes[1], target)));
        assert_purged(&nodes[1], &format!("{status}"));
    }
}

/// A redirect to a login page is an answer of an origin that has changed nothing.
#[test]
fn a_write_that_is_refused_or_redirected_purges_nothing() {
    let (origin, redis) = (api(), Redis::start());
    let nodes: [Proxy; 2] = nodes(&origin, &redis, &[]);
    fill(&nodes);
    for status in [302, 303, 307, 400, 401, 403, 404, 409, 422, 500, 503] {
        origin.answer(WRITE, Answer::new(status, &[("Location", "/login")], ""));
        assert_eq!(write(&nodes[0], "POST", WRITE).status, status);
        nodes.iter().for_each(|node| assert_kept(node, &format!("{status}")));
    }
}

#[test]
fn a_write_with_an_unknown_outcome_purges() {
    let origin = api();
    let proxy = alone(&origin, &[("origin_head_timeout", "300ms")]);
    for (case, answer, status) in [
        ("silence", Answer::silent().hang(), 504),
        ("a reset", Answer::silent().close(), 502),
        ("a part of a head", Answer::raw("HTTP/1.1 200 OK\r\nX-").close(), 502),
        ("no HTTP", Answer::raw("+OK\r\n\r\n").close(), 502),
        ("a gateway's 502", Answer::new(502, &[], ""), 502),
        ("a gateway's 504", Answer::new(504, &[], ""), 504),
    ] {
        fill(std::slice::from_ref(&proxy));
        origin.answer(WRITE, answer);
        assert_eq!(write(&proxy, "POST", WRITE).status, status, "{case}");
        assert_purged(&proxy, case);
    }
    // The client gets the truncated body of a response whose head shows success.
    fill(std::slice::from_ref(&proxy));
    origin.answer(WRITE, Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1").close());
    let mut client = proxy.connect();
    client.send_head("POST", WRITE, &[("Content-Length", "0")]);
    let head = client.head();
    assert!(client.body_of("POST", &head).1.is_err(), "the body is cut");
    assert_purged(&proxy, "a truncated body");
}

#[test]
fn a_write_that_never_reached_the_origin_purges_nothing() {
    let origin = api();
    let proxy = alone(&origin, &[]);
    fill(std::slice::from_ref(&proxy));
    origin.close_connections();
    origin.stop();
    until("a connection to be refused", || {
        let written = write(&proxy, "POST", "/other");
        written.status == 502 && written.text().contains("cannot be reached")
    });
    assert_eq!(write(&proxy, "POST", WRITE).status, 502);
    assert_kept(&proxy, "unreached");
}

#[test]
fn a_client_that_leaves_cancels_neither_the_write_nor_its_purge() {
    let (origin, redis) = (api(), Redis::start());
    let [node]: [Proxy; 1] = nodes(&origin, &redis, &[("redis_timeout", "10s")]);
    for (number, answer) in [Answer::new(204, &[], ""), Answer::silent().close()].into_iter().enumerate() {
        let gate = Gate::new();
        let at_gate = gate.clone();
        origin.script(WRITE, move |exchange| {
            exchange.body()?;
            at_gate.pass();
            answer.give(exchange)
        });
        fill(std::slice::from_ref(&node));
        let mut client = node.connect();
        client.send(format!("POST {WRITE} HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc"));
        gate.await_arrivals(1);
        client.reset();
        node.await_metric("cachewarp_writes_unabandoned_total", number as f64 + 1.0);
        assert_kept(&node, "before the answer");
        gate.open();
        until("the purge", || PURGED.iter().all(|target| !is_stored(&node, target)));
        assert_purged(&node, "abandoned");
    }
}

/// The members that purge apply in every reading of a path, since the origin may read it so.
#[test]
fn every_spelling_of_the_path_of_a_write_purges() {
    let origin = api();
    let proxy = alone(&origin, &[]);
    for target in [
        "/accounts/7/payments?x=1",
        "/accounts/7/payments/",
        "/accounts/7//payments",
        "/accounts/7/payments;v=1",
        "/Accounts/7/PAYMENTS",
        "/accounts/%37/payments",
        "/accounts%2F7/payments",
        "/accounts/x/../7/payments",
        "/accounts\\7\\payments",
    ] {
        fill(std::slice::from_ref(&proxy));
        origin.answer(target.split('?').next().unwrap(), Answer::new(200, &[], ""));
        assert_eq!(write(&proxy, "POST", target).status, 200, "{target}");
        assert_purged(&proxy, target);
    }
}

#[test]
fn only_the_methods_of_the_route_purge() {
    let origin = api();
    let proxy = alone(&origin, &[]);
    fill(std::slice::from_ref(&proxy));
    origin.answer(WRITE, Answer::new(200, &[], ""));
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
        assert_eq!(proxy.connect().request(method, WRITE, &[]).status, 200, "{method}");
        assert_kept(&proxy, method);
    }
    assert_eq!(write(&proxy, "POST", WRITE).status, 200);
    assert_purged(&proxy, "POST");
}

/// A client without the right to write costs neither an entry nor a command to Redis.
#[test]
fn a_flood_of_refused_writes_purges_nothing() {
    let (origin, redis) = (api(), Redis::start());
    let [node]: [Proxy; 1] = nodes(&origin, &redis, &[]);
    fill(std::slice::from_ref(&node));
    origin.answer(WRITE, Answer::new(401, &[], ""));
    let mut client = node.connect();
    let scripts = || redis.calls("eval") + redis.calls("evalsha");
    let before = scripts();
    for _ in 0..1_000 {
        assert_eq!(client.request("POST", WRITE, &[("Content-Length", "0")]).status, 401);
    }
    assert_kept(&node, "flood");
    assert!(scripts() < before + 50, "only the node's own upkeep: {} {before}", scripts());
}

#[test]
fn a_purge_that_redis_refuses_holds_here_and_is_repeated() {
    let (origin, redis) = (api(), Redis::start());
    let nodes: [Proxy; 2] = nodes(&origin, &redis, &[("redis_timeout", "10s")]);
    origin.answer(WRITE, Answer::new(204, &[], ""));
    fill(&nodes);
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(write(&nodes[0], "POST", WRITE).status, 204);
    assert_purged(&nodes[0], "refused");
    assert!(nodes[0].metric("cachewarp_purges_pending") >= 1.0);
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    until("Redis to accept the purges", || nodes[0].metric("cachewarp_purges_pending") == 0.0);
    until("the other node to purge", || PURGED.iter().all(|target| !is_stored(&nodes[1], target)));
    assert_purged(&nodes[1], "repeated");
}

fn waits(node: &Proxy, outcome: &str) -> f64 {
    node.metric(&format!("cachewarp_write_wait_total{{outcome=\"{outcome}\"}}"))
}

/// Starts a process as a node, with these further flags.
fn process(origin: &Origin, redis: &Redis, further: &[&str]) -> Program {
    let own = [format!("--redis-url={}", redis.url()), format!("--origin-url={}", origin.url())];
    let fixed = ["--listen-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0"];
    let own = own.iter().map(String::as_str);
    let arguments: Vec<&str> = fixed.into_iter().chain(own).chain(further.iter().copied()).collect();
    Program::start(&Start { arguments: &arguments, ..Start::default() })
}

/// Two nodes, each a process, and clients that write and read on both.
struct Fleet {
    origin: Origin,
    programs: [Program; 2],
    _routes: NamedTempFile,
}

impl Fleet {
    fn start(redis: &Redis, redis_timeout: &str) -> Self {
        let (origin, file) = (Origin::start(), routes_file(WAIT));
        let routes = format!("--routes-file={}", file.path().display());
        let redis_timeout = format!("--redis-timeout={redis_timeout}");
        let flags = [routes.as_str(), "--worker-threads=2", "--on-write-rate=1000000", &redis_timeout];
        let programs = [process(&origin, redis, &flags), process(&origin, redis, &flags)];
        Self { origin, programs, _routes: file }
    }

    /// Begins this many tries of all clients together, and counts the writes.
    fn begin(&self, tries: usize, written: &Arc<AtomicUsize>) -> Vec<JoinHandle<WriteHistory>> {
        let nodes = self.programs.each_ref().map(Program::await_addr);
        write_history::begin(&self.origin, &nodes, tries, written)
    }
}

/// Returns the number of tries: `ON_WRITE_TRIES=100000` tries as often.
#[expect(clippy::disallowed_methods, reason = "the number of tries is no setting")]
fn tries(usual: usize) -> usize {
    std::env::var("ON_WRITE_TRIES").map_or(usual, |tries| tries.parse().unwrap())
}

#[test]
fn after_the_answer_to_a_waiting_write_no_node_serves_the_old_response() {
    let (redis, tries) = (Redis::start(), tries(3_000));
    let (mut confirmed, mut rounds) = (0, 0);
    // On a busy machine, many writes wait for 50 ms in vain, and prove nothing.
    while confirmed < tries / 10 {
        let fleet = Fleet::start(&redis, "1s");
        let all = together(fleet.begin(tries, &Arc::default()));
        assert_eq!(all.stale, 0, "{all:?}");
        assert!(all.hits > tries / 2, "{all:?}");
        (confirmed, rounds) = (confirmed + all.confirmed, rounds + 1);
        assert!(rounds < 20, "{confirmed} writes confirmed in {rounds} rounds");
    }
}

/// Ten nodes in one process: each write waits for all of them.
#[test]
fn after_the_answer_to_a_waiting_write_none_of_ten_nodes_serves_the_old_response() {
    let (origin, redis, tries) = (Origin::start(), Redis::start(), tries(240));
    let settings = [("redis_timeout", "5s"), ("on_write_rate", "1000000")];
    let nodes: [Proxy; 10] = waiting(&origin, &redis, &settings);
    let addrs = nodes.each_ref().map(Proxy::addr);
    let all = together(write_history::begin(&origin, &addrs, tries, &Arc::default()));
    assert_eq!(all.stale, 0, "{all:?}");
    assert!(all.confirmed > 0 && all.hits > tries, "{all:?}");
}

/// Reads of the origin show the state before the lag; the hold of a write is longer than the lag.
#[test]
fn no_node_stores_the_old_response_of_a_lagging_replica() {
    const LAG: Duration = Duration::from_millis(500);
    let (origin, redis) = (Origin::start(), Redis::start());
    let members = ", wait = true, hold = \"1500ms\"";
    let nodes: [Proxy; 2] = nodes_with(members, &origin, &redis, &[("redis_timeout", "5s")]);
    let addrs = nodes.each_ref().map(Proxy::addr);
    let clients: Vec<_> = (0..4)
        .map(|account| {
            write_history::count_writes(&origin, account, LAG);
            thread::spawn(move || write_history::write_and_await_hits(&addrs, account, 3))
        })
        .collect();
    let all = together(clients);
    assert_eq!(all.stale, 0, "{all:?}");
    assert_eq!((all.confirmed + all.unconfirmed, all.hits), (12, 48), "{all:?}");
    assert!(all.confirmed > 0, "{all:?}");
}

/// A write whose purge no Redis took says so. Every other one holds.
#[test]
fn confirmed_writes_hold_while_redis_stalls_and_restarts() {
    let (mut redis, tries) = (Redis::start(), tries(2_000));
    let fleet = Fleet::start(&redis, "100ms");
    let written = Arc::new(AtomicUsize::new(0));
    let clients = fleet.begin(tries, &written);
    let is_over = || clients.iter().all(JoinHandle::is_finished);
    let more = |count: usize| {
        let begun = written.load(Ordering::SeqCst);
        until("further writes", || is_over() || written.load(Ordering::SeqCst) >= begun + count);
    };
    let mut disturbances = 0;
    while !is_over() {
        more(64);
        if disturbances % 2 == 0 {
            redis.stall();
            more(16);
            redis.resume();
        } else {
            redis.kill();
            more(16);
            redis.restart();
        }
        disturbances += 1;
    }
    let all = together(clients);
    assert_eq!(all.stale, 0, "{all:?} with {disturbances} disturbances");
    assert!(all.confirmed > 0 && all.unconfirmed > 0 && disturbances > 2, "{all:?} {disturbances}");
}

#[test]
fn a_write_waits_for_a_stopped_node_and_says_that_it_is_unconfirmed() {
    let (origin, redis) = (api(), Redis::start());
    let [node]: [Proxy; 1] = waiting(&origin, &redis, &[("redis_timeout", "10s")]);
    origin.answer(WRITE, Answer::new(204, &[], ""));
    let file = routes_file(WAIT);
    let routes = format!("--routes-file={}", file.path().display());
    let other = process(&origin, &redis, &[&routes, "--worker-threads=1"]);
    other.await_addr();
    until("both nodes to confirm", || {
        write(&node, "POST", WRITE);
        waits(&node, "confirmed") > 0.0
    });
    fill(std::slice::from_ref(&node));
    other.signal("STOP");
    let begun = instant();
    let written = write(&node, "POST", WRITE);
    assert_eq!((written.status, written.cache_status()), (204, UNCONFIRMED));
    // Without the limit the write would wait for 10 s.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_purged(&node, "unconfirmed");
    assert!(waits(&node, "unconfirmed") >= 1.0);
    other.signal("CONT");
    until("the node to confirm again", || write(&node, "POST", WRITE).field("cache-status").is_none());
}

#[test]
fn a_write_without_redis_is_unconfirmed_and_holds_on_this_node() {
    let (origin, redis) = (api(), Redis::start());
    let [node]: [Proxy; 1] = waiting(&origin, &redis, &[("redis_timeout", "300ms")]);
    for (status, answer) in [(204, Answer::new(204, &[], "")), (502, Answer::silent().close())] {
        origin.answer(WRITE, answer);
        fill(std::slice::from_ref(&node));
        redis.stall();
        let written = write(&node, "POST", WRITE);
        redis.resume();
        assert_eq!((written.status, written.cache_status()), (status, UNCONFIRMED));
        until("Redis to accept the purge", || node.metric("cachewarp_purges_pending") == 0.0);
        assert_purged(&node, "stalled");
    }
    assert_eq!(waits(&node, "unconfirmed"), 2.0);
}

#[test]
fn a_node_alone_confirms_at_once() {
    let origin = api();
    let file = routes_file(", wait = true");
    let settings = [("routes_file", file.path().to_str().unwrap())];
    let proxy = Proxy::start(&origin.url(), &settings);
    origin.answer(WRITE, Answer::new(204, &[], ""));
    fill(std::slice::from_ref(&proxy));
    assert_eq!(write(&proxy, "POST", WRITE).field("cache-status"), None);
    assert_purged(&proxy, "alone");
    assert_eq!(waits(&proxy, "confirmed"), 1.0);
    // The default hold.
    proxy.get("/accounts/7");
    assert!(!is_stored(&proxy, "/accounts/7"));
    proxy.await_metric(r#"cachewarp_not_stored_total{reason="held"}"#, 1.0);
    until("the end of the hold", || is_hit(&proxy.get("/accounts/7")));
}

#[test]
fn writes_beyond_the_rate_purge_without_waiting() {
    let (origin, redis) = (api(), Redis::start());
    origin.answer(WRITE, Answer::new(204, &[], ""));
    let [none]: [Proxy; 1] = waiting(&origin, &redis, &[("on_write_rate", "0")]);
    fill(std::slice::from_ref(&none));
    assert_eq!(write(&none, "POST", WRITE).cache_status(), UNCONFIRMED);
    assert_purged(&none, "no rate");
    let [node]: [Proxy; 1] = waiting(&origin, &redis, &[("on_write_rate", "5")]);
    let mut client = node.connect();
    for _ in 0..1_000 {
        client.request("POST", WRITE, &[("Content-Length", "0")]);
    }
    let (limited, others) =
        (waits(&node, "rate-limited"), waits(&node, "confirmed") + waits(&node, "unconfirmed"));
    assert_eq!(limited + others, 1_000.0);
    assert!(others >= 5.0 && limited >= 500.0, "{others} waited, {limited} did not");
}

#[test]
fn concurrent_writes_share_their_syncs() {
    const WRITES: usize = 64;
    let (origin, redis, gate) = (api(), Redis::start(), Gate::new());
    let nodes: [Proxy; 2] = waiting(&origin, &redis, &[("redis_timeout", "10s")]);
    let answer = "HTTP/1.1 204 No Content\r\n\r\n";
    origin.answer(WRITE, Answer::silent().pass(&gate).send(answer));
    let before = redis.calls("publish");
    let mut clients: Vec<_> = (0..WRITES).map(|_| nodes[0].connect()).collect();
    clients.iter_mut().for_each(|client| client.send_head("POST", WRITE, &[("Content-Length", "0")]));
    gate.await_arrivals(WRITES);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().status, 204);
    }
    // One publication of each sync, and one acknowledgement of each worker.
    let published = redis.calls("publish") - before;
    assert!(published < 3 * WRITES as u64 / 2, "{published} messages");
}

/// A replica of the origin's database lags: reads show the old state for a time after a write.
#[test]
fn nothing_is_stored_while_a_write_holds_its_routes() {
    let (origin, redis) = (api(), Redis::start());
    let members = ", wait = true, hold = \"60s\"";
    let nodes: [Proxy; 2] = nodes_with(members, &origin, &redis, &[("redis_timeout", "10s")]);
    origin.answer(WRITE, Answer::new(204, &[], ""));
    fill(&nodes);
    write(&nodes[0], "POST", WRITE);
    for node in &nodes {
        let mut fetches = 0.0;
        for target in ["/accounts/7", "/accounts/7?page=2", "/accounts/7/items"] {
            for _ in 0..3 {
                assert!(!is_hit(&node.get(target)), "{target}");
                fetches += 1.0;
                // A request that came before this would share the fetch.
                node.await_metric(r#"cachewarp_not_stored_total{reason="held"}"#, fetches);
            }
        }
        // Only the routes that the write names are held, and only for its captures.
        for target in ["/ledgers/7", "/totals", "/accounts/8"] {
            until("the response to be stored", || is_hit(&node.get(target)));
        }
    }
    // Redis ends a hold for every node that does not hold by itself.
    let held = redis.keys().into_iter().filter(|name| name.contains(":hold:"));
    for name in held {
        redis.command(&["DEL", &name]);
    }
    until("the response to be stored", || is_hit(&nodes[1].get("/accounts/7")));
}

#[test]
fn a_hold_ends() {
    let (origin, redis) = (api(), Redis::start());
    let members = ", wait = true, hold = \"100ms\"";
    let nodes: [Proxy; 2] = nodes_with(members, &origin, &redis, &[]);
    origin.answer(WRITE, Answer::new(204, &[], ""));
    write(&nodes[0], "POST", WRITE);
    for node in &nodes {
        until("the response to be stored", || is_hit(&node.get("/accounts/7")));
    }
}

/// Without Redis a node does not learn of writes, so it serves no entry of a route that they name.
#[test]
fn memory_serves_such_routes_only_while_redis_tracks() {
    let (origin, mut redis) = (api(), Redis::start());
    let [node]: [Proxy; 1] = waiting(&origin, &redis, &[("redis_timeout", "100ms")]);
    fill(std::slice::from_ref(&node));
    let from_memory = |target: &str| node.get(target).cache_status().ends_with("detail=memory");
    until("the responses to be in memory", || from_memory("/accounts/7") && from_memory("/ledgers/7"));
    redis.kill();
    until("memory to serve alone", || from_memory("/ledgers/7"));
    let before = origin.count("/accounts/7");
    for _ in 0..3 {
        assert!(!is_hit(&node.get("/accounts/7")));
    }
    assert_eq!(origin.count("/accounts/7"), before + 3);
    assert!(from_memory("/ledgers/7"));
}

/// A node with other routes may store responses without the tags of this one's routes.
#[test]
fn a_node_with_other_routes_confirms_nothing() {
    let (origin, redis) = (api(), Redis::start());
    let patient = ("redis_timeout", "10s");
    let [node]: [Proxy; 1] = waiting(&origin, &redis, &[patient]);
    origin.answer(WRITE, Answer::new(204, &[], ""));
    until("the node to confirm", || write(&node, "POST", WRITE).field("cache-status").is_none());
    assert_eq!(purge(&node, r#"{"all":true}"#).status, 200);
    let [_twin]: [Proxy; 1] = waiting(&origin, &redis, &[patient]);
    assert_eq!(purge(&node, r#"{"all":true}"#).status, 200, "both have the same routes");
    let other = Proxy::start_with_redis(&origin.url(), &redis.url(), &[patient, ("node_name", "other")]);
    until("the node to be named", || {
        let purged = purge(&node, r#"{"all":true}"#);
        purged.status == 202 && purged.text().contains(r#","nodes_with_other_rules":["other"],"#)
    });
    assert_eq!(write(&node, "POST", WRITE).cache_status(), UNCONFIRMED);
    let stats = || admin_request(node.admin_addr(), "GET", "/stats", &[], "").text().to_owned();
    assert!(stats().contains(r#""nodes_with_other_rules":["other"]"#), "{}", stats());
    drop(other);
    // A node that ignores client certificates uses no entry of this one.
    let ignoring = [patient, ("node_name", "ignoring"), ("tls_client_credential", "false")];
    let [ignoring]: [Proxy; 1] = waiting(&origin, &redis, &ignoring);
    until("the node to be named", || {
        let purged = purge(&node, r#"{"all":true}"#);
        purged.status == 202 && purged.text().contains(r#","nodes_with_other_rules":["ignoring"],"#)
    });
    drop(ignoring);
    until("the other node to leave", || purge(&node, r#"{"all":true}"#).status == 200);
    assert!(stats().contains(r#""nodes_with_other_rules":[]"#), "{}", stats());
}
