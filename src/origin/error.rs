//! Errors between this proxy and the origin, with the party at fault.
//!
//! Errors are `Clone`, because every request of a shared fetch gets one.

use std::io;
use std::sync::Arc;

use crate::labels;
use crate::limits::{
    CONNECTION_OPTIONS_MAX, ORIGIN_HEAD_BYTES_MAX, ORIGIN_HEAD_FIELDS_MAX, ORIGIN_INTERIMS_MAX,
};
use crate::tls::TlsError;

/// Reason why there is no response, or no complete one.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// The target, behind the base path, is no valid request line.
    #[error("the origin cannot be sent this target")]
    BadTarget,
    /// All connection slots are occupied.
    #[error("all connections to the origin are in use")]
    Busy,
    /// The limit and the queue are full.
    #[error("too many requests are waiting for the origin")]
    QueueFull,
    /// The request waited in the queue for the whole time-out.
    #[error("the request waited too long in the queue for the origin")]
    QueueTimeout,
    /// The circuit breaker is open after repeated failures.
    #[error("origin circuit breaker open after repeated failures")]
    BreakerOpen,
    /// The origin's name has no address.
    #[error("the origin's name does not resolve")]
    Resolve(#[source] Arc<io::Error>),
    /// No address of the origin accepted the connection; the source is the last error.
    #[error("the connection to the origin failed")]
    Connect(#[source] Arc<io::Error>),
    /// Name resolution and connect took too long.
    #[error("connecting to the origin timed out")]
    ConnectTimeout,
    /// The handshake failed, most often because of an untrusted certificate.
    #[error("the TLS handshake with the origin failed")]
    Tls(#[source] Arc<io::Error>),
    /// The connection was open, but the handshake took too long.
    #[error("the TLS handshake with the origin timed out")]
    TlsTimeout,
    /// The client broke off its request body.
    #[error("the client broke off its request")]
    ClientCut,
    /// The chunked coding of the client's request body is invalid.
    #[error("the client's request body is malformed")]
    ClientMalformed,
    /// The client paused too long in its request body.
    #[error("the client stopped sending its request")]
    ClientTimeout,
    /// The connection closed before the first byte of a response.
    #[error("the origin closed the connection without a response")]
    Unanswered,
    /// The request was sent, and no head arrived in time.
    #[error("the origin did not respond in time")]
    HeadTimeout,
    /// The connection closed within the head.
    #[error("the origin closed the connection within the response head")]
    CutHead,
    /// The head exceeds the limits of this proxy.
    #[error(
        "the response head is larger than {ORIGIN_HEAD_BYTES_MAX} bytes, {ORIGIN_HEAD_FIELDS_MAX} fields, \
         {CONNECTION_OPTIONS_MAX} options in Connection, or {ORIGIN_INTERIMS_MAX} interim responses before it"
    )]
    HeadTooLarge,
    /// The head is not HTTP.
    #[error("the response head is malformed")]
    BadHead(#[source] HeadError),
    /// The head frames the body twice, or with a transfer coding that this proxy does not decode.
    #[error("the response head does not frame its body unambiguously")]
    AmbiguousFraming,
    /// The origin switched to a protocol that the request did not ask for.
    #[error("the origin switched to a protocol that was not requested")]
    BadSwitch,
    /// The body ended early.
    #[error("the response body is incomplete: received {got} bytes of {}", PromisedLength(*.want))]
    CutBody {
        /// Bytes of content received.
        got: u64,
        /// Bytes stated by `Content-Length`, if any.
        want: Option<u64>,
    },
    /// The chunked coding of the body is invalid.
    #[error("the response body is malformed")]
    BadBody(#[source] ChunkError),
    /// The origin paused too long in the body.
    #[error("the origin stopped sending the response body")]
    BodyTimeout,
}

/// The reason why the bytes are no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The head, or the number of its fields, exceeds its limit.
    #[error("it is too large")]
    TooLarge,
    /// The bytes are no status line, or no header fields.
    #[error("{0}")]
    Syntax(httparse::Error),
    /// The status is none that HTTP defines a class for.
    #[error("invalid status")]
    Status,
    /// A field has a name or value that no recipient may use.
    #[error("invalid header field")]
    Field,
}

/// The reason why a body is not chunked as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A size is missing, is not hexadecimal, or does not fit in 64 bits.
    #[error("invalid chunk size")]
    Size,
    /// The extensions of all chunks together exceed their limit, or have a line break.
    #[error("invalid chunk extension")]
    Extension,
    /// A line does not end with CR and LF.
    #[error("invalid end of a line in a chunk")]
    LineEnd,
    /// The trailer fields are no fields, or exceed a limit.
    #[error("invalid trailer fields")]
    Trailers,
}

