//! The explanation of a response: as a response field, and on the terminal.

use serde_json::Value;

use crate::harness::{Answer, Client, Gate, Origin, Program, Proxy, Redis, Response, until};

const TOKEN: &str = "open-sesame";
const ASKED: (&str, &str) = ("CacheWarp-Explain", TOKEN);

fn start(origin: &Origin) -> Proxy {
    Proxy::start(&origin.url(), &[("explain_token", TOKEN)])
}

/// Returns a member of the explanation by its dotted path; empty if there is none.
fn member(response: &Response, path: &str) -> String {
    let field = response.field("cachewarp-explain").unwrap_or_else(|| panic!("unexplained: {response:?}"));
    let explanation: Value = serde_json::from_str(field).unwrap();
    match path.split('.').try_fold(&explanation, |value, name| value.get(name)) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// Returns each applied rule as `rule: says, because (clause)`.
fn rules(response: &Response) -> Vec<String> {
    let explanation: Value = serde_json::from_str(response.field("cachewarp-explain").unwrap()).unwrap();
    let line = |rule: &Value| {
        let words: Vec<_> = rule.as_object().unwrap().values().map(|word| word.as_str().unwrap()).collect();
        format!("{}: {}, {} ({})", words[0], words[1], words[2], words[3])
    };
    explanation["rules"].as_array().unwrap().iter().map(line).collect()
}

fn seconds(response: &Response, path: &str) -> f64 {
    member(response, path).parse().unwrap()
}

#[test]
fn a_miss_and_a_hit_explain_themselves() {
    let (origin, redis) = (Origin::start(), Redis::start());
    origin.answer(
        "/a",
        Answer::new(200, &[("Content-Type", "application/json"), ("Cache-Control", "max-age=60")], "{}"),
    );
    let settings = [("explain_token", TOKEN), ("cache_memory_size", "0")];
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &settings);

    let miss = proxy.get_with("/a?b=c", &[ASKED]);
    assert_eq!((member(&miss, "route"), member(&miss, "outcome")), ("cached".into(), "miss".into()));
    assert_eq!((member(&miss, "found"), member(&miss, "forward")), ("nothing".into(), "uri-miss".into()));
    assert_eq!(member(&miss, "role"), "leader");
    assert_eq!(rules(&miss), ["store: yes, storable (RFC 9111 §3)"]);
    assert_eq!((member(&miss, "key.scheme"), member(&miss, "key.authority")), ("http".into(), "test".into()));
    assert_eq!(member(&miss, "key.target"), "/a?b=c");
    let name = member(&miss, "key.name");
    assert_eq!(redis.await_keys(1), [member(&miss, "key.namespace") + &name]);
    assert_eq!(miss.cache_status(), format!("CacheWarp; fwd=uri-miss; stored; key=\"{name}\""));
    assert_eq!((seconds(&miss, "fetched.lifetime"), member(&miss, "stored")), (60.0, String::new()));

    until("the response to be stored", || proxy.get("/a?b=c").cache_status().contains("hit"));
    let hit = proxy.get_with("/a?b=c", &[ASKED]);
    assert_eq!((member(&hit, "outcome"), member(&hit, "found")), ("hit-redis".into(), "redis".into()));
    assert_eq!(rules(&hit), ["reuse: yes, fresh (RFC 9111 §4.2)"]);
    assert_eq!((member(&hit, "role"), member(&hit, "fetched")), (String::new(), String::new()));
    let (age, ttl) = (seconds(&hit, "stored.age"), seconds(&hit, "stored.ttl"));
    assert!((59.9..60.1).contains(&(age + ttl)) && seconds(&hit, "stored.received") > 1e9, "{age} {ttl}");
    assert_eq!((miss.text(), hit.text(), origin.count("/a")), ("{}", "{}", 1));

    let other = proxy.get("/a?b=c");
    assert_eq!((other.field("cachewarp-explain"), other.field("cache-control")), (None, Some("max-age=60")));
    assert!(
        hit.head.fields.iter().any(|(name, value)| name == "cache-control" && value.starts_with("private="))
    );
}

