//! The client's socket, wrapped for hyper.
//!
//! The wrapper replays the bytes that were read to detect the protocol, passes every byte from the
//! client to [`RequestFraming`] and [`ConnectionActivity`], repairs the bytes that framing names,
//! and holds the connection's guard. The guard frees its permit when the socket closes, which for a
//! tunnel is later than the end of HTTP.
//!
//! While a complete request has no response, the wrapper conceals from hyper that the client's
//! bytes have ended: the client may have closed only its sending side, and hyper would drop its
//! request. Once the last response is written, the wrapper wakes hyper, which reads the end and
//! closes.
//!
//! The wrapper also writes the interim responses of the handler (`interims.rs`), which hyper cannot
//! write: before a byte of hyper's response, and when hyper flushes. hyper flushes at the end of
//! every poll, also while the handler is at work.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::{ConnectionActivity, ConnectionClosing};
use super::framing::{ByteRepair, FramingError, RequestFraming};
use super::metrics::ConnectionGuard;
use super::received_frames::ReceivedFrames;
use super::sent_frames::SentFrames;
use crate::limits::{CLIENT_GATHERED_BYTES_MAX, CLIENT_TURN_BYTES};

thread_local! {
    /// The pieces of one response, which the connections of a worker use in turn: a buffer of its
    /// own would be filled with zeros for each response, or be idle memory of each connection.
    static GATHERED: RefCell<[u8; CLIENT_GATHERED_BYTES_MAX]> = const { RefCell::new([0; CLIENT_GATHERED_BYTES_MAX]) };
}

/// Bytes that end the parking of a connection. They are read into the stack, and are as many as a
/// small head has.
const PARKED_READ_BYTES: usize = 512;

/// A socket that hyper reads and writes while the server observes it.
pub(super) struct WatchedSocket<S> {
    stream: S,
    /// Bytes that were already read and come before all others. Empty except at the beginning.
    replay: Bytes,
    /// The replacement of one byte, which comes before the replay.
    repair: &'static [u8],
    /// Whether the client closed its sending side before the response of its request began.
    half_closed: bool,
    /// The task that reads the concealed end after the response.
    end_reader: Option<Waker>,
    /// The bytes that were read without a break for other connections.
    turn_bytes: usize,
    /// `None` where the protocol frames itself.
    framing: Option<RequestFraming>,
    /// The written frames of HTTP/2.
    sent_frames: Option<SentFrames>,
    /// The address of the task that the queue of interim responses wakes.
    interim_task: usize,
    /// The received frames of HTTP/2, on a listener that closes stalled connections.
    received_frames: Option<ReceivedFrames>,
    activity: Arc<ConnectionActivity>,
    guard: ConnectionGuard,
}

impl<S> WatchedSocket<S> {
    /// Wraps a stream of HTTP/1.1 whose first bytes are already read.
    pub(super) fn http1(
        stream: S,
        replay: Bytes,
        activity: Arc<ConnectionActivity>,
        guard: ConnectionGuard,
    ) -> Self {
        let framing = Some(RequestFraming::default());
        Self { framing, ..Self::begun(stream, replay, activity, guard) }
    }

    /// Wraps a stream of HTTP/2 whose first bytes are already read.
    pub(super) fn http2(
        stream: S,
        replay: Bytes,
        activity: Arc<ConnectionActivity>,
        guard: ConnectionGuard,
    ) -> Self {
        activity.vouch_for_all();
        let sent_frames = Some(SentFrames::default());
        let is_closed = activity.closing() == ConnectionClosing::WhenFull;
        let received_frames = is_closed.then(ReceivedFrames::default);
        Self { sent_frames, received_frames, ..Self::begun(stream, replay, activity, guard) }
    }

    fn begun(stream: S, replay: Bytes, activity: Arc<ConnectionActivity>, guard: ConnectionGuard) -> Self {
        guard.received(replay.len());
        Self {
            stream,
            replay,
            repair: &[],
            half_closed: false,
            end_reader: None,
            turn_bytes: 0,
            framing: None,
            sent_frames: None,
            interim_task: 0,
            received_frames: None,
            activity,
            guard,
        }
    }

