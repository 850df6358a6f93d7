//! The frames that the server writes to an HTTP/2 client: a count of the streams that h2 resets for
//! a malformed request.
//!
//! h2 parses a request's head itself. If it cannot, it resets the stream, and neither hyper nor a
//! handler learns of the request. The written bytes are the only sign of it: an RST_STREAM frame
//! with PROTOCOL_ERROR (RFC 9113 §8.1.1).

use super::frames::FrameReader;

/// The code PROTOCOL_ERROR.
const PROTOCOL_ERROR: u32 = 1;

/// A reader of written frames.
#[derive(Debug, Default)]
pub(super) struct SentFrames(FrameReader);

impl SentFrames {
    /// Reads written bytes. Returns the number of streams that they reset for a malformed request.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> u64 {
        let headers = std::iter::from_fn(|| self.0.next(&mut bytes));
        headers.map(|header| u64::from(header.reset == Some(PROTOCOL_ERROR))).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let [_, length @ ..] = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
        [&length[..], &[kind, 0, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn resets_for_malformed_requests_are_counted_at_every_cut() {
        // A payload that looks like the reset is none.
        let code = PROTOCOL_ERROR.to_be_bytes();
        let reset = frame(3, &code);
        let frames = [
            frame(4, &[]),
            frame(0, &reset),
            reset.clone(),
            frame(3, &[0, 0, 0, 8]),
            frame(8, &code),
            frame(0, &[3; 70_000]),
            reset,
            frame(6, &[0; 8]),
        ]
        .concat();
        assert_eq!(SentFrames::default().read(&frames), 2);
        for cut in 0..frames.len() {
            let mut sent = SentFrames::default();
            let (first, second) = frames.split_at(cut);
            assert_eq!(sent.read(first) + sent.read(second), 2, "cut at {cut}");
        }
        let mut sent = SentFrames::default();
        assert_eq!(frames.iter().map(|byte| sent.read(&[*byte])).sum::<u64>(), 2);
    }
}
