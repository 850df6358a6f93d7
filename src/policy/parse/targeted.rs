//! Targeted cache directives (RFC 9213).
//!
//! A targeted field is a dictionary. The parser ignores a field that is not a valid structured
//! field and continues with the next one; `Cache-Control` is the last. The first field that is
//! valid and not empty replaces `Cache-Control` and `Expires`.

use http::HeaderMap;
use http::header::{CACHE_CONTROL, HeaderName, HeaderValue, SET_COOKIE};

use crate::policy::parse::directives::{self, DirectiveScope, DirectiveSeconds, DirectiveSource, Directives};
use crate::policy::parse::seconds::DeltaSeconds;
use crate::policy::parse::structured::{self, DictionaryMember, MemberValue};
use crate::policy::parse::syntax::DirectiveArgument;

/// The field for CacheWarp alone.
static CACHEWARP: HeaderName = HeaderName::from_static("cachewarp-cache-control");

/// The field for every cache that works for the origin's operator. RFC 9213 §3.1: a cache forwards
/// it, since the next cache may also be one of these.
static CDN: HeaderName = HeaderName::from_static("cdn-cache-control");

/// The directives with an argument that names fields.
const QUALIFIED: &[&str] = &["no-cache", "private"];

impl Directives {
    /// Reads the directives of a response for this cache: the targeted field that takes precedence,
    /// or else `Cache-Control`.
    pub fn of(response: &HeaderMap) -> Self {
        let everyones =
            || Self::parse(response.get_all(CACHE_CONTROL).into_iter().map(HeaderValue::as_bytes));
        match members(response) {
            Some(members) => {
                let nothing = Self { source: DirectiveSource::Targeted, ..Self::default() };
                let directives = members.iter().fold(nothing, read);
                // RFC 9213 §2.2 lets an unknown directive replace `Cache-Control`. It may be a
                // misspelled `private`, so the prohibitions beside it hold.
                if directives == nothing { nothing.with_prohibitions_of(everyones()) } else { directives }
            }
            None => everyones(),
        }
    }

    /// Returns the directives of a response from the origin. A `private` that names only fields
    /// which the response does not have counts for the whole response: the argument may be a
    /// mistake (`private=true`, `private='x-user'`). `Set-Cookie` is never one, because origins
    /// name it in every response.
    pub(in crate::policy) fn on_arrival(response: &HeaderMap) -> Self {
        let directives = Self::of(response);
        if directives.private == DirectiveScope::Fields && !names_a_field(response, &["private"]) {
            Self { private: DirectiveScope::Whole, ..directives }
        } else {
            directives
        }
    }

    fn with_prohibitions_of(self, everyones: Self) -> Self {
        let Self { no_store, no_cache, private, malformed, .. } = everyones;
        Self { no_store, no_cache, private, malformed, ..self }
    }
}

/// Returns whether a response has a field that these directives name.
fn names_a_field(response: &HeaderMap, directives: &[&str]) -> bool {
    fields_named_by(response, directives)
        .any(|name| response.contains_key(&name) || name == SET_COOKIE || name == "set-cookie2")
}

/// Returns the fields that the qualified forms of `no-cache` and `private` name in a response, in
/// `Cache-Control` and in the targeted field that takes precedence.
pub(in crate::policy) fn named_fields(response: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    fields_named_by(response, QUALIFIED)
}

fn fields_named_by<'a>(response: &'a HeaderMap, names: &'a [&str]) -> impl Iterator<Item = HeaderName> + 'a {
    directives::named_fields(response, names).chain(targeted_fields(response, names))
}

fn targeted_fields<'a>(response: &HeaderMap, names: &'a [&str]) -> impl Iterator<Item = HeaderName> + 'a {
    members(response)
        .unwrap_or_default()
        .into_iter()
        .filter(|member| names.contains(&member.key.as_str()))
        .filter_map(|member| match member.value {
            MemberValue::Text(text) => Some(text),
            MemberValue::True | MemberValue::False | MemberValue::Integer(_) | MemberValue::Other => None,
        })
        .flat_map(|text| {
            let names = DirectiveArgument::Quoted(text.as_bytes()).members();
            names.filter_map(|name| HeaderName::from_bytes(name).ok()).collect::<Vec<_>>()
        })
}

/// Returns whether a response carries the field for CacheWarp alone.
pub(in crate::policy) fn is_addressed(response: &HeaderMap) -> bool {
    response.contains_key(&CACHEWARP)
}

/// Removes the field for CacheWarp alone. Every response to a client passes through this function.
/// For a stored response, [`ADDRESSED`](crate::policy::Obligations::ADDRESSED) tells whether the
/// field is present.
pub fn strip_addressed(response: &mut HeaderMap) {
    // Few responses have the field, and a pass over the names costs less than a lookup.
    if response.keys().any(|name| *name == CACHEWARP) {
        response.remove(&CACHEWARP);
    }
}

/// Returns the first field of the target list that is valid and not empty (RFC 9213 §2.2).
fn members(response: &HeaderMap) -> Option<Vec<DictionaryMember>> {
    // Few responses have these fields, and a pass over the names costs less than two lookups.
    if !response.keys().any(|name| *name == CACHEWARP || *name == CDN) {
        return None;
    }
    [&CACHEWARP, &CDN]
        .into_iter()
        .filter_map(|name| structured::dictionary(response, name))
        .find(|members| !members.is_empty())
}

/// Adds one directive, which has its `Cache-Control` meaning. If the value has the wrong type, a
/// restriction applies and a permission does not.
fn read(directives: Directives, DictionaryMember { key, value }: &DictionaryMember) -> Directives {
    let on = *value != MemberValue::False;
    let granted = *value == MemberValue::True;
    match key.as_str() {
        "no-store" => Directives { no_store: on, ..directives },
        "no-cache" => Directives { no_cache: scope(value), ..directives },
        "private" => Directives { private: scope(value), ..directives },
        "must-revalidate" => Directives { must_revalidate: on, ..directives },
        "proxy-revalidate" => Directives { proxy_revalidate: on, ..directives },
        "public" => Directives { public: granted, ..directives },
        "must-understand" => Directives { must_understand: granted, ..directives },
        "immutable" => Directives { immutable: granted, ..directives },
        "max-age" => Directives { max_age: limit(value), ..directives },
        "s-maxage" => Directives { s_maxage: limit(value), ..directives },
        "stale-while-revalidate" => Directives { stale_while_revalidate: limit(value), ..directives },
        "stale-if-error" => Directives { stale_if_error: limit(value), ..directives },
        // RFC 9213 §2.2: a cache ignores unknown directives.
        _ => directives,
    }
}

fn scope(value: &MemberValue) -> DirectiveScope {
    match value {
        MemberValue::False => DirectiveScope::Nothing,
        MemberValue::Text(text) => DirectiveScope::of(DirectiveArgument::Quoted(text.as_bytes())),
        MemberValue::True | MemberValue::Integer(_) | MemberValue::Other => DirectiveScope::Whole,
    }
}

fn limit(value: &MemberValue) -> DirectiveSeconds {
    match value {
        MemberValue::Integer(seconds) => {
            DeltaSeconds::of(*seconds).map_or(DirectiveSeconds::Invalid, DirectiveSeconds::Seconds)
        }
        MemberValue::True | MemberValue::False | MemberValue::Text(_) | MemberValue::Other => {
            DirectiveSeconds::Invalid
        }
    }
}
