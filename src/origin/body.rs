//! The response body on its way from the origin.
//!
//! It owns the connection that it comes over. Read to its end, it gives the connection back; cut
//! short, timed out or dropped, it closes it. It ends only if it is whole by its own framing:
//! everything else is an error.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::connection::OriginConnection;
use super::idle::IdleDeadline;
use super::metrics::ExchangeTally;
use super::pool::OriginPool;
use super::limiter::OriginPermit;
use super::upload::UploadTracker;
use super::{BodyFraming, FetchError};

/// The content of one response, as it comes. Its trailers are dropped.
///
/// A reader that does not poll holds the origin back: at most
/// [`crate::limits::ORIGIN_HEAD_BYTES_MAX`] and one piece of that size are read ahead, beside what
/// the kernel buffers. The idle deadline runs only while the reader waits.
///
/// Dropping it before its end closes the connection.
#[must_use = "a body that is not read closes its connection"]
pub struct OriginBody(Box<ArrivingBody>);

/// Boxed: with its connection it is large, and it is handed on a lot.
struct ArrivingBody {
    incoming: Incoming,
    framing: BodyFraming,
    /// From the request for it to its head.
    took: Duration,
    /// Bytes that came so far.
    got: u64,
    idle: IdleDeadline,
    /// Why it is not whole, until the reader knows.
    broken: Option<FetchError>,
    /// There until the body has ended in one way or another.
    exchanged: Option<ExchangeGuard>,
}

/// What is held until both directions are done.
pub(super) struct ExchangeGuard {
    pub(super) connection: OriginConnection,
    pub(super) pool: OriginPool,
    pub(super) track: UploadTracker,
    pub(super) version: Version,
    pub(super) tally: ExchangeTally,
    /// Ends with this, and so behind the connection's return.
    pub(super) turn: OriginPermit,
}

impl OriginBody {
    pub(super) fn new(
        incoming: Incoming,
        framing: BodyFraming,
        took: Duration,
        exchanged: ExchangeGuard,
        timeout: Duration,
    ) -> Self {
        let mut arriving = Box::new(ArrivingBody {
            incoming,
            framing,
            took,
            got: 0,
            idle: IdleDeadline::new(timeout),
            broken: None,
            exchanged: Some(exchanged),
        });
        if arriving.incoming.is_end_stream() {
            arriving.complete();
        }
        Self(arriving)
    }

    /// The body of a 101, whose connection is no longer one of HTTP.
    pub(super) fn switched(incoming: Incoming) -> Self {
        let idle = IdleDeadline::new(Duration::ZERO);
        let (framing, took) = (BodyFraming::None, Duration::ZERO);
        Self(Box::new(ArrivingBody { incoming, framing, took, got: 0, idle, broken: None, exchanged: None }))
    }

    /// How the end of this body is known. Only an end that proves the body whole makes it fit to be
    /// stored.
    pub fn framing(&self) -> BodyFraming {
        self.0.framing
    }

    /// How long its head has been waited for, the turn and the connection included.
    pub fn took(&self) -> Duration {
        self.0.took
    }
}

impl ArrivingBody {
    /// What came, be it just now.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(exchanged) = &mut self.exchanged else { return Poll::Ready(None) };
        // That somebody reads has to be known before it is driven.
        let mut incoming = Pin::new(&mut self.incoming);
        if let Poll::Ready(next) = incoming.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())) {
            return Poll::Ready(next);
        }
        exchanged.connection.poll(cx, &mut |by| incoming.as_mut().poll_frame(by))
    }

    /// The body is whole.
    fn complete(&mut self) {
        let Some(exchange) = self.exchanged.take() else { return };
        if exchange.is_reusable(self.framing) {
            exchange.pool.give_back(exchange.connection);
        }
        exchange.tally.complete();
        drop(exchange.turn);
    }

    /// The body is not whole, and its connection is closed. The reader learns it the next time: it
    /// may have the beginning of this body since a moment ago, and would not send that on if it
    /// were told now.
    fn break_off<T>(&mut self, cx: &mut Context<'_>, error: FetchError) -> Poll<T> {
        if let Some(exchange) = self.exchanged.take() {
            // If the client broke off its request, that is what broke the answer.
            let error = exchange.track.failure().unwrap_or(error);
            exchange.tally.failed(&error);
            self.broken = Some(error);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn cut(&self) -> FetchError {
        FetchError::CutBody { got: self.got, want: self.framing.length() }
    }
}

impl ExchangeGuard {
    /// Whether the connection has nothing odd about it.
    ///
    /// An answer that is complete before its request leaves the origin in the middle of that
    /// request. hyper keeps to HTTP/1.0 on a connection on which the origin did, and there it would
    /// send a chunked body as none.
    fn is_reusable(&self, framing: BodyFraming) -> bool {
        self.track.is_sent() && self.version == Version::HTTP_11 && framing.proves_whole()
    }
}

impl http_body::Body for OriginBody {
    type Data = Bytes;
    type Error = FetchError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FetchError>>> {
        let this = &mut *self.get_mut().0;
        if this.exchanged.is_none() {
            return Poll::Ready(this.broken.take().map(Err));
        }
        loop {
            let Poll::Ready(next) = this.poll_incoming(cx) else {
                ready!(this.idle.poll_elapsed(cx));
                return this.break_off(cx, FetchError::BodyTimeout);
            };
            this.idle.progressed();
            match next.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    this.got = this.got.saturating_add(data.len() as u64);
                    if this.incoming.is_end_stream() {
                        this.complete();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                // Trailers: nothing of what decided about this response knew them (CVE-2024-35161).
                Some(Ok(Err(_))) => {}
                Some(Err(error)) => {
                    let error =
                        if is_malformed(&error) { FetchError::BadBody(Arc::new(error)) } else { this.cut() };
                    return this.break_off(cx, error);
                }
                None if this.framing.length().is_some_and(|want| want != this.got) => {
                    return this.break_off(cx, this.cut());
                }
                None => {
                    this.complete();
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.exchanged.is_none() && self.0.broken.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.incoming.size_hint()
    }
}

/// Whether the bytes were wrong, and not only too few.
fn is_malformed(error: &hyper::Error) -> bool {
    std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>()).is_some_and(
        |source| matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput),
    )
}
