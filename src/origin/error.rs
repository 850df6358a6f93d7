//! What can go wrong between us and the origin, and whose fault it is.
//!
//! A failure is a value that clones, because everybody who waited for a shared fetch gets it.

use std::io;
use std::sync::Arc;

use crate::labels;
use crate::limits::{HEAD_FIELDS_MAX, ORIGIN_HEAD_BYTES_MAX};
use crate::tls::TlsError;

/// Why there is no answer, or no whole one.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// The target, behind the base path, cannot be written as a request line.
    #[error("the target cannot be asked of the origin")]
    BadTarget,
    /// As many connections are open as may be.
    #[error("all connections to the origin are in use")]
    Busy,
    /// As many requests are under way as may be, and as many wait as may.
    #[error("too many requests wait for the origin")]
    QueueFull,
    /// The request waited for its turn as long as it may.
    #[error("the request waited too long for its turn at the origin")]
    QueueTimeout,
    /// The origin has failed again and again, and is not asked for a moment.
    #[error("the origin is not asked at the moment, for it has failed again and again")]
    BreakerOpen,
    /// The origin's name has no address.
    #[error("the origin's name does not resolve")]
    Resolve(#[source] Arc<io::Error>),
    /// No address of the origin took the connection; this is what the last one said.
    #[error("the origin does not take the connection")]
    Connect(#[source] Arc<io::Error>),
    /// Resolving and connecting took too long.
    #[error("connecting to the origin took too long")]
    ConnectTimeout,
    /// The handshake failed: most often a certificate that is not to be trusted.
    #[error("the TLS handshake with the origin failed")]
    Tls(#[source] Arc<io::Error>),
    /// The connection was there, the handshake took too long.
    #[error("the TLS handshake with the origin took too long")]
    TlsTimeout,
    /// The client broke off its request body.
    #[error("the client broke off its request")]
    ClientCut,
    /// The client sent nothing more of its request body for too long.
    #[error("the client stopped sending its request")]
    ClientTimeout,
    /// The connection closed before one byte of an answer.
    #[error("the origin closed the connection without an answer")]
    Unanswered,
    /// The whole request was sent, and no head came.
    #[error("the origin took too long to answer")]
    HeadTimeout,
    /// The connection closed within the head.
    #[error("the origin broke off the head of its answer")]
    CutHead,
    /// More than this proxy reads of a head.
    #[error(
        "the head of the answer is longer than {ORIGIN_HEAD_BYTES_MAX} bytes or {HEAD_FIELDS_MAX} fields"
    )]
    HeadTooLarge,
    /// Not HTTP.
    #[error("the head of the answer is malformed")]
    BadHead(#[source] Arc<hyper::Error>),
    /// The head says in two ways, or in one that we do not decode, where the body ends.
    #[error("the head of the answer does not say clearly where its body ends")]
    AmbiguousFraming,
    /// The origin switched to a protocol that nobody asked it for.
    #[error("the origin switched protocols unasked")]
    BadSwitch,
    /// The body ended early.
    #[error("the answer's body was cut short: {got} bytes came of {}", PromisedLength(*.want))]
    CutBody {
        /// Bytes of content that came.
        got: u64,
        /// Bytes that `Content-Length` promised; `None` where none were.
        want: Option<u64>,
    },
    /// The body is wrongly chunked.
    #[error("the answer's body is malformed")]
    BadBody(#[source] Arc<hyper::Error>),
    /// Nothing more of the body came for too long.
    #[error("the origin stopped sending its answer")]
    BodyTimeout,
}

labels! {
    /// The part of an exchange in which it failed.
    pub enum FetchPhase {
        /// Before anything was sent: no room, or no way to ask.
        Admission => "admission",
        /// Name resolution.
        Resolve => "resolve",
        /// TCP.
        Connect => "connect",
        /// TLS.
        Tls => "tls",
        /// While the client's body was sent.
        Request => "request",
        /// Waiting for, or reading, the answer's head.
        Head => "head",
        /// Reading the answer's body.
        Body => "body",
    }
}

labels! {
    /// Whose fault a failure is.
    pub enum FaultParty {
        /// The origin's, or that of the network in between.
        Origin => "origin",
        /// The client's.
        Client => "client",
        /// Ours: a bound of this process was reached.
        Proxy => "proxy",
    }
}

impl FetchError {
    /// The part of the exchange that failed.
    pub fn phase(&self) -> FetchPhase {
        match self {
            Self::BadTarget | Self::Busy | Self::QueueFull | Self::QueueTimeout | Self::BreakerOpen => {
                FetchPhase::Admission
            }
            Self::Resolve(_) => FetchPhase::Resolve,
            Self::Connect(_) | Self::ConnectTimeout => FetchPhase::Connect,
            Self::Tls(_) | Self::TlsTimeout => FetchPhase::Tls,
            Self::ClientCut | Self::ClientTimeout => FetchPhase::Request,
            Self::Unanswered
            | Self::HeadTimeout
            | Self::CutHead
            | Self::HeadTooLarge
            | Self::BadHead(_)
            | Self::AmbiguousFraming
            | Self::BadSwitch => FetchPhase::Head,
            Self::CutBody { .. } | Self::BadBody(_) | Self::BodyTimeout => FetchPhase::Body,
        }
    }

    /// Who could have prevented it.
    pub fn fault(&self) -> FaultParty {
        match self {
            Self::BadTarget | Self::ClientCut | Self::ClientTimeout => FaultParty::Client,
            Self::Busy | Self::QueueFull | Self::QueueTimeout => FaultParty::Proxy,
            Self::BreakerOpen
            | Self::Resolve(_)
            | Self::Connect(_)
            | Self::ConnectTimeout
            | Self::Tls(_)
            | Self::TlsTimeout
            | Self::Unanswered
            | Self::HeadTimeout
            | Self::CutHead
            | Self::HeadTooLarge
            | Self::BadHead(_)
            | Self::AmbiguousFraming
            | Self::BadSwitch
            | Self::CutBody { .. }
            | Self::BadBody(_)
            | Self::BodyTimeout => FaultParty::Origin,
        }
    }

    /// Whether the origin may have had the request, or a part of it: then its outcome is unknown.
    pub fn leaves_outcome_unknown(&self) -> bool {
        match self.phase() {
            FetchPhase::Admission | FetchPhase::Resolve | FetchPhase::Connect | FetchPhase::Tls => false,
            FetchPhase::Request | FetchPhase::Head | FetchPhase::Body => true,
        }
    }

    /// Whether a deadline ended it.
    pub fn is_timeout(&self) -> bool {
        matches!(
            self,
            Self::ConnectTimeout
                | Self::TlsTimeout
                | Self::ClientTimeout
                | Self::HeadTimeout
                | Self::BodyTimeout
        )
    }
}

/// How much of a body was promised, in words.
struct PromisedLength(Option<u64>);

impl std::fmt::Display for PromisedLength {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(bytes) => bytes.fmt(f),
            None => f.write_str("an unknown number"),
        }
    }
}

