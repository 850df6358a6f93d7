//! Failures become answers here, and nowhere else.
//!
//! The body is a problem document (RFC 9457) that says whose fault it was and never what is behind
//! us: no address, no operating-system text. A failure answer holds nothing of any response, so it
//! may be given to all who wait for a fetch.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::key::TargetError;
use crate::origin::FetchError;
use crate::proxy::admission::load::OverloadReason;
use crate::proxy::answer::body::AnswerBody;
use crate::proxy::answer::cache_status::{CacheStatus, ForwardReason};
use crate::proxy::answer::response::{Outcome, ProxyAnswer};

/// Why a request is not answered by the origin or from its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Failure {
    /// The request has no usable target.
    BadTarget(TargetError),
    /// The request target is too long.
    TargetTooLong,
    /// `PURGE`, from somebody whom `purge_allow` does not name.
    PurgeNotAllowed,
    /// `CONNECT` and `TRACE`.
    MethodNotAllowed,
    /// RFC 9111 §5.2.1.7: `only-if-cached`, and nothing usable is stored.
    OnlyIfCached,
    /// No connection to the origin.
    Refused,
    /// No connection to the origin in time.
    ConnectTimeout,
    /// The origin did not answer in time.
    HeadTimeout,
    /// What the origin answered is not HTTP, or its head is out of bounds.
    BadAnswer,
    /// The origin closed the connection in place of an answer.
    Closed,
    /// As many requests to the origin as there may be are under way, and the queue is full or was
    /// too slow.
    Overloaded,
    /// The origin has failed again and again, and is not asked for a moment.
    Resting,
    /// As many requests wait as may.
    Shed,
    /// As many requests of this client address are under way as may.
    PerAddressLimit,
    /// The client's own content broke off or went silent.
    ClientBody,
}

