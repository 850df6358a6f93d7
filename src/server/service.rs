//! From hyper's requests to the handler's answers, and back.
//!
//! Between the two: nobody vouched for the head → `400`; too many fields → `431`; a panic →
//! counted, logged, and the connection closes (over HTTP/2, only the stream is reset: the others
//! have done nothing wrong). A request costs two clones of an `Rc`, some plain stores and, when its
//! answer is finished, one reading of the clock. Nothing is allocated, but for the work of an
//! answer that is not at hand.

use std::any::Any;
use std::error::Error;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::activity::{ConnectionActivity, HeadReading};
use super::drain::Shutdown;
use super::metrics::{ConnectionRefusal, HttpProtocol, Metrics};
use super::streams::{StreamNumber, UnfinishedStreams};
use crate::key::Scheme;
use crate::limits::HEAD_FIELDS_MAX;

/// What a listener serves.
pub trait Handler: 'static {
    /// The body of an answer. An error in it cuts the connection, so that the client cannot take
    /// the part for the whole.
    type Body: Body<Data = Bytes, Error: Into<BodyFailure>> + Unpin + 'static;

    /// Answers one request.
    fn handle(self: Rc<Self>, peer: ConnectionPeer, request: Request<Incoming>) -> HandlerReply<Self::Body>;
}

/// An answer, or the work that leads to it.
///
/// What needs no waiting is spared a future, which has its price: it is moved into the connection,
/// and hyper reads on beside it, into a new buffer because the request still holds the old one.
pub enum HandlerReply<B> {
    /// The answer was at hand.
    Ready(Response<B>),
    /// It takes a while. Dropped when the client goes away or a drain ends; work that must outlive
    /// the client belongs in a task of its own.
    Working(ReplyFuture<B>),
}

/// What becomes an answer.
pub type ReplyFuture<B> = Pin<Box<dyn Future<Output = Response<B>>>>;

