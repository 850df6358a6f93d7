//! Purges by messages of a Redis Stream.

use cachewarp::limits::{PURGE_STREAM_LOGGED_MAX, PURGE_STREAM_UPKEEP};
use cachewarp::time::instant;

use crate::harness::{Answer, Origin, Program, Proxy, Redis, Start, Value, client, until};
use crate::namespace::Monitor;
use crate::redis_rights::redis_with;

const OLD: &str = r#"{"state":"old"}"#;
const NEW: &str = r#"{"state":"new"}"#;
const STREAM: &str = "cachewarp:purges";
/// The consumer group of the nodes: their namespace.
const GROUP: &str = "cachewarp:api";
const SETTINGS: [(&str, &str); 3] =
    [("purge_stream", STREAM), ("redis_timeout", "10s"), ("cache_namespace", "api")];
const FIELDS: [(&str, &str); 3] =
    [("Cache-Control", "max-age=600"), ("Cache-Tag", "t"), ("Cache-Groups", "\"g\"")];

fn start(origin: &Origin, redis: &Redis) -> Proxy {
    Proxy::start_with_redis(&origin.url(), &redis.url(), &SETTINGS)
}

/// Waits until the memory of each node has the response, and lets the origin answer anew.
fn warm(origin: &Origin, nodes: &[Proxy]) {
    origin.answer("/a", Answer::json_with(&FIELDS, OLD));
    for node in nodes {
        until("the response to be in memory", || node.get("/a").cache_status().ends_with("detail=memory"));
    }
    origin.answer("/a", Answer::json_with(&FIELDS, NEW));
}

/// Writes a message, and returns its identifier.
fn add(redis: &Redis, fields: &[&str]) -> String {
    redis.command(&[&["XADD", STREAM, "*"], fields].concat()).text()
}

/// Returns the number of messages that nodes have read and not acknowledged.
fn pending(redis: &Redis) -> i64 {
    let Value::Array(summary) = redis.command(&["XPENDING", STREAM, GROUP]) else { return 0 };
    summary[0].number()
}

fn sum(nodes: &[Proxy], series: &str) -> f64 {
    nodes.iter().map(|node| node.metric(series)).sum()
}

fn messages(nodes: &[Proxy], result: &str) -> f64 {
    sum(nodes, &format!("cachewarp_purge_stream_messages_total{{result=\"{result}\"}}"))
}

fn await_readers(redis: &Redis, count: usize) {
    until("the nodes to wait for messages", || blocked(redis) == count);
}

/// Returns the number of clients that wait for a message.
fn blocked(redis: &Redis) -> usize {
    let text = redis.command(&["INFO", "clients"]).text();
    let line = text.lines().find_map(|line| line.strip_prefix("blocked_clients:"));
    line.and_then(|count| count.parse().ok()).unwrap_or_default()
}

/// Returns the number of nodes in the group.
fn consumers(redis: &Redis) -> usize {
    let consumers = redis.command(&["XINFO", "CONSUMERS", STREAM, GROUP]);
    if let Value::Array(consumers) = consumers { consumers.len() } else { 0 }
}

#[test]
fn a_message_of_each_kind_purges_on_every_node() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let nodes = [start(&origin, &redis), start(&origin, &redis)];
    let url = "http://test/a";
    let group = r#"{"authority":"test","name":"g"}"#;
    let orders: [&[&str]; 6] = [
        &["url", url],
        &["tag", "t"],
        &["group", group],
        &["prefix", "http://test/"],
        &["all", "true"],
        &["tag", "t", "soft", "true"],
    ];
    for (number, order) in (1_u32..).zip(orders) {
        warm(&origin, &nodes);
        await_readers(&redis, 2);
        add(&redis, order);
        until("the purge to be confirmed", || messages(&nodes, "confirmed") == f64::from(number));
        for node in &nodes {
            until("the response to be new", || node.get("/a").text() == NEW);
        }
        assert_eq!(pending(&redis), 0);
    }
    assert_eq!(sum(&nodes, "cachewarp_purge_stream_interruptions_total"), 0.0);
}

