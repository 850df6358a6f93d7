//! The read buffer of a connection.
//!
//! Replies are slices of the buffer, so it lives as long as the last of them. This has two
//! consequences. Its usual size is fixed, so that a small slice keeps at most [`REDIS_READ_BYTES`]
//! alive. And a larger reply gets a buffer of its own, which is freed with it: otherwise one large
//! value would leave a large buffer behind, and every small slice would keep all of it alive.

use bytes::BytesMut;

use super::decode::ReplyDecoder;
use super::reply::{Frame, ProtocolError};
use crate::limits::{REDIS_READ_BYTES, REDIS_READ_ROOM_BYTES_MIN};

/// The receiving end of a connection.
#[derive(Debug)]
pub struct Inbox {
    buffer: BytesMut,
    decoder: ReplyDecoder,
    /// Whether the buffer was allocated for one large reply.
    outsized: bool,
}

impl Inbox {
    /// Creates an empty inbox.
    pub fn new() -> Self {
        Self {
            buffer: BytesMut::with_capacity(REDIS_READ_BYTES),
            decoder: ReplyDecoder::default(),
            outsized: false,
        }
    }

    /// Returns the buffer, with room behind its content. The caller only appends.
    pub fn room(&mut self) -> &mut BytesMut {
        let missing = self.decoder.missing();
        let spare = self.buffer.capacity() - self.buffer.len();
        if self.outsized && self.buffer.is_empty() {
            self.buffer = BytesMut::with_capacity(REDIS_READ_BYTES);
            self.outsized = false;
        } else if missing > spare.max(REDIS_READ_BYTES) {
            // Room for this reply only: the next one belongs in a buffer of the usual size.
            let mut own = BytesMut::with_capacity(self.buffer.len() + missing);
            own.extend_from_slice(&self.buffer);
            self.buffer = own;
            self.outsized = true;
        } else if spare < missing || (spare < REDIS_READ_ROOM_BYTES_MIN && !self.outsized) {
            // Reuses the memory if no slice of it is alive, or allocates.
            self.buffer.reserve(REDIS_READ_BYTES);
        }
        &mut self.buffer
    }

    /// Returns the next frame, if it is complete. After an error the rest of the stream is
    /// meaningless.
    pub fn frame(&mut self) -> Result<Option<Frame>, ProtocolError> {
        self.decoder.decode(&mut self.buffer)
    }

    /// Returns how many bytes the current frame has at least, those that are missing included.
    pub fn wanted(&self) -> usize {
        self.buffer.len() + self.decoder.missing()
    }

    /// Returns whether a part of a frame has arrived.
    pub fn is_midway(&self) -> bool {
        !self.buffer.is_empty()
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};

    use super::*;
    use crate::resp::reply::Reply;

    fn read(inbox: &mut Inbox, wire: &[u8]) -> usize {
        let room = inbox.room();
        let count = wire.len().min(room.capacity() - room.len());
        room.extend_from_slice(&wire[..count]);
        count
    }

    fn bulk(length: usize) -> (BytesMut, Reply) {
        let value = Bytes::from(vec![b'v'; length]);
        let mut wire = BytesMut::from(format!("${length}\r\n").as_bytes());
        wire.extend_from_slice(&value);
        wire.extend_from_slice(b"\r\n");
        (wire, Reply::Bulk(value))
    }

    /// Feeds all bytes, as reads would, and returns the frames.
    fn feed(inbox: &mut Inbox, mut wire: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        while !wire.is_empty() {
            let count = read(inbox, wire);
            assert!(count > 0, "a read is always offered room");
            wire = &wire[count..];
            while let Some(frame) = inbox.frame().unwrap() {
                frames.push(frame);
            }
        }
        frames
    }

    #[test]
    fn a_large_reply_has_its_own_buffer_and_leaves_a_usual_one() {
        let mut inbox = Inbox::new();
        let (large, expected) = bulk(5 * REDIS_READ_BYTES);
        let (small, small_expected) = bulk(100);
        let wire = [&small[..], &large[..], &small[..], &small[..]].concat();
        let frames = feed(&mut inbox, &wire);
        let small_expected = Frame::Reply(small_expected);
        assert_eq!(
            frames,
            [small_expected.clone(), Frame::Reply(expected), small_expected.clone(), small_expected]
        );
        assert!(!inbox.is_midway());
        assert!(inbox.room().capacity() <= REDIS_READ_BYTES);
    }

    #[test]
    fn memory_is_reused_once_no_slice_of_it_is_alive() {
        let mut inbox = Inbox::new();
        let (wire, _) = bulk(1024);
        let first = inbox.room().as_ptr();
        for _ in 0..1000 {
            drop(feed(&mut inbox, &wire));
        }
        let spare = inbox.room().capacity();
        let last = inbox.room().as_ptr();
        assert!(last >= first && last as usize + spare <= first as usize + REDIS_READ_BYTES);
    }

    #[test]
    fn a_kept_slice_is_not_overwritten() {
        let mut inbox = Inbox::new();
        let (wire, expected) = bulk(1024);
        let kept: Vec<_> = (0..500).flat_map(|_| feed(&mut inbox, &wire)).collect();
        assert!(kept.iter().all(|frame| *frame == Frame::Reply(expected.clone())));
    }

    #[test]
    fn values_inside_of_an_aggregate_may_be_large_too() {
        let mut inbox = Inbox::new();
        let (large, value) = bulk(3 * REDIS_READ_BYTES);
        let wire = [b"*3\r\n", &large[..], &large[..], b":1\r\n"].concat();
        let expected = Reply::Array(vec![value.clone(), value, Reply::Integer(1)]);
        assert_eq!(feed(&mut inbox, &wire), [Frame::Reply(expected)]);
    }
}
