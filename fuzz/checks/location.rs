//! References in the responses to unsafe requests.

use cachewarp::key::{Authority, CacheKey, OriginBase, Scheme, Target};
use cachewarp::policy::invalidated;
use http::{Method, StatusCode};

use super::heads::{head, lines, target};

/// Lines: a `Location`, a `Content-Location`.
///
/// Checks that only the request's own target and targets of the same origin are invalidated, each
/// in the form in which a client would request it. The `url` crate must resolve plain references to
/// the same target.
pub(crate) fn location(data: &[u8]) {
    let base = target("/b/c/d;p?q");
    let response = head(["location", "content-location"].into_iter().zip(lines(data)));
    let changed = invalidated(&Method::POST, &base, &origin("/b"), StatusCode::CREATED, &response);
    assert_eq!(changed.first(), Some(&base));
    assert!(changed.len() <= 5);
    for (at, one) in changed.iter().enumerate() {
        assert!(one.scheme == base.scheme && one.authority == base.authority, "{one:?}");
        assert!(!changed[..at].iter().any(|other| CacheKey::of(other) == CacheKey::of(one)), "each once");
        let path = one.path_and_query.path();
        assert!(path.starts_with('/') && !one.path_and_query.as_str().contains('#'), "{one:?}");
        assert!(at == 0 || !path.split('/').any(|segment| segment == "." || segment == ".."), "{one:?}");
        // The form in which a client would request it.
        assert_eq!(&target(one.path_and_query.as_str()), one);
    }
    assert!(invalidated(&Method::POST, &base, &origin("/b"), StatusCode::BAD_REQUEST, &response).is_empty());
    assert!(invalidated(&Method::GET, &base, &origin("/b"), StatusCode::OK, &response).is_empty());

    let Some(text) = lines(data).next().and_then(|line| std::str::from_utf8(line).ok()) else { return };
    // Other references have special rules in a browser's parser.
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_~./?;=&".contains(&byte))
        && !text.starts_with("//")
    {
        let only = head([("location", text.as_bytes())]);
        let found = invalidated(&Method::POST, &base, &origin(""), StatusCode::CREATED, &only).pop();
        let joined = url::Url::parse("http://api.test/b/c/d;p?q")
            .and_then(|base| base.join(text))
            .expect("a reference");
        let query = joined.query().map(|query| format!("?{query}")).unwrap_or_default();
        let found = found.map(|Target { path_and_query, .. }| path_and_query.to_string());
        assert_eq!(found, Some(format!("{}{query}", joined.path())), "{text:?}");
    }
}

/// Returns the origin's own address, with this base path.
fn origin(path: &str) -> OriginBase {
    let authority = Authority::parse(Scheme::Http, b"backend:8080").expect("a host and a port");
    OriginBase { scheme: Scheme::Http, authority, path: path.to_owned() }
}
