//! What is stale, and who gets it all the same: while it is refreshed, in place of an error, or
//! because the client takes it (RFC 9111 §4.2.4 and §5.2.1, RFC 5861).

use std::thread;
use std::time::Duration;

use cachewarp::time;

use crate::harness::{Answer, Gate, Origin, Proxy, Redis, Response, until};

const OLD: &str = r#"{"state":"old"}"#;
const NEW: &str = r#"{"state":"new"}"#;
const TAG: (&str, &str) = ("ETag", "\"a\"");
/// Forty seconds past a lifetime of sixty when it comes.
const AGE: (&str, &str) = ("Age", "100");
/// Tells fresh from stale, and sets nothing off: a client that gives an age takes nothing stale.
const ONLY_IF_FRESH: (&str, &str) = ("Cache-Control", "only-if-cached, max-age=1000");

/// Stale when it comes.
fn stale(directives: &str) -> Answer {
    Answer::json_with(&[("Cache-Control", directives), AGE, TAG], OLD)
}

fn error(status: u16) -> Answer {
    Answer::new(status, &[("Content-Type", "application/json")], r#"{"error":true}"#)
}

fn await_stale(proxy: &Proxy, path: &str) {
    until("it to be stale", || proxy.get_with(path, &[ONLY_IF_FRESH]).status == 504);
}

/// How many seconds past its lifetime a hit is, as `Cache-Status` says.
fn seconds_past(response: &Response) -> u64 {
    let status = response.cache_status();
    let past = status.strip_prefix("CacheWarp; hit; ttl=-").and_then(|rest| rest.split(';').next());
    past.unwrap_or_else(|| panic!("{status} is no stale hit")).parse().unwrap()
}

#[test]
fn what_may_be_refreshed_meanwhile_is_served_to_all_and_fetched_once() {
    let (origin, redis, gate) = (Origin::start(), Redis::start(), Gate::new());
    origin.answer("/a", stale("max-age=60, stale-while-revalidate=600"));
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[("worker_threads", "2")]);
    assert_eq!(proxy.get("/a").cache_status(), "CacheWarp; fwd=uri-miss; stored");
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=60\r\n";
    origin.answer(
        "/a",
        Answer::silent().pass(&gate).send(format!("{head}Content-Length: {}\r\n\r\n{NEW}", NEW.len())),
    );
    for _ in 0..10 {
        let response = proxy.get("/a");
        assert_eq!((response.text(), seconds_past(&response) >= 40), (OLD, true));
        let age: u64 = response.field("age").unwrap().parse().unwrap();
        assert!((100..120).contains(&age), "{age}");
    }
    gate.await_arrivals(1);
    assert_eq!((origin.count("/a"), proxy.metric("cachewarp_refreshes_total")), (2, 1.0), "one for all");
    gate.open();
    until("the refresh to be stored", || proxy.get("/a").text() == NEW);
    assert!(proxy.get("/a").cache_status().starts_with("CacheWarp; hit; ttl=5"));
    assert_eq!(origin.count("/a"), 2);
}

