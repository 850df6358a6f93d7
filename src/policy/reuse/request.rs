//! The facts about a request that the policy needs.
//!
//! Every request is read, also one that memory answers within microseconds. So the reader makes one
//! pass over the fields, without allocation, and builds a small `Copy` value that all later
//! decisions use.

use std::time::Duration;

use http::header::{AUTHORIZATION, CACHE_CONTROL, COOKIE, PRAGMA};
use http::{HeaderMap, Method};

use crate::request_fields::{FieldClass, is_forwarding_field};

use crate::policy::credential_set::{Credential, CredentialSet};
use crate::policy::parse::directives::{self, DirectiveScope, Directives};
use crate::policy::parse::seconds::DeltaSeconds;
use crate::policy::store::not_storable::NotStorable;
use crate::policy::store::overrides::RulesDigest;
use crate::policy::store::rules::{CacheRules, ClientCacheControl, ClientCertificates};

/// A request as the gates see it.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts {
    pub(in crate::policy) retrieval: RetrievalKind,
    pub(in crate::policy) credentials: CredentialSet,
    pub(in crate::policy) directives: Directives,
    /// Whether the request carries an unlisted field.
    pub(in crate::policy) has_unlisted: bool,
    /// The digest of the rules of the request.
    pub(in crate::policy) rules: RulesDigest,
    /// Whether the request carries forwarding information about its client that a shared fetch
    /// cannot repeat.
    has_forwarding_field: bool,
}

/// The kind of retrieval that a method requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum RetrievalKind {
    /// `GET`, or `QUERY`, whose key has its content: the representation.
    Whole,
    /// `HEAD`: the head of the `GET` response.
    Head,
    /// `POST`: not the representation, although the response may contain it (RFC 9110 §9.3.3).
    Post,
    /// Any other method, which a stored response cannot answer.
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
        let (mut has_unlisted, mut has_forwarding_field) = (false, false);
        for (name, value) in headers {
            if name == CACHE_CONTROL {
                has_cache_control = true;
                directives.read_line(value.as_bytes());
            } else if name == PRAGMA {
                pragma_no_cache |= directives::lists_no_cache(value);
            } else if name == AUTHORIZATION {
                credentials.add(Credential::Authorization);
            } else if name == COOKIE {
                if !(retrieval.is_safe() && rules.ignored_cookies.cover(value)) {
                    credentials.add(Credential::Cookie);
                }
            } else {
                match rules.field_class(name) {
                    FieldClass::Unlisted => has_unlisted = true,
                    FieldClass::Credential => {
                        credentials.add(Credential::Header);
                        has_forwarding_field |= is_forwarding_field(name);
                    }
                    FieldClass::Sent
                    | FieldClass::Withheld
                    | FieldClass::Dropped
                    | FieldClass::Key
                    | FieldClass::Connection => {}
                }
            }
        }
        if rules.client_cache_control == ClientCacheControl::Ignored {
            directives = directives.without_client_limits();
            pragma_no_cache = false;
        }
        // RFC 9111 §5.4: without `Cache-Control`, `Pragma: no-cache` has the meaning of `no-cache`.
        if pragma_no_cache && !has_cache_control {
            directives.no_cache = DirectiveScope::Whole;
        }
        Self { retrieval, credentials, directives, has_unlisted, rules: rules.digest, has_forwarding_field }
    }

    /// Returns the facts of a request whose client presented a certificate.
    #[must_use]
    pub fn with_client_certificate(mut self, rules: &CacheRules) -> Self {
        match rules.client_certificates {
            ClientCertificates::Credentials => self.credentials.add(Credential::ClientCertificate),
            ClientCertificates::Ignored => {}
        }
        self
    }

    /// Returns the first credential of the request, if it carries any.
    pub fn credential(&self) -> Option<Credential> {
        self.credentials.first()
    }

    /// Returns the digest of the rules of the request.
    pub fn rules(&self) -> RulesDigest {
        self.rules
    }

    /// Returns whether the request carries an unlisted field.
    pub fn has_unlisted(&self) -> bool {
        self.has_unlisted
    }

    /// Returns whether the origin receives the request's cookies. It does not if all of them are
    /// ignored cookies.
    pub fn shows_cookies(&self) -> bool {
        self.credentials.contains(Credential::Cookie)
    }

    /// Returns the reason for which the response to this request is never stored, whatever the
    /// response contains. No other request should wait for such a fetch.
    pub fn forbids_storing(&self) -> Option<NotStorable> {
        if self.retrieval != RetrievalKind::Whole {
            Some(NotStorable::Method)
        } else if self.directives.no_store || self.directives.malformed {
            Some(NotStorable::RequestNoStore)
        } else if self.has_forwarding_field {
            // The proxy forwards this information only from trusted proxies, and never with a
            // shared fetch.
            Some(NotStorable::CredentialHeader)
        } else {
            None
        }
    }

    /// Returns whether the client accepts only a stored response, and `504` otherwise (RFC 9111
    /// §5.2.1.7).
    pub fn only_if_cached(&self) -> bool {
        self.directives.only_if_cached
    }

    /// Returns the staleness that this client accepts if the origin fails (RFC 5861 §4).
    pub(in crate::policy) fn stale_if_error(&self) -> Option<Duration> {
        self.directives.stale_if_error.or(DeltaSeconds::ZERO).map(DeltaSeconds::duration)
    }

    /// Returns whether the client accepts no response that was requested before its own request.
    pub fn forbids_older(&self) -> bool {
        self.directives.no_cache != DirectiveScope::Nothing
            || self.directives.max_age.or(DeltaSeconds::ZERO) == Some(DeltaSeconds::ZERO)
    }

    /// Returns the facts without the directives by which a client refuses a fresh response.
    #[must_use]
    pub fn without_client_limits(&self) -> Self {
        Self { directives: self.directives.without_client_limits(), ..*self }
    }

    /// Returns the facts as if the method were `GET`.
    pub(in crate::policy) fn as_get(&self) -> Self {
        Self { retrieval: RetrievalKind::Whole, ..*self }
    }

    /// Returns the staleness that this client accepts (RFC 9111 §5.2.1.2).
    pub fn max_stale(&self) -> Option<Duration> {
        self.directives.max_stale.or(DeltaSeconds::ZERO).map(DeltaSeconds::duration)
    }
}

impl RetrievalKind {
    /// Returns whether the request goes through the cache, which removes ignored cookies before the
    /// origin.
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
        } else if *method == Method::QUERY {
            Self::Whole
        } else {
            Self::Neither
        }
    }
}