#[test]
fn without_the_token_there_is_no_explanation_and_the_origin_never_sees_a_token() {
    let origin = Origin::start();
    let echo =
        [("Content-Type", "application/json"), ("CacheWarp-Explain", "{}"), ("Cache-Control", "max-age=9")];
    origin.answer("/a", Answer::new(200, &echo, "{}"));
    for settings in [&[][..], &[("explain_token", TOKEN)]] {
        let proxy = Proxy::start(&origin.url(), settings);
        for method in ["GET", "GET", "HEAD", "POST"] {
            for (name, sent) in [ASKED, ("cachewarp_explain", TOKEN), ("CacheWarp-Explain", "wrong")] {
                let response = proxy.connect().request(method, "/a", &[(name, sent)]);
                let may_know = !settings.is_empty() && (name, sent) == ASKED;
                assert_eq!(
                    response.field("cachewarp-explain").is_some(),
                    may_know,
                    "{method} {name}: {sent}"
                );
                assert_eq!(response.cache_status().contains("key="), may_know && method != "POST");
            }
        }
    }
    let seen = origin.seen("/a");
    assert!(seen.len() >= 6);
    for request in seen {
        assert_eq!((request.field("cachewarp-explain"), request.field("cachewarp_explain")), (None, None));
    }
}

#[test]
fn the_variant_is_explained_without_possible_secrets() {
    let origin = Origin::start();
    let fields = [
        ("Content-Type", "application/json"),
        ("Cache-Control", "max-age=60, public"),
        ("Vary", "X-Session, Accept-Language, Cookie"),
    ];
    origin.answer("/a", Answer::new(200, &fields, "{}"));
    let proxy = start(&origin);
    let asked = [ASKED, ("X-Session", "hunter2"), ("Cookie", "hunter2"), ("Accept-Language", "DE")];
    let (miss, hit) = (proxy.get_with("/a", &asked), proxy.get_with("/a", &asked));
    assert_eq!((member(&miss, "outcome"), member(&hit, "outcome")), ("miss".into(), "hit-memory".into()));
    for response in [&miss, &hit] {
        assert!(member(response, "variant.fields.accept-language").starts_with("de"));
        assert_eq!(member(response, "variant.fields.cookie.digest").len(), 16);
        assert_eq!(member(response, "variant.fields.x-session.digest").len(), 16);
        assert_ne!(member(response, "variant.name"), member(response, "key.name"));
        assert!(response.cache_status().ends_with(&format!("key=\"{}\"", member(response, "variant.name"))));
        assert!(!format!("{response:?}").contains("hunter2"));
    }
    let other = proxy.get_with("/a", &[ASKED]);
    assert_eq!(
        (member(&other, "forward"), member(&other, "variant.fields.cookie")),
        ("vary-miss".into(), "null".into())
    );
}

/// Returns a response that is stale on arrival.
fn stale(cache_control: &str, status: u16) -> Answer {
    let fields = [
        ("Content-Type", "application/json"),
        ("Age", "61"),
        ("ETag", "\"1\""),
        ("Cache-Control", cache_control),
    ];
    Answer::new(status, &fields, if status == 304 { "" } else { "{}" })
}

#[test]
fn a_stale_response_explains_its_reuse() {
    let origin = Origin::start();
    let proxy = start(&origin);
    for (path, cache_control, then, outcome, want) in [
        (
            "/validated",
            "max-age=60",
            stale("max-age=600", 304),
            "validated",
            &[
                "reuse: no, expired (RFC 9111 §4.2)",
                // The request leads a shared fetch, after it has looked once more.
                "reuse: no, expired (RFC 9111 §4.2)",
                "validate: yes, not-modified (RFC 9111 §4.3.4)",
                "freshen: yes, freshened (RFC 9111 §3.2)",
            ][..],
        ),
        (
            "/stand-in",
            "max-age=60, stale-if-error=600",
            Answer::new(503, &[], ""),
            "stale-on-error",
            &[
                "reuse: no, expired (RFC 9111 §4.2)",
                "reuse: no, expired (RFC 9111 §4.2)",
                "store: no, status (RFC 9111 §3, cache_statuses)",
                "stand-in: yes, stale-if-error (RFC 5861 §4)",
            ],
        ),
        (
            "/refreshed",
            "max-age=60, stale-while-revalidate=600",
            stale("max-age=600", 304),
            "hit-memory",
            &["reuse: yes, stale-while-revalidate (RFC 5861 §3)"],
        ),
    ] {
        origin.answer(path, stale(cache_control, 200));
        proxy.get(path);
        origin.answer(path, then);
        let answer = proxy.get_with(path, &[ASKED]);
        assert_eq!((answer.status, member(&answer, "outcome").as_str()), (200, outcome), "{path}");
        assert_eq!(rules(&answer), want, "{path}");
        assert!(seconds(&answer, "stored.stale_for") >= 1.0);
        assert_eq!(member(&answer, "refresh"), if path == "/refreshed" { "begun" } else { "" });
        assert_eq!(member(&answer, "role"), if path == "/refreshed" { "" } else { "leader" });
    }
}

