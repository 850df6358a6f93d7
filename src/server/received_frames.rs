//! The frames that an HTTP/2 client sends, on a listener that closes stalled connections: which
//! requests lack the rest of their content.
//!
//! hyper passes the content of a request to its handler, and the server does not see how much of it
//! has come. The received bytes show it: a stream lacks content from its HEADERS frame to the first
//! frame with END_STREAM, or to its RST_STREAM (RFC 9113 §5.1).

use super::activity::ReceivedContent;
use super::frames::{DATA, FrameHeader, FrameReader, HEADERS, RST_STREAM};
use crate::limits::CLIENT_H2_STREAMS_MAX;

/// Bytes of the client's connection preface (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;
/// The flag of the last frame of a stream.
const END_STREAM: u8 = 1;

/// A reader of received frames.
#[derive(Debug)]
pub(super) struct ReceivedFrames {
    frames: FrameReader,
    /// The streams that lack content, in the order of their HEADERS.
    open: Vec<u32>,
}

impl Default for ReceivedFrames {
    fn default() -> Self {
        Self { frames: FrameReader::behind(PREFACE_BYTES), open: Vec::new() }
    }
}

impl ReceivedFrames {
    /// Reads received bytes. Returns whether a request lacks content after them.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> ReceivedContent {
        while let Some(header) = self.frames.next(&mut bytes) {
            self.begin_frame(header);
        }
        if self.open.is_empty() { ReceivedContent::Whole } else { ReceivedContent::Partial }
    }

    fn begin_frame(&mut self, FrameHeader { kind, flags, stream, .. }: FrameHeader) {
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
