//! The bridge between hyper's requests and the handler's responses.
//!
//! The bridge refuses a request whose head framing did not confirm (`400`) and one with too many
//! fields (`431`). It counts and logs a panic and closes the connection (over HTTP/2 it resets only
//! the stream: the others are unaffected). A request costs two clones of an `Rc`, some plain stores
//! and, when its response is finished, one reading of the clock. The bridge allocates only for the
//! future of a response that is not ready at once.

use std::error::Error;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::activity::{ConnectionActivity, StreamAnswer};
use super::drain::Shutdown;
use super::head_refusal::refuse;
use super::metrics::{ConnectionRefusal, HttpProtocol, Metrics};
use super::panics::{HandlerPanicError, catch_panic};
use super::streams::{StreamNumber, UnfinishedStreams};
use crate::answer_budget::AnswerHold;
use crate::interim::InterimSink;
use crate::key::Scheme;
use crate::label::Label;
use crate::request_id::{RequestId, RequestIdSource};
use crate::telemetry::access::{AnswerEnd, LoggedRequest, REFUSED_OUTCOME, RequestRecord, RequestRecorder};
use crate::telemetry::trace::{RequestSpan, SpanAttribute, Tracer};
use crate::tls::ClientCertificate;

/// A service behind a listener.
pub trait Handler: 'static {
    /// The body of a response. An error in it cuts the connection, so that the client cannot
    /// mistake the part for the whole.
    type Body: Body<Data = Bytes, Error: Into<BodyFailure>> + Unpin + 'static;

    /// Answers one request.
    ///
    /// The handler notes in `record` what only it knows about the answer, for the access log. The
    /// server sets `id` in the answer. `interims` makes the sink of the request's interim
    /// responses, for a handler that has any.
    fn handle(
        self: Rc<Self>,
        peer: ConnectionPeer,
        request: Request<Incoming>,
        record: RequestRecord,
        id: Option<RequestId>,
        interims: impl FnOnce() -> InterimSink,
    ) -> HandlerReply<Self::Body>;

    /// Takes the resources that the answer holds until its client has read it.
    fn take_hold(_body: &mut Self::Body) -> Option<AnswerHold> {
        None
    }
}

/// A response, or the future that produces it.
///
/// A response that is ready at once avoids the cost of a future: hyper would move it into the
/// connection and read on beside it, into a new buffer because the request still holds the old one.
pub enum HandlerReply<B> {
    /// The response is ready.
    Ready(Response<B>),
    /// The response needs work. The server drops the future when the client leaves or a drain ends;
    /// work that must outlive the client needs a task of its own.
    Working(ReplyFuture<B>),
}

/// A future that produces a response.
pub type ReplyFuture<B> = Pin<Box<dyn Future<Output = Response<B>>>>;

impl<B> HandlerReply<B> {
    /// Wraps a future that produces a response.
    pub fn working(work: impl Future<Output = Response<B>> + 'static) -> Self {
        Self::Working(Box::pin(work))
    }
}

/// The client at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionPeer {
    /// The client's address; an IPv4 address stays IPv4 on a dual-stack listener.
    pub addr: SocketAddr,
    /// The scheme of the connection.
    pub scheme: Scheme,
    /// The client's certificate.
    pub certificate: ClientCertificate,
}

/// An error for which hyper cuts a connection.
pub type BodyFailure = Box<dyn Error + Send + Sync>;

/// The part of a connection that its requests share.
pub(super) struct ConnectionExchange<H> {
    pub(super) handler: Rc<H>,
    pub(super) peer: ConnectionPeer,
    pub(super) activity: Arc<ConnectionActivity>,
    pub(super) metrics: Metrics,
    /// The access log, if there is one.
    pub(super) recorder: Option<Rc<RequestRecorder>>,
    /// The ids of requests, unless they get none.
    pub(super) request_ids: Option<Rc<RequestIdSource>>,
    /// The tracer, if there is a collector.
    pub(super) tracer: Option<Rc<Tracer>>,
    pub(super) shutdown: Shutdown,
    pub(super) protocol: HttpProtocol,
    /// The streams of an HTTP/2 connection, which record how the client reads its responses.
    pub(super) streams: Option<Rc<UnfinishedStreams>>,
}

