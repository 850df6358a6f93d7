//! The state of one client connection, in a few shared words.
//!
//! Three parts of the server observe a connection: the socket wrapper sees bytes, the service sees
//! requests and the ends of their responses, and the watch needs to know which side is waiting.
//! They share this state. One thread runs all three, so these atomics are never contended and need
//! no ordering (a relaxed access compiles to a plain one). They are atomics because hyper requires
//! the socket of an upgraded connection to be `Send`. Only [`AnswerHolds`] is reached by other
//! threads: they cut answers.
//!
//! **Always:** while a response is in flight, or hyper has bytes of one left to write, no time
//! limit of the client runs; a request beyond the heads that framing confirmed is detected; this
//! module never reads a clock.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};
use std::sync::{Arc, Weak};

use http::{HeaderMap, StatusCode, Version};

use super::answer_holds::AnswerHolds;
use super::framing::NextBytes;
use super::interims::InterimQueue;
use crate::answer_budget::CutReader;
use crate::interim::{InterimSink, InterimWriter};

/// The state that the parts of one connection share.
#[derive(Debug)]
pub(super) struct ConnectionActivity {
    /// A [`NextBytes`].
    inbound: AtomicU8,
    /// Number of heads that framing confirmed.
    vouched: AtomicU64,
    /// Number of requests that hyper passed to the service.
    requests: AtomicU64,
    /// Number of requests whose response is not finished.
    in_flight: AtomicU64,
    /// True while hyper may have more to write than the socket accepted.
    writing: AtomicBool,
    /// Number of bytes that the socket accepted.
    taken: AtomicU64,
    /// Number of times that hyper had nothing left to write.
    flushes: AtomicU64,
    /// True if the client's time limit restarts, because of an event since the last check.
    moved: AtomicBool,
    /// True once a byte was written since the current request was complete.
    begun: AtomicBool,
    /// True if hyper has asked for bytes since the last that the client sent, and got none.
    starved: AtomicBool,
    /// True once the connection carries another protocol than HTTP.
    tunnel: AtomicBool,
    /// Number of requests in flight over HTTP/2 whose response the handler has returned.
    answered: AtomicU64,
    /// Whether a listener that is full may close the connection.
    closing: ConnectionClosing,
    answers: AnswerHolds,
    interims: InterimQueue,
}

/// Whether the server may close a connection for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionClosing {
    /// Never.
    Never,
    /// Once the listener is full and the connection awaits its client.
    WhenFull,
}

/// Whether the content of all requests of an HTTP/2 connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReceivedContent {
    /// All of it.
    Whole,
    /// A request lacks the rest.
    Partial,
}

/// The event that the server awaits from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientWait {
    /// The first byte of the first request.
    Opening,
    /// The rest of a head.
    Head,
    /// The next request.
    Request,
    /// Progress in reading a response.
    Reader,
}

/// A snapshot of hyper's output.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Output {
    /// True while hyper may have more to write than the socket accepted.
    pub(super) is_blocked: bool,
    /// Number of times that hyper had nothing left to write.
    pub(super) flushes: u64,
    /// Number of bytes that the socket accepted.
    pub(super) taken: u64,
}

/// The result of checking a request's head: confirmed if it has one possible meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadReading {
    /// Framing confirmed the head.
    Yes,
    /// Framing did not confirm the head.
    No,
}

/// A response over HTTP/2 that the handler has returned, until it is finished or dropped.
pub(super) struct StreamAnswer(Arc<ConnectionActivity>);

