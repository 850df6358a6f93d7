//! The base path of the origin is a boundary for clients and operators.

use crate::admin::{admin_request, purge};
use crate::harness::{Answer, Origin, Proxy};

const OUTSIDE: &str = r#"cachewarp_requests_refused_total{reason="outside-base-path"}"#;

#[test]
fn a_path_outside_the_base_path_is_refused_for_clients_and_operators() {
    let origin = Origin::start();
    for path in ["/admin", "/api/admin", "/api/public/../admin", "/api/public/%2e%2e/admin"] {
        origin.answer(path, Answer::json(r#""secret""#));
    }
    origin.answer("/api/public/a", Answer::json(r#""public""#));
    let settings = [("purge_allow", "127.0.0.1"), ("explain_token", "token")];
    let proxy = Proxy::start(&(origin.url() + "/api/public/"), &settings);
    let mut client = proxy.connect();

    let mut refused = 0.0;
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "QUERY", "PURGE"] {
        for target in ["/../admin", "/%2e%2E/admin", "/a/..;/..%2fadmin"] {
            let answer = client.request(method, target, &[("Content-Length", "0")]);
            assert_eq!(answer.status, 400, "{method} {target}");
            assert_eq!(answer.field("content-type"), Some("application/problem+json"), "{method} {target}");
            refused += 1.0;
        }
    }
    let upgrade = [("Connection", "upgrade"), ("Upgrade", "websocket"), ("CacheWarp-Explain", "token")];
    let answer = client.request("GET", "/../admin", &upgrade);
    assert!(answer.field("cachewarp-explain").unwrap().contains(r#""failure":"outside-base-path""#));
    assert_eq!((answer.status, proxy.metric(OUTSIDE)), (400, refused + 1.0));
    assert!(
        answer.text().contains("the path of the request target leads out of the API"),
        "{}",
        answer.text()
    );

    let order = purge(&proxy, r#"{"urls":["http://test/a","http://test/../admin"]}"#);
    assert_eq!(order.status, 400, "{}", order.text());
    let inspected =
        admin_request(proxy.admin_addr(), "GET", "/entries?url=http://test/%252e%252e/admin", &[], "");
    assert_eq!(inspected.status, 400, "{}", inspected.text());

    assert_eq!(client.get("/a").text(), r#""public""#);
    assert_eq!(purge(&proxy, r#"{"url":"http://test/a"}"#).status, 200);
    assert_eq!(origin.connections(), 1, "the origin got a request for a path that is not public");
}
