//! The request body on its way to the origin.
//!
//! hyper pulls it, one piece each time the socket has room, so the client's sending is held back by
//! the origin's reading. Who holds up whom is written down as it goes ([`UploadProgress`]), because
//! the two waits have two culprits: for the client's next piece the client's deadline runs, for
//! everything else the origin's.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::FetchError;
use super::idle::IdleDeadline;

/// What a client sends with its request.
#[derive(Debug)]
pub enum RequestBody {
    /// Nothing.
    Empty,
    /// Passed on as it comes.
    Streaming(Incoming),
}

impl RequestBody {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming(incoming) => incoming.is_end_stream(),
        }
    }

    /// Bytes that are to come, where that is known.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Streaming(incoming) => incoming.size_hint().exact(),
        }
    }
}

/// How far a request has got, and who is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) enum UploadProgress {
    /// There is no connection for it yet.
    Unbegun,
    /// The origin has yet to take what came at this time.
    Sending(Instant),
    /// The origin has taken all that came, and the client has more.
    AwaitingClient,
    /// The last piece came at this time; what is missing is the answer.
    Sent(Instant),
    /// The client broke off.
    Cut,
    /// The client's deadline passed.
    TimedOut,
}

/// The body that hyper pulls.
pub(super) struct UploadBody {
    body: RequestBody,
    idle: IdleDeadline,
    track: UploadTracker,
}

/// The progress of one upload, as seen from outside of it.
#[derive(Clone, Debug)]
pub(super) struct UploadTracker(Rc<Cell<UploadProgress>>);

impl UploadBody {
    pub(super) fn new(body: RequestBody, timeout: Duration) -> Self {
        Self {
            body,
            idle: IdleDeadline::new(timeout),
            track: UploadTracker(Rc::new(Cell::new(UploadProgress::Unbegun))),
        }
    }

    /// From now on it is being sent.
    pub(super) fn begin(&self, now: Instant) -> UploadTracker {
        let begun =
            if self.body.is_empty() { UploadProgress::Sent(now) } else { UploadProgress::Sending(now) };
        self.track.0.set(begun);
        self.track.clone()
    }
}

impl UploadTracker {
    /// Whether nothing of the request is outstanding.
    pub(super) fn is_sent(&self) -> bool {
        matches!(self.0.get(), UploadProgress::Sent(_))
    }

    /// What the client did, if it is the client who ended the exchange.
    pub(super) fn failure(&self) -> Option<FetchError> {
        match self.0.get() {
            UploadProgress::Cut => Some(FetchError::ClientCut),
            UploadProgress::TimedOut => Some(FetchError::ClientTimeout),
            UploadProgress::Unbegun
            | UploadProgress::Sending(_)
            | UploadProgress::AwaitingClient
            | UploadProgress::Sent(_) => None,
        }
    }

    /// Since when the origin has been waited for without a break.
    pub(super) fn origin_awaited_since(&self) -> Instant {
        match self.0.get() {
            UploadProgress::Sending(since) | UploadProgress::Sent(since) => since,
            UploadProgress::Unbegun
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
                this.track.0.set(UploadProgress::AwaitingClient);
                ready!(this.idle.poll_elapsed(cx));
                this.track.0.set(UploadProgress::TimedOut);
                return Poll::Ready(Some(Err(FetchError::ClientTimeout)));
            };
            let next = next.map(|frame| frame.map(Frame::into_data));
            this.idle.progressed_by(match &next {
                Some(Ok(Ok(data))) => data.len(),
                None | Some(Ok(Err(_)) | Err(_)) => 0,
            });
            let (progress, answer) = match next {
                Some(Ok(Ok(data))) => {
                    let now = Instant::now();
                    let progress = if incoming.is_end_stream() {
                        UploadProgress::Sent(now)
                    } else {
                        UploadProgress::Sending(now)
                    };
                    (progress, Some(Ok(Frame::data(data))))
                }
                // Trailers: RFC 9110 §6.5.1 lets a proxy drop them, and origins that merge them
                // into the head are a risk.
                Some(Ok(Err(_))) => continue,
                // A stream that is reset with NO_ERROR ends as if it were complete; its length says
                // that it is not.
                None if incoming.size_hint().lower() == 0 => (UploadProgress::Sent(Instant::now()), None),
                None | Some(Err(_)) => (UploadProgress::Cut, Some(Err(FetchError::ClientCut))),
            };
            this.track.0.set(progress);
            return Poll::Ready(answer);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
