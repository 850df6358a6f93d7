//! The scopes of a purge, and the names by which operators give them.

use std::fmt;

use http::uri::PathAndQuery;

use crate::entry::TagDigest;
use crate::key::{Authority, CacheKey, FieldHasher, NameKey, Scheme, Target, TargetError};
use crate::limits::{GROUP_BYTES_MAX, PREFIX_BYTES_MAX, PURGE_SCOPES_MAX, TAG_BYTES_MAX};
use crate::redis::{CommandError, Replication};

/// The scope of a purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurgeScope {
    /// One resource, in all its variants.
    Url(CacheKey),
    /// All responses that carry a tag.
    Tag(CacheTag),
    /// All responses of one origin that are in a group (RFC 9875).
    Group(CacheGroup),
    /// All resources under a URL prefix.
    Prefix(UrlPrefix),
    /// Everything.
    All,
}

/// The strength of a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurgeStrength {
    /// Entries are not served again.
    Hard,
    /// Entries are stale: the proxy validates them before it serves them, unless stale answers are
    /// allowed.
    Soft,
}

/// The result of a purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeResult {
    /// The number of nodes that the purge must reach, this one included. A node is a process, with
    /// any number of workers.
    pub nodes: u32,
    /// The number of nodes of which every worker has confirmed that it serves no purged entry.
    pub confirmed: u32,
    /// The names of the registered nodes that have not confirmed.
    pub unconfirmed: Vec<String>,
    /// The names of those that were not waited for, because they have left several purges
    /// unanswered.
    pub dropped: Vec<String>,
    /// The number of connections that received the message that asks for confirmation, did not
    /// confirm, and belong to no known node: another program's subscription, or a node that has not
    /// registered.
    pub unknown_subscribers: u32,
    /// The names of the nodes that use other routes: they may store responses without the tags of
    /// this node's routes.
    pub other_rules: Vec<String>,
    /// The coarser purges, by prefix or of everything, that were carried out because the log holds
    /// as many purges by prefix as it may.
    pub coarser: Vec<PurgeScope>,
    /// The replicas of Redis that have the purge.
    pub replication: Replication,
    /// The refusal of Redis to publish the message that asks the nodes to confirm.
    pub sync_refused: Option<CommandError>,
}

impl PurgeResult {
    /// Returns the result for these numbers of nodes, without names.
    pub fn counted(nodes: u32, confirmed: u32) -> Self {
        Self {
            nodes,
            confirmed,
            unconfirmed: Vec::new(),
            dropped: Vec::new(),
            unknown_subscribers: 0,
            other_rules: Vec::new(),
            coarser: Vec::new(),
            replication: Replication::All,
            sync_refused: None,
        }
    }
}

/// The reason why a purge failed, in whole or in part. A repeated purge does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurgeError {
    /// Redis failed. This process serves no purged entry any more.
    #[error(
        "{0}; this node serves no purged entry, but Redis and other nodes may until a repetition succeeds"
    )]
    Redis(#[from] CommandError),
    /// The purge has more scopes than one purge may have.
    #[error("a purge has at most {PURGE_SCOPES_MAX} scopes")]
    TooMany,
    /// CacheWarp did not write the value under the name of the purge log.
    #[error("the purge log in Redis was not written by CacheWarp")]
    Foreign,
}

/// The reason why a name of a purge scope is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurgeNameError {
    /// The tag is empty, too long, or contains other than visible characters.
    #[error("a tag is one to {TAG_BYTES_MAX} visible characters without spaces and commas")]
    Tag,
    /// The group's name is too long.
    #[error("a group's name is {GROUP_BYTES_MAX} bytes at most")]
    Group,
    /// The prefix is not of the form `scheme://authority/path`.
    #[error(
        "a prefix is http:// or https://, a host, and the beginning of a path, {PREFIX_BYTES_MAX} bytes at most"
    )]
    Prefix,
    /// The URL is invalid.
    #[error("{0}")]
    Target(#[from] TargetError),
}

/// A cache tag, as a response names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheTag(Box<str>);

