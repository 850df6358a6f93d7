//! The facts stored with a response, so that later decisions need not parse its head.

use std::ops::BitOr;
use std::time::Duration;

use crate::limits::{DISCONNECTED_STALE_MAX, LIFETIME_MAX, VALIDATION_KEPT};
use crate::time::Timestamp;

use crate::policy::credential_set::Credential;
use crate::policy::parse::seconds::DeltaSeconds;
use crate::policy::reuse::request::RequestFacts;
use crate::policy::store::not_storable::CredentialRefusal;
use crate::policy::store::overrides::RulesDigest;

/// The facts about a stored response that [`reuse`](crate::policy::reuse()) needs. They have a
/// fixed size, so that an entry can store them before its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredFacts {
    /// The time at which the response was received: `response_time` of RFC 9111 §4.2.3.
    pub received: Timestamp,
    /// The age at that time: `corrected_initial_age` of RFC 9111 §4.2.3.
    pub initial_age: Duration,
    /// The age at which it becomes stale (RFC 9111 §4.2.1).
    pub lifetime: Duration,
    /// RFC 5861 §3: the time past its lifetime in which it may be served while it is refreshed.
    pub stale_while_revalidate: Duration,
    /// RFC 5861 §4: the time past its lifetime in which it may be served instead of an error.
    pub stale_if_error: Duration,
    /// The permissions and restrictions on its use.
    pub obligations: Obligations,
    /// The digest of the rules by which it was stored.
    pub rules: RulesDigest,
}

impl StoredFacts {
    /// Returns whether [`storable`](crate::policy::storable()) can return these times.
    pub fn are_bounded(&self) -> bool {
        let windows = [self.stale_while_revalidate, self.stale_if_error];
        self.lifetime <= self.initial_age.saturating_add(LIFETIME_MAX)
            && windows.into_iter().all(|window| window <= DeltaSeconds::MAX.duration())
    }

    /// Returns the `current_age` of RFC 9111 §4.2.3.
    pub fn age(&self, now: Timestamp) -> Duration {
        self.initial_age.saturating_add(now.since(self.received))
    }

    /// Returns the remaining freshness; zero once it is stale.
    pub fn ttl(&self, now: Timestamp) -> Duration {
        self.lifetime.saturating_sub(self.age(now))
    }

    /// Returns the facts with a lifetime that ends at `at` at the latest.
    #[must_use]
    pub fn stale_from(self, at: Timestamp) -> Self {
        Self { lifetime: self.lifetime.min(self.age(at)), ..self }
    }

    /// Returns the time since it became stale; zero while it is fresh.
    pub fn stale_for(&self, now: Timestamp) -> Duration {
        self.age(now).saturating_sub(self.lifetime)
    }

    /// Returns the time for which the entry stays useful: for a fresh answer, a permitted stale
    /// answer, a validation, or a stale answer while the origin cannot be reached. Zero means that
    /// it is not worth storing.
    pub fn keep_for(&self, now: Timestamp) -> Duration {
        let validated = if self.obligations.contains(Obligations::VALIDATOR) {
            self.lifetime.max(self.initial_age).saturating_add(VALIDATION_KEPT)
        } else {
            Duration::ZERO
        };
        let served = if self.obligations.contains(Obligations::NO_CACHE) {
            Duration::ZERO
        } else {
            self.lifetime.saturating_add(self.stale_max())
        };
        validated.max(served).saturating_sub(self.age(now)).min(LIFETIME_MAX)
    }

    /// Returns the default staleness that is allowed while the origin cannot be reached (RFC 9111
    /// §4.2.4). A response that was stale on arrival gets none, since the origin required
    /// validation from the start.
    pub(in crate::policy) fn disconnected_stale(&self) -> Duration {
        if self.lifetime > self.initial_age { DISCONNECTED_STALE_MAX } else { Duration::ZERO }
    }

    /// Returns the longest time past its lifetime in which it may be served, apart from a client's
    /// own `max-stale`.
    fn stale_max(&self) -> Duration {
        if self.obligations.forbid_stale() {
            Duration::ZERO
        } else {
            self.stale_while_revalidate.max(self.stale_if_error).max(self.disconnected_stale())
        }
    }
}

/// A set of properties that the origin stated or that CacheWarp found.
///
/// The bits are part of the stored format: no bit ever changes its meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Obligations(u16);

