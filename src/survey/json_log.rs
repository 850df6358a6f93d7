//! A parser of one JSON line of an access log as a request head.
//!
//! Logs use different names, so the parser accepts header names in a member called `headers`,
//! `request_headers`, `header_names` or similar, on the line itself or in its `request`, `req` or
//! `http`. The member is an object, whose member names are the header names, a list of names, or a
//! list of `[name, value]` or `{"name": …}`.

use http::Method;

use crate::json::{self, JsonValue};

use crate::survey::error::LineError;
use crate::survey::recorded_head::RecordedHead;

/// Members that hold header names, in lower case without `_` and `-`.
const HEADERS: &[&str] = &["headers", "requestheaders", "reqheaders", "headernames", "requestheadernames"];
/// Members that hold the method.
const METHOD: &[&str] = &["method", "requestmethod", "reqmethod", "verb", "httpmethod"];
/// Members that are a request, or contain one.
const REQUEST: &[&str] = &["request", "req", "http", "httprequest"];

/// Parses a line; `None` if it has no header names.
pub(super) fn head(line: &[u8]) -> Result<Option<RecordedHead>, LineError> {
    let text = std::str::from_utf8(line).map_err(|_| LineError::NotJson)?;
    let record = json::read(text).map_err(|_| LineError::NotJson)?;
    let JsonValue::Object(_) = record else { return Err(LineError::NotJson) };
    let mut head = RecordedHead::default();
    let found = find(&record, &mut head)?;
    Ok(found.then_some(head))
}

/// Fills a head from an object. Returns whether the object has header names. The method comes from
/// the object nearest to them.
fn find(record: &JsonValue, head: &mut RecordedHead) -> Result<bool, LineError> {
    if let Some(method) = member(record, METHOD).and_then(JsonValue::as_text) {
        head.method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
    }
    if let Some(headers) = member(record, HEADERS) {
        return add_names(headers, head);
    }
    for (_, inner) in record.members().iter().filter(|(name, _)| is_one_of(name, REQUEST)) {
        if find(inner, head)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds the names that a member holds. Returns whether the member can hold any.
fn add_names(headers: &JsonValue, head: &mut RecordedHead) -> Result<bool, LineError> {
    match headers {
        JsonValue::Object(members) => {
            for (name, value) in members {
                add(name, Some(value), head)?;
            }
        }
        JsonValue::List(items) => {
            for item in items {
                let (name, value) = match item {
                    JsonValue::Text(name) => (Some(name.as_str()), None),
                    JsonValue::List(pair) => (pair.first().and_then(JsonValue::as_text), pair.get(1)),
                    JsonValue::Object(_) => {
                        (item.member("name").and_then(JsonValue::as_text), item.member("value"))
                    }
                    JsonValue::Plain(_) => (None, None),
                };
                add(name.ok_or(LineError::NotAName)?, value, head)?;
            }
        }
        JsonValue::Text(_) | JsonValue::Plain(_) => return Ok(false),
    }
    Ok(true)
}

fn add(name: &str, value: Option<&JsonValue>, head: &mut RecordedHead) -> Result<(), LineError> {
    if let (":method", Some(method)) = (name, value.and_then(JsonValue::as_text)) {
        head.method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
    }
    head.add(name.as_bytes())
}

fn member<'a>(record: &'a JsonValue, names: &[&str]) -> Option<&'a JsonValue> {
    record.members().iter().find(|(name, _)| is_one_of(name, names)).map(|(_, value)| value)
}

/// Returns whether a member has one of these names, however its words are joined:
/// `request_headers`, `requestHeaders`.
fn is_one_of(member: &str, names: &[&str]) -> bool {
    let letters =
        || member.bytes().filter(u8::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase());
    names.iter().any(|name| letters().eq(name.bytes()))
}
