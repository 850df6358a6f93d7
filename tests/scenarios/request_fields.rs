//! Request fields: the classes that exclude a request from responses that the origin did not mean
//! for all callers, and the fields that reach the origin with a shared fetch.

use std::io;

use crate::admin::{PATIENT, purge};
use crate::harness::{Answer, Exchange, Gate, Origin, Proxy, Redis, Response, Then, until};

const STATED: (&str, &str) = ("Cache-Control", "max-age=600");

/// Answers by the value of one request field, with no cache control except in `fields`.
fn answer_by(origin: &Origin, path: &str, name: &'static str, fields: &'static [(&str, &str)]) {
    origin.script(path, move |exchange| answer_with_field(exchange, name, fields));
}

fn answer_with_field(exchange: &mut Exchange, name: &str, fields: &[(&str, &str)]) -> io::Result<Then> {
    let said = exchange.request.field(&name.to_ascii_lowercase()).unwrap_or("nothing").to_owned();
    exchange.body()?;
    Answer::json_with(fields, &format!("{said:?}")).give(exchange)
}

fn is_hit(response: &Response) -> bool {
    response.cache_status().starts_with("CacheWarp; hit")
}

/// Names by which common gateways, frameworks and clients identify the caller.
const WHO: [&str; 46] = [
    "X-Auth-Token",
    "apikey",
    "Api-Key",
    "X-Api-Key",
    "X-API-Token",
    "PRIVATE-TOKEN",
    "Job-Token",
    "X-Access-Token",
    "Access-Token",
    "Token",
    "X-Token",
    "X-Session-Id",
    "X-Session-Token",
    "Session-Id",
    "X-User-Id",
    "X-User",
    "X-Username",
    "X-User-Email",
    "X-Tenant-Id",
    "X-Tenant",
    "X-Account-Id",
    "X-Org-Id",
    "X-Customer-Id",
    "X-Client-Id",
    "Remote-User",
    "X-Remote-User",
    "X-Authenticated-User",
    "X-Consumer-Username",
    "X-Credential-Identifier",
    "X-Amzn-Oidc-Data",
    "X-Amzn-Oidc-Identity",
    "X-Goog-Authenticated-User-Email",
    "X-Goog-IAP-JWT-Assertion",
    "Cf-Access-Jwt-Assertion",
    "X-MS-Client-Principal",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Access-Token",
    "X-Forwarded-Client-Cert",
    "Client-Cert",
    "X-SSL-Client-Cert",
    "DPoP",
    "X-CSRF-Token",
    "Ocp-Apim-Subscription-Key",
    "X-Vault-Token",
    "baggage",
];