#[test]
fn a_refresh_asks_on_nobody_s_behalf() {
    let origin = Origin::start();
    origin.answer("/a", {
        let fields = [
            ("Cache-Control", "public, max-age=60, stale-while-revalidate=600"),
            AGE,
            TAG,
            ("Vary", "X-Abc"),
        ];
        Answer::json_with(&fields, OLD)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    let own = [
        ("X-Abc", "1"),
        ("Authorization", "Bearer alice"),
        ("Cookie", "id=alice"),
        ("X-Api-Key", "alice"),
        ("X-Other", "alice"),
        ("If-None-Match", "\"x\""),
        ("Range", "bytes=0-1"),
    ];
    proxy.get_with("/a", &own[..1]);
    assert_eq!(proxy.get_with("/a", &own).text(), OLD.split_at(2).0, "a part of the stale one");
    origin.await_count("/a", 2);
    let asked = &origin.seen("/a")[1];
    let said = own.map(|(name, _)| asked.field(&name.to_ascii_lowercase()));
    assert_eq!(
        said,
        [Some("1"), None, None, None, None, Some("\"a\""), None],
        "the variant's field, and our condition"
    );
}

#[test]
fn a_refresh_is_of_the_variant_that_was_stale() {
    let origin = Origin::start();
    let stale = |text: &str| {
        let control = ("Cache-Control", "max-age=60, stale-while-revalidate=600");
        Answer::json_with(&[control, AGE, TAG, ("Vary", "X-Abc")], text)
    };
    origin.answer("/a", stale(OLD));
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    // Who has no such field, as far as the origin is told, gets the variant without it; to ask for
    // another in its name would have an origin's 304 make it that one.
    origin.answer("/a", Answer::new(304, &[("Cache-Control", "max-age=60")], ""));
    assert_eq!(proxy.get_with("/a", &[("X-Abc", "1"), ("Connection", "x-abc")]).text(), OLD);
    origin.await_count("/a", 2);
    let asked = &origin.seen("/a")[1];
    assert_eq!((asked.field("if-none-match"), asked.field("x-abc")), (Some("\"a\""), None));
    origin.answer("/a", stale(NEW));
    assert_eq!(proxy.get_with("/a", &[("X-Abc", "1")]).text(), NEW);
}

#[test]
fn who_takes_nothing_stale_asks_beside_the_refresh() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/a", stale("max-age=60, stale-while-revalidate=600"));
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    origin.answer(
        "/a",
        Answer::silent().pass(&gate).send("HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\n\r\n"),
    );
    assert_eq!(proxy.get("/a").text(), OLD);
    gate.await_arrivals(1);
    let mut strict = proxy.connect();
    strict.send_head("GET", "/a", &[("Cache-Control", "max-age=1000")]);
    origin.await_count("/a", 3);
    gate.open();
    let response = strict.response();
    assert_eq!(
        (response.text(), response.cache_status()),
        (OLD, "CacheWarp; fwd=request; fwd-status=304; stored")
    );
}

#[test]
fn an_operator_may_allow_what_the_origin_does_not_speak_of() {
    let origin = Origin::start();
    let settings = [("cache_default_ttl", "500ms"), ("cache_stale_while_revalidate", "1h")];
    let proxy = Proxy::start(&origin.url(), &settings);
    let rows = [
        ("/silent", "", true),
        ("/own-word", "max-age=1, stale-while-revalidate=0", false),
        ("/strict", "max-age=1, must-revalidate", false),
    ];
    for (path, directives, served) in rows {
        let fields = [("Cache-Control", directives), ("Age", "0")];
        let fields = if directives.is_empty() { &fields[1..] } else { &fields };
        origin.answer(path, Answer::json_with(fields, OLD));
        proxy.get(path);
        await_stale(&proxy, path);
        origin.answer(path, Answer::json_with(fields, NEW));
        let response = proxy.get(path);
        if served {
            assert_eq!((response.text(), seconds_past(&response) < 20), (OLD, true));
            until("the refresh to be stored", || proxy.get(path).text() == NEW);
        } else {
            assert_eq!(
                (response.text(), response.cache_status()),
                (NEW, "CacheWarp; fwd=stale; stored"),
                "{path}"
            );
        }
    }
}

#[test]
fn a_refresh_that_fails_leaves_what_there_is() {
    let origin = Origin::start();
    origin.answer("/a", stale("max-age=60, stale-while-revalidate=600"));
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    origin.answer("/a", error(503));
    // The second refresh comes when the pause after the first is over.
    for refreshes in 1..=2 {
        until("a refresh", || {
            assert_eq!(proxy.get("/a").text(), OLD);
            origin.count("/a") == 1 + refreshes
        });
        until("the refresh to end", || proxy.metric("cachewarp_fills") == 0.0);
    }
    origin.stop();
    assert_eq!(proxy.get("/a").text(), OLD);
}

#[test]
fn an_error_is_replaced_where_the_origin_allows_it() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let allowed = "max-age=60, stale-if-error=600";
    let rows = [
        (allowed, 500, true),
        (allowed, 502, true),
        (allowed, 503, true),
        (allowed, 504, true),
        (allowed, 501, false),
        (allowed, 404, false),
        ("max-age=60, stale-if-error=10", 503, false),
        ("max-age=60", 503, false),
        ("max-age=60, stale-if-error=600, must-revalidate", 503, false),
        ("max-age=60, stale-if-error=600, proxy-revalidate", 503, false),
        ("s-maxage=60, stale-if-error=600", 503, false),
        ("max-age=60, stale-if-error=600, no-cache", 503, false),
    ];
    for (number, (directives, status, replaced)) in rows.into_iter().enumerate() {
        let path = format!("/{number}");
        origin.answer(&path, stale(directives));
        assert_eq!(proxy.get(&path).cache_status(), "CacheWarp; fwd=uri-miss; stored", "{directives}");
        origin.answer(&path, error(status));
        for _ in 0..2 {
            let response = proxy.get(&path);
            if replaced {
                assert_eq!((response.status, response.text()), (200, OLD), "{directives} and {status}");
                assert!(seconds_past(&response) >= 40);
            } else {
                assert_eq!(response.status, status, "{directives}");
                assert!(!response.cache_status().contains("hit"), "{}", response.cache_status());
            }
        }
        if status == 404 {
            // That is no error of the server's: what was stored has ended (`withdrawn.rs`).
            continue;
        }
        // An error does not end what is stored: a client that wants the origin asked about it gets
        // its answer.
        origin.answer(&path, Answer::not_modified(&[("Cache-Control", "max-age=60")]));
        assert_eq!(proxy.get_with(&path, &[("Cache-Control", "no-cache")]).text(), OLD);
    }
    let replaced = rows.iter().filter(|(_, _, replaced)| *replaced).count();
    assert_eq!(proxy.metric(r#"cachewarp_requests_total{outcome="stale-on-error"}"#), 2.0 * replaced as f64);
}

/// Asks for a hot resource as fast as two clients can, for a while; how long that took, and how
/// often the origin was asked.
fn storm(proxy: &Proxy, origin: &Origin, path: &str) -> (Duration, usize) {
    let script = path.split('?').next().unwrap();
    let (before, begun) = (origin.count(script), time::instant());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = proxy.connect();
                for _ in 0..200 {
                    assert_eq!((client.get(path).text(), proxy.get(path).text()), (OLD, OLD), "{path}");
                }
            });
        }
    });
    (begun.elapsed(), origin.count(script) - before)
}

