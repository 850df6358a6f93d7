//! The responses of one HTTP/2 connection, and the pace of their client.
//!
//! hyper does not poll a body while its stream has no window, so the body itself cannot detect a
//! client that reads nothing. Each stream therefore records here when it gets a piece and when it
//! waits for its handler, and the connection's watch samples all of them periodically. When a
//! stream exhausts its allowance, the server ends its task: that drops the body, which frees its
//! memory, and h2 resets the stream.
//!
//! The server hands a large piece over in small ones: hyper does not return a piece.
//!
//! **Always:** a stream's allowance is used up only by time in which its client alone was awaited.

use std::cell::RefCell;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::task::AbortHandle;

use super::pace::{PaceAllowance, ReaderPace};
use crate::limits::CLIENT_H2_PIECE_BYTES_MAX;

/// All streams of a connection whose responses are not finished.
#[derive(Debug)]
pub(super) struct UnfinishedStreams {
    timeout: Duration,
    slots: RefCell<StreamSlots>,
}

/// The number of an unfinished stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamNumber(usize);

#[derive(Debug, Default)]
struct StreamSlots {
    streams: Vec<Option<StreamPace>>,
    free: Vec<usize>,
    /// The stream that hyper has begun and not yet spawned.
    begun: Option<usize>,
}

#[derive(Debug)]
struct StreamPace {
    awaited: Awaited,
    /// Number of polls of the stream's body.
    polls: u64,
    /// Number of polls at the last sample.
    sampled: Option<u64>,
    /// Bytes handed over since the last sample.
    taken: u64,
    allowance: PaceAllowance,
    /// The rest of a large piece.
    rest: Bytes,
    task: Option<AbortHandle>,
}

/// The side that the stream waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Handler,
    Client,
}

impl UnfinishedStreams {
    /// Creates an empty set of streams.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, slots: RefCell::default() }
    }

    /// Begins a stream, just before hyper spawns its task.
    pub(super) fn begin(&self) -> StreamNumber {
        let mut slots = self.slots.borrow_mut();
        let stream = Some(StreamPace {
            awaited: Awaited::Handler,
            polls: 0,
            sampled: None,
            taken: 0,
            allowance: PaceAllowance::new(self.timeout),
            rest: Bytes::new(),
            task: None,
        });
        let number = match slots.free.pop() {
            Some(free) => {
                if let Some(slot) = slots.streams.get_mut(free) {
                    *slot = stream;
                }
                free
            }
            None => {
                slots.streams.push(stream);
                slots.streams.len() - 1
            }
        };
        slots.begun = Some(number);
        StreamNumber(number)
    }

    /// Stores the task of the stream that was begun last.
    pub(super) fn runs(&self, task: AbortHandle) {
        let mut slots = self.slots.borrow_mut();
        if let Some(begun) = slots.begun.take()
            && let Some(Some(stream)) = slots.streams.get_mut(begun)
        {
            stream.task = Some(task);
        }
    }

    /// Ends a stream.
    pub(super) fn end(&self, number: StreamNumber) {
        let mut slots = self.slots.borrow_mut();
        if let Some(slot) = slots.streams.get_mut(number.0)
            && slot.take().is_some()
        {
            slots.free.push(number.0);
        }
    }

    /// Returns the next part of a large piece.
    pub(super) fn next_part(&self, number: StreamNumber) -> Option<Bytes> {
        self.with(number, |stream| {
            let rest = std::mem::take(&mut stream.rest);
            (!rest.is_empty()).then(|| stream.hand_over(rest))
        })?
    }

    /// Hands a piece over, or the first part of a large one.
    pub(super) fn hand_over(&self, number: StreamNumber, piece: Bytes) -> Bytes {
        match self.with(number, |stream| stream.hand_over(piece.clone())) {
            Some(part) => part,
            None => piece,
        }
    }

    /// Passes a frame of the handler on, or the first part of a large one, and records it for the
    /// stream's pace.
    pub(super) fn pass<E>(
        &self,
        number: StreamNumber,
        frame: Poll<Option<Result<Frame<Bytes>, E>>>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        match frame {
            Poll::Pending => self.await_handler(number),
            Poll::Ready(Some(Ok(frame))) => {
                let frame = frame.into_data().map(|data| Frame::data(self.hand_over(number, data)));
                return Poll::Ready(Some(Ok(frame.unwrap_or_else(|other| other))));
            }
            Poll::Ready(None | Some(Err(_))) => {}
        }
        frame
    }

    /// Records that the stream waits for its handler.
    pub(super) fn await_handler(&self, number: StreamNumber) {
        self.with(number, |stream| {
            stream.awaited = Awaited::Handler;
            stream.polls = stream.polls.wrapping_add(1);
        });
    }

    /// Returns the bytes of a piece that are not handed over yet.
    pub(super) fn rest_bytes(&self, number: StreamNumber) -> usize {
        self.with(number, |stream| stream.rest.len()).unwrap_or_default()
    }

    /// Reduces the time left to every stream that has waited for its client since the last sample,
    /// and ends the streams with none left. Returns the number of ended streams.
    pub(super) fn sample(&self, waited: Duration) -> usize {
        let mut slots = self.slots.borrow_mut();
        let exhausted: Vec<AbortHandle> = slots
            .streams
            .iter_mut()
            .flatten()
            .filter_map(|stream| match stream.sample(waited, self.timeout) {
                ReaderPace::Lost => stream.task.take(),
                ReaderPace::Kept => None,
            })
            .collect();
        drop(slots);
        exhausted.iter().for_each(AbortHandle::abort);
        exhausted.len()
    }

    fn with<T>(&self, number: StreamNumber, change: impl FnOnce(&mut StreamPace) -> T) -> Option<T> {
        self.slots.borrow_mut().streams.get_mut(number.0)?.as_mut().map(change)
    }
}