#[test]
fn a_field_outside_the_table_is_named_without_its_value() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    let proxy = start(&origin);
    let fields = [ASKED, ("X-Auth-Token", "secret-of-bob"), ("X-Tenant-Id", "secret-of-alice")];
    let answer = proxy.get_with("/a", &fields);
    assert_eq!(member(&answer, "unlisted_fields"), r#"["x-auth-token","x-tenant-id"]"#);
    assert!(!answer.field("cachewarp-explain").unwrap().contains("secret-of"), "{answer:?}");
    assert!(rules(&answer)[0].starts_with("store: no, "), "{:?}", rules(&answer));
}

#[test]
fn an_unstored_response_explains_the_reason() {
    let origin = Origin::start();
    let private = [("Content-Type", "application/json"), ("Cache-Control", "private")];
    origin.answer("/private", Answer::new(200, &private, "{}"));
    let proxy = start(&origin);
    let first = proxy.get_with("/private", &[ASKED]);
    assert_eq!(rules(&first), ["store: no, private (RFC 9111 §5.2.2.7)"]);
    let again = proxy.get_with("/private", &[ASKED]);
    assert_eq!(
        rules(&again),
        ["collapse: no, private (RFC 9111 §5.2.2.7)", "store: no, private (RFC 9111 §5.2.2.7)"]
    );
    let forbidden = proxy.get_with("/private", &[ASKED, ("Cache-Control", "no-store")]);
    assert_eq!(rules(&forbidden), ["store: no, request-no-store (RFC 9111 §5.2.1.5)"]);
    let passed = proxy.connect().request("POST", "/private", &[ASKED]);
    assert_eq!((member(&passed, "route"), member(&passed, "outcome")), ("pass".into(), "pass".into()));
    let addr = origin.stop();
    let failed = proxy.get_with("/other", &[ASKED]);
    assert_eq!((failed.status, member(&failed, "failure").as_str()), (502, "origin-unreachable"), "{addr}");
}

#[test]
fn a_follower_explains_its_shared_fetch() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    origin.answer("/a", Answer::silent().pass(&gate).send(head));
    let proxy = start(&origin);
    let mut clients: Vec<_> = (0..2).map(|_| proxy.connect()).collect();
    clients.iter_mut().for_each(|client| client.send_head("GET", "/a", &[ASKED]));
    proxy.await_askers(2);
    gate.open();
    let mut roles: Vec<_> = clients
        .iter_mut()
        .map(Client::response)
        .map(|response| (member(&response, "role"), member(&response, "outcome"), rules(&response)))
        .collect();
    roles.sort();
    let [follower, leader] = &roles[..] else { panic!("{roles:?}") };
    let share = "share: yes, fresh (RFC 9111 §4.2)".to_owned();
    assert_eq!(*follower, ("follower".to_owned(), "collapsed".to_owned(), vec![share]));
    assert_eq!((leader.0.as_str(), leader.1.as_str()), ("leader", "miss"));
}

