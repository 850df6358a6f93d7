//! A client's head: its target, its credentials, and its forwarded form.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;
use std::time::Duration;

use cachewarp::hop;
use cachewarp::key::{Authority, CacheKey, Scheme, Target};
use cachewarp::origin::{
    AddressShare, FetchPurpose, HostField, LinkRewrite, Options, OriginAddresses, OutageLog, OutboundHeads,
    OutboundRequest, ViaName,
};
use cachewarp::policy::{CacheRules, IgnoredCookies, RequestFacts};
use cachewarp::request_fields::{FieldClass, RequestFields};
use http::header::{COOKIE, HOST, HeaderName, VIA};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use super::heads::{lines, named, rules, target as addressed};

/// The first byte chooses the scheme; then a request target, and `Host` fields, a line each. Checks
/// that a parsed target has a canonical form that parses to itself, and that two spellings share a
/// key only where RFC 3986 §6.2 calls them equivalent.
pub(crate) fn target(data: &[u8]) {
    let Some((&choice, text)) = data.split_first() else { return };
    let scheme = if choice & 1 == 0 { Scheme::Http } else { Scheme::Https };
    let mut lines = lines(text);
    let Ok(uri) = Uri::try_from(lines.next().unwrap_or_default()) else { return };
    let hosts: Vec<_> = lines.collect();
    let Ok(target) = Target::parse(scheme, &uri, hosts.iter().copied()) else { return };

    let authority = target.authority.as_str();
    assert!(
        authority.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@\\,%".contains(&byte)),
        "{authority}"
    );
    assert!(HeaderValue::from_str(authority).is_ok());
    assert_eq!(
        Authority::parse(scheme, authority.as_bytes()).as_ref(),
        Ok(&target.authority),
        "the authority is not canonical"
    );
    let of_uri = uri.authority().map(|authority| authority.as_str());
    for host in hosts.iter().map(|host| std::str::from_utf8(host).expect("a host")).chain(of_uri) {
        assert_eq!(canonical(scheme, host), authority, "{host}");
    }
    let path_and_query = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    assert_eq!(target.path_and_query.as_str(), path_and_query);
    if target.path_and_query.as_str().starts_with('/') {
        let again = Target::of_url(&target.to_string());
        assert_eq!(again.as_ref(), Ok(&target));
        assert_eq!(again.map(|again| CacheKey::of(&again)), Ok(CacheKey::of(&target)));
    }
    let mut other = target.clone();
    other.scheme = if choice & 1 == 1 { Scheme::Http } else { Scheme::Https };
    assert_ne!(CacheKey::of(&other), CacheKey::of(&target), "the key ignores the scheme");
}

/// Returns the host in lower case, with the port if it is not the scheme's default.
fn canonical(scheme: Scheme, host: &str) -> String {
    let default = if scheme == Scheme::Http { ":80" } else { ":443" };
    let host = host.to_ascii_lowercase();
    host.strip_suffix(default).or(host.strip_suffix(':')).unwrap_or(&host).to_owned()
}

fn rules_with_credentials() -> CacheRules {
    static FIELDS: LazyLock<RequestFields> =
        LazyLock::new(|| RequestFields::new(&[HeaderName::from_static("x-api-key")], &[], &[]));
    CacheRules {
        fields: FIELDS.clone(),
        ignored_cookies: IgnoredCookies::Listed(vec!["theme".to_owned(), "_ga*".to_owned()]),
        ..rules(Duration::ZERO)
    }
}

/// Checks that a head is anonymous only if no field could be a credential.
pub(crate) fn credential(data: &[u8]) {
    let headers = named(data);
    let rules = rules_with_credentials();
    for method in [Method::GET, Method::POST] {
        let facts = RequestFacts::read(&method, &headers, &rules);
        let carries = headers.iter().any(|(name, value)| match name.as_str() {
            "cookie" => method == Method::POST || !is_ordinary(value),
            name => is_credential(&name.replace('_', "-")),
        });
        assert_eq!(facts.credential().is_some(), carries, "{headers:?}");
    }
}

