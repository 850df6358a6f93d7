//! Structured fields (RFC 9651), as far as caching uses them. This is the only file that uses the
//! `sfv` crate.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use sfv::{BareItem, Dictionary, List, ListEntry, Parser};

/// A member of a dictionary, without its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::policy) struct DictionaryMember {
    /// The key: lower-case letters, digits and `_-.*`.
    pub(in crate::policy) key: String,
    pub(in crate::policy) value: MemberValue,
}

/// The value of a dictionary member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::policy) enum MemberValue {
    /// `key` or `key=?1`.
    True,
    /// `key=?0`.
    False,
    /// `key=60`.
    Integer(i64),
    /// `key="text"` or `key=token`.
    Text(String),
    /// Any other value.
    Other,
}

/// Parses all lines of a field as one dictionary. Returns none if the field is absent or malformed.
pub(in crate::policy) fn dictionary(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<DictionaryMember>> {
    let dictionary: Dictionary = Parser::new(&combined(headers, name)?).parse().ok()?;
    let member =
        |(key, entry): (sfv::Key, ListEntry)| DictionaryMember { key: key.into(), value: entry.into() };
    Some(dictionary.into_iter().map(member).collect())
}

/// Parses all lines of a field as one list of strings. Returns none if the field is absent or
/// malformed, or if a member is not a string.
pub(in crate::policy) fn strings(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<String>> {
    let list: List = Parser::new(&combined(headers, name)?).parse().ok()?;
    list.into_iter()
        .map(|entry| match entry {
            ListEntry::Item(item) => item.bare_item.as_string().map(|text| text.as_str().to_owned()),
            ListEntry::InnerList(_) => None,
        })
        .collect()
}

impl From<ListEntry> for MemberValue {
    fn from(entry: ListEntry) -> Self {
        let ListEntry::Item(item) = entry else { return Self::Other };
        match item.bare_item {
            BareItem::Boolean(true) => Self::True,
            BareItem::Boolean(false) => Self::False,
            BareItem::Integer(number) => Self::Integer(number.into()),
            BareItem::String(text) => Self::Text(text.as_str().to_owned()),
            BareItem::Token(text) => Self::Text(text.as_str().to_owned()),
            BareItem::Decimal(_)
            | BareItem::ByteSequence(_)
            | BareItem::Date(_)
            | BareItem::DisplayString(_) => Self::Other,
        }
    }
}

/// Joins the lines of a field, as RFC 9651 §4.2 requires before parsing.
fn combined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    // Few heads have the field, and a pass over the names costs less than a lookup.
    if !headers.keys().any(|known| known == name) {
        return None;
    }
    let lines: Vec<&[u8]> = headers.get_all(name).into_iter().map(HeaderValue::as_bytes).collect();
    (!lines.is_empty()).then(|| lines.join(&b", "[..]))
}
