//! The member `on_write`: a write purges the responses of the routes and tags that its route names.

use std::io::Write;

use tempfile::NamedTempFile;

use crate::harness::{Answer, Gate, Origin, Proxy, Redis, Response, until};

const FRESH: (&str, &str) = ("Cache-Control", "max-age=600");
const ROUTES: &str = r#"
[[route]]
name = "account"
path = "/accounts/{id}"

[[route]]
name = "items"
path = "/accounts/{id}/items"

[[route]]
name = "payments"
path = "/accounts/{id}/payments"
methods = ["POST"]
on_write = { purge = ["account", "items"], purge_tags = ["ledger:{id}", "totals"] }
"#;
const WRITE: &str = "/accounts/7/payments";
/// Responses that a write of account 7 purges: by a route, whatever the query, and by a tag.
const PURGED: [&str; 5] = ["/accounts/7", "/accounts/7?page=2", "/accounts/7/items", "/ledgers/7", "/totals"];
/// Responses that it leaves.
const KEPT: [&str; 4] = ["/accounts/8", "/accounts/8/items", "/ledgers/8", "/accounts"];

fn is_hit(response: &Response) -> bool {
    response.cache_status().starts_with("CacheWarp; hit")
}

/// Returns whether the response is stored, without changing the store.
fn is_stored(node: &Proxy, target: &str) -> bool {
    node.get_with(target, &[("Cache-Control", "only-if-cached")]).status == 200
}

fn routes_file() -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(ROUTES.as_bytes()).unwrap();
    file
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
    let file = routes_file();
    let own = [("routes_file", file.path().to_str().unwrap())];
    std::array::from_fn(|_| {
        Proxy::start_with_redis(&origin.url(), &redis.url(), &[&own[..], settings].concat())
    })
}

/// Starts a node without Redis.
fn alone(origin: &Origin, settings: &[(&str, &str)]) -> Proxy {
    let file = routes_file();
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
