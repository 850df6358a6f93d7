//! Redis users with few rights: the ACL line of SECURITY.md, and users that lack a part of it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cachewarp::time::instant;

use crate::harness::{
    Answer, Client, Origin, Program, Proxy, Redis, Response, ScriptedRedis, Start, client, until,
};

const CONNECTED: &str = r#"{"status":"ok","redis":"connected"}"#;
const REFUSING: &str = r#"{"status":"ok","redis":"refusing"}"#;
const SECURITY: &str = include_str!("../../SECURITY.md");

/// A node as a process, with its log.
struct Node {
    program: Program,
    addr: SocketAddr,
    admin: SocketAddr,
}

impl Node {
    fn start(origin: &Origin, redis_url: &str) -> Self {
        let origin_url = origin.url();
        let arguments = [
            "--listen-addr=127.0.0.1:0",
            "--admin-addr=127.0.0.1:0",
            "--worker-threads=2",
            "--redis-pool-size=4",
            "--redis-timeout=5s",
            "--fetch-lease=on",
            "--cache-warm-keys=4",
            "--origin-url",
            &origin_url,
            "--redis-url",
            redis_url,
        ];
        let program = Program::start(&Start { arguments: &arguments, ..Start::default() });
        let addr = program.await_addr();
        let line = program.await_line("serving");
        let admin = line.split("admin=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        Self { program, addr, admin: admin.parse().unwrap() }
    }

    fn cache_status(&self, target: &str) -> String {
        client::get(self.addr, target).cache_status().to_owned()
    }

    fn health(&self) -> String {
        client::get(self.addr, "/health").text().to_owned()
    }

    fn hits(&self, target: &str) -> bool {
        self.cache_status(target).contains("; hit")
    }

    fn purge(&self, order: &str) -> Response {
        let mut client = Client::connect(self.admin);
        client.send(format!(
            "POST /purge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{order}",
            order.len()
        ));
        client.response()
    }

    fn log(self) -> String {
        self.program.signal("TERM");
        self.program.end().stderr
    }
}

fn origin() -> Origin {
    let origin = Origin::start();
    let fields = [("Content-Type", "application/json"), ("Cache-Control", "public, max-age=600")];
    for path in ["/a", "/b", "/c", "/d"] {
        let tags = [("Cache-Tag", "t"), ("Cache-Groups", "\"g\"")];
        origin.answer(path, Answer::new(200, &[&fields[..], &tags].concat(), "{}"));
    }
    let vary = [("Vary", "Accept-Language")];
    origin.answer("/v", Answer::new(200, &[&fields[..], &vary].concat(), "{}"));
    origin
}

/// Returns the words of the ACL line of SECURITY.md, with a password.
fn acl_line() -> Vec<String> {
    let line = SECURITY.lines().find(|line| line.starts_with("ACL SETUSER cachewarp ")).unwrap();
    line.split(' ').map(|word| word.replace(">PASSWORD", ">secret")).collect()
}

/// Starts a server with this user and these further rules.
pub(crate) fn redis_with(rules: &[&str]) -> (Redis, String) {
    let redis = Redis::start();
    let words = acl_line();
    let words: Vec<_> = words.iter().map(String::as_str).chain(rules.iter().copied()).collect();
    redis.command(&words);
    let url = redis.url().replace("redis://", "redis://cachewarp:secret@");
    (redis, url)
}

#[test]
fn the_acl_line_of_the_documents_is_enough() {
    let ((redis, url), origin) = (redis_with(&[]), origin());
    let nodes = [Node::start(&origin, &url), Node::start(&origin, &url)];
    until("both nodes to receive each other's messages", || {
        nodes
            .iter()
            .all(|node| node.purge(r#"{"tag":"none"}"#).text().contains(r#""nodes":2,"confirmed":2,"#))
    });
    for (order, path) in [
        (r#"{"url":"http://test/a"}"#, "/a"),
        (r#"{"url":"http://test/a","soft":true}"#, "/a"),
        (r#"{"tag":"t"}"#, "/b"),
        (r#"{"tag":"t","soft":true}"#, "/b"),
        (r#"{"group":{"authority":"test","name":"g"}}"#, "/c"),
        (r#"{"prefix":"http://test/d"}"#, "/d"),
        (r#"{"prefix":"http://test/v","soft":true}"#, "/v"),
        (r#"{"all":true}"#, "/v"),
    ] {
        nodes.iter().for_each(|node| until("a hit", || node.hits(path)));
        let purged = nodes[0].purge(order);
        assert_eq!(purged.status, 200, "{order}: {}", purged.text());
        assert!(purged.text().contains(r#""outcome":"everywhere""#), "{order}: {}", purged.text());
        assert!(order.contains("soft") || !nodes[1].hits(path), "{order}");
    }
    let refused = format!("{:?}", redis.command(&["ACL", "LOG"]));
    assert_eq!(refused, "Array([])");
    for node in nodes {
        let log = node.log();
        assert!(!log.contains("lacks rights") && !log.contains("no-perm"), "{log}");
    }
}

#[test]
fn a_missing_right_is_named_at_connect() {
    let rows: [(&[&str], &str); 6] = [
        (&["-ping"], "missing=\"PING\""),
        (&["-eval", "-setrange"], "missing=\"SETRANGE, EVAL\""),
        (&["-publish"], "missing=\"PUBLISH\""),
        (&["-client|tracking"], "missing=\"CLIENT TRACKING\""),
        (&["resetchannels"], "missing=\"channels\""),
        (&["resetkeys", "~other:*"], "missing=\"keys\""),
    ];
    let origin = origin();
    for (rules, words) in rows {
        let (_redis, url) = redis_with(rules);
        let node = Node::start(&origin, &url);
        let line = node.program.await_line("the Redis user lacks rights");
        assert!(line.contains(words), "{rules:?}: {line}");
        assert!(line.contains("Rights in Redis"), "{line}");
        if rules != ["resetkeys", "~other:*"] {
            node.program.await_line("connected to Redis");
            until("a hit", || node.hits("/a"));
        }
        if rules == ["-ping"] {
            assert_eq!(node.health(), CONNECTED, "a refused PING shows that the server works");
        }
    }
}

#[test]
fn a_server_that_refuses_the_work_is_refusing() {
    for (refuse, accept, log_fields) in [
        (
            &["CONFIG", "SET", "maxmemory", "1"][..],
            &["CONFIG", "SET", "maxmemory", "0"][..],
            ["kind=oom", "maxmemory-policy"],
        ),
        (
            &["ACL", "SETUSER", "cachewarp", "-set", "-eval", "-evalsha"],
            &["ACL", "SETUSER", "cachewarp", "+set", "+eval", "+evalsha"],
            ["kind=no-perm", "the ACL line"],
        ),
    ] {
        let ((redis, url), origin) = (redis_with(&[]), origin());
        let node = Node::start(&origin, &url);
        node.program.await_line("connected to Redis");
        until("a hit", || node.hits("/a"));
        assert_eq!(node.health(), CONNECTED);
        redis.command(refuse);
        let write = || {
            // A purge writes a tombstone, and the next response an entry.
            node.purge(r#"{"url":"http://test/a"}"#);
            node.cache_status("/a");
        };
        until("a refusal", || {
            write();
            node.health() == REFUSING
        });
        let line = node.program.await_line("Redis refuses a command");
        assert!(log_fields.iter().all(|field| line.contains(field)), "{line}");
        redis.command(accept);
        until("the end of the refusals", || {
            write();
            node.health() == CONNECTED
        });
        let log = node.log();
        let count = |text| log.lines().filter(|line| line.contains(text)).count();
        let refused = count("Redis refuses a command");
        let commands: HashSet<_> = log
            .lines()
            .filter(|line| line.contains("Redis refuses a command"))
            .map(|line| line.split("command=").nth(1).unwrap().split(' ').next().unwrap())
            .collect();
        assert!(refused >= 1 && refused == commands.len(), "one line for each command and change: {log}");
        assert_eq!(count("Redis accepts a command again"), refused, "{log}");
    }
}

/// The servers answer `PING`, and refuse writes for reasons that no test server can be given.
#[test]
fn each_refusal_of_a_write_has_its_line_and_advice() {
    for (refusal, kind, advice) in [
        ("-READONLY You can't write against a read only replica.\r\n", "kind=read-only", "is a replica"),
        ("-MISCONF Redis is configured to save RDB snapshots\r\n", "kind=misconf", "its snapshot"),
        ("-CLUSTERDOWN Hash slot not served\r\n", "kind=cluster-down", "a hash slot without a master"),
        ("-ERR unknown command 'SET'\r\n", "kind=unknown-command", "lacks the command"),
    ] {
        let is_refusing = Arc::new(AtomicBool::new(false));
        let refuses = Arc::clone(&is_refusing);
        let redis = ScriptedRedis::respond(move |command| {
            let reply = match command[0].as_str() {
                "HELLO" => "-ERR unknown command 'HELLO'\r\n",
                "PING" => "+PONG\r\n",
                "GET" => "$-1\r\n",
                "GETRANGE" | "INFO" => "$0\r\n\r\n",
                "SET" if refuses.load(Ordering::Acquire) => refusal,
                _ => "+OK\r\n",
            };
            Some(reply.into())
        });
        let node = Node::start(&origin(), &redis.url());
        node.program.await_line("connected to Redis");
        until("the pool to be up", || node.health() == CONNECTED);
        is_refusing.store(true, Ordering::Release);
        // A purge writes a tombstone.
        let purge = || node.purge(r#"{"url":"http://test/a"}"#);
        until("a refusal", || {
            purge();
            node.health() == REFUSING
        });
        let line = node.program.await_line("Redis refuses a command");
        assert!(line.contains(kind) && line.contains(advice), "{line}");
        is_refusing.store(false, Ordering::Release);
        until("the end of the refusals", || {
            purge();
            node.health() == CONNECTED
        });
        let log = node.log();
        for text in ["Redis refuses a command", "Redis accepts a command again"] {
            assert_eq!(log.lines().filter(|line| line.contains(text)).count(), 1, "{log}");
        }
    }
}

/// No later success ends these refusals: another key may have another server or another type.
#[test]
fn a_redirection_and_a_key_of_another_type_are_named() {
    for (refusal, fields) in [
        ("-MOVED 3999 127.0.0.1:6381\r\n", ["kind=moved", "redis+cluster://"]),
        ("-WRONGTYPE Operation against a key\r\n", ["kind=wrong-type", "key=\"cachewarp:"]),
    ] {
        let redis = ScriptedRedis::respond(move |command| {
            let reply = match command[0].as_str() {
                "HELLO" => "-ERR unknown command 'HELLO'\r\n",
                "PING" => "+PONG\r\n",
                "GET" => refusal,
                "GETRANGE" | "INFO" => "$0\r\n\r\n",
                _ => "+OK\r\n",
            };
            Some(reply.into())
        });
        let origin = origin();
        let node = Node::start(&origin, &redis.url());
        node.program.await_line("connected to Redis");
        until("a refusal", || {
            node.cache_status("/a");
            node.health() == REFUSING
        });
        let line = node.program.await_line("Redis refuses a command");
        assert!(fields.iter().all(|field| line.contains(field)), "{line}");
    }
}

/// Redis has the purge, and no node can be asked to confirm it. Each purge holds at this node at
/// once, and at the others when their memory has forgotten its entries.
#[test]
fn a_purge_without_channels_is_accepted_and_unconfirmed() {
    for rule in ["resetchannels", "-publish"] {
        let ((_redis, url), origin) = (redis_with(&[rule]), origin());
        let (node, other) = (Node::start(&origin, &url), Node::start(&origin, &url));
        let orders = [
            (r#"{"url":"http://test/a"}"#, "/a"),
            (r#"{"tag":"t"}"#, "/b"),
            (r#"{"prefix":"http://test/d"}"#, "/d"),
            (r#"{"all":true}"#, "/c"),
        ];
        for (order, path) in orders {
            until("a hit", || node.hits(path) && other.hits(path));
            let purged = node.purge(order);
            assert_eq!(purged.status, 202, "{rule}: {}", purged.text());
            let reason = r#""outcome":"not-everywhere","nodes":1,"confirmed":0,"sync":"Redis refused the command (no-perm)""#;
            assert!(purged.text().contains(reason), "{}", purged.text());
            let after = node.cache_status(path);
            assert!(!after.contains("; hit"), "{rule}: {order}: {after}");
        }
    }
}

#[test]
fn a_server_that_refuses_hello_in_any_words_or_ends_the_connection_is_used() {
    for refusal in
        [Some("-ERR unsupported command 'HELLO'\r\n"), Some("-NOPERM this user has no permissions\r\n"), None]
    {
        let redis = ScriptedRedis::respond(move |command| match command[0].as_str() {
            "HELLO" => refusal.map(|refusal| refusal.as_bytes().to_vec()),
            "CLIENT" => Some(b"+OK\r\n".to_vec()),
            "GET" => Some(b"$-1\r\n".to_vec()),
            "GETRANGE" => Some(b"$0\r\n\r\n".to_vec()),
            "PING" => Some(b"+PONG\r\n".to_vec()),
            _ => Some(b"-ERR no\r\n".to_vec()),
        });
        let node = Node::start(&origin(), &redis.url());
        let line = node.program.await_line("connected to Redis");
        assert!(line.contains("protocol=resp2"), "{line}");
    }
}

#[test]
fn an_idle_node_sends_few_heartbeats_and_counts_none_as_late() {
    let (origin, redis) = (origin(), Redis::start());
    let settings = [("redis_pool_size", "20"), ("worker_threads", "2")];
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &settings);
    let pings = || {
        let statistics = redis.command(&["INFO", "commandstats"]).text();
        let calls = statistics.split("cmdstat_ping:calls=").nth(1).unwrap_or("0");
        calls.split(',').next().unwrap().parse::<u32>().unwrap()
    };
    proxy.await_metric("cachewarp_redis_connections{state=\"up\"}", 20.0);
    let begun = instant();
    until("the first second to pass", || begun.elapsed() >= Duration::from_secs(1));
    let (begun, before) = (instant(), pings());
    until("two seconds to pass", || begun.elapsed() >= Duration::from_secs(2));
    let sent = pings() - before;
    assert!((1..=6).contains(&sent), "{sent} PINGs in two seconds");
    assert_eq!(proxy.metric("cachewarp_redis_late_replies_total"), 0.0);
}

/// A list is not CacheWarp's, and stays. Any other string can be a damaged log.
#[test]
fn a_purge_log_of_another_client_is_refused_or_replaced() {
    let (redis, origin) = (Redis::start(), origin());
    let node = Node::start(&origin, &redis.url());
    until("a hit", || node.hits("/a"));
    let log = &redis.command(&["KEYS", "*:clock"]).texts()[0];
    let replace = |write: &str| {
        let script = format!("redis.call('DEL', KEYS[1]); return redis.call({write})");
        redis.command(&["EVAL", &script, "1", log]);
    };
    replace("'RPUSH', KEYS[1], 'theirs'");
    let all = r#"{"all":true}"#;
    for order in [all, r#"{"tag":"t"}"#, r#"{"prefix":"http://test/a"}"#] {
        let refused = node.purge(order);
        assert_eq!(refused.status, 503, "{order}: {}", refused.text());
    }
    let line = node.program.await_line("Redis refuses a command");
    assert!(line.contains("kind=wrong-type") && line.contains(&format!("key=\"{log}\"")), "{line}");
    assert_eq!(redis.command(&["LRANGE", log, "0", "-1"]).texts(), ["theirs"]);
    redis.command(&["DEL", log]);
    until("a purge to be confirmed", || node.purge(all).status == 200);

    until("a hit", || node.hits("/a"));
    replace("'SET', KEYS[1], 'theirs'");
    until("a miss, then a hit", || node.hits("/a"));
    let line = node.program.await_line("overwritten the purge log");
    assert!(line.contains("WARN") && line.contains(log), "{line}");
    assert_eq!(node.purge(all).status, 200);
}
