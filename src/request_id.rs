//! Request ids: one name of a request in the logs of its client, of this proxy and of the origin.
//!
//! A trusted proxy may state the id of a request (`request_id_header`); every other request gets a
//! random one. An id is a name and no secret, and selects no response. So a shared fetch may send
//! the id of the request that began it, and no client receives the id of another request: the
//! server replaces the field in every answer, stored ones included.
//!
//! An id is at most [`REQUEST_ID_BYTES_MAX`] letters, digits and `-._~+/=:;@|`. No parser gives
//! these a meaning in JSON, HTML or a log line, so an origin that repeats an id in a shared
//! response repeats no markup of a client.

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use bytes::BytesMut;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::client_address::TrustedProxies;
use crate::limits::{REQUEST_ID_BYTES_MAX, REQUEST_ID_CHUNK_BYTES};
use crate::request_fields::{FieldClass, RequestFields, is_forwarding_field};

/// The header of request ids, and the peers that may state one.
#[derive(Clone, Debug)]
pub struct RequestIdOptions {
    /// The header.
    pub header: HeaderName,
    /// The peers whose ids are accepted.
    pub trusted: TrustedProxies,
}

/// The id of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Returns the id as the value of a header.
    pub fn value(&self) -> &HeaderValue {
        &self.0
    }
}

/// The fields of W3C Trace Context.
const TRACE_CONTEXT: [&str; 2] = ["traceparent", "tracestate"];

/// The fields of answers that a proxy or a browser acts on, and no request has.
const ANSWER_FIELDS: [&str; 12] = [
    "age",
    "allow",
    "cache-status",
    "content-disposition",
    "location",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "vary",
    "www-authenticate",
];

/// The digits of a generated id.
const DIGITS: usize = 32;

/// The source of one worker's request ids.
#[derive(Debug)]
pub struct RequestIdSource {
    options: RequestIdOptions,
    /// Distinguishes two sources whose random numbers coincide.
    mask: u64,
    random: RefCell<fastrand::Rng>,
    /// The unused rest of the memory for generated ids: many share one allocation.
    chunk: RefCell<BytesMut>,
}

impl RequestIdSource {
    /// Creates a source, seeded by the operating system.
    pub fn new(options: RequestIdOptions) -> Self {
        let seeds = RandomState::new();
        Self {
            options,
            mask: seeds.hash_one(0_u8),
            random: RefCell::new(fastrand::Rng::with_seed(seeds.hash_one(1_u8))),
            chunk: RefCell::default(),
        }
    }

    /// Returns the id that a trusted peer states, else a new one. `None` only if the new one is not
    /// a field value, which does not occur.
    pub fn assign(&self, headers: &HeaderMap, peer: IpAddr) -> Option<RequestId> {
        if self.options.trusted.covers(peer)
            && let Some(id) = self.stated(headers)
        {
            return Some(id);
        }
        self.generate()
    }

    /// Sets the id of an answer, and removes any other that the answer has.
    pub fn set(&self, headers: &mut HeaderMap, id: RequestId) {
        headers.insert(&self.options.header, id.0);
    }

    /// Returns the stated id, if there is exactly one and it is valid.
    fn stated(&self, headers: &HeaderMap) -> Option<RequestId> {
        let mut lines = headers.get_all(&self.options.header).iter();
        let (Some(id), None) = (lines.next(), lines.next()) else { return None };
        is_valid(id.as_bytes()).then(|| RequestId(id.clone()))
    }

    fn generate(&self) -> Option<RequestId> {
        let (high, low) = {
            let mut random = self.random.borrow_mut();
            (random.u64(..) ^ self.mask, random.u64(..))
        };
        let mut chunk = self.chunk.borrow_mut();
        if chunk.capacity() < DIGITS {
            *chunk = BytesMut::with_capacity(REQUEST_ID_CHUNK_BYTES);
        }
        chunk.extend_from_slice([hex(high), hex(low)].as_flattened().as_flattened());
        HeaderValue::from_maybe_shared(chunk.split().freeze()).ok().map(RequestId)
    }
}

/// Returns the hexadecimal digits of a number.
fn hex(number: u64) -> [[u8; 8]; 2] {
    [hex_of_half(number >> 32), hex_of_half(number & u64::from(u32::MAX))]
}

