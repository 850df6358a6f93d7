//! Tests of the parsers and the gates, by rule and with generated heads.

mod conditions;
mod directives;
mod oracle;
mod overrides;
mod properties;
mod range;
mod reuse;
mod ruling;
mod stale;
mod storable;
mod targeted;
mod validate;
mod withdrawal;

use std::time::Duration;

use http::header::{HeaderMap, HeaderName};
use http::{Method, StatusCode};

use crate::key::{Authority, OriginBase, Scheme, Target};
use crate::request_fields::RequestFields;
use crate::time::Timestamp;

use super::{CacheRules, ContentTypes, Exchange, RequestFacts, StorableStatuses};

/// The default rules.
pub(super) fn rules() -> CacheRules {
    CacheRules {
        default_ttl: Duration::from_secs(30),
        body_bytes_max: 1 << 20,
        content_types: ContentTypes::Listed(vec!["application/json".into(), "+json".into()]),
        statuses: StorableStatuses::Listed(vec![StatusCode::OK]),
        tag_headers: ["cache-tag", "surrogate-key"].map(HeaderName::from_static).to_vec(),
        fields: RequestFields::new(&[HeaderName::from_static("x-api-key")], &[], &[]),
        ..CacheRules::default()
    }
}

/// The rules of an operator who allows everything that the RFC allows.
pub(super) fn rules_of_the_rfc() -> CacheRules {
    CacheRules { content_types: ContentTypes::Any, statuses: StorableStatuses::Any, ..rules() }
}

/// Builds a head from fields, in this order.
pub(super) fn head(fields: &[(&str, &str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| (HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap()))
        .collect()
}

/// The origin's own name; clients request `api.test`.
pub(super) fn backend() -> OriginBase {
    let authority = Authority::parse(Scheme::Http, b"backend:8080").unwrap();
    OriginBase { scheme: Scheme::Http, authority, path: String::new() }
}

/// The target at this URL.
pub(super) fn target(url: &str) -> Target {
    Target::of_url(url).unwrap()
}

/// An [`Exchange`] that owns its parts.
#[derive(Debug)]
pub(super) struct OwnedExchange {
    pub(super) request: RequestFacts,
    pub(super) target: Target,
    pub(super) status: StatusCode,
    pub(super) response: HeaderMap,
    pub(super) requested: Timestamp,
    pub(super) received: Timestamp,
}

impl OwnedExchange {
    /// Builds a response to a `GET` without fields, received at the epoch without delay.
    pub(super) fn response(status: u16, fields: &[(&str, &str)]) -> Self {
        Self {
            request: RequestFacts::read(&Method::GET, &HeaderMap::new(), &rules()),
            target: target("http://api.test/a"),
            status: StatusCode::from_u16(status).unwrap(),
            response: head(fields),
            requested: Timestamp::EPOCH,
            received: Timestamp::EPOCH,
        }
    }

    pub(super) fn to(self, method: &Method, fields: &[(&str, &str)]) -> Self {
        Self { request: RequestFacts::read(method, &head(fields), &rules()), ..self }
    }

    pub(super) fn at(self, requested: u64, received: u64) -> Self {
        Self {
            requested: Timestamp::from_millis(requested),
            received: Timestamp::from_millis(received),
            ..self
        }
    }

    pub(super) fn exchange(&self) -> Exchange<'_> {
        Exchange {
            request: &self.request,
            target: &self.target,
            status: self.status,
            response: &self.response,
            requested: self.requested,
            received: self.received,
        }
    }
}