impl StreamAnswer {
    /// Counts the response as one that is left to its client.
    pub(super) fn begin(activity: &Arc<ConnectionActivity>) -> Self {
        activity.answered.store(activity.answered.load(Relaxed) + 1, Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for StreamAnswer {
    fn drop(&mut self) {
        self.0.answered.store(self.0.answered.load(Relaxed).saturating_sub(1), Relaxed);
    }
}

impl CutReader for ConnectionActivity {
    fn cut(&self) {
        self.answers.cut();
    }
}

impl InterimWriter for ConnectionActivity {
    fn queue_interim(&self, request: u64, status: StatusCode, fields: &HeaderMap) {
        if self.interims.is_open_for(request) {
            self.interims.push(status, fields);
        }
    }
}

impl ConnectionActivity {
    /// Creates the state of a connection that is never closed for another.
    #[cfg(test)]
    pub(super) fn new() -> Self {
        Self::with(ConnectionClosing::Never)
    }

    /// Creates the state of a connection without any events.
    pub(super) fn with(closing: ConnectionClosing) -> Self {
        Self {
            closing,
            answered: AtomicU64::new(0),
            inbound: AtomicU8::new(NextBytes::Between as u8),
            vouched: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            writing: AtomicBool::new(false),
            taken: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            moved: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            starved: AtomicBool::new(false),
            tunnel: AtomicBool::new(false),
            answers: AnswerHolds::default(),
            interims: InterimQueue::default(),
        }
    }

    /// Records received bytes: the number of confirmed heads and the framing state after them.
    pub(super) fn received(&self, vouched: u64, inbound: NextBytes) {
        let began = inbound == NextBytes::Head && self.inbound() != NextBytes::Head;
        // The limit on the first head of a connection runs since the connection was accepted.
        if began && vouched > 0 {
            self.moved.store(true, Relaxed);
        }
        if inbound == NextBytes::Between && self.inbound() != inbound {
            self.begun.store(false, Relaxed);
        }
        self.inbound.store(inbound as u8, Relaxed);
        self.vouched.store(vouched, Relaxed);
        self.starved.store(false, Relaxed);
    }

    /// Records that hyper asked for bytes and the client had sent none.
    pub(super) fn starves(&self) {
        self.starved.store(true, Relaxed);
    }

    /// Returns whether a listener that is full may close the connection.
    pub(super) fn closing(&self) -> ConnectionClosing {
        self.closing
    }

    /// Records whether requests of an HTTP/2 connection lack content.
    pub(super) fn received_content(&self, content: ReceivedContent) {
        let inbound = match content {
            ReceivedContent::Whole => NextBytes::Between,
            ReceivedContent::Partial => NextBytes::Body,
        };
        self.inbound.store(inbound as u8, Relaxed);
    }

    /// Confirms every head: HTTP/2 frames are unambiguous.
    pub(super) fn vouch_for_all(&self) {
        self.vouched.store(u64::MAX, Relaxed);
    }

    /// Counts a request as in flight. Returns whether framing confirmed its head; an unconfirmed
    /// request is in flight too.
    pub(super) fn begin(&self) -> HeadReading {
        let number = self.requests.load(Relaxed) + 1;
        self.requests.store(number, Relaxed);
        self.in_flight.store(self.in_flight.load(Relaxed) + 1, Relaxed);
        self.begun.store(false, Relaxed);
        if number <= self.vouched.load(Relaxed) { HeadReading::Yes } else { HeadReading::No }
    }

    /// Counts a response as finished or dropped.
    pub(super) fn end(&self) {
        self.in_flight.store(self.in_flight.load(Relaxed).saturating_sub(1), Relaxed);
        self.moved.store(true, Relaxed);
    }

    /// Records that hyper writes. hyper flushes once its own buffer is empty.
    pub(super) fn writes(&self) {
        self.writing.store(true, Relaxed);
        self.begun.store(true, Relaxed);
        self.moved.store(true, Relaxed);
    }

    /// Counts bytes that the socket accepted.
    pub(super) fn wrote(&self, bytes: usize) {
        self.taken.store(self.taken.load(Relaxed).wrapping_add(bytes as u64), Relaxed);
    }

    /// Records that hyper has nothing left to write.
    pub(super) fn flushes(&self) {
        self.writing.store(false, Relaxed);
        self.flushes.store(self.flushes.load(Relaxed).wrapping_add(1), Relaxed);
        self.answers.written();
    }

    /// Returns the answers whose bytes count.
    pub(super) fn answers(&self) -> &AnswerHolds {
        &self.answers
    }

    /// Returns the interim responses of the connection.
    pub(super) fn interims(&self) -> &InterimQueue {
        &self.interims
    }

    /// Returns the sink of the interim responses to the last request. HTTP/1.0 has none (RFC 9110
    /// §15.2), and hyper has no call that sends one over HTTP/2.
    pub(super) fn interim_sink(self: &Arc<Self>, version: Version) -> InterimSink {
        if version != Version::HTTP_11 {
            return InterimSink::default();
        }
        let request = self.requests();
        self.interims.open(request);
        let connection: Weak<Self> = Arc::downgrade(self);
        InterimSink::new(connection, request)
    }

    /// Records that hyper gets the response to the last request.
    pub(super) fn begin_response(&self) {
        self.interims.close(!self.writing.load(Relaxed));
    }

    /// Returns a snapshot of hyper's output.
    pub(super) fn output(&self) -> Output {
        Output {
            is_blocked: self.writing.load(Relaxed),
            flushes: self.flushes.load(Relaxed),
            taken: self.taken.load(Relaxed),
        }
    }

    /// Returns whether hyper and framing have counted the same heads. The socket checks this before
    /// a read: with nothing in flight and no head begun, every head that framing saw must have
    /// become a request.
    pub(super) fn in_step(&self) -> bool {
        self.in_flight.load(Relaxed) > 0
            || self.inbound() != NextBytes::Between
            || self.requests.load(Relaxed) == self.vouched.load(Relaxed)
    }

    /// Returns whether a complete request is in flight whose response has not begun.
    pub(super) fn owes_response(&self) -> bool {
        self.in_flight.load(Relaxed) > 0
            && self.inbound() == NextBytes::Between
            && !self.begun.load(Relaxed)
            && !self.is_tunnel()
    }

    /// Returns whether a response is in flight, or not completely written.
    pub(super) fn is_answering(&self) -> bool {
        self.in_flight.load(Relaxed) > 0 || self.writing.load(Relaxed)
    }

    /// Returns the number of requests that hyper passed to the service.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Marks the connection as a tunnel for another protocol.
    pub(super) fn become_tunnel(&self) {
        self.tunnel.store(true, Relaxed);
        self.interims.forget_task();
    }

    /// Returns whether the connection is a tunnel for another protocol.
    pub(super) fn is_tunnel(&self) -> bool {
        self.tunnel.load(Relaxed)
    }

    /// Returns which part of a message the next byte from the client belongs to.
    pub(super) fn inbound(&self) -> NextBytes {
        match self.inbound.load(Relaxed) {
            between if between == NextBytes::Between as u8 => NextBytes::Between,
            head if head == NextBytes::Head as u8 => NextBytes::Head,
            _ => NextBytes::Body,
        }
    }

    /// Returns the event that the server awaits from the client, or `None` while the server itself
    /// has work to do.
    pub(super) fn waiting(&self) -> Option<ClientWait> {
        if self.in_flight.load(Relaxed) > 0 || self.writing.load(Relaxed) {
            return None;
        }
        Some(match self.inbound() {
            NextBytes::Head => ClientWait::Head,
            NextBytes::Between if self.requests.load(Relaxed) == 0 => ClientWait::Opening,
            // The client still sends the rest of a body that was answered early. hyper closes the
            // connection as soon as no reader needs that body.
            NextBytes::Between | NextBytes::Body => ClientWait::Request,
        })
    }

    /// Returns whether the connection is between two requests, and hyper holds no byte of either.
    ///
    /// hyper asks the socket for bytes only once it has used those that it has, or when they are
    /// too few for a head. Framing has seen no byte of a further head, so hyper holds at most the
    /// empty lines that may precede one.
    pub(super) fn is_resting(&self) -> bool {
        self.waiting() == Some(ClientWait::Request)
            && self.inbound() == NextBytes::Between
            && self.starved.load(Relaxed)
            && self.requests.load(Relaxed) == self.vouched.load(Relaxed)
            && !self.is_tunnel()
    }

    /// Returns whether work under way needs the client: the rest of a request's body is missing, or
    /// the socket takes no more of a response, or only responses are left which the client of an
    /// HTTP/2 connection has to read.
    pub(super) fn is_stalled(&self) -> bool {
        let in_flight = self.in_flight.load(Relaxed);
        let lacks_body = in_flight > 0 && self.inbound() == NextBytes::Body;
        let is_unread = in_flight > 0 && self.answered.load(Relaxed) == in_flight;
        lacks_body || is_unread || self.writing.load(Relaxed)
    }

    /// Returns whether the client's time limit restarted since the last call.
    pub(super) fn take_moved(&self) -> bool {
        let moved = self.moved.load(Relaxed);
        self.moved.store(false, Relaxed);
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_request_alternates_between_client_and_server_waits() {
        let activity = ConnectionActivity::new();
        assert_eq!(activity.waiting(), Some(ClientWait::Opening));
        activity.received(0, NextBytes::Head);
        assert_eq!(activity.waiting(), Some(ClientWait::Head));
        assert!(!activity.take_moved(), "the limit of the first head starts when the connection is accepted");
        activity.received(1, NextBytes::Body);
        assert_eq!(activity.begin(), HeadReading::Yes);
        assert_eq!(activity.waiting(), None);
        activity.received(1, NextBytes::Between);
        activity.end();
        activity.writes();
        assert_eq!(activity.waiting(), None, "the response is not fully written");
        activity.flushes();
        assert_eq!(activity.waiting(), Some(ClientWait::Request));
        assert!(activity.take_moved() && !activity.take_moved());

        activity.received(1, NextBytes::Head);
        assert!(activity.take_moved(), "the limit of a later head starts at its first byte");
        activity.received(1, NextBytes::Head);
        assert!(!activity.take_moved(), "the limit of a later head starts only once");
    }

    #[test]
    fn a_request_beyond_the_confirmed_heads_is_detected() {
        let activity = ConnectionActivity::new();
        activity.received(1, NextBytes::Between);
        assert!(!activity.in_step(), "framing counts a head that hyper did not turn into a request");
        assert_eq!(activity.begin(), HeadReading::Yes);
        activity.end();
        assert!(activity.in_step());
        assert_eq!(activity.begin(), HeadReading::No);

        activity.vouch_for_all();
        assert_eq!(activity.begin(), HeadReading::Yes);
    }
}