impl StreamPace {
    fn hand_over(&mut self, mut piece: Bytes) -> Bytes {
        if piece.len() > CLIENT_H2_PIECE_BYTES_MAX {
            self.rest = piece.split_off(CLIENT_H2_PIECE_BYTES_MAX);
        }
        self.awaited = Awaited::Client;
        self.polls = self.polls.wrapping_add(1);
        self.taken = self.taken.saturating_add(piece.len() as u64);
        piece
    }

    fn sample(&mut self, waited: Duration, whole: Duration) -> ReaderPace {
        let is_new = self.sampled.is_none();
        let is_stalled = self.sampled.replace(self.polls) == Some(self.polls);
        let taken = std::mem::take(&mut self.taken);
        match self.awaited {
            Awaited::Handler => {
                self.allowance = PaceAllowance::new(whole);
                ReaderPace::Kept
            }
            Awaited::Client if is_new => ReaderPace::Kept,
            Awaited::Client if is_stalled => self.allowance.spend(waited, 0, whole),
            Awaited::Client => self.allowance.spend(waited, taken, whole),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Duration = Duration::from_secs(60);
    const SAMPLE: Duration = Duration::from_secs(15);

    #[test]
    fn a_large_piece_is_handed_over_in_parts() {
        let streams = UnfinishedStreams::new(WHOLE);
        let stream = streams.begin();
        let piece = Bytes::from(vec![7; 2 * CLIENT_H2_PIECE_BYTES_MAX + 1]);
        assert_eq!(streams.hand_over(stream, piece).len(), CLIENT_H2_PIECE_BYTES_MAX);
        assert_eq!(streams.rest_bytes(stream), CLIENT_H2_PIECE_BYTES_MAX + 1);
        assert_eq!(streams.next_part(stream).unwrap().len(), CLIENT_H2_PIECE_BYTES_MAX);
        assert_eq!(streams.next_part(stream).unwrap().len(), 1);
        assert_eq!(streams.next_part(stream), None);
        streams.end(stream);
        assert_eq!(streams.begin().0, stream.0, "its slot is free");
    }

    #[tokio::test(flavor = "local")]
    async fn only_a_stream_with_a_stalled_client_is_ended() {
        let streams = UnfinishedStreams::new(WHOLE);
        let begin = || {
            let stream = streams.begin();
            let task = tokio::task::spawn_local(std::future::pending::<()>());
            streams.runs(task.abort_handle());
            (stream, task)
        };
        let ((unread, unread_task), (slow, slow_task), (read, read_task)) = (begin(), begin(), begin());
        let piece = || Bytes::from_static(&[0; 8 * 1024]);
        streams.hand_over(unread, piece());
        let mut ended = 0;
        for _ in 0..5 {
            streams.await_handler(slow);
            streams.hand_over(read, piece());
            ended += streams.sample(SAMPLE);
        }
        assert_eq!(ended, 1);
        assert!(unread_task.await.unwrap_err().is_cancelled());
        assert!(!slow_task.is_finished() && !read_task.is_finished());
    }
}
