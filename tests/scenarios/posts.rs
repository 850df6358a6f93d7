//! A response to a `POST` that equals the response to a `GET`, as its `Content-Location` says (RFC
//! 9110 §9.3.3).

use crate::harness::{Answer, Client, Gate, Origin, Proxy, Response};

const OLD: &str = r#"{"state":"old"}"#;
const NEW: &str = r#"{"state":"new"}"#;
const FRESH: (&str, &str) = ("Cache-Control", "max-age=600");
const ITSELF: (&str, &str) = ("Content-Location", "/a");

fn post(proxy: &Proxy, fields: &[(&str, &str)]) -> Response {
    let mut client = proxy.connect();
    client.send_head("POST", "/a", &[fields, &[("Content-Length", "2")]].concat());
    client.send("{}");
    client.response()
}

fn is_stored(proxy: &Proxy) -> bool {
    proxy.get_with("/a", &[("Cache-Control", "only-if-cached")]).status == 200
}

#[test]
fn a_post_response_is_stored_with_content_location_and_lifetime() {
    type Fields = &'static [(&'static str, &'static str)];
    // The response fields, the request fields, and whether a later `GET` hits.
    let rows: [(Fields, Fields, bool); 12] = [
        (&[FRESH, ITSELF], &[], true),
        (&[FRESH, ("Content-Location", "http://test/a")], &[], true),
        (&[FRESH], &[], false),
        (&[FRESH, ("Content-Location", "/b")], &[], false),
        (&[FRESH, ("Content-Location", "/a?b")], &[], false),
        (&[ITSELF], &[], false),
        (&[("Cache-Control", "private, max-age=600"), ITSELF], &[], false),
        (&[("Cache-Control", "no-store"), ITSELF], &[], false),
        (&[FRESH, ITSELF], &[("Cache-Control", "no-store")], false),
        (&[FRESH, ITSELF], &[("Authorization", "Bearer alice")], false),
        (&[FRESH, ITSELF], &[("Cookie", "id=alice")], false),
        (&[("Cache-Control", "public, max-age=600"), ITSELF], &[("Cookie", "id=alice")], true),
    ];
    for (answer, request, stored) in rows {
        let origin = Origin::start();
        let proxy = Proxy::start(&origin.url(), &[]);
        origin.answer("/a", Answer::json_with(&[FRESH], OLD));
        proxy.get("/a");
        origin.answer("/a", Answer::json_with(answer, NEW));
        let own = post(&proxy, request);
        assert_eq!((own.status, own.text()), (200, NEW), "{answer:?}");
        assert_eq!(own.cache_status() == "CacheWarp; fwd=method; stored", stored, "{}", own.cache_status());
        assert_eq!(is_stored(&proxy), stored, "{answer:?} to {request:?}");
        assert_eq!(proxy.get("/a").text(), NEW, "the POST must invalidate the old entry");
    }
}

#[test]
fn a_varying_post_response_is_stored_as_a_variant() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    origin.script("/a", |exchange| {
        exchange.body()?;
        let language = exchange.request.field("accept-language").unwrap_or("none").to_owned();
        Answer::json_with(&[FRESH, ITSELF, ("Vary", "Accept-Language")], &format!("{language:?}"))
            .give(exchange)
    });
    assert_eq!(post(&proxy, &[("Accept-Language", "en")]).text(), r#""en""#);
    let english = proxy.get_with("/a", &[("Accept-Language", "en")]);
    assert!(english.cache_status().starts_with("CacheWarp; hit"), "{}", english.cache_status());
    assert_eq!(english.text(), r#""en""#);
    assert_eq!(proxy.get_with("/a", &[("Accept-Language", "de")]).text(), r#""de""#);
}

#[test]
fn a_superseded_post_response_is_not_stored() {
    let (origin, before_head, before_body) = (Origin::start(), Gate::new(), Gate::new());
    let proxy = Proxy::start(&origin.url(), &[]);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=600\r\nContent-Location: /a\r\n";
    let answer = format!("{head}Content-Length: {}\r\n\r\n", OLD.len());
    let mut superseded: Vec<Client> = Vec::new();
    for (gate, steps) in [
        (&before_head, Answer::silent().pass(&before_head).send(answer.clone()).send(OLD)),
        (&before_body, Answer::raw(answer.clone()).pass(&before_body).send(OLD)),
    ] {
        origin.answer("/a", steps);
        let mut client = proxy.connect();
        client.send_head("POST", "/a", &[("Content-Length", "0")]);
        gate.await_arrivals(1);
        superseded.push(client);
    }
    // The head of the second response must arrive first, or the test would cover only one case.
    let second = superseded[1].head();
    origin.answer("/a", Answer::new(204, &[], ""));
    assert_eq!(proxy.connect().request("DELETE", "/a", &[]).status, 204);
    before_body.open();
    assert_eq!(superseded[1].body_of("POST", &second).0, OLD.as_bytes());
    before_head.open();
    assert_eq!(superseded[0].response().text(), OLD);
    assert!(!is_stored(&proxy));
    origin.answer("/a", Answer::json_with(&[FRESH], NEW));
    assert_eq!(proxy.get("/a").text(), NEW);
}
