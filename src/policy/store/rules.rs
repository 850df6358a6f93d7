//! The operator's rules for storing.

use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, StatusCode};

use crate::key::KeyRules;
use crate::request_fields::{FieldClass, RequestFields};

use crate::policy::parse::cookies::IgnoredCookies;
use crate::policy::parse::syntax::is_plain_token;
use crate::policy::reuse::vary::Vary;
use crate::policy::store::overrides::{OverrideSet, RulesDigest, StatedFreshness};

/// The part of the policy that no RFC defines.
#[derive(Clone, Debug)]
pub struct CacheRules {
    /// RFC 9111 §4.2.2: the heuristic lifetime of a `200` with JSON that states none. Zero disables
    /// it, and then also the heuristic from `Last-Modified`.
    pub default_ttl: Duration,
    /// The lifetime of a `404` or `410` that states none; zero for none.
    pub negative_ttl: Duration,
    /// The RFC 5861 §3 window of responses that state none.
    pub stale_while_revalidate: Duration,
    /// The RFC 5861 §4 window of responses that state none.
    pub stale_if_error: Duration,
    /// The fraction, from 0 to 1, by which the remaining lifetime of a response may be shortened,
    /// so that responses stored together do not expire together.
    pub jitter: f64,
    /// The eagerness of early refresh: `beta` of the XFetch algorithm. 0 disables it, 1 is usual.
    pub early_refresh: f64,
    /// The largest body that is stored, in bytes.
    pub body_bytes_max: usize,
    /// The media types that may be stored.
    pub content_types: ContentTypes,
    /// The statuses that may be stored.
    pub statuses: StorableStatuses,
    /// The response fields that contain cache tags.
    pub tag_headers: Vec<HeaderName>,
    /// Whether clients see those fields.
    pub tag_headers_visible: TagVisibility,
    /// The effect of clients' `no-cache` and age limits.
    pub client_cache_control: ClientCacheControl,
    /// The effect of `s-maxage` on stale responses.
    pub stale_despite_s_maxage: StaleDespiteSMaxage,
    /// The meaning of clients' certificates.
    pub client_certificates: ClientCertificates,
    /// The response fields that are not stored.
    pub unstored_headers: Vec<HeaderName>,
    /// The rules by which requests become cache keys.
    pub keys: KeyRules,
    /// The classes of request fields: credentials, fields of the cache key, harmless fields.
    pub fields: RequestFields,
    /// The cookies that are not credentials.
    pub ignored_cookies: IgnoredCookies,
    /// The freshness that replaces the origin's.
    pub freshness: Option<StatedFreshness>,
    /// The prohibitions of the origin that do not apply.
    pub overrides: OverrideSet,
    /// The digest of the rules of the route; entries with another digest are not used.
    pub digest: RulesDigest,
}

/// The media types that may be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentTypes {
    /// All that RFC 9111 lets a shared cache store.
    Any,
    /// These `type/subtype` names in lower case, and subtypes that end in one of these `+suffix`es.
    Listed(Vec<String>),
}

/// The statuses that may be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorableStatuses {
    /// All that RFC 9111 lets a shared cache store.
    Any,
    /// Only these.
    Listed(Vec<StatusCode>),
}

/// The reason why a response with a status cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusError {
    /// A number that is not a status from 200 to 599.
    Unknown,
    /// A 206 or 304, which completes or confirms a stored response (RFC 9111 §3.3, §4.3.4).
    Part(u16),
}

/// The visibility of the tag fields to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagVisibility {
    /// Clients see the fields as the origin sent them.
    Yes,
    /// The proxy removes the fields.
    No,
}

/// The effect of a client's `Cache-Control` on stored responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCacheControl {
    /// `no-cache`, `max-age`, `min-fresh` and `Pragma: no-cache` apply (RFC 9111 §5.2.1).
    Obeyed,
    /// These directives are ignored: no client forces a request to the origin.
    Ignored,
}

/// The meaning of a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// A certificate is a credential.
    Credentials,
    /// A certificate admits a client and selects no response.
    Ignored,
}

/// Separates the digests of nodes that ignore client certificates.
const IGNORED_CERTIFICATES_DOMAIN: &[u8] = b"cw-ignored-certificates-1";

impl ClientCertificates {
    /// Returns the digest of rules under this meaning. A node that ignores certificates stores
    /// responses to clients that presented one, so a node that counts certificates as credentials
    /// uses none of its entries.
    pub fn digest(self, rules: RulesDigest) -> RulesDigest {
        match self {
            Self::Credentials => rules,
            Self::Ignored => {
                let message = [IGNORED_CERTIFICATES_DOMAIN, &rules.0].concat();
                RulesDigest(*blake3::hash(&message).as_bytes().first_chunk().unwrap_or(&rules.0))
            }
        }
    }
}

/// The effect of `s-maxage` on stale responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleDespiteSMaxage {
    /// `s-maxage` allows staleness as `max-age` does.
    Yes,
    /// RFC 9111 §5.2.2.10: `s-maxage` implies `proxy-revalidate`.
    No,
}

impl ContentTypes {
    /// Reads one name of a list as lower case: `type/subtype` or `+suffix`.
    pub fn item(text: &str) -> Option<String> {
        let well_formed = match (text.strip_prefix('+'), text.split_once('/')) {
            (Some(suffix), _) => is_plain_token(suffix),
            (None, Some((kind, subtype))) => is_plain_token(kind) && is_plain_token(subtype),
            (None, None) => false,
        };
        well_formed.then(|| text.to_ascii_lowercase())
    }
}

impl StorableStatuses {
    /// Reads one status of a list.
    pub fn item(code: u16) -> Result<StatusCode, StatusError> {
        match code {
            206 | 304 => Err(StatusError::Part(code)),
            200..=599 => StatusCode::from_u16(code).map_err(|_| StatusError::Unknown),
            _ => Err(StatusError::Unknown),
        }
    }
}

impl Default for CacheRules {
    /// Returns the rules of HTTP alone: everything that RFC 9111 lets a shared cache store, of any
    /// size, without heuristics.
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
            tag_headers_visible: TagVisibility::No,
            client_cache_control: ClientCacheControl::Obeyed,
            client_certificates: ClientCertificates::Credentials,
            stale_despite_s_maxage: StaleDespiteSMaxage::No,
            unstored_headers: Vec::new(),
            keys: KeyRules::default(),
            fields: RequestFields::default(),
            ignored_cookies: IgnoredCookies::Listed(Vec::new()),
            freshness: None,
            overrides: OverrideSet::default(),
            digest: RulesDigest::NONE,
        }
    }
}

impl CacheRules {
    /// Returns the class of a request field.
    pub fn field_class(&self, name: &HeaderName) -> FieldClass {
        self.fields.class(name)
    }

    /// Returns the request fields that select among the responses of a resource: those in the
    /// response's `Vary`, and the fields of every key.
    pub fn vary(&self, response: &HeaderMap) -> Vary {
        Vary::of(response).with(self.keys.headers())
    }

    /// Returns whether a response with this status may be stored.
    pub(in crate::policy) fn admits(&self, status: StatusCode) -> bool {
        self.negative(status).is_some()
            || match &self.statuses {
                StorableStatuses::Any => true,
                StorableStatuses::Listed(statuses) => statuses.contains(&status),
            }
    }

    /// Returns the operator's lifetime for a `404` or `410`, if it is set.
    pub(in crate::policy) fn negative(&self, status: StatusCode) -> Option<Duration> {
        let nothing = matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
        (nothing && !self.negative_ttl.is_zero()).then_some(self.negative_ttl)
    }
}
