//! The frames that the server writes to an HTTP/2 client: a count of the streams that h2 resets for
//! a malformed request.
//!
//! h2 parses a request's head itself. If it cannot, it resets the stream, and neither hyper nor a
//! handler learns of the request. The written bytes are the only sign of it: an RST_STREAM frame
//! with PROTOCOL_ERROR (RFC 9113 §8.1.1).

/// Bytes of a frame's header (RFC 9113 §4.1).
const HEADER_BYTES: usize = 9;
/// Bytes of the header and the error code of an RST_STREAM frame.
const RESET_BYTES: usize = HEADER_BYTES + 4;
/// The type of an RST_STREAM frame, and its length.
const RESET: [u8; 4] = [0, 0, 4, 3];
/// The code PROTOCOL_ERROR.
const PROTOCOL_ERROR: [u8; 4] = [0, 0, 0, 1];

/// A reader of written frames. It skips every payload except that of RST_STREAM.
#[derive(Debug, Default)]
pub(super) struct SentFrames {
    /// The beginning of the present frame, as far as it is written.
    begun: [u8; RESET_BYTES],
    filled: usize,
    /// Bytes of payload that are still to come.
    payload: usize,
}

impl SentFrames {
    /// Reads written bytes. Returns the number of streams that they reset for a malformed request.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> u64 {
        let mut resets = 0;
        loop {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                return resets;
            }
            let wanted = if self.is_reset() { RESET_BYTES } else { HEADER_BYTES };
            let taken = bytes.len().min(wanted.saturating_sub(self.filled));
            let (own, rest) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
            if let Some(free) = self.begun.get_mut(self.filled..self.filled + taken) {
                free.copy_from_slice(own);
            }
            self.filled += taken;
            bytes = rest;
            if self.filled == RESET_BYTES {
                resets += u64::from(self.begun.ends_with(&PROTOCOL_ERROR));
                self.filled = 0;
            } else if self.filled == HEADER_BYTES && !self.is_reset() {
                let [high, middle, low, ..] = self.begun;
                let length = u32::from_be_bytes([0, high, middle, low]);
                self.payload = usize::try_from(length).unwrap_or_default();
                self.filled = 0;
            }
        }
    }

    /// Returns whether the header of the present frame is written, and is that of RST_STREAM.
    fn is_reset(&self) -> bool {
        self.filled >= HEADER_BYTES && self.begun.starts_with(&RESET)
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
        let reset = frame(3, &PROTOCOL_ERROR);
        let frames = [
            frame(4, &[]),
            frame(0, &reset),
            reset.clone(),
            frame(3, &[0, 0, 0, 8]),
            frame(8, &PROTOCOL_ERROR),
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
