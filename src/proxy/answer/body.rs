//! The bodies that answers have.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use crate::client_address::AddressPermit;
use crate::origin::{self, FetchError};
use crate::policy::ByteRange;
use crate::proxy::answer::shared_body::{BrokenBody, SharedBodyReader};

/// The body of an answer.
pub enum AnswerBody {
    /// All of it, from a store or of our own making.
    Whole(Bytes),
    /// Read beside others while it arrives.
    Shared(SharedReader),
    /// A part of a body that is read beside others.
    Part(SharedPart),
    /// Slices of a stored body with framing between them, in order.
    Pieces(VecDeque<Bytes>),
    /// Streamed from the origin for this client alone.
    Origin(origin::OriginBody),
    /// None: the body that it was to be made of broke off.
    Broken(Option<BodyError>),
}

/// The body of an answer, and what its client address holds until it is taken.
pub struct AdmittedBody {
    body: AnswerBody,
    _of_address: Option<AddressPermit>,
}

impl AdmittedBody {
    /// Holds the permit for as long as the body is there.
    pub(in crate::proxy) fn new(body: AnswerBody, of_address: Option<AddressPermit>) -> Self {
        Self { body, _of_address: of_address }
    }
}

impl http_body::Body for AdmittedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A view of a body that several clients read.
pub struct SharedReader(pub(in crate::proxy) SharedBodyReader);

/// A part of such a view.
pub struct SharedPart {
    reader: SharedBodyReader,
    /// Bytes to pass over first.
    skip: usize,
    /// Bytes to send then.
    left: usize,
}

/// Why a body broke off; the client's connection is cut with it, so that it cannot take a part for
/// the whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// While it was shared.
    #[error(transparent)]
    Shared(SharedBodyError),
    /// While it was streamed.
    #[error(transparent)]
    Origin(FetchError),
}

/// See [`BodyError::Shared`].
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SharedBodyError(BrokenBody);

impl From<BrokenBody> for BodyError {
    fn from(broken: BrokenBody) -> Self {
        Self::Shared(SharedBodyError(broken))
    }
}

impl AnswerBody {
    /// A part of a whole body that nobody has read from yet.
    pub(in crate::proxy) fn part(self, part: ByteRange) -> Self {
        match self {
            Self::Whole(bytes) => {
                let end = part.end().min(bytes.len());
                Self::Whole(bytes.slice(part.start.min(end)..end))
            }
            Self::Shared(SharedReader(reader)) => {
                Self::Part(SharedPart { reader, skip: part.start, left: part.len })
            }
            other @ (Self::Part(_) | Self::Pieces(_) | Self::Origin(_) | Self::Broken(_)) => other,
        }
    }
}

impl SharedPart {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenBody>>> {
        while self.left > 0 {
            let piece = match Pin::new(&mut self.reader).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Poll::Ready(Some(Err(broken))) => return Poll::Ready(Some(Err(broken))),
                // The whole is shorter than its length said: not a clean end.
                Poll::Ready(None) => return Poll::Ready(Some(Err(BrokenBody::Cut))),
                Poll::Pending => return Poll::Pending,
            };
            let from = self.skip.min(piece.len());
            let to = from.saturating_add(self.left).min(piece.len());
            self.skip -= from;
            self.left -= to - from;
            if from < to {
                return Poll::Ready(Some(Ok(piece.slice(from..to))));
            }
        }
        Poll::Ready(None)
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Shared(reader) => Pin::new(&mut reader.0).poll_frame(cx).map_err(BodyError::from),
            Self::Part(part) => part.poll(cx).map_ok(Frame::data).map_err(BodyError::from),
            Self::Pieces(pieces) => Poll::Ready(pieces.pop_front().map(|piece| Ok(Frame::data(piece)))),
            Self::Origin(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::Origin),
            Self::Broken(error) => Poll::Ready(error.take().map(Err)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Shared(reader) => reader.0.is_end_stream(),
            Self::Part(part) => part.left == 0,
            Self::Pieces(pieces) => pieces.is_empty(),
            Self::Origin(body) => body.is_end_stream(),
            Self::Broken(error) => error.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Shared(reader) => reader.0.size_hint(),
            Self::Part(part) => SizeHint::with_exact(part.left as u64),
            Self::Pieces(pieces) => SizeHint::with_exact(pieces.iter().map(|piece| piece.len() as u64).sum()),
            Self::Origin(body) => body.size_hint(),
            Self::Broken(_) => SizeHint::default(),
        }
    }
}
