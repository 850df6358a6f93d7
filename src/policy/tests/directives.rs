//! Tests of `Cache-Control` parsing, one row per rule, and properties for any bytes.

use http::header::{CACHE_CONTROL, HeaderMap, HeaderName};
use proptest::prelude::*;

use crate::policy::parse::targeted::named_fields;
use crate::policy::{DeltaSeconds, DirectiveScope, DirectiveSeconds, DirectiveSource, Directives};

const MALFORMED: Directives = Directives { malformed: true, ..NOTHING };
const NOTHING: Directives = Directives {
    no_store: false,
    no_cache: DirectiveScope::Nothing,
    private: DirectiveScope::Nothing,
    public: false,
    must_revalidate: false,
    proxy_revalidate: false,
    must_understand: false,
    immutable: false,
    only_if_cached: false,
    max_age: DirectiveSeconds::Absent,
    s_maxage: DirectiveSeconds::Absent,
    min_fresh: DirectiveSeconds::Absent,
    max_stale: DirectiveSeconds::Absent,
    stale_while_revalidate: DirectiveSeconds::Absent,
    stale_if_error: DirectiveSeconds::Absent,
    malformed: false,
    source: DirectiveSource::CacheControl,
};

fn parse(lines: &[&str]) -> Directives {
    Directives::parse(lines.iter().map(|line| line.as_bytes()))
}

fn seconds(text: &str) -> DirectiveSeconds {
    DirectiveSeconds::Seconds(DeltaSeconds::parse(text.bytes()).unwrap())
}