#[test]
fn an_origin_that_fails_is_asked_once_a_second_while_something_stale_stands_in() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[("origin_head_timeout", "500ms")]);
    let cut = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{";
    let failures = [
        ("/500", error(500)),
        ("/502", error(502)),
        ("/503", error(503)),
        ("/504", error(504)),
        ("/closed", Answer::silent().close()),
        ("/silent", Answer::silent().hang()),
        ("/nonsense", Answer::raw("nonsense\r\n\r\n").close()),
        ("/cut", Answer::raw(cut).close()),
    ];
    for window in ["stale-if-error=600", "stale-while-revalidate=600, stale-if-error=600"] {
        for (path, failure) in &failures {
            let path = &format!("{path}?{}", window.len());
            let script = path.split('?').next().unwrap();
            origin.answer(script, stale(&format!("max-age=60, {window}")));
            proxy.get(path);
            origin.answer(script, failure.clone());
            // The first to ask the origin gets what that has: a cut body is cut.
            let mut first = proxy.connect();
            first.send_head("GET", path, &[("Connection", "close")]);
            first.rest();
            until("the failure to be known", || proxy.metric("cachewarp_fills") == 0.0);
            let (took, asked) = storm(&proxy, &origin, path);
            assert!(asked as f64 <= 1.0 + took.as_secs_f64(), "{path}: {asked} times in {took:?}");
        }
    }
}

