//! The state of one connection: bytes in both directions, and the exchange that they belong to.

use std::future::Future as _;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode};
use http_body::Body as _;
use tokio::io::AsyncReadExt as _;

use super::chunks::{ChunkPart, ChunkReader};
use super::head::{ResponseHead, ResponseHeadReader};
use super::request::{Outgoing, UploadFailure, UploadFraming};
use crate::limits::{
    ORIGIN_HEAD_PHASE_BYTES_MAX, ORIGIN_INTERIMS_MAX, ORIGIN_READ_BYTES_MAX, ORIGIN_READ_BYTES_MIN,
};
use crate::origin::error::{ChunkError, HeadError};
use crate::origin::framing::BodyFraming;
use crate::origin::socket::OriginSocket;
use crate::origin::upload::UploadBody;

/// The reason why a response has no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::origin) enum HeadFailure {
    /// The client's body failed; its tracker has the cause.
    Client,
    /// The head, or the interim responses before it, exceed a limit.
    TooLarge,
    /// The bytes are no head.
    Malformed(HeadError),
    /// The connection ended.
    Closed,
}

/// The reason why a body does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::origin) enum BodyReadFailure {
    /// The connection ended first.
    Cut,
    /// The chunked coding is invalid.
    Malformed(ChunkError),
}

/// The rest of a response body.
#[derive(Debug)]
enum BodyReader {
    /// No response is under way, or its body is complete.
    Complete,
    /// The response has no head yet.
    NoHead,
    Length(u64),
    Chunked(Box<ChunkReader>),
    UntilClose,
}

/// One connection. Dropping it closes the socket.
pub(in crate::origin) struct Http1Stream {
    pub(super) socket: OriginSocket,
    /// The received bytes that no reader has taken.
    bytes: BytesMut,
    /// The room for the next read.
    read_size: usize,
    received: u64,
    heads: ResponseHeadReader,
    /// The bytes and interim responses before the head that is awaited.
    head_bytes: u64,
    interims: usize,
    body: BodyReader,
    pub(super) outgoing: Outgoing,
    /// Whether TLS may hold bytes that were written.
    pub(super) is_unflushed: bool,
    /// The body that is not wholly written.
    pub(super) upload: Option<UploadBody>,
    pub(super) framing: UploadFraming,
    /// Whether the connection may carry another exchange after this one.
    pub(super) keeps_alive: bool,
    pub(super) is_broken: bool,
    /// The reader of the response, while a task writes the request.
    pub(super) reader: Option<Waker>,
}

impl Http1Stream {
    pub(in crate::origin) fn new(socket: OriginSocket) -> Self {
        Self {
            socket,
            bytes: BytesMut::new(),
            read_size: ORIGIN_READ_BYTES_MIN,
            received: 0,
            heads: ResponseHeadReader::default(),
            head_bytes: 0,
            interims: 0,
            body: BodyReader::Complete,
            outgoing: Outgoing::default(),
            is_unflushed: false,
            upload: None,
            framing: UploadFraming::Length,
            keeps_alive: true,
            is_broken: false,
            reader: None,
        }
    }

    /// Returns the number of bytes received.
    pub(in crate::origin) fn received(&self) -> u64 {
        self.received
    }

    /// Returns whether the request is written.
    pub(in crate::origin) fn is_sent(&self) -> bool {
        self.upload.is_none() && self.outgoing.is_empty()
    }

    /// Returns whether the last exchange is complete in both directions, both sides keep the
    /// connection, and nothing has arrived since, as of the last [check](Self::check).
    pub(in crate::origin) fn is_idle(&self) -> bool {
        matches!(self.body, BodyReader::Complete)
            && self.keeps_alive
            && !self.is_broken
            && self.bytes.is_empty()
            && self.is_sent()
    }

    /// Looks for bytes or a close that arrived while the connection was idle. Either ends it: no
    /// request has asked for these bytes.
    pub(in crate::origin) fn check(&mut self) {
        if self.is_idle() && self.poll_fill(&mut Context::from_waker(Waker::noop())).is_ready() {
            self.is_broken = true;
        }
    }

    /// Releases the memory that an idle connection does not need.
    pub(in crate::origin) fn rest(&mut self) {
        if self.bytes.capacity() > ORIGIN_READ_BYTES_MIN {
            self.bytes = BytesMut::new();
        }
        self.read_size = ORIGIN_READ_BYTES_MIN;
        if self.outgoing.copied.capacity() > ORIGIN_READ_BYTES_MIN {
            self.outgoing.copied = BytesMut::new();
        }
    }

    /// Begins an exchange: takes the request, and writes nothing yet.
    pub(in crate::origin) fn begin(&mut self, request: Request<UploadBody>) {
        let (head, upload) = request.into_parts();
        self.framing = self.outgoing.put_head(&head);
        self.upload = (!upload.is_end_stream()).then_some(upload);
        (self.head_bytes, self.interims) = (0, 0);
        self.body = BodyReader::NoHead;
    }

