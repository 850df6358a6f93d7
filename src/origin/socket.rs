//! Socket to the origin, TCP, TLS or unix, that holds a connection slot.
//!
//! The socket occupies one of the connection slots from before the
//! dial until it is closed, also after it has left the pool as a tunnel.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::address::AddressUse;
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

    /// Returns whether no slot is free.
    pub(super) fn is_exhausted(&self) -> bool {
        self.free.available_permits() == 0
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
    Unix(UnixStream),
}

/// Socket of one connection.
#[derive(Debug)]
pub(super) struct OriginSocket {
    stream: OriginStream,
    usage: Arc<AddressUse>,
    _slot: OriginSlot,
}

impl OriginSocket {
    pub(super) fn new(stream: OriginStream, slot: OriginSlot, usage: Arc<AddressUse>) -> Self {
        Self { stream, usage, _slot: slot }
    }

    /// Returns the use of the address by this connection.
    pub(super) fn usage(&self) -> Arc<AddressUse> {
        Arc::clone(&self.usage)
    }
}

impl AsyncRead for OriginSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            OriginStream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            OriginStream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            OriginStream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for OriginSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            OriginStream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            OriginStream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            OriginStream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
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
            OriginStream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            OriginStream::Plain(stream) => stream.is_write_vectored(),
            OriginStream::Tls(stream) => stream.is_write_vectored(),
            OriginStream::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            OriginStream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            OriginStream::Tls(stream) => Pin::new(stream).poll_flush(cx),
            OriginStream::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            OriginStream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            OriginStream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            OriginStream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
