//! A purge order as the fields of a message in a stream.
//!
//! ```text
//! XADD cachewarp:purges * tag account:17 url https://api.test/v1/accounts/17 soft true
//! ```
//!
//! Each of `url`, `tag`, `group` and `prefix` names one item, and may occur several times; the
//! value of `group` is the JSON of that member in [`read`](super::read). `all` is `true`, and
//! `soft` is `true` or `false`; both occur at most once. Any other field is an error: a message
//! that a writer meant in another way must not count as done.

use bytes::Bytes;

use super::document::{GroupItem, PrefixItem, PurgeOrderError, TagItem, UrlItem};
use super::order::{PurgeName, PurgeOrder};
use crate::limits::PURGE_NAMES_MAX;
use crate::store::PurgeStrength;

/// Reads the fields of a message. The error names a field by its number, and repeats neither a name
/// nor a value: it is for the log, and they may be secrets.
pub fn read_message(fields: &[(Bytes, Bytes)]) -> Result<PurgeOrder, PurgeOrderError> {
    let mut named = Vec::new();
    let (mut strength, mut everything) = (None, None);
    for (index, (name, value)) in fields.iter().enumerate() {
        let wrong = |reason: &str| PurgeOrderError::Member {
            path: format!("field {}", index + 1),
            reason: reason.to_owned(),
        };
        let text = std::str::from_utf8(value).map_err(|_| wrong("is not UTF-8"))?;
        let item = match name.as_ref() {
            b"url" => UrlItem::try_from(text.to_owned()).map(|UrlItem(name)| name),
            b"tag" => TagItem::try_from(text.to_owned()).map(|TagItem(name)| name),
            b"prefix" => PrefixItem::try_from(text.to_owned()).map(|PrefixItem(name)| name),
            b"group" => serde_json::from_str(text)
                .map(|GroupItem(name)| name)
                .map_err(|_| r#"is not {"authority": "...", "name": "..."}"#.to_owned()),
            b"all" => match (text, everything.replace(())) {
                ("true", None) => Ok(PurgeName::All),
                (_, None) => Err("must be true or absent".to_owned()),
                (_, Some(())) => Err("occurs twice".to_owned()),
            },
            b"soft" => {
                let read = match text {
                    "true" => PurgeStrength::Soft,
                    "false" => PurgeStrength::Hard,
                    _ => return Err(wrong("must be true or false")),
                };
                if strength.replace(read).is_some() {
                    return Err(wrong("occurs twice"));
                }
                continue;
            }
            _ => return Err(wrong("is none of url, tag, group, prefix, all, soft")),
        };
        named.push(item.map_err(|reason| wrong(&reason))?);
        if named.len() > PURGE_NAMES_MAX {
            return Err(PurgeOrderError::TooMany);
        }
    }
    if named.is_empty() {
        return Err(PurgeOrderError::Nothing);
    }
    Ok(PurgeOrder { named, strength: strength.unwrap_or(PurgeStrength::Hard) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purge::read;
    use crate::store::PurgeNameError;

    fn order(fields: &[(&str, &str)]) -> Result<PurgeOrder, String> {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let fields: Vec<_> = fields.iter().map(|(name, value)| (bytes(name), bytes(value))).collect();
        read_message(&fields).map_err(|error| error.to_string())
    }

    #[test]
    fn a_message_orders_as_the_document_with_its_items() {
        let group = r#"{"authority":"a.test","name":"g"}"#;
        for (fields, document) in [
            (&[("tag", "account:17")][..], r#"{"tag":"account:17"}"#),
            (&[("all", "true")], r#"{"all":true}"#),
            (
                &[("soft", "true"), ("prefix", "http://a.test/v1/")],
                r#"{"prefix":"http://a.test/v1/","soft":true}"#,
            ),
            (
                &[("url", "http://a.test/b"), ("url", "http://a.test/c"), ("tag", "t"), ("soft", "false")],
                r#"{"urls":["http://a.test/b","http://a.test/c"],"tag":"t"}"#,
            ),
            (&[("group", group)], r#"{"group":{"authority":"a.test","name":"g"}}"#),
        ] {
            assert_eq!(order(fields), Ok(read(document).unwrap()), "{document}");
        }
    }

    #[test]
    fn each_malformed_message_has_its_reason() {
        let prefix = format!("field 1: {}", PurgeNameError::Prefix);
        let many = vec![("tag", "t"); PURGE_NAMES_MAX + 1];
        assert!(order(&many[1..]).is_ok());
        for (fields, expected) in [
            (&[][..], "the order names nothing to purge"),
            (&[("soft", "true")], "the order names nothing to purge"),
            (&many, "the order names more than 500 items"),
            (&[("tag", "t"), ("Tag", "secret")], "field 2: is none of url, tag, group, prefix, all, soft"),
            (&[("tags", "t")], "field 1: is none of url, tag, group, prefix, all, soft"),
            (
                &[("tag", "secret secret")],
                "field 1: a tag is one to 256 visible characters without spaces and commas",
            ),
            (&[("url", "/secret")], "field 1: the URL does not begin with http:// or https://"),
            (&[("prefix", "secret")], &prefix),
            (&[("all", "false")], "field 1: must be true or absent"),
            (&[("all", "1")], "field 1: must be true or absent"),
            (&[("all", "true"), ("all", "true")], "field 2: occurs twice"),
            (&[("tag", "t"), ("soft", "1")], "field 2: must be true or false"),
            (&[("soft", "true"), ("soft", "true"), ("tag", "t")], "field 2: occurs twice"),
            (&[("group", r#"{"name":"secret"}"#)], r#"field 1: is not {"authority": "...", "name": "..."}"#),
            (
                &[("group", r#"["a.test","secret"]"#)],
                r#"field 1: is not {"authority": "...", "name": "..."}"#,
            ),
        ] {
            let error = order(fields).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
            assert_eq!(error, expected);
        }
        let wide = [(Bytes::from_static(b"tag"), Bytes::from_static(b"\xff"))];
        assert_eq!(read_message(&wide).unwrap_err().to_string(), "field 1: is not UTF-8");
    }
}
