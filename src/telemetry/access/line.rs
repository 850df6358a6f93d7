//! The facts of one finished request.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Version};

use crate::key::Scheme;
use crate::limits::ACCESS_TEXT_BYTES_MAX;
use crate::telemetry::trace::TraceContext;
use crate::time::Timestamp;

crate::labels! {
    /// The end of an answer.
    pub enum AnswerEnd {
        /// The server has passed the last byte on.
        Complete => "complete",
        /// The client left, or did not read in time.
        ClientLeft => "client-left",
        /// The source of the body failed, so the connection was cut.
        BodyFailed => "body-failed",
        /// The handler panicked.
        Panicked => "panicked",
        /// Both sides of the tunnel have ended.
        TunnelClosed => "tunnel-closed",
        /// No byte passed the tunnel within `tunnel_idle_timeout`.
        TunnelIdle => "tunnel-idle",
        /// One side of the tunnel broke or did not switch protocols, or a drain ended.
        TunnelCut => "tunnel-cut",
    }
}

/// The facts about an answer that its handler knows.
#[derive(Clone, Debug, Default)]
pub struct AnswerFacts {
    /// The client, if a proxy in front forwards for it.
    pub client: Option<IpAddr>,
    /// The name of the route that matched.
    pub route: Option<Arc<str>>,
    /// The outcome by which the request is counted.
    pub outcome: Option<&'static str>,
    /// The tier that had the response.
    pub tier: Option<&'static str>,
    /// The reason why the request went forward.
    pub forward: Option<&'static str>,
    /// The reason of a refusal or a failure, or why the response is not stored.
    pub detail: Option<&'static str>,
    /// The age of the response in seconds.
    pub age: Option<u64>,
    /// The time that the origin took until the head of its response, or until it failed.
    pub origin_time: Option<Duration>,
}

/// A finished request. Its texts are beside it, so that many lines share one allocation.
#[derive(Debug)]
pub(super) struct AccessLine {
    /// The begin of the request.
    pub(super) at: Timestamp,
    pub(super) peer: IpAddr,
    pub(super) scheme: Scheme,
    pub(super) version: Version,
    /// `None` where the request could not be read.
    pub(super) method: Option<Method>,
    pub(super) status: Option<u16>,
    /// The bytes of the request's body, if its head declares them.
    pub(super) request_bytes: Option<u64>,
    /// The bytes of the response's body, or those that the tunnel carried to the client.
    pub(super) response_bytes: u64,
    /// The bytes that the tunnel carried to the origin.
    pub(super) tunnel_bytes: Option<u64>,
    /// The time until the head of the response.
    pub(super) time_to_head: Option<Duration>,
    /// The time until the end.
    pub(super) duration: Duration,
    pub(super) end: AnswerEnd,
    pub(super) facts: AnswerFacts,
    pub(super) lengths: TextLengths,
}

impl AccessLine {
    /// Returns the line of a request that has just begun.
    pub(super) fn begun(at: Timestamp, peer: IpAddr, scheme: Scheme) -> Self {
        Self {
            at,
            peer,
            scheme,
            version: Version::HTTP_11,
            method: None,
            status: None,
            request_bytes: None,
            response_bytes: 0,
            tunnel_bytes: None,
            time_to_head: None,
            duration: Duration::ZERO,
            end: AnswerEnd::ClientLeft,
            facts: AnswerFacts::default(),
            lengths: TextLengths::default(),
        }
    }
}

/// The lengths of a line's texts, in their order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TextLengths {
    host: u16,
    path: u16,
    query: u16,
    agent: u16,
    request_id: u16,
    trace_id: u16,
}

/// The texts of a line. A request may carry any bytes in them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LineTexts<'a> {
    pub(super) host: &'a [u8],
    pub(super) path: &'a [u8],
    pub(super) query: &'a [u8],
    pub(super) agent: &'a [u8],
    pub(super) request_id: &'a [u8],
    pub(super) trace_id: &'a [u8],
}

