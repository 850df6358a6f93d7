//! A parser of one JSON line of an access log as a request head.
//!
//! Logs use different names, so the parser accepts header names in a member called `headers`,
//! `request_headers`, `header_names` or similar, on the line itself or in its `request`, `req` or
//! `http`. The member is an object, whose member names are the header names, a list of names, or a
//! list of `[name, value]` or `{"name": …}`.

use http::Method;

use serde_json::Value;

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
    let record: Value = serde_json::from_slice(line).map_err(|_| LineError::NotJson)?;
    if !record.is_object() {
        return Err(LineError::NotJson);
    }
    let mut head = RecordedHead::default();
    let found = find(&record, &mut head)?;
    Ok(found.then_some(head))
}

/// Fills a head from an object. Returns whether the object has header names. The method comes from
/// the object nearest to them.
fn find(record: &Value, head: &mut RecordedHead) -> Result<bool, LineError> {
    if let Some(method) = member(record, METHOD).and_then(Value::as_str) {
        head.method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
    }
    if let Some(headers) = member(record, HEADERS) {
        return add_names(headers, head);
    }
    let members = record.as_object().into_iter().flatten();
    for (_, inner) in members.filter(|(name, _)| is_one_of(name, REQUEST)) {
        if find(inner, head)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds the names that a member holds. Returns whether the member can hold any.
fn add_names(headers: &Value, head: &mut RecordedHead) -> Result<bool, LineError> {
    match headers {
        Value::Object(members) => {
            for (name, value) in members {
                add(name, Some(value), head)?;
            }
        }
        Value::Array(items) => {
            for item in items {
                let (name, value) = match item {
                    Value::String(name) => (Some(name.as_str()), None),
                    Value::Array(pair) => (pair.first().and_then(Value::as_str), pair.get(1)),
                    Value::Object(_) => (item.get("name").and_then(Value::as_str), item.get("value")),
                    Value::Number(_) | Value::Bool(_) | Value::Null => (None, None),
                };
                add(name.ok_or(LineError::NotAName)?, value, head)?;
            }
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => return Ok(false),
    }
    Ok(true)
}

fn add(name: &str, value: Option<&Value>, head: &mut RecordedHead) -> Result<(), LineError> {
    if let (":method", Some(method)) = (name, value.and_then(Value::as_str)) {
        head.method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
    }
    head.add(name.as_bytes())
}

fn member<'a>(record: &'a Value, names: &[&str]) -> Option<&'a Value> {
    record.as_object()?.iter().find(|(name, _)| is_one_of(name, names)).map(|(_, value)| value)
}

/// Returns whether a member has one of these names, however its words are joined:
/// `request_headers`, `requestHeaders`.
fn is_one_of(member: &str, names: &[&str]) -> bool {
    let letters =
        || member.bytes().filter(u8::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase());
    names.iter().any(|name| letters().eq(name.bytes()))
}
