//! Links of the origin to itself: `Location`, `Content-Location`, `Link` and `Refresh`.
//!
//! An origin that builds absolute URLs writes its own address, which clients cannot reach. The
//! proxy replaces it by the address that the client requested, without the origin's base path. Host
//! and scheme of the client are in the key, so a stored response has the address of every request
//! that it answers. A link without an address loses the base path too, because the client resolves
//! it against its own URL. Links outside the base path stay as they are: no client can request them
//! here.

use http::HeaderMap;
use http::header::{CONTENT_LOCATION, HeaderName, HeaderValue, LINK, LOCATION, REFRESH};

use crate::key::{Authority, OriginBase, Scheme, Target};

/// The fields that contain links.
static LINKING: [HeaderName; 4] = [LOCATION, CONTENT_LOCATION, LINK, REFRESH];

/// Replaces the origin's own address in the links of a response to a request for `target`.
pub(super) fn rewrite(headers: &mut HeaderMap, origin: &OriginBase, target: &Target) {
    // Most heads have none: one look at each name costs less than four searches.
    if !headers.keys().any(|name| LINKING.contains(name)) {
        return;
    }
    for name in &LINKING {
        if let http::header::Entry::Occupied(mut lines) = headers.entry(name) {
            for line in lines.iter_mut() {
                let rewritten = line.to_str().ok().and_then(|text| rewritten(name, text, origin, target));
                if let Some(value) = rewritten.and_then(|text| HeaderValue::try_from(text).ok()) {
                    *line = value;
                }
            }
        }
    }
}

/// Returns a line with other links, or `None` if no link changes.
fn rewritten(name: &HeaderName, text: &str, origin: &OriginBase, target: &Target) -> Option<String> {
    if *name == LINK {
        return rewritten_list(text, origin, target);
    }
    let begin = if *name == REFRESH { refresh_url(text)? } else { text.len() - text.trim_start().len() };
    let (before, url) = text.split_at_checked(begin)?;
    Some(format!("{before}{}", rewritten_url(url, origin, target)?))
}

/// Returns the position of the URL in a `Refresh` (HTML §4.2.4.3): behind the time and a separator,
/// `url=` and a quote if there are any.
fn refresh_url(text: &str) -> Option<usize> {
    let after_time = text.trim_start().trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let separated = after_time.strip_prefix([';', ',', ' ', '\t'])?.trim_start();
    let rest = separated.strip_prefix([';', ',']).unwrap_or(separated).trim_start();
    let named = rest.split_at_checked("url".len()).filter(|(name, _)| name.eq_ignore_ascii_case("url"));
    let value = named.and_then(|(_, after)| after.trim_start().strip_prefix('='));
    let url = value.unwrap_or(rest).trim_start();
    let url = url.strip_prefix(['"', '\'']).unwrap_or(url);
    Some(text.len() - url.len())
}

/// Rewrites the links of a `Link` list: the targets in `<` and `>` outside quoted strings, and the
/// quoted values of `anchor` (RFC 8288 §3).
fn rewritten_list(text: &str, origin: &OriginBase, target: &Target) -> Option<String> {
    let (mut list, mut rest) = (String::with_capacity(text.len()), text);
    let mut has_changed = false;
    while let Some(at) = rest.find(['<', '"']) {
        let (before, from) = rest.split_at_checked(at)?;
        list.push_str(before);
        let end = if from.starts_with('<') { from.find('>') } else { quoted_end(from) };
        let Some((part, after)) = end.and_then(|end| from.split_at_checked(end)) else {
            rest = from;
            break;
        };
        let link = if part.starts_with('<') { part.get(1..) } else { anchor(before, part) };
        match link.and_then(|url| Some((url, rewritten_url(url, origin, target)?))) {
            Some((url, new)) => {
                // The first byte of the part is `<` or a quote.
                list.push_str(part.get(..1)?);
                list.push_str(&new);
                list.push_str(part.get(1 + url.len()..)?);
                has_changed = true;
            }
            None => list.push_str(part),
        }
        rest = after;
    }
    list.push_str(rest);
    has_changed.then_some(list)
}

/// Returns the link in a quoted string, if the text before it ends with the parameter `anchor`. A
/// link needs no escape.
fn anchor<'a>(before: &str, quoted: &'a str) -> Option<&'a str> {
    let name = before.trim_end().strip_suffix('=')?.rsplit(';').next()?.trim();
    let link = quoted.strip_prefix('"')?.strip_suffix('"')?;
    (name.eq_ignore_ascii_case("anchor") && !link.contains('\\')).then_some(link)
}