impl<H: Handler> ConnectionExchange<H> {
    /// Handles a request from hyper. The request counts as in flight from here, not from the first
    /// poll.
    pub(super) fn call(self: &Rc<Self>, request: Request<Incoming>) -> RequestCall<H> {
        let vouched = self.activity.begin();
        let stream = self.streams.as_ref().map(|streams| streams.begin());
        let ConnectionPeer { addr, scheme, .. } = self.peer;
        let id = self.request_ids.as_ref().and_then(|ids| ids.assign(request.headers(), addr.ip()));
        let span = self.tracer.as_ref().and_then(|tracer| tracer.begin(request.method(), request.headers()));
        let trace = span.as_ref().map(RequestSpan::trace).unwrap_or_default();
        let begin =
            |recorder: &Rc<RequestRecorder>| recorder.begin(addr.ip(), scheme, &request, id.as_ref(), &trace);
        let logged = self.recorder.as_ref().map(begin);
        let record = logged.as_ref().map(LoggedRequest::record).unwrap_or_default().traced(trace);
        let in_flight = InFlightRequest {
            exchange: Rc::clone(self),
            stream,
            answer: None,
            has_content: request.method() != Method::HEAD,
            logged,
            span,
            id: id.clone(),
        };
        if let Some((refusal, status)) = refuse(vouched, request.headers()) {
            self.metrics.refused(refusal);
            record.note(|facts| {
                facts.outcome = Some(REFUSED_OUTCOME);
                facts.detail = Some(refusal.word());
            });
            return RequestCall::Ended(Some(Ok(refused(status, request.version(), in_flight))));
        }
        let version = request.version();
        let interims = || self.activity.interim_sink(version);
        match catch_panic(|| Rc::clone(&self.handler).handle(self.peer, request, record, id, interims)) {
            Ok(HandlerReply::Ready(response)) => RequestCall::Ended(Some(in_flight.end(Ok(response)))),
            Ok(HandlerReply::Working(work)) => RequestCall::Working(work, Some(in_flight)),
            Err(panicked) => RequestCall::Ended(Some(in_flight.end(Err(panicked)))),
        }
    }

    /// Counts and logs a request that the server refused before it was read.
    pub(super) fn refused(&self, refusal: ConnectionRefusal, status: StatusCode) {
        self.metrics.refused(refusal);
        if let Some(recorder) = &self.recorder {
            recorder.refused(self.peer.addr.ip(), self.peer.scheme, status, refusal.word());
        }
    }

    fn panicked(&self, panicked: &HandlerPanicError) {
        self.metrics.panicked();
        tracing::error!(panic = panicked.message(), peer = %self.peer.addr, "a request panicked");
    }
}

fn refused<H: Handler>(
    status: StatusCode,
    version: Version,
    mut in_flight: InFlightRequest<H>,
) -> Response<TrackedBody<H>> {
    in_flight.head(status);
    let mut head = HeaderMap::new();
    in_flight.identify(&mut head);
    let mut response = Response::new(TrackedBody { body: None, hold: None, in_flight });
    *response.status_mut() = status;
    *response.headers_mut() = head;
    // RFC 9113 §8.2.2: HTTP/2 has no such field.
    if version <= Version::HTTP_11 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Drops the content of the response to a `HEAD`, and keeps its length (RFC 9110 §9.3.2). hyper
/// drops it over HTTP/1.1 only.
fn without_content<H: Handler>(response: Response<H::Body>, in_flight: InFlightRequest<H>) -> CallEnd<H> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    Ok(Response::from_parts(head, TrackedBody { body: None, hold: None, in_flight }))
}

/// A request whose response is not finished.
pub(super) struct InFlightRequest<H> {
    exchange: Rc<ConnectionExchange<H>>,
    stream: Option<StreamNumber>,
    /// The response of an HTTP/2 stream, once the handler has returned it.
    answer: Option<StreamAnswer>,
    /// Whether the response may have content: not the one to a `HEAD`.
    has_content: bool,
    /// The line of the access log, which ends with the request.
    logged: Option<LoggedRequest>,
    /// The span of the request, if it is sampled.
    span: Option<RequestSpan>,
    /// The id of the request, until its answer has it.
    id: Option<RequestId>,
}

impl<H: Handler> InFlightRequest<H> {
    /// Ends the call with the head of its response, or with the panic.
    fn end(mut self, result: Result<Response<H::Body>, HandlerPanicError>) -> CallEnd<H> {
        self.exchange.activity.begin_response();
        match result {
            Ok(mut response) => {
                self.head(response.status());
                self.identify(response.headers_mut());
                self.answer = self.stream.map(|_| StreamAnswer::begin(&self.exchange.activity));
                // RFC 9112 §9.6: the last response of a connection says `close`. HTTP/2 has GOAWAY.
                let exchange = &*self.exchange;
                let is_last =
                    exchange.shutdown.has_begun() && matches!(exchange.protocol, HttpProtocol::Http1);
                if is_last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                if !self.has_content && !response.body().is_end_stream() {
                    return without_content(response, self);
                }
                let hold = H::take_hold(response.body_mut());
                if let Some(hold) = hold.as_ref().filter(|hold| hold.is_counted()) {
                    exchange.activity.answers().set_counted();
                    hold.attach(&exchange.activity);
                }
                Ok(response.map(|body| TrackedBody { body: Some(body), hold, in_flight: self }))
            }
            Err(panicked) => {
                self.exchange.panicked(&panicked);
                self.ended(AnswerEnd::Panicked);
                Err(panicked)
            }
        }
    }
}

