//! What the policy needs to know of a request.
//!
//! Every request is read, also the one that is answered from memory in a few microseconds: so this
//! is one pass over the fields, without allocation, into a small `Copy` value that answers every
//! later question.

use std::time::Duration;

use http::header::{AUTHORIZATION, CACHE_CONTROL, COOKIE, PRAGMA};
use http::{HeaderMap, Method};

use crate::request_fields::{FieldClass, is_claim};

use crate::policy::parse::credential::{Credential, CredentialSet};
use crate::policy::parse::directives::{
    DirectiveScope, Directives, {self},
};
use crate::policy::parse::seconds::DeltaSeconds;
use crate::policy::store::not_storable::NotStorable;
use crate::policy::store::rules::CacheRules;

/// A request as the gates see it.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts {
    pub(in crate::policy) retrieval: RetrievalKind,
    pub(in crate::policy) credentials: CredentialSet,
    pub(in crate::policy) directives: Directives,
    /// Whether a field is among its own of which nothing is known.
    pub(in crate::policy) has_unlisted: bool,
    /// Whether it claims more of where it came from than a shared fetch may repeat.
    has_claim: bool,
}

/// What a request wants to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum RetrievalKind {
    /// `GET`: the representation.
    Whole,
    /// `HEAD`: what `GET` would give, without the body.
    Head,
    /// `POST`: something else, although its response may be the representation (RFC 9110 §9.3.3).
    Post,
    /// Any other method: something that a stored response cannot give.
    Neither,
}

impl RequestFacts {
    /// Reads a request.
    pub fn read(method: &Method, headers: &HeaderMap, rules: &CacheRules) -> Self {
        let retrieval = RetrievalKind::of(method);
        let mut credentials = CredentialSet::default();
        let mut directives = Directives::default();
        let mut has_cache_control = false;
        let mut pragma_no_cache = false;
        let (mut has_unlisted, mut has_claim) = (false, false);
        for (name, value) in headers {
            if name == CACHE_CONTROL {
                has_cache_control = true;
                directives.read_line(value.as_bytes());
            } else if name == PRAGMA {
                pragma_no_cache |= directives::says_no_cache(value);
            } else if name == AUTHORIZATION {
                credentials.add(Credential::Authorization);
            } else if name == COOKIE {
                if !(retrieval.is_safe() && rules.ordinary_cookies.cover(value)) {
                    credentials.add(Credential::Cookie);
                }
            } else {
                match rules.field_class(name) {
                    FieldClass::Unlisted => has_unlisted = true,
                    FieldClass::Credential => {
                        credentials.add(Credential::Header);
                        has_claim |= is_claim(name);
                    }
                    FieldClass::Sent
                    | FieldClass::Withheld
                    | FieldClass::Dropped
                    | FieldClass::Key
                    | FieldClass::Connection => {}
                }
            }
        }
        // RFC 9111 §5.4: from a client that does not know Cache-Control, `Pragma: no-cache` is the
        // same.
        if pragma_no_cache && !has_cache_control {
            directives.no_cache = DirectiveScope::Whole;
        }
        Self { retrieval, credentials, directives, has_unlisted, has_claim }
    }

    /// A credential that the request carries; where there are several, one of them.
    pub fn credential(&self) -> Option<Credential> {
        self.credentials.first()
    }

    /// Whether a field is among its own of which nothing is known.
    pub fn has_unlisted(&self) -> bool {
        self.has_unlisted
    }

    /// Whether the origin is to see the cookies of the request: not if they are all ordinary.
    pub fn shows_cookies(&self) -> bool {
        self.credentials.contains(Credential::Cookie)
    }

    /// Why the response to this request will not be stored, whatever it says of itself, if that is
    /// so. Nobody should wait for such a fetch.
    pub fn forbids_storing(&self) -> Option<NotStorable> {
        if self.retrieval != RetrievalKind::Whole {
            Some(NotStorable::Method)
        } else if self.directives.no_store || self.directives.malformed {
            Some(NotStorable::RequestNoStore)
        } else if self.has_claim {
            // Only trusted proxies' claims reach the origin, and none goes out with a shared fetch.
            Some(NotStorable::CredentialHeader)
        } else {
            None
        }
    }

    /// RFC 9111 §5.2.1.7: without a stored response that can be used, the answer is 504.
    pub fn only_if_cached(&self) -> bool {
        self.directives.only_if_cached
    }

    /// RFC 5861 §4: how far past its lifetime a response may be for this client if the origin
    /// fails.
    pub(in crate::policy) fn stale_if_error(&self) -> Option<Duration> {
        self.directives.stale_if_error.or(DeltaSeconds::ZERO).map(DeltaSeconds::duration)
    }

    /// The same request, if it were a `GET`.
    pub(in crate::policy) fn as_get(&self) -> Self {
        Self { retrieval: RetrievalKind::Whole, ..*self }
    }

    /// RFC 9111 §5.2.1.2: how far past its lifetime a response may be for this client.
    pub fn max_stale(&self) -> Option<Duration> {
        self.directives.max_stale.or(DeltaSeconds::ZERO).map(DeltaSeconds::duration)
    }
}

impl RetrievalKind {
    /// Whether it goes through the cache, which keeps ordinary cookies from the origin.
    const fn is_safe(self) -> bool {
        matches!(self, Self::Whole | Self::Head)
    }

    fn of(method: &Method) -> Self {
        if *method == Method::GET {
            Self::Whole
        } else if *method == Method::HEAD {
            Self::Head
        } else if *method == Method::POST {
            Self::Post
        } else {
            Self::Neither
        }
    }
}
