//! Poisoning and deception: what one client sends never decides what another gets, and no address
//! makes one's answer everybody's.

use crate::harness::{Answer, Origin, Proxy};

const STORABLE: (&str, &str) = ("Cache-Control", "max-age=60");

/// Fields by which frameworks replace a part of the request, or that say where it came from: none
/// goes on where the answer may be shared.
const DROPPED: &[&str] = &[
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-Scheme",
    "X-Forwarded-For",
    "Forwarded",
    "X-Real-IP",
    "X-Original-URL",
    "X-Original-URI",
    "X-Original-Host",
    "X-Original-Method",
    "X-Rewrite-URL",
    "X-Host",
    "X-HTTP-Host-Override",
    "X-HTTP-Method",
    "X-HTTP-Method-Override",
    "X-Method-Override",
    "X_Forwarded_Host",
    "X_Original_URL",
    "Range",
    "If-Range",
    "If-None-Match",
    "If-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Trailer",
];

/// Fields that go on as they came: by RFC 9110 §12.5.5 an origin that answers by one of them says
/// so in `Vary`.
const FORWARDED: &[&str] = &["User-Agent", "Accept", "Accept-Language", "Origin", "Referer", "X-Anything"];

/// An origin that says everything that it was told.
fn echo(origin: &Origin, path: &str, vary: Option<&'static str>) {
    origin.script(path, move |exchange| {
        let told = exchange.request.head.fields.iter().map(|(name, value)| format!("{name}={value}"));
        let told = told.collect::<Vec<_>>().join("; ").replace(['"', '\\'], "");
        let mut fields = vec![STORABLE];
        fields.extend(vary.map(|vary| ("Vary", vary)));
        Answer::json_with(&fields, &format!("\"{told}\"")).give(exchange)
    });
}

#[test]
fn what_is_not_in_the_key_and_could_change_the_answer_does_not_reach_the_origin() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for (number, name) in DROPPED.iter().enumerate() {
        let path = format!("/{number}");
        echo(&origin, &path, None);
        proxy.get_with(&path, &[(name, "evil")]);
        let victim = proxy.get(&path);
        assert_eq!(victim.status, 200, "{name}");
        assert!(!victim.text().contains("evil"), "{name}: {}", victim.text());
    }
}

#[test]
fn an_origin_that_says_by_what_it_answers_is_not_poisoned() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for (number, name) in FORWARDED.iter().enumerate() {
        let path = format!("/{number}");
        echo(&origin, &path, Some(name));
        assert!(proxy.get_with(&path, &[(name, "evil")]).text().contains("evil"), "{name} goes on");
        let victim = proxy.get_with(&path, &[(name, "good")]);
        assert!(victim.text().contains("good") && !victim.text().contains("evil"), "{name}");
        assert!(!proxy.get(&path).text().contains("evil"), "{name}");
    }
}

#[test]
fn a_field_that_connection_takes_away_selects_no_variant() {
    let origin = Origin::start();
    echo(&origin, "/a", Some("Accept-Language"));
    let proxy = Proxy::start(&origin.url(), &[]);
    // The origin never sees the field; were the answer kept for those who send it, they would all
    // get this one.
    let taken = [("Accept-Language", "de"), ("Connection", "keep-alive, accept-language")];
    assert!(!proxy.get_with("/a", &taken).text().contains("accept-language"));
    let german = proxy.get_with("/a", &[("Accept-Language", "de")]);
    assert!(german.text().contains("accept-language=de"), "{}", german.text());
    assert!(!proxy.get("/a").text().contains("accept-language"));
    assert_eq!(origin.count("/a"), 2, "to say it in vain is to say nothing");
}