#[test]
fn the_terminal_shows_a_line_for_each_fact_and_each_rule() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    let proxy = start(&origin);
    let url = format!("http://{}/a?b#c", proxy.addr());
    let run = |arguments: &[&str]| Program::run(&[&["explain", &url], arguments].concat());

    let output = run(&["-H", "X-Api-Key: hunter2", "-H", "Host: api.test", "--token", TOKEN]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    for line in [
        "answer             200 OK",
        "route              cached",
        "outcome            uncacheable",
        "key.authority      api.test",
        "key.target         /a?b",
        "no  store  credential-header  RFC 9111 §3.5, credential_headers",
    ] {
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            output.stdout.lines().any(|printed| squeezed(printed) == squeezed(line)),
            "{line} in\n{}",
            output.stdout
        );
    }
    assert!(!output.stdout.contains("hunter2"));
    assert_eq!(origin.seen("/a")[0].field("x-api-key"), Some("hunter2"));

    let by_setting = run(&["--explain-token", TOKEN]);
    assert_eq!(by_setting.code, Some(0), "{}", by_setting.stderr);
    let refused = run(&["--token", "wrong"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    assert!(refused.stderr.contains("explain_token"), "{}", refused.stderr);
    assert_eq!(run(&[]).code, Some(2));
    let unreachable = {
        let addr = Origin::start().stop();
        Program::run(&["explain", &format!("http://{addr}/"), "--token", TOKEN])
    };
    assert_eq!(unreachable.code, Some(1));
    assert!(unreachable.stderr.contains("no answer"), "{}", unreachable.stderr);
}

#[test]
fn conditions_and_ranges_are_explained() {
    let origin = Origin::start();
    let fields = [("Cache-Control", "max-age=60"), ("ETag", "\"a\"")];
    origin.answer("/a", Answer::json_with(&fields, "1234567890"));
    let proxy = start(&origin);
    proxy.get("/a");
    let hit = "reuse: yes, fresh (RFC 9111 §4.2)";
    let proceed = "condition: yes, proceed (RFC 9110 §13.2.2)";
    for (asked, status, want) in [
        (&[("If-None-Match", "\"a\"")][..], 304, &["condition: no, not-modified (RFC 9110 §15.4.5)"][..]),
        (&[("If-None-Match", "\"b\"")], 200, &[proceed]),
        (&[("Range", "bytes=0-3")], 206, &["range: yes, one-part (RFC 9110 §15.3.7.1)"]),
        (&[("Range", "bytes=0-0, 2-3")], 206, &["range: yes, several-parts (RFC 9110 §15.3.7.2)"]),
        (&[("Range", "bytes=10-")], 416, &["range: no, unsatisfiable (RFC 9110 §15.5.17)"]),
        (&[("Range", "bytes=0-3"), ("If-Range", "\"b\"")], 200, &["range: no, whole (RFC 9110 §14.2)"]),
        (
            &[("Range", "bytes=0-3"), ("If-Match", "\"a\"")],
            206,
            &[proceed, "range: yes, one-part (RFC 9110 §15.3.7.1)"],
        ),
    ] {
        let response = proxy.get_with("/a", &[&[ASKED], asked].concat());
        assert_eq!(response.status, status, "{asked:?}");
        assert_eq!(rules(&response), [&[hit], want].concat(), "{asked:?}");
    }
    // A stored response fails no condition: the origin decides, and the explanation shows it.
    let failed = proxy.get_with("/a", &[ASKED, ("If-Match", "\"b\"")]);
    assert_eq!(rules(&failed), [hit, "condition: no, precondition-failed (RFC 9110 §15.5.13)"]);
    assert_eq!((member(&failed, "role"), origin.count("/a")), ("alone".into(), 2));
}

#[test]
fn an_unusable_memory_entry_is_looked_up_once() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json_with(&[("Cache-Control", "no-cache"), ("ETag", "\"a\"")], "{}"));
    let varied = [("Cache-Control", "max-age=60"), ("Vary", "X-Kind")];
    origin.answer("/varied", Answer::json_with(&varied, "{}"));
    let proxy = start(&origin);
    let lookups = || proxy.metric(r#"cachewarp_store_lookups_total{result="memory"}"#);
    proxy.get("/a");
    let before = lookups();
    let again = proxy.get_with("/a", &[ASKED]);
    assert_eq!((member(&again, "found"), lookups()), ("memory".into(), before + 1.0));
    assert_eq!(rules(&again).iter().filter(|rule| rule.starts_with("reuse: no")).count(), 1);

    proxy.get_with("/varied", &[("X-Kind", "1")]);
    let before = lookups();
    let only_stored = ("Cache-Control", "only-if-cached");
    let other = proxy.get_with("/varied", &[("X-Kind", "2"), only_stored, ASKED]);
    assert_eq!((other.status, member(&other, "found")), (504, "nothing".into()));
    assert_eq!(lookups(), before + 1.0, "one lookup finds the list");
}
