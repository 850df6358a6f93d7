//! Tests of validation, one row per rule.

use http::{HeaderMap, Method, StatusCode};

use super::{OwnedExchange, backend, head, rules, rules_of_the_rfc, target};
use crate::policy::NotStorable::{
    self, Authorization, Changed, ContentLocation, ContentType, Cookie, NoFreshness, NoStore, NoValidator,
    Private, RequestNoStore, SetCookie, UnlistedField, VaryStar,
};
use crate::policy::{
    Exchange, FreshenOutcome, NotSelectedError, StoredHead, freshen, freshen_by_head, make_conditional,
    storable_post,
};

type ValidationFields = &'static [(&'static str, &'static str)];

const JSON: (&str, &str) = ("content-type", "application/json");
const TAG: (&str, &str) = ("etag", "\"a\"");
const NOON: &str = "Sun, 06 Nov 1994 12:00:00 GMT";
const LATER: &str = "Sun, 06 Nov 1994 13:00:00 GMT";
const LATER_MILLIS: u64 = 784_126_800_000;

fn stored_head(fields: &HeaderMap) -> StoredHead<'_> {
    StoredHead { status: StatusCode::OK, fields, body_bytes: 7 }
}

#[test]
fn validation_replaces_the_conditions_of_the_client() {
    let rows: &[(&str, ValidationFields, ValidationFields)] = &[
        ("rfc9111-4.3.1-tag", &[TAG], &[("if-none-match", "\"a\"")]),
        ("rfc9111-4.3.1-weak", &[("etag", "W/\"a\"")], &[("if-none-match", "W/\"a\"")]),
        ("rfc9111-4.3.1-date", &[("last-modified", NOON)], &[("if-modified-since", NOON)]),
        (
            "rfc9111-4.3.1-both",
            &[TAG, ("last-modified", NOON)],
            &[("if-none-match", "\"a\""), ("if-modified-since", NOON)],
        ),
        ("rfc9111-4.3.1-none", &[("date", NOON)], &[]),
        ("malformed-tag", &[("etag", "abc")], &[("if-none-match", "abc")]),
        ("malformed-date", &[("last-modified", "noon")], &[]),
        ("several-tags", &[TAG, ("etag", "\"b\"")], &[]),
    ];
    for (id, stored, want) in rows {
        // The client's own conditions and range are removed.
        let mut request = head(&[
            ("accept", "x"),
            ("if-none-match", "\"theirs\""),
            ("if-modified-since", LATER),
            ("range", "bytes=0-1"),
            ("if-range", "\"theirs\""),
        ]);
        make_conditional(&mut request, &head(stored));
        assert_eq!(request, head(&[&[("accept", "x")], *want].concat()), "{id}");
    }
}

#[test]
fn a_304_selects_the_stored_response_by_validator() {
    const DATED: (&str, &str) = ("last-modified", NOON);
    let rows: &[(&str, ValidationFields, ValidationFields, bool)] = &[
        ("rfc9111-4.3.4-tag", &[TAG], &[TAG], true),
        ("rfc9111-4.3.4-other-tag", &[TAG], &[("etag", "\"b\"")], false),
        ("rfc9111-4.3.4-weak", &[("etag", "W/\"a\"")], &[("etag", "W/\"a\"")], true),
        ("rfc9111-4.3.4-weakened", &[TAG], &[("etag", "W/\"a\"")], true),
        ("rfc9111-4.3.4-date", &[DATED], &[DATED], true),
        ("rfc9111-4.3.4-other-date", &[DATED], &[("last-modified", LATER)], false),
        ("rfc9111-4.3.4-tag-and-other-date", &[TAG, DATED], &[TAG, ("last-modified", LATER)], true),
        ("rfc9111-4.3.4-new-tag", &[DATED], &[TAG, DATED], false),
        ("rfc9111-4.3.4-none", &[TAG], &[], true),
        ("rfc9111-4.3.4-no-tag", &[TAG], &[("last-modified", LATER)], true),
        ("malformed-alike", &[("etag", "a")], &[("etag", "a")], true),
        ("malformed-other", &[("etag", "a")], &[TAG], false),
    ];
    for (id, stored, not_modified, want) in rows {
        let stored = head(&[&[JSON, ("cache-control", "max-age=60")], *stored].concat());
        let owned = OwnedExchange::response(304, not_modified);
        let freshened = freshen(stored_head(&stored), &owned.exchange(), &rules());
        assert_eq!(freshened != Err(NotSelectedError), *want, "{id}");
    }
}

