//! Privacy: no client gets another client's bytes from a store, from a shared fetch, or through a
//! poisoned key.

use std::io;

use crate::harness::{Answer, Client, Exchange, Gate, Origin, Proxy, Redis, Response, Then};

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Answers with the credential of the request.
fn answer_with_credential(exchange: &mut Exchange, cache_control: &str) -> io::Result<Then> {
    let request = &exchange.request;
    let credential = ["authorization", "cookie", "x-api-key"].iter().find_map(|name| request.field(name));
    let body = format!(r#"{{"for":"{}"}}"#, credential.unwrap_or("anybody"));
    let fields = [JSON, ("Cache-Control", cache_control)];
    let fields = if cache_control.is_empty() { &fields[..1] } else { &fields };
    Answer::new(200, fields, &body).give(exchange)
}

#[test]
fn a_response_to_a_credential_is_shared_only_if_it_permits_that() {
    let credentials = [("Authorization", "Bearer alice"), ("Cookie", "id=alice"), ("X-Api-Key", "alice")];
    let reasons = ["authorization", "cookie", "credential-header"];
    let rows = [
        ("", [false; 3]),
        ("max-age=60", [false; 3]),
        ("max-age=60, must-revalidate", [true, false, false]),
        ("public, max-age=60", [true; 3]),
        // The default lifetime never applies to requests with a credential.
        ("public", [false; 3]),
        ("s-maxage=60", [true; 3]),
        ("private, max-age=60", [false; 3]),
    ];
    let (origin, redis) = (Origin::start(), Redis::start());
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[]);
    let mut stored_in_all = 0;
    for (row, (cache_control, shared)) in rows.into_iter().enumerate() {
        for ((credential, reason), shared) in credentials.into_iter().zip(reasons).zip(shared) {
            let path = format!("/{row}/{reason}");
            origin.script(&path, move |exchange| answer_with_credential(exchange, cache_control));
            let alice = proxy.get_with(&path, &[credential]);
            let bob = proxy.get_with(&path, &[(credential.0, "bob")]);
            let anonymous = proxy.get(&path);
            let case = format!("{cache_control} and {}", credential.0);
            assert_eq!(alice.text(), format!(r#"{{"for":"{}"}}"#, credential.1), "{case}");
            if shared {
                assert_eq!(alice.cache_status(), "CacheWarp; fwd=uri-miss; stored", "{case}");
                assert_eq!((bob.text(), anonymous.text()), (alice.text(), alice.text()), "{case}");
                assert_eq!(origin.count(&path), 1, "{case}");
                stored_in_all += 1;
            } else {
                let private = cache_control.starts_with("private");
                let reason = if private { "private" } else { reason };
                assert_eq!(
                    alice.cache_status(),
                    format!("CacheWarp; fwd=uri-miss; detail={reason}"),
                    "{case}"
                );
                assert_eq!(
                    (bob.text(), anonymous.text()),
                    (r#"{"for":"bob"}"#, r#"{"for":"anybody"}"#),
                    "{case}"
                );
                // The response to the anonymous request is stored on its own.
                stored_in_all += usize::from(!private);
            }
        }
    }
    redis.await_keys(stored_in_all);
}

/// The list of the operator adds to the built-in credentials and removes none.
#[test]
fn a_public_entry_does_not_answer_a_request_with_a_credential() {
    let origin = Origin::start();
    origin.script("/a", |exchange| answer_with_credential(exchange, "max-age=60"));
    let proxy = Proxy::start(&origin.url(), &[("credential_headers", "x-session")]);
    proxy.get("/a");
    for name in ["Authorization", "Cookie", "X-Api-Key", "X-Session", "x-SESSION"] {
        let response = proxy.get_with("/a", &[(name, "eve")]);
        assert!(
            response.cache_status().starts_with("CacheWarp; fwd=bypass; detail="),
            "{name}: {}",
            response.cache_status()
        );
    }
    assert!(
        proxy.get("/a").cache_status().starts_with("CacheWarp; hit"),
        "the entry must remain for anonymous requests"
    );
    assert_eq!(origin.count("/a"), 6);
}

#[test]
fn an_ignored_cookie_is_no_credential_and_is_not_forwarded() {
    let origin = Origin::start();
    let set = ("Set-Cookie", "theme=dark; Path=/");
    let public = [JSON, ("Cache-Control", "max-age=60"), set];
    origin.answer("/themed", Answer::new(200, &public, "{}"));
    origin.script("/a", |exchange| answer_with_credential(exchange, "max-age=60"));
    let proxy = Proxy::start(&origin.url(), &[("ignored_cookies", "theme,_ga*")]);

    let first = proxy.get_with("/themed", &[("Cookie", "_ga=1; theme=light")]);
    assert_eq!(first.cache_status(), "CacheWarp; fwd=uri-miss; stored");
    assert_eq!(first.field("set-cookie"), Some(set.1), "the first client gets the cookie");
    for cookie in ["_ga=2", "theme=light", "_gat=3;theme=dark"] {
        let other = proxy.get_with("/themed", &[("Cookie", cookie)]);
        assert!(other.cache_status().starts_with("CacheWarp; hit"), "{cookie}: {}", other.cache_status());
        assert_eq!(other.field("set-cookie"), None);
    }
    assert_eq!(origin.seen("/themed")[0].field("cookie"), None, "a shared fetch must not send the cookie");

    // One credential among the cookies makes the whole field a credential, and the origin gets all
    // of it.
    let alice = proxy.get_with("/a", &[("Cookie", "_ga=1; session=alice")]);
    assert_eq!(alice.cache_status(), "CacheWarp; fwd=uri-miss; detail=cookie");
    assert_eq!(alice.text(), r#"{"for":"_ga=1; session=alice"}"#);
    let anonymous = proxy.get_with("/a", &[("Cookie", "_ga=1")]);
    assert_eq!(anonymous.text(), r#"{"for":"anybody"}"#);
    assert_eq!(proxy.get_with("/a", &[("Cookie", "session=bob")]).text(), r#"{"for":"session=bob"}"#);
    // An unshared request is forwarded unchanged.
    let post = proxy.connect().request("POST", "/a", &[("Cookie", "_ga=1"), ("Content-Length", "0")]);
    assert_eq!(post.text(), r#"{"for":"_ga=1"}"#);
}

#[test]
fn a_set_cookie_goes_to_one_client() {
    let origin = Origin::start();
    let set = ("Set-Cookie", "session=alice");
    origin.answer("/own", Answer::new(200, &[JSON, ("Cache-Control", "max-age=60"), set], "{}"));
    origin.answer("/shared", Answer::new(200, &[JSON, ("Cache-Control", "public, max-age=60"), set], "{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    for _ in 0..2 {
        let response = proxy.get("/own");
        assert_eq!(response.cache_status(), "CacheWarp; fwd=uri-miss; detail=set-cookie");
        assert_eq!(response.field("set-cookie"), Some("session=alice"));
    }
    let first = proxy.get("/shared");
    assert_eq!(
        (first.cache_status(), first.field("set-cookie")),
        ("CacheWarp; fwd=uri-miss; stored", Some(set.1))
    );
    let second = proxy.get("/shared");
    assert!(second.cache_status().starts_with("CacheWarp; hit"));
    assert_eq!(second.field("set-cookie"), None);
}

#[test]
fn a_shared_fetch_gives_its_set_cookie_to_one_client() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: public, max-age=60\r\n\
                Set-Cookie: session=alice\r\nContent-Length: 2\r\n\r\n";
    origin.answer("/a", Answer::silent().pass(&gate).send(head).send("{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut clients: Vec<_> = (0..5).map(|_| proxy.connect()).collect();
    clients.iter_mut().for_each(|client| client.send_head("GET", "/a", &[]));
    proxy.await_askers(5);
    gate.open();
    let responses: Vec<_> = clients.iter_mut().map(Client::response).collect();
    let cookies = responses.iter().filter_map(|response| response.field("set-cookie")).count();
    assert_eq!((cookies, origin.count("/a")), (1, 1));
}

/// Answers in the requested language.
fn answer_with_language(exchange: &mut Exchange) -> io::Result<Then> {
    let language = exchange.request.field("accept-language").unwrap_or("none").to_owned();
    let body = format!(r#"{{"language":"{language}"}}"#);
    Answer::new(200, &[JSON, ("Vary", "Accept-Language")], &body).give(exchange)
}

fn language(response: &Response) -> String {
    response.text().replace(r#"{"language":""#, "").replace(r#""}"#, "")
}

#[test]
fn variants_do_not_cross() {
    let (origin, redis) = (Origin::start(), Redis::start());
    origin.script("/a", answer_with_language);
    // Both tiers, and a second node that stored none of the variants.
    let nodes = [(); 2].map(|()| {
        let settings = [("cache_memory_ttl", "0"), ("redis_timeout", "10s")];
        Proxy::start_with_redis(&origin.url(), &redis.url(), &settings)
    });
    for round in 0..3 {
        for node in &nodes {
            for (stored, wanted) in ["en", "de", "en-GB", "de, en;q=0.5"].into_iter().enumerate() {
                let response = node.get_with("/a", &[("Accept-Language", wanted)]);
                assert_eq!(language(&response), wanted);
                let first_of_all = round == 0 && std::ptr::eq(node, &nodes[0]);
                if first_of_all {
                    // Redis holds the variant and the list. Two concurrent variants would create
                    // two lists, of which one would remain.
                    redis.await_keys(stored + 2);
                }
                assert_ne!(
                    response.cache_status().contains("hit"),
                    first_of_all,
                    "{wanted}: {}",
                    response.cache_status()
                );
            }
            assert_eq!(language(&node.get("/a")), "none");
            redis.await_keys(6);
        }
        // Redis holds five variants and their list.
        redis.await_keys(6);
    }
    assert_eq!(origin.count("/a"), 5);
}

#[test]
fn variants_do_not_cross_in_a_shared_fetch() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let at_gate = gate.clone();
    origin.script("/a", move |exchange| {
        at_gate.pass();
        answer_with_language(exchange)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    let languages = ["en", "de", "fr", "en", "de", "fr", "en", "de", "fr"];
    let mut clients: Vec<_> = languages.iter().map(|_| proxy.connect()).collect();
    for (client, language) in clients.iter_mut().zip(languages) {
        client.send_head("GET", "/a", &[("Accept-Language", language)]);
    }
    proxy.await_askers(languages.len());
    origin.await_count("/a", 1);
    assert_eq!(origin.count("/a"), 1, "the variants are unknown before the first response");
    gate.open();
    for (client, wanted) in clients.iter_mut().zip(languages) {
        assert_eq!(language(&client.response()), wanted);
    }
    assert_eq!(origin.count("/a"), 3, "one fetch a variant");
}

#[test]
fn credentials_do_not_cross_in_a_shared_fetch() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let at_gate = gate.clone();
    origin.script("/a", move |exchange| {
        at_gate.pass();
        answer_with_credential(exchange, "max-age=60")
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    let credentials: Vec<_> = (0..12).map(|number| format!("Bearer {}", number % 4)).collect();
    let mut clients: Vec<_> = credentials.iter().map(|_| proxy.connect()).collect();
    for (number, (client, credential_of_client)) in clients.iter_mut().zip(&credentials).enumerate() {
        let credential = [("Authorization", credential_of_client.as_str())];
        client.send_head("GET", "/a", if number % 3 == 0 { &[] } else { &credential });
    }
    proxy.await_askers(credentials.len());
    gate.open();
    for (number, (client, credential_of_client)) in clients.iter_mut().zip(&credentials).enumerate() {
        let credential = if number % 3 == 0 { "anybody" } else { credential_of_client };
        assert_eq!(client.response().text(), format!(r#"{{"for":"{credential}"}}"#));
    }
}

#[test]
fn a_response_with_vary_star_is_not_stored() {
    let origin = Origin::start();
    origin.answer("/a", Answer::new(200, &[JSON, ("Vary", "Accept"), ("Vary", "*")], "{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    for _ in 0..2 {
        assert_eq!(proxy.get("/a").cache_status(), "CacheWarp; fwd=uri-miss; detail=vary-star");
    }
    assert_eq!(origin.count("/a"), 2);
}

#[test]
fn unkeyed_fields_cannot_poison_an_entry() {
    let origin = Origin::start();
    origin.script("/a", |exchange| {
        let fields = exchange.request.head.fields.iter().map(|(name, value)| format!("{name}={value}"));
        let fields = fields.collect::<Vec<_>>().join(" ").replace('"', "'");
        Answer::json(&format!(r#"{{"fields":"{fields}"}}"#)).give(exchange)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    let names = [
        "X-Forwarded-Host",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Prefix",
        "X-Forwarded-Server",
        "Forwarded",
        "X-Real-IP",
        "X-Host",
        "X-Original-URL",
        "X-Original-Host",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "X-HTTP-Host-Override",
        "X-Method-Override",
        "X_Forwarded_Host",
        "X_Original_URL",
        "Proxy",
        "Transfer-Encoding-Evil",
    ];
    for (number, name) in names.into_iter().enumerate() {
        let target = format!("/a?{number}");
        let attacker = proxy.get_with(&target, &[(name, "evil.test")]);
        let outcome = match name {
            "X-Forwarded-Prefix" | "X-Forwarded-Server" => "detail=credential-header",
            "Proxy" | "Transfer-Encoding-Evil" => "detail=unlisted-field",
            _ => "stored",
        };
        assert_eq!(attacker.cache_status(), format!("CacheWarp; fwd=uri-miss; {outcome}"), "{name}");
        let victim = proxy.get(&target);
        assert_eq!(victim.cache_status().starts_with("CacheWarp; hit"), outcome == "stored", "{name}");
        assert!(!victim.text().contains("evil.test"), "{name}: {}", victim.text());
    }
}

#[test]
fn a_field_named_in_connection_still_counts_for_the_cache() {
    let origin = Origin::start();
    origin.script("/a", |exchange| answer_with_credential(exchange, "max-age=60"));
    let proxy = Proxy::start(&origin.url(), &[]);
    // `Connection` makes the request anonymous for the origin; for the cache it still carries
    // Alice's credential.
    let stripped = [("Authorization", "Bearer alice"), ("Connection", "authorization")];
    assert_eq!(
        proxy.get_with("/a", &stripped).cache_status(),
        "CacheWarp; fwd=uri-miss; detail=authorization"
    );
    let host = proxy.get_with("/a?b", &[("Connection", "host, content-length, x-forwarded-for")]);
    assert_eq!(host.status, 200);
    let seen = origin.seen("/a").pop().unwrap();
    assert_eq!(seen.field("host"), Some(origin.addr().to_string().as_str()));
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
}

#[test]
fn a_partial_response_never_answers_for_the_whole() {
    let origin = Origin::start();
    let partial = "HTTP/1.1 206 Partial\r\nContent-Type: application/json\r\nCache-Control: max-age=60\r\n\
                   Content-Range: bytes 0-1/4\r\nContent-Length: 2\r\n\r\n12";
    // One resource sends a part on request, the other sends it always.
    origin.script("/a", move |exchange| match exchange.request.field("range") {
        Some(_) => Answer::raw(partial).give(exchange),
        None => Answer::json("1234").give(exchange),
    });
    origin.answer("/b", Answer::raw(partial));
    let proxy = Proxy::start(&origin.url(), &[]);
    for _ in 0..2 {
        let part = proxy.get_with("/a", &[("Range", "bytes=0-1")]);
        assert_eq!((part.status, part.text()), (206, "12"));
        let whole = proxy.get("/a");
        assert_eq!((whole.status, whole.text()), (200, "1234"));
        assert_eq!(proxy.get("/b").cache_status(), "CacheWarp; fwd=uri-miss; detail=partial-content");
    }
}
