//! Decodes bytes into frames. The only file that names redis-protocol.
//!
//! redis-protocol decodes recursively without a limit of depth, underflows on a verbatim string of
//! less than four bytes, accepts any two bytes as the end of a value, and parses an incomplete
//! aggregate again at each read. So [`FrameScan`] runs ahead of it: it finds the end of the frame
//! and enforces the limits, and redis-protocol sees only complete and checked frames, once. Two
//! kinds of frame bypass it, because the scan knows everything about them: values, the reply to
//! every GET, which become a slice of the buffer; and errors, whose text redis-protocol requires to
//! be UTF-8, while a server quotes arbitrary bytes.

use bytes::{Buf, Bytes, BytesMut};
use redis_protocol::{resp2, resp3};

use super::reply::{ErrorReply, Frame, ProtocolError, Reply};
use super::scan::{FrameScan, FrameShape, ScannedFrame};

/// Takes frames off the front of a buffer.
#[derive(Debug, Default)]
pub(super) struct ReplyDecoder {
    scan: FrameScan,
}

impl ReplyDecoder {
    /// Takes the next frame off `buffer`, if it is complete. After an error the rest of the stream
    /// is meaningless.
    ///
    /// Between calls bytes may be added to `buffer`, and none may be removed.
    pub(super) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        while let Some(ScannedFrame { shape, end }) = self.scan.go_on(buffer)? {
            self.scan = FrameScan::default();
            let reply = match shape {
                FrameShape::Bulk(value) => Reply::Bulk(slice(buffer, value.start, value.end, end)),
                FrameShape::Error(text) => {
                    Reply::Error(ErrorReply::new(slice(buffer, text.start, text.end, end)))
                }
                FrameShape::Nil => {
                    buffer.advance(end);
                    Reply::Nil
                }
                FrameShape::Attributes => {
                    buffer.advance(end);
                    continue;
                }
                FrameShape::Resp2 => {
                    resp2_reply(whole(resp2::decode::decode_bytes(&buffer.split_to(end).freeze()))?)
                }
                FrameShape::Resp3 => {
                    let frame = whole(resp3::decode::complete::decode_bytes(&buffer.split_to(end).freeze()))?;
                    return resp3_frame(frame).map(Some);
                }
            };
            return Ok(Some(Frame::Reply(reply)));
        }
        Ok(None)
    }

    /// Returns how many bytes the current frame needs at least; zero between frames.
    pub(super) fn missing(&self) -> usize {
        self.scan.missing()
    }
}

/// Takes `end` bytes off the buffer and returns those from `from` to `to`, without a copy.
fn slice(buffer: &mut BytesMut, from: usize, to: usize, end: usize) -> Bytes {
    buffer.advance(from);
    let kept = buffer.split_to(to - from).freeze();
    buffer.advance(end - to);
    kept
}

/// Returns the frame that redis-protocol decoded from checked bytes.
fn whole<F, E>(decoded: Result<Option<(F, usize)>, E>) -> Result<F, ProtocolError> {
    match decoded {
        Ok(Some((frame, _))) => Ok(frame),
        Ok(None) | Err(_) => Err(ProtocolError::Content),
    }
}

fn resp2_reply(frame: resp2::types::BytesFrame) -> Reply {
    use resp2::types::BytesFrame as F;
    match frame {
        F::SimpleString(text) => Reply::Simple(text),
        F::Error(text) => Reply::Error(ErrorReply::new(text.into_inner())),
        F::Integer(number) => Reply::Integer(number),
        F::BulkString(value) => Reply::Bulk(value),
        F::Array(elements) => Reply::Array(elements.into_iter().map(resp2_reply).collect()),
        F::Null => Reply::Nil,
    }
}

fn resp3_frame(frame: resp3::types::BytesFrame) -> Result<Frame, ProtocolError> {
    if let resp3::types::BytesFrame::Push { data, .. } = frame {
        resp3_replies(data).map(Frame::Push)
    } else {
        resp3_reply(frame).map(Frame::Reply)
    }
}

/// The recursion is bounded, since the scan has limited the depth.
fn resp3_reply(frame: resp3::types::BytesFrame) -> Result<Reply, ProtocolError> {
    use resp3::types::BytesFrame as F;
    Ok(match frame {
        F::BlobString { data, .. } | F::VerbatimString { data, .. } => Reply::Bulk(data),
        F::SimpleString { data, .. } => Reply::Simple(data),
        F::BlobError { data, .. } => Reply::Error(ErrorReply::new(data)),
        F::SimpleError { data, .. } => Reply::Error(ErrorReply::new(data.into_inner())),
        F::Boolean { data, .. } => Reply::Boolean(data),
        F::Null => Reply::Nil,
        F::Number { data, .. } => Reply::Integer(data),
        F::Double { data, .. } => Reply::Double(data),
        F::BigNumber { data, .. } => Reply::BigNumber(data),
        F::Array { data, .. } => Reply::Array(resp3_replies(data)?),
        F::Set { data, .. } => Reply::Array(resp3_replies(data)?),
        F::Map { data, .. } => Reply::Map(
            data.into_iter()
                .map(|(key, value)| Ok((resp3_reply(key)?, resp3_reply(value)?)))
                .collect::<Result<_, _>>()?,
        ),
        // A push inside a reply, a client's greeting or a piece of a stream is in no server's
        // reply.
        F::Push { .. } | F::Hello { .. } | F::ChunkedString(_) => return Err(ProtocolError::Content),
    })
}

fn resp3_replies(
    frames: impl IntoIterator<Item = resp3::types::BytesFrame>,
) -> Result<Vec<Reply>, ProtocolError> {
    frames.into_iter().map(resp3_reply).collect()
}

#[cfg(test)]
mod tests;
