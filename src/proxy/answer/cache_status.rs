//! The `Cache-Status` field (RFC 9211): how the cache handled a request.

use std::time::Duration;

use http::header::Entry;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::key::CacheKey;
use crate::label::Label;
use crate::policy::{NotReusable, NotStorable};
use crate::proxy::admission::doorkeeper::Admission;
use crate::proxy::answer::seconds::SecondsValues;
use crate::proxy::rules::PassReason;
use crate::store::{Store, Tier};

/// The name of the field.
pub(in crate::proxy) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

crate::labels! {
    /// The reason for which a request went forward (RFC 9211 §2.2).
    pub(in crate::proxy) enum ForwardReason {
        /// The method asks for something that is not stored.
        Method => "method",
        /// Nothing is stored for this target.
        UriMiss => "uri-miss",
        /// Something is stored, but not for these request fields.
        VaryMiss => "vary-miss",
        /// The stored response is stale.
        Stale => "stale",
        /// This request does not accept the stored response.
        Request => "request",
        /// The stored response may not be shown to this client.
        Bypass => "bypass",
    }
}

impl ForwardReason {
    /// Returns the reason for the policy's decision on a stored response.
    pub(in crate::proxy) fn because(reason: NotReusable) -> Self {
        match reason {
            NotReusable::Expired | NotReusable::NoCache | NotReusable::MustRevalidate => Self::Stale,
            NotReusable::RequestNoCache
            | NotReusable::RequestMaxAge
            | NotReusable::RequestMinFresh
            | NotReusable::RequestMaxStale => Self::Request,
            NotReusable::Method => Self::Method,
            NotReusable::Authorization
            | NotReusable::Cookie
            | NotReusable::CredentialHeader
            | NotReusable::ClientCertificate
            | NotReusable::UnlistedField => Self::Bypass,
            NotReusable::OtherRules => Self::UriMiss,
        }
    }
}

/// The seconds for which a response is still fresh, or has been stale.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) enum TtlSeconds {
    Left(Duration),
    Past(Duration),
}

impl TtlSeconds {
    /// Returns a sign, and the number that follows it.
    fn seconds(self) -> (&'static str, u64) {
        match self {
            Self::Left(left) => ("", left.as_secs()),
            // RFC 9211 §2.4: a negative number means stale. A fraction of a second is rounded away
            // from zero.
            Self::Past(past) => ("-", past.as_secs().saturating_add(1)),
        }
    }
}

/// The reasons behind an answer, for the access log.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::proxy) struct AnswerReasons {
    /// The tier that had the response.
    pub(in crate::proxy) tier: Option<Tier>,
    pub(in crate::proxy) forward: Option<ForwardReason>,
    /// The reason of a failure, or why the response is not stored.
    pub(in crate::proxy) detail: Option<&'static str>,
    /// The age of a stored response, in seconds; `None` if only the head has it.
    pub(in crate::proxy) age: Option<u64>,
}

