//! The header block: the fields of a stored response, in their order.
//!
//! ```text
//! field   1  0: the name follows; n: name n - 1 of the table below
//!        [1  bytes of the name, then the name, lower case]
//!         2  bytes of the value, then the value
//! ```
//!
//! The table saves parsing the common names on every hit. It is part of the layout: new names are
//! appended, and any other change needs a new version in `codec.rs`.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

use super::error::EntryError;
use super::written;
use crate::policy::Obligations;

/// Names that responses of JSON APIs often carry.
static TABLE: [HeaderName; 24] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::DATE,
    header::ETAG,
    header::LAST_MODIFIED,
    header::CACHE_CONTROL,
    header::EXPIRES,
    header::VARY,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::SERVER,
    header::VIA,
    header::LINK,
    header::LOCATION,
    header::ACCEPT_RANGES,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::STRICT_TRANSPORT_SECURITY,
    header::X_CONTENT_TYPE_OPTIONS,
    header::CONTENT_SECURITY_POLICY,
    header::REFERRER_POLICY,
    header::X_FRAME_OPTIONS,
    header::ALLOW,
];

/// Marks a name that is written out.
const LITERAL: u8 = 0;

/// Returns the number of bytes that [`encode`] writes; `None` if a name or a value is too long for
/// its length field.
pub(super) fn encoded_len(head: &HeaderMap) -> Option<usize> {
    head.iter().try_fold(0, |total, (name, value)| {
        u16::try_from(value.len()).ok()?;
        let name_bytes = match code(name) {
            Some(_) => 0,
            None => 1 + usize::from(u8::try_from(name.as_str().len()).ok()?),
        };
        Some(total + 1 + name_bytes + 2 + value.len())
    })
}

/// Writes the block of a head for which [`encoded_len`] returned a length.
pub(super) fn encode(head: &HeaderMap, bytes: &mut BytesMut) {
    for (name, value) in head {
        match code(name) {
            Some(code) => bytes.put_u8(code),
            None => {
                bytes.put_u8(LITERAL);
                bytes.put_u8(u8::try_from(name.as_str().len()).unwrap_or(u8::MAX));
                bytes.put_slice(name.as_str().as_bytes());
            }
        }
        bytes.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        bytes.put_slice(value.as_bytes());
    }
}

/// The check that [`decode`] applies to the fields of a block.
#[derive(Clone, Copy)]
pub(super) enum FieldAdmission {
    /// Every field is checked, for a response with these obligations: the block comes from a store.
    Checked(Obligations),
    /// No field is checked: the block has been checked before.
    Known,
}

/// Decodes a block into `head`, which is empty; an error if [`encode`] never writes such a block.
/// Values are slices of the block.
pub(super) fn decode(
    block: Bytes,
    head: HeaderMap,
    admission: FieldAdmission,
) -> Result<HeaderMap, EntryError> {
    let mut fields = Fields(block);
    let mut head = if head.capacity() == 0 { HeaderMap::with_capacity(FIELDS_EXPECTED) } else { head };
    while !fields.0.is_empty() {
        let (kind, name, value) = fields.next().ok_or(EntryError::Content)?;
        if let FieldAdmission::Checked(obligations) = admission {
            match kind {
                // `Content-Length` is the only name of the table that is never stored; a test
                // checks this.
                NameKind::Coded if name == header::CONTENT_LENGTH => return Err(EntryError::Field),
                NameKind::Coded => {}
                NameKind::Literal if code(&name).is_some() => return Err(EntryError::Content),
                NameKind::Literal => written::field(name.as_str(), &value, obligations)?,
            }
        }
        head.try_append(name, value).map_err(|_| EntryError::Content)?;
    }
    Ok(head)
}

/// The encoding of a name.
enum NameKind {
    /// Its number in the table.
    Coded,
    /// The name, written out.
    Literal,
}

/// The undecoded rest of a block.
struct Fields(Bytes);

impl Fields {
    /// Takes the next field; `None` if the rest holds no complete field.
    fn next(&mut self) -> Option<(NameKind, HeaderName, HeaderValue)> {
        let Self(block) = self;
        let (kind, name) = match block.try_get_u8().ok()? {
            LITERAL => {
                let length = usize::from(block.try_get_u8().ok()?);
                let name = HeaderName::from_lowercase(block.get(..length)?).ok()?;
                block.advance(length);
                (NameKind::Literal, name)
            }
            code => (NameKind::Coded, TABLE.get(usize::from(code) - 1)?.clone()),
        };
        let length = usize::from(block.try_get_u16().ok()?);
        if length > block.len() {
            return None;
        }
        let value = HeaderValue::from_maybe_shared(block.split_to(length)).ok()?;
        Some((kind, name, value))
    }
}

