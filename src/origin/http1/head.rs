//! The head of a response, read with `httparse`, which is hyper's parser too.
//!
//! A name or value is a part of the bytes that were read, and is not copied.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::header::{CONNECTION, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode, Version};
use httparse::{Header, ParserConfig, Response, Status};
use hyper::ext::ReasonPhrase;

use crate::hop;
use crate::limits::{ORIGIN_HEAD_BYTES_MAX, ORIGIN_HEAD_FIELDS_MAX};
use crate::origin::error::HeadError;

/// Fields that a head usually has at most; the table of a larger head is on the heap.
const USUAL_FIELDS: usize = 48;

/// The head of a response, final or interim.
#[derive(Debug)]
pub struct ResponseHead {
    pub(in crate::origin) status: StatusCode,
    /// The reason phrase, unless it is the usual one of the status.
    pub(in crate::origin) reason: Option<ReasonPhrase>,
    pub(in crate::origin) version: Version,
    pub(in crate::origin) headers: HeaderMap,
    /// Whether the connection may carry another exchange (RFC 9112 §9.3).
    pub(in crate::origin) keeps_alive: bool,
}

impl ResponseHead {
    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns status, version and fields.
    pub fn into_parts(self) -> (StatusCode, Version, HeaderMap) {
        (self.status, self.version, self.headers)
    }
}

/// The reader of heads, which looks at each byte of a partial head once.
#[derive(Debug, Default)]
pub struct ResponseHeadReader {
    /// The bytes at the beginning of the buffer that do not end a head.
    seen: usize,
}

impl ResponseHeadReader {
    /// Takes a complete head from the front of the bytes; `None` if it is not complete yet.
    pub fn next(&mut self, bytes: &mut BytesMut) -> Result<Option<ResponseHead>, HeadError> {
        if !self.may_be_complete(bytes) {
            return self.partial(bytes);
        }
        let mut fields = [const { MaybeUninit::uninit() }; USUAL_FIELDS];
        let mut places = [FieldPlace::default(); USUAL_FIELDS];
        match parse(bytes, &mut fields, &mut places) {
            Err(HeadError::Syntax(httparse::Error::TooManyHeaders)) => {}
            parsed => return self.take(bytes, parsed?, &places),
        }
        let mut fields = vec![MaybeUninit::uninit(); ORIGIN_HEAD_FIELDS_MAX];
        let mut places = vec![FieldPlace::default(); ORIGIN_HEAD_FIELDS_MAX];
        match parse(bytes, &mut fields, &mut places) {
            Err(HeadError::Syntax(httparse::Error::TooManyHeaders)) => Err(HeadError::TooLarge),
            parsed => self.take(bytes, parsed?, &places),
        }
    }

    /// Takes a head from the front of the bytes, if it was parsed to its end.
    fn take(
        &mut self,
        bytes: &mut BytesMut,
        parsed: Option<ParsedHead>,
        places: &[FieldPlace],
    ) -> Result<Option<ResponseHead>, HeadError> {
        let Some(parsed) = parsed else { return self.partial(bytes) };
        self.seen = 0;
        if parsed.length > ORIGIN_HEAD_BYTES_MAX {
            return Err(HeadError::TooLarge);
        }
        parsed.head(bytes, places).map(Some)
    }

    /// Waits for more bytes, unless these are too many for a head.
    fn partial(&mut self, bytes: &[u8]) -> Result<Option<ResponseHead>, HeadError> {
        self.seen = bytes.len();
        if bytes.len() > ORIGIN_HEAD_BYTES_MAX { Err(HeadError::TooLarge) } else { Ok(None) }
    }

    /// Returns whether a head ends in the bytes that came since the last look. The first look
    /// always parses: most heads arrive whole, and a wrong beginning fails at once.
    fn may_be_complete(&self, bytes: &[u8]) -> bool {
        let Some(from) = self.seen.checked_sub(3) else { return true };
        let fresh = bytes.get(from..).unwrap_or_default();
        let ends = |(at, byte): (usize, &u8)| {
            let behind = fresh.get(at + 1..).unwrap_or_default();
            *byte == b'\n' && (behind.starts_with(b"\n") || behind.starts_with(b"\r\n"))
        };
        fresh.iter().enumerate().any(ends)
    }
}

/// A parsed head, beside the places of its fields.
struct ParsedHead {
    length: usize,
    status: StatusCode,
    reason: Option<ReasonPhrase>,
    version: Version,
    fields: usize,
}

/// The place of a field in the head: offset and length of its name, and of its value.
type FieldPlace = [u32; 4];

fn parse<'b>(
    bytes: &'b [u8],
    fields: &mut [MaybeUninit<Header<'b>>],
    places: &mut [FieldPlace],
) -> Result<Option<ParsedHead>, HeadError> {
    let mut response = Response::new(&mut []);
    // The default accepts neither folded lines nor white space before a colon.
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, fields);
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(HeadError::Syntax(error)),
    };
    // A head that fits its limit fits these numbers; another one is refused.
    let number = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
    let start = bytes.as_ptr().addr();
    let offset = |text: &[u8]| number(text.as_ptr().addr() - start);
    for (place, field) in places.iter_mut().zip(&*response.headers) {
        let name = field.name.as_bytes();
        *place = [offset(name), number(name.len()), offset(field.value), number(field.value.len())];
    }
    let version = if response.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let status = StatusCode::from_u16(response.code.unwrap_or_default()).map_err(|_| HeadError::Status)?;
    let unusual = response.reason.filter(|reason| Some(*reason) != status.canonical_reason());
    let reason = unusual.and_then(|reason| ReasonPhrase::try_from(reason.to_owned()).ok());
    let fields = response.headers.len();
    Ok(Some(ParsedHead { length, status, reason, version, fields }))
}

impl ParsedHead {
    /// Takes the head from the front of the bytes.
    fn head(self, bytes: &mut BytesMut, places: &[FieldPlace]) -> Result<ResponseHead, HeadError> {
        let Self { length, status, reason, version, fields } = self;
        let text = bytes.split_to(length).freeze();
        let mut headers = HeaderMap::with_capacity(fields);
        let (mut closes, mut keeps) = (false, false);
        for place in places.iter().take(fields) {
            let [name_at, name_length, value_at, value_length] = place.map(|number| number as usize);
            let name = text.get(name_at..name_at + name_length).ok_or(HeadError::Field)?;
            let name = HeaderName::from_bytes(name).map_err(|_| HeadError::Field)?;
            let value = text.slice(value_at..value_at + value_length);
            let value = HeaderValue::from_maybe_shared(value).map_err(|_| HeadError::Field)?;
            if name == CONNECTION {
                closes |= hop::lists(&value, b"close");
                keeps |= hop::lists(&value, b"keep-alive");
            }
            headers.append(name, value);
        }
        let keeps_alive = !closes && (version == Version::HTTP_11 || keeps);
        Ok(ResponseHead { status, reason, version, headers, keeps_alive })
    }
}
