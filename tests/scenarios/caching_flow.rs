//! The main flow: CacheWarp fetches a `GET` once from the origin, and then answers it from a store,
//! byte for byte.

use crate::harness::{
    Answer, Client, Gate, Origin, Program, Proxy, Redis, Response, Start, TlsFront, Value, until,
};

/// A body that a re-serialiser would change: spaces, escapes, equal numbers with different digits.
const QUOTES: &str =
    "{ \"symbol\" : \"EUR\\u002FUSD\",\n\t\"bid\": 1.10, \"ask\": 1.100e0, \"\u{20ac}\": [ ] }\n\n";
const TARGET: &str = "/api/v1/quotes?symbol=EURUSD&depth=%35";

/// Parses the `Cache-Status` of a hit: its `ttl` and its location.
fn hit(response: &Response) -> (u64, &str) {
    let status = response.cache_status();
    let parts = status.strip_prefix("CacheWarp; hit; ttl=").and_then(|rest| rest.split_once("; detail="));
    let (ttl, tier) = parts.unwrap_or_else(|| panic!("{status} is no hit"));
    (ttl.parse().unwrap(), tier)
}

#[test]
fn test_caching_flow() {
    let (origin, redis) = (Origin::start(), Redis::start());
    origin.answer("/api/v1/quotes", Answer::json(QUOTES));
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[("worker_threads", "2")]);

    let first = proxy.get(TARGET);
    assert_eq!(first.status, 200);
    assert_eq!(first.cache_status(), "CacheWarp; fwd=uri-miss; stored");
    assert_eq!((first.text(), first.field("age")), (QUOTES, None));

    let keys = redis.await_keys(1);
    let [prefix, namespace, name] = keys[0].split(':').collect::<Vec<_>>()[..] else { panic!("{keys:?}") };
    let digits = format!("{namespace}{name}");
    assert!(
        prefix == "cachewarp" && namespace.len() == 16 && name.len() == 32,
        "a key has a prefix, a namespace and a name: {keys:?}"
    );
    assert!(digits.bytes().all(|digit| b"0123456789abcdef".contains(&digit)), "{keys:?}");
    let ttl = redis.command(&["PTTL", &keys[0]]).number();
    assert!((1..=90_000).contains(&ttl), "{ttl} ms left of the default of 30 s, and a minute");

    for _ in 0..3 {
        let again = proxy.get(TARGET);
        assert_eq!((again.status, again.text()), (200, QUOTES));
        assert!(hit(&again).0 <= 30);
        assert_eq!(again.field("content-type"), Some("application/json"));
        assert_eq!(again.field("content-length"), Some(QUOTES.len().to_string().as_str()));
        assert!(again.field("age").is_some() && again.field("date").is_some());
    }
    assert_eq!(origin.count("/api/v1/quotes"), 1);
    assert_eq!(origin.seen("/api/v1/quotes")[0].target, TARGET);

    // The first health request probes Redis; further ones within a second do not, on any worker.
    let commands = || proxy.metric(r#"cachewarp_redis_commands_total{outcome="ok"}"#);
    let (flood, before) = (cachewarp::time::instant(), commands());
    for _ in 0..20 {
        let health = proxy.get("/health");
        assert_eq!(health.text(), r#"{"status":"ok","redis":"connected"}"#);
        assert_eq!(health.field("content-type"), Some("application/json"));
        assert_eq!(health.field("cache-status"), None);
    }
    let (asked, seconds) = (commands() - before, flood.elapsed().as_secs() as f64);
    assert!((1.0..=1.0 + seconds).contains(&asked), "{asked} PINGs");
    assert_eq!(origin.count("/health"), 0);
}

#[test]
fn health_probes_redis_at_most_once_a_second() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[]);
    // Heartbeats are not counted as commands. The registration of the node is one, and is renewed
    // after some seconds.
    let probes = || proxy.metric(r#"cachewarp_redis_commands_total{outcome="ok"}"#);
    until("the registration", || redis.command(&["KEYS", "*nodes"]) != Value::Array(Vec::new()));
    let before = probes();
    let begun = cachewarp::time::instant();
    let mut client = proxy.connect();
    let mut asked = 0;
    until("a second probe", || {
        asked += 1;
        assert_eq!(client.get("/health").status, 200);
        probes() >= before + 2.0
    });
    let elapsed = begun.elapsed();
    assert!(
        probes() - before <= 1.0 + elapsed.as_secs() as f64 && elapsed.as_millis() >= 1000,
        "{elapsed:?}"
    );
    assert!(asked > 2);
}