/// The cache's handling of a request.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) enum CacheStatus {
    /// Answered from a store.
    Hit { ttl: TtlSeconds, tier: Tier },
    /// Fetched, and stored if the body proves valid.
    Stored { forward: ForwardReason },
    /// Fetched and not stored.
    NotStored { forward: ForwardReason, reason: &'static str },
    /// Validated, and the stored response updated.
    Validated { forward: ForwardReason },
    /// Validated, and not stored afterwards.
    ValidatedOnly { forward: ForwardReason, reason: &'static str },
    /// Answered from another request's fetch.
    Collapsed { forward: ForwardReason },
}

impl CacheStatus {
    /// Returns the status of a storable response, before its body is complete.
    pub(in crate::proxy) fn storing(store: &Store, forward: ForwardReason, admission: Admission) -> Self {
        let no_tier = (!store.has_tier()).then_some(NotStorable::NoTier);
        match no_tier.or(admission.refusal()) {
            None => Self::Stored { forward },
            Some(reason) => Self::NotStored { forward, reason: reason.word() },
        }
    }

    /// Returns the facts of the status that the access log shows.
    pub(in crate::proxy) fn reasons(self) -> AnswerReasons {
        let none = AnswerReasons::default();
        match self {
            Self::Hit { tier, .. } => AnswerReasons { tier: Some(tier), ..none },
            Self::Stored { forward } | Self::Validated { forward } | Self::Collapsed { forward } => {
                AnswerReasons { forward: Some(forward), ..none }
            }
            Self::NotStored { forward, reason } | Self::ValidatedOnly { forward, reason } => {
                AnswerReasons { forward: Some(forward), detail: Some(reason), ..none }
            }
        }
    }

    /// Appends the field to a head, after the values of caches nearer to the origin (RFC 9211 §2).
    pub(in crate::proxy) fn append_to(self, head: &mut HeaderMap) {
        thread_local! {
            static MEMORY_HITS: SecondsValues = const { SecondsValues::new() };
            static REDIS_HITS: SecondsValues = const { SecondsValues::new() };
        }
        // Every part of the text is a token.
        let make = || HeaderValue::try_from(self.text()).ok();
        let value = match self {
            Self::Hit { ttl: TtlSeconds::Left(left), tier } => {
                let hits = match tier {
                    Tier::Memory => &MEMORY_HITS,
                    Tier::Redis => &REDIS_HITS,
                };
                hits.with(|hits| hits.get(left.as_secs(), make))
            }
            Self::Hit { .. }
            | Self::Stored { .. }
            | Self::NotStored { .. }
            | Self::Validated { .. }
            | Self::ValidatedOnly { .. }
            | Self::Collapsed { .. } => make(),
        };
        if let Some(value) = value {
            head.append(CACHE_STATUS, value);
        }
    }

    /// Returns the text of the field. It is concatenated rather than formatted, because most
    /// requests need one: this takes one allocation of the exact length, which the value keeps.
    fn text(self) -> String {
        match self {
            Self::Hit { ttl, tier } => {
                let (sign, seconds) = ttl.seconds();
                let mut digits = itoa::Buffer::new();
                ["CacheWarp; hit; ttl=", sign, digits.format(seconds), "; detail=", tier.word()].concat()
            }
            Self::Stored { forward } => ["CacheWarp; fwd=", forward.word(), "; stored"].concat(),
            Self::NotStored { forward, reason } => {
                ["CacheWarp; fwd=", forward.word(), "; detail=", reason].concat()
            }
            Self::Validated { forward } => {
                ["CacheWarp; fwd=", forward.word(), "; fwd-status=304; stored"].concat()
            }
            Self::ValidatedOnly { forward, reason } => {
                ["CacheWarp; fwd=", forward.word(), "; fwd-status=304; detail=", reason].concat()
            }
            Self::Collapsed { forward } => ["CacheWarp; fwd=", forward.word(), "; collapsed"].concat(),
        }
    }
}

/// Appends the field of a request that passes the cache, with the reason and the route that passes
/// it.
pub(in crate::proxy) fn append_pass(head: &mut HeaderMap, reason: PassReason, route: Option<&str>) {
    let route = match (reason, route) {
        (PassReason::Route, Some(route)) => ["/", route],
        (PassReason::Route | PassReason::Method | PassReason::AmbiguousPath, _) => ["", ""],
    };
    let text = ["CacheWarp; fwd=bypass; detail=", reason.word(), &route.concat()].concat();
    if let Ok(value) = HeaderValue::try_from(text) {
        head.append(CACHE_STATUS, value);
    }
}

/// The detail of the answer to a write whose purge some node has not confirmed.
pub(in crate::proxy) const PURGE_UNCONFIRMED: &str = "purge-unconfirmed";

/// Notes in the proxy's own value that some node has not confirmed the purge of a write.
pub(in crate::proxy) fn add_purge_unconfirmed(head: &mut HeaderMap) {
    let detail = ["; detail=", PURGE_UNCONFIRMED].concat();
    if extend_own(head, detail.as_bytes()).is_none() {
        let text = ["CacheWarp; fwd=", ForwardReason::Method.word(), &detail].concat();
        if let Ok(value) = HeaderValue::try_from(text) {
            head.append(CACHE_STATUS, value);
        }
    }
}

/// Adds a parameter to the proxy's own value, which is the last line. `None` if there is no own
/// value.
fn extend_own(head: &mut HeaderMap, parameter: &[u8]) -> Option<()> {
    let Entry::Occupied(mut lines) = head.entry(CACHE_STATUS) else { return None };
    let line = lines.iter_mut().last().filter(|line| line.as_bytes().starts_with(b"CacheWarp;"))?;
    *line = HeaderValue::from_bytes(&[line.as_bytes(), parameter].concat()).ok()?;
    Some(())
}

/// Appends the key (RFC 9211 §2.7) to the proxy's own value, if the head has one.
pub(in crate::proxy) fn add_key(head: &mut HeaderMap, key: &CacheKey) {
    // An answer without the field needs no key.
    let _ = extend_own(head, &[b"; key=\"", &key.hex()[..], b"\""].concat());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Scheme, Target};

    #[test]
    fn every_status_is_a_structured_field() {
        let forward = ForwardReason::UriMiss;
        for (status, want) in [
            (
                CacheStatus::Hit { ttl: TtlSeconds::Left(Duration::from_millis(29_900)), tier: Tier::Redis },
                "CacheWarp; hit; ttl=29; detail=redis",
            ),
            (
                CacheStatus::Hit { ttl: TtlSeconds::Past(Duration::from_millis(1_500)), tier: Tier::Memory },
                "CacheWarp; hit; ttl=-2; detail=memory",
            ),
            (
                CacheStatus::Validated { forward: ForwardReason::Stale },
                "CacheWarp; fwd=stale; fwd-status=304; stored",
            ),
            (
                CacheStatus::ValidatedOnly { forward: ForwardReason::Stale, reason: "private" },
                "CacheWarp; fwd=stale; fwd-status=304; detail=private",
            ),
            (CacheStatus::Stored { forward }, "CacheWarp; fwd=uri-miss; stored"),
            (
                CacheStatus::NotStored { forward, reason: "no-store" },
                "CacheWarp; fwd=uri-miss; detail=no-store",
            ),
            (CacheStatus::Collapsed { forward }, "CacheWarp; fwd=uri-miss; collapsed"),
        ] {
            let mut head = HeaderMap::new();
            status.append_to(&mut head);
            assert_eq!(head.get(CACHE_STATUS).unwrap(), want);
            sfv::Parser::new(want).parse::<sfv::List>().unwrap();
        }
    }

    #[test]
    fn the_key_is_added_to_the_proxys_own_line() {
        let target = Target::parse(Scheme::Http, &"/a".parse().unwrap(), [&b"a"[..]].into_iter()).unwrap();
        let key = CacheKey::of(&target);
        let mut head = HeaderMap::new();
        add_key(&mut head, &key);
        assert!(head.is_empty());
        head.append(CACHE_STATUS, HeaderValue::from_static("Other; hit"));
        add_key(&mut head, &key);
        CacheStatus::Stored { forward: ForwardReason::UriMiss }.append_to(&mut head);
        add_key(&mut head, &key);
        let all: Vec<_> = head.get_all(CACHE_STATUS).iter().map(|line| line.to_str().unwrap()).collect();
        let want = format!("CacheWarp; fwd=uri-miss; stored; key=\"{key:?}\"");
        assert_eq!(all, ["Other; hit", &want]);
        sfv::Parser::new(&want).parse::<sfv::List>().unwrap();
    }

    #[test]
    fn an_unconfirmed_purge_is_noted_in_the_proxys_own_line() {
        let mut head = HeaderMap::new();
        head.append(CACHE_STATUS, HeaderValue::from_static("Other; hit"));
        add_purge_unconfirmed(&mut head);
        let own = "CacheWarp; fwd=method; detail=purge-unconfirmed";
        assert_eq!(head.get_all(CACHE_STATUS).iter().collect::<Vec<_>>(), ["Other; hit", own]);
        sfv::Parser::new(own).parse::<sfv::List>().unwrap();
        let mut head = HeaderMap::new();
        CacheStatus::Stored { forward: ForwardReason::Method }.append_to(&mut head);
        add_purge_unconfirmed(&mut head);
        let stored = "CacheWarp; fwd=method; stored; detail=purge-unconfirmed";
        assert_eq!(head.get_all(CACHE_STATUS).iter().collect::<Vec<_>>(), [stored]);
    }

    #[test]
    fn caches_nearer_to_the_origin_stay_in_front() {
        let mut head = HeaderMap::new();
        head.append(CACHE_STATUS, HeaderValue::from_static("Other; hit"));
        CacheStatus::Collapsed { forward: ForwardReason::Stale }.append_to(&mut head);
        let all: Vec<_> = head.get_all(CACHE_STATUS).iter().collect();
        assert_eq!(all, ["Other; hit", "CacheWarp; fwd=stale; collapsed"]);
    }
}
