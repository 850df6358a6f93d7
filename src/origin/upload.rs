//! Request body on its way to the origin.
//!
//! The connection polls the body each time the socket has room, so the origin's reading slows the
//! client's sending. [`UploadProgress`] records which party the exchange waits for, because each
//! has its own deadline: the client's for the next piece, the origin's for everything else.
//!
//! The body of a request with `Expect: 100-continue` waits for the origin's permission. hyper sends
//! `100 Continue` to an HTTP/1.1 client once the body is polled, so the client gets it when the
//! origin has given it, and an origin's final response (401, 413) arrives before the upload.

use std::cell::Cell;
use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

use super::idle::IdleDeadline;
use crate::limits::ORIGIN_CONTINUE_TIMEOUT;
use crate::origin::error::FetchError;

/// Body of a client's request.
#[derive(Debug)]
pub enum RequestBody {
    /// No body.
    Empty,
    /// Body that has arrived.
    Whole(Bytes),
    /// Body that is forwarded as it arrives.
    Streaming(Incoming),
    /// Body whose beginning has arrived, and whose rest is forwarded as it arrives.
    Begun(Bytes, Incoming),
}

impl RequestBody {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Streaming(incoming) => incoming.is_end_stream(),
            Self::Begun(begun, rest) => begun.is_empty() && rest.is_end_stream(),
        }
    }

    /// Returns the remaining length, if it is known.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Streaming(incoming) => incoming.size_hint().exact(),
            Self::Begun(begun, rest) => {
                rest.size_hint().exact().and_then(|rest| rest.checked_add(begun.len() as u64))
            }
        }
    }

    /// Returns the body of a second attempt: of a body that has arrived, if there is one. A body
    /// that is forwarded as it arrives has no second attempt.
    pub(super) fn again(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Whole(bytes) => Some(Self::Whole(bytes.clone())),
            Self::Streaming(incoming) => incoming.is_end_stream().then_some(Self::Empty),
            Self::Begun(..) => None,
        }
    }

    /// Takes the part that has arrived.
    fn take_arrived(&mut self) -> Option<Bytes> {
        match self {
            Self::Empty | Self::Streaming(_) => None,
            Self::Whole(bytes) | Self::Begun(bytes, _) => {
                Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty())
            }
        }
    }
}

/// Progress of a request, and the party it waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum UploadProgress {
    /// The request has no connection yet.
    NotStarted,
    /// The request asked at this time whether to send its body, and the origin has not answered.
    AwaitingContinue(Instant),
    /// The origin responded before the body began, so the body is not sent.
    Refused,
    /// The origin has not yet taken the piece that arrived at this time.
    Sending(Instant),
    /// The origin has taken every piece, and the client sends more.
    AwaitingClient,
    /// The last piece arrived at this time; only the response is missing.
    Sent(Instant),
    /// The client broke off its request.
    Cut,
    /// The chunked coding of the client's body is invalid.
    Malformed,
    /// The client exceeded its deadline.
    TimedOut,
}

/// Request body that the connection polls.
pub(super) struct UploadBody {
    body: RequestBody,
    /// Present until the body may be sent.
    awaited: Option<AwaitedContinue>,
    idle: IdleDeadline,
    upload: UploadTracker,
}

/// Wait for the permission of the origin, which ends at a time in any case.
struct AwaitedContinue(Pin<Box<Sleep>>);

/// Progress of one upload, readable from outside.
#[derive(Clone, Debug)]
pub(super) struct UploadTracker(Rc<Cell<UploadProgress>>);

impl UploadBody {
    pub(super) fn new(body: RequestBody, timeout: Duration) -> Self {
        Self {
            body,
            awaited: None,
            idle: IdleDeadline::new(timeout),
            upload: UploadTracker(Rc::new(Cell::new(UploadProgress::NotStarted))),
        }
    }

    /// Lets the body wait for `100 Continue`.
    pub(super) fn await_continue(&mut self) {
        self.awaited = Some(AwaitedContinue(Box::pin(sleep(ORIGIN_CONTINUE_TIMEOUT))));
    }

    /// Ends the wait: the origin permits the body.
    pub(super) fn permit(&mut self) {
        self.awaited = None;
    }

    /// Marks the body as being sent.
    pub(super) fn begin(&self, now: Instant) -> UploadTracker {
        let progress = if self.body.is_empty() {
            UploadProgress::Sent(now)
        } else if self.awaited.is_some() {
            UploadProgress::AwaitingContinue(now)
        } else {
            UploadProgress::Sending(now)
        };
        self.upload.0.set(progress);
        self.upload.clone()
    }
}

