//! The interim responses (1xx) of one HTTP/1.1 connection, until its socket has written them.
//!
//! hyper's server has no call that writes an interim response, so the socket writes them between
//! two pieces of hyper's output:
//!
//! ```text
//! handler ── queue ──► uncommitted ── commit ──► committed ── write ──► the client
//! ```
//!
//! A commit fixes the position of an interim response in the output: behind every byte that hyper
//! has written so far, and before all others. The socket commits when hyper flushes, for hyper's
//! buffer is empty then. The service commits when it gives hyper the response, if hyper has written
//! and flushed everything before. Otherwise hyper's buffer still has bytes of an earlier message,
//! and the position is lost: the interim response is dropped.
//!
//! **Always:** an interim response precedes the response to its own request, and no byte is within
//! another message; the queue of a connection has at most [`CLIENT_INTERIM_BYTES_MAX`] bytes, and
//! no memory while it is empty.

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker, ready};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::limits::CLIENT_INTERIM_BYTES_MAX;

/// Value of `request` while no request takes interim responses.
const NONE: u64 = 0;

/// The interim responses of one connection.
#[derive(Debug, Default)]
pub(super) struct InterimQueue {
    /// Number of the request that takes interim responses.
    request: AtomicU64,
    /// True while there is something to write or to count.
    has_work: AtomicBool,
    state: Mutex<UnwrittenInterims>,
}

#[derive(Debug, Default)]
struct UnwrittenInterims {
    /// Encoded heads, in their order.
    bytes: Vec<u8>,
    /// Number of bytes that precede any further byte of hyper.
    committed: usize,
    /// Number of heads behind the committed bytes.
    uncommitted: u64,
    counts: InterimCounts,
    /// The connection's task.
    waker: Option<Waker>,
}

/// Interim responses since the last count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct InterimCounts {
    /// Number of those that the client gets.
    pub(super) forwarded: u64,
    /// Number of those that found no room, or no position.
    pub(super) dropped: u64,
}

impl InterimQueue {
    /// Takes interim responses to the request of this number from now on.
    pub(super) fn open(&self, request: u64) {
        self.request.store(request, Relaxed);
    }

    /// Returns whether this request takes interim responses.
    pub(super) fn is_open_for(&self, request: u64) -> bool {
        self.request.load(Relaxed) == request
    }

    /// Queues an interim response, and wakes the connection's task. Drops it if it finds no room.
    pub(super) fn push(&self, status: StatusCode, fields: &HeaderMap) {
        let mut state = self.state();
        if state.bytes.len() + encoded_bytes(status, fields) > CLIENT_INTERIM_BYTES_MAX {
            state.counts.dropped += 1;
        } else {
            encode(status, fields, &mut state.bytes);
            state.uncommitted += 1;
        }
        self.has_work.store(true, Relaxed);
        // A fetch runs in a task of its own.
        if let Some(waker) = &state.waker {
            waker.wake_by_ref();
        }
    }

    /// Takes no more interim responses, because hyper gets the response. `is_flushed` is whether
    /// hyper has written and flushed everything before it.
    pub(super) fn close(&self, is_flushed: bool) {
        if self.request.load(Relaxed) == NONE {
            return;
        }
        self.request.store(NONE, Relaxed);
        if self.has_work.load(Relaxed) {
            let mut state = self.state();
            if is_flushed {
                state.commit();
            } else {
                state.discard();
            }
        }
    }

    /// Returns whether a flush may have interim responses to write, now or later.
    pub(super) fn is_awaited(&self) -> bool {
        self.request.load(Relaxed) != NONE || self.has_work()
    }

    /// Returns whether there is something to write or to count.
    pub(super) fn has_work(&self) -> bool {
        self.has_work.load(Relaxed)
    }

    /// Wakes this task for each interim response from now on.
    pub(super) fn wake_later(&self, task: &Waker) {
        self.state().waker = Some(task.clone());
    }

    /// Commits everything that is queued: hyper has just flushed.
    pub(super) fn commit(&self) {
        self.state().commit();
    }

    /// Forgets the connection's task, which ends before the socket of a tunnel.
    pub(super) fn forget_task(&self) {
        self.state().waker = None;
    }

