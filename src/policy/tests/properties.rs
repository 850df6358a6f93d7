//! Properties of the gates for all heads and times.

use std::time::Duration;

use http::header::{ACCEPT_ENCODING, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Uri};
use proptest::prelude::*;

use super::{backend, head, rules, rules_of_the_rfc, target};
use crate::key::{Scheme, Target};
use crate::limits::LIFETIME_MAX;
use crate::policy::{
    Directives, Exchange, GroupNames, Obligations, OriginFailure, RequestFacts, Reuse, RulesDigest,
    StoredFacts, Vary, invalidated, make_conditional, precondition, ranges, reuse, stale_on_error, storable,
    stored_fields,
};
use crate::time::Timestamp;

/// Generates request fields, mostly meaningful ones.
fn request() -> impl Strategy<Value = HeaderMap> {
    let field = prop::sample::select(
        &[
            ("authorization", "Bearer x"),
            ("cookie", "a=b"),
            ("x-api-key", "x"),
            ("accept", "*/*"),
            ("cache-control", "max-age=5"),
            ("cache-control", "max-stale"),
            ("cache-control", "min-fresh=3"),
            ("cache-control", "no-store"),
            ("pragma", "no-cache"),
        ][..],
    );
    prop::collection::vec(field, 0..4).prop_map(|fields| head(&fields))
}

/// Generates response fields: meaningful directives in any mixture.
fn response() -> impl Strategy<Value = HeaderMap> {
    let directive = prop::sample::select(
        &[
            "public",
            "private",
            "no-store",
            "no-cache",
            "no-cache=\"x\"",
            "private=\"x\"",
            "must-revalidate",
            "proxy-revalidate",
            "must-understand",
            "max-age=60",
            "max-age=0",
            "max-age=x",
            "s-maxage=60",
            "s-maxage=x",
            "immutable",
            "stale-while-revalidate=9",
            "stale-if-error=9",
            "foo=\"private\"",
            "a;b",
        ][..],
    );
    let field = prop::sample::select(
        &[
            ("set-cookie", "a=b"),
            ("vary", "accept"),
            ("vary", "*"),
            ("age", "50"),
            ("expires", "Sat, 06 Nov 2094 12:00:00 GMT"),
            ("expires", "0"),
            ("pragma", "no-cache"),
            ("content-range", "bytes 0-1/2"),
            ("etag", "\"a\""),
            ("x", "y"),
        ][..],
    );
    let one_line = prop::collection::vec(directive, 0..4).prop_map(|all| all.join(", "));
    (prop::collection::vec(one_line, 0..3), prop::collection::vec(field, 0..3)).prop_map(|(lines, fields)| {
        let lines = lines.iter().map(|line| ("cache-control", line.as_str()));
        let json = [("content-type", "application/json")];
        head(&lines.chain(fields).chain(json).collect::<Vec<_>>())
    })
}

fn facts() -> impl Strategy<Value = StoredFacts> {
    let millis = || prop_oneof![0..200_000u64, any::<u64>()];
    (millis(), millis(), millis(), any::<u16>()).prop_map(|(received, initial_age, lifetime, bits)| {
        StoredFacts {
            received: Timestamp::from_millis(received),
            initial_age: Duration::from_millis(initial_age),
            lifetime: Duration::from_millis(lifetime),
            stale_while_revalidate: Duration::MAX,
            stale_if_error: Duration::MAX,
            obligations: Obligations::from_bits(bits),
            rules: RulesDigest::NONE,
        }
    })
}

fn read(headers: &HeaderMap) -> RequestFacts {
    RequestFacts::read(&Method::GET, headers, &rules())
}

fn is_fresh(answer: Reuse) -> bool {
    matches!(answer, Reuse::Fresh { .. })
}