impl<H> InFlightRequest<H> {
    /// Sets the request's id in the head of its answer.
    fn identify(&mut self, head: &mut HeaderMap) {
        if let (Some(ids), Some(id)) = (&self.exchange.request_ids, self.id.take()) {
            ids.set(head, id);
        }
    }

    /// Records the head of the response for the access log and the trace.
    fn head(&self, status: StatusCode) {
        if let Some(span) = &self.span {
            span.note("http.response.status_code", SpanAttribute::Number(status.as_u16().into()));
            if status.is_server_error() {
                span.fail();
            }
        }
        if let Some(logged) = &self.logged {
            logged.head(status);
        }
    }

    /// Records the end of the response for the access log, unless an earlier one is recorded.
    fn ended(&mut self, end: AnswerEnd) {
        if let Some(logged) = &mut self.logged {
            logged.ended(end);
        }
    }

    /// Returns the stream of the response, if the connection is HTTP/2.
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

/// The result of a call.
type CallEnd<H> = Result<Response<TrackedBody<H>>, HandlerPanicError>;

/// The future of a response.
pub(super) enum RequestCall<H: Handler> {
    /// The call has ended; `None` once its result is taken.
    Ended(Option<CallEnd<H>>),
    /// The handler is at work; `None` once it has finished.
    Working(ReplyFuture<H::Body>, Option<InFlightRequest<H>>),
}

impl<H: Handler> Future for RequestCall<H> {
    type Output = CallEnd<H>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CallEnd<H>> {
        let end = match self.get_mut() {
            Self::Ended(end) => end.take(),
            Self::Working(work, in_flight) => {
                let result = match catch_panic(|| work.as_mut().poll(cx)) {
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

/// The body of a response. While it exists, its request is in flight.
pub(super) struct TrackedBody<H: Handler> {
    /// `None` where the server itself answered, and for a `HEAD`.
    body: Option<H::Body>,
    hold: Option<AnswerHold>,
    in_flight: InFlightRequest<H>,
}

impl<H: Handler> TrackedBody<H> {
    /// Polls the handler's body, or the rest of its last frame.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        let Self { body, in_flight, .. } = self;
        let Some(body) = body else { return Poll::Ready(None) };
        let stream = in_flight.stream();
        if let Some((streams, number)) = stream
            && let Some(part) = streams.next_part(number)
        {
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        match catch_panic(|| Pin::new(body).poll_frame(cx)) {
            Ok(frame) => match stream {
                None => frame.map_err(Into::into),
                Some((streams, number)) => streams.pass(number, frame).map_err(Into::into),
            },
            Err(panicked) => {
                in_flight.exchange.panicked(&panicked);
                in_flight.ended(AnswerEnd::Panicked);
                Poll::Ready(Some(Err(panicked.into())))
            }
        }
    }
}

impl<H: Handler> Body for TrackedBody<H> {
    type Data = Bytes;
    type Error = BodyFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        let part = self.poll_part(cx);
        if let Some(logged) = &mut self.in_flight.logged {
            match &part {
                Poll::Ready(Some(Ok(frame))) => logged.sent(frame.data_ref().map_or(0, Bytes::len)),
                Poll::Ready(Some(Err(_))) => logged.ended(AnswerEnd::BodyFailed),
                Poll::Ready(None) => logged.ended(AnswerEnd::Complete),
                Poll::Pending => {}
            }
        }
        part
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

impl<H: Handler> Drop for TrackedBody<H> {
    /// hyper drops a body of known length behind its last byte, without a further poll.
    fn drop(&mut self) {
        // An HTTP/2 stream ends with its last small piece; hyper holds a whole HTTP/1.1 body.
        if let Some(hold) = self.hold.take()
            && self.in_flight.stream.is_none()
        {
            self.in_flight.exchange.activity.answers().keep(hold);
        }
        if self.in_flight.logged.is_some() && self.is_end_stream() {
            self.in_flight.ended(AnswerEnd::Complete);
        }
    }
}