/// Returns the hexadecimal digits of a number below 2^32. Every request has an id, so all eight
/// digits are computed at once, in the bytes of one word.
fn hex_of_half(number: u64) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let pairs = (number | (number << 16)) & 0x0000_ffff_0000_ffff;
    let bytes = (pairs | (pairs << 8)) & 0x00ff_00ff_00ff_00ff;
    let nibbles = (bytes | (bytes << 4)) & (ONES * 0x0f);
    // The sum of a nibble and 6 has the bit of 16 from 10 on, the first letter.
    let letters = ((nibbles + ONES * 6) >> 4) & ONES;
    (nibbles + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

/// Returns whether these bytes are an id.
pub fn is_valid(id: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=:;@|".contains(byte);
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(is_plain)
}

/// Returns the reason why a header cannot carry request ids, if there is one.
pub fn refused_as_id(header: &HeaderName) -> Option<&'static str> {
    match RequestFields::default().class(header) {
        _ if is_forwarding_field(header) => Some("it describes the client"),
        _ if header.as_str().contains('_') => Some("origins may read `_` as `-`"),
        _ if TRACE_CONTEXT.contains(&header.as_str()) => Some("it belongs to a trace"),
        _ if ANSWER_FIELDS.contains(&header.as_str()) => Some("it describes an answer"),
        FieldClass::Withheld | FieldClass::Unlisted => None,
        FieldClass::Sent
        | FieldClass::Dropped
        | FieldClass::Credential
        | FieldClass::Key
        | FieldClass::Connection => Some("it has a meaning of its own in requests"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const TRUSTED: &str = "10.0.0.1";
    const CLIENT: &str = "192.0.2.1";

    fn source() -> RequestIdSource {
        RequestIdSource::new(RequestIdOptions {
            header: HeaderName::from_static("x-request-id"),
            trusted: TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]),
        })
    }

    fn assigned(peer: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-request-id", HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let id = source().assign(&headers, peer.parse().unwrap()).unwrap();
        id.value().to_str().unwrap().to_owned()
    }

    #[test]
    fn only_a_valid_id_of_a_trusted_peer_is_accepted() {
        let longest = "x".repeat(REQUEST_ID_BYTES_MAX);
        for id in ["7", "0af7651916cd43dd8448eb211c80319c", "|7e1.3.", "Root=1-67;Self=1-a+/_~@:", &longest] {
            assert_eq!(assigned(TRUSTED, &[id]), id);
            assert_ne!(assigned(CLIENT, &[id]), id);
        }
        let too_long = "x".repeat(REQUEST_ID_BYTES_MAX + 1);
        for lines in [
            &[][..],
            &[""],
            &[&too_long],
            &["a b"],
            &["a,b"],
            &["\"a\""],
            &["<b>"],
            &["a\tb"],
            &["ä"],
            &["{}"],
            &["a", "a"],
        ] {
            let id = assigned(TRUSTED, lines);
            assert_eq!(id.len(), DIGITS, "{lines:?}");
            assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        }
    }

    #[test]
    fn generated_ids_differ() {
        let (one, other) = (source(), source());
        let ids: HashSet<_> = (0..5_000)
            .flat_map(|_| [one.generate().unwrap(), other.generate().unwrap()])
            .map(|id| id.value().as_bytes().to_vec())
            .collect();
        assert_eq!(ids.len(), 10_000);
    }

    #[test]
    fn an_answer_has_one_id() {
        let mut answer = HeaderMap::new();
        for stored in ["stored", "stored too"] {
            answer.append("x-request-id", HeaderValue::from_static(stored));
        }
        source().set(&mut answer, RequestId(HeaderValue::from_static("own")));
        assert_eq!(answer.get_all("x-request-id").iter().collect::<Vec<_>>(), ["own"]);
    }

    #[test]
    fn a_header_with_another_meaning_carries_no_ids() {
        for (name, refused) in [
            ("x-request-id", false),
            ("request-id", false),
            ("x-amzn-trace-id", false),
            ("x-acme-call", false),
            ("traceparent", true),
            ("accept", true),
            ("authorization", true),
            ("connection", true),
            ("range", true),
            ("set-cookie", true),
            ("x-forwarded-for", true),
            ("x_request_id", true),
            ("x-real-ip", true),
        ] {
            assert_eq!(refused_as_id(&HeaderName::from_static(name)).is_some(), refused, "{name}");
        }
    }

    #[test]
    fn hexadecimal_digits_are_in_order() {
        assert_eq!(hex(0x0123_4567_89ab_cdef).as_flattened(), b"0123456789abcdef");
        for shift in 0..64 {
            let number = u64::MAX.rotate_left(shift) ^ (0x9e37_79b9_7f4a_7c15 >> shift);
            assert_eq!(hex(number).as_flattened(), format!("{number:016x}").as_bytes());
        }
    }
}
