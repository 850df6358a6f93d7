//! The JSON format of a purge order.
//!
//! ```json
//! {"urls": ["http://api.test/a"], "tags": ["t"],
//!  "group": {"authority": "api.test", "name": "g"}, "soft": true}
//! ```
//!
//! Each of `url`, `tag`, `group` and `prefix` names one item, and with an `s` a list of items;
//! `all` is `true` or absent. The purge covers every named item. An unknown or repeated member is
//! an error, and so is `null`: two parsers can read such a document differently, and one of them
//! would purge something else.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::order::{PurgeName, PurgeOrder};
use crate::key::{Authority, Scheme, Target, UrlError};
use crate::limits::PURGE_NAMES_MAX;
use crate::store::{CacheGroup, CacheTag, PurgeStrength, UrlPrefix};

/// An error in a purge order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurgeOrderError {
    /// A body that is not UTF-8.
    #[error("the body is not UTF-8")]
    NotText,
    /// A body that is not JSON, or is nested too deeply.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// A wrong member of the document.
    #[error("{path}: {reason}")]
    Member {
        /// The path of the member: `urls[1]`.
        path: String,
        /// The reason.
        reason: String,
    },
    /// A URL that no client can request.
    #[error("a URL {0}")]
    Url(#[from] UrlError),
    /// An order without an item.
    #[error("the order names nothing to purge")]
    Nothing,
    /// An order with too many items.
    #[error("the order names more than {PURGE_NAMES_MAX} items")]
    TooMany,
}

/// Reads the body of a `POST /purge`.
pub fn read(text: &str) -> Result<PurgeOrder, PurgeOrderError> {
    let mut json = serde_json::Deserializer::from_str(text);
    let ObjectOnly::<OrderDocument>(document) =
        serde_path_to_error::deserialize(&mut json).map_err(refused)?;
    json.end().map_err(|error| PurgeOrderError::NotJson(error.to_string()))?;
    document.order()
}

/// Returns the error with the path of the member. The position in the text is left out, because
/// the path says more.
fn refused(error: serde_path_to_error::Error<serde_json::Error>) -> PurgeOrderError {
    let path = error.path().to_string();
    let error = error.into_inner();
    let text = error.to_string();
    if !error.is_data() {
        return PurgeOrderError::NotJson(text);
    }
    let position = format!(" at line {} column {}", error.line(), error.column());
    let reason = text.strip_suffix(&position).unwrap_or(&text).to_owned();
    let path = if path == "." { "the body".to_owned() } else { path };
    PurgeOrderError::Member { path, reason }
}

/// The members of an order.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderDocument {
    #[serde(default, deserialize_with = "present")]
    url: Option<UrlItem>,
    #[serde(default)]
    urls: Vec<UrlItem>,
    #[serde(default, deserialize_with = "present")]
    tag: Option<TagItem>,
    #[serde(default)]
    tags: Vec<TagItem>,
    #[serde(default, deserialize_with = "present")]
    group: Option<GroupItem>,
    #[serde(default)]
    groups: Vec<GroupItem>,
    #[serde(default, deserialize_with = "present")]
    prefix: Option<PrefixItem>,
    #[serde(default)]
    prefixes: Vec<PrefixItem>,
    #[serde(default, deserialize_with = "present")]
    all: Option<AllItem>,
    #[serde(default)]
    soft: bool,
}

impl OrderDocument {
    fn order(self) -> Result<PurgeOrder, PurgeOrderError> {
        let Self { url, urls, tag, tags, group, groups, prefix, prefixes, all, soft } = self;
        let urls = url.into_iter().chain(urls).map(|UrlItem(name)| name);
        let tags = tag.into_iter().chain(tags).map(|TagItem(name)| name);
        let groups = group.into_iter().chain(groups).map(|GroupItem(name)| name);
        let prefixes = prefix.into_iter().chain(prefixes).map(|PrefixItem(name)| name);
        let all = all.map(|AllItem| PurgeName::All);
        let named: Vec<_> = urls.chain(tags).chain(groups).chain(prefixes).chain(all).collect();
        match named.len() {
            0 => Err(PurgeOrderError::Nothing),
            1..=PURGE_NAMES_MAX => {
                let strength = if soft { PurgeStrength::Soft } else { PurgeStrength::Hard };
                Ok(PurgeOrder { named, strength })
            }
            _ => Err(PurgeOrderError::TooMany),
        }
    }
}

