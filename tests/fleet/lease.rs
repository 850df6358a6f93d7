//! One fetch for the whole fleet: real processes, a real Redis, and an origin that counts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::{Answer, Client, Gate, Origin, Redis, Response, Then, Value, until};
use crate::process::Process;

/// A lease for every fetch, with a timeout that suits a busy machine.
const ALWAYS: [&str; 2] = ["--fetch-lease=on", "--collapse-timeout=2m"];

/// A long lifetime.
const FRESH: (&str, &str) = ("Cache-Control", "max-age=600");

/// Sends `count` requests to each node, and waits until every node has tried to take the lease. The
/// requests wait.
fn askers(nodes: &[Process], redis: &Redis, target: &str, count: usize) -> Vec<Client> {
    let before = redis.calls("set");
    let clients = nodes.iter().flat_map(|node| (0..count).map(|_| node.ask(target, &[]))).collect();
    until("all nodes to try to take the lease", || redis.calls("set") - before >= nodes.len() as u64);
    clients
}

fn responses(clients: &mut [Client]) -> Vec<Response> {
    clients.iter_mut().map(Client::response).collect()
}

fn sum(nodes: &[Process], series: &str) -> f64 {
    nodes.iter().map(|node| node.metric(series)).sum()
}

#[test]
fn a_cold_key_is_fetched_once_for_all_nodes() {
    let (origin, redis, gate) = (Origin::start(), Redis::start(), Gate::new());
    origin.answer("/a", Answer::silent().pass(&gate).send(one_fetch()));
    let nodes = Process::fleet(5, &origin, &redis, &ALWAYS);
    let mut clients = askers(&nodes, &redis, "/a", 20);
    gate.open();
    for response in responses(&mut clients) {
        assert_eq!((response.status, response.text()), (200, "{}"));
    }
    let results = ["awaited", "timed-out", "unavailable", "lost"]
        .map(|result| sum(&nodes, &format!("cachewarp_fetch_leases_total{{result=\"{result}\"}}")));
    // If a busy machine suspends a node for a second and a half, its lease expires.
    if results != [4.0, 0.0, 0.0, 1.0] {
        assert_eq!((origin.count("/a"), results), (1, [4.0, 0.0, 0.0, 0.0]));
    }
    until("the lease to be released", || redis.command(&["KEYS", "*lease:*"]) == Value::Array(Vec::new()));
    // From here on memory has the response, so a hit sends no command.
    for node in &nodes {
        until("a hit in memory to send no command", || {
            let calls = (redis.calls("get"), redis.calls("set"));
            assert_eq!(node.connect().get("/a").text(), "{}");
            (redis.calls("get"), redis.calls("set")) == calls
        });
    }
}

fn one_fetch() -> &'static str {
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=600\r\nContent-Length: 2\r\n\r\n{}"
}

#[test]
fn a_dead_node_delays_the_others_only_for_its_lease() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let asked = AtomicUsize::new(0);
    origin.script("/a", move |exchange| {
        if asked.fetch_add(1, Ordering::SeqCst) == 0 {
            exchange.await_close()?;
            return Ok(Then::Close);
        }
        Answer::json_with(&[FRESH], "{}").give(exchange)
    });
    let mut nodes = Process::fleet(3, &origin, &redis, &ALWAYS);
    let holder = nodes.remove(0);
    let _its_client = holder.ask("/a", &[]);
    origin.await_count("/a", 1);
    let mut clients = askers(&nodes, &redis, "/a", 3);
    assert_eq!(origin.count("/a"), 1);
    holder.program.signal("KILL");
    for response in responses(&mut clients) {
        assert_eq!((response.status, response.text()), (200, "{}"));
    }
    // Each waiting node has fetched at most once.
    assert!((2..=3).contains(&origin.count("/a")), "{}", origin.count("/a"));
}

