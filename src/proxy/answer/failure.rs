//! Failures, and their conversion into answers.
//!
//! The body is a problem document (RFC 9457) that names the responsible side and reveals nothing
//! about the origin: no address and no operating-system error. A failure answer contains nothing of
//! any response, so all followers of a fetch may receive it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::key::TargetError;
use crate::origin::FetchError;
use crate::proxy::admission::load::OverloadReason;
use crate::proxy::answer::body::AnswerBody;
use crate::proxy::answer::cache_status::{AnswerReasons, CacheStatus, ForwardReason};
use crate::proxy::answer::outcome::Outcome;
use crate::proxy::answer::response::{ALLOWED_METHODS, ProxyAnswer};

/// The reason for which a request gets neither a stored response nor the origin's response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Failure {
    /// The request has no usable target.
    BadTarget(TargetError),
    /// The request target is too long.
    TargetTooLong,
    /// `PURGE` from a client that `purge_allow` does not include.
    PurgeNotAllowed,
    /// `CONNECT` or `TRACE`.
    MethodNotAllowed,
    /// This process has already forwarded the request: its `Via` names it.
    Loop,
    /// `Connection` lists more options than the proxy compares.
    ConnectionOptions,
    /// RFC 9111 §5.2.1.7: `only-if-cached`, and no usable response is stored.
    OnlyIfCached,
    /// The connection to the origin failed.
    Refused,
    /// The connection to the origin timed out.
    ConnectTimeout,
    /// The origin did not respond in time.
    HeadTimeout,
    /// The origin's response is not valid HTTP.
    BadAnswer,
    /// The head of the origin's response, or the interim responses before it, exceed a limit.
    HeadTooLarge,
    /// The origin closed the connection without a response.
    Closed,
    /// The limit of concurrent origin requests is reached, and the queue is full or timed out.
    Overloaded,
    /// The origin's circuit breaker is open after repeated failures.
    BreakerOpen,
    /// The origin refused an equal request with `503`, and this much of its `Retry-After` is left.
    RetryAfter(Duration),
    /// The limit of waiting requests is reached.
    Shed,
    /// The limit of requests of this client address is reached.
    PerAddressLimit,
    /// The client's own content ended early or timed out.
    ClientBody,
    /// The chunked coding of the client's own content is invalid.
    MalformedBody,
}