#[test]
fn directives_are_parsed_by_rule() {
    let max_age = |limit| Directives { max_age: limit, ..NOTHING };
    let rows: &[(&str, &[&str], Directives)] = &[
        ("rfc9111-5.2-none", &[], NOTHING),
        ("rfc9111-5.2-empty", &["", " , ,"], NOTHING),
        ("rfc9111-5.2.2.5", &["no-store"], Directives { no_store: true, ..NOTHING }),
        ("rfc9111-5.2-case", &["No-StoRe"], Directives { no_store: true, ..NOTHING }),
        ("rfc9111-5.2.2.9", &["public"], Directives { public: true, ..NOTHING }),
        ("rfc9111-5.2.2.2", &["must-revalidate"], Directives { must_revalidate: true, ..NOTHING }),
        ("rfc9111-5.2.2.8", &["proxy-revalidate"], Directives { proxy_revalidate: true, ..NOTHING }),
        ("rfc9111-5.2.2.3", &["must-understand"], Directives { must_understand: true, ..NOTHING }),
        ("rfc8246-2-argument", &["immutable=1"], Directives { immutable: true, ..NOTHING }),
        ("rfc8246-2-quoted", &["immutable=\"x\""], Directives { immutable: true, ..NOTHING }),
        ("rfc8246-2-empty", &["immutable="], Directives { immutable: true, ..NOTHING }),
        ("rfc8246-2", &["immutable"], Directives { immutable: true, ..NOTHING }),
        ("rfc9111-5.2.1.7", &["only-if-cached"], Directives { only_if_cached: true, ..NOTHING }),
        ("rfc9111-5.2.2.1", &["max-age=60"], max_age(seconds("60"))),
        ("rfc9111-5.2-quoted", &["max-age=\"60\""], max_age(seconds("60"))),
        ("rfc9110-5.6.4-quoted-pair", &["max-age=\"6\\0\""], max_age(seconds("60"))),
        ("rfc9111-1.2.2-leading-zero", &["max-age=0060"], max_age(seconds("60"))),
        (
            "rfc9111-1.2.2-overflow",
            &["max-age=99999999999"],
            max_age(DirectiveSeconds::Seconds(DeltaSeconds::MAX)),
        ),
        ("rfc9111-4.2.1-negative", &["max-age=-1"], max_age(DirectiveSeconds::Invalid)),
        ("rfc9111-4.2.1-fraction", &["max-age=1.0"], max_age(DirectiveSeconds::Invalid)),
        ("rfc9111-4.2.1-letters", &["max-age=60a"], max_age(DirectiveSeconds::Invalid)),
        ("rfc9111-4.2.1-single-quotes", &["max-age='60'"], max_age(DirectiveSeconds::Invalid)),
        ("rfc9111-4.2.1-quoted-space", &["max-age=\" 60\""], max_age(DirectiveSeconds::Invalid)),
        ("rfc9111-4.2.1-no-argument", &["max-age"], max_age(DirectiveSeconds::Invalid)),
        ("rfc9111-4.2.1-empty", &["max-age=\"\""], max_age(DirectiveSeconds::Invalid)),
        ("rfc9111-4.2.1-twice-alike", &["max-age=60, max-age=060"], max_age(seconds("60"))),
        ("rfc9111-4.2.1-conflict", &["max-age=60, max-age=61"], max_age(DirectiveSeconds::Invalid)),
        ("rfc9111-4.2.1-conflict-lines", &["max-age=60", "max-age=61"], max_age(DirectiveSeconds::Invalid)),
        (
            "rfc9111-4.2.1-conflict-kept",
            &["max-age=1, max-age=2, max-age=2"],
            max_age(DirectiveSeconds::Invalid),
        ),
        ("rfc9111-5.2.2.10", &["s-maxage=60"], Directives { s_maxage: seconds("60"), ..NOTHING }),
        ("rfc9111-5.2.1.3", &["min-fresh=60"], Directives { min_fresh: seconds("60"), ..NOTHING }),
        ("rfc9111-5.2.1.2", &["max-stale=60"], Directives { max_stale: seconds("60"), ..NOTHING }),
        (
            "rfc9111-5.2.1.2-any",
            &["max-stale"],
            Directives { max_stale: DirectiveSeconds::Seconds(DeltaSeconds::MAX), ..NOTHING },
        ),
        (
            "rfc5861-3",
            &["stale-while-revalidate=60"],
            Directives { stale_while_revalidate: seconds("60"), ..NOTHING },
        ),
        ("rfc5861-4", &["stale-if-error=60"], Directives { stale_if_error: seconds("60"), ..NOTHING }),
        ("rfc9111-5.2.2.4", &["no-cache"], Directives { no_cache: DirectiveScope::Whole, ..NOTHING }),
        (
            "rfc9111-5.2.2.4-fields",
            &["no-cache=\"a, b\""],
            Directives { no_cache: DirectiveScope::Fields, ..NOTHING },
        ),
        (
            "rfc9111-5.2.2.4-token",
            &["no-cache=a"],
            Directives { no_cache: DirectiveScope::Fields, ..NOTHING },
        ),
        (
            "rfc9111-5.2.2.4-empty",
            &["no-cache=\" ,\""],
            Directives { no_cache: DirectiveScope::Whole, ..NOTHING },
        ),
        (
            "rfc9111-5.2.2.4-no-name",
            &["no-cache=\"a, b c\""],
            Directives { no_cache: DirectiveScope::Whole, ..NOTHING },
        ),
        (
            "rfc9111-5.2.2.4-essential",
            &["no-cache=\"a, Vary\""],
            Directives { no_cache: DirectiveScope::Whole, ..NOTHING },
        ),
        (
            "rfc9111-5.2.2.4-both",
            &["no-cache", "no-cache=\"a\""],
            Directives { no_cache: DirectiveScope::Whole, ..NOTHING },
        ),
        ("rfc9111-5.2.2.7", &["private"], Directives { private: DirectiveScope::Whole, ..NOTHING }),
        (
            "rfc9111-5.2.2.7-fields",
            &["private=\"a\""],
            Directives { private: DirectiveScope::Fields, ..NOTHING },
        ),
        ("rfc9111-5.2.3-unknown", &["foo, bar=1, baz=\"x, no-store\""], NOTHING),
        ("rfc9111-5.2.3-longer", &["stale-while-revalidates=60"], NOTHING),
        ("rfc9111-5.2.3-prefix", &["max-ag=60, no-stor"], NOTHING),
        ("rfc9111-5.2.3-any-value", &["foo=abc==, bar=a:b/c, baz=(x), a=, b= 1, c=x y;z, d=\u{e4}"], NOTHING),
        ("rfc9111-5.2.3-and-known", &["sig=abc==, no-store"], Directives { no_store: true, ..NOTHING }),
        ("rfc9111-5.2.3-long", &["stale-while-revalidates=(60)"], NOTHING),
        ("malformed-known-value", &["max-age=(60)"], MALFORMED),
        ("malformed-known-empty", &["private="], MALFORMED),
        ("malformed-hidden-semicolon", &["foo=a; private"], MALFORMED),
        ("malformed-hidden-space", &["foo=(a) No-Store"], MALFORMED),
        ("malformed-hidden-argument", &["foo=a;max-age=0"], MALFORMED),
        ("malformed-hidden-quote", &["foo=a\"b, private\""], MALFORMED),
        ("malformed-semicolon", &["public; private"], MALFORMED),
        ("malformed-open-quote", &["foo=\"bar, no-store"], MALFORMED),
        ("malformed-space-before", &["max-age =60"], MALFORMED),
        ("malformed-space-after", &["max-age= 60"], MALFORMED),
        ("malformed-argument", &["public=1"], Directives { public: true, ..MALFORMED }),
        ("malformed-and-more", &["a b, no-store"], Directives { no_store: true, ..MALFORMED }),
    ];
    for (id, lines, want) in rows {
        assert_eq!(parse(lines), *want, "{id}");
    }
}