#[test]
fn an_uncacheable_response_releases_all_waiting_nodes_at_once() {
    for forbidden in ["no-store", "private"] {
        let (origin, redis, gate) = (Origin::start(), Redis::start(), Gate::new());
        let answer = Answer::json_with(&[("Cache-Control", forbidden)], "{}");
        origin.script("/a", {
            let gate = gate.clone();
            move |exchange| {
                gate.pass();
                answer.give(exchange)
            }
        });
        let nodes = Process::fleet(4, &origin, &redis, &ALWAYS);
        let mut clients = askers(&nodes, &redis, "/a", 1);
        gate.await_arrivals(1);
        assert_eq!(origin.count("/a"), 1);
        gate.release_one();
        // All other nodes fetch at once, and not one after the other.
        gate.await_arrivals(4);
        gate.open();
        assert!(responses(&mut clients).iter().all(|response| response.status == 200));
        assert_eq!(origin.count("/a"), 4, "{forbidden}");
    }
}

#[test]
fn an_origin_error_releases_all_waiting_nodes() {
    let (origin, redis, gate) = (Origin::start(), Redis::start(), Gate::new());
    origin.answer("/a", Answer::silent().pass(&gate).close());
    let nodes = Process::fleet(2, &origin, &redis, &ALWAYS);
    let mut clients = askers(&nodes, &redis, "/a", 1);
    gate.open();
    assert!(responses(&mut clients).iter().all(|response| response.status == 502));
}

#[test]
fn a_response_to_a_credential_goes_to_its_client_only() {
    let (origin, redis, gate) = (Origin::start(), Redis::start(), Gate::new());
    origin.script("/a", {
        let gate = gate.clone();
        move |exchange| {
            let user = exchange.request.field("authorization").unwrap_or("anonymous").to_owned();
            gate.pass();
            Answer::json_with(&[FRESH], &format!("\"{user}\"")).give(exchange)
        }
    });
    let nodes = Process::fleet(4, &origin, &redis, &ALWAYS);
    let mut clients: Vec<_> = nodes
        .iter()
        .zip(["ann", "bob", "cid", "dan"])
        .map(|(node, user)| (user, node.ask("/a", &[("Authorization", user)])))
        .collect();
    gate.await_arrivals(1);
    // A request without a credential does not wait for one with a credential.
    let mut anonymous = nodes[3].ask("/a", &[]);
    gate.await_arrivals(2);
    gate.open();
    for (user, client) in &mut clients {
        assert_eq!(client.response().text(), format!("\"{user}\""));
    }
    assert_eq!(anonymous.response().text(), "\"anonymous\"");
}

/// Answers `/a` with a variant for each language, behind the gate.
fn answer_in_languages(origin: &Origin, gate: &Gate) {
    let gate = gate.clone();
    origin.script("/a", move |exchange| {
        let language = exchange.request.field("accept-language").unwrap_or_default().to_owned();
        gate.pass();
        Answer::json_with(&[FRESH, ("Vary", "Accept-Language")], &format!("\"{language}\"")).give(exchange)
    });
}

#[test]
fn each_client_gets_its_variant() {
    let (origin, redis, gate) = (Origin::start(), Redis::start(), Gate::new());
    answer_in_languages(&origin, &gate);
    let nodes = Process::fleet(3, &origin, &redis, &ALWAYS);
    let before = redis.calls("set");
    let mut clients: Vec<_> = nodes
        .iter()
        .zip(["de", "en", "de"])
        .map(|(node, language)| (language, node.ask("/a", &[("Accept-Language", language)])))
        .collect();
    until("all nodes to try to take the lease", || redis.calls("set") - before >= 3);
    gate.open();
    for (language, client) in &mut clients {
        assert_eq!(client.response().text(), format!("\"{language}\""));
    }
    assert!((2..=3).contains(&origin.count("/a")), "{}", origin.count("/a"));
}

/// A response of a node that was first helps the readers of nodes that no longer wait for it.
#[test]
fn a_fetch_longer_than_the_wait_for_a_lease_costs_no_more_than_without_one() {
    let (origin, redis, first, others) = (Origin::start(), Redis::start(), Gate::new(), Gate::new());
    let asked = AtomicUsize::new(0);
    origin.script("/a", {
        let (first, others) = (first.clone(), others.clone());
        move |exchange| {
            let gate = if asked.fetch_add(1, Ordering::SeqCst) == 0 { &first } else { &others };
            gate.pass();
            Answer::json_with(&[FRESH], "{}").give(exchange)
        }
    });
    let nodes = Process::fleet(3, &origin, &redis, &["--fetch-lease=on", "--collapse-timeout=5s"]);
    let mut clients = askers(&nodes, &redis, "/a", 8);
    // The other two nodes wait for half of the timeout, and then fetch.
    others.await_arrivals(2);
    first.open();
    for response in responses(&mut clients) {
        assert_eq!((response.status, response.text()), (200, "{}"));
    }
    others.open();
    assert_eq!(origin.count("/a"), 3);
}