#[test]
fn an_origin_that_says_when_is_not_asked_before() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    origin.answer("/a", stale("max-age=60, stale-if-error=600"));
    proxy.get("/a");
    origin.answer("/a", Answer::new(503, &[("Retry-After", "60")], ""));
    assert_eq!(proxy.get("/a").text(), OLD);
    let (_, asked) = storm(&proxy, &origin, "/a");
    assert_eq!(asked, 0);
    // A request that may not have anything stale goes to the origin, and its success is one for
    // all.
    origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=60")], NEW));
    assert_eq!(proxy.get_with("/a", &[("Cache-Control", "no-cache")]).text(), NEW);
    until("the new one to be stored", || proxy.get("/a").text() == NEW);
}

#[test]
fn a_head_is_told_what_a_get_would_be() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for (path, directives, status) in
        [("/allowed", "max-age=60, stale-if-error=600", 200), ("/silent", "max-age=60", 503)]
    {
        origin.answer(path, stale(directives));
        proxy.get(path);
        origin.answer(path, error(503));
        for method in ["GET", "HEAD"] {
            let response = proxy.connect().request(method, path, &[]);
            assert_eq!(response.status, status, "{method} {path}: {}", response.cache_status());
        }
    }
}

#[test]
fn a_client_or_an_operator_may_allow_it_too() {
    let origin = Origin::start();
    let asked = [("Cache-Control", "stale-if-error=600")];
    let proxy = Proxy::start(&origin.url(), &[]);
    origin.answer("/client", stale("max-age=60"));
    proxy.get("/client");
    origin.answer("/client", error(503));
    assert_eq!(proxy.get_with("/client", &asked).text(), OLD);
    assert_eq!(proxy.get("/client").status, 503);

    let proxy =
        Proxy::start(&origin.url(), &[("cache_default_ttl", "500ms"), ("cache_stale_if_error", "1h")]);
    for (path, directives, status) in
        [("/operator", "", 200), ("/origin", "max-age=1, stale-if-error=0", 503)]
    {
        let fields = [("Cache-Control", directives)];
        origin.answer(path, Answer::json_with(if directives.is_empty() { &[] } else { &fields }, OLD));
        proxy.get(path);
        await_stale(&proxy, path);
        origin.answer(path, error(503));
        assert_eq!(proxy.get(path).status, status, "{path}");
    }
}

#[test]
fn an_origin_that_gives_no_answer_is_stood_in_for() {
    let settings = [("origin_head_timeout", "500ms"), ("origin_connect_timeout", "1s")];
    let failures: [(&str, Answer, u16); 3] = [
        ("silence", Answer::silent().hang(), 504),
        ("a close", Answer::silent().close(), 502),
        ("nonsense", Answer::raw("nonsense\r\n\r\n").close(), 502),
    ];
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &settings);
    let allowed = stale("max-age=60, stale-if-error=600");
    // What came stale was never meant to be served without asking, unless somebody says so.
    let silent = stale("max-age=60");
    let forbidden = stale("max-age=60, stale-if-error=600, must-revalidate");
    for (failure, answer, status) in failures {
        for (number, (stored, want)) in
            [(&allowed, 200), (&silent, status), (&forbidden, status)].into_iter().enumerate()
        {
            let path = format!("/{}/{number}", failure.replace(' ', "-"));
            origin.answer(&path, stored.clone());
            proxy.get(&path);
            origin.answer(&path, answer.clone());
            let response = proxy.get(&path);
            assert_eq!(response.status, want, "{failure}: {number}: {}", response.cache_status());
        }
    }
    for (path, stored) in [("/allowed", &allowed), ("/silent", &silent), ("/forbidden", &forbidden)] {
        origin.answer(path, stored.clone());
        proxy.get(path);
    }
    origin.stop();
    assert_eq!(
        ["/allowed", "/silent", "/forbidden"].map(|path| proxy.get(path).status),
        [200, 502, 502],
        "refused"
    );
}

