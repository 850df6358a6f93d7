//! Several origins on one Redis: they share no name unless one namespace joins them.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread::{self, JoinHandle};

use cachewarp::key::{Authority, OriginBase, Scheme};
use cachewarp::store::Namespace;

use crate::admin::purge;
use crate::harness::{Answer, Origin, PATIENCE, Proxy, Redis, Value, until};

const SETTINGS: [(&str, &str); 5] = [
    ("fetch_lease", "on"),
    ("cache_warm_keys", "4"),
    ("redis_timeout", "10s"),
    ("cache_memory_ttl", "1h"),
    ("worker_threads", "2"),
];

/// A record of all commands that a Redis receives, on any connection and in any script: the lines
/// of `MONITOR`.
pub(crate) struct Monitor(JoinHandle<Vec<String>>);

/// The last command of a record.
const END: &str = "the record ends here";

impl Monitor {
    pub(crate) fn of(redis: &Redis) -> Self {
        let mut stream = TcpStream::connect(redis.addr()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"MONITOR\r\n").unwrap();
        let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
        assert_eq!(lines.next().unwrap(), "+OK");
        Self(thread::spawn(move || lines.take_while(|line| !line.contains(END)).collect()))
    }

    /// Returns the lines so far.
    pub(crate) fn lines(self, redis: &Redis) -> Vec<String> {
        redis.command(&["ECHO", END]);
        self.0.join().unwrap()
    }

    /// Returns the names of all keys and channels used so far.
    fn names(self, redis: &Redis) -> BTreeSet<String> {
        self.lines(redis).iter().flat_map(|line| names(&words(line))).collect()
    }
}

/// Splits a command into its words, as `MONITOR` quotes them.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut letters = line.chars();
    while letters.by_ref().any(|letter| letter == '"') {
        let mut word = String::new();
        while let Some(letter) = letters.next().filter(|letter| *letter != '"') {
            word.push(if letter == '\\' { letters.next().unwrap() } else { letter });
        }
        words.push(word);
    }
    words
}

/// Returns the names in a command.
fn names(command: &[String]) -> Vec<String> {
    let [kind, arguments @ ..] = command else { panic!("a command without a word") };
    match kind.to_ascii_uppercase().as_str() {
        "HELLO" | "CLIENT" | "PING" | "AUTH" | "SELECT" | "INFO" | "ROLE" | "SCRIPT" | "COMMAND" | "ECHO"
        | "TIME" => Vec::new(),
        // The test itself sends these commands.
        "PUBSUB" | "KEYS" | "FLUSHALL" => Vec::new(),
        "EVAL" | "EVALSHA" => arguments[2..][..arguments[1].parse().unwrap()].to_vec(),
        "SUBSCRIBE" | "DEL" | "UNLINK" | "EXISTS" => arguments.to_vec(),
        _ => vec![arguments[0].clone()],
    }
}

fn texts(reply: &Value) -> Vec<String> {
    let Value::Array(items) = reply else { panic!("{reply:?}") };
    items.iter().map(Value::text).collect()
}

fn namespace(origin: &Origin, path: &str) -> String {
    let authority = Authority::parse(Scheme::Http, origin.addr().to_string().as_bytes()).unwrap();
    let base = OriginBase { scheme: Scheme::Http, authority, path: path.to_owned() };
    Namespace::of_origin("cachewarp:", &base).as_str().to_owned()
}

/// Starts an API whose responses contain its name.
fn api(name: &str) -> Origin {
    let origin = Origin::start();
    let fields = [("Content-Type", "application/json"), ("Cache-Control", "max-age=600")];
    let tagged = [("Cache-Tag", "t"), ("Cache-Groups", "\"g\"")];
    let body = format!("\"{name}\"");
    for path in ["/a", "/b", "/c", "/d"] {
        origin.answer(path, Answer::new(200, &[fields, tagged].concat(), &body));
    }
    origin.answer("/v", Answer::new(200, &[&fields[..], &[("Vary", "Accept-Language")]].concat(), &body));
    origin.answer("/write", Answer::new(200, &[("Cache-Group-Invalidation", "\"g\"")], &body));
    origin
}

