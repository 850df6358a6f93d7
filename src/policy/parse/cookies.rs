//! Cookies that say nothing about who asks.
//!
//! A cookie is a credential unless the operator knows better: browsers send what a page's
//! statistics have set along with every request, and one such cookie would otherwise keep a public
//! answer out of the store. The operator lists the harmless ones and not the others, so that a
//! cookie nobody thought of is a credential.
//!
//! **Always:** what is taken for harmless is not shown to the origin either, when it is asked for
//! something to share. So an answer that is shared was made without it, whatever this parser and
//! the origin's make of the same line.

use http::HeaderValue;

use crate::policy::parse::syntax;

/// Which cookies are no credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IgnoredCookies {
    /// All are.
    Any,
    /// Those with these names, which are case-sensitive, and those whose name begins with what
    /// stands before a `*` at the end of one of these.
    Listed(Vec<String>),
}

impl IgnoredCookies {
    /// Whether every cookie is a credential.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::Listed(names) if names.is_empty())
    }

    /// Whether a `Cookie` line (RFC 6265 §4.2.1) has no other cookies than these.
    pub(in crate::policy) fn cover(&self, line: &HeaderValue) -> bool {
        let crumbs = line.as_bytes().split(|&byte| byte == b';').map(syntax::trim);
        self.all(crumbs.filter(|crumb| !crumb.is_empty()))
    }

    /// Whether a `Set-Cookie` line (RFC 6265 §4.1.1) sets one of these.
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

/// Whether a pair's name is in the list. What is no pair has no name.
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
    fn a_line_of_nothing_but_ordinary_cookies() {
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
    fn a_line_that_sets_one() {
        let cookies = listed(&["theme"]);
        assert!(cookies.cover_set(&"theme=dark; Path=/; session=1".parse().unwrap()));
        for line in ["session=1; theme=dark", "theme; Path=/", "", "; theme=dark"] {
            assert!(!cookies.cover_set(&line.parse().unwrap()), "{line}");
        }
    }

    #[test]
    fn all_or_none() {
        for line in ["", "a=b", "session"] {
            let line = line.parse().unwrap();
            assert!(IgnoredCookies::Any.cover(&line) && IgnoredCookies::Any.cover_set(&line));
            assert!(!listed(&[]).cover(&line) && !listed(&[]).cover_set(&line));
        }
        assert!(listed(&[]).is_none() && !listed(&["a"]).is_none() && !IgnoredCookies::Any.is_none());
    }
}
