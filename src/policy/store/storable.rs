//! The gate into the store: whether a shared cache may store a response (RFC 9111 §3).
//!
//! The gate decides by the head. The code that collects the body decides by the body, and returns a
//! [`NotStorable`] too.

use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, StatusCode};

use crate::policy::exchange::Exchange;
use crate::policy::parse::directives::{DirectiveScope, DirectiveSeconds, Directives};
use crate::policy::parse::seconds::DeltaSeconds;
use crate::policy::parse::{targeted, validators};
use crate::policy::reuse::range;
use crate::policy::reuse::request::RequestFacts;
use crate::policy::reuse::vary::Vary;
use crate::policy::store::freshness::{self, Lifetime};
use crate::policy::store::not_storable::NotStorable;
use crate::policy::store::overrides::{AppliedDirectives, OverrideSet, StatedFreshness};
use crate::policy::store::rules::{CacheRules, StaleDespiteSMaxage, StorableStatuses};
use crate::policy::store::status;
use crate::policy::store::stored::{Obligations, StoredFacts};

/// The statements that apply to a response: the origin's own, and those of its route.
struct Statements<'a> {
    /// The freshness that the route states.
    freshness: Option<&'a StatedFreshness>,
    applied: AppliedDirectives,
    /// The obligations that the applied directives state.
    stated: Obligations,
}

impl<'a> Statements<'a> {
    fn read(exchange: &Exchange<'_>, directives: Directives, rules: &'a CacheRules) -> Self {
        let freshness = rules.freshness.as_ref().filter(|_| replaces_freshness(exchange.status, rules));
        let applied = AppliedDirectives::of(directives, rules.overrides, freshness);
        let stated = stated_obligations(&applied.directives, rules, freshness);
        Self { freshness, applied, stated }
    }
}

/// Decides whether a response may be stored. Returns the facts to store with it if so.
pub fn storable(exchange: &Exchange<'_>, rules: &CacheRules) -> Result<StoredFacts, NotStorable> {
    storable_by(exchange, Directives::on_arrival(exchange.response), rules)
}

/// Decides whether a stored response with an updated head may stay. A stored head lacks the fields
/// that a `private` names, so only a new `private` must name fields of the response.
pub(in crate::policy) fn storable_again(
    exchange: &Exchange<'_>,
    stored: &HeaderMap,
    rules: &CacheRules,
) -> Result<StoredFacts, NotStorable> {
    let names_stored = Directives::of(stored).private == DirectiveScope::Fields;
    let read = if names_stored { Directives::of } else { Directives::on_arrival };
    storable_by(exchange, read(exchange.response), rules)
}

fn storable_by(
    exchange: &Exchange<'_>,
    directives: Directives,
    rules: &CacheRules,
) -> Result<StoredFacts, NotStorable> {
    let Statements { freshness, mut applied, stated } = Statements::read(exchange, directives, rules);
    client_allows(exchange.request)?;
    status_allows(exchange.status, rules)?;
    origin_allows(exchange, &mut applied, stated, rules)?;
    content_allows(exchange, rules)?;
    let stored = facts(exchange, &applied, stated, rules, freshness)?;
    match stored.obligations.refused(exchange.request) {
        Some(refusal) => Err(refusal.into()),
        None => Ok(stored),
    }
}

/// Returns the reason why the statements of this head alone do not let other requests share what it
/// says: the request has a credential or an unlisted field, and the head was made for it.
pub(in crate::policy) fn refused_to_others(
    exchange: &Exchange<'_>,
    rules: &CacheRules,
) -> Option<NotStorable> {
    let directives = Directives::of(exchange.response);
    let Statements { freshness, applied, stated } = Statements::read(exchange, directives, rules);
    let initial_age = freshness::initial_age(exchange);
    let lifetime = lifetime(exchange, &applied, stated, rules, freshness, initial_age);
    obligations(exchange.response, stated, lifetime, applied.lifted)
        .refused(exchange.request)
        .map(NotStorable::from)
}

fn client_allows(request: &RequestFacts) -> Result<(), NotStorable> {
    request.forbids_storing().map_or(Ok(()), Err)
}

fn status_allows(status: StatusCode, rules: &CacheRules) -> Result<(), NotStorable> {
    match status::refusal(status) {
        Some(reason) => Err(reason),
        None if rules.admits(status) => Ok(()),
        None => Err(NotStorable::Status),
    }
}