/// Returns the stored fields after a `304` with these fields, without those that every row has.
fn fields_after(stored: &[(&str, &str)], not_modified: &[(&str, &str)]) -> HeaderMap {
    let stored = head(&[&[JSON, ("date", NOON), ("cache-control", "max-age=60")], stored].concat());
    let owned = OwnedExchange::response(304, not_modified).at(LATER_MILLIS, LATER_MILLIS);
    let Ok(freshened) = freshen(stored_head(&stored), &owned.exchange(), &rules()) else {
        panic!("another response")
    };
    let FreshenOutcome::Updated { facts, fields } = freshened.outcome else {
        panic!("{:?}", freshened.outcome)
    };
    assert_eq!(facts.received.as_millis(), LATER_MILLIS);
    fields
}

#[test]
fn a_304_updates_the_stored_fields() {
    // Rule, stored fields, fields of the 304, stored fields afterwards.
    let rows: &[(&str, ValidationFields, ValidationFields, ValidationFields)] = &[
        ("rfc9111-3.2-absent", &[("a", "1")], &[], &[("a", "1")]),
        ("rfc9111-3.2-replaced", &[("a", "1"), ("a", "2")], &[("a", "3")], &[("a", "3")]),
        ("rfc9111-3.2-added", &[], &[("a", "1"), ("a", "2")], &[("a", "1"), ("a", "2")]),
        ("rfc9111-3.2-content-length", &[], &[("content-length", "0")], &[]),
        (
            "rfc9111-3.2-content-encoding",
            &[("content-encoding", "gzip")],
            &[("content-encoding", "br")],
            &[("content-encoding", "gzip")],
        ),
        ("rfc9111-3.2-content-range", &[], &[("content-range", "bytes 0-1/2")], &[]),
        ("content-md5", &[("content-md5", "x")], &[("content-md5", "y")], &[("content-md5", "x")]),
        (
            "rfc9111-3.2-content-location",
            &[("content-location", "/a")],
            &[("content-location", "/b")],
            &[("content-location", "/b")],
        ),
        (
            "rfc9111-3.1-connection",
            &[("a", "1")],
            &[("connection", "a, b"), ("a", "2"), ("b", "3")],
            &[("a", "1")],
        ),
        ("rfc9111-3.1-hop", &[], &[("keep-alive", "x"), ("proxy-authenticate", "x"), ("age", "3")], &[]),
        ("rfc9111-4.1-fewer", &[("vary", "a, b")], &[("vary", "B")], &[("vary", "a, b")]),
        ("rfc9111-4.1-others", &[("vary", "a, b")], &[("vary", "C")], &[("vary", "a, b, c")]),
        ("rfc9111-4.1-none", &[("vary", "a")], &[("vary", "")], &[("vary", "a")]),
        (
            "rfc9111-4.1-alike",
            &[("vary", "A,b")],
            &[("vary", "b"), ("vary", "a")],
            &[("vary", "b"), ("vary", "a")],
        ),
        ("rfc9111-4.1-unstated", &[("vary", "A,b")], &[], &[("vary", "A,b")]),
        ("rfc9110-8.8.1-stays-weak", &[("etag", "W/\"a\"")], &[("etag", "\"a\"")], &[("etag", "W/\"a\"")]),
        ("rfc9111-4.3.4-repeated", &[TAG], &[TAG], &[TAG]),
    ];
    for (id, stored, not_modified, want) in rows {
        let mut fields = fields_after(stored, not_modified);
        for name in ["content-type", "date", "cache-control"] {
            assert!(fields.remove(name).is_some(), "{id}");
        }
        assert_eq!(fields, head(want), "{id}");
    }
    assert_eq!(
        fields_after(&[], &[("content-type", "application/json; a=b")])["content-type"],
        "application/json; a=b"
    );
    assert_eq!(fields_after(&[], &[("cache-control", "max-age=9")])["cache-control"], "max-age=9");
    assert_eq!(fields_after(&[], &[])["date"], LATER, "rfc9110-6.6.1: made on arrival");
    assert_eq!(fields_after(&[], &[("date", NOON), ("cache-control", "max-age=9999")])["date"], NOON);
}

