//! What an operator says about storing.

use std::time::Duration;

use http::StatusCode;
use http::header::HeaderName;

use super::cookies::OrdinaryCookies;

/// The part of the policy that is not in any RFC.
#[derive(Clone, Debug)]
pub struct Rules {
    /// RFC 9111 §4.2.2: the heuristic lifetime of a `200` with JSON that says nothing of its own. Zero for none, and
    /// then nothing is guessed from `Last-Modified` either.
    pub default_ttl: Duration,
    /// The lifetime of a `404` or `410` that says nothing of its own; zero for none.
    pub negative_ttl: Duration,
    /// RFC 5861 §3, for responses that say nothing of it.
    pub stale_while_revalidate: Duration,
    /// RFC 5861 §4, for responses that say nothing of it.
    pub stale_if_error: Duration,
    /// By how much of its remaining lifetime a response may be shortened, so that what was stored together does not
    /// expire together; from 0 to 1.
    pub jitter: f64,
    /// How early a fresh response is refreshed by chance: `beta` of the XFetch algorithm; 0 for never, 1 is usual.
    pub early_refresh: f64,
    /// Larger bodies are not stored, in bytes.
    pub body_bytes_max: usize,
    /// Which media types may be stored.
    pub content_types: ContentTypes,
    /// Which statuses may be stored.
    pub statuses: Statuses,
    /// Response fields with tags that a response may be purged by.
    pub tag_headers: Vec<HeaderName>,
    /// Whether clients see those fields.
    pub tags_shown: TagsShown,
    /// Request fields that carry a credential, beside `Authorization` and `Cookie`.
    pub credential_headers: Vec<HeaderName>,
    /// Cookies that are none.
    pub ordinary_cookies: OrdinaryCookies,
}

/// Which media types may be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentTypes {
    /// All that RFC 9111 lets a shared cache store.
    Any,
    /// These `type/subtype` in lower case, and those whose subtype ends in one of these `+suffix`es.
    Listed(Vec<String>),
}

/// Which statuses may be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statuses {
    /// All that RFC 9111 lets a shared cache store.
    Any,
    /// Only these.
    Listed(Vec<StatusCode>),
}

/// Whether clients see the fields with tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagsShown {
    /// As the origin sent them.
    Yes,
    /// They are taken out.
    No,
}

impl Default for Rules {
    /// HTTP and nothing else: all that RFC 9111 lets a shared cache store, of any size, and no guess.
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
            statuses: Statuses::Any,
            tag_headers: Vec::new(),
            tags_shown: TagsShown::No,
            credential_headers: Vec::new(),
            ordinary_cookies: OrdinaryCookies::Listed(Vec::new()),
        }
    }
}

impl Rules {
    /// Whether a request field carries a credential by the operator's word. To CGI and its heirs `_` and `-` are the same, so an
    /// origin of that kind takes `X_Api_Key` for `X-Api-Key`, and so must we.
    pub(super) fn is_credential(&self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        let dashed = |byte: &u8| if *byte == b'_' { b'-' } else { *byte };
        // Nearly every field differs in length already.
        self.credential_headers
            .iter()
            .map(|named| named.as_str().as_bytes())
            .any(|named| named.len() == name.len() && named.iter().map(dashed).eq(name.iter().map(dashed)))
    }

    /// Whether a response with this status may be stored.
    pub(super) fn admits(&self, status: StatusCode) -> bool {
        self.negative(status).is_some()
            || match &self.statuses {
                Statuses::Any => true,
                Statuses::Listed(statuses) => statuses.contains(&status),
            }
    }

    /// The lifetime of a response that says that there is nothing, where the operator gave one.
    pub(super) fn negative(&self, status: StatusCode) -> Option<Duration> {
        let nothing = matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
        (nothing && !self.negative_ttl.is_zero()).then_some(self.negative_ttl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::rules;

    #[test]
    fn a_credential_is_one_however_its_name_is_joined() {
        let rules = Rules {
            credential_headers: vec![
                HeaderName::from_static("x-api-key"),
                HeaderName::from_static("my_token"),
            ],
            ..rules()
        };
        for (name, is_one) in [
            ("x-api-key", true),
            ("x_api_key", true),
            ("x-api_key", true),
            ("my-token", true),
            ("x-api-keys", false),
            ("xapikey", false),
            ("x.api.key", false),
        ] {
            assert_eq!(rules.is_credential(&HeaderName::from_static(name)), is_one, "{name}");
        }
    }
}