/// Returns the end of the quoted string that the text begins with.
fn quoted_end(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Returns the client's spelling of a URL, if it is the origin's own and below its base path. The
/// origin's scheme does not count: behind a proxy, it may write the scheme of the client.
fn rewritten_url(url: &str, origin: &OriginBase, target: &Target) -> Option<String> {
    let address = target.authority.as_str();
    if url.starts_with('/') && !url.starts_with("//") {
        if origin.path.is_empty() {
            return None;
        }
        let path = below_base(url, origin)?;
        // A path that begins with `//` would be read as an address.
        let needs_address = path.starts_with("//");
        let scheme = target.scheme.as_str();
        return Some(if needs_address { format!("{scheme}://{address}{path}") } else { path });
    }
    let (scheme, rest) = match url.split_once("//")? {
        ("", rest) => (None, rest),
        (scheme, rest) => {
            let scheme = scheme.strip_suffix(':')?;
            let known = [Scheme::Http, Scheme::Https];
            (Some(known.into_iter().find(|known| scheme.eq_ignore_ascii_case(known.as_str()))?), rest)
        }
    };
    let end = rest.find(PATH_ENDS).unwrap_or(rest.len()).min(rest.find('/').unwrap_or(rest.len()));
    let (authority, rest) = rest.split_at_checked(end)?;
    let named = Authority::parse(scheme.unwrap_or(origin.scheme), authority.as_bytes()).ok()?;
    if named != origin.authority {
        return None;
    }
    let path = below_base(rest, origin)?;
    let scheme = scheme.map_or_else(String::new, |_| format!("{}:", target.scheme.as_str()));
    Some(format!("{scheme}//{address}{path}"))
}

/// The characters that end a path: those of a URL, and the quotes of a `Refresh`.
const PATH_ENDS: [char; 4] = ['?', '#', '"', '\''];

/// Returns the path below the origin's base path, and everything behind it. `None` for a path
/// outside, or one that dot segments may lead outside.
fn below_base(path: &str, origin: &OriginBase) -> Option<String> {
    let rest = path.strip_prefix(origin.path.as_str())?;
    let is_boundary = rest.is_empty() || rest.starts_with('/') || rest.starts_with(PATH_ENDS);
    if !origin.path.is_empty() && (!is_boundary || has_dot_segment(rest)) {
        return None;
    }
    let slash = if rest.starts_with('/') { "" } else { "/" };
    Some(format!("{slash}{rest}"))
}

/// Returns whether a path has a segment `..`, encoded or not.
fn has_dot_segment(rest: &str) -> bool {
    let path = rest.split(PATH_ENDS).next().unwrap_or_default().to_ascii_lowercase();
    path.replace("%2e", ".").split(['/', '\\']).any(|segment| segment == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten_line(base: &str, name: &HeaderName, line: &str) -> String {
        let origin = OriginBase {
            scheme: Scheme::Http,
            authority: Authority::parse(Scheme::Http, b"origin.test:8080").unwrap(),
            path: base.to_owned(),
        };
        let target = Target::of_url("https://api.test/a").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(name, line.parse().unwrap());
        rewrite(&mut headers, &origin, &target);
        headers.get(name).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn the_origins_own_links_become_the_clients() {
        for (base, name, line, expected) in [
            ("", LOCATION, "http://origin.test:8080/b?c#d", "https://api.test/b?c#d"),
            ("", LOCATION, "https://ORIGIN.test:8080/b", "https://api.test/b"),
            ("", LOCATION, "//origin.test:8080/b", "//api.test/b"),
            ("", LOCATION, "http://origin.test:8080", "https://api.test/"),
            ("", LOCATION, "http://origin.test:8080?b", "https://api.test/?b"),
            ("/v1", CONTENT_LOCATION, "http://origin.test:8080/v1/b", "https://api.test/b"),
            ("/v1", CONTENT_LOCATION, "http://origin.test:8080/v1", "https://api.test/"),
            ("", REFRESH, "5; url=http://origin.test:8080/b", "5; url=https://api.test/b"),
            ("", REFRESH, "0;URL='http://origin.test:8080/b'", "0;URL='https://api.test/b'"),
            ("", REFRESH, "0;http://origin.test:8080/b", "0;https://api.test/b"),
            ("", REFRESH, "0.5 , url = \"http://origin.test:8080/b\"", "0.5 , url = \"https://api.test/b\""),
            ("/v1", REFRESH, "0; '/v1/b'", "0; '/b'"),
            ("/v1", REFRESH, "0; url='/v1'", "0; url='/'"),
            ("/v1", LOCATION, "/v1/b?/v1#/v1", "/b?/v1#/v1"),
            ("/v1", LOCATION, "/v1", "/"),
            ("/v1", LOCATION, "/v1?b", "/?b"),
            ("/v1", LOCATION, "/v1//evil.test/", "https://api.test//evil.test/"),
            ("/v1", CONTENT_LOCATION, "/v1/b", "/b"),
            ("/v1", LINK, "</v1/b>; rel=next, </c>", "</b>; rel=next, </c>"),
            (
                "/v1",
                LINK,
                "</c>; anchor=\"http://origin.test:8080/v1/d\"; rel=\"next\"; Anchor = \"/v1/e\"",
                "</c>; anchor=\"https://api.test/d\"; rel=\"next\"; Anchor = \"/e\"",
            ),
            (
                "/v1",
                LINK,
                "<http://origin.test:8080/v1/b>; rel=\"next\"; title=\"<http://origin.test:8080/v1/b>\", </c>, <//origin.test:8080/v1/d>",
                "<https://api.test/b>; rel=\"next\"; title=\"<http://origin.test:8080/v1/b>\", </c>, <//api.test/d>",
            ),
        ] {
            assert_eq!(rewritten_line(base, &name, line), expected, "{name}: {line}");
        }
    }

    #[test]
    fn the_default_port_may_be_absent_or_explicit() {
        let origin = |scheme, authority: &str| OriginBase {
            scheme,
            authority: Authority::parse(scheme, authority.as_bytes()).unwrap(),
            path: String::new(),
        };
        let target = Target::of_url("https://api.test/a").unwrap();
        let rewritten = |origin: &OriginBase, url: &str| rewritten_url(url, origin, &target);
        for (scheme, name, port) in [(Scheme::Http, "http", 80), (Scheme::Https, "https", 443)] {
            for authority in ["origin.test".to_owned(), format!("origin.test:{port}")] {
                let origin = origin(scheme, &authority);
                for url in [format!("{name}://origin.test/b"), format!("{name}://origin.test:{port}/b")] {
                    assert_eq!(rewritten(&origin, &url).as_deref(), Some("https://api.test/b"), "{url}");
                }
                for url in ["//origin.test/b".to_owned(), format!("//origin.test:{port}/b")] {
                    assert_eq!(rewritten(&origin, &url).as_deref(), Some("//api.test/b"), "{url}");
                }
                let other = format!("{name}://origin.test:8080/b");
                assert_eq!(rewritten(&origin, &other), None, "{authority}");
            }
        }
    }

    #[test]
    fn other_links_stay() {
        for (base, name, line) in [
            ("", LOCATION, "/b"),
            ("", LOCATION, "b//origin.test:8080/"),
            ("", LOCATION, "http://origin.test/b"),
            ("", LOCATION, "http://origin.test:8081/b"),
            ("", LOCATION, "http://origin.test:8080.evil.test/b"),
            ("", LOCATION, "http://user@origin.test:8080/b"),
            ("", LOCATION, "ftp://origin.test:8080/b"),
            ("/v1", LOCATION, "http://origin.test:8080/v10/b"),
            ("/v1", LOCATION, "http://origin.test:8080/b"),
            ("", REFRESH, "5"),
            ("/v1", LOCATION, "/b"),
            ("/v1", LOCATION, "/v10/b"),
            ("/v1", LOCATION, "/v1/../b"),
            ("/v1", LOCATION, "/v1/a/%2E%2e/../b"),
            ("/v1", LOCATION, "http://origin.test:8080/v1/../b"),
            ("/v1", LOCATION, "b/v1/c"),
            ("", REFRESH, "5 http"),
            ("", REFRESH, "url=http://origin.test:8080/b"),
            ("", LINK, "</b>; title*=\"http://origin.test:8080/b\"; xanchor=\"http://origin.test:8080/b\""),
            ("", LINK, "<http://origin.test:8080/b"),
            ("", LINK, "</b>; title=\"http://origin.test:8080/b"),
        ] {
            assert_eq!(rewritten_line(base, &name, line), line, "{name}");
        }
    }
}