#[test]
fn named_fields_are_collected_from_all_lines() {
    let mut headers = HeaderMap::new();
    headers.append(CACHE_CONTROL, "max-age=1, No-Cache=\"A ,b\", foo=\"x\"".parse().unwrap());
    headers.append(CACHE_CONTROL, "private=c".parse().unwrap());
    let names: Vec<HeaderName> = named_fields(&headers).collect();
    assert_eq!(names, ["a", "b", "c"], "first of no-cache, then of private");
}

#[test]
fn a_malformed_known_directive_is_reported() {
    for name in [
        "no-store",
        "public",
        "must-revalidate",
        "proxy-revalidate",
        "must-understand",
        "only-if-cached",
        "no-cache",
        "private",
        "max-age",
        "s-maxage",
        "min-fresh",
        "max-stale",
        "stale-while-revalidate",
        "stale-if-error",
    ] {
        assert_eq!(parse(&[&format!("{name}=a=b")]), MALFORMED, "{name}");
        assert_ne!(parse(&[name]), NOTHING, "{name}");
    }
}

#[test]
fn an_invalid_number_is_read_as_the_given_default() {
    assert_eq!(DirectiveSeconds::Absent.or(DeltaSeconds::ZERO), None);
    assert_eq!(DirectiveSeconds::Invalid.or(DeltaSeconds::ZERO), Some(DeltaSeconds::ZERO));
    assert_eq!(DirectiveSeconds::Seconds(DeltaSeconds::MAX).or(DeltaSeconds::ZERO), Some(DeltaSeconds::MAX));
}

/// Well-formed directives, and fragments that break a line.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(
            &[
                "no-store",
                "public",
                "private",
                "no-cache=\"a, b\"",
                "max-age=60",
                "max-age=\"60\"",
                "s-maxage=5",
                "max-stale",
                "min-fresh=1",
                "foo",
                "foo=\"no-store\"",
                "must-revalidate",
                "max-age=x",
            ][..]
        )
        .prop_map(str::to_owned),
        "[a-z\"\\\\=; ]{0,6}",
    ]
}

proptest! {
    #[test]
    fn any_bytes_can_be_read(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..4)) {
        Directives::parse(lines.iter().map(Vec::as_slice));
    }

    #[test]
    fn letter_case_white_space_and_lines_do_not_matter(pieces in prop::collection::vec(piece(), 0..6)) {
        // An open quote in one piece would swallow the separator that this test varies.
        prop_assume!(pieces.iter().all(|piece| piece.matches('"').count() % 2 == 0 && !piece.contains('\\')));
        let plain = parse(&[&pieces.join(",")]);
        prop_assert_eq!(parse(&[&pieces.join(" ,\t, ")]), plain);
        prop_assert_eq!(parse(&[&pieces.join(",").to_ascii_uppercase()]), plain);
        let lines: Vec<&str> = pieces.iter().map(String::as_str).collect();
        prop_assert_eq!(parse(&lines), plain);
    }

    #[test]
    fn adding_a_directive_never_removes_a_restriction(pieces in prop::collection::vec(piece(), 0..6), more in piece()) {
        let less = parse(&pieces.iter().map(String::as_str).collect::<Vec<_>>());
        let both = parse(&pieces.iter().chain([&more]).map(String::as_str).collect::<Vec<_>>());
        prop_assert!(both.no_store >= less.no_store);
        prop_assert!(both.malformed >= less.malformed);
        prop_assert!(both.no_cache >= less.no_cache);
        prop_assert!(both.private >= less.private);
        prop_assert!(less.max_age == DirectiveSeconds::Absent || [less.max_age, DirectiveSeconds::Invalid].contains(&both.max_age));
    }
}
