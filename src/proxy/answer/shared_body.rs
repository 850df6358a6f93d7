//! A body that several clients read while it arrives.
//!
//! One writer (the task of the fetch) appends pieces. Any number of readers, on any worker, take
//! them in order at their own pace. While the body is *gathered* for storing, every piece is kept,
//! and a reader may still join at the beginning. Beyond `cache_max_body` the body is only
//! *relayed*: pieces that every reader has taken are dropped, and the writer waits while the
//! slowest reader is more than [`FETCH_LAG_BYTES_MAX`] behind.
//!
//! ```text
//!  first                          first + pieces.len()
//!    |▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒|  writer
//!         ^ reader      ^ reader     ^ reader (waits)
//! ```
//!
//! **Always:** a reader gets all pieces from the first, in order, or an error; never a gap, and
//! never an early clean end. The lock is held for a few pointer moves, never during a wait, and
//! wakers run outside it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::limits::FETCH_LAG_BYTES_MAX;
use crate::proxy::admission::load::HeldBytes;

/// The reason for which a shared body has no clean end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BrokenBody {
    /// The origin ended it early, or timed out.
    #[error("the origin did not send the whole body")]
    Cut,
    /// This reader held back the others for too long.
    #[error("this client reads too slowly for a shared body")]
    TooSlow,
}

/// The body, shared by its writer and its readers.
pub(in crate::proxy) struct SharedBody(Mutex<SharedBodyState>);

struct SharedBodyState {
    /// The kept pieces, oldest first.
    pieces: VecDeque<Bytes>,
    /// The number of the first kept piece.
    first: u64,
    /// The size of the kept pieces.
    kept_bytes: usize,
    /// The share of the kept bytes in the process's total.
    held: HeldBytes,
    keep: Retention,
    /// The declared length, if the origin sent one. A body of another length is an error.
    length: Option<u64>,
    end: Option<Result<(), BrokenBody>>,
    /// One slot per reader; a free slot is `None`.
    readers: Vec<Option<ReadPosition>>,
    /// The writer, while it waits for room.
    writer: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Retention {
    /// Keeps every piece, for the store.
    All,
    /// Keeps the pieces that some reader has not taken yet.
    Untaken,
}

/// The position of a reader.
struct ReadPosition {
    /// The number of the piece to take next.
    next: u64,
    /// The number of bytes taken.
    taken: u64,
    waker: Option<Waker>,
    cut_off: bool,
}

impl SharedBody {
    /// Creates an empty body that is gathered, with its final length if it is known.
    pub(in crate::proxy) fn new(length: Option<u64>, held: HeldBytes) -> Self {
        Self(Mutex::new(SharedBodyState {
            pieces: VecDeque::new(),
            first: 0,
            kept_bytes: 0,
            held,
            keep: Retention::All,
            length,
            end: None,
            readers: Vec::new(),
            writer: None,
        }))
    }

    /// Creates a body that is already complete.
    pub(in crate::proxy) fn from_whole(body: Bytes, held: HeldBytes) -> Self {
        let shared = Self::new(Some(body.len() as u64), held);
        shared.push(body);
        shared.end(Ok(()));
        shared
    }

    /// Adds a reader at the beginning; returns `None` once the beginning has been dropped.
    pub(in crate::proxy) fn reader(self: &Arc<Self>) -> Option<SharedBodyReader> {
        let mut state = self.state();
        if state.first > 0 || state.keep == Retention::Untaken {
            return None;
        }
        let position = Some(ReadPosition { next: 0, taken: 0, waker: None, cut_off: false });
        let number = match state.readers.iter().position(Option::is_none) {
            Some(free) => {
                if let Some(slot) = state.readers.get_mut(free) {
                    *slot = position;
                }
                free
            }
            None => {
                state.readers.push(position);
                state.readers.len() - 1
            }
        };
        drop(state);
        Some(SharedBodyReader { body: Arc::clone(self), number })
    }

    /// Appends a piece and wakes the readers that wait for it.
    pub(in crate::proxy) fn push(&self, piece: Bytes) {
        self.change(|state| {
            state.kept_bytes += piece.len();
            state.pieces.push_back(piece);
            state.held.set(state.kept_bytes);
            state.drop_taken();
            state.waiting_readers()
        });
    }

    /// Stops gathering: the body will not be stored, and is only relayed from now on.
    pub(in crate::proxy) fn relay(&self) {
        self.change(|state| {
            state.keep = Retention::Untaken;
            state.drop_taken();
            Vec::new()
        });
    }

    /// Ends the body.
    pub(in crate::proxy) fn end(&self, end: Result<(), BrokenBody>) {
        self.change(|state| {
            state.end.get_or_insert(end);
            state.waiting_readers()
        });
    }

