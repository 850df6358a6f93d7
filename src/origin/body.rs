//! Response body on its way from the origin.
//!
//! The body owns its connection. Read to its end, it returns the connection to the pool; truncated,
//! timed out or dropped, it closes the connection. The body ends only if it is complete by its
//! framing: anything else is an error.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http_body::{Frame, SizeHint};

use super::connection::OriginConnection;
use super::http1::BodyReadFailure;
use super::idle::IdleDeadline;
use super::limiter::{OriginPermit, TunnelPermit};
use super::metrics::ExchangeTally;
use super::pool::OriginPool;
use super::tunnel::OriginTunnel;
use super::upload::UploadTracker;
use crate::origin::error::FetchError;
use crate::origin::framing::BodyFraming;

/// Content of one response as a stream. It drops the trailers: the decisions about the response did
/// not know them (CVE-2024-35161).
///
/// A reader that does not poll applies back-pressure to the origin: nothing is read ahead, beside
/// the kernel's buffers. The idle deadline runs only while the reader waits.
///
/// Dropping the body before its end closes the connection.
#[must_use = "a body that is not read closes its connection"]
pub struct OriginBody(Box<BodyState>);

/// State of a body. Boxed, because it is large and moves often.
struct BodyState {
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
    /// Tunnel that follows a 101, until its owner takes it.
    tunnel: Option<OriginTunnel>,
    /// Permit of that tunnel.
    _tunnel_permit: Option<TunnelPermit>,
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
        framing: BodyFraming,
        head_time: Duration,
        exchange: ExchangeGuard,
        timeout: Duration,
    ) -> Self {
        let is_complete = exchange.connection.is_complete();
        let mut state = Box::new(BodyState {
            framing,
            head_time,
            received: 0,
            idle: IdleDeadline::new(timeout),
            error: None,
            exchange: Some(exchange),
            tunnel: None,
            _tunnel_permit: None,
        });
        if is_complete {
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
    pub(super) fn switched(tunnel: OriginTunnel, permit: TunnelPermit) -> Self {
        Self(Box::new(BodyState {
            framing: BodyFraming::None,
            head_time: Duration::ZERO,
            received: 0,
            idle: IdleDeadline::new(Duration::ZERO),
            error: None,
            exchange: None,
            tunnel: Some(tunnel),
            _tunnel_permit: Some(permit),
        }))
    }

    /// Takes the tunnel of a 101. The body still holds the permit of the tunnel.
    pub fn take_tunnel(&mut self) -> Option<OriginTunnel> {
        self.0.tunnel.take()
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
    /// that request. An origin that answers with HTTP/1.0 may not know the chunked coding.
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
        let Some(exchange) = &mut this.exchange else { return Poll::Ready(None) };
        let Poll::Ready(next) = exchange.connection.poll_data(cx) else {
            ready!(this.idle.poll_elapsed(cx));
            return this.fail(cx, FetchError::BodyTimeout);
        };
        let is_complete = exchange.connection.is_complete();
        this.idle.end_wait();
        match next {
            Some(Ok(data)) => {
                this.received = this.received.saturating_add(data.len() as u64);
                if is_complete {
                    this.complete();
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Err(BodyReadFailure::Malformed(error))) => this.fail(cx, FetchError::BadBody(error)),
            Some(Err(BodyReadFailure::Cut)) => this.fail(cx, this.cut_error()),
            None => {
                this.complete();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.exchange.is_none() && self.0.error.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let BodyState { framing, received, .. } = &*self.0;
        framing
            .length()
            .map_or_else(SizeHint::default, |length| SizeHint::with_exact(length.saturating_sub(*received)))
    }
}
