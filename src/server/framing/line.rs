//! Lines of a head or of a chunk: one that is still coming, and what is on one.

use crate::limits::FRAMING_LINE_BYTES_MAX;

/// The beginning of a line of which the end has not come.
#[derive(Debug, Default)]
pub(super) struct PartialLine {
    start: Vec<u8>,
    last: Option<u8>,
}

impl PartialLine {
    /// Whether no byte of it has come.
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Keeps what fits. A line that does not fit gets a NUL at its cut: no length and no coding
    /// ends with one.
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

    /// The line without its CR; none if it does not end with one.
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

/// Whether all of a line is kept when it comes in pieces. One that frames a message has to, also
/// where it comes whole: else what it says would depend on how it was cut.
pub(super) fn fits(line: &[u8]) -> bool {
    // Its CR is kept with it.
    line.len() < FRAMING_LINE_BYTES_MAX
}

/// The value of a field line, if the field is the one named (in lower case).
pub(super) fn value_of<'a>(name: &[u8], line: &'a [u8]) -> Option<&'a [u8]> {
    let (found, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

/// Digits and nothing else: `from_str_radix` would take a sign.
pub(super) fn number(text: &[u8], radix: u32) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(|&byte| char::from(byte).is_digit(radix));
    digits.then(|| std::str::from_utf8(text).ok().and_then(|text| u64::from_str_radix(text, radix).ok()))?
}