/// A message costs one read and one acknowledgement beyond the commands of its purge.
#[test]
fn a_message_costs_two_commands_beyond_its_purge() {
    const COMMANDS: [&str; 5] = ["xack", "xgroup|create", "xclaim", "publish", "xreadgroup"];
    let (origin, redis) = (Origin::start(), Redis::start());
    let nodes = [start(&origin, &redis), start(&origin, &redis)];
    warm(&origin, &nodes);
    await_readers(&redis, 2);
    let count = || COMMANDS.map(|command| redis.calls(command));
    let purge = || crate::admin::purge(&nodes[0], r#"{"tag":"t"}"#);
    until("every node to confirm", || purge().status == 200);
    let begin = count();
    assert_eq!(purge().status, 200);
    let by_operator = count();
    let begun = instant();
    add(&redis, &["tag", "t"]);
    until("the purge to be confirmed", || messages(&nodes, "confirmed") == 1.0);
    let took = begun.elapsed();
    println!("from XADD to the acknowledgement of a confirmed purge: {took:?}");
    let by_message = count();
    let usual: [u64; 5] = std::array::from_fn(|at| by_operator[at] - begin[at]);
    let further: [u64; 5] = std::array::from_fn(|at| by_message[at] - by_operator[at]);
    assert_eq!(further[..3], [1, 0, 0], "{COMMANDS:?}");
    assert_eq!(further[3], usual[3], "the purge itself sends as much as an operator's");
    // The message ends one wait. Each node's wait also ends by itself, after half of its interval
    // or later.
    let waits = 2 * (1 + took.as_secs() / (PURGE_STREAM_UPKEEP.as_secs() / 2));
    assert!((1..=2 + waits).contains(&further[4]), "{} reads in {took:?}", further[4]);
}

/// Returns the steps of one purge by a message, from the lines of `MONITOR`: the command that Redis
/// received from a node, and the end of its key or channel.
fn steps(lines: &[String]) -> Vec<&'static str> {
    const STEPS: [(&str, &str, &str); 5] = [
        ("\"EVALSHA\"", ":clock\"", "count"),
        ("\"EVALSHA\"", ":tag:", "tag"),
        ("\"SET\"", "\"cachewarp:api:", "tombstone"),
        ("\"PUBLISH\"", ":sync\"", "sync"),
        ("\"PUBLISH\"", ":ack:", "confirm"),
    ];
    let of_purge = lines.iter().skip_while(|line| !line.contains("\"XADD\""));
    let of_purge =
        of_purge.take_while(|line| !line.contains("\"XACK\"")).filter(|line| !line.contains("lua]"));
    let step =
        |line: &String| STEPS.iter().find(|(command, name, _)| line.contains(command) && line.contains(name));
    of_purge.filter_map(step).map(|(_, _, step)| *step).collect()
}

