//! A purge order: the items that it names, and the scopes that the store purges.

use crate::json::JsonObject;
use crate::key::{Authority, CacheKey, Target};
use crate::limits::{AUTHORITY_BYTES_MAX, OPERATOR_SHOWN_BYTES_MAX};
use crate::store::{CacheGroup, CacheTag, PurgeScope, PurgeStrength, UrlPrefix};

/// A purge order: items and strength. It names at least one item, and at most as many as
/// [`PURGE_NAMES_MAX`](crate::limits::PURGE_NAMES_MAX).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeOrder {
    /// The items: URLs, tags, groups, prefixes, everything.
    pub named: Vec<PurgeName>,
    /// Whether entries are removed or marked stale.
    pub strength: PurgeStrength,
}

/// One item to purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurgeName {
    /// A resource, by its URL.
    Url(Target),
    /// All entries with a tag.
    Tag(CacheTag),
    /// All entries of a cache group of one origin, under both schemes.
    Group {
        /// The origin's host and port.
        authority: Authority,
        /// The name of the group.
        name: Box<str>,
        /// The group under each scheme, for the store.
        scopes: [CacheGroup; 2],
    },
    /// All URLs under a prefix, under both schemes.
    Prefix(UrlPrefix),
    /// All entries.
    All,
}

impl PurgeOrder {
    /// Returns the word for the strength.
    pub fn strength_word(&self) -> &'static str {
        match self.strength {
            PurgeStrength::Hard => "hard",
            PurgeStrength::Soft => "soft",
        }
    }

    /// Returns the URLs that the order names.
    pub fn urls(&self) -> impl Iterator<Item = &Target> {
        self.named.iter().filter_map(|named| match named {
            PurgeName::Url(target) => Some(target),
            PurgeName::Tag(_) | PurgeName::Group { .. } | PurgeName::Prefix(_) | PurgeName::All => None,
        })
    }

    /// Returns the scopes that the store purges. `key` returns the key of a resource.
    pub fn scopes(&self, keys: impl Fn(&Target) -> [CacheKey; 2]) -> Vec<PurgeScope> {
        self.named.iter().flat_map(|named| named.scopes(&keys)).collect()
    }
}

impl PurgeName {
    /// Returns the scopes of the item. A URL is purged under both schemes. Only a trusted proxy can
    /// state the client's scheme, so behind a proxy that does not, the entries of `https://` URLs
    /// are stored under `http://`: a purge of the named scheme alone would report success and
    /// remove nothing.
    fn scopes(&self, keys: impl Fn(&Target) -> [CacheKey; 2]) -> Vec<PurgeScope> {
        match self {
            Self::Url(target) => {
                by_both_schemes(target).flat_map(|target| keys(&target)).map(PurgeScope::Url).collect()
            }
            Self::Prefix(prefix) => vec![PurgeScope::Prefix(prefix.clone())],
            Self::Tag(tag) => vec![PurgeScope::Tag(tag.clone())],
            Self::Group { scopes, .. } => scopes.iter().cloned().map(PurgeScope::Group).collect(),
            Self::All => vec![PurgeScope::All],
        }
    }

    /// Writes the item into an answer.
    pub(super) fn write(&self, object: &mut JsonObject<'_>) {
        match self {
            Self::Url(target) => object.text("url", &target.to_string(), OPERATOR_SHOWN_BYTES_MAX),
            Self::Tag(tag) => object.text("tag", tag.as_str(), OPERATOR_SHOWN_BYTES_MAX),
            Self::Group { authority, name, .. } => object.object("group", usize::MAX, |object| {
                object.text("authority", authority.as_str(), AUTHORITY_BYTES_MAX);
                object.text("name", name, OPERATOR_SHOWN_BYTES_MAX);
            }),
            Self::Prefix(prefix) => object.text("prefix", &prefix.to_string(), OPERATOR_SHOWN_BYTES_MAX),
            Self::All => object.set("all"),
        }
    }
}

fn by_both_schemes(target: &Target) -> impl Iterator<Item = Target> + use<> {
    [Some(target.clone()), target.by_other_scheme().ok()].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::NameKey;
    use crate::purge::read;

    fn target(url: &str) -> Target {
        Target::of_url(url).unwrap()
    }

    #[test]
    fn a_url_is_purged_by_both_schemes() {
        let keys =
            |target: &Target| [CacheKey::of(target), CacheKey::of_queries(target, &NameKey::default())];
        for url in ["http://a.test/b", "https://a.test:443/b"] {
            let scopes = read(&format!(r#"{{"url":"{url}"}}"#)).unwrap().scopes(keys);
            assert_eq!(scopes.len(), 4, "the responses to GET and to QUERY");
            for key in ["http://a.test/b", "https://a.test/b"].iter().flat_map(|url| keys(&target(url))) {
                assert!(scopes.contains(&PurgeScope::Url(key)));
            }
        }
        let all = read(r#"{"all":true}"#).unwrap().scopes(keys);
        assert_eq!(all, [PurgeScope::All]);
        // A prefix covers both schemes.
        let scopes = read(r#"{"prefix":"https://A.test:443/b?c"}"#).unwrap().scopes(keys);
        assert_eq!(scopes, [PurgeScope::Prefix(UrlPrefix::parse("https://a.test/b?c").unwrap())]);
    }
}
