//! What is kept beside a stored response so that it can be judged later, without its head.

use std::ops::BitOr;
use std::time::Duration;

use crate::limits::{DISCONNECTED_STALE_MAX, LIFETIME_MAX, VALIDATION_KEPT};
use crate::time::Timestamp;

use crate::policy::parse::credential::Credential;
use crate::policy::parse::seconds::DeltaSeconds;
use crate::policy::reuse::request::RequestFacts;

/// Everything that [`reuse`](crate::policy::reuse()) asks of a stored response; of fixed size, so
/// that an entry can hold it before its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredFacts {
    /// When the response was received: `response_time` of RFC 9111 §4.2.3.
    pub received: Timestamp,
    /// How old it was then: `corrected_initial_age` of RFC 9111 §4.2.3.
    pub initial_age: Duration,
    /// At which age it becomes stale (RFC 9111 §4.2.1).
    pub lifetime: Duration,
    /// RFC 5861 §3: how long past its lifetime it may be served while it is being refreshed.
    pub stale_while_revalidate: Duration,
    /// RFC 5861 §4: how long past its lifetime it may be served instead of an error.
    pub stale_if_error: Duration,
    /// What it may be used for, and how.
    pub obligations: Obligations,
}

impl StoredFacts {
    /// Tells whether [`storable`](crate::policy::storable()) says such times of any response.
    pub fn are_bounded(&self) -> bool {
        let windows = [self.stale_while_revalidate, self.stale_if_error];
        self.lifetime <= self.initial_age.saturating_add(LIFETIME_MAX)
            && windows.into_iter().all(|window| window <= DeltaSeconds::MAX.duration())
    }

    /// `current_age` of RFC 9111 §4.2.3.
    pub fn age(&self, now: Timestamp) -> Duration {
        self.initial_age.saturating_add(now.since(self.received))
    }

    /// How much longer it is fresh; zero once it is stale.
    pub fn ttl(&self, now: Timestamp) -> Duration {
        self.lifetime.saturating_sub(self.age(now))
    }

    /// The same response, had its lifetime ended at `at` at the latest.
    #[must_use]
    pub fn outdated(self, at: Timestamp) -> Self {
        Self { lifetime: self.lifetime.min(self.age(at)), ..self }
    }

    /// How long it has been stale; zero while it is fresh.
    pub fn stale_for(&self, now: Timestamp) -> Duration {
        self.age(now).saturating_sub(self.lifetime)
    }

    /// How much longer it is worth keeping: until neither a fresh answer, nor a stale one that
    /// somebody allowed, nor a validation can come of it, nor a stale one that stands in for an
    /// origin that cannot be reached. Zero if it is not worth storing.
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

    /// RFC 9111 §4.2.4: how stale it may be served while the origin cannot be reached, where nobody
    /// allowed more. What came stale was never meant to be served without asking.
    pub(in crate::policy) fn disconnected_stale(&self) -> Duration {
        if self.lifetime > self.initial_age { DISCONNECTED_STALE_MAX } else { Duration::ZERO }
    }

    /// The longest that it may be served past its lifetime, for whatever reason but a client's own.
    fn stale_max(&self) -> Duration {
        if self.obligations.forbid_stale() {
            Duration::ZERO
        } else {
            self.stale_while_revalidate.max(self.stale_if_error).max(self.disconnected_stale())
        }
    }
}

/// A set of things that the origin, or we, said of a stored response.
///
/// The bits are part of the stored format: none ever changes its meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Obligations(u16);