/// The new stored lifetime, or the outcome and its reason.
type ValidationOutcome = Result<u64, (&'static str, NotStorable)>;

fn summary(outcome: FreshenOutcome) -> ValidationOutcome {
    match outcome {
        FreshenOutcome::Updated { facts, .. } => Ok(facts.ttl(facts.received).as_secs()),
        FreshenOutcome::Unchanged(reason) => Err(("unchanged", reason)),
        FreshenOutcome::Invalidated(reason) => Err(("invalidated", reason)),
    }
}

#[test]
fn an_updated_head_passes_the_gate_again() {
    let rows: &[(&str, ValidationFields, ValidationFields, ValidationOutcome)] = &[
        ("rfc9111-4.3.4-fresh-again", &[], &[], Ok(60)),
        ("rfc9111-4.3.4-new-lifetime", &[], &[("cache-control", "max-age=9")], Ok(9)),
        ("rfc9111-4.3.4-age", &[], &[("age", "20")], Ok(40)),
        ("rfc9111-4.3.4-date", &[], &[("date", "Sun, 06 Nov 1994 12:59:50 GMT")], Ok(50)),
        ("rfc9111-4.3.4-no-cache", &[], &[("cache-control", "no-cache, max-age=9")], Ok(9)),
        ("rfc9111-5.2.2.7", &[], &[("cache-control", "private")], Err(("invalidated", Private))),
        ("rfc9111-5.2.2.5", &[], &[("cache-control", "no-store")], Err(("invalidated", NoStore))),
        ("rfc9111-4.1-star", &[], &[("vary", "*")], Err(("invalidated", VaryStar))),
        (
            "rfc9111-7.3",
            &[],
            &[("cache-control", "max-age=60"), ("set-cookie", "a=b")],
            Err(("invalidated", SetCookie)),
        ),
        ("rfc9111-4.1-more", &[], &[("vary", "accept")], Ok(60)),
        ("type", &[], &[("content-type", "text/html")], Err(("invalidated", ContentType))),
        ("shared", &[("cookie", "a=b")], &[("cache-control", "public, max-age=9")], Ok(9)),
        ("shared-unlisted", &[("x-auth-token", "a")], &[("cache-control", "max-age=9")], Ok(9)),
        // These concern one request and not the stored response.
        ("unstated", &[("cookie", "a=b")], &[], Err(("unchanged", Cookie))),
        ("unstated-unlisted", &[("x-auth-token", "a")], &[], Err(("unchanged", UnlistedField))),
        ("rfc9111-5.2.1.5", &[("cache-control", "no-store")], &[], Err(("unchanged", RequestNoStore))),
        (
            "rfc9111-3.5",
            &[("authorization", "x")],
            &[("cache-control", "max-age=9")],
            Err(("unchanged", Authorization)),
        ),
        ("cookie", &[("cookie", "a=b")], &[("cache-control", "max-age=9")], Err(("unchanged", Cookie))),
        (
            "rfc9111-3.5-private",
            &[("authorization", "x")],
            &[("cache-control", "private")],
            Err(("invalidated", Private)),
        ),
    ];
    for (id, request, not_modified, want) in rows {
        let stored = head(&[JSON, TAG, ("date", NOON), ("cache-control", "public, max-age=60")]);
        for method in [Method::GET, Method::HEAD] {
            let owned = OwnedExchange::response(304, not_modified)
                .to(&method, request)
                .at(LATER_MILLIS, LATER_MILLIS);
            let freshened = freshen(stored_head(&stored), &owned.exchange(), &rules()).unwrap();
            assert_eq!(summary(freshened.outcome), *want, "{id} {method}");
        }
    }
}

/// A stored head lacks the fields that its `private` names, so the same list in a 304 is no
/// mistake.
#[test]
fn a_new_private_in_a_304_names_fields_of_the_response() {
    for (before, after, want) in [
        ("max-age=9, private=\"x-own\"", "max-age=9, private=\"x-own\"", Ok(9)),
        ("max-age=9", "max-age=9, private=\"x-own\"", Err(("invalidated", Private))),
        ("max-age=9", "max-age=9, private=\"a\"", Ok(9)),
    ] {
        let stored = head(&[JSON, TAG, ("a", "1"), ("cache-control", before)]);
        let owned = OwnedExchange::response(304, &[("cache-control", after)]).at(LATER_MILLIS, LATER_MILLIS);
        let freshened = freshen(stored_head(&stored), &owned.exchange(), &rules()).unwrap();
        assert_eq!(summary(freshened.outcome), want, "{before}, then {after}");
    }
}

#[test]
fn a_private_304_answers_its_own_request() {
    let stored = head(&[JSON, TAG, ("a", "1"), ("cache-control", "max-age=60")]);
    let owned =
        OwnedExchange::response(304, &[("cache-control", "private"), ("set-cookie", "a=b"), ("a", "2")]);
    let freshened = freshen(stored_head(&stored), &owned.exchange(), &rules()).unwrap();
    assert_eq!(freshened.outcome, FreshenOutcome::Invalidated(Private));
    assert_eq!(freshened.answer["set-cookie"], "a=b");
    assert_eq!(freshened.answer["a"], "2");
    assert_eq!(freshened.answer["content-type"], "application/json");
    let public =
        OwnedExchange::response(304, &[("cache-control", "public, max-age=9"), ("set-cookie", "a=b")]);
    let freshened = freshen(stored_head(&stored), &public.exchange(), &rules()).unwrap();
    let FreshenOutcome::Updated { fields, .. } = freshened.outcome else { panic!("{:?}", freshened.outcome) };
    assert!(!fields.contains_key("set-cookie"), "rfc9111-7.3: the cookie of one client");
    assert!(freshened.answer.contains_key("set-cookie"));
}

#[test]
fn an_unchecked_body_does_not_become_json() {
    let stored = head(&[("content-type", "text/plain"), ("cache-control", "max-age=60")]);
    let owned = OwnedExchange::response(304, &[JSON]);
    let freshened = freshen(stored_head(&stored), &owned.exchange(), &rules_of_the_rfc()).unwrap();
    assert_eq!(freshened.outcome, FreshenOutcome::Invalidated(ContentType));
}

#[test]
fn a_head_response_updates_the_stored_response() {
    let stored = head(&[JSON, TAG, ("last-modified", NOON), ("cache-control", "max-age=60")]);
    let outcome = |status: u16, response: &[(&str, &str)]| {
        let owned = OwnedExchange::response(status, &[&[JSON], response].concat()).to(&Method::HEAD, &[]);
        summary(freshen_by_head(stored_head(&stored), &owned.exchange(), &rules()))
    };
    const FRESH: (&str, &str) = ("cache-control", "max-age=9");
    let rows: &[(&str, u16, ValidationFields, ValidationOutcome)] = &[
        ("rfc9111-4.3.5-tag", 200, &[TAG, FRESH], Ok(9)),
        ("rfc9111-4.3.5-date", 200, &[("last-modified", NOON), FRESH], Ok(9)),
        ("rfc9111-4.3.5-length", 200, &[TAG, FRESH, ("content-length", "7")], Ok(9)),
        ("rfc9111-4.3.5-other-length", 200, &[TAG, ("content-length", "8")], Err(("invalidated", Changed))),
        ("rfc9111-4.3.5-other-tag", 200, &[("etag", "\"b\"")], Err(("invalidated", Changed))),
        ("rfc9111-4.3.5-other-date", 200, &[TAG, ("last-modified", LATER)], Err(("invalidated", Changed))),
        ("rfc9111-4.3.5-private", 200, &[TAG, ("cache-control", "private")], Err(("invalidated", Private))),
        ("rfc9111-4.1-more", 200, &[TAG, FRESH, ("vary", "accept")], Err(("invalidated", Changed))),
        ("no-validator", 200, &[FRESH], Err(("unchanged", NoValidator))),
        ("no-validator-length", 200, &[FRESH, ("content-length", "7")], Err(("unchanged", NoValidator))),
        ("rfc9111-4.3.5-404", 404, &[TAG, FRESH], Err(("unchanged", NotStorable::Method))),
    ];
    for (id, status, response, want) in rows {
        assert_eq!(outcome(*status, response), *want, "{id}");
    }
}

#[test]
fn a_post_response_with_its_target_is_stored_for_get() {
    let stored = |method: &Method, request: &[(&str, &str)], response: &[(&str, &str)]| {
        let owned = OwnedExchange::response(200, &[&[JSON], response].concat()).to(method, request);
        let target = target("http://api.test/a?b");
        let exchange = Exchange { target: &target, ..owned.exchange() };
        storable_post(&exchange, &backend(), &rules()).map(|stored| stored.lifetime.as_secs())
    };
    const HERE: (&str, &str) = ("content-location", "/a?b");
    const FRESH: (&str, &str) = ("cache-control", "max-age=9");
    type Row = (&'static str, Method, ValidationFields, ValidationFields, Result<u64, NotStorable>);
    let rows: &[Row] = &[
        ("rfc9110-9.3.3", Method::POST, &[], &[HERE, FRESH], Ok(9)),
        (
            "rfc9110-9.3.3-origins-own",
            Method::POST,
            &[],
            &[("content-location", "http://backend:8080/a?b"), FRESH],
            Ok(9),
        ),
        ("rfc9110-9.3.3-relative", Method::POST, &[], &[("content-location", "a?b"), FRESH], Ok(9)),
        ("rfc9110-9.3.3-empty", Method::POST, &[], &[("content-location", ""), FRESH], Ok(9)),
        (
            "rfc9110-9.3.3-absolute",
            Method::POST,
            &[],
            &[("content-location", "http://api.test/a?b"), FRESH],
            Ok(9),
        ),
        (
            "rfc9110-9.3.3-other",
            Method::POST,
            &[],
            &[("content-location", "/a"), FRESH],
            Err(ContentLocation),
        ),
        ("rfc9110-9.3.3-none", Method::POST, &[], &[FRESH], Err(ContentLocation)),
        ("rfc9110-9.3.3-two", Method::POST, &[], &[HERE, HERE, FRESH], Err(ContentLocation)),
        ("rfc9110-9.3.3-guess", Method::POST, &[], &[HERE], Err(NoFreshness)),
        (
            "rfc9110-9.3.3-stale",
            Method::POST,
            &[],
            &[HERE, TAG, ("cache-control", "max-age=0")],
            Err(NoFreshness),
        ),
        ("rfc9111-5.2.2.7", Method::POST, &[], &[HERE, ("cache-control", "private")], Err(Private)),
        ("rfc9111-3.5", Method::POST, &[("authorization", "x")], &[HERE, FRESH], Err(Authorization)),
        ("put", Method::PUT, &[], &[HERE, FRESH], Err(NotStorable::Method)),
        ("get", Method::GET, &[], &[HERE, FRESH], Err(NotStorable::Method)),
    ];
    for (id, method, request, response, want) in rows {
        assert_eq!(stored(method, request, response), *want, "{id}");
    }
}