/// Fields for which a head has capacity at first: those of a usual response, and those that the
/// proxy adds.
const FIELDS_EXPECTED: usize = 16;

fn code(name: &HeaderName) -> Option<u8> {
    let index = TABLE.iter().position(|known| known == name)?;
    u8::try_from(index + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKED: FieldAdmission = FieldAdmission::Checked(Obligations::from_bits(0));

    fn encoded(head: &HeaderMap) -> Bytes {
        let mut bytes = BytesMut::new();
        encode(head, &mut bytes);
        assert_eq!(Some(bytes.len()), encoded_len(head));
        bytes.freeze()
    }

    #[test]
    fn fields_come_back_in_order_and_in_number() {
        let mut head = HeaderMap::new();
        for (name, value) in
            [("etag", "\"a\""), ("x-rate-limit", "10"), ("link", "<a>"), ("link", "<b>"), ("x-empty", "")]
        {
            head.append(name, HeaderValue::from_static(value));
        }
        head.append("x-latin1", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        let block = encoded(&head);
        assert_eq!(decode(block.clone(), HeaderMap::new(), CHECKED).unwrap(), head);
        assert_eq!(encoded(&decode(block.clone(), HeaderMap::new(), FieldAdmission::Known).unwrap()), block);
    }

    #[test]
    fn names_and_values_longer_than_their_length_field_are_not_encoded() {
        let name = HeaderName::try_from("x".repeat(256)).unwrap();
        let value = HeaderValue::try_from("x".repeat(1 << 16)).unwrap();
        for (name, value) in [(name, HeaderValue::from_static("")), (header::ETAG, value)] {
            assert_eq!(encoded_len(&[(name, value)].into_iter().collect()), None);
        }
    }

    #[test]
    fn every_truncated_block_is_refused_or_shorter() {
        let mut head = HeaderMap::new();
        head.append("etag", HeaderValue::from_static("\"a\""));
        head.append("x-a", HeaderValue::from_static("1"));
        let block = encoded(&head);
        for cut in 0..block.len() {
            assert!(
                decode(block.slice(..cut), HeaderMap::new(), CHECKED)
                    .map_or(true, |shorter| shorter.len() < head.len()),
                "{cut}"
            );
        }
    }

    #[test]
    fn malformed_blocks_are_refused() {
        for block in [
            &b"\x00\x01A\x00\x00"[..],
            b"\x00\x00\x00\x00",
            b"\x19\x00\x00",
            b"\x01\x00\x01\n",
            b"\x01\xff\xff",
        ] {
            assert!(decode(Bytes::from_static(block), HeaderMap::new(), CHECKED).is_err(), "{block:?}");
        }
    }

    #[test]
    fn fields_that_are_never_stored_are_refused() {
        for (block, damage) in [
            (&b"\x02\x00\x011"[..], EntryError::Field),
            (b"\x00\x0aconnection\x00\x01x", EntryError::Field),
            (b"\x00\x11transfer-encoding\x00\x07chunked", EntryError::Field),
            (b"\x00\x0aset-cookie\x00\x03a=b", EntryError::Field),
            (b"\x00\x03age\x00\x011", EntryError::Field),
            (b"\x00\x07proxy-x\x00\x011", EntryError::Field),
            (b"\x00\x17cachewarp-cache-control\x00\x011", EntryError::Field),
            (b"\x00\x0econtent-length\x00\x011", EntryError::Content),
            (b"\x00\x04etag\x00\x011", EntryError::Content),
        ] {
            let decoded = decode(Bytes::from_static(block), HeaderMap::new(), CHECKED);
            assert_eq!(decoded, Err(damage), "{block:?}");
        }
    }

    #[test]
    fn content_length_is_the_only_name_of_the_table_that_is_never_stored() {
        let value = HeaderValue::from_static("x");
        for name in &TABLE {
            let stored = written::field(name.as_str(), &value, Obligations::default());
            assert_eq!(stored.is_ok(), *name != header::CONTENT_LENGTH, "{name}");
        }
    }

    #[test]
    fn a_usual_head_needs_no_growth() {
        assert!(HeaderMap::<HeaderValue>::with_capacity(FIELDS_EXPECTED).capacity() >= FIELDS_EXPECTED);
    }
}
