//! The choice of a coarser purge, if there are more purges by prefix than the log may have.
//!
//! A purge never fails because the log is full: a coarser purge covers it, and costs fetches.
//! `scripts/purge_log.lua` makes the same choice in Redis.

use crate::store::purge::names::UrlPrefix;

/// Returns the longest common prefix of any two of these prefixes; `None` if no two name the same
/// origin.
pub(in crate::store) fn closest<'a>(
    prefixes: impl Iterator<Item = &'a UrlPrefix> + Clone,
) -> Option<UrlPrefix> {
    let pairs = prefixes.clone().enumerate().flat_map(|(number, one)| {
        prefixes.clone().skip(number + 1).filter_map(move |other| one.common(other))
    });
    pairs.max_by_key(UrlPrefix::bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_two_have_the_longest_common_prefix() {
        for (texts, common) in [
            (&["http://a/x/1", "http://a/y", "http://a/x/2"][..], Some("http://a/x/")),
            (&["http://a/x", "http://a/x/2"], Some("http://a/x")),
            (&["http://a/x", "http://b/x", "http://a/y"], Some("http://a/")),
            (&["http://a/x", "http://b/x", "https://a/x", "http://a:81/x"], None),
            (&["http://a/é", "http://a/è"], Some("http://a/")),
            (&["http://a/x"], None),
        ] {
            let prefixes: Vec<_> = texts.iter().map(|text| UrlPrefix::parse(text).unwrap()).collect();
            let found = closest(prefixes.iter()).map(|found| found.to_string());
            assert_eq!(found.as_deref(), common, "{texts:?}");
        }
    }
}