    /// Writes the request and reads the head of the response. Passes each interim response to
    /// `interim`.
    pub(in crate::origin) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        interim: impl Fn(ResponseHead),
    ) -> Poll<Result<ResponseHead, HeadFailure>> {
        loop {
            if let Poll::Ready(Err(UploadFailure::Client)) = self.poll_upload(cx) {
                return Poll::Ready(Err(HeadFailure::Client));
            }
            // A request whose writing failed may have an answer all the same: 413, then a close.
            loop {
                if !self.bytes.is_empty() {
                    match self.heads.next(&mut self.bytes) {
                        Err(HeadError::TooLarge) => return Poll::Ready(Err(HeadFailure::TooLarge)),
                        Err(error) => return Poll::Ready(Err(HeadFailure::Malformed(error))),
                        Ok(Some(head)) if !is_interim(head.status) => {
                            self.keeps_alive &= head.keeps_alive;
                            return Poll::Ready(Ok(head));
                        }
                        Ok(Some(head)) => {
                            self.interims += 1;
                            if self.interims > ORIGIN_INTERIMS_MAX {
                                return Poll::Ready(Err(HeadFailure::TooLarge));
                            }
                            if head.status == StatusCode::CONTINUE
                                && let Some(upload) = &mut self.upload
                            {
                                upload.permit();
                                break;
                            }
                            interim(head);
                            continue;
                        }
                        Ok(None) => {}
                    }
                }
                match ready!(self.poll_fill(cx)) {
                    Ok(0) | Err(_) => {
                        self.is_broken = true;
                        return Poll::Ready(Err(HeadFailure::Closed));
                    }
                    Ok(read) => self.head_bytes += read as u64,
                }
                if self.head_bytes > ORIGIN_HEAD_PHASE_BYTES_MAX {
                    return Poll::Ready(Err(HeadFailure::TooLarge));
                }
            }
        }
    }

    /// Sets the framing of the body, which the head states.
    pub(in crate::origin) fn expect_body(&mut self, framing: BodyFraming) {
        self.body = match framing {
            BodyFraming::None | BodyFraming::Length(0) => BodyReader::Complete,
            BodyFraming::Length(bytes) => BodyReader::Length(bytes),
            BodyFraming::Chunked => BodyReader::Chunked(Box::default()),
            BodyFraming::UntilClose => BodyReader::UntilClose,
        };
    }

    /// Returns whether the body is complete.
    pub(in crate::origin) fn is_complete(&self) -> bool {
        matches!(self.body, BodyReader::Complete)
    }

    /// Reads the next piece of the body; `None` at its end.
    pub(in crate::origin) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyReadFailure>>> {
        loop {
            if self.is_broken {
                return Poll::Ready(Some(Err(BodyReadFailure::Cut)));
            }
            let piece = match &mut self.body {
                BodyReader::Complete => return Poll::Ready(None),
                BodyReader::NoHead => return Poll::Ready(Some(Err(BodyReadFailure::Cut))),
                BodyReader::Length(left) => {
                    let most = usize::try_from(*left).unwrap_or(usize::MAX);
                    let piece = self.bytes.split_to(self.bytes.len().min(most)).freeze();
                    *left -= piece.len() as u64;
                    if *left == 0 {
                        self.body = BodyReader::Complete;
                    }
                    piece
                }
                BodyReader::Chunked(chunks) => match chunks.next(&mut self.bytes) {
                    Ok(ChunkPart::Data(piece)) => {
                        // The end usually follows at once: the reader then learns of it with the
                        // last piece.
                        if chunks.take_end(&mut self.bytes) {
                            self.body = BodyReader::Complete;
                        }
                        piece
                    }
                    Ok(ChunkPart::End) => {
                        self.body = BodyReader::Complete;
                        return Poll::Ready(None);
                    }
                    Ok(ChunkPart::Partial) => Bytes::new(),
                    Err(error) => {
                        self.is_broken = true;
                        return Poll::Ready(Some(Err(BodyReadFailure::Malformed(error))));
                    }
                },
                BodyReader::UntilClose => self.bytes.split().freeze(),
            };
            if !piece.is_empty() {
                return Poll::Ready(Some(Ok(piece)));
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0)) if matches!(self.body, BodyReader::UntilClose) => {
                    (self.body, self.is_broken) = (BodyReader::Complete, true);
                    return Poll::Ready(None);
                }
                Poll::Ready(Ok(0) | Err(_)) => self.is_broken = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    if !self.is_sent() {
                        self.reader = Some(cx.waker().clone());
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Reads once from the socket.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.bytes.capacity() - self.bytes.len() < self.read_size / 4 {
            self.bytes.reserve(self.read_size);
        }
        let room = self.bytes.capacity() - self.bytes.len();
        let read = ready!(pin!(self.socket.read_buf(&mut self.bytes)).poll(cx))?;
        self.received += read as u64;
        if read == room {
            self.read_size = (self.read_size * 2).min(ORIGIN_READ_BYTES_MAX);
        }
        Poll::Ready(Ok(read))
    }

    /// Ends HTTP on the connection, and returns the socket with the bytes behind the head.
    pub(in crate::origin) fn into_socket(self) -> (OriginSocket, Bytes) {
        (self.socket, self.bytes.freeze())
    }
}

fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}
