//! Masking of the secrets in a URL.
//!
//! **Always:** the text is cut at its delimiters and is not parsed as a URL. A password that is not
//! percent-encoded shifts the parts of a parsed URL, and would be printed as a path, a port or a
//! fragment.

/// The text that replaces a secret.
pub(in crate::config) const MASK: &str = "***";

/// Returns the URL with its secrets masked.
///
/// It masks everything between the scheme and the last `@`, a query, a fragment, and a host that
/// could be the beginning of a password. Text that is not a URL is masked if it could hold a
/// secret.
pub(in crate::config) fn masked(text: &str) -> String {
    let Some((scheme, rest)) = split_scheme(text) else {
        let may_be_secret = text.contains('@') || text.contains("://");
        return if may_be_secret { MASK.to_owned() } else { text.to_owned() };
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (place, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let (login, place) = place.rsplit_once('@').map_or(("", place), |(_, place)| ("***@", place));
    // An `@` in the query belongs to a parameter, or ends a password that contains a `?`. The text
    // does not show which.
    if behind.contains('@') || !names_hosts(place) {
        return format!("{scheme}://{MASK}");
    }
    let behind = match behind.chars().next() {
        Some(delimiter) if !is_database(behind) => format!("{delimiter}{MASK}"),
        Some(_) | None => behind.to_owned(),
    };
    format!("{scheme}://{login}{place}{behind}")
}

/// Splits the scheme from what follows its `://` (RFC 3986 §3.1).
pub(super) fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let begins = scheme.starts_with(|first: char| first.is_ascii_alphabetic());
    let goes_on = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    (begins && goes_on).then_some((scheme, rest))
}

/// Tells whether an `@` follows the first delimiter behind the scheme, as it does where a password
/// that contains `/`, `\`, `?` or `#` was not percent-encoded.
pub(in crate::config) fn has_unencoded_password(text: &str) -> bool {
    let Some((scheme, rest)) = split_scheme(text) else { return text.contains('@') };
    let mut parts = rest.splitn(2, ['/', '\\', '?', '#']).skip(1);
    scheme != "unix" && parts.next().is_some_and(|behind| behind.contains('@'))
}

/// Tells whether everything before the path is a list of hosts, each with or without a port.
fn names_hosts(place: &str) -> bool {
    let authority = place.split(['/', '\\']).next().unwrap_or_default();
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    authority.split(',').all(|host| match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((_, port)) => port.is_empty() || port.strip_prefix(':').is_some_and(is_port),
        None => is_port(host.split_once(':').map_or("", |(_, port)| port)),
    })
}

/// Tells whether a query consists of the number of a database.
fn is_database(query: &str) -> bool {
    let number = query.strip_prefix("?db=").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_secret_is_shown() {
        for (text, shown) in [
            ("off", "off"),
            ("localhost:8080", "localhost:8080"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://localhost:8080/v1/", "http://localhost:8080/v1/"),
            ("https://api.example/v1/@me", "https://***@me"),
            ("redis://localhost:6379/1", "redis://localhost:6379/1"),
            ("redis://[::1]:6379", "redis://[::1]:6379"),
            ("redis://h?db=1", "redis://h?db=1"),
            ("redis://:secret@h:1/2", "redis://***@h:1/2"),
            ("redis://app:secret@h", "redis://***@h"),
            ("redis://secret@h", "redis://***@h"),
            ("redis://:secret", "redis://***"),
            ("redis://:sec@ret@h", "redis://***@h"),
            ("redis://:se/cret@h", "redis://***@h"),
            ("redis://:se/cr@et@h/1", "redis://***@h/1"),
            ("redis://app:12/secret@h", "redis://***@h"),
            ("redis://:se//cret@[::1]:1", "redis://***@[::1]:1"),
            ("redis://:se\\cret@h", "redis://***@h"),
            ("redis://:sec#ret@h", "redis://***"),
            ("redis://:sec?ret@h", "redis://***"),
            ("redis://app:12?secret@h", "redis://***"),
            ("redis://:sec?db=1@h", "redis://***"),
            ("rediss://:a:/secret@h", "rediss://***@h"),
            ("redis://:secret@h:secret", "redis://***"),
            ("unix:///s", "unix:///s"),
            ("unix:///s?db=1&password=secret", "unix:///s?***"),
            ("unix:///s?password=sec@ret", "unix://***"),
            ("unix:///s?password=secret&db=1", "unix:///s?***"),
            ("unix:///s?password=sec#ret", "unix:///s?***"),
            ("redis://h?auth=secret", "redis://h?***"),
            ("redis://h?secret", "redis://h?***"),
            ("redis://h?db=", "redis://h?***"),
            ("redis://h#secret", "redis://h#***"),
            ("redis+cluster://a:1,b:2", "redis+cluster://a:1,b:2"),
            ("redis+cluster://u:sec,ret@a:1,b:2", "redis+cluster://***@a:1,b:2"),
            ("redis+cluster://u:secret@a,u:secret@b", "redis+cluster://***@b"),
            ("redis+sentinel://app:secret@a:1,b:2/m/1", "redis+sentinel://***@a:1,b:2/m/1"),
            ("redis+sentinel://a:1,b/m?sentinel_password=secret", "redis+sentinel://a:1,b/m?***"),
            ("redis+sentinel://a:1,b/m?sentinel_password=sec@ret", "redis+sentinel://***"),
            ("redis+sentinel://:se,cr@et,x@a:1,b/m", "redis+sentinel://***@a:1,b/m"),
            ("redis+sentinel://app:12/secret@a,b/m", "redis+sentinel://***@a,b/m"),
            ("redis:secret@h", "***"),
            ("app:secret@h", "***"),
            ("app:sec://ret@h", "***"),
            ("app:sec://ret", "***"),
            (":secret@h", "***"),
            ("http://user:secret@api.example/v1", "http://***@api.example/v1"),
            ("http://user:12/secret@api.example", "http://***@api.example"),
        ] {
            assert_eq!(masked(text), shown, "{text}");
        }
    }

    #[test]
    fn an_unencoded_password_is_recognised() {
        for (text, expected) in [
            ("redis://:p%2Fw@h/1", false),
            ("redis://:p@w@h", false),
            ("redis://h/1", false),
            ("unix:///run/a@b?db=1", false),
            ("redis://:p/w@h", true),
            ("redis://:p?w@h", true),
            ("redis://:p#w@h", true),
            ("http://u:1\\w@h", true),
            ("app:pw@h", true),
        ] {
            assert_eq!(has_unencoded_password(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_before_the_last_at_sign_is_shown(
            scheme in "(redis|rediss|redis\\+sentinel|redis\\+cluster|unix|http|https)://",
            secrets in prop::collection::vec("[/?#@:&=%,;\\[\\] ]{0,2}SECRET[/?#@:&=%,;\\[\\] ]{0,2}", 1..4),
            host in "[a-z]{1,3}(:[0-9]{1,4})?(/[0-9a-z]{0,3})?",
        ) {
            let text = format!("{scheme}{}@{host}", secrets.concat());
            prop_assert!(!masked(&text).contains("SECRET"), "{text} is shown as {}", masked(&text));
        }
    }
}
