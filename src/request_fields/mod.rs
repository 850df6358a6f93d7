//! Classes of request fields: which fields can change an answer for one caller, and which are sent
//! to the origin.
//!
//! A response without freshness stated by the origin is shared only among requests whose fields are
//! all known to be harmless. [`table`] lists the known names in groups, each with a class and a
//! reason; the operator adds names with `credential_headers`, `key_headers` and `harmless_headers`.
//! Every other name is [`FieldClass::Unlisted`].
//!
//! **Invariant:** the policy, the head for the origin and every explanation use
//! [`RequestFields::class`], so a field that the policy treats as harmless is either covered by the
//! origin's `Vary` or not sent with a shared fetch.

mod table;

use std::sync::{Arc, LazyLock};

use http::header::{
    HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};

pub use table::{FieldClass, FieldGroup, PREFIXES, TABLE};

/// Fields that request a part of the response, or none of it if it has not changed: the range, its
/// validator, then the conditions (RFC 9110 §14.2, §13.1).
pub static PARTIAL_FIELDS: [HeaderName; 6] =
    [RANGE, IF_RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];

/// Returns whether a field requests a part of the response, or none of it if it has not changed.
pub fn is_partial_field(name: &HeaderName) -> bool {
    // The beginning excludes most names for less than six comparisons.
    let text = name.as_str().as_bytes();
    (text.starts_with(b"if-") || text.starts_with(b"range")) && PARTIAL_FIELDS.contains(name)
}

/// Slots of the hash table: a power of two, several times the number of names.
const SLOTS: usize = 1024;

/// The classes of all request fields: the listed names and the operator's.
///
/// Clones share one table.
#[derive(Clone, Debug)]
pub struct RequestFields(Arc<ClassSet>);

#[derive(Debug)]
struct ClassSet {
    /// The operator's names of each class.
    operator: OperatorFields,
    /// The index in `names` at which each slot's names begin, and the end of the last slot.
    starts: Vec<u16>,
    names: Vec<(Box<[u8]>, FieldClass)>,
}

/// The names that the operator lists.
#[derive(Debug)]
struct OperatorFields {
    credential: Vec<HeaderName>,
    key: Vec<HeaderName>,
    harmless: Vec<HeaderName>,
}

impl Default for RequestFields {
    /// Returns the classes of the listed names alone.
    fn default() -> Self {
        static LISTED: LazyLock<RequestFields> = LazyLock::new(|| RequestFields::new(&[], &[], &[]));
        LISTED.clone()
    }
}

impl RequestFields {
    /// Returns the classes of the listed names and of the operator's names, which take precedence:
    /// `credential_headers`, `key_headers` and `harmless_headers`.
    pub fn new(credential: &[HeaderName], key: &[HeaderName], harmless: &[HeaderName]) -> Self {
        let [credential, key, harmless] = [credential, key, harmless].map(<[HeaderName]>::to_vec);
        Self::of(OperatorFields { credential, key, harmless })
    }

    /// Returns the classes with more of the operator's names. A name keeps its stricter class: a
    /// credential stays one, and a field of the key stays in it.
    #[must_use]
    pub fn with(&self, credential: &[HeaderName], key: &[HeaderName], harmless: &[HeaderName]) -> Self {
        if credential.is_empty() && key.is_empty() && harmless.is_empty() {
            return self.clone();
        }
        let OperatorFields { credential: credentials, key: keys, harmless: harmless_names } =
            &self.0.operator;
        Self::of(OperatorFields {
            credential: [credentials, credential].concat(),
            key: [keys, key].concat(),
            harmless: [harmless_names, harmless].concat(),
        })
    }