/// A URL.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct UrlItem(pub(super) PurgeName);

/// A tag.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct TagItem(pub(super) PurgeName);

/// A prefix of URLs.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct PrefixItem(pub(super) PurgeName);

/// A cache group.
#[derive(Deserialize)]
#[serde(try_from = "ObjectOnly<GroupDocument>")]
pub(super) struct GroupItem(pub(super) PurgeName);

/// The value `true`.
#[derive(Deserialize)]
#[serde(try_from = "bool")]
struct AllItem;

/// The members of a cache group.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupDocument {
    authority: String,
    name: String,
}

impl TryFrom<String> for UrlItem {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let target = Target::of_url(&text).map_err(|error| format!("the URL {error}"))?;
        Ok(Self(PurgeName::Url(target)))
    }
}

impl TryFrom<String> for TagItem {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        CacheTag::parse(&text).map(|tag| Self(PurgeName::Tag(tag))).map_err(|error| error.to_string())
    }
}

impl TryFrom<String> for PrefixItem {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let prefix = UrlPrefix::parse(&text).map_err(|error| error.to_string())?;
        Ok(Self(PurgeName::Prefix(prefix)))
    }
}

impl TryFrom<ObjectOnly<GroupDocument>> for GroupItem {
    type Error = String;

    fn try_from(ObjectOnly(group): ObjectOnly<GroupDocument>) -> Result<Self, String> {
        let GroupDocument { authority, name } = group;
        if name.is_empty() {
            return Err("the name of the group is empty".to_owned());
        }
        let authority_by = |scheme| {
            Authority::parse(scheme, authority.as_bytes())
                .map_err(|error| format!("the authority of the group is invalid: {error}"))
        };
        let by =
            |scheme| CacheGroup::new(scheme, authority_by(scheme)?, &name).map_err(|error| error.to_string());
        let scopes = [by(Scheme::Http)?, by(Scheme::Https)?];
        Ok(Self(PurgeName::Group { authority: authority_by(Scheme::Http)?, name: name.into(), scopes }))
    }
}

impl TryFrom<bool> for AllItem {
    type Error = &'static str;

    fn try_from(all: bool) -> Result<Self, &'static str> {
        if all { Ok(Self) } else { Err("must be true or absent") }
    }
}

/// Reads a member that is not `null`.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(member: D) -> Result<Option<T>, D::Error> {
    T::deserialize(member).map(Some)
}

