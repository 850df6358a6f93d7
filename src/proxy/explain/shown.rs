//! The request fields that select a variant, as an explanation shows them.
//!
//! A value may be a secret, whatever its name: an API may vary on a session's field. So only those fields are shown
//! as they are that say what a client can read, and every other value is a digest. Two requests can be compared by it.

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, HeaderName};

use crate::json::Object;
use crate::limits::EXPLAINED_FIELD_BYTES_MAX;
use crate::policy::{Rules, VaryFields};
use crate::request_fields::FieldClass;

/// Content negotiation (RFC 9110 §12.5).
static NEGOTIATION: [HeaderName; 4] = [ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE];

/// Hexadecimal digits of a digest that are shown.
const DIGEST_DIGITS: usize = 16;

/// Each field by name, in their order.
pub(super) struct Selecting(Vec<(HeaderName, Shown)>);

/// What is shown of a request field.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    /// The request does not have it.
    Absent,
    /// Its meaning, as it goes into the key.
    Value(String),
    /// A digest of that.
    Digest(String),
}

impl Selecting {
    /// What `request` says in these fields.
    pub(super) fn of(fields: &VaryFields, request: &HeaderMap, rules: &Rules) -> Self {
        let values = fields.values(request);
        let shown = |name: &HeaderName| {
            let value = values.iter().find(|(of, _)| *of == name.as_str().as_bytes());
            value.map_or(Shown::Absent, |(_, value)| Shown::of(name, value, rules))
        };
        Self(fields.names().iter().map(|name| (name.clone(), shown(name))).collect())
    }

    /// Writes them as members of an object.
    pub(super) fn write(&self, object: &mut Object<'_>) {
        for (name, shown) in &self.0 {
            match shown {
                Shown::Absent => object.null(name.as_str(), EXPLAINED_FIELD_BYTES_MAX),
                Shown::Value(value) => object.text(name.as_str(), value, EXPLAINED_FIELD_BYTES_MAX),
                Shown::Digest(digits) => object.object(name.as_str(), EXPLAINED_FIELD_BYTES_MAX, |object| {
                    object.text("digest", digits, DIGEST_DIGITS);
                }),
            }
        }
    }
}

impl Shown {
    fn of(name: &HeaderName, value: &[u8], rules: &Rules) -> Self {
        if NEGOTIATION.contains(name) && rules.field_class(name) != FieldClass::Credential {
            return Self::Value(String::from_utf8_lossy(value).into_owned());
        }
        let digits = blake3::hash(value).to_hex();
        Self::Digest(digits.chars().take(DIGEST_DIGITS).collect())
    }
}