fn origin_allows(
    exchange: &Exchange<'_>,
    applied: &mut AppliedDirectives,
    stated: Obligations,
    rules: &CacheRules,
) -> Result<(), NotStorable> {
    let directives = &applied.directives;
    if directives.malformed {
        return Err(NotStorable::Malformed);
    }
    // §5.2.2.3: `must-understand` overrides `no-store` in a cache that understands the status.
    if directives.must_understand && !status::is_understood(exchange.status) {
        return Err(NotStorable::Status);
    }
    if directives.no_store && !directives.must_understand {
        return Err(NotStorable::NoStore);
    }
    if directives.private == DirectiveScope::Whole {
        return Err(NotStorable::Private);
    }
    let set = exchange.response.get_all(SET_COOKIE);
    let sets_credential = set.iter().any(|cookie| !rules.ignored_cookies.cover_set(cookie));
    if sets_credential && !stated.contains(Obligations::SHARED) && !applied.lift(OverrideSet::SET_COOKIE) {
        return Err(NotStorable::SetCookie);
    }
    Ok(())
}

fn content_allows(exchange: &Exchange<'_>, rules: &CacheRules) -> Result<(), NotStorable> {
    let response = exchange.response;
    if response.get_all(CONTENT_RANGE).iter().any(range::is_content_range) {
        return Err(NotStorable::ContentRange);
    }
    if !states_no_content(exchange) && !rules.content_types.admit(response) {
        return Err(NotStorable::ContentType);
    }
    crate::policy::parse::tags::tags(response, rules)?;
    match rules.vary(response) {
        Vary::None | Vary::Fields(_) => Ok(()),
        Vary::Star => Err(NotStorable::VaryStar),
        Vary::TooMany => Err(NotStorable::VaryFields),
    }
}

/// Returns whether a response has no content and names no type of it, which a `204` has no reason
/// to do.
fn states_no_content(exchange: &Exchange<'_>) -> bool {
    let is_empty = exchange.status == StatusCode::NO_CONTENT
        || exchange.response.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() == b"0");
    is_empty && !exchange.response.contains_key(CONTENT_TYPE)
}

/// Returns whether the freshness that a route states applies to responses with this status. It does
/// not make an error cacheable that the operator did not list, and `negative_ttl` precedes it.
fn replaces_freshness(status: StatusCode, rules: &CacheRules) -> bool {
    let is_meant = match &rules.statuses {
        StorableStatuses::Any => status::is_heuristically_cacheable(status),
        StorableStatuses::Listed(statuses) => statuses.contains(&status),
    };
    is_meant && rules.negative(status).is_none()
}

/// Returns the lifetime of a response. One that a route states is a statement of the origin only if
/// the origin states freshness that is as long, or lets all requesters share the response. One of a
/// response whose prohibition a route lifts is none.
fn lifetime(
    exchange: &Exchange<'_>,
    applied: &AppliedDirectives,
    obligations: Obligations,
    rules: &CacheRules,
    freshness: Option<&StatedFreshness>,
    initial_age: Duration,
) -> Lifetime {
    let lifetime = match freshness {
        Some(freshness) => {
            let stated = Lifetime::stated(exchange, &applied.stated);
            let is_fresh = |stated: Duration| {
                let covers = stated >= freshness.lifetime || obligations.contains(Obligations::SHARED);
                stated > initial_age && covers
            };
            let states_it = stated.is_some_and(is_fresh) && applied.stated.no_cache != DirectiveScope::Whole;
            if states_it {
                Lifetime::Explicit(freshness.lifetime)
            } else {
                Lifetime::Heuristic(freshness.lifetime)
            }
        }
        None => Lifetime::of(exchange, &applied.directives, rules),
    };
    match lifetime {
        Lifetime::Explicit(lifetime) if !applied.lifted.is_empty() => Lifetime::Heuristic(lifetime),
        lifetime @ (Lifetime::Explicit(_) | Lifetime::Heuristic(_) | Lifetime::Unknown) => lifetime,
    }
}

