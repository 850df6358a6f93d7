//! The responses of an origin: CacheWarp's readers, compared with hyper's client.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes, BytesMut};
use cachewarp::limits::ORIGIN_INTERIMS_MAX;
use cachewarp::origin::{BodyFraming, ChunkPart, ChunkReader, ResponseHeadReader};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body::Body as _;
use hyper::client::conn::http1::Builder;
use hyper::rt::{Read, ReadBufCursor, Write};

/// A response, as far as its connection carried it.
#[derive(Debug, PartialEq, Eq)]
struct ReadResponse {
    status: StatusCode,
    version: Version,
    headers: HeaderMap,
    content: Vec<u8>,
    /// Whether the body is complete.
    is_complete: bool,
}

/// The bytes of a connection that ends behind them.
///
/// Checks that the result does not depend on the cuts; and that hyper's client reads each response
/// that CacheWarp accepts, with the same head and the same content. CacheWarp may refuse more.
pub(crate) fn origin_response(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let method = if choice & 1 == 0 { Method::GET } else { Method::HEAD };
    let whole = read(&method, data, data.len().max(1));
    for size in [1, 2, 7] {
        assert_eq!(read(&method, data, size), whole, "in pieces of {size}");
    }
    let Some(ours) = whole else { return };
    if ours.status == StatusCode::SWITCHING_PROTOCOLS {
        // hyper ends HTTP there, and CacheWarp too.
        return;
    }
    let theirs = read_by_hyper(&method, data).expect("hyper accepts the head");
    assert_eq!((ours.status, ours.version), (theirs.status, theirs.version));
    assert_eq!(ours.headers, theirs.headers);
    if ours.is_complete {
        assert_eq!((ours.content, true), (theirs.content, theirs.is_complete));
    } else {
        assert!(!theirs.is_complete || theirs.content.len() <= ours.content.len());
    }
}

/// Reads a response in pieces, as a connection to the origin does; `None` if its head is refused or
/// incomplete.
fn read(method: &Method, data: &[u8], size: usize) -> Option<ReadResponse> {
    let mut pieces = data.chunks(size);
    let mut bytes = BytesMut::new();
    let mut reader = ResponseHeadReader::default();
    let mut interims = 0;
    let head = loop {
        match reader.next(&mut bytes).ok()? {
            Some(head)
                if head.status().is_informational() && head.status() != StatusCode::SWITCHING_PROTOCOLS =>
            {
                interims += 1;
                if interims > ORIGIN_INTERIMS_MAX {
                    return None;
                }
            }
            Some(head) => break head,
            None => bytes.extend_from_slice(pieces.next()?),
        }
    };
    let (status, version, headers) = head.into_parts();
    if version == Version::HTTP_10 && headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    let framing = BodyFraming::from_head(method, status, &mut headers.clone()).ok()?;
    let mut content = Vec::new();
    let is_complete = match framing {
        BodyFraming::None => true,
        BodyFraming::Length(length) => {
            pieces.for_each(|piece| bytes.extend_from_slice(piece));
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            content.extend_from_slice(&bytes[..bytes.len().min(length)]);
            content.len() == length
        }
        BodyFraming::UntilClose => {
            pieces.for_each(|piece| bytes.extend_from_slice(piece));
            content.extend_from_slice(&bytes);
            true
        }
        BodyFraming::Chunked => {
            let mut chunks = ChunkReader::default();
            loop {
                match chunks.next(&mut bytes) {
                    Ok(ChunkPart::Data(data)) => {
                        content.extend_from_slice(&data);
                        if chunks.take_end(&mut bytes) {
                            break true;
                        }
                    }
                    Ok(ChunkPart::End) => break true,
                    Ok(ChunkPart::Partial) => match pieces.next() {
                        Some(piece) => bytes.extend_from_slice(piece),
                        None => break false,
                    },
                    Err(_) => break false,
                }
            }
        }
    };
    Some(ReadResponse { status, version, headers, content, is_complete })
}

/// Reads a response with hyper's client; `None` if hyper refuses its head.
fn read_by_hyper(method: &Method, data: &[u8]) -> Option<ReadResponse> {
    let mut cx = Context::from_waker(Waker::noop());
    let script = Script { bytes: Bytes::copy_from_slice(data), is_asked: false };
    let mut builder = Builder::new();
    builder.max_headers(256).max_header_size(64 * 1024).max_buf_size(64 * 1024);
    let Poll::Ready(Ok((mut sender, connection))) = pin!(builder.handshake(script)).poll(&mut cx) else {
        panic!("a handshake of HTTP/1.1 waits for nothing")
    };
    let mut connection = pin!(connection);
    let mut request = Request::new(http_body_util::Empty::<Bytes>::new());
    *request.method_mut() = method.clone();
    let mut response = pin!(sender.send_request(request));
    let mut has_ended = false;
    let mut drive = |cx: &mut Context<'_>| {
        has_ended = has_ended || connection.as_mut().poll(cx).is_ready();
    };
    let response = loop {
        drive(&mut cx);
        if let Poll::Ready(response) = response.as_mut().poll(&mut cx) {
            break response.ok()?;
        }
    };
    let (head, mut body) = response.into_parts();
    let mut content = Vec::new();
    let is_complete = loop {
        drive(&mut cx);
        match Pin::new(&mut body).poll_frame(&mut cx) {
            Poll::Ready(None) => break true,
            Poll::Ready(Some(Err(_))) => break false,
            Poll::Ready(Some(Ok(frame))) => content.extend(frame.into_data().into_iter().flatten()),
            Poll::Pending => {}
        }
    };
    let is_complete = is_complete
        && (*method == Method::HEAD
            || head.status == StatusCode::NOT_MODIFIED
            || head.status == StatusCode::NO_CONTENT
            || head
                .headers
                .get(CONTENT_LENGTH)
                .and_then(|length| length.to_str().ok()?.parse().ok())
                .is_none_or(|length: usize| length == content.len()));
    Some(ReadResponse {
        status: head.status,
        version: head.version,
        headers: head.headers,
        content,
        is_complete,
    })
}

/// The origin's end of a connection: it answers once anything is written.
struct Script {
    bytes: Bytes,
    is_asked: bool,
}

impl Read for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_asked {
            return Poll::Pending;
        }
        let part = self.bytes.len().min(buffer.remaining());
        buffer.put_slice(&self.bytes[..part]);
        self.bytes.advance(part);
        Poll::Ready(Ok(()))
    }
}

impl Write for Script {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.is_asked = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