#[test]
fn no_default_freshness_applies_to_an_identified_caller() {
    let origin = Origin::start();
    // A trusted proxy's field with the user's identity is forwarded.
    let proxy = Proxy::start(&origin.url(), &[("trusted_proxies", "127.0.0.1")]);
    for name in WHO {
        let path = format!("/{name}");
        answer_by(&origin, &path, name, &[]);
        for who in ["alice", "bob", "alice"] {
            let own = proxy.get_with(&path, &[(name, who)]);
            assert_eq!(own.text(), format!("{who:?}"), "{name}");
            assert!(!is_hit(&own), "{name}: {}", own.cache_status());
        }
        assert_eq!(proxy.get(&path).text(), r#""nothing""#, "{name}");
        assert!(is_hit(&proxy.get(&path)), "{name}: the anonymous response must be stored");
        let own = proxy.get_with(&path, &[(name, "carol")]);
        assert_eq!(own.text(), r#""carol""#, "{name}: carol must get her own response");
        let listed = ["unlisted-field", "credential-header"];
        assert!(
            listed
                .iter()
                .any(|reason| own.cache_status() == format!("CacheWarp; fwd=bypass; detail={reason}")),
            "{name}: {}",
            own.cache_status()
        );
    }
    let not_stored = proxy.metric(r#"cachewarp_not_stored_total{reason="unlisted-field"}"#);
    assert!(not_stored > 30.0, "{not_stored}");
}

#[test]
fn an_unlisted_field_gets_neither_stale_responses_nor_shared_fetches() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let proxy = Proxy::start(&origin.url(), &[("cache_default_ttl", "1s"), ("cache_stale_if_error", "1h")]);
    let at_gate = gate.clone();
    origin.script("/a", move |exchange| {
        if exchange.request.field("x-who").is_none() {
            at_gate.pass();
        }
        answer_with_field(exchange, "x-who", &[])
    });
    let mut waiting: Vec<_> = (0..2).map(|_| proxy.connect()).collect();
    waiting.iter_mut().for_each(|client| client.send_head("GET", "/a", &[]));
    gate.await_arrivals(1);
    let own = proxy.get_with("/a", &[("X-Who", "alice")]);
    assert_eq!(own.text(), r#""alice""#, "the request must not wait for the shared fetch");
    gate.open();
    waiting.iter_mut().for_each(|client| assert_eq!(client.response().text(), r#""nothing""#));

    let proxy = Proxy::start(&origin.url(), &[("cache_stale_if_error", "1h"), ("cache_default_ttl", "1h")]);
    origin.answer("/b", Answer::json_with(&[("Age", "3601"), ("ETag", "\"1\"")], r#""old""#));
    proxy.get("/b");
    origin.answer("/b", Answer::new(503, &[("Content-Type", "application/json")], r#""failed""#));
    assert_eq!(proxy.get_with("/b", &[("X-Who", "alice")]).text(), r#""failed""#);
}

#[test]
fn explicit_freshness_applies_to_unlisted_fields() {
    let origin = Origin::start();
    answer_by(&origin, "/a", "x-anything", &[STATED]);
    let proxy = Proxy::start(&origin.url(), &[]);
    assert_eq!(
        proxy.get_with("/a", &[("X-Anything", "1")]).cache_status(),
        "CacheWarp; fwd=uri-miss; stored"
    );
    assert!(is_hit(&proxy.get("/a")));
    assert!(is_hit(&proxy.get_with("/a", &[("X-Anything", "2")])));
}

/// Heads as real clients and the hops in front of CacheWarp write them.
const HEADS: &[(&str, &[(&str, &str)])] = &[
    ("curl", &[("User-Agent", "curl/8.5.0"), ("Accept", "*/*")]),
    (
        "wget",
        &[
            ("User-Agent", "Wget/1.21.4"),
            ("Accept", "*/*"),
            ("Accept-Encoding", "identity"),
            ("Connection", "Keep-Alive"),
        ],
    ),
    (
        "requests, httpx, httpie",
        &[
            ("User-Agent", "python-requests/2.32.3"),
            ("Accept-Encoding", "gzip, deflate, br, zstd"),
            ("Accept", "application/json, */*;q=0.5"),
            ("Connection", "keep-alive"),
        ],
    ),
    ("Go", &[("User-Agent", "Go-http-client/1.1"), ("Accept-Encoding", "gzip")]),
    (
        "Java",
        &[
            ("Connection", "Upgrade, HTTP2-Settings"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA"),
            ("User-Agent", "Java-http-client/21"),
        ],
    ),
    (
        ".NET",
        &[
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("tracestate", "a=b"),
            ("Request-Id", "|7e1.3."),
        ],
    ),
    (
        "undici",
        &[
            ("accept", "*/*"),
            ("accept-language", "*"),
            ("sec-fetch-mode", "cors"),
            ("user-agent", "node"),
            ("accept-encoding", "gzip, deflate"),
        ],
    ),
    (
        "Chrome behind an ALB",
        &[
            ("X-Forwarded-For", "203.0.113.7"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Port", "80"),
            ("X-Amzn-Trace-Id", "Root=1-67891233-abcdef012345678912345678"),
            ("sec-ch-ua", "\"Chromium\";v=\"131\""),
            ("sec-ch-ua-mobile", "?0"),
            ("sec-ch-ua-platform", "\"Linux\""),
            ("sec-ch-prefers-color-scheme", "dark"),
            ("Upgrade-Insecure-Requests", "1"),
            ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Chrome/131.0.0.0"),
            ("Accept", "application/json"),
            ("Sec-Fetch-Site", "same-site"),
            ("Sec-Fetch-Mode", "cors"),
            ("Sec-Fetch-Dest", "empty"),
            ("Sec-Fetch-User", "?1"),
            ("Referer", "http://app.test/"),
            ("Origin", "http://app.test"),
            ("Accept-Encoding", "gzip, deflate"),
            ("Accept-Language", "en-GB,en;q=0.9"),
            ("DNT", "1"),
            ("Priority", "u=1, i"),
        ],
    ),
    (
        "Firefox behind Cloudflare",
        &[
            ("User-Agent", "Mozilla/5.0 Firefox/133.0"),
            ("CF-Ray", "8f0"),
            ("CF-Connecting-IP", "203.0.113.7"),
            ("CF-IPCountry", "DE"),
            ("CF-Visitor", "{\"scheme\":\"https\"}"),
            ("CDN-Loop", "cloudflare; loops=1"),
            ("X-Forwarded-For", "203.0.113.7"),
            ("X-Forwarded-Proto", "https"),
            ("Sec-GPC", "1"),
            ("TE", "trailers"),
        ],
    ),
    (
        "CloudFront",
        &[
            ("User-Agent", "Amazon CloudFront"),
            ("Via", "2.0 a.cloudfront.net (CloudFront)"),
            ("X-Amz-Cf-Id", "x"),
            ("CloudFront-Viewer-Country", "DE"),
            ("CloudFront-Is-Mobile-Viewer", "false"),
        ],
    ),
    (
        "Fastly",
        &[("Fastly-Client-IP", "203.0.113.7"), ("Fastly-FF", "x"), ("X-Varnish", "1"), ("X-Timer", "S1")],
    ),
    (
        "Akamai",
        &[
            ("True-Client-IP", "203.0.113.7"),
            ("Akamai-Origin-Hop", "2"),
            ("X-Akamai-Config-Log-Detail", "true"),
            ("Pragma", "akamai-x"),
        ],
    ),
    (
        "nginx",
        &[
            ("X-Real-IP", "203.0.113.7"),
            ("X-Request-ID", "1"),
            ("X-Scheme", "http"),
            ("X-Forwarded-Host", "test"),
        ],
    ),
    (
        "Envoy and Istio",
        &[
            ("x-request-id", "1"),
            ("x-envoy-expected-rq-timeout-ms", "15000"),
            ("x-envoy-attempt-count", "1"),
            ("x-envoy-internal", "true"),
            ("x-envoy-peer-metadata-id", "sidecar"),
            ("x-b3-traceid", "1"),
            ("b3", "1-2-1"),
        ],
    ),
    (
        "Datadog, X-Ray, Google, Azure",
        &[
            ("x-datadog-trace-id", "1"),
            ("x-datadog-anything", "1"),
            ("X-Cloud-Trace-Context", "1/2;o=1"),
            ("X-Correlation-ID", "1"),
            ("X-Azure-Ref", "1"),
            ("X-Azure-FDID", "1"),
        ],
    ),
];

#[test]
fn real_clients_get_hits() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    let (first, head) = HEADS[0];
    assert_eq!(proxy.get_with("/a", head).cache_status(), "CacheWarp; fwd=uri-miss; stored", "{first}");
    for (client, head) in HEADS {
        let response = proxy.get_with("/a", head);
        assert!(is_hit(&response), "{client}: {}", response.cache_status());
    }
    for (number, (client, head)) in HEADS.iter().enumerate() {
        origin.answer(&format!("/b/{number}"), Answer::json("{}"));
        let response = proxy.get_with(&format!("/b/{number}"), head);
        assert!(response.cache_status().ends_with("stored"), "{client}: {}", response.cache_status());
    }
}

#[test]
fn withheld_fields_reach_the_origin_with_no_shared_fetch() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    let proxy = Proxy::start(&origin.url(), &[("harmless_headers", "x-app-version,x-forwarded-server")]);
    let withheld = [
        "traceparent",
        "X-Correlation-Id",
        "CF-Ray",
        "x-b3-new",
        "X_Correlation_Id",
        "X-App-Version",
        "X-Forwarded-Server",
    ];
    let fields = withheld.map(|name| (name, "1"));
    assert!(proxy.get_with("/a", &fields).cache_status().ends_with("stored"));
    let shared = origin.seen("/a").pop().unwrap();
    assert!(
        withheld.iter().all(|name| shared.field(&name.to_ascii_lowercase()).is_none()),
        "{:?}",
        shared.head
    );
    proxy.connect().request("POST", "/a", &[&fields[..], &[("Content-Length", "0")]].concat());
    let passed = origin.seen("/a").pop().unwrap();
    let of_the_peer = |name: &str| name.starts_with("X-Forwarded");
    assert!(
        withheld
            .iter()
            .all(|name| of_the_peer(name) || passed.field(&name.to_ascii_lowercase()) == Some("1")),
        "{:?}",
        passed.head
    );
}

/// Fields that a shared fetch drops or withholds, or that a `-` in the settings reclassifies.
const UNKEYED: [&str; 14] = [
    "X-Host",
    "X-Original-URL",
    "X-Original-User",
    "X-Rewrite-Target",
    "X-HTTP-Method-Override",
    "X-HTTP-Anything-Override",
    "X-Forwarded-Prefix",
    "X-Forwarded-Port",
    "X-Forwarded-User",
    "Forwarded",
    "traceparent",
    "X-Correlation-Id",
    "X_Original_URL",
    "Accept_Language",
];

#[test]
fn a_head_with_an_unshared_field_leaves_the_entry_unchanged() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[("trusted_proxies", "127.0.0.1")]);
    for name in UNKEYED {
        for (kind, tag) in [("freshened", "\"1\""), ("removed", "\"2\"")] {
            let path = format!("/{name}/{kind}");
            let stored = [STATED, ("ETag", "\"1\"")];
            origin.answer(&path, Answer::json_with(&stored, r#""stored""#));
            proxy.get(&path);
            origin.script(&path, move |exchange| {
                let name = name.to_ascii_lowercase();
                let said = exchange.request.field(&name).unwrap_or("nothing").to_owned();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=600\r\n\
                     ETag: {tag}\r\nLink: <https://{said}/>\r\n\r\n"
                );
                Answer::raw(head).give(exchange)
            });
            let fields = [(name, "evil.test"), ("Cache-Control", "no-cache")];
            let own = proxy.connect().request("HEAD", &path, &fields);
            assert_eq!(
                own.field("link"),
                Some("<https://evil.test/>"),
                "{name}: the field is forwarded unchanged"
            );
            let other = proxy.get(&path);
            assert!(is_hit(&other), "{name} {kind}: {}", other.cache_status());
            assert_eq!(other.field("link"), None, "{name} {kind}");
        }
    }
}

#[test]
fn a_head_with_an_unshared_field_leaves_the_entry_of_the_other_node_unchanged() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let settings = [("trusted_proxies", "127.0.0.1"), ("redis_timeout", "10s")];
    let nodes = [(); 2].map(|()| Proxy::start_with_redis(&origin.url(), &redis.url(), &settings));
    for name in UNKEYED {
        let path = format!("/{name}");
        let stored = [STATED, ("ETag", "\"1\"")];
        origin.answer(&path, Answer::json_with(&stored, r#""stored""#));
        nodes[0].get(&path);
        until("both nodes to have the entry", || nodes.iter().all(|node| is_hit(&node.get(&path))));
        let fetched = origin.count(&path);
        for (tag, link) in [("\"1\"", "freshened"), ("\"2\"", "removed")] {
            let fields = [STATED, ("ETag", tag), ("Link", link)];
            origin.answer(&path, Answer::json_with(&fields, r#""stored""#));
            let fields = [(name, "evil.test"), ("Cache-Control", "no-cache")];
            assert_eq!(nodes[0].connect().request("HEAD", &path, &fields).field("link"), Some(link));
        }
        // A third node has nothing in memory: it shows what Redis has.
        let third = Proxy::start_with_redis(&origin.url(), &redis.url(), &settings);
        for node in nodes.iter().chain([&third]) {
            let other = node.get(&path);
            assert!(is_hit(&other), "{name}: {}", other.cache_status());
            assert_eq!((other.field("link"), other.field("etag")), (None, Some("\"1\"")), "{name}");
        }
        assert_eq!(origin.count(&path), fetched + 2, "{name}: the two requests for the head");
    }
}

#[test]
fn a_post_with_an_unshared_field_stores_nothing() {
    let origin = Origin::start();
    let proxy =
        Proxy::start(&origin.url(), &[("trusted_proxies", "127.0.0.1"), ("ignored_cookies", "theme")]);
    let fields = UNKEYED.map(|name| (name, "evil.test")).into_iter().chain([
        ("Cookie", "theme=evil.test"),
        ("X-Forwarded-For", "evil.test, 192.0.2.1"),
        ("Range", "bytes=evil.test"),
    ]);
    for (number, field) in fields.enumerate() {
        let path = format!("/{number}");
        let location = path.clone();
        origin.script(&path, move |exchange| {
            let shared = [("Content-Location", location.as_str()), ("Cache-Control", "public, max-age=600")];
            answer_with_field(exchange, field.0, &shared)
        });
        let mut client = proxy.connect();
        client.send_head("POST", &path, &[field, ("Content-Length", "0")]);
        assert!(client.response().text().contains("evil.test"), "{field:?} is forwarded unchanged");
        let other = proxy.get(&path);
        assert!(!is_hit(&other) && !other.text().contains("evil.test"), "{field:?}: {}", other.text());
    }
}

#[test]
fn a_trusted_proxys_identity_fields_are_forwarded_and_prevent_storing() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[("trusted_proxies", "127.0.0.1")]);
    for name in ["X-Forwarded-Prefix", "X-Forwarded-User", "X-Forwarded-Anything"] {
        let path = format!("/{name}");
        answer_by(&origin, &path, name, &[("Cache-Control", "public, max-age=600")]);
        let own = proxy.get_with(&path, &[(name, "/evil")]);
        assert_eq!(
            (own.text(), own.cache_status()),
            (r#""/evil""#, "CacheWarp; fwd=uri-miss; detail=credential-header")
        );
        assert_eq!(proxy.get(&path).text(), r#""nothing""#);
        assert!(is_hit(&proxy.get(&path)));
        assert_eq!(
            proxy.get_with(&path, &[(name, "/evil")]).text(),
            r#""nothing""#,
            "a public response must answer this request"
        );
    }
}

#[test]
fn each_value_of_a_key_header_has_its_own_entry() {
    let (origin, redis) = (Origin::start(), Redis::start());
    answer_by(&origin, "/a", "x-tenant", &[]);
    let settings = [&PATIENT[..], &[("key_headers", "x-tenant")]].concat();
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &settings);
    let get = |tenant: &str| proxy.get_with("/a", &[("X-Tenant", tenant)]);
    for tenant in ["a", "b"] {
        assert_eq!(get(tenant).text(), format!("{tenant:?}"));
    }
    assert_eq!(proxy.get("/a").text(), r#""nothing""#);
    for tenant in ["a", "b"] {
        let again = get(tenant);
        assert!(is_hit(&again), "{}", again.cache_status());
        assert_eq!(again.text(), format!("{tenant:?}"));
    }
    // The spelling with `_` is not part of the key, and is not forwarded.
    assert_eq!(proxy.get_with("/a", &[("X_Tenant", "evil")]).text(), r#""nothing""#);
    assert_eq!(origin.count("/a"), 3);
    assert_eq!(purge(&proxy, r#"{"url":"http://test/a"}"#).status, 200);
    for tenant in ["a", "b"] {
        assert!(!is_hit(&get(tenant)), "a purge by URL must remove all of them");
    }
}

#[test]
fn an_entry_from_before_a_change_of_the_key_headers_is_not_used() {
    let (origin, redis) = (Origin::start(), Redis::start());
    origin.answer("/a", Answer::json_with(&[STATED], r#""of all""#));
    origin.answer("/b", Answer::json_with(&[STATED, ("Vary", "Accept")], r#""of all""#));
    let before = Proxy::start_with_redis(&origin.url(), &redis.url(), &[]);
    before.get("/a");
    before.get("/b");
    redis.await_keys(3);
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[("key_headers", "x-tenant")]);
    for path in ["/a", "/b"] {
        answer_by(&origin, path, "x-tenant", &[STATED]);
        let own = proxy.get_with(path, &[("X-Tenant", "a")]);
        assert_eq!((own.text(), is_hit(&own)), (r#""a""#, false));
        assert!(is_hit(&proxy.get_with(path, &[("X-Tenant", "a")])));
    }
}