fn facts(
    exchange: &Exchange<'_>,
    applied: &AppliedDirectives,
    stated: Obligations,
    rules: &CacheRules,
    freshness: Option<&StatedFreshness>,
) -> Result<StoredFacts, NotStorable> {
    let directives = &applied.directives;
    let initial_age = freshness::initial_age(exchange);
    let lifetime = lifetime(exchange, applied, stated, rules, freshness, initial_age);
    let obligations = obligations(exchange.response, stated, lifetime, applied.lifted);
    let comes_fresh = lifetime.duration() > initial_age;
    let default_window = |rule: Duration| {
        if comes_fresh && !obligations.forbid_stale() { rule } else { Duration::ZERO }
    };
    let stored = StoredFacts {
        received: exchange.received,
        initial_age,
        lifetime: freshness::capped(lifetime.duration(), initial_age),
        stale_while_revalidate: window(
            directives.stale_while_revalidate,
            default_window(
                freshness
                    .and_then(|freshness| freshness.stale_while_revalidate)
                    .unwrap_or(rules.stale_while_revalidate),
            ),
        ),
        stale_if_error: window(
            directives.stale_if_error,
            default_window(
                freshness.and_then(|freshness| freshness.stale_if_error).unwrap_or(rules.stale_if_error),
            ),
        ),
        obligations,
        rules: rules.digest,
    };
    // §3: without any statement of freshness, the status has to be heuristically cacheable.
    let not_cacheable = lifetime == Lifetime::Unknown
        && !(directives.public || status::is_heuristically_cacheable(exchange.status));
    if not_cacheable || stored.keep_for(exchange.received).is_zero() {
        Err(reason_unusable(directives, lifetime))
    } else {
        Ok(stored)
    }
}

/// Returns the reason against storing a response that is allowed but could never be served.
fn reason_unusable(directives: &Directives, lifetime: Lifetime) -> NotStorable {
    match lifetime {
        _ if directives.no_cache == DirectiveScope::Whole => NotStorable::NoCache,
        Lifetime::Unknown => NotStorable::NoFreshness,
        Lifetime::Explicit(_) | Lifetime::Heuristic(_) => NotStorable::Expired,
    }
}

/// Returns the time past the lifetime in which a response may be served: `default` if the origin
/// states none, and zero if its value is malformed.
fn window(limit: DirectiveSeconds, default: Duration) -> Duration {
    limit.or(DeltaSeconds::ZERO).map_or(default, DeltaSeconds::duration)
}

/// Returns the obligations that the directives state, and those that follow from the response as a
/// whole.
fn obligations(
    response: &HeaderMap,
    stated: Obligations,
    lifetime: Lifetime,
    lifted: OverrideSet,
) -> Obligations {
    // The origin states that requests share the response by a time in which they may, or by
    // `public`. A response that each request has to validate first says nothing of the kind: its
    // validator may be that of another client's response (a version, a time of change).
    let validated_each_time = stated.contains(Obligations::NO_CACHE);
    let stated_shared = stated.contains(Obligations::SHARED);
    let guessed = match lifetime {
        Lifetime::Explicit(lifetime) => (lifetime.is_zero() || validated_each_time) && !stated_shared,
        Lifetime::Heuristic(_) => true,
        Lifetime::Unknown => !(validated_each_time && stated_shared && lifted.is_empty()),
    };
    stated
        | set([
            (guessed, Obligations::HEURISTIC),
            (validators::has_any(response), Obligations::VALIDATOR),
            (targeted::is_addressed(response), Obligations::ADDRESSED),
        ])
}

/// Returns the obligations that the directives state.
fn stated_obligations(
    directives: &Directives,
    rules: &CacheRules,
    freshness: Option<&StatedFreshness>,
) -> Obligations {
    let shared = directives.public || matches!(directives.s_maxage, DirectiveSeconds::Seconds(_));
    // §5.2.2.10: `s-maxage` implies `proxy-revalidate`. The operator may state that the origin does
    // not mean this, or replace the lifetime.
    let despite = if freshness.is_some() { StaleDespiteSMaxage::Yes } else { rules.stale_despite_s_maxage };
    let s_maxage_forbids_stale = match (directives.s_maxage, despite) {
        (DirectiveSeconds::Absent, _) | (DirectiveSeconds::Seconds(_), StaleDespiteSMaxage::Yes) => false,
        (DirectiveSeconds::Seconds(_), StaleDespiteSMaxage::No) | (DirectiveSeconds::Invalid, _) => true,
    };
    let proxy_revalidate = directives.proxy_revalidate || s_maxage_forbids_stale;
    set([
        (shared, Obligations::SHARED),
        (directives.must_revalidate, Obligations::MUST_REVALIDATE),
        (proxy_revalidate, Obligations::PROXY_REVALIDATE),
        (directives.no_cache == DirectiveScope::Whole, Obligations::NO_CACHE),
        (directives.immutable, Obligations::IMMUTABLE),
    ])
}

fn set<const N: usize>(parts: [(bool, Obligations); N]) -> Obligations {
    parts.into_iter().filter(|(holds, _)| *holds).fold(Obligations::default(), |all, (_, one)| all | one)
}