#[test]
fn two_variants_of_a_cold_key_cost_no_more_than_without_leases() {
    let (origin, redis, gate) = (Origin::start(), Redis::start(), Gate::new());
    answer_in_languages(&origin, &gate);
    let nodes = Process::fleet(3, &origin, &redis, &ALWAYS);
    let before = redis.calls("set");
    let mut clients: Vec<_> = nodes
        .iter()
        .flat_map(|node| ["de", "en"].repeat(4).into_iter().map(move |language| (language, node)))
        .map(|(language, node)| (language, node.ask("/a", &[("Accept-Language", language)])))
        .collect();
    until("all nodes to try to take the lease", || redis.calls("set") - before >= 3);
    gate.open();
    for (language, client) in &mut clients {
        assert_eq!(client.response().text(), format!("\"{language}\""));
    }
    // Without leases, each node fetches each variant once.
    assert!((2..=6).contains(&origin.count("/a")), "{}", origin.count("/a"));
}

#[test]
fn a_silent_redis_ends_the_wait_for_a_lease() {
    let (origin, redis, gate) = (Origin::start(), Redis::start(), Gate::new());
    origin.answer("/a", Answer::silent().pass(&gate).send(one_fetch()));
    let flags = [&ALWAYS[..], &["--redis-timeout=300ms"]].concat();
    let nodes = Process::fleet(2, &origin, &redis, &flags);
    let mut clients = askers(&nodes, &redis, "/a", 1);
    gate.await_arrivals(1);
    redis.stall();
    // The other node fetches, before the lease could have expired.
    gate.await_arrivals(2);
    assert_eq!(sum(&nodes, r#"cachewarp_fetch_leases_total{result="unavailable"}"#), 1.0);
    gate.open();
    assert!(responses(&mut clients).iter().all(|response| response.text() == "{}"));
    redis.resume();
}

#[test]
fn without_redis_every_node_fetches() {
    let (origin, mut redis) = (Origin::start(), Redis::start());
    origin.answer("/a", Answer::json_with(&[FRESH], "{}"));
    let nodes = Process::fleet(2, &origin, &redis, &ALWAYS);
    redis.kill();
    for node in &nodes {
        assert_eq!(node.connect().get("/a").text(), "{}");
    }
    assert_eq!(origin.count("/a"), 2);
}

#[test]
fn no_node_takes_a_lease_when_leases_are_off() {
    let (origin, redis, gate) = (Origin::start(), Redis::start(), Gate::new());
    origin.answer("/a", Answer::silent().pass(&gate).send(one_fetch()));
    let nodes = Process::fleet(2, &origin, &redis, &["--fetch-lease=off"]);
    let mut clients: Vec<_> = nodes.iter().map(|node| node.ask("/a", &[])).collect();
    gate.await_arrivals(2);
    gate.open();
    assert!(responses(&mut clients).iter().all(|response| response.text() == "{}"));
    assert_eq!(sum(&nodes, r#"cachewarp_fetch_leases_total{result="taken"}"#), 0.0);
}

#[test]
fn only_a_slow_resource_takes_a_lease() {
    let (origin, redis) = (Origin::start(), Redis::start());
    origin.script("/slow", |exchange| {
        // Just slow enough for a lease.
        thread::sleep(Duration::from_millis(200));
        Answer::json_with(&[FRESH], "{}").give(exchange)
    });
    let nodes = Process::fleet(1, &origin, &redis, &[]);
    let taken = || nodes[0].metric(r#"cachewarp_fetch_leases_total{result="taken"}"#);
    // Each worker must first measure the origin, and the kernel chooses the worker.
    let mut asked = 0;
    until("a slow fetch to be leased", || {
        asked += 1;
        assert_eq!(nodes[0].connect().get(&format!("/slow?{asked}")).status, 200);
        taken() > 0.0
    });
    assert!(asked > 1, "the first fetch took no lease");
}