#[test]
fn two_origins_on_one_redis_share_no_key_response_or_purge() {
    let redis = Redis::start();
    let monitor = Monitor::of(&redis);
    let apis = [api("one"), api("two")];
    let namespaces = apis.each_ref().map(|api| namespace(api, ""));
    let proxies = apis.each_ref().map(|api| Proxy::start_with_redis(&api.url(), &redis.url(), &SETTINGS));
    let [one, two] = &proxies;

    for path in ["/a", "/b", "/c", "/d", "/v"] {
        for (proxy, body) in [(one, "\"one\""), (two, "\"two\"")] {
            let miss = proxy.get(path);
            assert_eq!(
                (miss.text(), miss.cache_status()),
                (body, "CacheWarp; fwd=uri-miss; stored"),
                "{path}"
            );
            until("the response to be stored", || proxy.get(path).cache_status().contains("hit"));
            assert_eq!(proxy.get(path).text(), body, "{path}");
        }
    }
    for proxy in &proxies {
        let mut client = proxy.connect();
        (0..300).for_each(|_| drop(client.get("/d")));
    }
    // Every purge of one API leaves the other's responses stored.
    for (order, path) in [
        (r#"{"url":"http://test/a"}"#, "/a"),
        (r#"{"url":"http://test/b","soft":true}"#, "/b"),
        (r#"{"tag":"t"}"#, "/c"),
        (r#"{"group":{"authority":"test","name":"g"}}"#, "/d"),
        (r#"{"prefix":"http://test/v"}"#, "/v"),
        (r#"{"all":true}"#, "/a"),
    ] {
        assert_eq!(purge(one, order).status, 200, "{order}");
        assert!(!one.get(path).cache_status().contains("hit"), "{order}");
        let kept = two.get(path);
        assert!(kept.cache_status().contains("hit"), "{order}: {}", kept.cache_status());
        until("the response to be stored again", || one.get(path).cache_status().contains("hit"));
    }
    assert_eq!(one.connect().request("POST", "/write", &[("Content-Length", "0")]).status, 200);
    assert!(two.get("/d").cache_status().contains("hit"));
    assert_eq!(purge(two, r#"{"all":true}"#).status, 200);

    let is_outside = |name: &String| !namespaces.iter().any(|namespace| name.starts_with(namespace));
    let channels = texts(&redis.command(&["PUBSUB", "CHANNELS"]));
    assert_eq!(channels.iter().filter(|name| is_outside(name)).count(), 0, "{channels:?}");
    for namespace in &namespaces {
        for kind in ["sync", "ack:"] {
            let name = format!("{namespace}{kind}");
            assert!(channels.iter().any(|channel| channel.starts_with(&name)), "{kind}: {channels:?}");
        }
    }
    drop(proxies);
    let keys = texts(&redis.command(&["KEYS", "*"]));
    assert_eq!(keys.iter().filter(|name| is_outside(name)).count(), 0, "{keys:?}");

    let names = monitor.names(&redis);
    assert_eq!(names.iter().filter(|name| is_outside(name)).count(), 0, "{names:#?}");
    for namespace in &namespaces {
        let kinds: BTreeSet<String> = names
            .iter()
            .filter_map(|name| name.strip_prefix(namespace.as_str()))
            .map(|name| {
                name.trim_start_matches(|letter: char| letter.is_ascii_hexdigit() && name.len() == 32)
            })
            .map(|name| name.split_inclusive(':').next().unwrap_or("an entry").to_owned())
            .collect();
        let every =
            ["ack:", "an entry", "clock", "lease:", "nodes", "server", "sync", "tag:", "vary:", "warm:"];
        assert_eq!(kinds, BTreeSet::from(every.map(str::to_owned)));
    }
}

#[test]
fn two_base_paths_of_one_origin_are_separate_and_two_nodes_of_one_share() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let json = |body: &str| Answer::json_with(&[("Cache-Control", "max-age=600")], body);
    origin.answer("/v1/a", json("1"));
    origin.answer("/v2/a", json("2"));
    let start = |path: &str| Proxy::start_with_redis(&(origin.url() + path), &redis.url(), &SETTINGS);
    let proxies = ["/v1", "/v2", "/v1/"].map(start);
    for (proxy, body) in proxies.iter().zip(["1", "2", "1"]) {
        assert_eq!(proxy.get("/a").text(), body);
        until("the response to be stored", || proxy.get("/a").cache_status().contains("hit"));
    }
    assert_eq!((origin.count("/v1/a"), origin.count("/v2/a")), (1, 1));
    let keys: BTreeSet<_> =
        redis.await_keys(2).iter().map(|key| key.split_at(key.len() - 32).0.to_owned()).collect();
    assert_eq!(keys, BTreeSet::from(["/v1", "/v2"].map(|path| namespace(&origin, path))));
}

#[test]
fn a_configured_namespace_joins_several_origins() {
    let (one, two, redis) = (api("one"), api("two"), Redis::start());
    let settings = [&SETTINGS[..], &[("cache_namespace", "payments")]].concat();
    let start = |api: &Origin| Proxy::start_with_redis(&api.url(), &redis.url(), &settings);
    let (first, second) = (start(&one), start(&two));
    assert_eq!(first.get("/a").text(), "\"one\"");
    until("the response to be stored", || first.get("/a").cache_status().contains("hit"));
    assert_eq!(second.get("/a").text(), "\"one\"");
    assert_eq!((one.count("/a"), two.count("/a")), (1, 0));
    assert!(redis.keys().iter().all(|key| key.starts_with("cachewarp:payments:")), "{:?}", redis.keys());
}
