//! A URL without its secrets.

use url::Url;

use super::hosts::Hosts;

/// What stands for a secret.
pub(in crate::config) const MASK: &str = "***";

/// The URL without its secrets, for a person to read. Of text that is no URL, only what cannot be a secret is left.
pub(in crate::config) fn masked(text: &str) -> String {
    if let Some(Hosts { single, listed }) = Hosts::of(text)
        && listed.contains(',')
    {
        let shown = masked(&single);
        let first = listed.split(',').next().unwrap_or_default();
        let begin = shown.rfind('@').map(|at| at + 1).or(shown.find("://").map(|at| at + 3));
        let parts = begin.and_then(|begin| shown.split_at_checked(begin));
        return match parts.and_then(|(before, rest)| Some((before, rest.strip_prefix(first)?))) {
            Some((before, behind)) => format!("{before}{listed}{behind}"),
            None => shown,
        };
    }
    let Ok(mut url) = Url::parse(text) else {
        return match text.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://{MASK}"),
            None if text.contains('@') => MASK.to_owned(),
            None => text.to_owned(),
        };
    };
    let harmless = !text.contains('@') && url.query().is_none() && url.fragment().is_none();
    if harmless {
        return text.to_owned();
    }
    if url.cannot_be_a_base() {
        return MASK.to_owned();
    }
    // A user without a password may be a password in the wrong place.
    let hidden = match url.password() {
        Some(_) => url.set_password(Some(MASK)),
        None if url.username().is_empty() => Ok(()),
        None => url.set_username(MASK),
    };
    if hidden.is_err() {
        return MASK.to_owned();
    }
    let query = url.query().map(|query| {
        let shown = |pair| if str::starts_with(pair, "db=") { pair } else { MASK };
        query.split('&').map(shown).collect::<Vec<_>>().join("&")
    });
    url.set_query(query.as_deref());
    url.set_fragment(url.fragment().is_some().then_some(MASK));
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        for (text, shown) in [
            ("off", "off"),
            ("localhost:8080", "localhost:8080"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("redis://localhost:6379/1", "redis://localhost:6379/1"),
            ("redis://:secret@h:1/2", "redis://:***@h:1/2"),
            ("redis://app:secret@h", "redis://app:***@h"),
            ("redis://secret@h", "redis://***@h"),
            ("unix:///s?db=1&password=secret", "unix:///s?db=1&***"),
            ("redis://h?auth=secret", "redis://h?***"),
            ("redis://h?secret", "redis://h?***"),
            ("redis://h#secret", "redis://h#***"),
            ("redis://:sec#ret@h", "redis://***"),
            ("redis://:se/cret@h", "redis://***"),
            ("redis+cluster://a:1,b:2", "redis+cluster://a:1,b:2"),
            ("redis+sentinel://app:secret@a:1,b:2/m/1", "redis+sentinel://app:***@a:1,b:2/m/1"),
            ("redis+sentinel://a:1,b/m?sentinel_password=secret", "redis+sentinel://a:1,b/m?***"),
            ("redis+sentinel://:se,cr@et,x@a:1,b/m", "redis+sentinel://:***@a:1,b/m"),
            ("redis+sentinel://secret@a,b/m", "redis+sentinel://***@a,b/m"),
            ("redis+sentinel://:se/cret@a,b/m", "redis+sentinel://***"),
            ("redis:secret@h", "***"),
            ("app:secret@h", "***"),
            (":secret@h", "***"),
        ] {
            assert_eq!(masked(text), shown, "{text}");
        }
    }
}
