//! Purges by an operator and by the `PURGE` method.

use crate::admin::{BEARER, JSON, PATIENT, TOKEN, admin_request, purge};
use crate::harness::{Answer, Client, Gate, Origin, Proxy, Redis, ScriptedRedis, until};

fn cacheable(body: &str) -> Answer {
    Answer::new(200, &[("Content-Type", "application/json"), ("Cache-Control", "max-age=600")], body)
}

#[test]
fn a_purge_of_a_url_removes_all_its_variants() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let fields =
        [("Content-Type", "application/json"), ("Cache-Control", "max-age=600"), ("Vary", "Accept-Language")];
    origin.answer("/v", Answer::new(200, &fields, "{}"));
    origin.answer("/other", cacheable("{}"));
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &PATIENT);
    let get =
        |language: &str| proxy.get_with("/v", &[("Accept-Language", language)]).cache_status().to_owned();
    proxy.get("/other");
    for language in ["de", "fr", "de", "fr"] {
        get(language);
    }
    assert_eq!(origin.count("/v"), 2);
    redis.await_keys(4);

    let done = purge(&proxy, r#"{"url":"http://TEST:80/v"}"#);
    assert_eq!((done.status, done.field("content-type")), (200, Some("application/json")));
    let summary = r#"{"outcome":"everywhere","nodes":1,"confirmed":1,"found":1,"took_ms":"#;
    assert!(done.text().starts_with(summary), "{}", done.text());
    assert!(
        done.text().ends_with(r#""strength":"hard","purged":[{"url":"http://test/v"}]}"#),
        "{}",
        done.text()
    );
    for language in ["de", "fr"] {
        assert!(get(language).contains("fwd="), "{language}");
    }
    assert_eq!((origin.count("/v"), origin.count("/other")), (4, 1));
    assert!(proxy.get("/other").cache_status().contains("hit"));
    // A purge can be repeated, and can name a URL that is not stored. The answer tells how many
    // were.
    for (body, found) in [
        (r#"{"urls":["http://test/v","http://test/none"]}"#, r#""found":1,"#),
        (r#"{"urls":["http://test/v","http://test/none"]}"#, r#""found":0,"#),
        (r#"{"url":"http://test/none"}"#, r#""found":0,"#),
        (r#"{"url":"http://test/none","tag":"a"}"#, r#""found":"unknown","#),
        (r#"{"all":true}"#, r#""found":"unknown","#),
    ] {
        let done = purge(&proxy, body);
        assert!(done.status == 200 && done.text().contains(found), "{body}: {}", done.text());
    }
}

#[test]
fn a_soft_purge_of_a_url_makes_all_its_variants_stale() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let fields = [
        ("Content-Type", "application/json"),
        ("Cache-Control", "max-age=600"),
        ("Vary", "Accept-Language"),
        ("ETag", "\"a\""),
    ];
    origin.answer("/v", Answer::new(200, &fields, "{}"));
    origin.answer("/w", cacheable("{}"));
    for proxy in
        [Proxy::start(&origin.url(), &[]), Proxy::start_with_redis(&origin.url(), &redis.url(), &PATIENT)]
    {
        let get = |path: &str, language: &str| {
            proxy.get_with(path, &[("Accept-Language", language)]).cache_status().to_owned()
        };
        let requests = [("/v", "de"), ("/v", "fr"), ("/w", "de")];
        for (path, language) in requests {
            get(path, language);
            until("the response to be stored", || get(path, language).starts_with("CacheWarp; hit"));
        }
        assert_eq!(purge(&proxy, r#"{"urls":["http://test/v","http://test/w"],"soft":true}"#).status, 200);
        for (path, language) in requests {
            let status = get(path, language);
            assert!(status.starts_with("CacheWarp; fwd=stale"), "{path} {language}: {status}");
        }
        for (path, language) in requests {
            until("the response to be stored again", || get(path, language).starts_with("CacheWarp; hit"));
        }
    }
}

#[test]
fn a_purge_by_either_scheme_removes_both() {
    let origin = Origin::start();
    origin.answer("/a", cacheable("{}"));
    let proxy = Proxy::start(&origin.url(), &[("trusted_proxies", "127.0.0.1")]);
    let get = |proto: &str| proxy.get_with("/a", &[("X-Forwarded-Proto", proto)]);
    for url in ["https://test/a", "http://test/a"] {
        for proto in ["http", "https"] {
            get(proto);
            assert!(get(proto).cache_status().contains("hit"));
            assert_eq!(purge(&proxy, &format!(r#"{{"url":"{url}"}}"#)).status, 200);
            assert!(get(proto).cache_status().contains("fwd"), "{url} {proto}");
        }
    }
}

const OLD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=600\r\nContent-Length: 2\r\n\r\n{}";

#[test]
fn a_fetch_that_began_before_a_purge_stores_nothing() {
    let origin = Origin::start();
    let gate = Gate::new();
    origin.answer("/a", Answer::silent().pass(&gate).send(OLD));
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    client.send_head("GET", "/a", &[]);
    gate.await_arrivals(1);
    assert_eq!(purge(&proxy, r#"{"url":"http://test/a"}"#).status, 200);
    gate.open();
    assert_eq!(client.response().status, 200);
    assert!(
        proxy.get("/a").cache_status().contains("fwd"),
        "a fetch from before the purge must not be stored"
    );
}

#[test]
fn a_purge_that_redis_refuses_is_reported_as_incomplete() {
    let origin = Origin::start();
    origin.answer("/a", cacheable("{}"));
    let redis = ScriptedRedis::respond(|command| match command[0].as_str() {
        "HELLO" => Some(b"%1\r\n$5\r\nproto\r\n:3\r\n".to_vec()),
        "CLIENT" | "SET" => Some(b"+OK\r\n".to_vec()),
        "GET" => Some(b"_\r\n".to_vec()),
        _ => Some(b"-READONLY You can't write against a read only replica.\r\n".to_vec()),
    });
    let settings = [
        ("redis_url", redis.url()),
        ("redis_pool_size", "1".to_owned()),
        ("redis_timeout", "10s".to_owned()),
    ];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let proxy = Proxy::start(&origin.url(), &settings);
    proxy.await_redis();
    proxy.get("/a");
    let failed = purge(&proxy, r#"{"url":"http://test/a"}"#);
    assert_eq!((failed.status, failed.field("retry-after")), (503, Some("1")), "{}", failed.text());
    assert_eq!(failed.field("content-type"), Some("application/problem+json"));
    assert!(failed.text().contains(r#""outcome":"unavailable""#), "{}", failed.text());
    assert!(proxy.get("/a").cache_status().contains("fwd"), "this node must have purged its memory");
}

#[test]
fn a_token_permits_purges_from_any_host() {
    let origin = Origin::start();
    origin.answer("/a", cacheable("{}"));
    let proxy = Proxy::start(&origin.url(), &[("admin_token", TOKEN)]);
    proxy.get("/a");
    let fields = [JSON, BEARER, ("Host", "admin.example")];
    let done = admin_request(proxy.admin_addr(), "POST", "/purge", &fields, r#"{"url":"http://test/a"}"#);
    assert_eq!(done.status, 200);
    assert!(proxy.get("/a").cache_status().contains("fwd"));
}

#[test]
fn the_purge_method_is_forwarded_if_no_address_may_purge() {
    let origin = Origin::start();
    origin.answer("/a", cacheable("{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    assert_eq!(proxy.connect().request("PURGE", "/a", &[]).text(), "{}");
    let methods: Vec<_> = origin.seen("/a").iter().map(|request| request.method.clone()).collect();
    assert_eq!(methods, ["GET", "PURGE"]);
}

#[test]
fn the_purge_method_purges_for_allowed_addresses_and_is_not_forwarded() {
    let origin = Origin::start();
    origin.answer("/a", cacheable("{}"));
    let proxy = Proxy::start(&origin.url(), &[("purge_allow", "127.0.0.0/8")]);
    proxy.get("/a");
    let purged = proxy.connect().request("PURGE", "/a", &[]);
    assert_eq!((purged.status, purged.field("cache-control")), (200, Some("no-store")));
    assert!(purged.text().contains(r#""purged":[{"url":"http://test/a"}]"#), "{}", purged.text());
    assert!(proxy.get("/a").cache_status().contains("fwd"));
    assert_eq!(origin.count("/a"), 2, "the origin gets only the two GETs");
    assert_eq!(proxy.metric(r#"cachewarp_requests_total{outcome="purge"}"#), 1.0);
}

#[test]
fn the_purge_method_ignores_untrusted_statements_of_an_address() {
    let origin = Origin::start();
    origin.answer("/a", cacheable("{}"));
    let statement = ("X-Forwarded-For", "192.0.2.1");
    let proxy = Proxy::start(&origin.url(), &[("purge_allow", "192.0.2.1")]);
    proxy.get("/a");
    for fields in [&[][..], &[statement], &[("Forwarded", "for=192.0.2.1"), ("X-Real-IP", "192.0.2.1")]] {
        let refused = proxy.connect().request("PURGE", "/a", fields);
        assert_eq!((refused.status, refused.field("content-type")), (403, Some("application/problem+json")));
    }
    assert!(proxy.get("/a").cache_status().contains("hit"));
    assert_eq!(origin.count("/a"), 1, "the origin must not get the request");

    // A trusted proxy names the client; its trust does not include the right to purge.
    let settings = [("purge_allow", "192.0.2.1,127.0.0.1"), ("trusted_proxies", "127.0.0.1")];
    let proxy = Proxy::start(&origin.url(), &settings);
    for (forwarded_for, status) in [
        ("192.0.2.1", 200),
        ("192.0.2.2", 403),
        ("192.0.2.1, 192.0.2.2", 403),
        ("unknown", 403),
        ("192.0.2.1, x", 403),
    ] {
        let answer = proxy.connect().request("PURGE", "/a", &[("X-Forwarded-For", forwarded_for)]);
        assert_eq!(answer.status, status, "{forwarded_for}");
    }
}

#[test]
fn a_subscriber_that_is_no_node_is_counted() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &PATIENT);
    let order = r#"{"url":"http://test/a"}"#;
    until("the node to confirm", || purge(&proxy, order).status == 200);
    let channel = &redis.command(&["PUBSUB", "CHANNELS", "*:sync"]).texts()[0];
    let mut watchers: Vec<_> = (0..2).map(|_| Client::connect(redis.addr())).collect();
    for watcher in &mut watchers {
        watcher.send(format!("SUBSCRIBE {channel}\r\n"));
        let reply = format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{channel}\r\n:1\r\n", channel.len());
        assert_eq!(watcher.bytes(reply.len()), reply.as_bytes());
    }
    let purged = purge(&proxy, order);
    assert_eq!(purged.status, 202);
    let summary = r#"{"outcome":"not-everywhere","nodes":2,"confirmed":1,"unknown_subscribers":2,"#;
    assert!(purged.text().starts_with(summary), "{}", purged.text());
    drop(watchers);
    until("the node to confirm alone", || purge(&proxy, order).status == 200);
}