impl CacheTag {
    /// Parses visible ASCII without commas, at most [`TAG_BYTES_MAX`] bytes. Case counts.
    pub fn parse(text: &str) -> Result<Self, PurgeNameError> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        if text.is_empty() || text.len() > TAG_BYTES_MAX || !visible {
            return Err(PurgeNameError::Tag);
        }
        Ok(Self(text.into()))
    }

    /// Checks a tag that a route gives: visible ASCII and spaces, at most [`TAG_BYTES_MAX`] bytes.
    /// No response and no order can name a tag with a space, so neither can imitate the tag of a
    /// route.
    pub fn of_route(text: &str) -> Result<Self, PurgeNameError> {
        let shown = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if text.is_empty() || text.len() > TAG_BYTES_MAX || !shown {
            return Err(PurgeNameError::Tag);
        }
        Ok(Self(text.into()))
    }

    /// Returns the digest that entries carry.
    pub fn digest(&self, name_key: &NameKey) -> TagDigest {
        digest(b"cw-tag-1", &[self.0.as_bytes()], name_key)
    }

    /// Returns the tag's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A cache group of one origin (RFC 9875 §2), which other hosts cannot purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheGroup {
    scheme: Scheme,
    authority: Authority,
    name: Box<str>,
}

impl CacheGroup {
    /// Checks a name of at most [`GROUP_BYTES_MAX`] bytes. Case counts.
    pub fn new(scheme: Scheme, authority: Authority, name: &str) -> Result<Self, PurgeNameError> {
        if name.len() > GROUP_BYTES_MAX {
            return Err(PurgeNameError::Group);
        }
        Ok(Self { scheme, authority, name: name.into() })
    }

    /// Returns the digest that entries carry.
    pub fn digest(&self, name_key: &NameKey) -> TagDigest {
        let Self { scheme, authority, name } = self;
        let fields = [scheme.as_str().as_bytes(), authority.as_str().as_bytes(), name.as_bytes()];
        digest(b"cw-grp-1", &fields, name_key)
    }
}

/// Hashes fields, each after its length, and returns half of the hash.
fn digest(domain: &[u8], fields: &[&[u8]], name_key: &NameKey) -> TagDigest {
    let mut hasher = FieldHasher::keyed(domain, name_key);
    fields.iter().for_each(|field| hasher.field(field));
    TagDigest(hasher.finish().first_chunk().map_or(0, |half| u128::from_be_bytes(*half)))
}

/// A prefix of resources' URLs. It covers both schemes, because the proxy knows the client's scheme
/// only if a trusted proxy reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlPrefix {
    /// The scheme in the operator's text.
    scheme: Scheme,
    authority: Authority,
    /// The authority under the other scheme, which has another default port.
    by_other_scheme: Authority,
    path: Box<str>,
}

impl UrlPrefix {
    /// Parses `scheme://authority/path`; the path may end anywhere, in its query too.
    pub fn parse(text: &str) -> Result<Self, PurgeNameError> {
        let (scheme, rest) = if let Some(rest) = text.strip_prefix("http://") {
            (Scheme::Http, rest)
        } else {
            (Scheme::Https, text.strip_prefix("https://").ok_or(PurgeNameError::Prefix)?)
        };
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).ok_or(PurgeNameError::Prefix)?;
        let authority = Authority::parse(scheme, authority.as_bytes())?;
        let path = if path.is_empty() { "/" } else { path };
        if text.len() > PREFIX_BYTES_MAX || path.parse::<PathAndQuery>().is_err() || path.contains('#') {
            return Err(PurgeNameError::Prefix);
        }
        let by_other_scheme = Authority::parse(scheme.other(), authority.as_str().as_bytes())?;
        Ok(Self { scheme, authority, by_other_scheme, path: path.into() })
    }

    /// Returns whether every resource under `other` is under this prefix.
    pub(in crate::store) fn contains(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.authority == other.authority
            && other.path.starts_with(&*self.path)
    }

    /// Returns the longest prefix that contains both; `None` if they name different origins.
    pub(in crate::store) fn common(&self, other: &Self) -> Option<Self> {
        if self.scheme != other.scheme || self.authority != other.authority {
            return None;
        }
        let differ = self.path.char_indices().zip(other.path.chars()).find(|((_, one), other)| one != other);
        let shared = differ.map_or(self.path.len().min(other.path.len()), |((at, _), _)| at);
        Some(Self { path: self.path.get(..shared)?.into(), ..self.clone() })
    }

    /// Returns the length of the text.
    pub(in crate::store) fn bytes(&self) -> usize {
        self.scheme.as_str().len() + "://".len() + self.authority.as_str().len() + self.path.len()
    }

    /// Returns whether the prefix covers a resource.
    pub(in crate::store) fn covers(&self, target: &Target) -> bool {
        let authority = if self.scheme == target.scheme { &self.authority } else { &self.by_other_scheme };
        *authority == target.authority && target.path_and_query.as_str().starts_with(&*self.path)
    }
}

