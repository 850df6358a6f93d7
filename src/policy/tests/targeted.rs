//! Tests of targeted fields, one row per rule.

use super::{OwnedExchange, head, rules_of_the_rfc};
use crate::policy::NotStorable::{Malformed, NoCache, NoFreshness, NoStore, Private};
use crate::policy::{
    DeltaSeconds, DirectiveScope, DirectiveSeconds, DirectiveSource, Directives, NotStorable, Obligations,
    storable, stored_fields, strip_addressed,
};
use crate::time::Timestamp;

type TargetedFields = &'static [(&'static str, &'static str)];

#[test]
fn targeted_fields_decide_about_storing() {
    const NO_STORE: (&str, &str) = ("cache-control", "no-store");
    const FRESH: (&str, &str) = ("cache-control", "max-age=60");
    const EXPIRES: (&str, &str) = ("expires", "Fri, 02 Jan 1970 00:00:00 GMT");
    // The lifetime in seconds, or the reason against storing it.
    let rows: &[(&str, TargetedFields, Result<u64, NotStorable>)] = &[
        ("rfc9213-3.1", &[("cdn-cache-control", "max-age=9")], Ok(9)),
        (
            "rfc9213-2.2-first",
            &[("cdn-cache-control", "max-age=9"), ("cachewarp-cache-control", "max-age=8")],
            Ok(8),
        ),
        ("rfc9213-2.2-over-cache-control", &[FRESH, ("cdn-cache-control", "max-age=9")], Ok(9)),
        ("rfc9213-2.2-over-no-store", &[NO_STORE, ("cdn-cache-control", "max-age=9")], Ok(9)),
        ("rfc9213-2.2-over-expires", &[EXPIRES, ("cdn-cache-control", "max-age=9")], Ok(9)),
        ("rfc9213-2.2-no-store", &[FRESH, EXPIRES, ("cdn-cache-control", "no-store")], Err(NoStore)),
        ("rfc9213-2.2-private", &[FRESH, EXPIRES, ("cdn-cache-control", "private")], Err(Private)),
        ("rfc9213-2.2-no-cache", &[FRESH, EXPIRES, ("cdn-cache-control", "no-cache")], Err(NoCache)),
        ("rfc9213-2.2-zero", &[EXPIRES, ("cdn-cache-control", "max-age=0")], Err(NotStorable::Expired)),
        ("rfc9213-2.2-silent", &[FRESH, EXPIRES, ("cdn-cache-control", "foo")], Err(NoFreshness)),
        ("rfc9213-2.2-other-target", &[FRESH, ("other-cache-control", "no-store")], Ok(60)),
        ("rfc9213-2.1-malformed", &[NO_STORE, ("cdn-cache-control", "max-age=9, &&&&")], Err(NoStore)),
        ("rfc9213-2.1-space", &[FRESH, ("cdn-cache-control", "max-age =9")], Ok(60)),
        ("rfc9213-2.1-space-after", &[FRESH, ("cdn-cache-control", "max-age= 9")], Ok(60)),
        ("rfc9213-2.1-upper-case", &[FRESH, ("cdn-cache-control", "Max-Age=9")], Ok(60)),
        ("rfc9213-2.1-empty", &[FRESH, ("cdn-cache-control", "")], Ok(60)),
        ("rfc9213-2.1-next", &[("cachewarp-cache-control", "?"), ("cdn-cache-control", "max-age=9")], Ok(9)),
        ("rfc9213-2.1-lines", &[("cdn-cache-control", "public"), ("cdn-cache-control", "max-age=9")], Ok(9)),
        ("rfc9213-2.1-parameters", &[("cdn-cache-control", "max-age=9;a=b, foo")], Ok(9)),
        ("rfc9213-2.1-wrong-type", &[("cdn-cache-control", "max-age=\"9\"")], Err(NotStorable::Expired)),
        ("rfc9213-2.1-decimal", &[("cdn-cache-control", "max-age=9.0")], Err(NotStorable::Expired)),
        ("rfc9213-2.1-negative", &[("cdn-cache-control", "max-age=-9")], Err(NotStorable::Expired)),
        ("rfc9111-1.2.2-overflow", &[("cdn-cache-control", "max-age=99999999999")], Ok(30 * 24 * 3600)),
        ("rfc9111-4.2.3-age", &[("age", "9"), ("cdn-cache-control", "max-age=9")], Err(NotStorable::Expired)),
        (
            "rfc9213-2.2-malformed-beside",
            &[("cache-control", "a;b"), ("cdn-cache-control", "max-age=9")],
            Ok(9),
        ),
        ("malformed-alone", &[("cache-control", "a;b"), ("cdn-cache-control", "&")], Err(Malformed)),
    ];
    for (id, fields, want) in rows {
        let stored = storable(&OwnedExchange::response(200, fields).exchange(), &rules_of_the_rfc());
        assert_eq!(stored.map(|stored| stored.lifetime.as_secs()), *want, "{id}");
    }
}