impl<B> HandlerReply<B> {
    /// An answer that takes a while.
    pub fn working(work: impl Future<Output = Response<B>> + 'static) -> Self {
        Self::Working(Box::pin(work))
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionPeer {
    /// Its address; an IPv4 address stays one on a listener for both families.
    pub addr: SocketAddr,
    /// How it reached us.
    pub scheme: Scheme,
}

/// What hyper takes for a reason to cut a connection.
pub type BodyFailure = Box<dyn Error + Send + Sync>;

/// One connection, as its requests see it.
pub(super) struct ConnectionExchange<H> {
    pub(super) handler: Rc<H>,
    pub(super) peer: ConnectionPeer,
    pub(super) activity: Arc<ConnectionActivity>,
    pub(super) metrics: Metrics,
    pub(super) shutdown: Shutdown,
    pub(super) protocol: HttpProtocol,
    /// Over HTTP/2, where its answers note how they are taken.
    pub(super) streams: Option<Rc<UnfinishedStreams>>,
}

impl<H: Handler> ConnectionExchange<H> {
    /// Called when hyper has a request. It counts as in flight from here, not from the first poll.
    pub(super) fn call(self: &Rc<Self>, request: Request<Incoming>) -> RequestCall<H> {
        let vouched = self.activity.begin();
        let stream = self.streams.as_ref().map(|streams| streams.begin());
        let in_flight = InFlightRequest { exchange: Rc::clone(self), stream };
        if let Some((refusal, status)) = refuse(vouched, &request) {
            self.metrics.refused(refusal);
            return RequestCall::Ended(Some(Ok(refused(status, request.version(), in_flight))));
        }
        match catch(|| Rc::clone(&self.handler).handle(self.peer, request)) {
            Ok(HandlerReply::Ready(response)) => RequestCall::Ended(Some(in_flight.end(Ok(response)))),
            Ok(HandlerReply::Working(work)) => RequestCall::Working(work, Some(in_flight)),
            Err(panicked) => RequestCall::Ended(Some(in_flight.end(Err(panicked)))),
        }
    }

    fn panicked(&self, panicked: &HandlerPanicError) {
        self.metrics.panicked();
        tracing::error!(panic = %panicked.0, peer = %self.peer.addr, "a request panicked; its connection is closed");
    }
}

fn refuse(vouched: HeadReading, request: &Request<Incoming>) -> Option<(ConnectionRefusal, StatusCode)> {
    match vouched {
        HeadReading::No => Some((ConnectionRefusal::AmbiguousFraming, StatusCode::BAD_REQUEST)),
        HeadReading::Yes if request.headers().len() > HEAD_FIELDS_MAX => {
            Some((ConnectionRefusal::HeadTooLarge, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE))
        }
        HeadReading::Yes => None,
    }
}

fn refused<H: Handler>(
    status: StatusCode,
    version: Version,
    in_flight: InFlightRequest<H>,
) -> Response<TrackedBody<H>> {
    let mut response = Response::new(TrackedBody { body: None, in_flight });
    *response.status_mut() = status;
    // RFC 9113 §8.2.2: there is no such field in HTTP/2.
    if version <= Version::HTTP_11 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A request of which the answer is not finished.
pub(super) struct InFlightRequest<H> {
    exchange: Rc<ConnectionExchange<H>>,
    stream: Option<StreamNumber>,
}

impl<H: Handler> InFlightRequest<H> {
    /// The head of the answer is there, or there will be none.
    fn end(self, result: Result<Response<H::Body>, HandlerPanicError>) -> CallEnd<H> {
        match result {
            Ok(mut response) => {
                // RFC 9112 §9.6: the last answer of a connection says so. Over HTTP/2, GOAWAY does.
                let exchange = &*self.exchange;
                let is_last =
                    exchange.shutdown.has_begun() && matches!(exchange.protocol, HttpProtocol::Http1);
                if is_last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok(response.map(|body| TrackedBody { body: Some(body), in_flight: self }))
            }
            Err(panicked) => {
                self.exchange.panicked(&panicked);
                Err(panicked)
            }
        }
    }
}

impl<H> InFlightRequest<H> {
    /// Over HTTP/2, the stream that the answer goes out on.
    fn stream(&self) -> Option<(&UnfinishedStreams, StreamNumber)> {
        Some((self.exchange.streams.as_deref()?, self.stream?))
    }
}

impl<H> Drop for InFlightRequest<H> {
    fn drop(&mut self) {
        self.exchange.activity.end();
        if let Some((streams, number)) = self.stream() {
            streams.end(number);
        }
    }
}

/// How a call ends.
type CallEnd<H> = Result<Response<TrackedBody<H>>, HandlerPanicError>;

/// A request on its way to its answer.
pub(super) enum RequestCall<H: Handler> {
    /// It has ended; `None` once somebody knows.
    Ended(Option<CallEnd<H>>),
    /// The handler is at work; `None` when it has finished.
    Working(ReplyFuture<H::Body>, Option<InFlightRequest<H>>),
}

impl<H: Handler> Future for RequestCall<H> {
    type Output = CallEnd<H>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CallEnd<H>> {
        let end = match self.get_mut() {
            Self::Ended(end) => end.take(),
            Self::Working(work, in_flight) => {
                let result = match catch(|| work.as_mut().poll(cx)) {
                    Ok(Poll::Pending) => return Poll::Pending,
                    Ok(Poll::Ready(response)) => Ok(response),
                    Err(panicked) => Err(panicked),
                };
                in_flight.take().map(|in_flight| in_flight.end(result))
            }
        };
        end.map_or(Poll::Pending, Poll::Ready)
    }
}

/// The body of an answer. While it exists, its request is in flight.
pub(super) struct TrackedBody<H: Handler> {
    /// None where the server answered by itself.
    body: Option<H::Body>,
    in_flight: InFlightRequest<H>,
}

impl<H: Handler> Body for TrackedBody<H> {
    type Data = Bytes;
    type Error = BodyFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        let Self { body, in_flight } = &mut *self;
        let Some(body) = body else { return Poll::Ready(None) };
        let stream = in_flight.stream();
        if let Some((streams, number)) = stream
            && let Some(part) = streams.next_part(number)
        {
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        match catch(|| Pin::new(body).poll_frame(cx)) {
            Ok(frame) => match stream {
                None => frame.map_err(Into::into),
                Some((streams, number)) => noted(streams, number, frame).map_err(Into::into),
            },
            Err(panicked) => {
                in_flight.exchange.panicked(&panicked);
                Poll::Ready(Some(Err(panicked.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let has_rest =
            self.in_flight.stream().is_some_and(|(streams, number)| streams.rest_bytes(number) > 0);
        !has_rest && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// Hands a frame to an HTTP/2 stream, noted for its pace.
fn noted<E>(
    streams: &UnfinishedStreams,
    number: StreamNumber,
    frame: Poll<Option<Result<Frame<Bytes>, E>>>,
) -> Poll<Option<Result<Frame<Bytes>, E>>> {
    match frame {
        Poll::Pending => streams.await_handler(number),
        Poll::Ready(Some(Ok(frame))) => {
            let frame = frame.into_data().map(|data| Frame::data(streams.hand_over(number, data)));
            return Poll::Ready(Some(Ok(frame.unwrap_or_else(|other| other))));
        }
        Poll::Ready(None | Some(Err(_))) => {}
    }
    frame
}

/// A handler panicked.
#[derive(Debug, thiserror::Error)]
#[error("the handler panicked: {0}")]
pub(super) struct HandlerPanicError(String);

impl HandlerPanicError {
    /// From what the panic threw.
    pub(super) fn new(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self(text.unwrap_or("no message").to_owned())
    }
}

/// Runs code that is not ours; a panic in it is an error, and whatever it broke is dropped by
/// whoever gets that.
fn catch<T>(work: impl FnOnce() -> T) -> Result<T, HandlerPanicError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| HandlerPanicError::new(payload.as_ref()))
}
