//! Tests of targets and of their keys.

use http::Uri;

use crate::key::{Authority, CacheKey, Scheme, Target, TargetError, UrlError};
use crate::limits::{AUTHORITY_BYTES_MAX, TARGET_BYTES_MAX};

fn key(scheme: Scheme, uri: &str, host: &str) -> Result<CacheKey, TargetError> {
    let uri: Uri = uri.parse().unwrap();
    Target::parse(scheme, &uri, [host.as_bytes()].into_iter()).map(|target| CacheKey::of(&target))
}

#[test]
fn an_authority_that_was_read_before_is_read_alike() {
    for _ in 0..3 {
        for (scheme, text, authority) in [
            (Scheme::Http, "A.test:80", Ok("a.test")),
            (Scheme::Https, "A.test:80", Ok("a.test:80")),
            (Scheme::Http, "A.tesT:80", Ok("a.test")),
            (Scheme::Http, "A.txst:80", Ok("a.txst")),
            (Scheme::Http, "A.te/t:80", Err(TargetError::Authority)),
        ] {
            let read = Authority::parse(scheme, text.as_bytes());
            assert_eq!(read.as_ref().map(Authority::as_str), authority.as_ref().copied(), "{text}");
        }
    }
}

#[test]
fn equivalent_requests_have_the_same_key() {
    let plain = key(Scheme::Http, "/a?b=c", "api.test").unwrap();
    for (uri, host) in [
        ("/a?b=c", "API.test"),
        ("/a?b=c", "api.test:80"),
        ("/a?b=c", "api.test:"),
        ("http://api.test/a?b=c", "api.test"),
        ("http://API.test:80/a?b=c", "api.test"),
    ] {
        assert_eq!(key(Scheme::Http, uri, host).unwrap(), plain, "{uri} {host}");
    }
}

#[test]
fn a_url_has_the_key_of_the_request_for_it() {
    for (url, scheme, uri, host) in [
        ("http://api.test/a?b=c", Scheme::Http, "/a?b=c", "api.test"),
        ("HTTP://API.Test:80/a?b=c#d", Scheme::Http, "/a?b=c", "api.test"),
        ("https://api.test:443", Scheme::Https, "/", "api.test"),
        ("http://api.test?b=c", Scheme::Http, "/?b=c", "api.test"),
        ("http://api.test#d", Scheme::Http, "/", "api.test"),
        ("http://[::1]:8000/%2F/../a//", Scheme::Http, "/%2F/../a//", "[::1]:8000"),
    ] {
        let target = Target::of_url(url).unwrap();
        let requested = Target::parse(scheme, &uri.parse().unwrap(), [host.as_bytes()].into_iter());
        assert_eq!(requested.as_ref(), Ok(&target), "{url}");
        assert_eq!(CacheKey::of(&target), key(scheme, uri, host).unwrap(), "{url}");
        assert_eq!(Target::of_url(&target.to_string()), Ok(target), "{url}");
    }
    for (url, bad) in [
        ("", UrlError::Malformed),
        ("http://a b/", UrlError::Malformed),
        ("/a", UrlError::Scheme),
        ("api.test", UrlError::Scheme),
        ("ftp://api.test/", UrlError::Scheme),
        ("http://user:secret@api.test/", UrlError::Target(TargetError::Authority)),
        ("http://api.test:99999/", UrlError::Target(TargetError::Authority)),
        (&format!("http://a/{}", "x".repeat(TARGET_BYTES_MAX)), UrlError::Target(TargetError::TooLong)),
    ] {
        assert_eq!(Target::of_url(url), Err(bad), "{url}");
    }
}

#[test]
fn the_other_scheme_has_another_default_port() {
    for (one, other) in [
        ("http://a/b", "https://a/b"),
        ("https://a:443/b", "http://a/b"),
        ("http://a:443/b", "https://a/b"),
        ("http://a:8080/b?c", "https://a:8080/b?c"),
    ] {
        assert_eq!(Target::of_url(one).unwrap().by_other_scheme(), Ok(Target::of_url(other).unwrap()));
    }
}