#[test]
fn a_redis_hit_equals_a_memory_hit() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json(QUOTES));
    for redis in [Redis::start(), Redis::start_on_unix_socket()] {
        // On a busy machine a long timeout makes the write late but not lost.
        let settings = [("cache_memory_size", "0"), ("redis_timeout", "10s")];
        let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &settings);
        assert_eq!(proxy.get("/a").cache_status(), "CacheWarp; fwd=uri-miss; stored");
        redis.await_keys(1);
        let again = proxy.get("/a");
        assert_eq!((hit(&again).1, again.text()), ("redis", QUOTES));
    }
}

#[test]
fn another_node_hits_a_stored_response() {
    let (origin, redis) = (Origin::start(), Redis::start());
    origin.answer("/a", Answer::json(QUOTES));
    let first = Proxy::start_with_redis(&origin.url(), &redis.url(), &[]);
    let second = Proxy::start_with_redis(&origin.url(), &redis.url(), &[]);
    assert_eq!(first.get("/a").cache_status(), "CacheWarp; fwd=uri-miss; stored");
    redis.await_keys(1);
    let there = second.get("/a");
    assert_eq!((hit(&there).1, there.text()), ("redis", QUOTES));
    assert_eq!(hit(&second.get("/a")).1, "memory");
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn the_second_node_needs_the_password_and_the_database_of_the_first() {
    let (origin, redis) = (Origin::start(), Redis::start_with(&["--requirepass", "open sesame"]));
    origin.answer("/a", Answer::json(QUOTES));
    let url = redis.url().replace("redis://", "redis://:open%20sesame@") + "/3";
    let first = Proxy::start_with_redis(&origin.url(), &url, &[]);
    first.get("/a");
    // The client reads the entry and the purge state, creates and checks the purge state, and
    // stores the entry; each script comes with a lookup.
    first.await_metric(r#"cachewarp_redis_commands_total{outcome="ok"}"#, 9.0);
    let second = Proxy::start_with_redis(&origin.url(), &url, &[]);
    assert_eq!(hit(&second.get("/a")).1, "redis");
}

#[test]
fn redis_may_be_behind_tls() {
    let (origin, redis) = (Origin::start(), Redis::start());
    origin.answer("/a", Answer::json(QUOTES));
    let tls = TlsFront::before(redis.addr());
    let (redis_url, origin_url) = (format!("--redis-url=rediss://{}", tls.authority()), origin.url());
    let program = Program::start(&Start {
        arguments: &[
            "--listen-addr=127.0.0.1:0",
            "--admin-addr=off",
            "--worker-threads=1",
            "--cache-memory-size=0",
            "--redis-timeout=5s",
            "--origin-url",
            &origin_url,
            &redis_url,
        ],
        // rustls uses this file as its system authorities.
        environment: &[("SSL_CERT_FILE", tls.ca_file())],
        dotenv: None,
    });
    program.await_line("connected to Redis");
    let mut client = Client::connect(program.await_addr());
    assert_eq!(client.get("/a").cache_status(), "CacheWarp; fwd=uri-miss; stored");
    redis.await_keys(1);
    let again = client.get("/a");
    assert_eq!((hit(&again).1, again.text()), ("redis", QUOTES));
}

#[test]
fn a_redis_without_resp3_is_used_with_resp2() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json(QUOTES));
    let redis = Redis::start_with(&["--rename-command", "HELLO", "", "--requirepass", "sesame"]);
    let url = redis.url().replace("redis://", "redis://:sesame@");
    let proxy = Proxy::start_with_redis(&origin.url(), &url, &[("cache_memory_size", "0")]);
    assert_eq!(proxy.get("/a").cache_status(), "CacheWarp; fwd=uri-miss; stored");
    until("the response to be stored", || proxy.get("/a").cache_status().contains("hit"));
    assert_eq!(hit(&proxy.get("/a")).1, "redis");
}