/// Why options make no client.
#[derive(Debug, thiserror::Error)]
pub enum OriginOptionsError {
    /// Neither empty nor an absolute path without a trailing slash, query or fragment.
    #[error("the origin's base path {0:?} is not a path")]
    BasePath(String),
    /// The host cannot be dialled or named in a certificate, or the port is none.
    #[error("the origin's authority {0:?} cannot be connected to")]
    Authority(String),
    /// TLS cannot be spoken as it was asked for.
    #[error("TLS with the origin cannot be set up: {0}")]
    Tls(#[from] TlsError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_say_what_and_whose() {
        let cut = FetchError::CutBody { got: 3, want: Some(10) };
        assert_eq!(cut.to_string(), "the answer's body was cut short: 3 bytes came of 10");
        let cut = FetchError::CutBody { got: 3, want: None };
        assert_eq!(cut.to_string(), "the answer's body was cut short: 3 bytes came of an unknown number");
        assert_eq!(
            (cut.phase(), cut.fault(), cut.is_timeout()),
            (FetchPhase::Body, FaultParty::Origin, false)
        );

        let stalled = FetchError::ClientTimeout;
        assert_eq!(
            (stalled.phase(), stalled.fault(), stalled.is_timeout()),
            (FetchPhase::Request, FaultParty::Client, true)
        );
        assert_eq!(FetchError::Busy.fault(), FaultParty::Proxy);
        for (error, unknown) in [
            (FetchError::Busy, false),
            (FetchError::BreakerOpen, false),
            (FetchError::ConnectTimeout, false),
            (FetchError::TlsTimeout, false),
            (FetchError::ClientCut, true),
            (FetchError::Unanswered, true),
            (FetchError::HeadTimeout, true),
            (FetchError::CutHead, true),
            (cut, true),
        ] {
            assert_eq!(error.leaves_outcome_unknown(), unknown, "{error}");
        }
    }
}