impl UploadTracker {
    /// Returns whether the whole request is sent.
    pub(super) fn is_sent(&self) -> bool {
        matches!(self.0.get(), UploadProgress::Sent(_))
    }

    /// Ends the upload if it still waits for `100 Continue`: the origin has responded without it.
    /// The body then stays pending.
    pub(super) fn refuse_unsent(&self) {
        if let UploadProgress::AwaitingContinue(_) = self.0.get() {
            self.0.set(UploadProgress::Refused);
        }
    }

    /// Returns the client's failure, if the client ended the exchange.
    pub(super) fn failure(&self) -> Option<FetchError> {
        match self.0.get() {
            UploadProgress::Cut => Some(FetchError::ClientCut),
            UploadProgress::Malformed => Some(FetchError::ClientMalformed),
            UploadProgress::TimedOut => Some(FetchError::ClientTimeout),
            UploadProgress::NotStarted
            | UploadProgress::AwaitingContinue(_)
            | UploadProgress::Refused
            | UploadProgress::Sending(_)
            | UploadProgress::AwaitingClient
            | UploadProgress::Sent(_) => None,
        }
    }

    /// Returns the time since which the exchange has waited for the origin without a break.
    pub(super) fn origin_awaited_since(&self) -> Instant {
        match self.0.get() {
            UploadProgress::AwaitingContinue(since)
            | UploadProgress::Sending(since)
            | UploadProgress::Sent(since) => since,
            UploadProgress::NotStarted
            | UploadProgress::Refused
            | UploadProgress::AwaitingClient
            | UploadProgress::Cut
            | UploadProgress::Malformed
            | UploadProgress::TimedOut => Instant::now(),
        }
    }
}

impl FetchError {
    /// Returns the failure of a client whose content ended with this error.
    pub fn of_client(error: &hyper::Error) -> Self {
        if is_malformed(error) { Self::ClientMalformed } else { Self::ClientCut }
    }
}

/// Returns whether the coding of a body is invalid, by hyper's decoder or by the client's socket.
fn is_malformed(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    matches!(cause, Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData))
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = FetchError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FetchError>>> {
        let this = self.get_mut();
        if let UploadProgress::Refused = this.upload.0.get() {
            return Poll::Pending;
        }
        if let Some(AwaitedContinue(timer)) = &mut this.awaited {
            ready!(timer.as_mut().poll(cx));
            this.awaited = None;
        }
        if let Some(arrived) = this.body.take_arrived() {
            let now = Instant::now();
            let is_all = this.body.is_empty();
            this.upload.0.set(if is_all { UploadProgress::Sent(now) } else { UploadProgress::Sending(now) });
            return Poll::Ready(Some(Ok(Frame::data(arrived))));
        }
        let incoming = match &mut this.body {
            RequestBody::Empty | RequestBody::Whole(_) => return Poll::Ready(None),
            RequestBody::Streaming(incoming) | RequestBody::Begun(_, incoming) => incoming,
        };
        loop {
            let Poll::Ready(next) = Pin::new(&mut *incoming).poll_frame(cx) else {
                this.upload.0.set(UploadProgress::AwaitingClient);
                ready!(this.idle.poll_elapsed(cx));
                this.upload.0.set(UploadProgress::TimedOut);
                return Poll::Ready(Some(Err(FetchError::ClientTimeout)));
            };
            let next = next.map(|frame| frame.map(Frame::into_data));
            this.idle.end_wait_with(match &next {
                Some(Ok(Ok(data))) => data.len(),
                None | Some(Ok(Err(_)) | Err(_)) => 0,
            });
            let (progress, result) = match next {
                Some(Ok(Ok(data))) => {
                    let now = Instant::now();
                    let progress = if incoming.is_end_stream() {
                        UploadProgress::Sent(now)
                    } else {
                        UploadProgress::Sending(now)
                    };
                    (progress, Some(Ok(Frame::data(data))))
                }
                // RFC 9110 §6.5.1 lets a proxy drop trailers, and origins that merge them into the
                // head are a risk.
                Some(Ok(Err(_))) => continue,
                // A stream that is reset with NO_ERROR ends as if it were complete; its length
                // shows that it is not.
                None if incoming.size_hint().lower() == 0 => (UploadProgress::Sent(Instant::now()), None),
                Some(Err(error)) if is_malformed(&error) => {
                    (UploadProgress::Malformed, Some(Err(FetchError::ClientMalformed)))
                }
                None | Some(Err(_)) => (UploadProgress::Cut, Some(Err(FetchError::ClientCut))),
            };
            this.upload.0.set(progress);
            return Poll::Ready(result);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
