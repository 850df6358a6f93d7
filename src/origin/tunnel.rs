//! A connection to the origin after a 101: bytes of the protocol that it switched to.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::OriginSocket;

/// The origin's side of a tunnel. Dropping it closes the socket.
#[derive(Debug)]
pub struct OriginTunnel {
    /// Bytes that arrived with the head of the 101.
    ahead: Bytes,
    socket: OriginSocket,
}

impl OriginTunnel {
    pub(super) fn new(socket: OriginSocket, ahead: Bytes) -> Self {
        Self { ahead, socket }
    }
}

impl AsyncRead for OriginTunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buffer);
        }
        let part = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(self.ahead.get(..part).unwrap_or_default());
        self.ahead.advance(part);
        if self.ahead.is_empty() {
            // An empty slice would keep its memory for as long as the tunnel.
            self.ahead = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for OriginTunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