impl Obligations {
    /// `public` or `s-maxage`: it may also answer requests with credentials.
    pub const SHARED: Self = Self(1);
    /// `must-revalidate`: it is never served stale, and it may answer requests whose only
    /// credential is `Authorization` (§3.5).
    pub const MUST_REVALIDATE: Self = Self(1 << 1);
    /// `proxy-revalidate` or `s-maxage`: a shared cache never serves it stale.
    pub const PROXY_REVALIDATE: Self = Self(1 << 2);
    /// `no-cache`: it is never served without validation.
    pub const NO_CACHE: Self = Self(1 << 3);
    /// The lifetime is a heuristic or missing, not from the origin (§4.2.2).
    pub const HEURISTIC: Self = Self(1 << 4);
    /// `immutable` (RFC 8246): it need not be validated while it is fresh.
    pub const IMMUTABLE: Self = Self(1 << 5);
    /// It has an `ETag` or a `Last-Modified`, so the origin can validate it (§4.3.1).
    pub const VALIDATOR: Self = Self(1 << 6);
    /// It has a field for CacheWarp alone, which the proxy removes from every response (RFC 9213
    /// §2).
    pub const ADDRESSED: Self = Self(1 << 7);

    /// Each property with its name.
    const NAMED: [(Self, &'static str); 8] = [
        (Self::SHARED, "shared"),
        (Self::MUST_REVALIDATE, "must-revalidate"),
        (Self::PROXY_REVALIDATE, "proxy-revalidate"),
        (Self::NO_CACHE, "no-cache"),
        (Self::HEURISTIC, "heuristic"),
        (Self::IMMUTABLE, "immutable"),
        (Self::VALIDATOR, "validator"),
        (Self::ADDRESSED, "addressed"),
    ];

    /// Returns the names of the properties in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMED.into_iter().filter(move |(one, _)| self.contains(*one)).map(|(_, name)| name)
    }

    /// Returns the stored form of the set.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Returns whether every bit has a meaning. An unknown bit may be a prohibition of a later
    /// version.
    pub const fn are_known(self) -> bool {
        self.0 >> Self::NAMED.len() == 0
    }

    /// Reads the stored form of a set.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Returns whether the set contains all of `other`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns whether serving it stale is forbidden, even if another rule would allow it (RFC 9111
    /// §4.2.4).
    pub(in crate::policy) const fn forbid_stale(self) -> bool {
        let forbidding = Self::MUST_REVALIDATE.0 | Self::PROXY_REVALIDATE.0 | Self::NO_CACHE.0;
        self.0 & forbidding != 0
    }

    /// Returns the part of a request that forbids serving it the response, or storing its response.
    ///
    /// This is the only rule about clients, for storing and for serving. RFC 9111 §3.5 covers
    /// storing and `Authorization`. CacheWarp applies it to every credential in both directions,
    /// because an origin that does not consider caches selects responses by credential without
    /// stating it. A heuristic lifetime is not a statement of the origin, so it admits only
    /// requests whose fields are all known to be harmless.
    pub(in crate::policy) fn refused(self, request: &RequestFacts) -> Option<CredentialRefusal> {
        let credentials = request.credentials;
        let credential = if self.contains(Self::HEURISTIC) {
            if credentials.is_empty() && request.has_unlisted {
                return Some(CredentialRefusal::UnlistedField);
            }
            credentials.first()
        } else if self.contains(Self::SHARED) {
            None
        } else if self.contains(Self::MUST_REVALIDATE) {
            credentials.without(Credential::Authorization).first()
        } else {
            credentials.first()
        };
        credential.map(CredentialRefusal::Credential)
    }
}

impl BitOr for Obligations {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::{head, rules};

    const STORED: StoredFacts = StoredFacts {
        received: Timestamp::from_millis(1_000),
        initial_age: Duration::from_secs(2),
        lifetime: Duration::from_secs(10),
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        obligations: Obligations(0),
        rules: RulesDigest::NONE,
    };

    #[test]
    fn age_and_ttl_saturate() {
        for (now, age, ttl) in
            [(0, 2_000, 8_000), (1_000, 2_000, 8_000), (4_500, 5_500, 4_500), (60_000, 61_000, 0)]
        {
            let now = Timestamp::from_millis(now);
            assert_eq!(STORED.age(now), Duration::from_millis(age));
            assert_eq!(STORED.ttl(now), Duration::from_millis(ttl));
        }
        let ancient = StoredFacts { initial_age: Duration::MAX, ..STORED };
        assert_eq!(ancient.ttl(Timestamp::from_millis(u64::MAX)), Duration::ZERO);
    }

