//! Fields that the origin receives, and fields that it does not.

use std::time::Duration;

use super::*;
use crate::key::{Authority, Scheme};
use crate::origin::AddressShare;
use crate::origin::OriginAddresses;
use crate::origin::OutageLog;

const CLIENT: &str = "192.0.2.9";
const PROXY: &str = "10.0.0.1";

fn options() -> Options {
    Options {
        scheme: Scheme::Http,
        authority: Authority::parse(Scheme::Http, b"origin.test:8080").unwrap(),
        base_path: String::new(),
        host: HostField::Origin,
        ca_file: None,
        identity: None,
        server_name: None,
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        connect_timeout: Duration::from_secs(1),
        head_timeout: Duration::from_secs(1),
        body_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(1),
        connections_max: 1,
        queue_timeout: Duration::from_secs(1),
        outages: OutageLog::default(),
        connection_max_age: None,
        addresses: OriginAddresses::default(),
        address_share: AddressShare::Bounded,
        via: ViaName::named("cachewarp"),
        request_id_header: None,
        socket: None,
        links: LinkRewrite::On,
    }
}

fn target(path_and_query: &'static str) -> Target {
    Target {
        scheme: Scheme::Https,
        authority: Authority::parse(Scheme::Https, b"api.test").unwrap(),
        path_and_query: PathAndQuery::from_static(path_and_query),
    }
}

/// Returns the `name: value` lines of the sent head, in order.
fn sent(
    options: &Options,
    peer: &str,
    purpose: &FetchPurpose,
    fields: &[(&'static str, &'static str)],
) -> Vec<String> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let request = OutboundRequest {
        method: &Method::GET,
        target: &target("/a"),
        headers: &headers,
        fields: &RequestFields::default(),
        peer: peer.parse().unwrap(),
        version: Version::HTTP_11,
        id: None,
        purpose,
    };
    let head = OutboundHeads::new(options).unwrap().head(&request).unwrap();
    let line = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    head.headers.iter().map(line).collect()
}

/// Returns the sent lines of these fields, without the lines that are always sent.
fn passed(peer: &str, purpose: &FetchPurpose, fields: &[(&'static str, &'static str)]) -> Vec<String> {
    let always = sent(&options(), peer, purpose, &[]);
    let mut lines = sent(&options(), peer, purpose, fields);
    lines.retain(|line| !always.contains(line));
    lines
}

#[test]
fn every_head_has_the_proxys_fields() {
    for purpose in [FetchPurpose::Cacheable, FetchPurpose::Pass] {
        assert_eq!(
            sent(&options(), CLIENT, &purpose, &[("host", "api.test"), ("accept", "*/*")]),
            [
                "host: origin.test:8080",
                "accept: */*",
                "via: 1.1 cachewarp",
                "x-forwarded-for: 192.0.2.9",
                "x-forwarded-proto: https",
                "x-forwarded-host: api.test",
            ]
        );
    }
}

#[test]
fn the_clients_host_is_kept_if_the_setting_says_so() {
    let options = Options { host: HostField::Client, ..options() };
    assert_eq!(sent(&options, CLIENT, &FetchPurpose::Pass, &[("host", "API.test:443")])[0], "host: api.test");
}

#[test]
fn hop_by_hop_fields_are_never_sent() {
    for purpose in [FetchPurpose::Cacheable, FetchPurpose::Pass] {
        for peer in [CLIENT, PROXY] {
            let fields = [
                ("connection", "keep-alive, x-secret, host, content-type"),
                ("keep-alive", "timeout=5"),
                ("x-secret", "1"),
                ("content-type", "text/plain"),
                ("te", "trailers"),
                ("trailer", "x-checksum"),
                ("transfer-encoding", "chunked"),
                ("content-length", "5"),
                ("content_length", "6"),
                ("transfer_encoding", "chunked"),
                ("upgrade", "websocket"),
                ("proxy-authorization", "Basic xyz"),
                ("proxy-connection", "keep-alive"),
                ("expect", "100-continue"),
            ];
            assert_eq!(passed(peer, &purpose, &fields), ["content-type: text/plain"]);
        }
    }
}

#[test]
fn forwarding_fields_of_an_untrusted_client_are_dropped() {
    let fields = [
        ("forwarded", "for=127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-prefix", "/evil"),
        ("x_forwarded_for", "127.0.0.1"),
        ("x-forwarded_host", "evil.test"),
    ];
    for purpose in [FetchPurpose::Cacheable, FetchPurpose::Pass] {
        assert_eq!(passed(CLIENT, &purpose, &fields), Vec::<String>::new(), "{purpose:?}");
    }
    // Shared: only vouched addresses, and the host and scheme of the key.
    assert_eq!(passed(PROXY, &FetchPurpose::Cacheable, &fields), ["x-forwarded-for: 127.0.0.1, 10.0.0.1"]);
}

#[test]
fn a_trusted_proxys_forwarding_fields_are_passed() {
    let fields = [
        ("forwarded", "for=192.0.2.7"),
        ("x-forwarded-for", "198.51.100.1, 192.0.2.7"),
        ("x-forwarded-host", "shop.test"),
        ("x-forwarded-proto", "http"),
    ];
    assert_eq!(
        passed(PROXY, &FetchPurpose::Pass, &fields),
        [
            "forwarded: for=192.0.2.7",
            "x-forwarded-for: 198.51.100.1, 192.0.2.7, 10.0.0.1",
            "x-forwarded-host: shop.test",
            "x-forwarded-proto: http",
        ]
    );
}

