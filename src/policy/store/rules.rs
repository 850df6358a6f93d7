//! What an operator says about storing.

use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, StatusCode};

use crate::request_fields::{FieldClass, RequestFields};

use crate::policy::parse::cookies::IgnoredCookies;
use crate::policy::reuse::vary::Vary;

/// The part of the policy that is not in any RFC.
#[derive(Clone, Debug)]
pub struct CacheRules {
    /// RFC 9111 §4.2.2: the heuristic lifetime of a `200` with JSON that says nothing of its own.
    /// Zero for none, and then nothing is guessed from `Last-Modified` either.
    pub default_ttl: Duration,
    /// The lifetime of a `404` or `410` that says nothing of its own; zero for none.
    pub negative_ttl: Duration,
    /// RFC 5861 §3, for responses that say nothing of it.
    pub stale_while_revalidate: Duration,
    /// RFC 5861 §4, for responses that say nothing of it.
    pub stale_if_error: Duration,
    /// By how much of its remaining lifetime a response may be shortened, so that what was stored
    /// together does not expire together; from 0 to 1.
    pub jitter: f64,
    /// How early a fresh response is refreshed by chance: `beta` of the XFetch algorithm; 0 for
    /// never, 1 is usual.
    pub early_refresh: f64,
    /// Larger bodies are not stored, in bytes.
    pub body_bytes_max: usize,
    /// Which media types may be stored.
    pub content_types: ContentTypes,
    /// Which statuses may be stored.
    pub statuses: StorableStatuses,
    /// Response fields with tags that a response may be purged by.
    pub tag_headers: Vec<HeaderName>,
    /// Whether clients see those fields.
    pub tags_shown: TagVisibility,
    /// The classes of request fields: credentials, fields of the cache key, harmless ones.
    pub fields: RequestFields,
    /// Cookies that are none.
    pub ordinary_cookies: IgnoredCookies,
}

/// Which media types may be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentTypes {
    /// All that RFC 9111 lets a shared cache store.
    Any,
    /// These `type/subtype` in lower case, and those whose subtype ends in one of these
    /// `+suffix`es.
    Listed(Vec<String>),
}

/// Which statuses may be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorableStatuses {
    /// All that RFC 9111 lets a shared cache store.
    Any,
    /// Only these.
    Listed(Vec<StatusCode>),
}

/// Whether clients see the fields with tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagVisibility {
    /// As the origin sent them.
    Yes,
    /// They are taken out.
    No,
}

impl Default for CacheRules {
    /// HTTP and nothing else: all that RFC 9111 lets a shared cache store, of any size, and no
    /// guess.
    fn default() -> Self {
        Self {
            default_ttl: Duration::ZERO,
            negative_ttl: Duration::ZERO,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            jitter: 0.0,
            early_refresh: 0.0,
            body_bytes_max: usize::MAX,
            content_types: ContentTypes::Any,
            statuses: StorableStatuses::Any,
            tag_headers: Vec::new(),
            tags_shown: TagVisibility::No,
            fields: RequestFields::default(),
            ordinary_cookies: IgnoredCookies::Listed(Vec::new()),
        }
    }
}

impl CacheRules {
    /// The class of a request field.
    pub fn field_class(&self, name: &HeaderName) -> FieldClass {
        self.fields.class(name)
    }

    /// The request fields that select among the responses of a resource: those that the response's
    /// `Vary` names, and `key_headers`.
    pub fn vary(&self, response: &HeaderMap) -> Vary {
        Vary::of(response).with(self.fields.key_headers())
    }

    /// Whether a response with this status may be stored.
    pub(in crate::policy) fn admits(&self, status: StatusCode) -> bool {
        self.negative(status).is_some()
            || match &self.statuses {
                StorableStatuses::Any => true,
                StorableStatuses::Listed(statuses) => statuses.contains(&status),
            }
    }

    /// The lifetime of a response that says that there is nothing, where the operator gave one.
    pub(in crate::policy) fn negative(&self, status: StatusCode) -> Option<Duration> {
        let nothing = matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
        (nothing && !self.negative_ttl.is_zero()).then_some(self.negative_ttl)
    }
}
