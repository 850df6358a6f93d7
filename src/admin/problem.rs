//! What is wrong with an operator's request, as a problem document (RFC 9457): one table.

use http::header::{ALLOW, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use super::access::AccessError;
use super::{AdminResponse, document};
use crate::json;
use crate::label::Label;
use crate::limits::{OPERATOR_SHOWN_BYTES_MAX, PURGE_BODY_BYTES_MAX};
use crate::purge::PurgeOrderError;

use super::query::QueryError;

/// Why a request is not answered as it was meant.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminProblem {
    /// 404.
    #[error("there are /health, /metrics, /purge, /entries and /stats")]
    NoSuchPath,
    /// 405.
    #[error("this takes {allow}")]
    Method {
        /// The methods that it takes.
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
    #[error("the body did not arrive")]
    NoBody,
    /// 400.
    #[error("{0}")]
    Order(#[from] PurgeOrderError),
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
            Self::Order(_) | Self::Query(_) => StatusCode::BAD_REQUEST,
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
            | Self::Order(_)
            | Self::Query(_) => None,
        }
    }

    /// The document, with the fields that belong to its status.
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

/// For a `503`: a second is as long as Redis' connections take to come back when it does.
pub(super) fn retry_after(mut answer: AdminResponse) -> AdminResponse {
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}
