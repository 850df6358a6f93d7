//! Where a response body ends, read from its head (RFC 9112 §6.3).
//!
//! hyper decides this too, for itself, and is lenient where RFC 9112 lets it be. A cache cannot be:
//! a head that another parser could read in another way frames another body there. So a head that
//! says it twice, or names a coding that nobody removes, is refused here, and what passes is
//! rewritten so that it says it once.

use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode};

use super::FetchError;

/// How the end of a response body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is no body: a response to `HEAD`, a 204, a 304, a switch of protocols.
    None,
    /// `Content-Length`, in bytes.
    Length(u64),
    /// The last chunk.
    Chunked,
    /// Nothing but the end of the connection, which a lost connection looks like as well.
    UntilClose,
}

impl BodyFraming {
    /// Reads the framing of the answer to a request by `method`, and leaves at most one
    /// `Content-Length` line.
    pub fn settle(method: &Method, status: StatusCode, headers: &mut HeaderMap) -> Result<Self, FetchError> {
        let chunked = transfer_encoding(headers)?;
        let length = content_length(headers)?;
        if chunked && length.is_some() {
            // RFC 9112 §6.1: such a message may be an attempt at response splitting.
            return Err(FetchError::AmbiguousFraming);
        }
        if status.is_informational() || status == StatusCode::NO_CONTENT {
            // RFC 9110 §8.6: these have no `Content-Length`.
            headers.remove(CONTENT_LENGTH);
            return Ok(Self::None);
        }
        if let Some((bytes, CodingKind::InOtherWords)) = length {
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

    /// Whether an end of this body proves that it is whole. What does not prove it must not be
    /// stored.
    pub fn proves_whole(self) -> bool {
        match self {
            Self::None | Self::Length(_) | Self::Chunked => true,
            Self::UntilClose => false,
        }
    }

    /// Bytes of content that the head promises.
    pub(super) fn length(self) -> Option<u64> {
        match self {
            Self::None => Some(0),
            Self::Length(bytes) => Some(bytes),
            Self::Chunked | Self::UntilClose => None,
        }
    }
}

/// Whether the body is chunked; any other coding would reach the client without the field that
/// names it.
fn transfer_encoding(headers: &HeaderMap) -> Result<bool, FetchError> {
    // Most have none: a look at each name costs less than a search.
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

/// How a length is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CodingKind {
    /// Once.
    Once,
    /// Several times, or as no number begins.
    InOtherWords,
}

/// The one length that all `Content-Length` lines and list members agree on.
fn content_length(headers: &HeaderMap) -> Result<Option<(u64, CodingKind)>, FetchError> {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    if let (Some(line), None) = (lines.next(), lines.next())
        && let [b'1'..=b'9', ..] = line.as_bytes()
        && let Some(length) = digits(line.as_bytes())
    {
        return Ok(Some((length, CodingKind::Once)));
    }
    let mut agreed = None;
    for member in
        headers.get_all(CONTENT_LENGTH).iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
    {
        let length = digits(member.trim_ascii()).ok_or(FetchError::AmbiguousFraming)?;
        if agreed.replace(length).is_some_and(|earlier| earlier != length) {
            return Err(FetchError::AmbiguousFraming);
        }
    }
    Ok(agreed.map(|length| (length, CodingKind::InOtherWords)))
}

/// RFC 9110 §8.6: digits and nothing else, where Rust's own parser takes a sign.
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
        let framing = BodyFraming::settle(&method, StatusCode::from_u16(status).unwrap(), &mut headers).ok();
        let lengths = headers.get_all(CONTENT_LENGTH).iter();
        (framing, lengths.map(|value| value.to_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn heads_that_are_clear() {
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
    fn heads_that_are_not() {
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