#[test]
fn a_shared_fetch_sends_no_unkeyed_override() {
    let fields = [
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x_rewrite_url", "/admin"),
        ("x-http-method-override", "DELETE"),
        ("x-http-method", "DELETE"),
        ("x-method-override", "DELETE"),
        ("x-host", "evil.test"),
        ("range", "bytes=0-1"),
        ("if-none-match", "\"1\""),
        ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ];
    assert_eq!(passed(CLIENT, &FetchPurpose::Cacheable, &fields), Vec::<String>::new());
    assert_eq!(passed(CLIENT, &FetchPurpose::Pass, &fields).len(), fields.len());
    let harmless = [("authorization", "Bearer x"), ("accept-language", "de"), ("x_api_version", "2")];
    assert_eq!(passed(CLIENT, &FetchPurpose::Cacheable, &harmless).len(), harmless.len());
}

#[test]
fn lists_grow_and_cookies_join() {
    assert_eq!(
        sent(&options(), CLIENT, &FetchPurpose::Pass, &[("via", "2 edge"), ("accept", "a"), ("accept", "b")])
            [1..5],
        ["via: 2 edge", "via: 1.1 cachewarp", "accept: a", "accept: b"]
    );
    let cookies = [("cookie", "a=1"), ("cookie", "b=2; c=3")];
    assert_eq!(passed(CLIENT, &FetchPurpose::Pass, &cookies), ["cookie: a=1; b=2; c=3"]);
    assert_eq!(passed(CLIENT, &FetchPurpose::Pass, &cookies[..1]), ["cookie: a=1"]);
}

#[test]
fn an_upgrade_is_requested_anew() {
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let purpose = FetchPurpose::Upgrade(UpgradeProtocol::asked(&Method::GET, &headers).unwrap());
    let fields =
        [("connection", "keep-alive, upgrade"), ("upgrade", "other"), ("sec-websocket-version", "13")];
    let lines = sent(&options(), CLIENT, &purpose, &fields);
    assert_eq!(lines[1], "sec-websocket-version: 13");
    assert_eq!(lines[6..], ["connection: upgrade", "upgrade: websocket"]);
}

#[test]
fn via_has_the_version_of_a_passed_request_only() {
    let (options, headers) = (options(), HeaderMap::new());
    let outbound = OutboundHeads::new(&options).unwrap();
    for (version, passed) in [
        (Version::HTTP_10, "1.0 cachewarp"),
        (Version::HTTP_11, "1.1 cachewarp"),
        (Version::HTTP_2, "2 cachewarp"),
    ] {
        for (purpose, via) in [(FetchPurpose::Pass, passed), (FetchPurpose::Cacheable, "1.1 cachewarp")] {
            let request = OutboundRequest {
                method: &Method::GET,
                target: &target("/a"),
                headers: &headers,
                fields: &RequestFields::default(),
                peer: CLIENT.parse().unwrap(),
                version,
                id: None,
                purpose: &purpose,
            };
            assert_eq!(outbound.head(&request).unwrap().headers[VIA], via, "{version:?} {purpose:?}");
            assert!(outbound.sends_as_shared(&request), "{version:?}");
        }
    }
}

#[test]
fn a_connect_is_refused() {
    let request = OutboundRequest {
        method: &Method::CONNECT,
        target: &target("/"),
        headers: &HeaderMap::new(),
        fields: &RequestFields::default(),
        peer: CLIENT.parse().unwrap(),
        version: Version::HTTP_11,
        id: None,
        purpose: &FetchPurpose::Pass,
    };
    assert!(matches!(OutboundHeads::new(&options()).unwrap().head(&request), Err(FetchError::BadTarget)));
}

#[test]
fn the_base_path_comes_first() {
    for (base_path, path, expected) in [
        ("", "/a?b=/c", "/a?b=/c"),
        ("/v1", "/a?b=/c", "/v1/a?b=/c"),
        ("/v1/x", "/", "/v1/x/"),
        ("/v1", "/?q", "/v1/?q"),
        ("/v1", "*", "*"),
        ("/v1", "?q", "/v1/?q"),
        ("/v1", "/a/../b", "/v1/a/../b"),
        ("", "/../a", "/../a"),
    ] {
        let outbound = OutboundHeads::new(&Options { base_path: base_path.to_owned(), ..options() }).unwrap();
        let path_and_query = PathAndQuery::from_static(path);
        assert_eq!(outbound.uri(&path_and_query).unwrap().to_string(), expected);
    }
    let outbound = OutboundHeads::new(&Options { base_path: "/v1".to_owned(), ..options() }).unwrap();
    for path in ["/../a", "/%2e%2E/a", "/a/..;/../b"] {
        let (headers, peer, target) = (HeaderMap::new(), IpAddr::from([192, 0, 2, 1]), target(path));
        for purpose in [FetchPurpose::Cacheable, FetchPurpose::Pass] {
            let request = OutboundRequest {
                method: &Method::GET,
                target: &target,
                headers: &headers,
                fields: &RequestFields::default(),
                peer,
                version: Version::HTTP_11,
                id: None,
                purpose: &purpose,
            };
            assert!(matches!(outbound.head(&request), Err(FetchError::BadTarget)), "{path:?}");
        }
    }
    for base_path in ["v1", "/", "/v1/", "/v1?q", "/v1#f", "/v 1"] {
        let outbound = OutboundHeads::new(&Options { base_path: base_path.to_owned(), ..options() });
        assert!(matches!(outbound, Err(OriginOptionsError::BasePath(_))), "{base_path:?}");
    }
}
