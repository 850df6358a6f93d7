//! The parsers, the gates and what follows them, rule by rule and under generated heads.

mod conditions;
mod directives;
mod oracle;
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

use crate::key::{Authority, OriginBase, Scheme};
use crate::request_fields::RequestFields;
use crate::time::Timestamp;

use super::{CacheRules, ContentTypes, Exchange, RequestFacts, StorableStatuses};

/// What is stored by default.
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

/// What is stored where an operator leaves it all to the RFC.
pub(super) fn rules_of_the_rfc() -> CacheRules {
    CacheRules { content_types: ContentTypes::Any, statuses: StorableStatuses::Any, ..rules() }
}

/// The fields of a head, in the order of writing.
pub(super) fn head(fields: &[(&str, &str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| (HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap()))
        .collect()
}

/// How the origin names itself, where clients ask for `api.test`.
pub(super) fn backend() -> OriginBase {
    let authority = Authority::parse(Scheme::Http, b"backend:8080").unwrap();
    OriginBase { scheme: Scheme::Http, authority, path: String::new() }
}

/// An [`Exchange`] that owns what it is made of.
#[derive(Debug)]
pub(super) struct OwnedExchange {
    pub(super) request: RequestFacts,
    pub(super) status: StatusCode,
    pub(super) response: HeaderMap,
    pub(super) requested: Timestamp,
    pub(super) received: Timestamp,
}

impl OwnedExchange {
    /// A response to a `GET` that carries nothing, which came in no time at the epoch.
    pub(super) fn response(status: u16, fields: &[(&str, &str)]) -> Self {
        Self {
            request: RequestFacts::read(&Method::GET, &HeaderMap::new(), &rules()),
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
            status: self.status,
            response: &self.response,
            requested: self.requested,
            received: self.received,
        }
    }
}
