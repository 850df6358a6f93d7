//! What can be purged, and how an operator names it.

use std::fmt;

use http::Uri;
use http::uri::PathAndQuery;

use crate::entry::TagDigest;
use crate::key::{Authority, CacheKey, Scheme, Target, TargetError};
use crate::limits::{GROUP_BYTES_MAX, PREFIX_BYTES_MAX, PREFIXES_MAX, PURGE_SCOPES_MAX, TAG_BYTES_MAX};
use crate::redis::CommandError;

/// What a purge is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurgeScope {
    /// One resource, in all its variants.
    Url(CacheKey),
    /// All responses that carry a tag.
    Tag(CacheTag),
    /// All responses of one origin that are in a group (RFC 9875).
    Group(CacheGroup),
    /// All resources whose address begins so.
    Prefix(UrlPrefix),
    /// Everything.
    All,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurgeStrength {
    /// It is not served again.
    Hard,
    /// It is stale: asked about before it is served, unless stale is allowed.
    Soft,
}

/// What a purge has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeResult {
    /// How many nodes of the fleet had to be told, this process among them: processes, however many
    /// workers each has.
    pub nodes: u32,
    /// Of how many of them all workers have said that they serve none of it any more.
    pub confirmed: u32,
}

/// Why a purge has not been done, or not all of it. To repeat it does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurgeError {
    /// Redis did not do its part. This process serves nothing of it any more.
    #[error("{0}; this node serves nothing of it, Redis and other nodes may: repeat the purge")]
    Redis(#[from] CommandError),
    /// More than one purge may be of.
    #[error("a purge may be of {PURGE_SCOPES_MAX} things at most")]
    TooMany,
    /// Nothing has been purged by this prefix.
    #[error("{0}")]
    Prefixes(#[from] PrefixesFullError),
    /// What stands in Redis where purges are counted is none of ours.
    #[error("what stands in Redis where purges are counted was not written by CacheWarp")]
    Foreign,
}

/// There are as many purges by prefix as are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there have been {PREFIXES_MAX} purges by prefix whose entries may still live")]
pub struct PrefixesFullError;

/// Why a name cannot be purged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurgeNameError {
    /// Empty, or with something else than visible characters.
    #[error("a tag is one to {TAG_BYTES_MAX} visible characters without spaces and commas")]
    Tag,
    /// Too long.
    #[error("a group's name is {GROUP_BYTES_MAX} bytes at most")]
    Group,
    /// Not `scheme://authority/path`.
    #[error(
        "a prefix is http:// or https://, a host, and the beginning of a path, {PREFIX_BYTES_MAX} bytes at most"
    )]
    Prefix,
    /// No address.
    #[error("{0}")]
    Target(#[from] TargetError),
}

/// A tag, as a response names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheTag(Box<str>);

impl CacheTag {
    /// Visible ASCII without commas, [`TAG_BYTES_MAX`] bytes at most. Case counts.
    pub fn parse(text: &str) -> Result<Self, PurgeNameError> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        if text.is_empty() || text.len() > TAG_BYTES_MAX || !visible {
            return Err(PurgeNameError::Tag);
        }
        Ok(Self(text.into()))
    }

    /// What entries carry.
    pub fn digest(&self) -> TagDigest {
        digest(b"cw-tag-1", &[self.0.as_bytes()])
    }

    /// As it was named.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A cache group of one origin (RFC 9875 §2): one that other hosts cannot purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheGroup {
    scheme: Scheme,
    authority: Authority,
    name: Box<str>,
}

impl CacheGroup {
    /// [`GROUP_BYTES_MAX`] bytes at most. Case counts.
    pub fn new(scheme: Scheme, authority: Authority, name: &str) -> Result<Self, PurgeNameError> {
        if name.len() > GROUP_BYTES_MAX {
            return Err(PurgeNameError::Group);
        }
        Ok(Self { scheme, authority, name: name.into() })
    }

    /// What entries carry.
    pub fn digest(&self) -> TagDigest {
        let Self { scheme, authority, name } = self;
        let fields = [scheme.as_str().as_bytes(), authority.as_str().as_bytes(), name.as_bytes()];
        digest(b"cw-grp-1", &fields)
    }
}

/// Fields behind their lengths, hashed; half of it.
fn digest(domain: &[u8], fields: &[&[u8]]) -> TagDigest {
    let mut message = domain.to_vec();
    for field in fields {
        message.extend((field.len() as u64).to_be_bytes());
        message.extend_from_slice(field);
    }
    TagDigest(blake3::hash(&message).as_bytes().first_chunk().map_or(0, |half| u128::from_be_bytes(*half)))
}

/// How the addresses of resources begin, by either scheme: by which one a client came is known only
/// where a trusted proxy says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlPrefix {
    /// By which it was named.
    scheme: Scheme,
    authority: Authority,
    /// The same by the other scheme, which has another default port.
    by_other_scheme: Authority,
    path: Box<str>,
}

impl UrlPrefix {
    /// `scheme://authority/path`: the path may end anywhere, in its query too.
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

    /// Whether a resource is among them.
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
    /// The resource at an absolute address: `scheme://authority/path?query`.
    pub fn url(text: &str) -> Result<Self, PurgeNameError> {
        let uri: Uri = text.parse().map_err(|_| TargetError::Authority)?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            Some(_) | None => return Err(TargetError::Authority.into()),
        };
        Ok(Self::Url(CacheKey::of(&Target::parse(scheme, &uri, std::iter::empty())?)))
    }
}

impl PurgeStrength {
    /// As it is written in Redis.
    pub(in crate::store) const fn letter(self) -> &'static str {
        match self {
            Self::Hard => "h",
            Self::Soft => "s",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str) -> Target {
        let uri: Uri = uri.parse().unwrap();
        let scheme = if uri.scheme_str() == Some("https") { Scheme::Https } else { Scheme::Http };
        Target::parse(scheme, &uri, std::iter::empty()).unwrap()
    }

    #[test]
    fn prefixes_cover_what_begins_so() {
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
    fn what_is_no_prefix() {
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
        let digests = ["a", "A", "product:12/x"].map(|text| CacheTag::parse(text).unwrap().digest());
        assert!(digests[0] != digests[1] && digests[1] != digests[2]);
    }

    #[test]
    fn groups_are_of_one_origin() {
        let group = |scheme, host: &str, name| {
            CacheGroup::new(scheme, Authority::parse(scheme, host.as_bytes()).unwrap(), name)
                .unwrap()
                .digest()
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
        assert_ne!(one, CacheTag::parse("g").unwrap().digest());
    }

    #[test]
    fn a_url_is_the_key_of_its_resource() {
        let uri = "http://api.test/a?b=c";
        assert_eq!(PurgeScope::url(uri), Ok(PurgeScope::Url(CacheKey::of(&target(uri)))));
        for text in ["/a", "api.test/a", "ftp://a/", "http://a b/", ""] {
            assert!(PurgeScope::url(text).is_err(), "{text:?}");
        }
    }
}
