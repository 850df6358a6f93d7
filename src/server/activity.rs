//! What one connection is doing, as few words that its parts share.
//!
//! Three parts look at a connection: the socket wrapper sees bytes, the service sees requests and
//! the ends of their answers, and the watch asks what is being waited for. They meet here. One
//! thread runs them all, so these atomics are never contended and never ordered (a relaxed access
//! is a plain one); they are atomics because hyper hands the socket of an upgraded connection on as
//! something `Send`.
//!
//! What always holds: while an answer is in flight, or a byte of one has not left, it is not the
//! client's turn; a request beyond the heads that framing vouched for is noticed; nobody here reads
//! a clock.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};

use super::framing::NextBytes;

/// Everything that the parts of one connection tell each other.
#[derive(Debug)]
pub(super) struct ConnectionActivity {
    /// An [`NextBytes`].
    inbound: AtomicU8,
    /// Heads that framing vouched for.
    vouched: AtomicU64,
    /// Requests that hyper gave to the service.
    requests: AtomicU64,
    /// Requests of which the answer is not finished.
    in_flight: AtomicU64,
    /// Whether hyper may have more to write than the socket took.
    writing: AtomicBool,
    /// Bytes that the socket took.
    taken: AtomicU64,
    /// The number of times that hyper had nothing left to write.
    flushes: AtomicU64,
    /// Whether something happened from which the client's time counts anew.
    moved: AtomicBool,
    /// Whether the bytes are HTTP no more.
    tunnel: AtomicBool,
}

/// What a connection waits for, when it is the client's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientWait {
    /// The first request, of which there is no byte.
    Opening,
    /// The rest of a head.
    Head,
    /// The next request.
    Request,
    /// The client, to take its answer.
    Reader,
}

/// One look at what hyper writes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Output {
    /// Whether hyper may have more to write than the socket took.
    pub(super) is_blocked: bool,
    /// The number of times that hyper had nothing left to write.
    pub(super) flushes: u64,
    /// Bytes that the socket took.
    pub(super) taken: u64,
}

/// Whether a request's head has one possible meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadReading {
    /// It has.
    Yes,
    /// Nobody knows.
    No,
}

impl ConnectionActivity {
    /// A connection on which nothing has happened.
    pub(super) fn new() -> Self {
        Self {
            inbound: AtomicU8::new(NextBytes::Between as u8),
            vouched: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            writing: AtomicBool::new(false),
            taken: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            moved: AtomicBool::new(false),
            tunnel: AtomicBool::new(false),
        }
    }

    /// Bytes came; this is how framing stands after them.
    pub(super) fn heard(&self, vouched: u64, inbound: NextBytes) {
        let began = inbound == NextBytes::Head && self.inbound() != NextBytes::Head;
        // The first head of a connection has been waited for since its acceptance.
        if began && vouched > 0 {
            self.moved.store(true, Relaxed);
        }
        self.inbound.store(inbound as u8, Relaxed);
        self.vouched.store(vouched, Relaxed);
    }

    /// Every head is vouched for: HTTP/2 frames leave no doubt.
    pub(super) fn vouch_for_all(&self) {
        self.vouched.store(u64::MAX, Relaxed);
    }

    /// A request came. Whether somebody vouched for its head; its answer is in flight in either
    /// case.
    pub(super) fn begin(&self) -> HeadReading {
        let number = self.requests.load(Relaxed) + 1;
        self.requests.store(number, Relaxed);
        self.in_flight.store(self.in_flight.load(Relaxed) + 1, Relaxed);
        if number <= self.vouched.load(Relaxed) { HeadReading::Yes } else { HeadReading::No }
    }

    /// An answer is finished, or given up.
    pub(super) fn end(&self) {
        self.in_flight.store(self.in_flight.load(Relaxed).saturating_sub(1), Relaxed);
        self.moved.store(true, Relaxed);
    }

    /// hyper writes; it flushes when its own buffer is empty.
    pub(super) fn writes(&self) {
        self.writing.store(true, Relaxed);
        self.moved.store(true, Relaxed);
    }