#[test]
fn a_restricted_redis_user_suffices() {
    let (origin, redis) = (Origin::start(), Redis::start());
    origin.answer("/a", Answer::json(QUOTES));
    let url = redis.url().replace("redis://", "redis://reader:se%20same@");
    let rights = ["ACL", "SETUSER", "reader", "on", ">se same", "~cachewarp:*", "+get", "+ping", "+hello"];
    redis.command(&rights);
    let proxy = Proxy::start_with_redis(&origin.url(), &url, &[("cache_memory_size", "0")]);
    assert_eq!(proxy.get("/a").status, 200);
    proxy.await_metric(r#"cachewarp_redis_errors_total{kind="no-perm"}"#, 1.0);
    redis.command(&["ACL", "SETUSER", "reader", "+set"]);
    assert_eq!(proxy.get("/a").status, 200);
    redis.await_keys(1);
    assert_eq!(hit(&proxy.get("/a")).1, "redis");
}

#[test]
fn a_body_is_stored_up_to_the_size_limit() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[("cache_max_body", "1KiB")]);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    for (length, stored) in [(1024, true), (1025, false)] {
        let body = " ".repeat(length - 2) + "{}";
        let declared = format!("{head}Content-Length: {length}\r\n\r\n{body}");
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n");
        for (framing, answer) in [("declared", declared), ("chunked", chunked)] {
            let path = format!("/{length}/{framing}");
            origin.answer(&path, Answer::raw(answer));
            assert_eq!(proxy.get(&path).text(), body);
            let again = proxy.get(&path);
            assert_eq!((again.text(), again.cache_status().contains("hit")), (&*body, stored), "{path}");
        }
    }
    assert_eq!(proxy.metric(r#"cachewarp_not_stored_total{reason="body-too-large"}"#), 4.0);
}

#[test]
fn a_head_is_answered_from_a_stored_get() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json(QUOTES));
    let proxy = Proxy::start(&origin.url(), &[]);
    let miss = proxy.connect().request("HEAD", "/a", &[]);
    assert_eq!((miss.status, miss.cache_status()), (200, "CacheWarp; fwd=uri-miss; detail=method"));
    proxy.get("/a");
    let stored = proxy.connect().request("HEAD", "/a", &[]);
    assert_eq!((hit(&stored).1, stored.body.len()), ("memory", 0));
    assert_eq!(stored.field("content-length"), Some(QUOTES.len().to_string().as_str()));
    let asked: Vec<_> = origin.seen("/a").into_iter().map(|request| request.method).collect();
    assert_eq!(asked, ["HEAD", "GET"]);
}

#[test]
fn a_response_has_its_stated_lifetime() {
    type Fields = &'static [(&'static str, &'static str)];
    /// The bounds of a hit's `ttl`, or the reason why there is none.
    type Want = Result<(u64, u64), &'static str>;
    let rows: &[(Fields, Want)] = &[
        (&[], Ok((20, 30))),
        (&[("Cache-Control", "max-age=100")], Ok((90, 100))),
        (&[("Cache-Control", "max-age=100, s-maxage=200")], Ok((190, 200))),
        (&[("Cache-Control", "max-age=100"), ("Age", "40")], Ok((50, 60))),
        (&[("Cache-Control", "max-age=0")], Err("expired")),
        (&[("Cache-Control", "max-age=100"), ("Age", "100")], Err("expired")),
        (&[("Cache-Control", "no-store, max-age=100")], Err("no-store")),
        (&[("Cache-Control", "private, max-age=100")], Err("private")),
        (&[("Cache-Control", "no-cache, max-age=100")], Err("no-cache")),
        (&[("Expires", "0")], Err("expired")),
    ];
    let (origin, redis) = (Origin::start(), Redis::start());
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[]);
    for (number, (fields, want)) in rows.iter().enumerate() {
        let path = format!("/{number}");
        let mut all = vec![("Content-Type", "application/json")];
        all.extend(*fields);
        origin.answer(&path, Answer::new(200, &all, QUOTES));
        let (first, second) = (proxy.get(&path), proxy.get(&path));
        match want {
            Ok((least, most)) => {
                assert_eq!(first.cache_status(), "CacheWarp; fwd=uri-miss; stored", "{fields:?}");
                let (ttl, _) = hit(&second);
                assert!((*least..=*most).contains(&ttl), "{fields:?}: ttl={ttl}");
                assert_eq!(origin.count(&path), 1);
            }
            Err(reason) => {
                let status_of_both = format!("CacheWarp; fwd=uri-miss; detail={reason}");
                assert_eq!(
                    (first.cache_status(), second.cache_status()),
                    (&*status_of_both, &*status_of_both)
                );
                assert_eq!(origin.count(&path), 2, "{fields:?}");
            }
        }
    }
    for key in redis.await_keys(rows.iter().filter(|(_, want)| want.is_ok()).count()) {
        let ttl = redis.command(&["PTTL", &key]).number();
        assert!((1..=260_000).contains(&ttl), "every key expires: {ttl}");
    }
}