/// A document of named members. serde alone reads a list as well, by the position of its items.
struct ObjectOnly<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ObjectOnly<T> {
    fn deserialize<D: Deserializer<'de>>(document: D) -> Result<Self, D::Error> {
        document.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = ObjectOnly<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<ObjectOnly<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members)).map(ObjectOnly)
    }
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
    fn each_bad_order_has_its_own_error() {
        let long = "x".repeat(TAG_BYTES_MAX + 1);
        let tag = "a tag is one to 256 visible characters without spaces and commas";
        let nested = format!("{}{}", r#"{"tags":["#, "[".repeat(1_000_000));
        for (body, expected) in [
            ("", "the body is not JSON: EOF while parsing a value at line 1 column 0"),
            (r#"{"all":true"#, "the body is not JSON: EOF while parsing an object at line 1 column 11"),
            (r#"{"all":true}]"#, "the body is not JSON: trailing characters at line 1 column 13"),
            (r#"{"tag":"\ud83e"}"#, "the body is not JSON: unexpected end of hex escape at line 1 column 15"),
            ("[]", "the body: invalid type: sequence, expected a JSON object"),
            (r#"["http://a/"]"#, "the body: invalid type: sequence, expected a JSON object"),
            ("null", "the body: invalid type: null, expected a JSON object"),
            (&nested, "tags[0]: invalid type: sequence, expected a string"),
            ("{}", "the order names nothing to purge"),
            (r#"{"soft":true}"#, "the order names nothing to purge"),
            (r#"{"urls":[]}"#, "the order names nothing to purge"),
            (r#"{"all":false}"#, "all: must be true or absent"),
            (r#"{"all":1}"#, "all: invalid type: integer `1`, expected a boolean"),
            (r#"{"all":null}"#, "all: invalid type: null, expected a boolean"),
            (r#"{"all":"true"}"#, "all: invalid type: string \"true\", expected a boolean"),
            (r#"{"all":true,"soft":null}"#, "soft: invalid type: null, expected a boolean"),
            (r#"{"tag":"a","tag":"b"}"#, "the body: duplicate field `tag`"),
            (r#"{"tag":["a"]}"#, "tag: invalid type: sequence, expected a string"),
            (r#"{"tag":null,"all":true}"#, "tag: invalid type: null, expected a string"),
            (r#"{"tags":"a"}"#, "tags: invalid type: string \"a\", expected a sequence"),
            (r#"{"tags":null,"all":true}"#, "tags: invalid type: null, expected a sequence"),
            (r#"{"tags":["a",1]}"#, "tags[1]: invalid type: integer `1`, expected a string"),
            (r#"{"tag":""}"#, &format!("tag: {tag}")),
            (r#"{"tags":["t","a b"]}"#, &format!("tags[1]: {tag}")),
            (&format!(r#"{{"tag":"{long}"}}"#), &format!("tag: {tag}")),
            (r#"{"url":"/a"}"#, "url: the URL does not begin with http:// or https://"),
            (r#"{"url":"http://u:p@a/"}"#, "url: the URL cannot be requested: the host is malformed"),
            (r#"{"urls":["http://a/ b"]}"#, "urls[0]: the URL cannot be parsed as an absolute URL"),
            (r#"{"group":"g"}"#, "group: invalid type: string \"g\", expected a JSON object"),
            (r#"{"group":["a","g"]}"#, "group: invalid type: sequence, expected a JSON object"),
            (r#"{"groups":[{"name":"g"}]}"#, "groups[0]: missing field `authority`"),
            (
                r#"{"group":{"authority":"a/b","name":"g"}}"#,
                "group: the authority of the group is invalid: the host is malformed",
            ),
            (r#"{"group":{"authority":"a","name":""}}"#, "group: the name of the group is empty"),
            (
                r#"{"prefix":"a.test/"}"#,
                "prefix: a prefix is http:// or https://, a host, and the beginning of a path, 512 bytes at most",
            ),
            (r#"{"groups":[{"authority":"a","name":"g","name":"h"}]}"#, "groups[0]: duplicate field `name`"),
            (
                r#"{"group":{"authority":"a","name":"g","x":1}}"#,
                "group.x: unknown field `x`, expected `authority` or `name`",
            ),
            (
                r#"{"Url":"http://a/"}"#,
                "Url: unknown field `Url`, expected one of `url`, `urls`, `tag`, `tags`, `group`, `groups`, \
                 `prefix`, `prefixes`, `all`, `soft`",
            ),
        ] {
            let shown = body.get(..body.len().min(99)).unwrap();
            assert_eq!(read(body).unwrap_err().to_string(), expected, "{shown}");
        }
    }

    #[test]
    fn an_order_names_at_most_the_limit() {
        let order = |count: usize| format!(r#"{{"tags":[{}]}}"#, vec![r#""t""#; count].join(","));
        assert_eq!(read(&order(PURGE_NAMES_MAX)).unwrap().named.len(), PURGE_NAMES_MAX);
        assert_eq!(read(&order(PURGE_NAMES_MAX + 1)), Err(PurgeOrderError::TooMany));
    }
}