impl<'a> LineTexts<'a> {
    /// Appends the texts to a buffer.
    pub(super) fn put(&self, buffer: &mut Vec<u8>) -> TextLengths {
        TextLengths {
            host: put(buffer, self.host),
            path: put(buffer, self.path),
            query: put(buffer, self.query),
            agent: put(buffer, self.agent),
            request_id: put(buffer, self.request_id),
            trace_id: put(buffer, self.trace_id),
        }
    }

    /// Takes the texts of one line from the front of a buffer.
    pub(super) fn take(buffer: &mut &'a [u8], lengths: TextLengths) -> Self {
        let mut next = |length: u16| {
            let (text, rest) = buffer.split_at_checked(usize::from(length)).unwrap_or((&[], buffer));
            *buffer = rest;
            text
        };
        let TextLengths { host, path, query, agent, request_id, trace_id } = lengths;
        Self {
            host: next(host),
            path: next(path),
            query: next(query),
            agent: next(agent),
            request_id: next(request_id),
            trace_id: next(trace_id),
        }
    }
}

/// The mark of a text that was cut.
const CUT: &[u8] = "…".as_bytes();

/// Appends a text, or its beginning and `…`. Returns the appended length.
fn put(buffer: &mut Vec<u8>, text: &[u8]) -> u16 {
    let length = text.len();
    match u16::try_from(length) {
        Ok(length) if usize::from(length) <= ACCESS_TEXT_BYTES_MAX => {
            buffer.extend_from_slice(text);
            length
        }
        _ => {
            let begin = buffer.len();
            buffer.extend_from_slice(text.get(..ACCESS_TEXT_BYTES_MAX - CUT.len()).unwrap_or_default());
            buffer.extend_from_slice(CUT);
            u16::try_from(buffer.len() - begin).unwrap_or_default()
        }
    }
}

/// Returns the trace id of a `traceparent` field, or nothing if the field is invalid.
pub(super) fn trace_id(traceparent: &[u8]) -> &[u8] {
    const DIGITS: std::ops::Range<usize> = 3..35;
    let id = TraceContext::parse(traceparent).and_then(|_| traceparent.get(DIGITS));
    id.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_taken_as_they_were_put() {
        let long = vec![b'x'; ACCESS_TEXT_BYTES_MAX + 1];
        let first = LineTexts { host: b"api.test", path: b"/a", agent: b"\xff", ..LineTexts::default() };
        let second = LineTexts { path: &long, request_id: b"7", ..LineTexts::default() };
        let mut buffer = Vec::new();
        let lengths = [first, second].map(|texts| texts.put(&mut buffer));
        let mut rest = buffer.as_slice();
        let [one, two] = lengths.map(|lengths| LineTexts::take(&mut rest, lengths));
        assert_eq!(
            (one.host, one.path, one.query, one.agent),
            (&b"api.test"[..], &b"/a"[..], &b""[..], &b"\xff"[..])
        );
        assert_eq!((two.path.len(), two.request_id, rest), (ACCESS_TEXT_BYTES_MAX, &b"7"[..], &b""[..]));
        assert!(two.path.ends_with("x…".as_bytes()));
    }

    #[test]
    fn only_a_valid_traceparent_has_a_trace_id() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        for valid in [format!("00-{id}-b7ad6b7169203331-01"), format!("cc-{id}-b7ad6b7169203331-01-more")] {
            assert_eq!(trace_id(valid.as_bytes()), id.as_bytes(), "{valid}");
        }
        for invalid in [
            String::new(),
            "-".repeat(55),
            format!("00-{id}-b7ad6b7169203331"),
            format!("00-{id}-b7ad6b7169203331-01-more"),
            format!("ff-{id}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", id.to_uppercase()),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{id}-{}-01", "0".repeat(16)),
            format!("00-{id}x-b7ad6b7169203331-01"),
            format!("00-{id}-b7ad6b716920333\"-01"),
        ] {
            assert_eq!(trace_id(invalid.as_bytes()), b"", "{invalid}");
        }
    }
}