    /// Returns ready when the writer may continue.
    pub(in crate::proxy) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.keep == Retention::All || state.kept_bytes <= FETCH_LAG_BYTES_MAX {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Cuts off the readers that are furthest behind, if they hold others back. A single slow
    /// reader is not cut off.
    pub(in crate::proxy) fn cut_off_the_slowest(&self) {
        self.change(|state| {
            let first = state.first;
            let is_last = |position: &ReadPosition| position.next <= first;
            if state.readers.iter().flatten().all(is_last) {
                return Vec::new();
            }
            for position in state.readers.iter_mut().flatten().filter(|position| is_last(position)) {
                position.cut_off = true;
            }
            state.drop_taken();
            state.waiting_readers()
        });
    }

    /// Returns whether any reader remains.
    pub(in crate::proxy) fn has_readers(&self) -> bool {
        self.state().readers.iter().flatten().any(|position| !position.cut_off)
    }

    /// Returns the gathered body as contiguous bytes.
    pub(in crate::proxy) fn whole(&self) -> Bytes {
        let state = self.state();
        if let (Some(only), 1) = (state.pieces.front(), state.pieces.len()) {
            return only.clone();
        }
        let mut whole = Vec::with_capacity(state.kept_bytes);
        for piece in &state.pieces {
            whole.extend_from_slice(piece);
        }
        whole.into()
    }

    /// Changes the state under the lock, then wakes the affected tasks outside it.
    fn change(&self, change: impl FnOnce(&mut SharedBodyState) -> Vec<Waker>) {
        let mut state = self.state();
        let readers = change(&mut state);
        let writer = state.writer_if_room();
        drop(state);
        readers.into_iter().chain(writer).for_each(Waker::wake);
    }

    /// Locks the state. A panic cannot leave it inconsistent: at worst a waker is lost.
    fn state(&self) -> MutexGuard<'_, SharedBodyState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedBodyState {
    /// Drops the pieces that every reader has taken, unless the body is gathered.
    fn drop_taken(&mut self) {
        if self.keep == Retention::All {
            return;
        }
        let end = self.first + self.pieces.len() as u64;
        let slowest = self
            .readers
            .iter()
            .flatten()
            .filter(|position| !position.cut_off)
            .map(|position| position.next)
            .min();
        while self.first < slowest.unwrap_or(end)
            && let Some(piece) = self.pieces.pop_front()
        {
            self.kept_bytes -= piece.len();
            self.first += 1;
        }
        self.held.set(self.kept_bytes);
    }

    /// Returns the declared length, or the received length if the body is complete.
    fn whole_length(&self) -> Option<u64> {
        let all_here = self.end == Some(Ok(())) && self.keep == Retention::All;
        self.length.or_else(|| all_here.then_some(self.kept_bytes as u64))
    }

    fn piece(&self, number: u64) -> Option<Bytes> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.pieces.get(index).cloned()
    }

    fn waiting_readers(&mut self) -> Vec<Waker> {
        self.readers.iter_mut().flatten().filter_map(|position| position.waker.take()).collect()
    }

