//! What to purge, as JSON says it.
//!
//! ```json
//! {"urls": ["http://api.test/a"], "tags": ["t"], "group": {"authority": "api.test", "name": "g"}, "soft": true}
//! ```
//!
//! Each of `url`, `tag`, `group` and `prefix` names one thing, and with an `s` a list of them;
//! `all` is `true` or is not there. All that is named is purged.

use crate::json::{self, JsonObject, JsonValue};
use crate::key::{Authority, CacheKey, Scheme, Target, TargetError, UrlError};
use crate::limits::{AUTHORITY_BYTES_MAX, OPERATOR_SHOWN_BYTES_MAX, PURGE_NAMES_MAX};
use crate::store::{CacheGroup, CacheTag, PurgeNameError, PurgeScope, PurgeStrength, UrlPrefix};

/// What to purge, and how. Names at least one thing and at most [`PURGE_NAMES_MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeOrder {
    /// In the order of naming.
    pub named: Vec<PurgeName>,
    /// How.
    pub strength: PurgeStrength,
}

/// One thing to purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurgeName {
    /// A resource.
    Url(Target),
    /// What has a tag.
    Tag(CacheTag),
    /// What is of a group: of one origin, by either scheme.
    Group {
        /// Whose group.
        authority: Authority,
        /// What it is called.
        name: Box<str>,
        /// The same for the store.
        scopes: [CacheGroup; 2],
    },
    /// What begins so, by either scheme.
    Prefix(UrlPrefix),
    /// Everything.
    All,
}

