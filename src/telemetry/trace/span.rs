//! One finished span.

use std::borrow::Cow;

crate::labels! {
    /// The name of a span within a request.
    pub enum SpanName {
        /// The request itself.
        Request => "request",
        /// The lookup of a request that memory does not answer alone.
        Lookup => "lookup",
        /// One read of Redis.
        Redis => "redis",
        /// One request to the origin, until the head of its response.
        Fetch => "fetch",
        /// The storage of a response.
        Store => "store",
    }
}

impl SpanName {
    /// Returns the kind of the span.
    pub(super) fn kind(self) -> SpanKind {
        match self {
            Self::Request => SpanKind::Server,
            Self::Redis | Self::Fetch => SpanKind::Client,
            Self::Lookup | Self::Store => SpanKind::Internal,
        }
    }
}

crate::labels! {
    /// The reason why a span is lost.
    pub(super) enum SpanLoss {
        /// The collector is slow, and the queue is full.
        QueueFull => "queue-full",
        /// The exporter has ended.
        Closed => "closed",
        /// The collector did not answer in time, or no connection to it succeeded.
        Unreachable => "unreachable",
        /// The collector answered with an error.
        Refused => "refused",
    }
}

/// The kind of a span, with its number in OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpanKind {
    /// Work within the process.
    Internal = 1,
    /// The answer to a client.
    Server = 2,
    /// A request to a server.
    Client = 3,
}

/// The outcome of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpanOutcome {
    /// No error is known.
    Unset,
    /// The work failed.
    Error,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpanAttribute {
    /// A text.
    Text(Cow<'static, str>),
    /// A number.
    Number(u64),
}

/// The ids of a span of any trace, for a link to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanLink {
    /// The id of the trace.
    pub(super) trace: [u8; 16],
    /// The id of the span.
    pub(super) span: [u8; 8],
}

/// A finished span.
#[derive(Clone, Debug)]
pub(super) struct FinishedSpan {
    /// The id of the trace.
    pub(super) trace: [u8; 16],
    /// The id of the span.
    pub(super) id: [u8; 8],
    /// The id of the span that this one belongs to.
    pub(super) parent: Option<[u8; 8]>,
    /// The name.
    pub(super) name: SpanName,
    /// Nanoseconds since the Unix epoch at which the span began.
    pub(super) begun: u64,
    /// Nanoseconds since the Unix epoch at which the span ended.
    pub(super) ended: u64,
    /// The outcome.
    pub(super) outcome: SpanOutcome,
    /// The attributes.
    pub(super) attributes: Vec<(&'static str, SpanAttribute)>,
    /// The spans of other traces that this one depends on.
    pub(super) links: Vec<SpanLink>,
}
