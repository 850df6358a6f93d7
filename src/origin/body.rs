//! Response body on its way from the origin.
//!
//! The body owns its connection. Read to its end, it returns the connection to the pool; truncated,
//! timed out or dropped, it closes the connection. The body ends only if it is complete by its
//! framing: anything else is an error.

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
use super::limiter::{OriginPermit, TunnelPermit};
use super::metrics::ExchangeTally;
use super::pool::OriginPool;
use super::upload::UploadTracker;
use crate::origin::error::FetchError;
use crate::origin::framing::BodyFraming;

/// Content of one response as a stream. It drops the trailers.
///
/// A reader that does not poll applies back-pressure to the origin: hyper reads ahead at most
/// [`crate::limits::ORIGIN_HEAD_BYTES_MAX`] and one piece of that size, beside the kernel's
/// buffers. The idle deadline runs only while the reader waits.
///
/// Dropping the body before its end closes the connection.
#[must_use = "a body that is not read closes its connection"]
pub struct OriginBody(Box<BodyState>);

/// State of a body. Boxed, because it is large and moves often.
struct BodyState {
    incoming: Incoming,
    framing: BodyFraming,
    /// Time from the request to the response head.
    head_time: Duration,
    /// Bytes received so far.
    received: u64,
    idle: IdleDeadline,
    /// Error that the reader gets at its next poll.
    error: Option<FetchError>,
    /// Present until the body has ended or failed.
    exchange: Option<ExchangeGuard>,
    /// Permit of the tunnel that follows a 101.
    _tunnel: Option<TunnelPermit>,
}

/// Resources held until both directions are complete.
pub(super) struct ExchangeGuard {
    pub(super) connection: OriginConnection,
    pub(super) pool: OriginPool,
    pub(super) upload: UploadTracker,
    pub(super) version: Version,
    pub(super) tally: ExchangeTally,
    /// Dropped last, after the pool has the connection.
    pub(super) permit: OriginPermit,
}

impl OriginBody {
    pub(super) fn new(
        incoming: Incoming,
        framing: BodyFraming,
        head_time: Duration,
        exchange: ExchangeGuard,
        timeout: Duration,
    ) -> Self {
        let mut state = Box::new(BodyState {
            incoming,
            framing,
            head_time,
            received: 0,
            idle: IdleDeadline::new(timeout),
            error: None,
            exchange: Some(exchange),
            _tunnel: None,
        });
        if state.incoming.is_end_stream() {
            state.complete();
        }
        Self(state)
    }

    /// Returns the longest time without progress.
    pub fn timeout(&self) -> Duration {
        self.0.idle.timeout()
    }

    /// Creates the body of a 101, whose connection no longer carries HTTP. It holds the permit of
    /// the tunnel, so its owner keeps it until the tunnel ends.
    pub(super) fn switched(incoming: Incoming, tunnel: TunnelPermit) -> Self {
        let idle = IdleDeadline::new(Duration::ZERO);
        let (framing, head_time) = (BodyFraming::None, Duration::ZERO);
        Self(Box::new(BodyState {
            incoming,
            framing,
            head_time,
            received: 0,
            idle,
            error: None,
            exchange: None,
            _tunnel: Some(tunnel),
        }))
    }

    /// Returns the framing of this body. Only a framing that proves the body complete allows
    /// storing it.
    pub fn framing(&self) -> BodyFraming {
        self.0.framing
    }

    /// Returns the time to the response head, including the wait for a permit and a connection.
    pub fn took(&self) -> Duration {
        self.0.head_time
    }
}

impl BodyState {
    /// Polls for the next frame, including one that the connection reads in this call.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(exchange) = &mut self.exchange else { return Poll::Ready(None) };
        // hyper must know that a reader waits before the connection is polled.
        let mut incoming = Pin::new(&mut self.incoming);
        if let Poll::Ready(next) = incoming.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())) {
            return Poll::Ready(next);
        }
        exchange.connection.poll(cx, &mut |cx| incoming.as_mut().poll_frame(cx))
    }

    /// Ends a complete body, and returns its connection to the pool if it is reusable.
    fn complete(&mut self) {
        let Some(exchange) = self.exchange.take() else { return };
        if exchange.is_reusable(self.framing) {
            exchange.pool.put_back(exchange.connection);
        }
        exchange.tally.complete();
        drop(exchange.permit);
    }

    /// Fails the body and closes its connection. The reader gets the error at its next poll: it may
    /// have received the start of this body a moment ago, and would not forward that if it got the
    /// error now.
    fn fail<T>(&mut self, cx: &mut Context<'_>, error: FetchError) -> Poll<T> {
        if let Some(exchange) = self.exchange.take() {
            // A client that broke off its request is the cause of the truncated response.
            let error = exchange.upload.failure().unwrap_or(error);
            exchange.tally.failed(&error);
            self.error = Some(error);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn cut_error(&self) -> FetchError {
        FetchError::CutBody { got: self.received, want: self.framing.length() }
    }
}

impl ExchangeGuard {
    /// Returns whether the connection can carry another exchange.
    ///
    /// If a response is complete before its request is sent, the origin still waits for the rest of
    /// that request. After an HTTP/1.0 response hyper uses HTTP/1.0 on the connection, and would
    /// send a request without its chunked body.
    fn is_reusable(&self, framing: BodyFraming) -> bool {
        self.upload.is_sent() && self.version == Version::HTTP_11 && framing.proves_whole()
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
        if this.exchange.is_none() {
            return Poll::Ready(this.error.take().map(Err));
        }
        loop {
            let Poll::Ready(next) = this.poll_incoming(cx) else {
                ready!(this.idle.poll_elapsed(cx));
                return this.fail(cx, FetchError::BodyTimeout);
            };
            this.idle.end_wait();
            match next.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    this.received = this.received.saturating_add(data.len() as u64);
                    if this.incoming.is_end_stream() {
                        this.complete();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                // Trailers are dropped: the decisions about this response did not know them
                // (CVE-2024-35161).
                Some(Ok(Err(_))) => {}
                Some(Err(error)) => {
                    let error = if is_malformed(&error) {
                        FetchError::BadBody(Arc::new(error))
                    } else {
                        this.cut_error()
                    };
                    return this.fail(cx, error);
                }
                None if this.framing.length().is_some_and(|want| want != this.received) => {
                    return this.fail(cx, this.cut_error());
                }
                None => {
                    this.complete();
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.exchange.is_none() && self.0.error.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.incoming.size_hint()
    }
}

/// Returns whether the body is malformed, and not only truncated.
fn is_malformed(error: &hyper::Error) -> bool {
    std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>()).is_some_and(
        |source| matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput),
    )
}