labels! {
    /// Part of an exchange that failed.
    pub enum FetchPhase {
        /// Before the request was sent: no capacity, or an invalid target.
        Admission => "admission",
        /// Name resolution.
        Resolve => "resolve",
        /// TCP connect.
        Connect => "connect",
        /// TLS handshake.
        Tls => "tls",
        /// Sending the client's body.
        Request => "request",
        /// Waiting for or reading the response head.
        Head => "head",
        /// Reading the response body.
        Body => "body",
    }
}

labels! {
    /// Party at fault.
    pub enum FaultParty {
        /// The origin, or the network in between.
        Origin => "origin",
        /// The client.
        Client => "client",
        /// This proxy: a limit of the process was reached.
        Proxy => "proxy",
    }
}

impl FetchError {
    /// Returns the part of the exchange that failed.
    pub fn phase(&self) -> FetchPhase {
        match self {
            Self::BadTarget | Self::Busy | Self::QueueFull | Self::QueueTimeout | Self::BreakerOpen => {
                FetchPhase::Admission
            }
            Self::Resolve(_) => FetchPhase::Resolve,
            Self::Connect(_) | Self::ConnectTimeout => FetchPhase::Connect,
            Self::Tls(_) | Self::TlsTimeout => FetchPhase::Tls,
            Self::ClientCut | Self::ClientMalformed | Self::ClientTimeout => FetchPhase::Request,
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

    /// Returns the party that could have prevented it.
    pub fn fault(&self) -> FaultParty {
        match self {
            Self::BadTarget | Self::ClientCut | Self::ClientMalformed | Self::ClientTimeout => {
                FaultParty::Client
            }
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

    /// Returns whether the origin may have received the request, or a part of it, so that its
    /// outcome is unknown.
    pub fn leaves_outcome_unknown(&self) -> bool {
        match self.phase() {
            FetchPhase::Admission | FetchPhase::Resolve | FetchPhase::Connect | FetchPhase::Tls => false,
            FetchPhase::Request | FetchPhase::Head | FetchPhase::Body => true,
        }
    }

    /// Returns whether a deadline caused the error.
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

/// Text of a body's stated length.
struct PromisedLength(Option<u64>);

impl std::fmt::Display for PromisedLength {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(bytes) => bytes.fmt(f),
            None => f.write_str("an unknown number"),
        }
    }
}

/// Reason why options give no client.
#[derive(Debug, thiserror::Error)]
pub enum OriginOptionsError {
    /// The path is neither empty nor an absolute path without a trailing slash, query or fragment.
    #[error("the origin's base path {0:?} is invalid")]
    BasePath(String),
    /// The host cannot be dialled or named in a certificate, or the port is invalid.
    #[error("the origin's authority {0:?} is invalid")]
    Authority(String),
    /// TLS cannot be set up with these options.
    #[error("setting up TLS with the origin failed: {0}")]
    Tls(#[from] TlsError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_state_their_text_phase_and_fault() {
        let cut = FetchError::CutBody { got: 3, want: Some(10) };
        assert_eq!(cut.to_string(), "the response body is incomplete: received 3 bytes of 10");
        let cut = FetchError::CutBody { got: 3, want: None };
        assert_eq!(cut.to_string(), "the response body is incomplete: received 3 bytes of an unknown number");
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