#[test]
fn without_a_way_to_the_origin_what_was_fresh_lately_is_served() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[("cache_default_ttl", "500ms")]);
    let strict = [("Cache-Control", "max-age=1, must-revalidate"), TAG];
    for (path, fields) in [("/a", &[TAG][..]), ("/strict", &strict)] {
        origin.answer(path, Answer::json_with(fields, OLD));
        proxy.get(path);
    }
    await_stale(&proxy, "/a");
    await_stale(&proxy, "/strict");
    origin.answer("/a", error(503));
    assert_eq!(proxy.get("/a").status, 503, "an answer is an answer");
    origin.stop();
    let response = proxy.get("/a");
    assert_eq!((response.text(), seconds_past(&response) < 60), (OLD, true));
    for field in [("Cache-Control", "no-cache"), ("Cache-Control", "max-age=1000"), ("Authorization", "x")] {
        assert_eq!(proxy.get_with("/a", &[field]).status, 502, "{field:?}");
    }
    assert_eq!(proxy.get("/strict").status, 502);
}

#[test]
fn all_who_wait_for_an_origin_that_fails_get_what_is_stale() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let proxy =
        Proxy::start(&origin.url(), &[("cache_default_ttl", "500ms"), ("cache_stale_if_error", "1h")]);
    for (path, answer) in [
        ("/nonsense", Answer::silent().pass(&gate).send("nonsense\r\n\r\n").close()),
        ("/error", Answer::silent().pass(&gate).send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")),
    ] {
        origin.answer(path, Answer::json_with(&[TAG], OLD));
        proxy.get(path);
        await_stale(&proxy, path);
        origin.answer(path, answer);
    }
    let others = proxy.metric(CONNECTIONS);
    let mut clients: Vec<_> = (0..10).map(|_| proxy.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send_head("GET", if number % 2 == 0 { "/nonsense" } else { "/error" }, &[]);
    }
    until("all to wait", || proxy.metric(CONNECTIONS) >= others + 10.0);
    gate.await_arrivals(2);
    gate.open();
    for client in &mut clients {
        let response = client.response();
        assert_eq!((response.text(), seconds_past(&response) >= 1), (OLD, true));
    }
    assert_eq!((origin.count("/nonsense"), origin.count("/error")), (2, 2));
}

/// Client connections that have sent something.
const CONNECTIONS: &str = r#"cachewarp_client_connections_total{protocol="http1"}"#;

#[test]
fn what_a_client_takes() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    // What is stored, what is asked, and whether that is a hit.
    let half = "max-age=160";
    let rows = [
        ("max-age=60", "max-stale", true),
        ("max-age=60", "max-stale=100", true),
        ("max-age=60", "max-stale=39", false),
        ("max-age=60", "max-stale=x", false),
        ("max-age=60", "max-stale=100, max-age=50", false),
        ("max-age=60", "max-stale=100, max-age=200", true),
        ("max-age=60", "max-stale, no-cache", false),
        ("max-age=60, must-revalidate", "max-stale", false),
        ("max-age=60, proxy-revalidate", "max-stale", false),
        ("s-maxage=60", "max-stale", false),
        ("no-cache, max-age=600", "max-stale", false),
        (half, "min-fresh=50", true),
        (half, "min-fresh=61", false),
        (half, "max-age=110", true),
        (half, "max-age=99", false),
        (half, "max-age=x", false),
        (half, "max-stale", true),
        (half, "no-store", true),
    ];
    for (number, (stored, asked, served)) in rows.into_iter().enumerate() {
        let path = format!("/{number}");
        origin.answer(&path, stale(stored));
        proxy.get(&path);
        let response = proxy.get_with(&path, &[("Cache-Control", asked)]);
        assert_eq!(response.text(), OLD, "{stored} and {asked}");
        assert_eq!(
            response.cache_status().contains("hit"),
            served,
            "{stored} and {asked}: {}",
            response.cache_status()
        );
        assert_eq!(origin.count(&path), 2 - usize::from(served), "{stored} and {asked}");
        let cached = format!("{asked}, only-if-cached");
        let response = proxy.get_with(&path, &[("Cache-Control", &cached)]);
        assert_eq!(response.status, if served { 200 } else { 504 }, "{stored} and {cached}");
    }
    assert_eq!(proxy.get_with("/never", &[("Cache-Control", "only-if-cached")]).status, 504);
    assert_eq!(origin.count("/never"), 0);
}