impl Failure {
    fn status(self) -> StatusCode {
        match self {
            Self::BadTarget(_) | Self::ConnectionOptions | Self::MalformedBody => StatusCode::BAD_REQUEST,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::PurgeNotAllowed => StatusCode::FORBIDDEN,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::ClientBody => StatusCode::REQUEST_TIMEOUT,
            Self::Refused | Self::BadAnswer | Self::HeadTooLarge | Self::Closed => StatusCode::BAD_GATEWAY,
            Self::OnlyIfCached | Self::ConnectTimeout | Self::HeadTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Overloaded
            | Self::BreakerOpen
            | Self::RetryAfter(_)
            | Self::Shed
            | Self::PerAddressLimit => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns whether the origin could not respond, or was not reached, so that a stale response
    /// may answer.
    pub(in crate::proxy) fn is_of_the_origin(self) -> bool {
        match self {
            Self::Refused
            | Self::ConnectTimeout
            | Self::HeadTimeout
            | Self::BadAnswer
            | Self::HeadTooLarge
            | Self::Closed
            | Self::Overloaded
            | Self::BreakerOpen
            | Self::RetryAfter(_)
            | Self::Shed
            | Self::PerAddressLimit => true,
            Self::BadTarget(_)
            | Self::TargetTooLong
            | Self::PurgeNotAllowed
            | Self::MethodNotAllowed
            | Self::Loop
            | Self::ConnectionOptions
            | Self::OnlyIfCached
            | Self::ClientBody
            | Self::MalformedBody => false,
        }
    }

    /// Returns whether the request itself may have caused the failure: its fields may exceed the
    /// origin's limits, be reflected in the response, or cause work that exceeds the origin's time,
    /// or its client may have used up its share of the origin's turns. Such a failure says nothing
    /// about other requests.
    pub(in crate::proxy) fn may_be_of_the_request(self) -> bool {
        match self {
            Self::HeadTimeout
            | Self::Closed
            | Self::BadAnswer
            | Self::HeadTooLarge
            | Self::Overloaded
            | Self::RetryAfter(_) => true,
            Self::Refused
            | Self::ConnectTimeout
            | Self::BreakerOpen
            | Self::Shed
            | Self::PerAddressLimit
            | Self::BadTarget(_)
            | Self::TargetTooLong
            | Self::PurgeNotAllowed
            | Self::MethodNotAllowed
            | Self::Loop
            | Self::ConnectionOptions
            | Self::OnlyIfCached
            | Self::ClientBody
            | Self::MalformedBody => false,
        }
    }

    /// Returns whether the head that the origin received may have caused the failure.
    pub(in crate::proxy) fn may_be_of_the_head(self) -> bool {
        self.may_be_of_the_request() && self != Self::Overloaded
    }

    /// Returns the word for `Cache-Status` and the logs.
    pub(in crate::proxy) fn word(self) -> &'static str {
        match self {
            Self::BadTarget(TargetError::OutsideBase) => "outside-base-path",
            Self::BadTarget(_) => "bad-target",
            Self::TargetTooLong => "target-too-long",
            Self::PurgeNotAllowed => "purge-not-allowed",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::Loop => "loop",
            Self::ConnectionOptions => "connection-options",
            Self::OnlyIfCached => "only-if-cached",
            Self::Refused => "origin-unreachable",
            Self::ConnectTimeout => "origin-connect-timeout",
            Self::HeadTimeout => "origin-head-timeout",
            Self::BadAnswer => "origin-bad-answer",
            Self::HeadTooLarge => "origin-head-too-large",
            Self::Closed => "origin-closed",
            Self::Overloaded => "origin-overloaded",
            Self::BreakerOpen => "origin-resting",
            Self::RetryAfter(_) => "origin-retry-after",
            Self::Shed => "overloaded",
            Self::PerAddressLimit => "per-address-limit",
            Self::ClientBody => "client-body",
            Self::MalformedBody => "client-body-malformed",
        }
    }

    fn detail(self) -> String {
        match self {
            Self::BadTarget(bad) => return bad.to_string(),
            Self::TargetTooLong => return TargetError::TooLong.to_string(),
            Self::PurgeNotAllowed => "this client address may not purge",
            Self::MethodNotAllowed => "this method is not supported",
            Self::Loop => "this proxy has already forwarded the request: the origin forwards to this proxy",
            Self::ConnectionOptions => "the Connection field lists too many options",
            Self::OnlyIfCached => "no usable response is stored, and the request has only-if-cached",
            Self::Refused => "the origin cannot be reached",
            Self::ConnectTimeout => "the origin did not accept a connection in time",
            Self::HeadTimeout => "the origin did not answer in time",
            Self::BadAnswer => "the origin's answer is malformed",
            Self::HeadTooLarge => "the head of the origin's answer is too large",
            Self::Closed => "the origin closed the connection without an answer",
            Self::Overloaded => "too many requests to the origin are in progress",
            Self::BreakerOpen => "the circuit breaker of the origin is open after repeated failures",
            Self::RetryAfter(_) => "the origin has refused this request for a time that is not over",
            Self::Shed => "too many requests are waiting",
            Self::PerAddressLimit => "too many requests of this client address are in progress",
            Self::ClientBody => "the request's content did not arrive",
            Self::MalformedBody => "the chunked coding of the request's content is malformed",
        }
        .to_owned()
    }

    /// Returns the value of `Retry-After`: whole seconds, rounded up.
    fn retry_after(self) -> HeaderValue {
        let rest = if let Self::RetryAfter(rest) = self { rest } else { Duration::from_secs(1) };
        let is_partial = rest.subsec_nanos() > 0;
        HeaderValue::from(rest.as_secs() + u64::from(is_partial))
    }

    fn outcome(self) -> Outcome {
        if self.is_of_the_origin() { Outcome::Failed } else { Outcome::Refused }
    }

    /// Returns the answer for a request that went forward and met this failure.
    pub(in crate::proxy) fn of_fetch(self, forward: ForwardReason) -> ProxyAnswer {
        ProxyAnswer::from(self).with_status(CacheStatus::NotStored { forward, reason: self.word() })
    }
}

impl From<&FetchError> for Failure {
    fn from(error: &FetchError) -> Self {
        match error {
            FetchError::BadTarget => Self::TargetTooLong,
            FetchError::Busy | FetchError::QueueFull | FetchError::QueueTimeout => Self::Overloaded,
            FetchError::BreakerOpen => Self::BreakerOpen,
            FetchError::Resolve(_) | FetchError::Connect(_) | FetchError::Tls(_) => Self::Refused,
            FetchError::ConnectTimeout | FetchError::TlsTimeout => Self::ConnectTimeout,
            FetchError::ClientCut | FetchError::ClientTimeout => Self::ClientBody,
            FetchError::ClientMalformed => Self::MalformedBody,
            FetchError::Unanswered | FetchError::CutHead => Self::Closed,
            FetchError::HeadTimeout => Self::HeadTimeout,
            FetchError::HeadTooLarge => Self::HeadTooLarge,
            FetchError::BadHead(_)
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
            head.insert(ALLOW, ALLOWED_METHODS);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            head.insert(RETRY_AFTER, failure.retry_after());
        }
        // The texts contain no character that JSON must escape.
        let title = status.canonical_reason().unwrap_or_default();
        let body =
            format!(r#"{{"title":"{title}","status":{},"detail":"{}"}}"#, status.as_u16(), failure.detail());
        let answer = ProxyAnswer::new(failure.outcome(), status, head, AnswerBody::Whole(Bytes::from(body)));
        let reasons = AnswerReasons { detail: Some(failure.word()), ..AnswerReasons::default() };
        ProxyAnswer { reasons, ..answer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{JsonCheck, JsonShape};

    #[test]
    fn every_failure_is_an_uncacheable_problem_document() {
        let rows = [
            (Failure::BadTarget(TargetError::NoHost), 400),
            (Failure::BadTarget(TargetError::OutsideBase), 400),
            (Failure::TargetTooLong, 414),
            (Failure::MethodNotAllowed, 405),
            (Failure::Loop, 508),
            (Failure::ConnectionOptions, 400),
            (Failure::OnlyIfCached, 504),
            (Failure::Refused, 502),
            (Failure::ConnectTimeout, 504),
            (Failure::HeadTimeout, 504),
            (Failure::BadAnswer, 502),
            (Failure::HeadTooLarge, 502),
            (Failure::Closed, 502),
            (Failure::Overloaded, 503),
            (Failure::BreakerOpen, 503),
            (Failure::RetryAfter(Duration::from_secs(9)), 503),
            (Failure::Shed, 503),
            (Failure::PerAddressLimit, 503),
            (Failure::ClientBody, 408),
            (Failure::MalformedBody, 400),
        ];
        for (failure, status) in rows {
            let ProxyAnswer { response, .. } = failure.into();
            assert_eq!(response.status().as_u16(), status, "{failure:?}");
            assert_eq!(response.headers().get(CACHE_CONTROL).unwrap(), "no-store");
            assert_eq!(response.headers().contains_key(RETRY_AFTER), status == 503);
            let AnswerBody::Whole(body) = response.into_body() else { panic!("{failure:?}") };
            assert_eq!(JsonCheck::new().check(&body, None, 1000), Ok(JsonShape::Delimited), "{failure:?}");
        }
    }
}