#[test]
fn the_default_lifetime_expires_and_can_be_disabled() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json(QUOTES));
    let proxy = Proxy::start(&origin.url(), &[("cache_default_ttl", "200ms")]);
    proxy.get("/a");
    until("the response to be stale", || {
        let response = proxy.get("/a");
        if response.cache_status().contains("hit") {
            return false;
        }
        assert_eq!(response.cache_status(), "CacheWarp; fwd=stale; stored");
        true
    });
    assert_eq!(origin.count("/a"), 2);
    let off = Proxy::start(&origin.url(), &[("cache_default_ttl", "0")]);
    assert_eq!(off.get("/a").cache_status(), "CacheWarp; fwd=uri-miss; detail=no-freshness");
}

#[test]
fn each_target_has_its_own_entry() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json(QUOTES));
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    for target in ["/a", "/a?", "/a?b=1&c=2", "/a?c=2&b=1", "/a?b=1&c=%32"] {
        assert_eq!(client.get(target).cache_status(), "CacheWarp; fwd=uri-miss; stored", "{target}");
        assert_eq!(hit(&client.get(target)).1, "memory");
    }
    client.send("GET /a HTTP/1.1\r\nHost: other.test\r\n\r\n");
    assert_eq!(client.response().cache_status(), "CacheWarp; fwd=uri-miss; stored");
    // RFC 9112 §3.2.2: an absolute URL in the request line equals a path with `Host`.
    client.send("GET http://OTHER.test:80/a HTTP/1.1\r\nHost: other.test:80\r\n\r\n");
    assert_eq!(hit(&client.response()).1, "memory");
}

#[test]
fn a_client_can_bypass_stored_responses() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json(QUOTES));
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    for directive in ["no-cache", "min-fresh=3600"] {
        let response = proxy.get_with("/a", &[("Cache-Control", directive)]);
        assert_eq!(response.cache_status(), "CacheWarp; fwd=request; stored", "{directive}");
    }
    // A request with `no-store` gets a stored response (RFC 9111 §5.2.1.5).
    assert_eq!(hit(&proxy.get_with("/a", &[("Cache-Control", "no-store")])).1, "memory");
    let only = [("Cache-Control", "only-if-cached")];
    assert_eq!(proxy.get_with("/a", &only).status, 200);
    assert_eq!(proxy.get_with("/other", &only).status, 504);
    assert_eq!(origin.count("/other"), 0);
}

#[test]
fn no_client_bypasses_stored_responses_by_setting() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json(QUOTES));
    let proxy = Proxy::start(&origin.url(), &[("ignore_client_cache_control", "on")]);
    proxy.get("/a");
    for field in [
        ("Cache-Control", "no-cache"),
        ("Cache-Control", "max-age=0"),
        ("Cache-Control", "min-fresh=3600"),
        ("Pragma", "no-cache"),
    ] {
        assert_eq!(hit(&proxy.get_with("/a", &[field])).1, "memory", "{field:?}");
    }
    assert_eq!(origin.count("/a"), 1);
}

/// The fields are for the exchange that fetched, so neither a hit nor a follower gets them.
#[test]
fn fields_of_one_exchange_are_not_stored_by_setting() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let fields = "X-Correlation-Id: 1\r\nServer-Timing: db;dur=5\r\nX-Kept: 1\r\n";
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{fields}Content-Length: 2\r\n\r\n");
    origin.answer("/a", Answer::silent().pass(&gate).send(format!("{head}{{}}")));
    let proxy = Proxy::start(&origin.url(), &[("unstored_headers", "X-Correlation-Id, server-timing")]);
    let mut clients: Vec<_> = (0..2).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send_head("GET", "/a", &[]);
    }
    proxy.await_askers(2);
    gate.open();
    let mut responses: Vec<_> = clients.iter_mut().map(Client::response).collect();
    responses.push(proxy.get("/a"));
    for response in responses {
        let is_own = response.cache_status() == "CacheWarp; fwd=uri-miss; stored";
        let shown =
            ["x-correlation-id", "server-timing", "x-kept"].map(|name| response.field(name).is_some());
        assert_eq!(shown, [is_own, is_own, true], "{}", response.cache_status());
    }
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn no_response_is_reported_as_stored_without_a_store() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=60")], "{}"));
    let proxy = Proxy::start(&origin.url(), &[("redis_url", "off"), ("cache_memory_size", "0")]);
    for count in 1..3 {
        assert_eq!(proxy.get("/a").cache_status(), "CacheWarp; fwd=uri-miss; detail=no-tier");
        assert_eq!(origin.count("/a"), count);
    }
    proxy.await_metric(r#"cachewarp_not_stored_total{reason="no-tier"}"#, 2.0);
}