#[test]
fn lifetimes_of_what_comes_together_end_apart() {
    let origin = Origin::start();
    let ttls = |proxy: &Proxy| -> Vec<u64> {
        let ttl = |number: usize| {
            let path = format!("/{number}");
            origin.answer(&path, Answer::json_with(&[("Cache-Control", "max-age=1000")], OLD));
            proxy.get(&path);
            let response = proxy.get(&path);
            let ttl = response.cache_status().strip_prefix("CacheWarp; hit; ttl=").expect("a hit");
            ttl.split(';').next().unwrap().parse().unwrap()
        };
        (0..32).map(ttl).collect()
    };
    let even = ttls(&Proxy::start(&origin.url(), &[]));
    assert!(even.iter().all(|ttl| (950..=1000).contains(ttl)), "{even:?}");
    let uneven = ttls(&Proxy::start(&origin.url(), &[("cache_ttl_jitter", "50%")]));
    assert!(uneven.iter().all(|ttl| (450..=1000).contains(ttl)), "{uneven:?}");
    // All within a tenth of one another, by chance: less than once in 10^20.
    let (least, most) = (uneven.iter().min().unwrap(), uneven.iter().max().unwrap());
    assert!(most - least > 100, "{uneven:?}");
}

#[test]
fn what_is_dear_to_fetch_is_refreshed_before_it_ends() {
    let origin = Origin::start();
    // Less than a second left when it comes, after a tenth of a second of work.
    origin.script("/a", |exchange| {
        thread::sleep(Duration::from_millis(100));
        Answer::json_with(&[("Cache-Control", "max-age=60"), ("Age", "59")], OLD).give(exchange)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    (0..20).for_each(|_| drop(proxy.get("/a")));
    assert_eq!(proxy.metric("cachewarp_refreshes_total"), 0.0, "by default never");
    let proxy = Proxy::start(&origin.url(), &[("cache_early_refresh", "1000%")]);
    until("an early refresh", || {
        assert_eq!(proxy.get("/a").text(), OLD);
        proxy.metric("cachewarp_refreshes_total") > 0.0
    });
}

#[test]
fn what_may_stand_in_for_a_lost_origin_is_kept_that_long_in_every_tier() {
    for memory in ["64MiB", "0"] {
        let (origin, redis) = (Origin::start(), Redis::start());
        // Without a validator, nothing else keeps it.
        origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=1")], OLD));
        origin.answer("/strict", Answer::json_with(&[("Cache-Control", "max-age=1, must-revalidate")], OLD));
        let settings = [("cache_memory_size", memory), ("redis_timeout", "10s")];
        let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &settings);
        for path in ["/a", "/strict"] {
            proxy.get(path);
            until("it to be stored", || proxy.get_with(path, &[ONLY_IF_FRESH]).status == 200);
        }
        for path in ["/a", "/strict"] {
            await_stale(&proxy, path);
        }
        origin.stop();
        let stale = proxy.get("/a");
        assert_eq!((stale.status, stale.text()), (200, OLD), "{memory}");
        assert!(stale.cache_status().starts_with("CacheWarp; hit; ttl=-"), "{}", stale.cache_status());
        assert_eq!(proxy.get("/strict").status, 502, "{memory}");
    }
}
