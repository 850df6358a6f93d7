//! Socket to the origin, TCP, TLS or unix, that counts received bytes and holds a connection slot.
//!
//! The count tells whether a response has begun. With TLS it counts decrypted bytes, because a
//! session ticket is no response. The socket occupies one of the connection slots from before the
//! dial until it is closed, also after it has left the pool as a tunnel.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::address::AddressUse;
use crate::limits::{ORIGIN_HEAD_PHASE_BYTES_MAX, ORIGIN_INTERIMS_MAX};
use crate::origin::error::FetchError;
use crate::origin::interims::{InterimReader, InterimReceiver, InterimResponse};
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

/// Socket that hyper reads and writes. It is `Send`, which hyper requires of a tunnel.
#[derive(Debug)]
pub(super) struct OriginSocket {
    stream: OriginStream,
    received: ReceivedBytes,
    /// The number of the response head whose interim responses are counted, and their reader.
    interims: (u64, InterimReader),
    usage: Arc<AddressUse>,
    _slot: OriginSlot,
}

/// Counter of the bytes received through a socket. It also limits the bytes and the interim
/// responses before a response head, and keeps the latter for their receiver. Readable from
/// outside.
///
/// hyper reads and drops interim responses within one poll as long as they arrive, so the socket
/// itself ends such a flood.
#[derive(Clone, Debug)]
pub(super) struct ReceivedBytes(Arc<ReceivedCounters>);

#[derive(Debug)]
struct ReceivedCounters {
    bytes: AtomicU64,
    /// The number of bytes from which the socket fails.
    bytes_max: AtomicU64,
    /// The number of response heads that were awaited.
    heads: AtomicU64,
    /// True while a receiver takes the interim responses before the head.
    has_receiver: AtomicBool,
    /// True while `interims` is not empty.
    has_interims: AtomicBool,
    /// The interim responses that the receiver has not taken yet.
    interims: Mutex<Vec<InterimResponse>>,
}

impl ReceivedBytes {
    fn new() -> Self {
        Self(Arc::new(ReceivedCounters {
            bytes: AtomicU64::new(0),
            bytes_max: AtomicU64::new(u64::MAX),
            heads: AtomicU64::new(0),
            has_receiver: AtomicBool::new(false),
            has_interims: AtomicBool::new(false),
            interims: Mutex::default(),
        }))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Limits the bytes up to the next response head, and keeps the interim responses before it if
    /// there is a receiver.
    pub(super) fn await_head(&self, receiver: Option<&dyn InterimReceiver>) {
        self.0.has_receiver.store(receiver.is_some(), Ordering::Relaxed);
        self.0.heads.fetch_add(1, Ordering::Relaxed);
        self.0.bytes_max.store(self.bytes() + ORIGIN_HEAD_PHASE_BYTES_MAX, Ordering::Relaxed);
    }

    /// Ends this limit, because the response head has arrived.
    pub(super) fn end_head(&self) {
        self.0.bytes_max.store(u64::MAX, Ordering::Relaxed);
    }

    /// Gives the receiver the interim responses that have arrived.
    pub(super) fn give_interims(&self, receiver: &dyn InterimReceiver) {
        if self.0.has_interims.load(Ordering::Relaxed) {
            self.0.has_interims.store(false, Ordering::Relaxed);
            let interims = std::mem::take(&mut *self.interims());
            interims.into_iter().for_each(|interim| receiver.receive(interim));
        }
    }

    fn interims(&self) -> MutexGuard<'_, Vec<InterimResponse>> {
        self.0.interims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an interim response, if there is a receiver.
    fn keep_interim(&self, head: &[u8]) {
        if self.0.has_receiver.load(Ordering::Relaxed)
            && let Some(interim) = InterimResponse::read(head)
        {
            self.interims().push(interim);
            self.0.has_interims.store(true, Ordering::Relaxed);
        }
    }

    /// Returns whether the bytes or the interim responses before a head exceed a limit.
    pub(super) fn is_exceeded(&self) -> bool {
        self.bytes() >= self.0.bytes_max.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Returns the number of the response head that is awaited, if one is.
    fn awaited_head(&self) -> Option<u64> {
        let is_awaited = self.0.bytes_max.load(Ordering::Relaxed) != u64::MAX;
        is_awaited.then(|| self.0.heads.load(Ordering::Relaxed))
    }

    /// Makes the socket fail: too many interim responses precede the head.
    fn exceed(&self) {
        self.0.bytes_max.store(0, Ordering::Relaxed);
    }
}

impl OriginSocket {
    pub(super) fn new(stream: OriginStream, slot: OriginSlot, usage: Arc<AddressUse>) -> Self {
        let (received, interims) = (ReceivedBytes::new(), (0, InterimReader::default()));
        Self { stream, received, interims, usage, _slot: slot }
    }

    /// Returns the use of the address by this connection.
    pub(super) fn usage(&self) -> Arc<AddressUse> {
        Arc::clone(&self.usage)
    }

    pub(super) fn received(&self) -> ReceivedBytes {
        self.received.clone()
    }

    /// Counts bytes that have arrived, and reads the interim responses among them.
    fn record(&mut self, bytes: &[u8]) {
        self.received.add(bytes.len());
        let Some(head) = self.received.awaited_head() else { return };
        if self.interims.0 != head {
            self.interims = (head, InterimReader::default());
        }
        let keep = |head: &[u8]| self.received.keep_interim(head);
        if self.interims.1.read(bytes, keep) > ORIGIN_INTERIMS_MAX {
            self.received.exceed();
        }
    }
}

impl AsyncRead for OriginSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.received.is_exceeded() {
            return Poll::Ready(Err(io::Error::other(
                "the bytes before the response head exceed their bound",
            )));
        }
        let before = buffer.filled().len();
        ready!(match &mut this.stream {
            OriginStream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            OriginStream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            OriginStream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        })?;
        this.record(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
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
