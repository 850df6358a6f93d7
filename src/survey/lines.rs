//! A reader of lines with a maximum length.

use std::io::{BufRead, Read};

use crate::limits::{SURVEY_BYTES_MAX, SURVEY_LINE_BYTES_MAX};

use crate::survey::error::{LineError, SurveyError};

/// The mark with which some editors begin a UTF-8 file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A reader of lines that counts them.
pub(super) struct SurveyLines<R> {
    input: R,
    line: Vec<u8>,
    /// The number of the current line, from 1; 0 before the first.
    number: u64,
    bytes: u64,
}

impl<R: BufRead> SurveyLines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, line: Vec::new(), number: 0, bytes: 0 }
    }

    /// Reads the next line, without its end (LF or CR LF); `None` at the end of the input.
    pub(super) fn next_line(&mut self) -> Result<Option<&[u8]>, SurveyError> {
        self.line.clear();
        // The reader takes one byte more than a line may have, and two for the line's end, to
        // detect a line that is too long.
        let bytes_max = u64::try_from(SURVEY_LINE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(3);
        let count = self.input.by_ref().take(bytes_max).read_until(b'\n', &mut self.line)?;
        if count == 0 {
            return Ok(None);
        }
        self.number = self.number.saturating_add(1);
        self.bytes = self.bytes.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if self.bytes > SURVEY_BYTES_MAX {
            return Err(self.problem(LineError::InputLength));
        }
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > SURVEY_LINE_BYTES_MAX {
            return Err(self.problem(LineError::LineLength));
        }
        let mark = if self.number == 1 { BYTE_ORDER_MARK } else { b"" };
        Ok(Some(line.strip_prefix(mark).unwrap_or(line)))
    }

    /// Returns an error that names the current line.
    pub(super) fn problem(&self, problem: LineError) -> SurveyError {
        SurveyError::Line { line: self.number, problem }
    }

    /// Counts bytes as read without reading them, so that a test reaches the limit.
    #[cfg(test)]
    pub(super) fn skip_to(&mut self, bytes: u64) {
        self.bytes = bytes;
    }
}
