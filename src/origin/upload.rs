//! Request body on its way to the origin.
//!
//! hyper polls the body each time the socket has room, so the origin's reading slows the client's
//! sending. [`UploadProgress`] records which party the exchange waits for, because each has its own
//! deadline: the client's for the next piece, the origin's for everything else.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::idle::IdleDeadline;
use crate::origin::error::FetchError;

/// Body of a client's request.
#[derive(Debug)]
pub enum RequestBody {
    /// No body.
    Empty,
    /// Body that is forwarded as it arrives.
    Streaming(Incoming),
}

impl RequestBody {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming(incoming) => incoming.is_end_stream(),
        }
    }

    /// Returns the remaining length, if it is known.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Streaming(incoming) => incoming.size_hint().exact(),
        }
    }
}

/// Progress of a request, and the party it waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum UploadProgress {
    /// The request has no connection yet.
    NotStarted,
    /// The origin has not yet taken the piece that arrived at this time.
    Sending(Instant),
    /// The origin has taken every piece, and the client sends more.
    AwaitingClient,
    /// The last piece arrived at this time; only the response is missing.
    Sent(Instant),
    /// The client broke off its request.
    Cut,
    /// The client exceeded its deadline.
    TimedOut,
}

/// Request body that hyper polls.
pub(super) struct UploadBody {
    body: RequestBody,
    idle: IdleDeadline,
    upload: UploadTracker,
}

/// Progress of one upload, readable from outside.
#[derive(Clone, Debug)]
pub(super) struct UploadTracker(Rc<Cell<UploadProgress>>);

impl UploadBody {
    pub(super) fn new(body: RequestBody, timeout: Duration) -> Self {
        Self {
            body,
            idle: IdleDeadline::new(timeout),
            upload: UploadTracker(Rc::new(Cell::new(UploadProgress::NotStarted))),
        }
    }

    /// Marks the body as being sent.
    pub(super) fn begin(&self, now: Instant) -> UploadTracker {
        let progress =
            if self.body.is_empty() { UploadProgress::Sent(now) } else { UploadProgress::Sending(now) };
        self.upload.0.set(progress);
        self.upload.clone()
    }
}

impl UploadTracker {
    /// Returns whether the whole request is sent.
    pub(super) fn is_sent(&self) -> bool {
        matches!(self.0.get(), UploadProgress::Sent(_))
    }

    /// Returns the client's failure, if the client ended the exchange.
    pub(super) fn failure(&self) -> Option<FetchError> {
        match self.0.get() {
            UploadProgress::Cut => Some(FetchError::ClientCut),
            UploadProgress::TimedOut => Some(FetchError::ClientTimeout),
            UploadProgress::NotStarted
            | UploadProgress::Sending(_)
            | UploadProgress::AwaitingClient
            | UploadProgress::Sent(_) => None,
        }
    }

    /// Returns the time since which the exchange has waited for the origin without a break.
    pub(super) fn origin_awaited_since(&self) -> Instant {
        match self.0.get() {
            UploadProgress::Sending(since) | UploadProgress::Sent(since) => since,
            UploadProgress::NotStarted
            | UploadProgress::AwaitingClient
            | UploadProgress::Cut
            | UploadProgress::TimedOut => Instant::now(),
        }
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = FetchError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FetchError>>> {
        let this = self.get_mut();
        let RequestBody::Streaming(incoming) = &mut this.body else { return Poll::Ready(None) };
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