proptest! {
    #[test]
    fn nothing_is_fresh_past_its_lifetime(
        stored in facts(), headers in request(), late in prop_oneof![0..100_000u64, any::<u64>()],
    ) {
        let end = stored.received.plus(stored.lifetime.saturating_sub(stored.initial_age));
        let now = end.plus(Duration::from_millis(late));
        prop_assume!(now < Timestamp::from_millis(u64::MAX));
        prop_assert!(!is_fresh(reuse(&stored, &read(&headers), now)));
    }

    #[test]
    fn age_and_ttl_add_up_to_the_lifetime(stored in facts(), now in any::<u64>()) {
        if let Reuse::Fresh { age, ttl } = reuse(&stored, &read(&HeaderMap::new()), Timestamp::from_millis(now)) {
            prop_assert_eq!(age + ttl, stored.lifetime);
            prop_assert!(!ttl.is_zero());
        }
    }

    #[test]
    fn a_credential_needs_the_permission_of_the_origin(stored in facts(), headers in request(), now in any::<u64>()) {
        let request = read(&headers);
        let fresh = is_fresh(reuse(&stored, &request, Timestamp::from_millis(now)));
        if fresh && request.credential().is_some() {
            let only_authorization = !headers.contains_key("cookie") && !headers.contains_key("x-api-key");
            prop_assert!(!stored.obligations.contains(Obligations::HEURISTIC));
            prop_assert!(
                stored.obligations.contains(Obligations::SHARED)
                    || only_authorization && stored.obligations.contains(Obligations::MUST_REVALIDATE)
            );
        }
    }

    #[test]
    fn nothing_is_served_stale_against_the_origin(
        stored in facts(), headers in request(), now in prop_oneof![0..400_000u64, any::<u64>()],
    ) {
        let (request, now) = (read(&headers), Timestamp::from_millis(now));
        let forbidden = [Obligations::MUST_REVALIDATE, Obligations::PROXY_REVALIDATE, Obligations::NO_CACHE];
        let forbids = forbidden.iter().any(|one| stored.obligations.contains(*one));
        let on_error = [OriginFailure::Disconnected, OriginFailure::ErrorResponse]
            .map(|failure| stale_on_error(&stored, &request, failure, now));
        match reuse(&stored, &request, now) {
            Reuse::Fresh { age, .. } => prop_assert_eq!(on_error, [Ok(age); 2]),
            Reuse::StaleWhileRevalidate { age, stale_for } | Reuse::Stale { age, stale_for } => {
                prop_assert!(!forbids && age == stored.lifetime + stale_for);
            }
            Reuse::Validate(_) => prop_assert!(!forbids || on_error.iter().all(Result::is_err)),
            Reuse::Not(reason) => prop_assert_eq!(on_error, [Err(reason); 2]),
        }
    }

    #[test]
    fn an_entry_past_its_keeping_time_is_never_served(
        stored in facts(), fields in request(), windows in (0..99_000u64, 0..99_000u64), now in 0..900_000u64,
    ) {
        let millis = Duration::from_millis;
        let stored = StoredFacts {
            stale_while_revalidate: millis(windows.0), stale_if_error: millis(windows.1), ..stored
        };
        let now = stored.received.plus(millis(now));
        let beyond = now.plus(stored.keep_for(now)).plus(millis(1));
        let request = read(&fields);
        // A client that accepts any staleness is no reason to keep every entry.
        let takes_anything = request.max_stale().is_some() || request.stale_if_error().is_some();
        let capped = stored.keep_for(now) == LIFETIME_MAX;
        if !takes_anything && !capped {
            prop_assert!(matches!(reuse(&stored, &request, beyond), Reuse::Validate(_) | Reuse::Not(_)));
            for failure in [OriginFailure::ErrorResponse, OriginFailure::Disconnected] {
                prop_assert!(stale_on_error(&stored, &request, failure, beyond).is_err());
            }
        }
    }

    /// Checks the privacy rules a second time, by the text of the fields and without the parser.
    #[test]
    fn stored_responses_are_allowed_by_their_directives(headers in request(), response in response()) {
        let request = read(&headers);
        let exchange = Exchange {
            request: &request,
            target: &target("http://api.test/a"),
            status: StatusCode::OK,
            response: &response,
            requested: Timestamp::EPOCH,
            received: Timestamp::EPOCH,
        };
        for rules in [rules(), rules_of_the_rfc()] {
            let Ok(stored) = storable(&exchange, &rules) else { continue };
            let words: Vec<&str> = response
                .get_all("cache-control")
                .into_iter()
                .flat_map(|line| line.to_str().unwrap().split(", "))
                .collect();
            let has = |word: &str| words.contains(&word);
            prop_assert!(!has("private") && !has("a;b"));
            prop_assert!(!has("no-store") || has("must-understand"));
            prop_assert!(!headers.get_all("cache-control").into_iter().any(|line| line == "no-store"));
            let shared = has("public") || has("s-maxage=60");
            let explicit = words.iter().any(|word| word.contains("max"))
                || response.contains_key("expires")
                || has("no-cache")
                || response.get_all("pragma").iter().next().is_some();
            let named = headers.contains_key("cookie") || headers.contains_key("x-api-key");
            let authorized = headers.contains_key("authorization");
            prop_assert!(!named || shared && explicit);
            prop_assert!(!authorized || (shared || has("must-revalidate")) && explicit);
            prop_assert!(!response.contains_key("set-cookie") || shared);
            prop_assert!(Vary::of(&response) != Vary::Star);
            prop_assert!(!stored.keep_for(exchange.received).is_zero());
            let anyone = reuse(&stored, &read(&HeaderMap::new()), exchange.received);
            prop_assert!(is_fresh(anyone) == (!has("no-cache") && !stored.ttl(exchange.received).is_zero()));
            prop_assert!(!matches!(anyone, Reuse::Validate(_)) || response.contains_key("etag") || has("stale-if-error=9"));
            prop_assert!(!matches!(anyone, Reuse::Not(_)));
            let fields = stored_fields(&response, exchange.received, &rules);
            prop_assert!(!fields.contains_key("set-cookie") && !fields.contains_key("age"));
            prop_assert!(!fields.contains_key("x") || !has("private=\"x\"") && !has("no-cache=\"x\""));
        }
    }

    /// Any bytes in fields that clients and origins control.
    #[test]
    fn any_bytes_can_be_read(values in prop::collection::vec(prop::collection::vec(32..=255_u8, 0..48), 16)) {
        let names = [
            "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range", "etag",
            "last-modified", "date", "location", "content-location", "cdn-cache-control", "cachewarp-cache-control",
            "cache-groups", "cache-group-invalidation", "accept-encoding",
        ];
        let fields: HeaderMap = names
            .into_iter()
            .map(HeaderName::from_static)
            .zip(values)
            .filter_map(|(name, value)| Some((name, HeaderValue::from_bytes(&value).ok()?)))
            .collect();
        let target = Target::parse(Scheme::Http, &Uri::from_static("/a/b?c"), [&b"api.test"[..]].into_iter()).unwrap();
        precondition(&fields, StatusCode::OK, &fields, Timestamp::EPOCH);
        ranges(&read(&fields), &fields, StatusCode::OK, &fields, 100);
        make_conditional(&mut fields.clone(), &fields);
        Directives::of(&fields);
        GroupNames::of(&fields);
        GroupNames::invalidated(&Method::POST, StatusCode::OK, &fields);
        let Vary::Fields(selecting) = Vary::from(vec![ACCEPT_ENCODING]) else { panic!("one name") };
        selecting.values(&fields);
        for invalid in invalidated(&Method::POST, &target, &backend(), StatusCode::OK, &fields) {
            prop_assert_eq!((invalid.scheme, &invalid.authority), (target.scheme, &target.authority));
            prop_assert!(invalid.path_and_query.as_str().starts_with('/'));
        }
    }
}