    fn writer_if_room(&mut self) -> Option<Waker> {
        if self.kept_bytes > FETCH_LAG_BYTES_MAX && self.keep == Retention::Untaken {
            return None;
        }
        self.writer.take()
    }
}

/// A reader of a shared body.
///
/// Dropping it frees its slot: the body continues for the others, and for the store.
pub(crate) struct SharedBodyReader {
    body: Arc<SharedBody>,
    number: usize,
}

impl Body for SharedBodyReader {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let mut guard = self.body.state();
        let state = &mut *guard;
        let Some(Some(position)) = state.readers.get(self.number) else {
            return Poll::Ready(None);
        };
        if position.cut_off {
            return Poll::Ready(Some(Err(BrokenBody::TooSlow)));
        }
        if let Some(piece) = state.piece(position.next) {
            if let Some(Some(position)) = state.readers.get_mut(self.number) {
                position.next += 1;
                position.taken += piece.len() as u64;
            }
            state.drop_taken();
            let writer = state.writer_if_room();
            drop(guard);
            writer.into_iter().for_each(Waker::wake);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match state.end {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(broken)) => Poll::Ready(Some(Err(broken))),
            None => {
                if let Some(Some(position)) = state.readers.get_mut(self.number) {
                    position.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.body.state();
        let end = state.first + state.pieces.len() as u64;
        let position = state.readers.get(self.number).and_then(Option::as_ref);
        state.end == Some(Ok(())) && position.is_none_or(|position| position.next == end && !position.cut_off)
    }

    /// Returns the exact size if the length is known, so that the client gets a `Content-Length`
    /// and ranges can be cut.
    fn size_hint(&self) -> SizeHint {
        let state = self.body.state();
        let taken =
            state.readers.get(self.number).and_then(Option::as_ref).map_or(0, |position| position.taken);
        match state.whole_length() {
            Some(length) => SizeHint::with_exact(length.saturating_sub(taken)),
            None => SizeHint::default(),
        }
    }
}

impl Drop for SharedBodyReader {
    fn drop(&mut self) {
        self.body.change(|state| {
            if let Some(position) = state.readers.get_mut(self.number) {
                *position = None;
            }
            state.drop_taken();
            Vec::new()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::admission::load::LoadLimiter;

    const PIECE_BYTES: usize = FETCH_LAG_BYTES_MAX / 4;

    fn held() -> HeldBytes {
        LoadLimiter::new(1, None, usize::MAX).hold()
    }

    fn cx() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    fn read(reader: &mut SharedBodyReader) -> Poll<Option<Result<Bytes, BrokenBody>>> {
        Pin::new(reader)
            .poll_frame(&mut cx())
            .map(|frame| frame.map(|frame| frame.map(|frame| frame.into_data().unwrap())))
    }

    fn piece(byte: u8) -> Bytes {
        Bytes::from(vec![byte; PIECE_BYTES])
    }

    fn got(byte: u8) -> Poll<Option<Result<Bytes, BrokenBody>>> {
        Poll::Ready(Some(Ok(piece(byte))))
    }

    #[test]
    fn every_reader_gets_every_piece() {
        let body = Arc::new(SharedBody::new(None, held()));
        let mut early = body.reader().unwrap();
        assert_eq!(read(&mut early), Poll::Pending);
        body.push(piece(1));
        assert_eq!(read(&mut early), got(1));
        body.push(piece(2));
        let mut late = body.reader().unwrap();
        body.end(Ok(()));
        assert_eq!(late.size_hint().exact(), Some(2 * PIECE_BYTES as u64));
        assert_eq!((read(&mut late), read(&mut late)), (got(1), got(2)));
        assert_eq!(read(&mut late), Poll::Ready(None));
        assert!(late.is_end_stream() && !early.is_end_stream());
        assert_eq!(read(&mut early), got(2));
        assert_eq!(body.whole().len(), 2 * PIECE_BYTES);
    }

    #[test]
    fn a_known_length_is_reported_from_the_start() {
        let body = Arc::new(SharedBody::new(Some(2 * PIECE_BYTES as u64), held()));
        let mut reader = body.reader().unwrap();
        assert_eq!(reader.size_hint().exact(), Some(2 * PIECE_BYTES as u64));
        body.push(piece(1));
        body.relay();
        assert_eq!(read(&mut reader), got(1));
        assert_eq!(reader.size_hint().exact(), Some(PIECE_BYTES as u64));
        assert_eq!(SharedBody::from_whole(piece(1), held()).state().whole_length(), Some(PIECE_BYTES as u64));
    }

    #[test]
    fn a_cut_is_never_a_clean_end() {
        let body = Arc::new(SharedBody::new(None, held()));
        let mut reader = body.reader().unwrap();
        body.push(piece(1));
        body.end(Err(BrokenBody::Cut));
        body.end(Ok(()));
        assert_eq!(read(&mut reader), got(1));
        assert_eq!(read(&mut reader), Poll::Ready(Some(Err(BrokenBody::Cut))));
        assert!(!reader.is_end_stream());
    }

    #[test]
    fn a_relayed_body_keeps_a_bounded_window() {
        let body = Arc::new(SharedBody::new(None, held()));
        let mut reader = body.reader().unwrap();
        body.push(piece(1));
        assert_eq!(read(&mut reader), got(1));
        body.relay();
        assert!(body.reader().is_none(), "the beginning has been dropped");
        for byte in 2..=6 {
            body.push(piece(byte));
        }
        assert!(body.poll_room(&cx()).is_pending());
        assert_eq!(read(&mut reader), got(2));
        assert!(body.poll_room(&cx()).is_ready());
    }

    #[test]
    fn a_gathered_body_never_waits_for_a_reader() {
        let body = Arc::new(SharedBody::new(None, held()));
        let _reader = body.reader().unwrap();
        for byte in 0..20 {
            body.push(piece(byte));
        }
        assert!(body.poll_room(&cx()).is_ready());
    }

    #[test]
    fn one_slow_reader_does_not_hold_back_the_others() {
        let body = Arc::new(SharedBody::new(None, held()));
        let (mut fast, mut slow) = (body.reader().unwrap(), body.reader().unwrap());
        body.relay();
        for byte in 1..=5 {
            body.push(piece(byte));
            assert_eq!(read(&mut fast), got(byte));
        }
        assert!(body.poll_room(&cx()).is_pending());
        body.cut_off_the_slowest();
        assert!(body.poll_room(&cx()).is_ready());
        assert_eq!(read(&mut slow), Poll::Ready(Some(Err(BrokenBody::TooSlow))));
        assert_eq!(read(&mut fast), Poll::Pending);
    }

    #[test]
    fn a_single_slow_reader_is_not_cut_off() {
        let body = Arc::new(SharedBody::new(None, held()));
        let mut reader = body.reader().unwrap();
        body.relay();
        for byte in 1..=5 {
            body.push(piece(byte));
        }
        body.cut_off_the_slowest();
        assert_eq!(read(&mut reader), got(1));
    }

    #[test]
    fn a_reader_that_leaves_makes_room() {
        let body = Arc::new(SharedBody::new(None, held()));
        let reader = body.reader().unwrap();
        body.relay();
        for byte in 1..=5 {
            body.push(piece(byte));
        }
        assert!(body.poll_room(&cx()).is_pending());
        drop(reader);
        assert!(body.poll_room(&cx()).is_ready());
        assert!(!body.has_readers());
    }
}