    /// Passes received bytes to framing, up to the first that needs a repair. Framing ends once the
    /// connection is a tunnel.
    ///
    /// Fails if the body of a request that hyper already has is malformed. A request that hyper
    /// does not have yet loses its confirmation.
    fn observe(&mut self, bytes: &[u8]) -> io::Result<Option<ByteRepair>> {
        if let Some(frames) = &mut self.received_frames {
            self.activity.received_content(frames.read(bytes));
        }
        if self.activity.is_tunnel() {
            self.framing = None;
        }
        let Some(framing) = &mut self.framing else { return Ok(None) };
        let read = framing.read_to_repair(bytes);
        let mut broken = Ok(());
        if let Err(ambiguity) = read {
            tracing::debug!(%ambiguity, "a request has ambiguous framing");
            if framing.broke_in_body() {
                if self.activity.requests() < framing.vouched() {
                    framing.withdraw_last();
                } else {
                    broken = Err(io::Error::new(io::ErrorKind::InvalidData, ambiguity.to_string()));
                }
            }
        }
        self.activity.received(framing.vouched(), framing.inbound());
        broken.map(|()| read.unwrap_or_default())
    }

    /// Passes the repair and the replay to hyper, as far as its buffer has room.
    fn pass_replay(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        while buf.remaining() > 0 {
            if let Some((part, rest)) = self.repair.split_at_checked(self.repair.len().min(buf.remaining()))
                && !part.is_empty()
            {
                self.observe(part)?;
                buf.put_slice(part);
                self.repair = rest;
                continue;
            }
            let part = self.replay.slice(..self.replay.len().min(buf.remaining()));
            if part.is_empty() {
                break;
            }
            match self.observe(&part)? {
                None => {
                    buf.put_slice(&part);
                    self.replay.advance(part.len());
                    if self.replay.is_empty() {
                        // An empty slice would keep its memory for as long as the connection lives.
                        self.replay = Bytes::new();
                    }
                }
                Some(ByteRepair { at, text }) => {
                    buf.put_slice(&part.slice(..at));
                    self.replay.advance(at + 1);
                    self.repair = text;
                }
            }
        }
        Ok(())
    }

