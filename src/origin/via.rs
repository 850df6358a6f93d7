//! `Via`: the name of this proxy in requests to the origin, and the requests that come back.
//!
//! The name has a part that is random for each process, so that a chain of several CacheWarps is no
//! loop. A request whose `Via` already has the name of this process has come back: the origin, or a
//! proxy in front of it, forwards to this process. Such a request would otherwise be forwarded
//! until a time-out ends it, or wait for its own fetch.

use std::fmt;
use std::sync::Arc;

use http::header::{HeaderValue, VIA};
use http::{HeaderMap, Version};

/// Name of this process in `Via` (RFC 9110 §7.6.3), or none.
#[derive(Clone)]
pub struct ViaName(Option<NamedVia>);

#[derive(Clone)]
struct NamedVia {
    name: Arc<str>,
    http_10: HeaderValue,
    http_11: HeaderValue,
    http_2: HeaderValue,
}

impl ViaName {
    /// Returns a new name. All workers of a process share one.
    pub fn new() -> Self {
        Self::named(&format!("cachewarp-{:016x}", fastrand::u64(..)))
    }

    /// Returns this name, which has to be a token.
    pub(super) fn named(name: &str) -> Self {
        let value = |version| HeaderValue::from_str(&format!("{version} {name}"));
        let (Ok(http_10), Ok(http_11), Ok(http_2)) = (value("1.0"), value("1.1"), value("2")) else {
            return Self(None);
        };
        Self(Some(NamedVia { name: name.into(), http_10, http_11, http_2 }))
    }

    /// Returns no name: the proxy adds no `Via`, and does not detect that a request has come back.
    pub fn off() -> Self {
        Self(None)
    }

    /// Returns the version of HTTP of the received request, and the name, as the origin receives
    /// them.
    pub(super) fn value(&self, received: Version) -> Option<HeaderValue> {
        let NamedVia { http_10, http_11, http_2, .. } = self.0.as_ref()?;
        let value = match received {
            Version::HTTP_2 => http_2,
            Version::HTTP_10 | Version::HTTP_09 => http_10,
            _ => http_11,
        };
        Some(value.clone())
    }

    /// Returns whether `Via` contains this name.
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        let Some(NamedVia { name, .. }) = &self.0 else { return false };
        let names_us = |line: &HeaderValue| {
            let words = line.as_bytes().split(|byte| matches!(byte, b',' | b' ' | b'\t'));
            words.into_iter().any(|word| word.eq_ignore_ascii_case(name.as_bytes()))
        };
        headers.get_all(VIA).iter().any(names_us)
    }
}

impl fmt::Debug for ViaName {
    /// Writes whether there is a name, and not its random part: equal settings have equal texts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "ViaName(on)" } else { "ViaName(off)" })
    }
}

impl Default for ViaName {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &[String]) -> HeaderMap {
        lines.iter().map(|line| (VIA, line.parse().unwrap())).collect()
    }

    #[test]
    fn only_the_own_name_is_recognised() {
        let (own, other) = (ViaName::new(), ViaName::new());
        let (via, foreign) = (
            own.value(Version::HTTP_11).unwrap().to_str().unwrap().to_owned(),
            other.value(Version::HTTP_11).unwrap().to_str().unwrap().to_owned(),
        );
        for (lines, own_is_in) in [
            (vec![], false),
            (vec![foreign.clone()], false),
            (vec!["1.1 cachewarp".to_owned()], false),
            (vec![format!("{via}x")], false),
            (vec![via.clone()], true),
            (vec![via.to_uppercase()], true),
            (vec![format!("1.0 edge,{via} (CacheWarp),2 inner")], true),
            (vec![foreign, "2 edge".to_owned(), via], true),
        ] {
            assert_eq!(own.is_in(&head(&lines)), own_is_in, "{lines:?}");
            assert!(!ViaName::off().is_in(&head(&lines)));
        }
    }
}