    fn of(operator: OperatorFields) -> Self {
        let OperatorFields { credential, key, harmless } = &operator;
        let mut known: Vec<(Box<[u8]>, FieldClass)> = Vec::new();
        let mut add = |name: &[u8], class: FieldClass| {
            if !known.iter().any(|(known, _)| **known == *name) {
                known.push((name.into(), class));
            }
        };
        for name in credential {
            add(&dashed(name.as_str().as_bytes()), FieldClass::Credential);
        }
        for name in key {
            add(name.as_str().as_bytes(), FieldClass::Key);
        }
        for name in key {
            // CGI treats both spellings as one variable. The other spelling would reach the origin
            // beside the key.
            add(&dashed(name.as_str().as_bytes()), FieldClass::Dropped);
        }
        for name in harmless {
            add(name.as_str().as_bytes(), FieldClass::Withheld);
        }
        for group in TABLE {
            for name in group.names {
                add(name.as_bytes(), group.class);
            }
        }
        Self(Arc::new(ClassSet::new(operator, known)))
    }

    /// Returns the class of a field.
    ///
    /// CGI and its successors read `_` in a name as `-`. So a name with `_` takes the class of the
    /// name with `-` if that class hides the field from the origin or from the store. If that class
    /// would send the field, it is [`FieldClass::Dropped`].
    pub fn class(&self, name: &HeaderName) -> FieldClass {
        let name = name.as_str().as_bytes();
        self.0.find(name).unwrap_or_else(|| self.0.class_of_rare(name))
    }
}

impl ClassSet {
    fn new(operator: OperatorFields, mut names: Vec<(Box<[u8]>, FieldClass)>) -> Self {
        names.sort_by_key(|(name, _)| slot(name));
        let start = |at: usize| names.partition_point(|(name, _)| slot(name) < at);
        let starts = (0..=SLOTS).map(|at| u16::try_from(start(at)).unwrap_or(u16::MAX)).collect();
        Self { operator, starts, names }
    }

    /// Returns the class of a name that is listed in this spelling.
    fn find(&self, name: &[u8]) -> Option<FieldClass> {
        let slot = slot(name);
        let [start, end] = *self.starts.get(slot..)?.first_chunk()?;
        let names = self.names.get(usize::from(start)..usize::from(end))?;
        names.iter().find(|(listed, _)| are_equal(listed, name)).map(|(_, class)| *class)
    }

    /// Returns the class of a name that is not listed in this spelling: by its spelling with `-`,
    /// or by its beginning.
    #[cold]
    fn class_of_rare(&self, name: &[u8]) -> FieldClass {
        if !name.contains(&b'_') {
            return by_beginning(name).unwrap_or(FieldClass::Unlisted);
        }
        let dashed = dashed(name);
        match self.find(&dashed).or_else(|| by_beginning(&dashed)) {
            Some(FieldClass::Sent | FieldClass::Key) => FieldClass::Dropped,
            Some(class) => class,
            None => FieldClass::Unlisted,
        }
    }
}

/// Returns whether a field states the client's address, its certificate or another property of the
/// client's connection. CacheWarp trusts such a field only from trusted proxies, and never shares
/// an answer that it can have changed.
pub fn is_forwarding_field(name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    let begins = |beginning: &[u8]| {
        name.len() >= beginning.len()
            && name.iter().copied().map(dash).zip(beginning).all(|(one, other)| one == *other)
    };
    let is = |whole: &[u8]| name.len() == whole.len() && begins(whole);
    begins(b"x-forwarded-")
        || is(b"forwarded")
        || is(b"x-real-ip")
        // RFC 9440 §4: only the party that ends TLS may state the client's certificate.
        || is(b"client-cert")
        || is(b"client-cert-chain")
}

/// Returns the reason why a field cannot be part of the cache key, if there is one.
pub fn refused_as_key(header: &HeaderName) -> Option<&'static str> {
    match RequestFields::default().class(header) {
        FieldClass::Connection => Some("it belongs to the client's connection"),
        FieldClass::Credential if !is_forwarding_field(header) => {
            Some("it identifies the client (RFC 9111 §3.5)")
        }
        // A cache key does not distinguish a part or a 304 from a whole response.
        FieldClass::Dropped if PARTIAL_FIELDS.contains(header) => Some("it requests a part or a 304"),
        FieldClass::Withheld if is_forwarding_field(header) => {
            Some("CacheWarp sets it, and the key already has host and scheme")
        }
        FieldClass::Sent
        | FieldClass::Withheld
        | FieldClass::Dropped
        | FieldClass::Credential
        | FieldClass::Key
        | FieldClass::Unlisted => None,
    }
}