/// What is wrong with an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurgeOrderError {
    /// Not JSON.
    #[error("the body is not JSON, or is nested too deeply")]
    Malformed,
    /// Some other value.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// Nothing that we know.
    #[error(
        "there is no member {0:?}: an order has url, urls, tag, tags, group, groups, prefix, prefixes, all, soft, and \
         a group has authority, name"
    )]
    Unknown(String),
    /// The same again.
    #[error("the member {0:?} is there twice")]
    Twice(String),
    /// A value of another kind.
    #[error("the member {member:?} must be {want}")]
    Kind {
        /// Whose.
        member: &'static str,
        /// What it must be.
        want: &'static str,
    },
    /// A URL that nothing can be stored under.
    #[error("a URL {0}")]
    Url(#[from] UrlError),
    /// No host and port.
    #[error("the authority of a group cannot be one: {0}")]
    Authority(#[from] TargetError),
    /// A name that nothing can be purged by.
    #[error("{0}")]
    Scope(#[from] PurgeNameError),
    /// Nothing.
    #[error("the name of a group is empty")]
    GroupName,
    /// Nothing.
    #[error("nothing is named that is to be purged")]
    Nothing,
    /// Too much.
    #[error("more than {PURGE_NAMES_MAX} things are named")]
    TooMany,
}

/// Reads the body of a `POST /purge`.
pub fn read(text: &str) -> Result<PurgeOrder, PurgeOrderError> {
    let JsonValue::Object(members) = json::read(text).map_err(|_| PurgeOrderError::Malformed)? else {
        return Err(PurgeOrderError::NotAnObject);
    };
    once_each(&members)?;
    let mut order = PurgeOrder { named: Vec::new(), strength: PurgeStrength::Hard };
    for (member, value) in &members {
        order.add(member, value)?;
    }
    if order.named.is_empty() { Err(PurgeOrderError::Nothing) } else { Ok(order) }
}

impl PurgeOrder {
    /// The URLs that it names.
    pub fn urls(&self) -> impl Iterator<Item = &Target> {
        self.named.iter().filter_map(|named| match named {
            PurgeName::Url(target) => Some(target),
            PurgeName::Tag(_) | PurgeName::Group { .. } | PurgeName::Prefix(_) | PurgeName::All => None,
        })
    }

    /// What the store is to purge.
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
            "all" => Err(PurgeOrderError::Kind { member: "all", want: "true, or not be there" }),
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
    /// A URL is purged by both schemes: by which one a client came is only known where a trusted
    /// proxy tells, so a purge of what clients see as `https://` would otherwise do nothing behind
    /// a proxy that does not, and say that it was done.
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

    /// Repeats it in an answer.
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

/// A name that comes twice is read in two ways by two parsers, and one of them purges something
/// else.
fn once_each(members: &[(String, JsonValue)]) -> Result<(), PurgeOrderError> {
    for (at, (member, _)) in members.iter().enumerate() {
        if members.iter().take(at).any(|(earlier, _)| earlier == member) {
            return Err(PurgeOrderError::Twice(member.clone()));
        }
    }
    Ok(())
}

fn text<'a>(member: &'static str, value: &'a JsonValue) -> Result<&'a str, PurgeOrderError> {
    value.as_text().ok_or(PurgeOrderError::Kind { member, want: "a text" })
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
    once_each(members)?;
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
    fn everything_that_can_be_named() {
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
        // Of which one is of both.
        let scopes = read(r#"{"prefix":"https://A.test:443/b?c"}"#).unwrap().scopes();
        assert_eq!(scopes, [PurgeScope::Prefix(UrlPrefix::parse("https://a.test/b?c").unwrap())]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let long = "x".repeat(TAG_BYTES_MAX + 1);
        for (body, told) in [
            ("", "the body is not JSON, or is nested too deeply"),
            (r#"{"all":true"#, "the body is not JSON, or is nested too deeply"),
            ("[]", "the body is not a JSON object"),
            ("{}", "nothing is named that is to be purged"),
            (r#"{"soft":true}"#, "nothing is named that is to be purged"),
            (r#"{"urls":[]}"#, "nothing is named that is to be purged"),
            (r#"{"all":false}"#, "the member \"all\" must be true, or not be there"),
            (r#"{"all":1}"#, "the member \"all\" must be true or false"),
            (r#"{"all":"true"}"#, "the member \"all\" must be true or false"),
            (r#"{"all":true,"soft":null}"#, "the member \"soft\" must be true or false"),
            (r#"{"tag":"a","tag":"b"}"#, "the member \"tag\" is there twice"),
            (r#"{"tag":["a"]}"#, "the member \"tag\" must be a text"),
            (r#"{"tags":"a"}"#, "the member \"tags\" must be a list"),
            (r#"{"tags":["a",1]}"#, "the member \"tags\" must be a text"),
            (r#"{"tag":""}"#, "a tag is one to 256 visible characters without spaces and commas"),
            (r#"{"tag":"a b"}"#, "a tag is one to 256 visible characters without spaces and commas"),
            (
                &format!(r#"{{"tag":"{long}"}}"#),
                "a tag is one to 256 visible characters without spaces and commas",
            ),
            (r#"{"url":"/a"}"#, "a URL does not begin with http:// or https://"),
            (r#"{"url":"http://u:p@a/"}"#, "a URL cannot be asked for: the host is malformed"),
            (r#"{"urls":["http://a/ b"]}"#, "a URL cannot be read as an absolute URL"),
            (r#"{"group":"g"}"#, "the member \"group\" must be an object with authority and name"),
            (r#"{"group":{"name":"g"}}"#, "the member \"group\" must be an object with authority and name"),
            (
                r#"{"group":{"authority":"a/b","name":"g"}}"#,
                "the authority of a group cannot be one: the host is malformed",
            ),
            (r#"{"group":{"authority":"a","name":""}}"#, "the name of a group is empty"),
            (
                r#"{"prefix":"a.test/"}"#,
                "a prefix is http:// or https://, a host, and the beginning of a path, 512 bytes at most",
            ),
            (r#"{"groups":[{"authority":"a","name":"g","name":"h"}]}"#, "the member \"name\" is there twice"),
        ] {
            assert_eq!(read(body).unwrap_err().to_string(), told, "{body}");
        }
        for unknown in [r#"{"Url":"http://a/"}"#, r#"{"group":{"authority":"a","name":"g","x":1}}"#] {
            assert!(matches!(read(unknown), Err(PurgeOrderError::Unknown(_))), "{unknown}");
        }
    }

    #[test]
    fn one_order_names_so_much_and_no_more() {
        let order = |count: usize| format!(r#"{{"tags":[{}]}}"#, vec![r#""t""#; count].join(","));
        assert_eq!(read(&order(PURGE_NAMES_MAX)).unwrap().named.len(), PURGE_NAMES_MAX);
        assert_eq!(read(&order(PURGE_NAMES_MAX + 1)), Err(PurgeOrderError::TooMany));
    }
}
