//! Cookies that do not identify the client.
//!
//! A cookie is a credential unless the operator lists it. Browsers attach the cookies of a page's
//! analytics to every request, and one such cookie would keep a public response out of the store.
//! The operator lists the harmless cookies rather than the others, so that an unknown cookie is a
//! credential.
//!
//! **Always:** a fetch whose response may be shared does not send ignored cookies to the origin. So
//! the origin makes a shared response without them, even if its cookie parser disagrees with this
//! one.

use http::HeaderValue;

use crate::policy::parse::syntax;

/// The cookies that are not credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IgnoredCookies {
    /// All cookies.
    Any,
    /// The cookies with these names, which are case-sensitive. A `*` at the end of a name matches
    /// every cookie that begins with the text before it.
    Listed(Vec<String>),
}

impl IgnoredCookies {
    /// Reads one name of a list, or a prefix with `*`.
    pub fn item(text: &str) -> Option<String> {
        syntax::is_plain_token(text.strip_suffix('*').unwrap_or(text)).then(|| text.to_owned())
    }

    /// Returns whether every cookie is a credential.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::Listed(names) if names.is_empty())
    }

    /// Returns the cookies of both lists.
    #[must_use]
    pub fn with(&self, more: &Self) -> Self {
        match (self, more) {
            (Self::Listed(names), Self::Listed(more)) => {
                Self::Listed(names.iter().chain(more).cloned().collect())
            }
            (Self::Any, _) | (_, Self::Any) => Self::Any,
        }
    }

    /// Returns whether all cookies in a `Cookie` line (RFC 6265 §4.2.1) are ignored.
    pub(in crate::policy) fn cover(&self, line: &HeaderValue) -> bool {
        let crumbs = line.as_bytes().split(|&byte| byte == b';').map(syntax::trim);
        self.all(crumbs.filter(|crumb| !crumb.is_empty()))
    }

    /// Returns whether a `Set-Cookie` line (RFC 6265 §4.1.1) sets an ignored cookie.
    pub(in crate::policy) fn cover_set(&self, line: &HeaderValue) -> bool {
        self.all(line.as_bytes().split(|&byte| byte == b';').map(syntax::trim).take(1))
    }

    fn all<'a>(&self, mut cookies: impl Iterator<Item = &'a [u8]>) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(names) => !names.is_empty() && cookies.all(|cookie| is_named(cookie, names)),
        }
    }
}

/// Returns whether the list contains the name of a `name=value` pair. Text without `=` has no name.
fn is_named(cookie: &[u8], names: &[String]) -> bool {
    let mut parts = cookie.splitn(2, |&byte| byte == b'=');
    let (Some(name), Some(_)) = (parts.next().map(syntax::trim), parts.next()) else { return false };
    names.iter().any(|listed| match listed.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning.as_bytes()),
        None => name == listed.as_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(names: &[&str]) -> IgnoredCookies {
        IgnoredCookies::Listed(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn a_cookie_line_is_ignored_if_all_its_cookies_are() {
        let cookies = listed(&["theme", "_ga*"]);
        for line in ["theme=dark", "_ga=1; _ga_X=2;theme=", " theme = a=b ;; _ga=\"x\"", ""] {
            assert!(cookies.cover(&line.parse().unwrap()), "{line}");
        }
        for line in
            ["session=1", "theme=dark; session=1", "Theme=dark", "theme", "=theme", "themes=1", "x_ga=1"]
        {
            assert!(!cookies.cover(&line.parse().unwrap()), "{line}");
        }
    }

    #[test]
    fn a_set_cookie_line_is_matched_by_its_name() {
        let cookies = listed(&["theme"]);
        assert!(cookies.cover_set(&"theme=dark; Path=/; session=1".parse().unwrap()));
        for line in ["session=1; theme=dark", "theme; Path=/", "", "; theme=dark"] {
            assert!(!cookies.cover_set(&line.parse().unwrap()), "{line}");
        }
    }

    #[test]
    fn lists_cover_all_cookies_or_none() {
        for line in ["", "a=b", "session"] {
            let line = line.parse().unwrap();
            assert!(IgnoredCookies::Any.cover(&line) && IgnoredCookies::Any.cover_set(&line));
            assert!(!listed(&[]).cover(&line) && !listed(&[]).cover_set(&line));
        }
        assert!(listed(&[]).is_none() && !listed(&["a"]).is_none() && !IgnoredCookies::Any.is_none());
    }
}