impl Failure {
    fn status(self) -> StatusCode {
        match self {
            Self::BadTarget(_) => StatusCode::BAD_REQUEST,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::PurgeNotAllowed => StatusCode::FORBIDDEN,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::ClientBody => StatusCode::REQUEST_TIMEOUT,
            Self::Refused | Self::BadAnswer | Self::Closed => StatusCode::BAD_GATEWAY,
            Self::OnlyIfCached | Self::ConnectTimeout | Self::HeadTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Overloaded | Self::Resting | Self::Shed | Self::PerAddressLimit => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// Whether it is the origin that could not answer, or nobody could ask it, so that something
    /// stored may.
    pub(in crate::proxy) fn is_of_the_origin(self) -> bool {
        match self {
            Self::Refused
            | Self::ConnectTimeout
            | Self::HeadTimeout
            | Self::BadAnswer
            | Self::Closed
            | Self::Overloaded
            | Self::Resting
            | Self::Shed
            | Self::PerAddressLimit => true,
            Self::BadTarget(_)
            | Self::TargetTooLong
            | Self::PurgeNotAllowed
            | Self::MethodNotAllowed
            | Self::OnlyIfCached
            | Self::ClientBody => false,
        }
    }

    /// Whether the request itself can have made the origin fail: its fields may be more than the
    /// origin takes, or come back in the answer. It says nothing of another request.
    pub(in crate::proxy) fn may_be_of_the_request(self) -> bool {
        match self {
            Self::Closed | Self::BadAnswer => true,
            Self::Refused
            | Self::ConnectTimeout
            | Self::HeadTimeout
            | Self::Overloaded
            | Self::Resting
            | Self::Shed
            | Self::PerAddressLimit
            | Self::BadTarget(_)
            | Self::TargetTooLong
            | Self::PurgeNotAllowed
            | Self::MethodNotAllowed
            | Self::OnlyIfCached
            | Self::ClientBody => false,
        }
    }

    /// The word for `Cache-Status` and the logs.
    pub(in crate::proxy) fn word(self) -> &'static str {
        match self {
            Self::BadTarget(TargetError::OutsideBase) => "outside-base-path",
            Self::BadTarget(_) => "bad-target",
            Self::TargetTooLong => "target-too-long",
            Self::PurgeNotAllowed => "purge-not-allowed",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::OnlyIfCached => "only-if-cached",
            Self::Refused => "origin-unreachable",
            Self::ConnectTimeout => "origin-connect-timeout",
            Self::HeadTimeout => "origin-head-timeout",
            Self::BadAnswer => "origin-bad-answer",
            Self::Closed => "origin-closed",
            Self::Overloaded => "origin-overloaded",
            Self::Resting => "origin-resting",
            Self::Shed => "overloaded",
            Self::PerAddressLimit => "per-address-limit",
            Self::ClientBody => "client-body",
        }
    }

    fn detail(self) -> String {
        match self {
            Self::BadTarget(bad) => return bad.to_string(),
            Self::TargetTooLong => return TargetError::TooLong.to_string(),
            Self::PurgeNotAllowed => "nothing is purged for this address",
            Self::MethodNotAllowed => "this method is not served here",
            Self::OnlyIfCached => "nothing usable is stored, and the request asks not to go further",
            Self::Refused => "the origin cannot be reached",
            Self::ConnectTimeout => "the origin did not accept a connection in time",
            Self::HeadTimeout => "the origin did not answer in time",
            Self::BadAnswer => "the origin's answer is malformed",
            Self::Closed => "the origin closed the connection without an answer",
            Self::Overloaded => "too many requests to the origin are under way",
            Self::Resting => "the origin has failed again and again, and is not asked for a moment",
            Self::Shed => "more requests wait here than may",
            Self::PerAddressLimit => "too many requests of this client address are under way",
            Self::ClientBody => "the request's content did not arrive",
        }
        .to_owned()
    }

    fn outcome(self) -> Outcome {
        if self.is_of_the_origin() { Outcome::Failed } else { Outcome::Refused }
    }

    /// The answer to a request that went forward as `forward` says and met this failure.
    pub(in crate::proxy) fn of_fetch(self, forward: ForwardReason) -> ProxyAnswer {
        ProxyAnswer::from(self).with_status(CacheStatus::NotStored { forward, reason: self.word() })
    }
}

impl From<&FetchError> for Failure {
    fn from(error: &FetchError) -> Self {
        match error {
            FetchError::BadTarget => Self::TargetTooLong,
            FetchError::Busy | FetchError::QueueFull | FetchError::QueueTimeout => Self::Overloaded,
            FetchError::BreakerOpen => Self::Resting,
            FetchError::Resolve(_) | FetchError::Connect(_) | FetchError::Tls(_) => Self::Refused,
            FetchError::ConnectTimeout | FetchError::TlsTimeout => Self::ConnectTimeout,
            FetchError::ClientCut | FetchError::ClientTimeout => Self::ClientBody,
            FetchError::Unanswered | FetchError::CutHead => Self::Closed,
            FetchError::HeadTimeout => Self::HeadTimeout,
            FetchError::HeadTooLarge
            | FetchError::BadHead(_)
            | FetchError::AmbiguousFraming
            | FetchError::BadSwitch
            | FetchError::CutBody { .. }
            | FetchError::BadBody(_)
            | FetchError::BodyTimeout => Self::BadAnswer,
        }
    }
}

impl From<OverloadReason> for Failure {
    fn from(overload: OverloadReason) -> Self {
        match overload {
            OverloadReason::Full => Self::Shed,
            OverloadReason::PerAddress => Self::PerAddressLimit,
        }
    }
}

impl From<Failure> for ProxyAnswer {
    fn from(failure: Failure) -> Self {
        let status = failure.status();
        let mut head = HeaderMap::new();
        head.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        head.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            head.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            head.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // Every text in it is ours and plain, so nothing needs escaping.
        let title = status.canonical_reason().unwrap_or_default();
        let body =
            format!(r#"{{"title":"{title}","status":{},"detail":"{}"}}"#, status.as_u16(), failure.detail());
        ProxyAnswer::new(failure.outcome(), status, head, AnswerBody::Whole(Bytes::from(body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::JsonCheck;

    #[test]
    fn every_failure_is_a_problem_document_that_nobody_stores() {
        let rows = [
            (Failure::BadTarget(TargetError::NoHost), 400),
            (Failure::BadTarget(TargetError::OutsideBase), 400),
            (Failure::TargetTooLong, 414),
            (Failure::MethodNotAllowed, 405),
            (Failure::OnlyIfCached, 504),
            (Failure::Refused, 502),
            (Failure::ConnectTimeout, 504),
            (Failure::HeadTimeout, 504),
            (Failure::BadAnswer, 502),
            (Failure::Closed, 502),
            (Failure::Overloaded, 503),
            (Failure::Resting, 503),
            (Failure::Shed, 503),
            (Failure::PerAddressLimit, 503),
            (Failure::ClientBody, 408),
        ];
        for (failure, status) in rows {
            let ProxyAnswer { response, .. } = failure.into();
            assert_eq!(response.status().as_u16(), status, "{failure:?}");
            assert_eq!(response.headers().get(CACHE_CONTROL).unwrap(), "no-store");
            assert_eq!(response.headers().contains_key(RETRY_AFTER), status == 503);
            let AnswerBody::Whole(body) = response.into_body() else { panic!("{failure:?}") };
            assert_eq!(JsonCheck::new().check(&body, None, 1000), Ok(()), "{failure:?}");
        }
    }
}