#[test]
fn targeted_directives_have_their_meaning() {
    let nothing = Directives { source: DirectiveSource::Targeted, ..Directives::default() };
    let nine = DirectiveSeconds::Seconds(DeltaSeconds::of(9).unwrap());
    let rows = [
        ("no-store", Directives { no_store: true, ..nothing }),
        ("no-store=?0, x", nothing),
        ("no-store=1", Directives { no_store: true, ..nothing }),
        ("private", Directives { private: DirectiveScope::Whole, ..nothing }),
        ("private=\"a, b\"", Directives { private: DirectiveScope::Fields, ..nothing }),
        ("private=a", Directives { private: DirectiveScope::Fields, ..nothing }),
        ("private=1", Directives { private: DirectiveScope::Whole, ..nothing }),
        ("private=(\"a\")", Directives { private: DirectiveScope::Whole, ..nothing }),
        ("no-cache=\"vary\"", Directives { no_cache: DirectiveScope::Whole, ..nothing }),
        ("no-cache=?0, x", nothing),
        ("public", Directives { public: true, ..nothing }),
        ("public=1", nothing),
        ("must-revalidate", Directives { must_revalidate: true, ..nothing }),
        ("proxy-revalidate", Directives { proxy_revalidate: true, ..nothing }),
        ("must-understand=x", nothing),
        ("immutable", Directives { immutable: true, ..nothing }),
        ("s-maxage=9", Directives { s_maxage: nine, ..nothing }),
        ("stale-while-revalidate=9", Directives { stale_while_revalidate: nine, ..nothing }),
        ("stale-if-error=9", Directives { stale_if_error: nine, ..nothing }),
        ("max-age", Directives { max_age: DirectiveSeconds::Invalid, ..nothing }),
        ("max-age=9, max-age=x, max-age=9", Directives { max_age: nine, ..nothing }),
        ("max-stale=9, only-if-cached", nothing),
    ];
    for (value, want) in rows {
        let head = head(&[("cachewarp-cache-control", value), ("a", "1")]);
        assert_eq!(Directives::of(&head), want, "{value}");
    }
}

#[test]
fn unknown_targeted_directives_leave_the_prohibitions_of_the_others() {
    for (value, common, is_private, is_stored_by_others) in [
        ("foo", "private", true, false),
        ("privat", "private, max-age=9", true, false),
        ("foo=1, bar", "no-store", false, false),
        ("foo", "max-age=9", false, true),
        ("max-age=9", "private", false, true),
        ("public", "no-store", false, true),
    ] {
        let directives = Directives::of(&head(&[("cdn-cache-control", value), ("cache-control", common)]));
        assert_eq!(directives.private == DirectiveScope::Whole, is_private, "{value} beside {common}");
        let is_open = directives.private == DirectiveScope::Nothing && !directives.no_store;
        assert_eq!(is_open, is_stored_by_others, "{value} beside {common}");
        assert_eq!(directives.source, DirectiveSource::Targeted, "{value} beside {common}");
    }
}

#[test]
fn a_list_that_names_no_field_of_the_response_counts_for_the_whole() {
    for name in ["cache-control", "cdn-cache-control"] {
        for (list, scope) in [
            ("\"x-user\"", DirectiveScope::Fields),
            ("\"x-other, X-User\"", DirectiveScope::Fields),
            ("x-user", DirectiveScope::Fields),
            ("\"set-cookie\"", DirectiveScope::Fields),
            ("\"Set-Cookie2\"", DirectiveScope::Fields),
            ("\"'x-user'\"", DirectiveScope::Whole),
            ("\"x-other\"", DirectiveScope::Whole),
            ("true", DirectiveScope::Whole),
            ("yes", DirectiveScope::Whole),
            ("*", DirectiveScope::Whole),
        ] {
            let head = head(&[(name, &format!("private={list}")), ("x-user", "ann")]);
            assert_eq!(Directives::on_arrival(&head).private, scope, "{name}: private={list}");
        }
    }
    let quoted = head(&[("cache-control", "max-age=9, private='x-user'"), ("x-user", "ann")]);
    assert_eq!(Directives::on_arrival(&quoted).private, DirectiveScope::Whole);
    let no_cache = head(&[("cache-control", "no-cache=\"x-other\"")]);
    assert_eq!(Directives::on_arrival(&no_cache).no_cache, DirectiveScope::Fields);
}

#[test]
fn named_fields_are_not_stored_and_addressed_fields_are_stripped() {
    let owned = OwnedExchange::response(
        200,
        &[
            ("cachewarp-cache-control", "max-age=9, private=\"a\""),
            ("cdn-cache-control", "max-age=8"),
            ("cache-control", "no-cache=b"),
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
        ],
    );
    let stored = storable(&owned.exchange(), &rules_of_the_rfc()).unwrap();
    assert!(stored.obligations.contains(Obligations::ADDRESSED));
    // The field stays in the store: a later 304 may omit it, and its directives still apply.
    let mut fields = stored_fields(&owned.response, Timestamp::EPOCH, &rules_of_the_rfc());
    assert!(fields.contains_key("cachewarp-cache-control"));
    strip_addressed(&mut fields);
    let names: Vec<&str> = fields.keys().map(|name| name.as_str()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(["cdn-cache-control", "cache-control", "c", "date"].iter().all(|name| names.contains(name)));
    let plain = OwnedExchange::response(200, &[("cdn-cache-control", "max-age=8")]);
    let stored = storable(&plain.exchange(), &rules_of_the_rfc()).unwrap();
    assert!(!stored.obligations.contains(Obligations::ADDRESSED));
}
