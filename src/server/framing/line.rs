//! Lines of a head or of a chunk: buffering of partial lines, and parsing.

use crate::limits::FRAMING_LINE_BYTES_MAX;

/// The buffered beginning of a line whose end has not arrived.
#[derive(Debug, Default)]
pub(super) struct PartialLine {
    start: Vec<u8>,
    last: Option<u8>,
}

impl PartialLine {
    /// Returns whether no byte of the line has arrived.
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Returns the buffered beginning.
    pub(super) fn start(&self) -> &[u8] {
        &self.start
    }

    /// Appends the part of the piece that fits. A line that does not fit gets a NUL at its cut, and
    /// no valid length or coding ends with NUL.
    pub(super) fn keep(&mut self, piece: &[u8]) {
        let Some(&last) = piece.last() else { return };
        self.last = Some(last);
        let room = FRAMING_LINE_BYTES_MAX.saturating_sub(self.start.len());
        self.start.extend(piece.iter().take(room));
        if piece.len() > room
            && let Some(cut) = self.start.last_mut()
        {
            *cut = 0;
        }
    }

    /// Returns the line without its CR, or `None` if it does not end with one.
    pub(super) fn whole(mut self) -> Option<Vec<u8>> {
        if self.last? != b'\r' {
            return None;
        }
        if self.start.last() == Some(&b'\r') {
            self.start.pop();
        }
        Some(self.start)
    }
}

/// Returns whether the buffer holds all of a line that arrives in pieces. A framing field must fit
/// even if it arrives whole: otherwise its meaning would depend on the cut.
pub(super) fn fits(line: &[u8]) -> bool {
    // The buffer also holds the line's CR.
    line.len() < FRAMING_LINE_BYTES_MAX
}

/// Returns the value of a field line if the field has this name (in lower case).
pub(super) fn value_of<'a>(name: &[u8], line: &'a [u8]) -> Option<&'a [u8]> {
    let (found, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

/// Parses a number of digits only: `from_str_radix` would accept a sign.
pub(super) fn number(text: &[u8], radix: u32) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(|&byte| char::from(byte).is_digit(radix));
    digits.then(|| std::str::from_utf8(text).ok().and_then(|text| u64::from_str_radix(text, radix).ok()))?
}
