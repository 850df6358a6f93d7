//! The frames of HTTP/2 in the bytes of one direction of a connection (RFC 9113 §4.1).

/// The types of the frames that the server looks at.
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;

/// Bytes of a frame's header.
const HEADER_BYTES: usize = 9;
/// Bytes of the header and the error code of an RST_STREAM frame.
const RESET_BYTES: usize = HEADER_BYTES + 4;
/// The length of an RST_STREAM frame, and its type.
const RESET: [u8; 4] = [0, 0, 4, RST_STREAM];

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// The error code of an RST_STREAM frame.
    pub(super) reset: Option<u32>,
}

/// A reader of frames. It skips every payload except that of RST_STREAM.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    /// The beginning of the present frame, as far as it has come.
    begun: [u8; RESET_BYTES],
    filled: usize,
    /// Bytes of payload that are still to come.
    payload: usize,
}

impl FrameReader {
    /// Returns a reader of frames that begin behind this number of bytes.
    pub(super) fn behind(bytes: usize) -> Self {
        Self { payload: bytes, ..Self::default() }
    }

    /// Takes bytes up to the end of the next header; `None` if they end before.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<FrameHeader> {
        loop {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            *bytes = bytes.get(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                return None;
            }
            let wanted = if self.is_reset() { RESET_BYTES } else { HEADER_BYTES };
            let taken = bytes.len().min(wanted.saturating_sub(self.filled));
            let (own, rest) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
            if let Some(free) = self.begun.get_mut(self.filled..self.filled + taken) {
                free.copy_from_slice(own);
            }
            self.filled += taken;
            *bytes = rest;
            if self.filled == RESET_BYTES || (self.filled == HEADER_BYTES && !self.is_reset()) {
                return Some(self.end_header());
            }
        }
    }

    /// Ends the header that has come, and begins the payload.
    fn end_header(&mut self) -> FrameHeader {
        let [high, middle, low, kind, flags, a, b, c, d, code @ ..] = self.begun;
        let reset = (self.filled == RESET_BYTES).then(|| u32::from_be_bytes(code));
        if reset.is_none() {
            self.payload = usize::try_from(u32::from_be_bytes([0, high, middle, low])).unwrap_or_default();
        }
        self.filled = 0;
        FrameHeader { kind, flags, stream: u32::from_be_bytes([a, b, c, d]), reset }
    }

    /// Returns whether the header of the present frame has come, and is that of RST_STREAM.
    fn is_reset(&self) -> bool {
        self.filled >= HEADER_BYTES && self.begun.starts_with(&RESET)
    }
}
