//! The page for operators, its policy, and the resources from which it reads.

use serde_json::Value;

use super::admin::{BEARER, JSON, TOKEN, admin_request};
use crate::harness::{Answer, Origin, Proxy, Response, until};

/// Returns the document; null if it is not JSON.
fn document(response: &Response) -> Value {
    serde_json::from_str(response.text()).unwrap_or_default()
}

/// Returns the nonce of the page, which its policy and its two elements have.
fn nonce(page: &Response) -> Option<String> {
    let policy = page.field("content-security-policy")?;
    let nonce = policy.split_once("script-src 'nonce-")?.1.split_once('\'')?.0;
    Some(nonce.to_owned())
}

#[test]
fn the_page_is_one_file_without_figures_under_a_strict_policy() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[("admin_token", TOKEN)]);
    let [page, again] = [(); 2].map(|()| admin_request(proxy.admin_addr(), "GET", "/", &[], ""));
    assert_eq!((page.status, page.field("content-type")), (200, Some("text/html; charset=utf-8")));
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(page.field(name), Some(value), "{name}");
    }
    let nonces = [&page, &again].map(|page| nonce(page).unwrap());
    assert!(nonces[0] != nonces[1] && nonces[0].len() >= 22, "{nonces:?}");
    let policy = page.field("content-security-policy").unwrap().replace(&nonces[0], "N");
    assert_eq!(
        policy,
        "default-src 'none'; style-src 'nonce-N'; script-src 'nonce-N'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    );
    // The page differs by its nonce only: it has no figure of the process.
    let [first, second] = [(&page, &nonces[0]), (&again, &nonces[1])].map(|(page, nonce)| {
        assert_eq!(page.text().matches(nonce.as_str()).count(), 2);
        page.text().replace(nonce.as_str(), "N")
    });
    assert_eq!(first, second);
    assert!(
        first.contains("<main") && first.contains("aria-live=\"polite\"") && first.contains("lang=\"en\"")
    );
    // Every resource behind the page needs the token.
    for target in ["/stats", "/series"] {
        assert_eq!(admin_request(proxy.admin_addr(), "GET", target, &[], "").status, 401, "{target}");
        assert_eq!(admin_request(proxy.admin_addr(), "GET", target, &[BEARER], "").status, 200, "{target}");
    }
    let posted = admin_request(proxy.admin_addr(), "POST", "/", &[BEARER], "");
    assert_eq!((posted.status, posted.field("allow")), (405, Some("GET, HEAD")));
}

#[test]
fn without_a_token_a_page_of_another_site_reads_no_figure() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let foreign = [("Host", "evil.test")];
    for (target, status) in [("/", 200), ("/stats", 403), ("/series", 403)] {
        assert_eq!(admin_request(proxy.admin_addr(), "GET", target, &foreign, "").status, status, "{target}");
    }
}

#[test]
fn the_series_has_a_point_for_each_interval() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=60")], "{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    let series = || document(&admin_request(proxy.admin_addr(), "GET", "/series", &[], ""));
    assert_eq!(series()["interval_ms"], 5000);
    (0..4).for_each(|_| assert_eq!(proxy.get("/a?token=hunter2").status, 200));
    let sum = |name: &str| -> u64 {
        let points = series()["points"].as_array().cloned().unwrap_or_default();
        points.iter().filter_map(|point| point[name].as_u64()).sum()
    };
    let names = ["requests", "cacheable", "memory_hits", "redis_hits", "origin_requests", "failed"];
    until("the requests to be in the series", || names.map(sum) == [4, 4, 3, 0, 1, 0]);
    let points = series()["points"].clone();
    let busy =
        points.as_array().and_then(|points| points.iter().find(|point| point["requests"] != 0)).unwrap();
    assert!(busy["p50_ms"].as_f64() <= busy["p99_ms"].as_f64() && busy["p50_ms"].is_number(), "{busy}");
    assert!(
        busy["took_ms"].as_u64() >= Some(1) && busy["at_ms"].as_u64() >= busy["took_ms"].as_u64(),
        "{busy}"
    );
}

#[test]
fn paths_are_shown_without_queries_and_purges_without_names() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    let stats = || admin_request(proxy.admin_addr(), "GET", "/stats?top=10", &[], "");
    assert_eq!(document(&stats())["recent_purges"], Value::Array(Vec::new()));
    let order = r#"{"url":"http://test/a?token=hunter2","tags":["hunter3","t"],"soft":true}"#;
    assert_eq!(admin_request(proxy.admin_addr(), "POST", "/purge", &[JSON], order).status, 200);
    let mut client = proxy.connect();
    // One request in eight is counted.
    until("the path to be counted", || {
        client.get("/<img/src=x/onerror=alert(1)>?token=hunter2");
        document(&stats())["top"].as_array().is_some_and(|top| !top.is_empty())
    });
    let shown = stats();
    assert_eq!(document(&shown)["top"][0]["path"], "/%3Cimg/src=x/onerror=alert(1)%3E");
    let purge = &document(&shown)["recent_purges"][0];
    for (name, value) in [("urls", 1), ("tags", 2), ("groups", 0), ("prefixes", 0), ("all", 0)] {
        assert_eq!(purge[name], value, "{name}");
    }
    assert_eq!((&purge["strength"], &purge["outcome"]), (&"soft".into(), &"everywhere".into()));
    assert!(purge["at_ms"].is_u64() && purge["took_ms"].is_u64());
    assert!(!shown.text().contains("hunter"), "{}", shown.text());
}
