//! The request fields that select a variant, as an explanation shows them.
//!
//! A value may be a secret, whatever the name of its field: an API may vary on a session field.
//! Only the fields of content negotiation are therefore shown in clear, and every other value is
//! shown as a digest, by which two requests can be compared.

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, HeaderName};

use crate::json::JsonObject;
use crate::limits::EXPLAINED_FIELD_BYTES_MAX;
use crate::policy::{CacheRules, VaryFields};
use crate::request_fields::FieldClass;

/// The fields of content negotiation (RFC 9110 §12.5).
static NEGOTIATION: [HeaderName; 4] = [ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE];

/// The number of hexadecimal digits shown of a digest.
const DIGEST_DIGITS: usize = 16;

/// The selecting fields by name, in order.
pub(super) struct ShownSelection(Vec<(HeaderName, ShownField)>);

/// The shown form of a request field.
#[derive(Debug, PartialEq, Eq)]
enum ShownField {
    /// The request does not have the field.
    Absent,
    /// The normalised value, as it goes into the key.
    Value(String),
    /// A digest of that value.
    Digest(String),
}

impl ShownSelection {
    /// Returns the shown form of these fields of `request`.
    pub(super) fn of(fields: &VaryFields, request: &HeaderMap, rules: &CacheRules) -> Self {
        let values = fields.values(request);
        let shown = |name: &HeaderName| {
            let value = values.iter().find(|(of, _)| *of == name.as_str().as_bytes());
            value.map_or(ShownField::Absent, |(_, value)| ShownField::of(name, value, rules))
        };
        Self(fields.names().iter().map(|name| (name.clone(), shown(name))).collect())
    }

    /// Writes the fields as members of an object.
    pub(super) fn write(&self, object: &mut JsonObject<'_>) {
        for (name, shown) in &self.0 {
            match shown {
                ShownField::Absent => object.null(name.as_str(), EXPLAINED_FIELD_BYTES_MAX),
                ShownField::Value(value) => object.text(name.as_str(), value, EXPLAINED_FIELD_BYTES_MAX),
                ShownField::Digest(digits) => {
                    object.object(name.as_str(), EXPLAINED_FIELD_BYTES_MAX, |object| {
                        object.text("digest", digits, DIGEST_DIGITS);
                    })
                }
            }
        }
    }
}

impl ShownField {
    fn of(name: &HeaderName, value: &[u8], rules: &CacheRules) -> Self {
        if NEGOTIATION.contains(name) && rules.field_class(name) != FieldClass::Credential {
            return Self::Value(String::from_utf8_lossy(value).into_owned());
        }
        let digits = blake3::hash(value).to_hex();
        Self::Digest(digits.chars().take(DIGEST_DIGITS).collect())
    }
}