    #[test]
    fn a_response_marked_stale_is_stale_from_then_on() {
        let now = Timestamp::from_millis(4_000);
        for (at, stale_for) in [(0, 3_000), (1_000, 3_000), (3_000, 1_000), (4_000, 0), (60_000, 0)] {
            let marked = STORED.stale_from(Timestamp::from_millis(at));
            assert_eq!(marked.stale_for(now), Duration::from_millis(stale_for), "{at}");
            assert_eq!(marked.ttl(now).is_zero(), at <= 4_000, "{at}");
        }
    }

    #[test]
    fn credentials_are_refused_by_obligation() {
        use Credential::{Authorization, Cookie, Header};
        const AUTHORIZATION: &str = "authorization";
        const COOKIE: &str = "cookie";
        const HEADER: &str = "x-api-key";
        const UNLISTED: &str = "x-auth-token";
        let none = Obligations::default();
        let (shared, heuristic) = (Obligations::SHARED, Obligations::HEURISTIC);
        let credential = |credential| Some(CredentialRefusal::Credential(credential));
        let rows: &[(&str, Obligations, &[&str], Option<CredentialRefusal>)] = &[
            ("anonymous", none, &[], None),
            ("anonymous-heuristic", heuristic, &["accept", "traceparent", "range", "host"], None),
            ("unstated-authorization", none, &[AUTHORIZATION], credential(Authorization)),
            ("unstated-cookie", none, &[COOKIE], credential(Cookie)),
            ("unstated-header", none, &[HEADER], credential(Header)),
            ("unstated-identity", none, &["x-forwarded-user"], credential(Header)),
            ("shared", shared, &[AUTHORIZATION, COOKIE, HEADER, UNLISTED], None),
            ("must-revalidate", Obligations::MUST_REVALIDATE, &[AUTHORIZATION], None),
            ("must-revalidate-cookie", Obligations::MUST_REVALIDATE, &[COOKIE], credential(Cookie)),
            (
                "must-revalidate-several",
                Obligations::MUST_REVALIDATE,
                &[AUTHORIZATION, HEADER],
                credential(Header),
            ),
            ("proxy-revalidate", Obligations::PROXY_REVALIDATE, &[AUTHORIZATION], credential(Authorization)),
            ("heuristic-shared", shared | heuristic, &[COOKIE], credential(Cookie)),
            ("unlisted", none, &[UNLISTED], None),
            ("unlisted-heuristic", heuristic, &["accept", UNLISTED], Some(CredentialRefusal::UnlistedField)),
            (
                "unlisted-heuristic-shared",
                shared | heuristic,
                &[UNLISTED],
                Some(CredentialRefusal::UnlistedField),
            ),
            ("unlisted-and-credential", heuristic, &[UNLISTED, HEADER], credential(Header)),
        ];
        let certified = |obligations: Obligations, carried: &[&'static str]| {
            let fields: Vec<_> = carried.iter().map(|name| (*name, "1")).collect();
            let rules = rules();
            let request = RequestFacts::read(&http::Method::GET, &head(&fields), &rules);
            obligations.refused(&request.with_client_certificate(&rules))
        };
        let by_certificate = credential(Credential::ClientCertificate);
        assert_eq!(certified(none, &[]), by_certificate);
        assert_eq!(certified(heuristic, &[]), by_certificate);
        assert_eq!(certified(Obligations::MUST_REVALIDATE, &[AUTHORIZATION]), by_certificate);
        assert_eq!(certified(shared, &[]), None);
        for (id, obligations, carried, refused) in rows {
            let fields: Vec<_> = carried.iter().map(|name| (*name, "1")).collect();
            let request = RequestFacts::read(&http::Method::GET, &head(&fields), &rules());
            assert_eq!(obligations.refused(&request), *refused, "{id}");
        }
    }

    #[test]
    fn each_obligation_has_its_own_name_and_bit() {
        assert_eq!(Obligations::default().names().count(), 0);
        for (bit, (one, name)) in Obligations::NAMED.into_iter().enumerate() {
            assert_eq!((one.bits(), one.names().collect::<Vec<_>>()), (1 << bit, vec![name]));
        }
        assert_eq!(
            (Obligations::SHARED | Obligations::NO_CACHE).names().collect::<Vec<_>>(),
            ["shared", "no-cache"]
        );
    }

    #[test]
    fn obligations_keep_their_stored_bits() {
        for bits in [0, 1, 0b11_1111, u16::MAX] {
            assert_eq!(Obligations::from_bits(bits).bits(), bits);
        }
        let all = (1 << Obligations::NAMED.len()) - 1;
        assert!(Obligations::from_bits(all).are_known() && !Obligations::from_bits(all + 1).are_known());
    }
}
