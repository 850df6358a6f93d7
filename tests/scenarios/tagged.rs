//! Response fields with tags: read by the cache, and removed for clients unless a setting keeps
//! them.

use crate::harness::{Answer, Origin, Proxy};

const TAGGED: [(&str, &str); 3] =
    [("Cache-Control", "max-age=60"), ("Cache-Tag", "a, b"), ("Surrogate-Key", "c")];

#[test]
fn tags_reach_clients_only_if_the_setting_allows_it() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json_with(&TAGGED, "{}"));
    for (settings, shown) in [(&[][..], false), (&[("tag_headers_visible", "true")], true)] {
        let proxy = Proxy::start(&origin.url(), settings);
        for outcome in ["stored", "hit"] {
            let response = proxy.get("/a");
            assert!(response.cache_status().contains(outcome), "{}", response.cache_status());
            assert_eq!(response.field("cache-tag").is_some(), shown, "{outcome}");
            assert_eq!(response.field("surrogate-key").is_some(), shown, "{outcome}");
        }
    }
}

#[test]
fn a_response_with_too_many_tags_is_not_stored() {
    let origin = Origin::start();
    let many: Vec<_> = (0..1_000).map(|number| number.to_string()).collect();
    origin.answer("/many", Answer::json_with(&[("Cache-Tag", &many.join(","))], "{}"));
    origin.answer("/long", Answer::json_with(&[("Surrogate-Key", &"x".repeat(10_000))], "{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    for path in ["/many", "/long"] {
        for _ in 0..2 {
            assert_eq!(proxy.get(path).status, 200);
        }
        assert_eq!(origin.count(path), 2, "{path}");
    }
    assert_eq!(proxy.metric(r#"cachewarp_not_stored_total{reason="tags"}"#), 4.0);
}