/// Each step follows the reply to the one before, and Redis pushes the sync and its confirmations:
/// the purge of a tag takes three round trips, that of a URL two, and each one more for `XACK`. The
/// tombstones of a URL (`GET` and `QUERY`, under both schemes) are sent together.
#[test]
fn a_message_is_confirmed_in_three_round_trips() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let nodes = [start(&origin, &redis), start(&origin, &redis)];
    warm(&origin, &nodes);
    await_readers(&redis, 2);
    // The first purge loads the scripts.
    until("every node to confirm", || crate::admin::purge(&nodes[0], r#"{"tag":"t"}"#).status == 200);
    until("every node to confirm", || crate::admin::purge(&nodes[1], r#"{"tag":"t"}"#).status == 200);
    for (number, fields, expected) in [
        (1.0, ["tag", "t"], &["count", "tag", "sync", "confirm", "confirm"][..]),
        (
            2.0,
            ["url", "http://test/a"],
            &["tombstone", "tombstone", "tombstone", "tombstone", "sync", "confirm", "confirm"],
        ),
    ] {
        await_readers(&redis, 2);
        let monitor = Monitor::of(&redis);
        add(&redis, &fields);
        until("the purge to be confirmed", || messages(&nodes, "confirmed") == number);
        let lines = monitor.lines(&redis);
        assert_eq!(lines.iter().filter(|line| line.contains("\"XACK\"")).count(), 1, "{lines:#?}");
        assert_eq!(steps(&lines), expected, "{lines:#?}");
    }
}

/// Returns the value of a field in a line of the log.
fn number_of(line: &str, field: &str) -> u64 {
    let value = line.split_once(field).unwrap().1;
    let digits: String = value.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// A writer with an error: the log names some of the messages, and counts all others.
#[test]
fn many_malformed_messages_do_not_fill_the_log() {
    const MALFORMED: usize = 3000;
    const SCRIPT: &str = "for n = 1, 3000 do redis.call('XADD', KEYS[1], '*', 'order', 't') end";
    let (origin, redis) = (Origin::start(), Redis::start());
    redis.command(&["EVAL", SCRIPT, "1", STREAM]);
    let (url, origin_url) = (redis.url(), origin.url());
    let program = Program::start(&Start {
        arguments: &[
            "--listen-addr=127.0.0.1:0",
            "--admin-addr=127.0.0.1:0",
            "--origin-url",
            &origin_url,
            "--redis-url",
            &url,
            "--redis-timeout=10s",
            "--cache-namespace=api",
            "--purge-stream",
            STREAM,
        ],
        ..Start::default()
    });
    let admin = program.await_admin_addr();
    let malformed = format!("cachewarp_purge_stream_messages_total{{result=\"malformed\"}} {MALFORMED}");
    until("the messages to be set aside", || client::get(admin, "/metrics").text().contains(&malformed));
    program.signal("TERM");
    let log = program.end().stderr;
    let named = log.lines().filter(|line| line.contains("set aside a message")).count();
    let sums: Vec<_> = log.lines().filter(|line| line.contains("set aside further messages")).collect();
    let omitted: u64 = sums.iter().map(|line| number_of(line, "messages=")).sum();
    assert_eq!(named as u64 + omitted, MALFORMED as u64, "{log}");
    // A period may begin at each of these lines, and once before.
    assert!((1..=PURGE_STREAM_LOGGED_MAX * (sums.len() + 1)).contains(&named), "{log}");
    assert!(omitted > 0, "{log}");
    assert_eq!(pending(&redis), 0);
}

#[test]
fn a_node_without_the_setting_sends_no_command_about_streams() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let node = Proxy::start_with_redis(&origin.url(), &redis.url(), &[]);
    warm(&origin, std::slice::from_ref(&node));
    let statistics = redis.command(&["INFO", "commandstats"]).text();
    assert!(!statistics.contains("cmdstat_x"), "{statistics}");
}

/// Malformed messages are acknowledged and counted, and stay in the stream for inspection.
#[test]
fn messages_that_are_no_purges_are_set_aside() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let (mebibyte, five) = ("x".repeat(1 << 20), "x".repeat(5 << 20));
    let many: Vec<&str> = std::iter::repeat_n("tag", 50_000).collect();
    // Together they exceed what one reply may have, so the node reads them one by one.
    for fields in [
        &["order", r#"{"tag":"t"}"#][..],
        &["tag", &mebibyte],
        &["tag", "t", "note", &five],
        &["tag", "a b"],
        &["url", "/a"],
        &many,
    ] {
        add(&redis, fields);
    }
    let nodes = [start(&origin, &redis), start(&origin, &redis)];
    until("the messages to be set aside", || {
        messages(&nodes, "malformed") == 3.0 && messages(&nodes, "oversized") == 3.0
    });
    warm(&origin, &nodes);
    add(&redis, &["tag", "t"]);
    until("the purge to be confirmed", || messages(&nodes, "confirmed") == 1.0);
    for node in &nodes {
        until("the response to be new", || node.get("/a").text() == NEW);
    }
    assert_eq!(pending(&redis), 0);
    assert_eq!(redis.command(&["XLEN", STREAM]).number(), 7);
}

/// Two APIs share a Redis and a stream: each message purges both.
#[test]
fn each_api_that_reads_the_stream_gets_every_message() {
    let (origins, redis) = ([Origin::start(), Origin::start()], Redis::start());
    let other = [("purge_stream", STREAM), ("redis_timeout", "10s"), ("cache_namespace", "other")];
    let nodes =
        [start(&origins[0], &redis), Proxy::start_with_redis(&origins[1].url(), &redis.url(), &other)];
    await_readers(&redis, 2);
    for (origin, node) in origins.iter().zip(&nodes) {
        warm(origin, std::slice::from_ref(node));
    }
    for purges in 1..4 {
        add(&redis, &["tag", "t"]);
        until("both purges to be confirmed", || {
            nodes.iter().all(|node| messages(std::slice::from_ref(node), "confirmed") == f64::from(purges))
        });
    }
    for node in &nodes {
        assert_eq!(node.get("/a").text(), NEW);
    }
}

/// Thousands of messages from before the first node become few purges.
#[test]
fn many_messages_share_purges() {
    const SCRIPT: &str = "for n = 1, 5000 do redis.call('XADD', KEYS[1], '*', 'tag', 't' .. n % 50) end";
    let (origin, redis) = (Origin::start(), Redis::start());
    redis.command(&["EVAL", SCRIPT, "1", STREAM]);
    let before = redis.calls("xreadgroup");
    let nodes = [start(&origin, &redis)];
    until("all messages to be confirmed", || messages(&nodes, "confirmed") == 5000.0);
    assert_eq!((pending(&redis), redis.calls("xack")), (0, 40), "one acknowledgement for each batch of 128");
    assert!(redis.calls("xreadgroup") - before < 60);
    until("the lag to be shown", || {
        nodes[0].metric("cachewarp_purge_stream_lag") <= 0.0
            && nodes[0].metric("cachewarp_purge_stream_pending") == 0.0
    });
}

/// Another program owns the key: the node serves, and reads once the key is a stream.
#[test]
fn a_key_of_another_type_is_logged_once() {
    let (origin, redis) = (Origin::start(), Redis::start());
    redis.command(&["SET", STREAM, "x"]);
    let origin_url = origin.url();
    let program = Program::start(&Start {
        arguments: &[
            "--listen-addr=127.0.0.1:0",
            "--admin-addr=127.0.0.1:0",
            "--origin-url",
            &origin_url,
            "--redis-url",
            &redis.url(),
            "--redis-timeout=10s",
            "--purge-stream",
            STREAM,
        ],
        ..Start::default()
    });
    let (_, admin) = (program.await_addr(), program.await_admin_addr());
    let metric = |series: &str| {
        let page = client::get(admin, "/metrics");
        let line = page.text().lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    };
    until("the node to try again", || metric("cachewarp_purge_stream_interruptions_total") >= 2.0);
    redis.command(&["DEL", STREAM]);
    add(&redis, &["tag", "t"]);
    let confirmed = r#"cachewarp_purge_stream_messages_total{result="confirmed"}"#;
    until("the purge to be confirmed", || metric(confirmed) == 1.0);
    program.signal("TERM");
    let log = program.end().stderr;
    let count = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert_eq!((count("was interrupted"), count("reading the purge stream again")), (1, 1), "{log}");
    assert!(log.contains("wrong-type"), "{log}");
}

/// Redis restarts empty, and a message comes as soon as it answers.
#[test]
fn a_message_written_while_redis_restarts_is_read() {
    let (origin, mut redis) = (Origin::start(), Redis::start());
    let nodes = [start(&origin, &redis), start(&origin, &redis)];
    warm(&origin, &nodes);
    await_readers(&redis, 2);
    redis.restart();
    add(&redis, &["all", "true"]);
    until("the purge to be confirmed", || messages(&nodes, "confirmed") >= 1.0);
    for node in &nodes {
        until("the response to be new", || node.get("/a").text() == NEW);
    }
    until("no message to be pending", || pending(&redis) == 0);
}

/// While Redis accepts no purge, the messages wait in the stream.
#[test]
fn messages_wait_while_redis_accepts_no_purge() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let nodes = [start(&origin, &redis)];
    warm(&origin, &nodes);
    await_readers(&redis, 1);
    redis.command(&["ACL", "SETUSER", "default", "-eval", "-evalsha"]);
    add(&redis, &["tag", "t"]);
    let unavailable = r#"cachewarp_purge_stream_repeats_total{cause="unavailable"}"#;
    until("Redis to refuse the purge", || nodes[0].metric(unavailable) >= 1.0);
    assert_eq!(nodes[0].get("/a").text(), NEW, "this node has purged");
    assert_eq!((pending(&redis), messages(&nodes, "confirmed")), (1, 0.0));
    add(&redis, &["tag", "u"]);
    let tried = nodes[0].metric(unavailable);
    until("Redis to refuse the purge again", || nodes[0].metric(unavailable) > tried);
    assert_eq!(pending(&redis), 1, "the second message is not read");
    redis.command(&["ACL", "SETUSER", "default", "+eval", "+evalsha"]);
    until("the purges to be confirmed", || messages(&nodes, "confirmed") == 2.0);
    assert_eq!(pending(&redis), 0);
}

/// A node that leaves in order removes its consumer.
#[test]
fn a_node_that_leaves_in_order_leaves_the_group() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let node = start(&origin, &redis);
    await_readers(&redis, 1);
    assert_eq!(consumers(&redis), 1);
    drop(node);
    until("the consumer to be removed", || consumers(&redis) == 0);
}

/// The rights that SECURITY.md names are enough for a node, and for an application that writes.
#[test]
fn the_rights_of_the_documents_are_enough() {
    const BEGIN: &str = "With `purge_stream` it needs `";
    let document = include_str!("../../SECURITY.md");
    let rights = document.split_once(BEGIN).and_then(|(_, rest)| rest.split_once('`')).unwrap().0;
    let rights: Vec<_> = rights.split_ascii_whitespace().collect();
    assert!(rights.iter().all(|right| right.starts_with('+')) && rights.len() == 8, "{rights:?}");
    let (redis, url) = redis_with(&rights);
    redis.command(&["ACL", "SETUSER", "app", "on", "nopass", "~cachewarp:purges", "+xadd"]);
    let origin = Origin::start();
    let node = Proxy::start_with_redis(&origin.url(), &url, &SETTINGS);
    let nodes = [node];
    warm(&origin, &nodes);
    await_readers(&redis, 1);
    add(&redis, &["tag", "first"]);
    until("the purge to be confirmed", || messages(&nodes, "confirmed") == 1.0);
    await_readers(&redis, 1);
    // `ACL DRYRUN` came with Redis 7.
    assert!(
        Redis::version() < 7
            || redis.command(&["ACL", "DRYRUN", "app", "XADD", STREAM, "*", "tag", "t"])
                == Value::Simple("OK".to_owned())
    );
    add(&redis, &["tag", "t"]);
    until("the purge to be confirmed", || messages(&nodes, "confirmed") == 2.0);
    assert_eq!(nodes[0].get("/a").text(), NEW);
    drop(nodes);
    until("the consumer to be removed", || consumers(&redis) == 0);
    assert_eq!(format!("{:?}", redis.command(&["ACL", "LOG"])), "Array([])");
}
