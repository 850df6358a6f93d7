//! Request fields by their names: which of them can change an answer for one caller, and which
//! reach the origin.
//!
//! A response whose freshness the origin did not state is shared only among requests all of whose
//! fields are known to be harmless. [`table`] lists these names, each group with its treatment and
//! the reason; the operator adds to it by `credential_headers`, `key_headers` and
//! `harmless_headers`. A name that neither lists is [`FieldClass::Unlisted`].
//!
//! **Invariant:** the policy, the head for the origin and every explanation ask
//! [`RequestFields::class`], so that a field which the policy takes for harmless is either in the
//! origin's `Vary` contract or not sent with a shared fetch.

mod table;

use std::sync::Arc;

use http::header::HeaderName;

pub use table::{FieldGroup, PREFIXES, TABLE};

crate::labels! {
    /// How a request field is treated, by its name.
    pub enum FieldClass {
        /// Harmless, and sent with a shared fetch: the origin names it in `Vary` where its answer
        /// depends on it.
        Sent => "sent",
        /// Harmless, and not sent with a shared fetch. Requests that only their client gets the
        /// answer to have it.
        Withheld => "withheld",
        /// It replaces the request, or asks for less than the whole: not sent with a shared fetch.
        Dropped => "dropped",
        /// It says who asks: only a response that is meant for all callers is shared with such a
        /// request.
        Credential => "credential",
        /// Sent, and a part of the cache key (`key_headers`).
        Key => "key",
        /// Nothing is known of it: sent, and no freshness but the origin's own applies.
        Unlisted => "unlisted",
        /// It belongs to the client's connection, or CacheWarp writes it anew.
        Connection => "connection",
    }
}

/// Slots of the hash table: a power of two, several times the number of names.
const SLOTS: usize = 1024;

/// The classes of all request fields: the listed names and the operator's.
///
/// Cheap to clone: one table for the whole process.
#[derive(Clone, Debug)]
pub struct RequestFields(Arc<ClassSet>);

#[derive(Debug)]
struct ClassSet {
    key_headers: Vec<HeaderName>,
    /// Where each slot's names begin in `names`; one more than there are slots.
    starts: Vec<u16>,
    names: Vec<(Box<[u8]>, FieldClass)>,
}

impl Default for RequestFields {
    /// The listed names alone.
    fn default() -> Self {
        Self::new(&[], &[], &[])
    }
}

impl RequestFields {
    /// The listed names, and before them the operator's: `credential_headers`, `key_headers` and
    /// `harmless_headers`.
    pub fn new(credential: &[HeaderName], key: &[HeaderName], harmless: &[HeaderName]) -> Self {
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
            // To CGI and its heirs it is the same variable, and would go out beside the key.
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
        Self(Arc::new(ClassSet::new(key.to_vec(), known)))
    }

    /// The class of a field.
    ///
    /// A name with `_` is, to CGI and its heirs, the name with `-`. So it has the class of that
    /// name where the class keeps it from the origin or from the store, and is
    /// [`FieldClass::Dropped`] where that name is sent.
    pub fn class(&self, name: &HeaderName) -> FieldClass {
        let name = name.as_str().as_bytes();
        self.0.find(name).unwrap_or_else(|| self.0.class_of_rare(name))
    }

    /// The fields that are a part of every cache key.
    pub fn key_headers(&self) -> &[HeaderName] {
        &self.0.key_headers
    }
}

impl ClassSet {
    fn new(key_headers: Vec<HeaderName>, mut names: Vec<(Box<[u8]>, FieldClass)>) -> Self {
        names.sort_by_key(|(name, _)| slot(name));
        let start = |at: usize| names.partition_point(|(name, _)| slot(name) < at);
        let starts = (0..=SLOTS).map(|at| u16::try_from(start(at)).unwrap_or(u16::MAX)).collect();
        Self { key_headers, starts, names }
    }

    /// The class of a name that is listed as it is written here.
    fn find(&self, name: &[u8]) -> Option<FieldClass> {
        let slot = slot(name);
        let (start, end) = (*self.starts.get(slot)?, *self.starts.get(slot + 1)?);
        let names = self.names.get(usize::from(start)..usize::from(end))?;
        names.iter().find(|(listed, _)| **listed == *name).map(|(_, class)| *class)
    }

    /// The class of a name that is not listed as it is written: by its spelling with `-`, or by its
    /// beginning.
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

/// Whether a field claims where a request came from. CacheWarp believes only trusted proxies in
/// this, and never shares an answer that such a claim can have changed.
pub fn is_claim(name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    let begins = |beginning: &[u8]| {
        name.len() >= beginning.len()
            && name.iter().copied().map(dash).zip(beginning).all(|(one, other)| one == *other)
    };
    let is = |whole: &[u8]| name.len() == whole.len() && begins(whole);
    begins(b"x-forwarded-") || is(b"forwarded") || is(b"x-real-ip")
}

const fn dash(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte }
}

/// A name as CGI and its heirs compare it.
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

/// The slot of a name, by its length and four of its bytes. The factors spread the listed names.
fn slot(name: &[u8]) -> usize {
    let at = |place: usize| name.get(place).map_or(0, |&byte| usize::from(byte));
    let length = name.len();
    let end = at(length.saturating_sub(1)) * 916 + at(length.saturating_sub(4)) * 67;
    (length * 287 + end + at(length / 2) * 759 + at(2) * 357) % SLOTS
}

#[cfg(test)]
mod tests;
