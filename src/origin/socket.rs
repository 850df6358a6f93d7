//! Socket to the origin, plain or TLS, that counts received bytes and holds a connection slot.
//!
//! The count tells whether a response has begun. With TLS it counts decrypted bytes, because a
//! session ticket is no response. The socket occupies one of the connection slots from before the
//! dial until it is closed, also after it has left the pool as a tunnel.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::origin::error::FetchError;
use crate::telemetry::Gauge;

/// Limit on open connections, and their gauge.
#[derive(Clone, Debug)]
pub(super) struct OriginSlots {
    free: Arc<Semaphore>,
    open: Gauge,
}

/// Permit for one open connection.
#[derive(Debug)]
pub(super) struct OriginSlot {
    _permit: OwnedSemaphorePermit,
    open: Gauge,
}

impl OriginSlots {
    pub(super) fn new(connections_max: usize, open: Gauge) -> Self {
        Self { free: Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS))), open }
    }

    /// Acquires a free slot. The caller holds a permit of the limiter (`limiter.rs`), so a slot is
    /// free unless tunnels occupy it, or becomes free soon: a closed connection releases its slot a
    /// moment later.
    pub(super) async fn acquire(&self, queue_timeout: Duration) -> Result<OriginSlot, FetchError> {
        let free = Arc::clone(&self.free);
        let permit = match Arc::clone(&free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => match timeout(queue_timeout, free.acquire_owned()).await {
                Ok(Ok(permit)) => permit,
                Ok(Err(_)) | Err(_) => return Err(FetchError::Busy),
            },
        };
        self.open.add(1);
        Ok(OriginSlot { _permit: permit, open: self.open.clone() })
    }
}

impl Drop for OriginSlot {
    fn drop(&mut self) {
        self.open.add(-1);
    }
}

/// Byte stream of a connection.
#[derive(Debug)]
pub(super) enum OriginStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Socket that hyper reads and writes. It is `Send`, which hyper requires of a tunnel.
#[derive(Debug)]
pub(super) struct OriginSocket {
    stream: OriginStream,
    received: Arc<AtomicU64>,
    _slot: OriginSlot,
}

/// Counter of the bytes received through a socket, readable from outside.
#[derive(Clone, Debug)]
pub(super) struct ReceivedBytes(Arc<AtomicU64>);

impl ReceivedBytes {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl OriginSocket {
    pub(super) fn new(stream: OriginStream, slot: OriginSlot) -> Self {
        Self { stream, received: Arc::new(AtomicU64::new(0)), _slot: slot }
    }

    pub(super) fn received(&self) -> ReceivedBytes {
        ReceivedBytes(Arc::clone(&self.received))
    }
}

impl AsyncRead for OriginSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(match &mut this.stream {
            OriginStream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            OriginStream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        })?;
        this.received.fetch_add(buffer.filled().len().saturating_sub(before) as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for OriginSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            OriginStream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            OriginStream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            OriginStream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            OriginStream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            OriginStream::Plain(stream) => stream.is_write_vectored(),
            OriginStream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            OriginStream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            OriginStream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            OriginStream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            OriginStream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