#[test]
fn different_requests_have_different_keys() {
    let requests = [
        (Scheme::Http, "/a?b=c", "api.test"),
        (Scheme::Https, "/a?b=c", "api.test"),
        (Scheme::Http, "/a?b=c", "api.test:8080"),
        (Scheme::Http, "/a?b=c", "api.tes"),
        (Scheme::Http, "/A?b=c", "api.test"),
        (Scheme::Http, "/a?b=C", "api.test"),
        (Scheme::Http, "/a?b=c&", "api.test"),
        (Scheme::Http, "/a%3Fb=c", "api.test"),
        (Scheme::Http, "/a/?b=c", "api.test"),
        (Scheme::Http, "//a?b=c", "api.test"),
        (Scheme::Http, "/./a?b=c", "api.test"),
        (Scheme::Http, "/t/a?b=c", "api.tes"),
        (Scheme::Http, "/a?b=c", "api.test."),
    ];
    for (i, one) in requests.iter().enumerate() {
        for other in requests.iter().skip(i + 1) {
            assert_ne!(key(one.0, one.1, one.2), key(other.0, other.1, other.2), "{one:?} {other:?}");
        }
    }
}

#[test]
fn malformed_authorities_are_refused() {
    let long = "a".repeat(AUTHORITY_BYTES_MAX + 1);
    for host in [
        "", ":80", "a b", "a/b", "user@a", "a:b", "a:80:80", "a:65536", "a:123456", "a:+80", "[::1",
        "[::1]x", "[zz]", "a%41", "a,b", "a\u{e9}", &long,
    ] {
        assert_eq!(key(Scheme::Http, "/", host), Err(TargetError::Authority), "{host:?}");
    }
    for host in ["a", "a-b.c_d", "127.0.0.1:8000", "[::1]", "[::1]:8000"] {
        assert!(key(Scheme::Http, "/", host).is_ok(), "{host:?}");
    }
}

#[test]
fn a_request_has_exactly_one_host() {
    let relative: Uri = "/a".parse().unwrap();
    let absolute: Uri = "http://a.test/a".parse().unwrap();
    let parse = |uri: &Uri, hosts: &[&'static str]| {
        Target::parse(Scheme::Http, uri, hosts.iter().map(|host| host.as_bytes())).map(|_| ())
    };
    assert_eq!(parse(&relative, &[]), Err(TargetError::NoHost));
    assert_eq!(parse(&relative, &["a", "a"]), Err(TargetError::SeveralHosts));
    assert_eq!(parse(&absolute, &["b.test"]), Err(TargetError::HostMismatch));
    assert_eq!(parse(&absolute, &[]), Ok(()));
    let long: Uri = format!("/{}", "x".repeat(TARGET_BYTES_MAX)).parse().unwrap();
    assert_eq!(parse(&long, &["a"]), Err(TargetError::TooLong));
}

#[test]
fn different_variants_have_different_keys() {
    let whole = key(Scheme::Http, "/", "a").unwrap();
    let variant = |nonce, fields: &[(&'static str, &'static str)]| {
        whole.variant(nonce, fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
    };
    let some = variant(1, &[("accept", "ab"), ("x", "c")]);
    assert_ne!(some, variant(2, &[("accept", "ab"), ("x", "c")]));
    assert_ne!(some, variant(1, &[("accept", "a"), ("bx", "c")]));
    assert_ne!(some, variant(1, &[("accept", "abx"), ("", "c")]));
    assert_ne!(some, variant(1, &[("accept", "ab")]));
    assert_eq!(some, variant(1, &[("accept", "ab"), ("x", "c")]));
}

#[test]
fn names_are_hexadecimal_digests() {
    let key = key(Scheme::Http, "/", "a").unwrap();
    let hex = String::from_utf8(key.hex().to_vec()).unwrap();
    assert_eq!(hex.len(), 32);
    assert_eq!(u128::from_str_radix(&hex, 16).unwrap(), key.short());
}