    /// Writes the committed bytes by `write`, and returns the counts once all are written.
    pub(super) fn poll_write(
        &self,
        mut write: impl FnMut(&[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<InterimCounts>> {
        let mut state = self.state();
        while let Some(committed) = state.bytes.get(..state.committed)
            && !committed.is_empty()
        {
            let written = ready!(write(committed))?.min(state.committed);
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            state.bytes.drain(..written);
            state.committed -= written;
        }
        if state.bytes.is_empty() {
            state.bytes = Vec::new();
            self.has_work.store(false, Relaxed);
        }
        Poll::Ready(Ok(std::mem::take(&mut state.counts)))
    }

    fn state(&self) -> MutexGuard<'_, UnwrittenInterims> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnwrittenInterims {
    fn commit(&mut self) {
        self.committed = self.bytes.len();
        self.counts.forwarded += std::mem::take(&mut self.uncommitted);
    }

    fn discard(&mut self) {
        self.bytes.truncate(self.committed);
        self.counts.dropped += std::mem::take(&mut self.uncommitted);
    }
}

/// Returns the number of bytes that [`encode`] writes.
fn encoded_bytes(status: StatusCode, fields: &HeaderMap) -> usize {
    let line =
        |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + ": \r\n".len();
    "HTTP/1.1 103 \r\n\r\n".len() + reason(status).len() + fields.iter().map(line).sum::<usize>()
}

/// Writes the head of an interim response.
fn encode(status: StatusCode, fields: &HeaderMap, into: &mut Vec<u8>) {
    into.reserve(encoded_bytes(status, fields));
    for part in ["HTTP/1.1 ", status.as_str(), " ", reason(status), "\r\n"] {
        into.extend_from_slice(part.as_bytes());
    }
    for (name, value) in fields {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            into.extend_from_slice(part);
        }
    }
    into.extend_from_slice(b"\r\n");
}

fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";

    fn hints() -> HeaderMap {
        let mut fields = HeaderMap::new();
        fields.insert("link", HeaderValue::from_static("</a>"));
        fields
    }

    fn early_hints(queue: &InterimQueue) {
        queue.push(StatusCode::EARLY_HINTS, &hints());
    }

    /// Writes everything, at most `size` bytes at a time.
    fn written(queue: &InterimQueue, size: usize) -> (String, InterimCounts) {
        let mut out = Vec::new();
        let write = |bytes: &[u8]| {
            let taken = bytes.len().min(size);
            out.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        };
        let Poll::Ready(Ok(counts)) = queue.poll_write(write) else { panic!("a write that never waits") };
        (String::from_utf8(out).unwrap(), counts)
    }

    #[test]
    fn heads_are_written_whole_at_every_cut() {
        for size in 1..=HINTS.len() * 2 {
            let queue = InterimQueue::default();
            queue.open(1);
            early_hints(&queue);
            early_hints(&queue);
            queue.commit();
            let (text, counts) = written(&queue, size);
            assert_eq!((text, counts.forwarded), (HINTS.repeat(2), 2), "{size} bytes at a time");
            assert!(!queue.has_work());
        }
    }

    #[test]
    fn a_write_that_waits_continues_behind_the_last_byte_taken() {
        for cut in 0..HINTS.len() {
            let queue = InterimQueue::default();
            queue.open(1);
            early_hints(&queue);
            queue.commit();
            let mut first = Vec::new();
            let waits = queue.poll_write(|bytes| {
                if first.len() == cut {
                    return Poll::Pending;
                }
                first.extend_from_slice(&bytes[..1]);
                Poll::Ready(Ok(1))
            });
            assert!(waits.is_pending() && queue.has_work());
            // Hyper gets the response meanwhile, and the queue takes no more.
            queue.close(true);
            assert!(!queue.is_open_for(1));
            let (rest, counts) = written(&queue, usize::MAX);
            assert_eq!(String::from_utf8(first).unwrap() + &rest, HINTS, "cut at {cut}");
            assert_eq!(counts, InterimCounts { forwarded: 1, dropped: 0 });
        }
    }

    #[test]
    fn an_uncommitted_head_is_written_before_its_response_or_never() {
        for (is_flushed, expected, forwarded) in [(true, HINTS, 1), (false, "", 0)] {
            let queue = InterimQueue::default();
            queue.open(1);
            early_hints(&queue);
            assert_eq!(written(&queue, usize::MAX), (String::new(), InterimCounts::default()));
            queue.close(is_flushed);
            let counts = InterimCounts { forwarded, dropped: 1 - forwarded };
            assert_eq!(written(&queue, usize::MAX), (expected.to_owned(), counts));
            assert!(!queue.has_work() && !queue.is_awaited());
        }
    }

    #[test]
    fn the_bytes_of_the_queue_are_bounded() {
        let queue = InterimQueue::default();
        queue.open(1);
        let many = 2 * CLIENT_INTERIM_BYTES_MAX / HINTS.len();
        (0..many).for_each(|_| early_hints(&queue));
        queue.commit();
        // Committed bytes that the client does not read count too.
        early_hints(&queue);
        let (text, counts) = written(&queue, usize::MAX);
        let fit = CLIENT_INTERIM_BYTES_MAX / HINTS.len();
        assert_eq!(text, HINTS.repeat(fit));
        assert_eq!(counts, InterimCounts { forwarded: fit as u64, dropped: (many + 1 - fit) as u64 });
    }

    #[test]
    fn a_head_has_the_length_that_is_counted() {
        for status in [StatusCode::PROCESSING, StatusCode::EARLY_HINTS, StatusCode::from_u16(199).unwrap()] {
            let mut head = Vec::new();
            encode(status, &hints(), &mut head);
            assert_eq!(head.len(), encoded_bytes(status, &hints()), "{status}");
        }
        let mut unknown = Vec::new();
        encode(StatusCode::from_u16(199).unwrap(), &HeaderMap::new(), &mut unknown);
        assert_eq!(unknown, b"HTTP/1.1 199 \r\n\r\n");
    }
}
