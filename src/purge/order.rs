//! The JSON format of a purge order.
//!
//! ```json
//! {"urls": ["http://api.test/a"], "tags": ["t"],
//!  "group": {"authority": "api.test", "name": "g"}, "soft": true}
//! ```
//!
//! Each of `url`, `tag`, `group` and `prefix` names one item, and with an `s` a list of items;
//! `all` is `true` or absent. The purge covers every named item.

use crate::json::{self, JsonObject, JsonValue};
use crate::key::{Authority, CacheKey, Scheme, Target, TargetError, UrlError};
use crate::limits::{AUTHORITY_BYTES_MAX, OPERATOR_SHOWN_BYTES_MAX, PURGE_NAMES_MAX};
use crate::store::{CacheGroup, CacheTag, PurgeNameError, PurgeScope, PurgeStrength, UrlPrefix};

/// A purge order: items and strength. It names at least one item and at most [`PURGE_NAMES_MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeOrder {
    /// The items, in the order of the document.
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

/// An error in a purge order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurgeOrderError {
    /// A body that is not JSON.
    #[error("the body is not JSON, or is nested too deeply")]
    Malformed,
    /// A JSON value that is not an object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// An unknown member.
    #[error(
        "unknown member {0:?}: an order has url, urls, tag, tags, group, groups, prefix, prefixes, all, soft, and \
         a group has authority, name"
    )]
    Unknown(String),
    /// A member that occurs twice.
    #[error("the member {0:?} occurs twice")]
    Twice(String),
    /// A value of the wrong kind.
    #[error("the member {member:?} must be {want}")]
    Kind {
        /// The name of the member.
        member: &'static str,
        /// The expected kind.
        want: &'static str,
    },
    /// A URL that nothing can be stored under.
    #[error("a URL {0}")]
    Url(#[from] UrlError),
    /// An authority that is not `host[:port]`.
    #[error("the authority of a group is invalid: {0}")]
    Authority(#[from] TargetError),
    /// A tag, group or prefix that no entry can have.
    #[error("{0}")]
    Scope(#[from] PurgeNameError),
    /// An empty group name.
    #[error("the name of a group is empty")]
    GroupName,
    /// An order without an item.
    #[error("the order names nothing to purge")]
    Nothing,
    /// An order with too many items.
    #[error("the order names more than {PURGE_NAMES_MAX} items")]
    TooMany,
}

/// Reads the body of a `POST /purge`.
pub fn read(text: &str) -> Result<PurgeOrder, PurgeOrderError> {
    let JsonValue::Object(members) = json::read(text).map_err(|_| PurgeOrderError::Malformed)? else {
        return Err(PurgeOrderError::NotAnObject);
    };
    check_unique(&members)?;
    let mut order = PurgeOrder { named: Vec::new(), strength: PurgeStrength::Hard };
    for (member, value) in &members {
        order.add(member, value)?;
    }
    if order.named.is_empty() { Err(PurgeOrderError::Nothing) } else { Ok(order) }
}

impl PurgeOrder {
    /// Returns the URLs that the order names.
    pub fn urls(&self) -> impl Iterator<Item = &Target> {
        self.named.iter().filter_map(|named| match named {
            PurgeName::Url(target) => Some(target),
            PurgeName::Tag(_) | PurgeName::Group { .. } | PurgeName::Prefix(_) | PurgeName::All => None,
        })
    }

    /// Returns the scopes that the store purges.
    pub fn scopes(&self) -> Vec<PurgeScope> {
        self.named.iter().flat_map(PurgeName::scopes).collect()
    }

    fn add(&mut self, member: &str, value: &JsonValue) -> Result<(), PurgeOrderError> {
        match member {
            "url" => self.name(url("url", value).map(PurgeName::Url)?),
            "urls" => self.name_all("urls", value, |item| url("urls", item).map(PurgeName::Url)),
            "tag" => self.name(tag("tag", value)?),
            "tags" => self.name_all("tags", value, |item| tag("tags", item)),
            "group" => self.name(group("group", value)?),
            "groups" => self.name_all("groups", value, |item| group("groups", item)),
            "prefix" => self.name(prefix("prefix", value)?),
            "prefixes" => self.name_all("prefixes", value, |item| prefix("prefixes", item)),
            "all" if flag("all", value)? => self.name(PurgeName::All),
            "all" => Err(PurgeOrderError::Kind { member: "all", want: "true or absent" }),
            "soft" => {
                self.strength = if flag("soft", value)? { PurgeStrength::Soft } else { PurgeStrength::Hard };
                Ok(())
            }
            unknown => Err(PurgeOrderError::Unknown(unknown.to_owned())),
        }
    }

    fn name(&mut self, named: PurgeName) -> Result<(), PurgeOrderError> {
        if self.named.len() >= PURGE_NAMES_MAX {
            return Err(PurgeOrderError::TooMany);
        }
        self.named.push(named);
        Ok(())
    }

    fn name_all(
        &mut self,
        member: &'static str,
        value: &JsonValue,
        one: impl Fn(&JsonValue) -> Result<PurgeName, PurgeOrderError>,
    ) -> Result<(), PurgeOrderError> {
        let JsonValue::List(items) = value else {
            return Err(PurgeOrderError::Kind { member, want: "a list" });
        };
        items.iter().try_for_each(|item| self.name(one(item)?))
    }
}

impl PurgeName {
    /// Returns the scopes of the item. A URL is purged under both schemes. Only a trusted proxy can
    /// state the client's scheme, so behind a proxy that does not, the entries of `https://` URLs
    /// are stored under `http://`: a purge of the named scheme alone would report success and
    /// remove nothing.
    fn scopes(&self) -> Vec<PurgeScope> {
        match self {
            Self::Url(target) => {
                by_both_schemes(target).map(|target| PurgeScope::Url(CacheKey::of(&target))).collect()
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

/// Refuses repeated members: two parsers can read them differently, and one of them would purge
/// something else.
fn check_unique(members: &[(String, JsonValue)]) -> Result<(), PurgeOrderError> {
    for (at, (member, _)) in members.iter().enumerate() {
        if members.iter().take(at).any(|(earlier, _)| earlier == member) {
            return Err(PurgeOrderError::Twice(member.clone()));
        }
    }
    Ok(())
}

fn text<'a>(member: &'static str, value: &'a JsonValue) -> Result<&'a str, PurgeOrderError> {
    value.as_text().ok_or(PurgeOrderError::Kind { member, want: "a string" })
}

fn flag(member: &'static str, value: &JsonValue) -> Result<bool, PurgeOrderError> {
    match value {
        JsonValue::Plain(word) if word == "true" => Ok(true),
        JsonValue::Plain(word) if word == "false" => Ok(false),
        JsonValue::Plain(_) | JsonValue::Text(_) | JsonValue::List(_) | JsonValue::Object(_) => {
            Err(PurgeOrderError::Kind { member, want: "true or false" })
        }
    }
}

fn url(member: &'static str, value: &JsonValue) -> Result<Target, PurgeOrderError> {
    Ok(Target::of_url(text(member, value)?)?)
}

fn tag(member: &'static str, value: &JsonValue) -> Result<PurgeName, PurgeOrderError> {
    Ok(PurgeName::Tag(CacheTag::parse(text(member, value)?)?))
}

fn prefix(member: &'static str, value: &JsonValue) -> Result<PurgeName, PurgeOrderError> {
    Ok(PurgeName::Prefix(UrlPrefix::parse(text(member, value)?)?))
}

fn group(member: &'static str, value: &JsonValue) -> Result<PurgeName, PurgeOrderError> {
    let JsonValue::Object(members) = value else {
        return Err(PurgeOrderError::Kind { member, want: "an object with authority and name" });
    };
    check_unique(members)?;
    let (mut authority, mut name) = (None, None);
    for (member, value) in members {
        match member.as_str() {
            "authority" => authority = Some(text("authority", value)?.as_bytes()),
            "name" => name = Some(text("name", value)?),
            unknown => return Err(PurgeOrderError::Unknown(unknown.to_owned())),
        }
    }
    let (Some(authority), Some(name)) = (authority, name) else {
        return Err(PurgeOrderError::Kind { member, want: "an object with authority and name" });
    };
    if name.is_empty() {
        return Err(PurgeOrderError::GroupName);
    }
    let by = |scheme| -> Result<CacheGroup, PurgeOrderError> {
        Ok(CacheGroup::new(scheme, Authority::parse(scheme, authority)?, name)?)
    };
    let scopes = [by(Scheme::Http)?, by(Scheme::Https)?];
    Ok(PurgeName::Group { authority: Authority::parse(Scheme::Http, authority)?, name: name.into(), scopes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::TAG_BYTES_MAX;

    fn target(url: &str) -> Target {
        Target::of_url(url).unwrap()
    }

    #[test]
    fn an_order_names_items_of_every_kind() {
        let order = read(
            r#" {"url": "http://A.test:80/a?b", "urls": ["https://a.test/c"], "tag": "t", "tags": ["u", "v"],
                 "group": {"name": "g, h", "authority": "A.test:8000"}, "groups": [],
                 "prefix": "http://a.test/v1/", "prefixes": [], "all": true, "soft": true} "#,
        )
        .unwrap();
        let authority = Authority::parse(Scheme::Http, b"a.test:8000").unwrap();
        let scopes = [Scheme::Http, Scheme::Https]
            .map(|scheme| CacheGroup::new(scheme, authority.clone(), "g, h").unwrap());
        let prefix = UrlPrefix::parse("http://a.test/v1/").unwrap();
        assert_eq!(
            order.named,
            [
                PurgeName::Url(target("http://a.test/a?b")),
                PurgeName::Url(target("https://a.test/c")),
                PurgeName::Tag(CacheTag::parse("t").unwrap()),
                PurgeName::Tag(CacheTag::parse("u").unwrap()),
                PurgeName::Tag(CacheTag::parse("v").unwrap()),
                PurgeName::Group { authority, name: "g, h".into(), scopes },
                PurgeName::Prefix(prefix),
                PurgeName::All,
            ]
        );
        assert_eq!(order.strength, PurgeStrength::Soft);
        assert_eq!(read(r#"{"tag":"t","soft":false}"#).unwrap().strength, PurgeStrength::Hard);
    }

    #[test]
    fn a_url_is_purged_by_both_schemes() {
        let key = |url| PurgeScope::Url(CacheKey::of(&target(url)));
        for url in ["http://a.test/b", "https://a.test:443/b"] {
            let scopes = read(&format!(r#"{{"url":"{url}"}}"#)).unwrap().scopes();
            assert_eq!(scopes.len(), 2);
            assert!(scopes.contains(&key("http://a.test/b")) && scopes.contains(&key("https://a.test/b")));
        }
        let all = read(r#"{"all":true}"#).unwrap().scopes();
        assert_eq!(all, [PurgeScope::All]);
        // A prefix covers both schemes.
        let scopes = read(r#"{"prefix":"https://A.test:443/b?c"}"#).unwrap().scopes();
        assert_eq!(scopes, [PurgeScope::Prefix(UrlPrefix::parse("https://a.test/b?c").unwrap())]);
    }

    #[test]
    fn each_bad_order_has_its_own_error() {
        let long = "x".repeat(TAG_BYTES_MAX + 1);
        for (body, expected) in [
            ("", "the body is not JSON, or is nested too deeply"),
            (r#"{"all":true"#, "the body is not JSON, or is nested too deeply"),
            ("[]", "the body is not a JSON object"),
            ("{}", "the order names nothing to purge"),
            (r#"{"soft":true}"#, "the order names nothing to purge"),
            (r#"{"urls":[]}"#, "the order names nothing to purge"),
            (r#"{"all":false}"#, "the member \"all\" must be true or absent"),
            (r#"{"all":1}"#, "the member \"all\" must be true or false"),
            (r#"{"all":"true"}"#, "the member \"all\" must be true or false"),
            (r#"{"all":true,"soft":null}"#, "the member \"soft\" must be true or false"),
            (r#"{"tag":"a","tag":"b"}"#, "the member \"tag\" occurs twice"),
            (r#"{"tag":["a"]}"#, "the member \"tag\" must be a string"),
            (r#"{"tags":"a"}"#, "the member \"tags\" must be a list"),
            (r#"{"tags":["a",1]}"#, "the member \"tags\" must be a string"),
            (r#"{"tag":""}"#, "a tag is one to 256 visible characters without spaces and commas"),
            (r#"{"tag":"a b"}"#, "a tag is one to 256 visible characters without spaces and commas"),
            (
                &format!(r#"{{"tag":"{long}"}}"#),
                "a tag is one to 256 visible characters without spaces and commas",
            ),
            (r#"{"url":"/a"}"#, "a URL does not begin with http:// or https://"),
            (r#"{"url":"http://u:p@a/"}"#, "a URL cannot be requested: the host is malformed"),
            (r#"{"urls":["http://a/ b"]}"#, "a URL cannot be parsed as an absolute URL"),
            (r#"{"group":"g"}"#, "the member \"group\" must be an object with authority and name"),
            (r#"{"group":{"name":"g"}}"#, "the member \"group\" must be an object with authority and name"),
            (
                r#"{"group":{"authority":"a/b","name":"g"}}"#,
                "the authority of a group is invalid: the host is malformed",
            ),
            (r#"{"group":{"authority":"a","name":""}}"#, "the name of a group is empty"),
            (
                r#"{"prefix":"a.test/"}"#,
                "a prefix is http:// or https://, a host, and the beginning of a path, 512 bytes at most",
            ),
            (r#"{"groups":[{"authority":"a","name":"g","name":"h"}]}"#, "the member \"name\" occurs twice"),
        ] {
            assert_eq!(read(body).unwrap_err().to_string(), expected, "{body}");
        }
        for unknown in [r#"{"Url":"http://a/"}"#, r#"{"group":{"authority":"a","name":"g","x":1}}"#] {
            assert!(matches!(read(unknown), Err(PurgeOrderError::Unknown(_))), "{unknown}");
        }
    }

    #[test]
    fn an_order_names_at_most_the_limit() {
        let order = |count: usize| format!(r#"{{"tags":[{}]}}"#, vec![r#""t""#; count].join(","));
        assert_eq!(read(&order(PURGE_NAMES_MAX)).unwrap().named.len(), PURGE_NAMES_MAX);
        assert_eq!(read(&order(PURGE_NAMES_MAX + 1)), Err(PurgeOrderError::TooMany));
    }
}
