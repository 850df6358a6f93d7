//! URI references, resolved against the target of a request (RFC 3986 §5.2).
//!
//! The result is a [`Target`], which other modules treat as the target of a request. So a reference
//! resolves to nothing if no client would request exactly these bytes: user information, a scheme
//! other than HTTP, or bytes that need encoding.

use http::uri::PathAndQuery;

use crate::key::{Authority, OriginBase, Scheme, Target};
use crate::limits::TARGET_BYTES_MAX;

/// Resolves a reference in the response to a request for `base`.
pub(in crate::policy) fn resolve(base: &Target, reference: &[u8]) -> Option<Target> {
    let reference = std::str::from_utf8(reference).ok()?.trim_matches([' ', '\t']);
    // Clients do not send the fragment.
    let reference = reference.split('#').next()?;
    let (scheme, rest) = match split_scheme(reference) {
        Some((scheme, rest)) => (parse_scheme(scheme)?, rest.starts_with("//").then_some(rest)?),
        None => (base.scheme, reference),
    };
    if let Some(rest) = rest.strip_prefix("//") {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(end)?;
        let authority = Authority::parse(scheme, authority.as_bytes()).ok()?;
        let (path, query) = split_query(rest);
        return target(scheme, authority, &without_dots(path), query);
    }
    let (path, query) = split_query(rest);
    let base_path = base.path_and_query.path();
    let (path, query) = match path {
        "" => (base_path.to_owned(), query.or(base.path_and_query.query())),
        path if path.starts_with('/') => (without_dots(path), query),
        path => {
            let folder = base_path.rsplit_once('/').map_or("", |(folder, _)| folder);
            (without_dots(&format!("{folder}/{path}")), query)
        }
    };
    target(scheme, base.authority.clone(), &path, query)
}

/// Returns the targets, as clients name them, that a reference in the response to a request for
/// `target` may mean.
///
/// `origin` is the origin's own scheme, authority and base path, which clients do not see. The
/// origin may write its own name or the name that clients use. So the result contains both readings
/// of the origin's own URL, and both readings of a path that begins with the origin's base path.
pub(in crate::policy) fn possible_targets<'a>(
    target: &'a Target,
    origin: &'a OriginBase,
    reference: &[u8],
) -> impl Iterator<Item = Target> + use<'a> {
    let named = resolve(target, reference).map(|named| {
        if named.scheme == origin.scheme && named.authority == origin.authority {
            Target { scheme: target.scheme, authority: target.authority.clone(), ..named }
        } else {
            named
        }
    });
    let behind_base = named.as_ref().and_then(|named| without_base_path(origin, named));
    named.into_iter().chain(behind_base)
}

/// Returns a target without the origin's base path, if the target begins with it.
fn without_base_path(origin: &OriginBase, named: &Target) -> Option<Target> {
    let rest = named.path_and_query.as_str().strip_prefix(origin.path.as_str())?;
    if origin.path.is_empty() || !(rest.is_empty() || rest.starts_with(['/', '?'])) {
        return None;
    }
    let (path, query) = split_query(rest);
    target(named.scheme, named.authority.clone(), path, query)
}

fn target(scheme: Scheme, authority: Authority, path: &str, query: Option<&str>) -> Option<Target> {
    let path = if path.is_empty() { "/" } else { path };
    let text = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    if text.len() > TARGET_BYTES_MAX {
        return None;
    }
    Some(Target { scheme, authority, path_and_query: PathAndQuery::try_from(text).ok()? })
}

/// Splits the scheme off a reference (§3.1): a letter, then letters, digits, `+`, `-` and `.`, up
/// to a colon.
fn split_scheme(reference: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = reference.split_once(':')?;
    let mut bytes = scheme.bytes();
    let named = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    named.then_some((scheme, rest))
}

fn parse_scheme(text: &str) -> Option<Scheme> {
    [Scheme::Http, Scheme::Https].into_iter().find(|scheme| text.eq_ignore_ascii_case(scheme.as_str()))
}

fn split_query(text: &str) -> (&str, Option<&str>) {
    text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)))
}

/// Removes `.` and `..` segments (§5.2.4). Surplus `..` segments end at the root.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    kept.iter().flat_map(|segment| ["/", segment]).collect()
}

#[cfg(test)]
mod tests {
    use http::Uri;

    use super::*;

    fn base(path: &str) -> Target {
        let uri: Uri = path.parse().unwrap();
        Target::parse(Scheme::Http, &uri, [&b"a"[..]].into_iter()).unwrap()
    }

    fn resolved(reference: &str) -> Option<String> {
        resolve(&base("/b/c/d;p?q"), reference.as_bytes()).map(|target| {
            format!("{}://{}{}", target.scheme.as_str(), target.authority.as_str(), target.path_and_query)
        })
    }

    #[test]
    fn relative_references_resolve_as_in_the_rfc() {
        // RFC 3986 §5.4, without fragments and with `/` for an empty path.
        for (reference, want) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            ("g?y#s", "http://a/b/c/g?y"),
            (";x", "http://a/b/c/;x"),
            ("g;x", "http://a/b/c/g;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../", "http://a/"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("../../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            (".g", "http://a/b/c/.g"),
            ("g..", "http://a/b/c/g.."),
            ("..g", "http://a/b/c/..g"),
            ("./../g", "http://a/b/g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/./h", "http://a/b/c/g/h"),
            ("g/../h", "http://a/b/c/h"),
            ("g;x=1/./y", "http://a/b/c/g;x=1/y"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/./x", "http://a/b/c/g?y/./x"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
        ] {
            assert_eq!(resolved(reference).as_deref(), Some(want), "{reference:?}");
        }
    }

    #[test]
    fn absolute_references_resolve() {
        for (reference, want) in [
            ("http://B/x", "http://b/x"),
            ("HTTP://b:80/x?y", "http://b/x?y"),
            ("https://b", "https://b/"),
            ("http://b?y", "http://b/?y"),
            ("http://b/x/../y", "http://b/y"),
            (" /g\t", "http://a/g"),
            ("/a//b", "http://a/a//b"),
            ("/a%2fb", "http://a/a%2fb"),
        ] {
            assert_eq!(resolved(reference).as_deref(), Some(want), "{reference:?}");
        }
    }

    #[test]
    fn invalid_references_resolve_to_nothing() {
        let long = format!("/{}", "x".repeat(TARGET_BYTES_MAX));
        for reference in [
            "ftp://a/x",
            "mailto:x",
            "g:h",
            "http:g",
            "http:/g",
            "http://user@a/x",
            "http:///x",
            "//",
            "/a b",
            "/a\n",
            "/\u{e4}\u{0}",
            "http://[::1/x",
            &long,
        ] {
            assert_eq!(resolved(reference), None, "{reference:?}");
        }
        assert_eq!(resolve(&base("/"), b"/\xff"), None);
    }
}
