//! The errors of operators' requests, each as a problem document (RFC 9457).

use http::header::{ALLOW, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use super::access::AccessError;
use super::response::{AdminResponse, document};
use crate::json;
use crate::label::Label;
use crate::limits::{OPERATOR_SHOWN_BYTES_MAX, PURGE_BODY_BYTES_MAX};
use crate::purge::PurgeOrderError;

use super::query::QueryError;

/// The reason why an operator's request fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminProblem {
    /// 404.
    #[error(
        "no such path; the paths are /, /health, /ready, /metrics, /purge, /entries, /stats, /series and /reload"
    )]
    NoSuchPath,
    /// 405.
    #[error("method not allowed; use {allow}")]
    Method {
        /// The methods that the resource allows.
        allow: &'static str,
    },
    /// 401 or 403.
    #[error("{}", .0.detail())]
    Denied(AccessError),
    /// 415.
    #[error("the body must be application/json")]
    NotJson,
    /// 413.
    #[error("the body is longer than {PURGE_BODY_BYTES_MAX} bytes")]
    TooLarge,
    /// 408.
    #[error("the body did not arrive completely")]
    NoBody,
    /// 400.
    #[error("{0}")]
    Order(#[from] PurgeOrderError),
    /// 400.
    #[error("the body must be {{}}")]
    NotEmpty,
    /// 422.
    #[error("nothing was reloaded: {0}")]
    ReloadRefused(String),
    /// 503.
    #[error("the process is busy with other reloads, or has none")]
    NoReload,
    /// 503.
    #[error("the system gives no random numbers for the policy of the page")]
    NoNonce,
    /// 400.
    #[error("{0}")]
    Query(#[from] QueryError),
}

impl From<AccessError> for AdminProblem {
    fn from(denied: AccessError) -> Self {
        Self::Denied(denied)
    }
}

impl AdminProblem {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Denied(denied) => denied.status(),
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoBody => StatusCode::REQUEST_TIMEOUT,
            Self::Order(_) | Self::Query(_) | Self::NotEmpty => StatusCode::BAD_REQUEST,
            Self::ReloadRefused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NoReload | Self::NoNonce => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn field(&self) -> Option<(HeaderName, &'static str)> {
        match self {
            Self::Method { allow } => Some((ALLOW, allow)),
            Self::Denied(denied) => denied.challenge().map(|challenge| (WWW_AUTHENTICATE, challenge)),
            Self::NoSuchPath
            | Self::NotJson
            | Self::TooLarge
            | Self::NoBody
            | Self::NotEmpty
            | Self::ReloadRefused(_)
            | Self::NoReload
            | Self::NoNonce
            | Self::Order(_)
            | Self::Query(_) => None,
        }
    }

    /// Returns the problem document, with the header fields that belong to its status.
    pub(super) fn answer(self) -> AdminResponse {
        let status = self.status();
        let body = json::object(|object| {
            object.text("title", status.canonical_reason().unwrap_or_default(), usize::MAX);
            object.number("status", status.as_u16().into());
            object.text("detail", &self.to_string(), OPERATOR_SHOWN_BYTES_MAX);
            if let Self::Denied(denied) = &self {
                object.word("reason", denied.word());
            }
        });
        let mut answer = document(status, "application/problem+json", body);
        if let Some((name, value)) = self.field() {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }
}

/// Adds `Retry-After` to a `503`. Within a second, the connections to a recovered Redis are up
/// again.
pub(super) fn retry_after(mut answer: AdminResponse) -> AdminResponse {
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}
