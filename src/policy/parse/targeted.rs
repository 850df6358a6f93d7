//! Cache directives for caches like us (RFC 9213).
//!
//! A targeted field is a dictionary, and is read as nothing but a dictionary: what is no structured
//! field is ignored as a whole, and then the next field speaks, `Cache-Control` last. The first
//! that can be read and is not empty takes the place of `Cache-Control` and of `Expires`.

use http::HeaderMap;
use http::header::{CACHE_CONTROL, HeaderName, HeaderValue};

use crate::policy::parse::directives::{
    DirectiveScope, DirectiveSeconds, DirectiveSource, Directives, {self},
};
use crate::policy::parse::seconds::DeltaSeconds;
use crate::policy::parse::structured::{
    DictionaryMember, MemberValue, {self},
};
use crate::policy::parse::syntax::DirectiveArgument;

/// For CacheWarp alone.
static CACHEWARP: HeaderName = HeaderName::from_static("cachewarp-cache-control");

/// For every cache that the origin's operator has hired. RFC 9213 §3.1: it is passed on, since the
/// next may be another.
static CDN: HeaderName = HeaderName::from_static("cdn-cache-control");

impl Directives {
    /// Reads what a response says to us: the targeted field that takes precedence, or else its
    /// `Cache-Control`.
    pub fn of(response: &HeaderMap) -> Self {
        match members(response) {
            Some(members) => {
                let said = Self { source: DirectiveSource::Targeted, ..Self::default() };
                members.iter().fold(said, read)
            }
            None => Self::parse(response.get_all(CACHE_CONTROL).into_iter().map(HeaderValue::as_bytes)),
        }
    }
}

/// The fields that the qualified forms of `no-cache` and `private` name in a response, whether they
/// stand in `Cache-Control` or in the targeted field that takes precedence.
pub(in crate::policy) fn named_fields(response: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    directives::named_fields(response).chain(targeted_fields(response))
}

fn targeted_fields(response: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    members(response)
        .unwrap_or_default()
        .into_iter()
        .filter(|member| ["no-cache", "private"].contains(&member.key.as_str()))
        .filter_map(|member| match member.value {
            MemberValue::Text(text) => Some(text),
            MemberValue::True | MemberValue::False | MemberValue::Integer(_) | MemberValue::Other => None,
        })
        .flat_map(|text| {
            let names = DirectiveArgument::Quoted(text.as_bytes()).members();
            names.filter_map(|name| HeaderName::from_bytes(name).ok()).collect::<Vec<_>>()
        })
}

/// Whether a response carries a field that is for us alone.
pub(in crate::policy) fn is_addressed(response: &HeaderMap) -> bool {
    response.contains_key(&CACHEWARP)
}

/// Takes out of a response what is for us alone. Every response to a client has to go through this;
/// for one from a store, [`ADDRESSED`](crate::policy::Obligations::ADDRESSED) says whether there is
/// anything to take out.
pub fn strip_addressed(response: &mut HeaderMap) {
    // Hardly any response has it: a look at the names costs less than a search.
    if response.keys().any(|name| *name == CACHEWARP) {
        response.remove(&CACHEWARP);
    }
}

/// The first field of our target list that is valid and not empty (RFC 9213 §2.2).
fn members(response: &HeaderMap) -> Option<Vec<DictionaryMember>> {
    // Hardly any response has one: a look at the names costs less than two searches.
    if !response.keys().any(|name| *name == CACHEWARP || *name == CDN) {
        return None;
    }
    [&CACHEWARP, &CDN]
        .into_iter()
        .filter_map(|name| structured::dictionary(response, name))
        .find(|members| !members.is_empty())
}

/// Adds one directive. They mean what they mean in `Cache-Control`; of a value of the wrong type, a
/// restriction is kept and a permission is not.
fn read(said: Directives, DictionaryMember { key, value }: &DictionaryMember) -> Directives {
    let on = *value != MemberValue::False;
    let granted = *value == MemberValue::True;
    match key.as_str() {
        "no-store" => Directives { no_store: on, ..said },
        "no-cache" => Directives { no_cache: scope(value), ..said },
        "private" => Directives { private: scope(value), ..said },
        "must-revalidate" => Directives { must_revalidate: on, ..said },
        "proxy-revalidate" => Directives { proxy_revalidate: on, ..said },
        "public" => Directives { public: granted, ..said },
        "must-understand" => Directives { must_understand: granted, ..said },
        "immutable" => Directives { immutable: granted, ..said },
        "max-age" => Directives { max_age: limit(value), ..said },
        "s-maxage" => Directives { s_maxage: limit(value), ..said },
        "stale-while-revalidate" => Directives { stale_while_revalidate: limit(value), ..said },
        "stale-if-error" => Directives { stale_if_error: limit(value), ..said },
        // RFC 9213 §2.2: unknown directives are ignored.
        _ => said,
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
