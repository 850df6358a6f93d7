//! The nodes that a purge waits for: those that are cut off, killed, gone, or connecting again.

use std::time::Duration;

use cachewarp::time::instant;

use crate::harness::{Answer, Origin, Redis, Response, until};
use crate::process::Process;
use crate::relay::Relay;

const OLD: &str = r#"{"state":"old"}"#;
const NEW: &str = r#"{"state":"new"}"#;
const ORDERS: [&str; 4] =
    [r#"{"url":"http://test/a"}"#, r#"{"tag":"t"}"#, r#"{"prefix":"http://test/a"}"#, r#"{"all":true}"#];
/// The settings of all nodes: a short time alone, and quick detection of a silent Redis.
const FLAGS: [&str; 2] = ["--redis-timeout=50ms", "--memory-alone-max=6s"];

fn origin(body: &str) -> Origin {
    let origin = Origin::start();
    answer(&origin, body);
    origin
}

fn answer(origin: &Origin, body: &str) {
    let fields = [("Cache-Control", "max-age=600"), ("Cache-Tag", "t")];
    origin.answer("/a", Answer::json_with(&fields, body));
}

fn get(node: &Process) -> Response {
    node.connect().get("/a")
}

/// Returns the answers of several connections, so that each worker gives one.
fn texts(node: &Process) -> Vec<String> {
    (0..8).map(|_| get(node).text().to_owned()).collect()
}

fn warm(nodes: &[&Process]) {
    for node in nodes {
        until("the response to be in memory", || get(node).cache_status().ends_with("detail=memory"));
    }
}

/// Starts a node with a name.
fn start(origin: &Origin, redis_url: &str, name: &str, flags: &[&str]) -> Process {
    let name = format!("--node-name={name}");
    Process::start_at(origin, redis_url, &[&[name.as_str()], flags].concat())
}

/// Waits until a purge at this node has been confirmed by this number of nodes.
fn await_fleet(node: &Process, nodes: u32) {
    let whole = format!(r#""nodes":{nodes},"confirmed":{nodes},"found""#);
    until("all nodes to confirm", || node.purge(r#"{"tag":"nothing"}"#).text().contains(&whole));
}

/// Purges; returns the status, the answer, and the time that it took.
fn purge(node: &Process, order: &str) -> (u16, String, Duration) {
    let begun = instant();
    let answer = node.purge(order);
    (answer.status, answer.text().to_owned(), begun.elapsed())
}

/// A node is cut off in silence: purges name it, drop it, and are confirmed once its memory serves
/// nothing any more.
#[test]
fn a_purge_names_a_node_that_is_cut_off_until_its_memory_is_over() {
    for redis_closes in [false, true] {
        let (origin, redis) = (origin(OLD), Redis::start());
        let relay = Relay::before(redis.addr());
        let near = start(&origin, &redis.url(), "near", &FLAGS);
        let far = start(&origin, &relay.url(), "far", &FLAGS);
        await_fleet(&near, 2);
        warm(&[&near, &far]);
        relay.cut();
        if redis_closes {
            relay.hang_up();
        }
        let cut = instant();
        answer(&origin, NEW);
        for (attempt, order) in ORDERS.into_iter().enumerate() {
            let (status, text, took) = purge(&near, order);
            assert_eq!(status, 202, "{text}");
            assert!(text.contains(r#""nodes":2,"confirmed":1,"unconfirmed":["far"],"#), "{text}");
            assert_eq!(text.contains(r#""dropped":["far"]"#), attempt == 3, "{text}");
            assert!(attempt < 3 || took < Duration::from_secs(1), "a dropped node is not waited for");
            assert_eq!(get(&near).text(), NEW);
        }
        until("the memory of the node to be over", || get(&far).text() == NEW);
        if redis_closes {
            until("the registration to expire", || purge(&near, ORDERS[0]).0 == 200);
            assert!(cut.elapsed() >= Duration::from_secs(6), "the node may still serve its memory");
            assert!(texts(&far).iter().all(|text| text == NEW));
        }
        relay.mend();
        await_fleet(&near, 2);
    }
}

/// A node whose process is killed delays three purges.
#[test]
fn a_killed_node_delays_few_purges_and_one_that_leaves_none() {
    let (origin, redis) = (origin(OLD), Redis::start());
    let [one, two, three] = ["one", "two", "three"].map(|name| start(&origin, &redis.url(), name, &FLAGS));
    await_fleet(&one, 3);
    three.program.signal("TERM");
    three.program.end();
    let (status, text, _) = purge(&one, ORDERS[0]);
    assert_eq!(status, 200, "{text}");
    assert!(text.contains(r#""nodes":2,"confirmed":2"#), "{text}");
    two.program.signal("KILL");
    two.program.end();
    let answers: Vec<_> = ORDERS.iter().map(|order| purge(&one, order)).collect();
    for (status, text, _) in &answers[..3] {
        assert_eq!(*status, 202, "{text}");
        assert!(text.contains(r#""unconfirmed":["two"]"#), "{text}");
    }
    assert!(answers[3].2 < Duration::from_secs(1), "{answers:?}");
    until("the registration to expire", || purge(&one, ORDERS[0]).0 == 200);
}

/// Redis restarts empty, and a purge comes as soon as it answers.
#[test]
fn a_purge_after_a_restart_waits_for_the_nodes_that_connect_again() {
    let (origin, mut redis) = (origin(OLD), Redis::start());
    let nodes = ["one", "two"].map(|name| start(&origin, &redis.url(), name, &["--redis-timeout=1s"]));
    await_fleet(&nodes[0], 2);
    for order in ORDERS {
        answer(&origin, OLD);
        purge(&nodes[0], r#"{"all":true}"#);
        warm(&[&nodes[0], &nodes[1]]);
        redis.restart();
        answer(&origin, NEW);
        until("the purge to be confirmed", || purge(&nodes[0], order).0 == 200);
        for node in &nodes {
            assert!(texts(node).iter().all(|text| text == NEW), "{order}");
        }
    }
}

/// Without Redis, a node with `memory_alone_max=0` serves nothing from memory: a write at another
/// node, which cannot reach it, holds there as well.
#[test]
fn memory_serves_nothing_alone_if_it_must_not() {
    let (origin, mut redis) = (origin(OLD), Redis::start());
    let flags = ["--redis-timeout=50ms", "--memory-alone-max=0", "--cache-memory-ttl=0"];
    let [one, two] = ["one", "two"].map(|name| start(&origin, &redis.url(), name, &flags));
    await_fleet(&one, 2);
    warm(&[&one, &two]);
    redis.kill();
    answer(&origin, NEW);
    assert_eq!(one.connect().request("POST", "/a", &[("Content-Length", "0")]).status, 200);
    let begun = instant();
    while begun.elapsed() < Duration::from_millis(1_500) {
        assert_eq!([get(&one).text(), get(&two).text()], [NEW; 2]);
    }
}
