//! A reader of request heads from a file: plain heads, the output of `curl -v`, or JSON lines.
//!
//! The first line that is neither blank nor a comment (`#`) decides the form of the whole file. The
//! reader takes only methods and names from it.

use std::io::BufRead;

use http::Method;

use super::json_log;
use super::lines::SurveyLines;
use super::recorded_head::RecordedHead;
use crate::survey::error::{LineError, SurveyError};

/// A reader of recorded heads.
pub struct HeadReader<R> {
    lines: SurveyLines<R>,
    form: HeadForm,
    /// The head that is being read.
    open: Option<RecordedHead>,
    left_out: u64,
}

/// The form in which a file holds its heads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HeadForm {
    /// No significant line was read yet.
    Unknown,
    /// Heads as clients send them, with a blank line between two.
    Plain,
    /// The output of `curl -v`: lines of a request begin with `>`.
    Curl,
    /// One JSON object on each line.
    Json,
}

impl<R: BufRead> HeadReader<R> {
    /// Returns a reader of the heads in `input`.
    pub fn new(input: R) -> Self {
        Self { lines: SurveyLines::new(input), form: HeadForm::Unknown, open: None, left_out: 0 }
    }

    /// Reads the next head; `None` at the end of the input.
    pub fn next_head(&mut self) -> Result<Option<RecordedHead>, SurveyError> {
        loop {
            let Some(line) = self.lines.next_line()? else { return Ok(self.open.take()) };
            if self.form == HeadForm::Unknown {
                self.form = HeadForm::of(line);
            }
            let step = match self.form {
                HeadForm::Unknown => Ok(None),
                HeadForm::Plain => plain(line, &mut self.open),
                HeadForm::Curl => match line.strip_prefix(b">") {
                    Some(sent) => plain(sent.strip_prefix(b" ").unwrap_or(sent), &mut self.open),
                    None => Ok(self.open.take()),
                },
                HeadForm::Json if line.trim_ascii().is_empty() => Ok(None),
                HeadForm::Json => json_log::head(line).inspect(|head| {
                    self.left_out = self.left_out.saturating_add(u64::from(head.is_none()));
                }),
            };
            match step {
                Ok(Some(head)) => return Ok(Some(head)),
                Ok(None) => {}
                Err(problem) => return Err(self.lines.problem(problem)),
            }
        }
    }

    /// Returns the number of log lines without header names: other messages in the same log.
    pub fn lines_left_out(&self) -> u64 {
        self.left_out
    }
}

impl HeadForm {
    fn of(line: &[u8]) -> Self {
        let begins = |beginning: &[u8]| line.starts_with(beginning);
        if line.trim_ascii().is_empty() || is_comment(line) {
            Self::Unknown
        } else if begins(b"{") {
            Self::Json
        } else if begins(b"* ") || begins(b">") || begins(b"  % Total") || begins(b"Note: ") {
            Self::Curl
        } else {
            Self::Plain
        }
    }
}

fn is_comment(line: &[u8]) -> bool {
    line.starts_with(b"#")
}

/// Reads a line of a plain head. Returns the head that the line ends, if any.
fn plain(line: &[u8], open: &mut Option<RecordedHead>) -> Result<Option<RecordedHead>, LineError> {
    if is_comment(line) {
        return Ok(None);
    }
    if line.trim_ascii().is_empty() {
        return Ok(open.take());
    }
    if let Some(method) = request_line(line) {
        return Ok(open.replace(RecordedHead { method, names: Vec::new() }));
    }
    if line.starts_with(b"HTTP/") {
        return Err(LineError::Response);
    }
    // RFC 9112 §5.2: a line that begins with a space or a tab continues the value before it.
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        let continues = open.as_ref().is_some_and(|head| !head.names.is_empty());
        return if continues { Ok(None) } else { Err(LineError::NotAField) };
    }
    let head = open.get_or_insert_default();
    if let Some(method) = line.strip_prefix(b":method:") {
        head.method = Method::from_bytes(method.trim_ascii()).map_err(|_| LineError::NotAField)?;
        return Ok(None);
    }
    let colon = line.iter().skip(1).position(|&byte| byte == b':').map(|at| at + 1);
    let name = colon.and_then(|colon| line.get(..colon)).ok_or(LineError::NotAField)?;
    match head.add(name) {
        Ok(()) => Ok(None),
        Err(LineError::NotAName) => Err(LineError::NotAField),
        Err(problem) => Err(problem),
    }
}

/// Returns the method of a request line: `GET /a HTTP/1.1`.
fn request_line(line: &[u8]) -> Option<Method> {
    let mut words = line.split(|&byte| byte == b' ');
    let (method, _, version) = (words.next()?, words.next()?, words.next_back()?);
    if !version.starts_with(b"HTTP/") {
        return None;
    }
    Method::from_bytes(method).ok()
}