/// Addresses by which other caches are led to store what is somebody's own.
const PATHS: &[&str] = &[
    "/account.json/x.css",
    "/account.json;x.css",
    "/account.json%00.css",
    "/account.json%2fx.css",
    "/account.json%3fx.css",
    "/account.json/..%2fstatic/x.js",
    "/static/..%2faccount.json",
    "/account.json?x.css",
    "/account.json%23.css",
    "/account.json%0a.css",
    "//account.json",
    "/ACCOUNT.json",
];

#[test]
fn no_address_makes_the_answer_of_one_everybodys() {
    let origin = Origin::start();
    for path in PATHS {
        origin.script(path.split('?').next().unwrap(), |exchange| {
            let whose = ["authorization", "cookie", "x-api-key", "x_api_key"]
                .map(|name| exchange.request.field(name));
            let whose = whose.into_iter().flatten().next().unwrap_or("nobody");
            // Not a word about caching: for those without a credential, the default lifetime
            // applies.
            Answer::json(&format!("\"of {whose}\"")).give(exchange)
        });
    }
    let proxy = Proxy::start(&origin.url(), &[]);
    for path in PATHS {
        for (name, value) in
            [("Authorization", "alice"), ("Cookie", "alice"), ("X-Api-Key", "alice"), ("X_Api_Key", "alice")]
        {
            assert_eq!(proxy.get_with(path, &[(name, value)]).text(), "\"of alice\"", "{path} {name}");
            assert_eq!(proxy.get(path).text(), "\"of nobody\"", "{path} {name}");
            assert_eq!(proxy.get_with(path, &[(name, "bob")]).text(), "\"of bob\"", "{path} {name}");
        }
    }
}

#[test]
fn requests_that_look_alike_are_not_the_same() {
    let origin = Origin::start();
    let targets = [
        "/a?b=c",
        "/a%3fb=c",
        "/a;b=c",
        "/a/?b=c",
        "//a?b=c",
        "/./a?b=c",
        "/x/../a?b=c",
        "/%61?b=c",
        "/A?b=c",
        "/a?B=c",
        "/a?b=c&",
        "/a?b=c&b=c",
        "/a?b=%63",
        "/a?b=c%20",
        "/a?b=c;d",
        "/a??b=c",
        "/a%2f?b=c",
        "/a%252f?b=c",
    ];
    for target in targets {
        origin.script(target.split('?').next().unwrap(), |exchange| {
            let target = exchange.request.target.clone();
            Answer::json_with(&[STORABLE], &format!("\"{target}\"")).give(exchange)
        });
    }
    let proxy = Proxy::start(&origin.url(), &[]);
    for _ in 0..2 {
        for target in targets {
            assert_eq!(proxy.get(target).text(), format!("\"{target}\""));
        }
    }
    // Hosts: each has its own, but for what RFC 3986 §6.2 says is the same.
    origin.script("/host", |exchange| {
        let host = exchange.request.field("x-forwarded-host").unwrap_or_default().to_owned();
        Answer::json_with(&[STORABLE], &format!("\"{host}\"")).give(exchange)
    });
    for (host, said) in [
        ("a.test", "a.test"),
        ("a.test.", "a.test."),
        ("A.TEST:80", "a.test"),
        ("a.test:8080", "a.test:8080"),
        ("b.test", "b.test"),
    ] {
        let mut client = proxy.connect();
        client.send(format!("GET /host HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.response().text(), format!("\"{said}\""), "{host}");
    }
    assert_eq!(origin.count("/host"), 4);
}

#[test]
fn what_varies_without_end_does_not_grow_without_end() {
    let origin = Origin::start();
    echo(&origin, "/a", Some("X-Anything"));
    let proxy = Proxy::start(&origin.url(), &[("cache_memory_size", "1MiB"), ("cache_max_body", "16KiB")]);
    for number in 0..500 {
        let value = format!("{number}-{}", "x".repeat(8_000));
        assert_eq!(proxy.get_with("/a", &[("X-Anything", &value)]).status, 200);
        assert!(proxy.metric("cachewarp_memory_bytes") <= f64::from(1 << 20));
    }
}
