//! `Via`: the name of this proxy in requests to the origin, and the requests that come back.
//!
//! The name has a part that is random for each process, so that a chain of several CacheWarps is no
//! loop. A request whose `Via` already has the name of this process has come back: the origin, or a
//! proxy in front of it, forwards to this process. Such a request would otherwise be forwarded
//! until a time-out ends it, or wait for its own fetch.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use http::header::{HeaderValue, VIA};

/// Name of this process in `Via` (RFC 9110 §7.6.3), or none.
#[derive(Clone)]
pub struct ViaName(Option<NamedVia>);

#[derive(Clone)]
struct NamedVia {
    name: Arc<str>,
    value: HeaderValue,
}

impl ViaName {
    /// Returns a new name. All workers of a process share one.
    pub fn new() -> Self {
        Self::named(&format!("cachewarp-{:016x}", fastrand::u64(..)))
    }

    /// Returns this name, which has to be a token.
    pub(super) fn named(name: &str) -> Self {
        let value = HeaderValue::from_str(&format!("1.1 {name}"));
        Self(value.ok().map(|value| NamedVia { name: name.into(), value }))
    }

    /// Returns no name: the proxy adds no `Via`, and does not detect that a request has come back.
    pub fn off() -> Self {
        Self(None)
    }

    /// Returns the protocol version and the name, as the origin receives them.
    pub(super) fn value(&self) -> Option<HeaderValue> {
        self.0.as_ref().map(|via| via.value.clone())
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
            own.value().unwrap().to_str().unwrap().to_owned(),
            other.value().unwrap().to_str().unwrap().to_owned(),
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