    /// The socket took some bytes.
    pub(super) fn wrote(&self, bytes: usize) {
        self.taken.store(self.taken.load(Relaxed).wrapping_add(bytes as u64), Relaxed);
    }

    /// hyper has nothing left to write.
    pub(super) fn flushes(&self) {
        self.writing.store(false, Relaxed);
        self.flushes.store(self.flushes.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Returns how the client takes what hyper writes.
    pub(super) fn output(&self) -> Output {
        Output {
            is_blocked: self.writing.load(Relaxed),
            flushes: self.flushes.load(Relaxed),
            taken: self.taken.load(Relaxed),
        }
    }

    /// Whether hyper and framing count alike. Asked before a read: with nothing in flight and no
    /// head begun, every head that framing has seen must have become a request.
    pub(super) fn in_step(&self) -> bool {
        self.in_flight.load(Relaxed) > 0
            || self.inbound() != NextBytes::Between
            || self.requests.load(Relaxed) == self.vouched.load(Relaxed)
    }

    /// From now on the bytes belong to another protocol.
    pub(super) fn become_tunnel(&self) {
        self.tunnel.store(true, Relaxed);
    }

    /// Whether the bytes belong to another protocol.
    pub(super) fn is_tunnel(&self) -> bool {
        self.tunnel.load(Relaxed)
    }

    /// What comes next from the client.
    pub(super) fn inbound(&self) -> NextBytes {
        match self.inbound.load(Relaxed) {
            between if between == NextBytes::Between as u8 => NextBytes::Between,
            head if head == NextBytes::Head as u8 => NextBytes::Head,
            _ => NextBytes::Body,
        }
    }

    /// What is waited for; none while it is our turn.
    pub(super) fn waiting(&self) -> Option<ClientWait> {
        if self.in_flight.load(Relaxed) > 0 || self.writing.load(Relaxed) {
            return None;
        }
        Some(match self.inbound() {
            NextBytes::Head => ClientWait::Head,
            NextBytes::Between if self.requests.load(Relaxed) == 0 => ClientWait::Opening,
            // The rest of a body that was answered before its end: hyper closes as soon as nobody
            // wants it.
            NextBytes::Between | NextBytes::Body => ClientWait::Request,
        })
    }

    /// Whether the client's time counts anew since this was asked last.
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
    fn the_turns_of_an_ordinary_request() {
        let activity = ConnectionActivity::new();
        assert_eq!(activity.waiting(), Some(ClientWait::Opening));
        activity.heard(0, NextBytes::Head);
        assert_eq!(activity.waiting(), Some(ClientWait::Head));
        assert!(!activity.take_moved(), "the first head counts from the acceptance");
        activity.heard(1, NextBytes::Body);
        assert_eq!(activity.begin(), HeadReading::Yes);
        assert_eq!(activity.waiting(), None);
        activity.heard(1, NextBytes::Between);
        activity.end();
        activity.writes();
        assert_eq!(activity.waiting(), None, "the answer has not left");
        activity.flushes();
        assert_eq!(activity.waiting(), Some(ClientWait::Request));
        assert!(activity.take_moved() && !activity.take_moved());

        activity.heard(1, NextBytes::Head);
        assert!(activity.take_moved(), "a later head counts from its first byte");
        activity.heard(1, NextBytes::Head);
        assert!(!activity.take_moved(), "and from that byte only");
    }

    #[test]
    fn a_request_beyond_the_heads_that_were_vouched_for_is_noticed() {
        let activity = ConnectionActivity::new();
        activity.heard(1, NextBytes::Between);
        assert!(!activity.in_step(), "a head that became no request");
        assert_eq!(activity.begin(), HeadReading::Yes);
        activity.end();
        assert!(activity.in_step());
        assert_eq!(activity.begin(), HeadReading::No);

        activity.vouch_for_all();
        assert_eq!(activity.begin(), HeadReading::Yes);
    }
}