/// Returns whether a field other than `Cookie` is a credential by its name with `-`: the operator's
/// `x-api-key`, or a name that HEADERS.md lists so.
fn is_credential(name: &str) -> bool {
    const NAMES: [&str; 10] = [
        "authorization",
        "baggage",
        "cookie",
        "cookie2",
        "correlation-context",
        "sec-token-binding",
        "x-api-key",
        "x-forwarded-client-cert",
        "client-cert",
        "client-cert-chain",
    ];
    const PREFIXES: [&str; 4] = ["x-amzn-oidc-", "x-amzn-mtls-", "x-goog-", "cf-access-"];
    const FORWARDED: [&str; 4] = ["for", "host", "port", "proto"];
    NAMES.contains(&name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || name.strip_prefix("x-forwarded-").is_some_and(|rest| !FORWARDED.contains(&rest))
}

/// Returns whether a `Cookie` line has only pairs of the listed names.
fn is_ordinary(line: &HeaderValue) -> bool {
    line.as_bytes().split(|&byte| byte == b';').all(|crumb| {
        let crumb = crumb.trim_ascii();
        let name = crumb.split(|&byte| byte == b'=').next().unwrap_or_default().trim_ascii_end();
        crumb.is_empty() || (crumb.contains(&b'=') && (name == b"theme" || name.starts_with(b"_ga")))
    })
}

/// The first byte chooses the client and the purpose. Checks that the forwarded head names one host
/// and has no field of the client's connection; and, if the answer may be shared, no field that
/// replaces a part of the request.
pub(crate) fn outbound(data: &[u8]) {
    let Some((&choice, lines)) = data.split_first() else { return };
    let purpose = if choice & 1 == 0 { FetchPurpose::Cacheable } else { FetchPurpose::Pass };
    let peer =
        IpAddr::from(if choice & 2 == 0 { Ipv4Addr::new(192, 0, 2, 1) } else { Ipv4Addr::new(10, 0, 0, 1) });
    let headers = named(lines);
    let outbound = OutboundHeads::new(&options(choice)).expect("good options");
    let target = outbound.addressed(addressed("/a?b"), &headers, peer);
    let fields = RequestFields::default();
    let asked = OutboundRequest {
        method: &Method::GET,
        target: &target,
        headers: &headers,
        fields: &fields,
        peer,
        version: Version::HTTP_11,
        id: None,
        purpose: &purpose,
    };
    let head = outbound.head(&asked).expect("a head");

    assert_eq!(head.uri.path_and_query(), Some(&target.path_and_query));
    let sent = &head.headers;
    let one = |name: &str| {
        let mut lines = sent.get_all(name).iter();
        let line = String::from_utf8_lossy(lines.next().expect("the field").as_bytes());
        assert!(lines.next().is_none(), "{name} occurs twice");
        line.into_owned()
    };
    let host = one(HOST.as_str());
    assert_eq!(host, if choice & 4 == 0 { "origin.test" } else { target.authority.as_str() });
    let chain = one("x-forwarded-for");
    assert!(chain.ends_with(&peer.to_string()), "{chain}");
    if purpose == FetchPurpose::Cacheable {
        assert!(chain.split(", ").all(|hop| hop.parse::<IpAddr>().is_ok()), "{chain}");
        assert_eq!(one("x-forwarded-proto"), target.scheme.as_str());
        assert_eq!(one("x-forwarded-host"), target.authority.as_str());
        assert!(
            peer.to_string() == "10.0.0.1" || chain == "192.0.2.1",
            "an untrusted address is forwarded: {chain}"
        );
    }
    let dashed = |name: &HeaderName| name.as_str().replace('_', "-");
    for name in sent.keys() {
        let gone = [
            "connection",
            "te",
            "trailer",
            "keep-alive",
            "proxy-connection",
            "transfer-encoding",
            "upgrade",
            "content-length",
            "expect",
        ];
        assert!(!gone.contains(&dashed(name).as_str()), "{name}");
        if purpose == FetchPurpose::Cacheable {
            assert_eq!(REPLACING.iter().find(|replacing| **replacing == dashed(name)), None);
            let ours = ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
            let stays_here = [FieldClass::Withheld, FieldClass::Dropped, FieldClass::Connection];
            assert!(ours.contains(&name.as_str()) || !stays_here.contains(&fields.class(name)), "{name}");
        }
    }
    for name in hop::named_in_connection(&headers) {
        let ours = [HOST, VIA].contains(&name) || name.as_str().starts_with("x-forwarded-");
        assert!(ours || !sent.contains_key(&name), "{name} is a field of the client's connection");
    }
    assert!(sent.get_all(COOKIE).iter().count() <= 1);
}

/// Fields by which frameworks replace a part of the request, or that request less than the whole.
const REPLACING: &[&str] = &[
    "forwarded",
    "x-real-ip",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-server",
    "x-original-url",
    "x-original-uri",
    "x-original-host",
    "x-original-method",
    "x-rewrite-url",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "range",
    "if-range",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
];

fn options(choice: u8) -> Options {
    let second = Duration::from_secs(1);
    Options {
        scheme: Scheme::Http,
        authority: Authority::parse(Scheme::Http, b"origin.test").expect("an authority"),
        base_path: String::new(),
        host: if choice & 4 == 0 { HostField::Origin } else { HostField::Client },
        ca_file: None,
        identity: None,
        server_name: None,
        trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network")],
        connect_timeout: second,
        head_timeout: second,
        body_timeout: second,
        idle_timeout: second,
        connection_max_age: None,
        addresses: OriginAddresses::default(),
        connections_max: 1,
        queue_timeout: second,
        outages: OutageLog::default(),
        address_share: AddressShare::Whole,
        via: ViaName::new(),
        request_id_header: None,
        socket: None,
        links: LinkRewrite::On,
    }
}