impl Obligations {
    /// `public` or `s-maxage`: also for requests that carry a credential.
    pub const SHARED: Self = Self(1);
    /// `must-revalidate`: never served stale; and for requests whose one credential is
    /// `Authorization` (§3.5).
    pub const MUST_REVALIDATE: Self = Self(1 << 1);
    /// `proxy-revalidate` or `s-maxage`: never served stale by a shared cache.
    pub const PROXY_REVALIDATE: Self = Self(1 << 2);
    /// `no-cache`: never served without asking the origin.
    pub const NO_CACHE: Self = Self(1 << 3);
    /// The lifetime is ours and not the origin's (§4.2.2), be it none.
    pub const HEURISTIC: Self = Self(1 << 4);
    /// `immutable` (RFC 8246): not worth asking about while it is fresh.
    pub const IMMUTABLE: Self = Self(1 << 5);
    /// An `ETag` or a `Last-Modified` is among its fields: the origin can be asked whether it is
    /// still right (§4.3.1).
    pub const VALIDATOR: Self = Self(1 << 6);
    /// A field addressed to us alone is among its fields, and has to be taken out of every answer
    /// (RFC 9213 §2).
    pub const ADDRESSED: Self = Self(1 << 7);

    /// Each of them by name.
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

    /// The names of those that are in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMED.into_iter().filter(move |(one, _)| self.contains(*one)).map(|(_, name)| name)
    }

    /// The set as it is stored.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Tells whether each bit has a meaning. One that has none here may be a prohibition of a later
    /// version.
    pub const fn are_known(self) -> bool {
        self.0 >> Self::NAMED.len() == 0
    }

    /// The set that was stored.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// RFC 9111 §4.2.4: whether it may not be served stale, whoever would allow that.
    pub(in crate::policy) const fn forbid_stale(self) -> bool {
        let forbidding = Self::MUST_REVALIDATE.0 | Self::PROXY_REVALIDATE.0 | Self::NO_CACHE.0;
        self.0 & forbidding != 0
    }

    /// The part of a request that keeps the response from it, and its response from the store, if
    /// there is one.
    ///
    /// This is the one rule about callers, for storing as for serving. RFC 9111 §3.5 speaks of
    /// storing and of `Authorization`; we hold every credential to it in both directions, because
    /// an origin that never heard of caches answers by credential without saying so. A lifetime
    /// that the origin did not give is no word of its own, so it admits only a request all of whose
    /// fields are known to be harmless.
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

/// The part of a request that keeps a response from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum CredentialRefusal {
    /// It says who asks.
    Credential(Credential),
    /// Nothing is known of a field.
    UnlistedField,
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
    fn what_is_outdated_is_stale_from_then_on() {
        let now = Timestamp::from_millis(4_000);
        for (at, stale_for) in [(0, 3_000), (1_000, 3_000), (3_000, 1_000), (4_000, 0), (60_000, 0)] {
            let outdated = STORED.outdated(Timestamp::from_millis(at));
            assert_eq!(outdated.stale_for(now), Duration::from_millis(stale_for), "{at}");
            assert_eq!(outdated.ttl(now).is_zero(), at <= 4_000, "{at}");
        }
    }

    #[test]
    fn whom_a_response_is_for() {
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
            ("unsaid-authorization", none, &[AUTHORIZATION], credential(Authorization)),
            ("unsaid-cookie", none, &[COOKIE], credential(Cookie)),
            ("unsaid-header", none, &[HEADER], credential(Header)),
            ("unsaid-identity", none, &["x-forwarded-user"], credential(Header)),
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
        for (id, obligations, carried, refused) in rows {
            let fields: Vec<_> = carried.iter().map(|name| (*name, "1")).collect();
            let request = RequestFacts::read(&http::Method::GET, &head(&fields), &rules());
            assert_eq!(obligations.refused(&request), *refused, "{id}");
        }
    }

    #[test]
    fn each_has_a_name_and_a_bit_of_its_own() {
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
    fn bits_survive_being_stored() {
        for bits in [0, 1, 0b11_1111, u16::MAX] {
            assert_eq!(Obligations::from_bits(bits).bits(), bits);
        }
        let all = (1 << Obligations::NAMED.len()) - 1;
        assert!(Obligations::from_bits(all).are_known() && !Obligations::from_bits(all + 1).are_known());
    }
}