    /// Waits for bytes of a client whose connection is parked. hyper reads them next. Returns their
    /// number, which is 0 once the client has closed its sending side.
    pub(super) fn poll_parked(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>>
    where
        S: AsyncRead + Unpin,
    {
        let mut first = [0; PARKED_READ_BYTES];
        let mut buf = ReadBuf::new(&mut first);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        let read = buf.filled();
        self.guard.received(read.len());
        self.replay = Bytes::copy_from_slice(read);
        Poll::Ready(Ok(read.len()))
    }

    /// Counts the bytes of these pieces that the socket accepted.
    fn wrote(&mut self, pieces: &[IoSlice<'_>], wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = wrote {
            self.activity.wrote(bytes);
            self.guard.sent(bytes);
            if let Some(frames) = &mut self.sent_frames {
                let mut left = bytes;
                for piece in pieces {
                    let written = piece.get(..left.min(piece.len())).unwrap_or_default();
                    left -= written.len();
                    self.guard.reset_malformed(frames.read(written));
                }
            }
        }
        wrote
    }

    /// Withdraws framing's confirmations if hyper did not turn every head into a request.
    fn check_step(&mut self) {
        if let Some(framing) = &mut self.framing
            && !self.activity.in_step()
        {
            tracing::debug!(ambiguity = %FramingError::OutOfStep, "hyper and framing differ; refusing further requests of the connection");
            framing.give_up();
            self.activity.received(framing.vouched(), framing.inbound());
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.check_step();
        if !this.replay.is_empty() || !this.repair.is_empty() {
            return Poll::Ready(this.pass_replay(buf));
        }
        if this.turn_bytes >= CLIENT_TURN_BYTES {
            // The other connections of the worker come first. A frame of five bytes costs little
            // time, and a turn without this bound may hold a hundred thousand.
            this.turn_bytes = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buf) else {
            this.turn_bytes = 0;
            this.activity.starves();
            return Poll::Pending;
        };
        read?;
        let read = buf.filled().get(before..).unwrap_or_default();
        this.turn_bytes += read.len();
        this.guard.received(read.len());
        if read.is_empty() && this.framing.is_some() {
            this.half_closed |= this.activity.owes_response();
            if this.half_closed && this.activity.is_answering() {
                this.end_reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        match this.observe(read) {
            Ok(None) => Poll::Ready(Ok(())),
            Ok(Some(ByteRepair { at, text })) => {
                this.replay = Bytes::copy_from_slice(read.get(at + 1..).unwrap_or_default());
                this.repair = text;
                buf.set_filled(before + at);
                Poll::Ready(this.pass_replay(buf))
            }
            Err(broken) => {
                buf.set_filled(before);
                Poll::Ready(Err(broken))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> WatchedSocket<S> {
    /// Writes the interim responses that precede whatever hyper writes next.
    fn poll_interims(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, activity, guard, .. } = self;
        let interims = activity.interims();
        if !interims.has_work() {
            return Poll::Ready(Ok(()));
        }
        let counts = ready!(interims.poll_write(|bytes| {
            let wrote = ready!(Pin::new(&mut *stream).poll_write(cx, bytes))?;
            activity.wrote(wrote);
            guard.sent(wrote);
            Poll::Ready(Ok(wrote))
        }))?;
        guard.forwarded(counts);
        Poll::Ready(Ok(()))
    }

    /// Writes the queued interim responses after hyper has flushed. A client that does not read
    /// them delays nothing here: the socket wakes this task, and hyper flushes again.
    fn flush_interims(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let interims = self.activity.interims();
        // Only a tunnel, which has none, changes the task of a socket.
        let task = cx.waker().data().addr();
        if self.interim_task != task {
            self.interim_task = task;
            interims.wake_later(cx.waker());
        }
        if !interims.has_work() {
            return Ok(());
        }
        interims.commit();
        let Poll::Ready(written) = self.poll_interims(cx) else { return Ok(()) };
        written?;
        // TLS holds encrypted bytes until the socket takes them.
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Ok(()),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedSocket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.activity.writes();
        ready!(self.poll_interims(cx))?;
        let wrote = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(&[IoSlice::new(buf)], wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.activity.writes();
        ready!(self.poll_interims(cx))?;
        let wrote = GATHERED.with_borrow_mut(|together| match gather(bufs, together) {
            Some(all) => Pin::new(&mut self.stream).poll_write(cx, all),
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, bufs),
        });
        self.wrote(bufs, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        // TLS holds encrypted bytes until the socket takes them.
        if flushed.is_ready() {
            self.activity.flushes();
            if self.end_reader.is_some()
                && !self.activity.is_answering()
                && let Some(reader) = self.end_reader.take()
            {
                reader.wake();
            }
            if self.activity.interims().is_awaited() && matches!(flushed, Poll::Ready(Ok(()))) {
                return Poll::Ready(self.flush_interims(cx));
            }
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Copies the pieces of a small response, head and body, into one; `None` if they do not fit.
///
/// One piece costs the kernel less than several, and the saving exceeds the cost of the copy.
fn gather<'a>(pieces: &[IoSlice<'_>], together: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut filled = 0;
    for piece in pieces {
        let end = filled + piece.len();
        together.get_mut(filled..end)?.copy_from_slice(piece);
        filled = end;
    }
    together.get(..filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_are_joined_and_large_pieces_are_not() {
        let (head, body) = (IoSlice::new(b"head "), IoSlice::new(b"body"));
        assert_eq!(gather(&[head, body], &mut [0; 9]), Some(&b"head body"[..]));
        assert_eq!(gather(&[head, body], &mut [0; 8]), None);
        assert_eq!(gather(&[], &mut [0; 8]), Some(&b""[..]));
    }
}