/// Returns the reason why a field cannot be harmless, if there is one. A shared fetch does not send
/// harmless fields, so `X-Forwarded-*` and `baggage` may be among them.
pub fn refused_as_harmless(header: &HeaderName) -> Option<&'static str> {
    let is_identity =
        ["x-forwarded-client-cert", "client-cert", "client-cert-chain"].contains(&header.as_str());
    let is_allowed = (is_forwarding_field(header) && !is_identity)
        || ["baggage", "correlation-context"].contains(&header.as_str());
    match RequestFields::default().class(header) {
        FieldClass::Connection => Some("it belongs to the client's connection"),
        FieldClass::Credential if !is_allowed => Some("it identifies the client"),
        FieldClass::Sent
        | FieldClass::Withheld
        | FieldClass::Dropped
        | FieldClass::Credential
        | FieldClass::Key
        | FieldClass::Unlisted => None,
    }
}

/// Tells whether a list contains a name; `_` and `-` are equal.
pub fn contain_spelling(names: &[HeaderName], name: &HeaderName) -> bool {
    let spelling = dashed(name.as_str().as_bytes());
    names.iter().any(|other| dashed(other.as_str().as_bytes()) == spelling)
}

/// Tells whether two names are equal where `_` and `-` are.
pub fn is_spelling(one: &HeaderName, other: &HeaderName) -> bool {
    let (one, other) = (one.as_str().as_bytes(), other.as_str().as_bytes());
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| dash(*one) == dash(*other))
}

const fn dash(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte }
}

/// Returns a name in the spelling that CGI compares.
fn dashed(name: &[u8]) -> Vec<u8> {
    name.iter().copied().map(dash).collect()
}

fn by_beginning(name: &[u8]) -> Option<FieldClass> {
    let listed = PREFIXES.iter().find(|(beginning, _)| name.starts_with(beginning.as_bytes()));
    listed.map(|(_, class)| *class).or_else(|| {
        let overrides = name.starts_with(b"x-http-") && name.ends_with(b"-override");
        overrides.then_some(FieldClass::Dropped)
    })
}

/// Compares two names. Most have 8 to 16 bytes: two words each, which take no call.
fn are_equal(one: &[u8], other: &[u8]) -> bool {
    const WORD: usize = size_of::<u64>();
    let ends = |name: &[u8]| {
        let (first, last) = (name.first_chunk::<WORD>()?, name.last_chunk::<WORD>()?);
        Some((u64::from_le_bytes(*first), u64::from_le_bytes(*last)))
    };
    one.len() == other.len()
        && match (ends(one), ends(other)) {
            (Some(one_ends), Some(other_ends)) if one.len() <= 2 * WORD => one_ends == other_ends,
            _ => one == other,
        }
}

/// Computes the slot of a name from its length and four of its bytes. The factors spread the listed
/// names evenly.
fn slot(name: &[u8]) -> usize {
    let length = name.len();
    let middle = name.get(length / 2).copied().unwrap_or_default();
    let [third, fourth_last, last] = match name {
        [_, _, third, .., last] if let [.., fourth_last, _, _, _] = name => [*third, *fourth_last, *last],
        _ => {
            let at = |index: usize| name.get(index).copied().unwrap_or_default();
            [at(2), at(length.saturating_sub(4)), at(length.saturating_sub(1))]
        }
    }
    .map(usize::from);
    let middle = usize::from(middle);
    (length * 287 + last * 916 + fourth_last * 67 + middle * 759 + third * 357) % SLOTS
}

#[cfg(test)]
mod tests;
