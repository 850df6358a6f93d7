//! Framing of a response body, read from its head (RFC 9112 §6.3).
//!
//! RFC 9112 lets a recipient be lenient. A cache must be strict: if another parser can read the
//! head differently, it finds another body. So this module refuses a head that frames its body
//! twice or names another coding than `chunked`, and rewrites the others to state the framing once.

use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode};

use crate::origin::error::FetchError;

/// Framing of a response body: the sign of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// No body: a response to `HEAD`, a 204, a 304, or a switch of protocols.
    None,
    /// `Content-Length`, in bytes.
    Length(u64),
    /// The last chunk.
    Chunked,
    /// Only the close of the connection, which looks like a lost connection.
    UntilClose,
}

impl BodyFraming {
    /// Reads the framing of the response to a request with `method`, and leaves at most one
    /// `Content-Length` line.
    pub fn from_head(
        method: &Method,
        status: StatusCode,
        headers: &mut HeaderMap,
    ) -> Result<Self, FetchError> {
        let chunked = transfer_encoding(headers)?;
        let length = content_length(headers)?;
        if chunked && length.is_some() {
            // RFC 9112 §6.1: such a message may be an attempt at response splitting.
            return Err(FetchError::AmbiguousFraming);
        }
        if status.is_informational() || status == StatusCode::NO_CONTENT {
            // RFC 9110 §8.6: these responses have no `Content-Length`.
            headers.remove(CONTENT_LENGTH);
            return Ok(Self::None);
        }
        if let Some((bytes, CodingKind::Noncanonical)) = length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
        }
        let length = length.map(|(bytes, _)| bytes);
        if method == Method::HEAD || status == StatusCode::NOT_MODIFIED {
            return Ok(Self::None);
        }
        Ok(match (chunked, length) {
            (true, _) => Self::Chunked,
            (false, Some(bytes)) => Self::Length(bytes),
            (false, None) => Self::UntilClose,
        })
    }

    /// Returns whether the end of this body proves it complete. Any other body must not be stored.
    pub fn proves_whole(self) -> bool {
        match self {
            Self::None | Self::Length(_) | Self::Chunked => true,
            Self::UntilClose => false,
        }
    }

    /// Returns the length of the content that the head states.
    pub(super) fn length(self) -> Option<u64> {
        match self {
            Self::None => Some(0),
            Self::Length(bytes) => Some(bytes),
            Self::Chunked | Self::UntilClose => None,
        }
    }
}

/// Returns whether the body is chunked. Any other coding is an error, because it would reach the
/// client without the field that names it.
fn transfer_encoding(headers: &HeaderMap) -> Result<bool, FetchError> {
    // Most heads have none: one look at each name costs less than a search.
    if !headers.keys().any(|name| *name == TRANSFER_ENCODING) {
        return Ok(false);
    }
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Ok(false),
        (Some(line), None) if line.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(true),
        _ => Err(FetchError::AmbiguousFraming),
    }
}

/// Spelling of a length.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CodingKind {
    /// One line in canonical form.
    Canonical,
    /// Several values, or another form of the number.
    Noncanonical,
}

/// Returns the one length that all `Content-Length` lines and list members agree on.
fn content_length(headers: &HeaderMap) -> Result<Option<(u64, CodingKind)>, FetchError> {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    if let (Some(line), None) = (lines.next(), lines.next())
        && let [b'1'..=b'9', ..] = line.as_bytes()
        && let Some(length) = digits(line.as_bytes())
    {
        return Ok(Some((length, CodingKind::Canonical)));
    }
    let mut common = None;
    for member in
        headers.get_all(CONTENT_LENGTH).iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
    {
        let length = digits(member.trim_ascii()).ok_or(FetchError::AmbiguousFraming)?;
        if common.replace(length).is_some_and(|earlier| earlier != length) {
            return Err(FetchError::AmbiguousFraming);
        }
    }
    Ok(common.map(|length| (length, CodingKind::Noncanonical)))
}

/// RFC 9110 §8.6: parses digits only, while Rust's parser accepts a sign.
fn digits(text: &[u8]) -> Option<u64> {
    let next = |number: u64, byte: &u8| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    };
    if text.is_empty() { None } else { text.iter().try_fold(0, next) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(
        method: Method,
        status: u16,
        fields: &[(&'static str, &'static str)],
    ) -> (Option<BodyFraming>, Vec<String>) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let framing =
            BodyFraming::from_head(&method, StatusCode::from_u16(status).unwrap(), &mut headers).ok();
        let lengths = headers.get_all(CONTENT_LENGTH).iter();
        (framing, lengths.map(|value| value.to_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn unambiguous_heads_give_a_framing() {
        const CL: &str = "content-length";
        const TE: &str = "transfer-encoding";
        for (method, status, fields, expected, left) in [
            (Method::GET, 200, &[(CL, "12")][..], BodyFraming::Length(12), &["12"][..]),
            (Method::GET, 200, &[(CL, "0")], BodyFraming::Length(0), &["0"]),
            (Method::GET, 200, &[(CL, "5, 5")], BodyFraming::Length(5), &["5"]),
            (Method::GET, 200, &[(CL, "5"), (CL, "05")], BodyFraming::Length(5), &["5"]),
            (Method::GET, 200, &[(TE, "Chunked")], BodyFraming::Chunked, &[]),
            (Method::GET, 200, &[], BodyFraming::UntilClose, &[]),
            (Method::GET, 204, &[(CL, "0")], BodyFraming::None, &[]),
            (Method::GET, 304, &[(CL, "7")], BodyFraming::None, &["7"]),
            (Method::HEAD, 200, &[(CL, "7")], BodyFraming::None, &["7"]),
            (Method::HEAD, 200, &[(TE, "chunked")], BodyFraming::None, &[]),
            (Method::GET, 101, &[], BodyFraming::None, &[]),
        ] {
            let (framing, lengths) = framing(method, status, fields);
            assert_eq!(framing, Some(expected), "{status} {fields:?}");
            assert_eq!(lengths, left, "{status} {fields:?}");
        }
    }

    #[test]
    fn ambiguous_heads_are_refused() {
        const CL: &str = "content-length";
        const TE: &str = "transfer-encoding";
        for fields in [
            &[(CL, "5"), (TE, "chunked")][..],
            &[(CL, "5"), (CL, "6")],
            &[(CL, "5, 6")],
            &[(CL, "+5")],
            &[(CL, "-1")],
            &[(CL, "5 ,")],
            &[(CL, "")],
            &[(CL, "0x5")],
            &[(CL, "99999999999999999999")],
            &[(TE, "gzip, chunked")],
            &[(TE, "gzip")],
            &[(TE, "chunked"), (TE, "chunked")],
            &[(TE, "identity")],
        ] {
            for method in [Method::GET, Method::HEAD] {
                assert_eq!(framing(method, 200, fields).0, None, "{fields:?}");
            }
        }
    }
}
