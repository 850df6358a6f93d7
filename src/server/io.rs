//! The client's socket, wrapped for hyper.
//!
//! The wrapper replays the bytes that were read to detect the protocol, passes every byte from the
//! client to [`RequestFraming`] and [`ConnectionActivity`], and holds the connection's guard. The
//! guard frees its permit when the socket closes, which for a tunnel is later than the end of HTTP.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::ConnectionActivity;
use super::framing::{FramingError, RequestFraming};
use super::metrics::ConnectionGuard;
use crate::limits::CLIENT_GATHERED_BYTES_MAX;

/// A socket that hyper reads and writes while the server observes it.
pub(super) struct WatchedSocket<S> {
    stream: S,
    /// Bytes that were already read and come before all others. Empty except at the beginning.
    replay: Bytes,
    /// `None` where the protocol frames itself.
    framing: Option<RequestFraming>,
    activity: Arc<ConnectionActivity>,
    _guard: ConnectionGuard,
}

impl<S> WatchedSocket<S> {
    /// Wraps a stream of HTTP/1.1 whose first bytes are already read.
    pub(super) fn http1(
        stream: S,
        replay: Bytes,
        activity: Arc<ConnectionActivity>,
        guard: ConnectionGuard,
    ) -> Self {
        Self { stream, replay, framing: Some(RequestFraming::default()), activity, _guard: guard }
    }

    /// Wraps a stream of HTTP/2 whose first bytes are already read.
    pub(super) fn http2(
        stream: S,
        replay: Bytes,
        activity: Arc<ConnectionActivity>,
        guard: ConnectionGuard,
    ) -> Self {
        activity.vouch_for_all();
        Self { stream, replay, framing: None, activity, _guard: guard }
    }

    /// Passes received bytes to framing. Framing ends once the connection is a tunnel.
    fn observe(&mut self, bytes: &[u8]) {
        if self.activity.is_tunnel() {
            self.framing = None;
        }
        let Some(framing) = &mut self.framing else { return };
        if let Err(ambiguity) = framing.read(bytes) {
            tracing::debug!(%ambiguity, "a request has ambiguous framing");
        }
        self.activity.received(framing.vouched(), framing.inbound());
    }

    /// Counts the bytes that the socket accepted.
    fn wrote(&self, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = wrote {
            self.activity.wrote(bytes);
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
        let before = buf.filled().len();
        if this.replay.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        } else {
            let piece = this.replay.len().min(buf.remaining());
            buf.put_slice(&this.replay.split_to(piece));
        }
        this.observe(buf.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedSocket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.activity.writes();
        let wrote = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.activity.writes();
        let mut together = [0; CLIENT_GATHERED_BYTES_MAX];
        let wrote = match gather(bufs, &mut together) {
            Some(all) => Pin::new(&mut self.stream).poll_write(cx, all),
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, bufs),
        };
        self.wrote(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.activity.flushes();
        Pin::new(&mut self.stream).poll_flush(cx)
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