impl fmt::Display for UrlPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority.as_str(), self.path)
    }
}

impl PurgeScope {
    /// Returns the digest of a tag or a group; `None` for any other scope.
    pub(in crate::store) fn tag_digest(&self, name_key: &NameKey) -> Option<TagDigest> {
        match self {
            Self::Tag(tag) => Some(tag.digest(name_key)),
            Self::Group(group) => Some(group.digest(name_key)),
            Self::Url(_) | Self::Prefix(_) | Self::All => None,
        }
    }

    /// Returns half of the hash that names the scope's key, tag or group; `None` for a prefix and
    /// for everything.
    pub(in crate::store) fn half_hash(&self, name_key: &NameKey) -> Option<u128> {
        match self {
            Self::Url(key) => Some(key.short()),
            Self::Tag(tag) => Some(tag.digest(name_key).0),
            Self::Group(group) => Some(group.digest(name_key).0),
            Self::Prefix(_) | Self::All => None,
        }
    }
}

impl PurgeStrength {
    /// Returns the letter for it in Redis.
    pub(in crate::store) const fn letter(self) -> &'static str {
        match self {
            Self::Hard => "h",
            Self::Soft => "s",
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Uri;

    use super::*;

    fn target(uri: &str) -> Target {
        let uri: Uri = uri.parse().unwrap();
        let scheme = if uri.scheme_str() == Some("https") { Scheme::Https } else { Scheme::Http };
        Target::parse(scheme, &uri, std::iter::empty()).unwrap()
    }

    #[test]
    fn prefixes_cover_urls_that_begin_with_them() {
        let prefix = UrlPrefix::parse("http://API.test:80/items/1").unwrap();
        assert_eq!(prefix.to_string(), "http://api.test/items/1");
        assert_eq!(UrlPrefix::parse(&prefix.to_string()), Ok(prefix.clone()));
        for (uri, covered) in [
            ("http://api.test/items/1", true),
            ("http://api.test/items/12?x", true),
            ("http://api.test/items/2", false),
            ("https://api.test/items/1", true),
            ("http://api.test:443/items/1", false),
            ("http://other.test/items/1", false),
        ] {
            assert_eq!(prefix.covers(&target(uri)), covered, "{uri}");
        }
        assert!(UrlPrefix::parse("http://api.test").unwrap().covers(&target("http://api.test/")));
    }

    #[test]
    fn invalid_prefixes_are_refused() {
        let long = format!("http://a/{}", "x".repeat(PREFIX_BYTES_MAX));
        for text in [
            "",
            "/a",
            "ftp://a/",
            "http://",
            "http:///a",
            "http://a/b c",
            "http://a/\n",
            "http://u@a/",
            "http://a/#b",
            &long,
        ] {
            assert!(UrlPrefix::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn tags_are_short_and_visible() {
        let long = "x".repeat(TAG_BYTES_MAX + 1);
        for text in ["", "a b", "a,b", "a\n", "\u{e4}", &long] {
            assert_eq!(CacheTag::parse(text), Err(PurgeNameError::Tag), "{text:?}");
        }
        assert!(CacheTag::of_route("route a id=1").is_ok());
        for text in ["", "a\n", "\u{e4}", &long] {
            assert_eq!(CacheTag::of_route(text), Err(PurgeNameError::Tag), "{text:?}");
        }
        let digests = ["a", "A", "product:12/x"].map(|text| {
            let tag = CacheTag::parse(text).unwrap();
            tag.digest(&NameKey::default())
        });
        assert!(digests[0] != digests[1] && digests[1] != digests[2]);
    }

    #[test]
    fn groups_belong_to_one_origin() {
        let group = |scheme, host: &str, name| {
            CacheGroup::new(scheme, Authority::parse(scheme, host.as_bytes()).unwrap(), name)
                .unwrap()
                .digest(&NameKey::default())
        };
        let one = group(Scheme::Http, "a.test", "g");
        assert_eq!(one, group(Scheme::Http, "A.test:80", "g"));
        for other in [
            group(Scheme::Https, "a.test", "g"),
            group(Scheme::Http, "b.test", "g"),
            group(Scheme::Http, "a.test", "G"),
        ] {
            assert_ne!(one, other);
        }
        let tag = CacheTag::parse("g").unwrap();
        let name_key = NameKey::new(&[7; 32]);
        assert_ne!(one, tag.digest(&NameKey::default()));
        assert_ne!(tag.digest(&name_key), tag.digest(&NameKey::default()));
    }
}
