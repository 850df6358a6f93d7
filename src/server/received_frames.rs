//! The frames that an HTTP/2 client sends, on a listener that closes stalled connections: which
//! requests lack the rest of their content.
//!
//! hyper passes the content of a request to its handler, and the server does not see how much of it
//! has come. The received bytes show it: a stream lacks content from its HEADERS frame to the first
//! frame with END_STREAM, or to its RST_STREAM (RFC 9113 §5.1).

use super::activity::ReceivedContent;
use crate::limits::CLIENT_H2_STREAMS_MAX;

/// Bytes of the client's connection preface (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;
/// Bytes of a frame's header (RFC 9113 §4.1).
const HEADER_BYTES: usize = 9;
/// Types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
/// The flag of the last frame of a stream.
const END_STREAM: u8 = 1;

/// A reader of received frames. It skips every payload.
#[derive(Debug)]
pub(super) struct ReceivedFrames {
    header: [u8; HEADER_BYTES],
    filled: usize,
    /// Bytes of payload that are still to come, or of the preface.
    payload: usize,
    /// The streams that lack content, in the order of their HEADERS.
    open: Vec<u32>,
}

impl Default for ReceivedFrames {
    fn default() -> Self {
        Self { header: [0; HEADER_BYTES], filled: 0, payload: PREFACE_BYTES, open: Vec::new() }
    }
}

impl ReceivedFrames {
    /// Reads received bytes. Returns whether a request lacks content after them.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> ReceivedContent {
        loop {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            let taken = bytes.len().min(HEADER_BYTES - self.filled);
            let (own, rest) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
            if let Some(free) = self.header.get_mut(self.filled..self.filled + taken) {
                free.copy_from_slice(own);
            }
            self.filled += taken;
            bytes = rest;
            if self.filled == HEADER_BYTES {
                self.filled = 0;
                self.begin_frame();
            }
        }
        if self.open.is_empty() { ReceivedContent::Whole } else { ReceivedContent::Partial }
    }

    fn begin_frame(&mut self) {
        let [high, middle, low, kind, flags, stream @ ..] = self.header;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.payload = usize::try_from(length).unwrap_or_default();
        let stream = u32::from_be_bytes(stream);
        let ends = match kind {
            DATA | HEADERS => flags & END_STREAM != 0,
            RST_STREAM => true,
            _ => return,
        };
        if ends {
            self.open.retain(|open| *open != stream);
        } else if kind == HEADERS && !self.open.contains(&stream) {
            // The server resets streams beyond its limit, and their client need not end them.
            if self.open.len() >= CLIENT_H2_STREAMS_MAX as usize {
                self.open.remove(0);
            }
            self.open.push(stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let [_, length @ ..] = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
        [&length[..], &[kind, flags, 0, 0, 0, stream], payload].concat()
    }

    #[test]
    fn a_request_lacks_content_until_its_stream_ends() {
        use ReceivedContent::{Partial, Whole};
        let steps = [
            (frame(4, 0, 0, &[]), Whole),
            (frame(HEADERS, 4 | END_STREAM, 1, b"head"), Whole),
            (frame(HEADERS, 4, 3, b"head"), Partial),
            // A payload that looks like the end is none.
            (frame(DATA, 0, 3, &frame(DATA, END_STREAM, 3, &[])), Partial),
            (frame(HEADERS, 4, 5, b"head"), Partial),
            (frame(6, END_STREAM, 0, &[0; 8]), Partial),
            (frame(DATA, END_STREAM, 3, b"{}"), Partial),
            (frame(RST_STREAM, 0, 5, &[0; 4]), Whole),
            (frame(HEADERS, 0, 7, b"head"), Partial),
            (frame(9, 4, 7, b"head"), Partial),
            // Trailers.
            (frame(HEADERS, 4 | END_STREAM, 7, b"x"), Whole),
        ];
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        for piece in [1, 2, 5, 8, 9, 10, 64] {
            let mut frames = ReceivedFrames::default();
            for part in preface.chunks(piece) {
                assert_eq!(frames.read(part), Whole);
            }
            for (number, (bytes, want)) in steps.iter().enumerate() {
                let last = bytes.chunks(piece).map(|part| frames.read(part)).last();
                assert_eq!(last, Some(*want), "step {number} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn streams_that_their_client_never_ends_are_bounded() {
        let mut frames = ReceivedFrames::default();
        frames.read(&[0; PREFACE_BYTES]);
        for stream in 0..=u8::MAX {
            frames.read(&frame(HEADERS, 4, stream, &[]));
        }
        assert_eq!(frames.open.len(), CLIENT_H2_STREAMS_MAX as usize);
    }
}
