//! Recorded request heads, and the fields in them that keep default freshness from applying.
//!
//! `cachewarp check --explain-headers FILE` reads heads or an access log ([`heads`]), counts their
//! fields by class ([`tally`]), and prints what an operator can set ([`report`]). It opens no
//! connection.
//!
//! **Invariant:** values of fields are neither kept nor printed, and an error names a line without
//! repeating it: both can be secrets.

mod heads;
mod json_log;
mod lines;
mod report;
mod tally;

#[cfg(test)]
mod tests;

use std::io::{self, BufRead};

use crate::limits::{SURVEY_BYTES_MAX, SURVEY_FIELDS_MAX, SURVEY_LINE_BYTES_MAX, SURVEY_NAME_BYTES_MAX};
use crate::request_fields::RequestFields;

pub use heads::{HeadReader, RecordedHead};
pub use report::SurveyReport;

/// Reads recorded heads to their end, and reports which of their fields keep default freshness from
/// applying.
pub fn survey(
    source: &str,
    input: impl BufRead,
    fields: &RequestFields,
) -> Result<SurveyReport, SurveyError> {
    let mut reader = HeadReader::new(input);
    let mut tally = tally::FieldTally::new(fields);
    while let Some(head) = reader.next_head()? {
        tally.add(&head);
    }
    if tally.is_empty() {
        return Err(SurveyError::NoHeads);
    }
    Ok(SurveyReport::new(source, tally, reader.lines_left_out()))
}

/// The cause why a file of recorded heads cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// A line is not what its place asks for.
    #[error("line {line}: {problem}")]
    Line {
        /// Its number, counted from 1.
        line: u64,
        /// The cause.
        problem: LineError,
    },
    /// There is no request head in it, and no log line with header names.
    #[error("no request head found: it takes heads, `curl -v` output, or JSON lines with a `headers` member")]
    NoHeads,
}

/// The cause why a line of recorded heads cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The line is longer than its bound.
    #[error("longer than {SURVEY_LINE_BYTES_MAX} bytes")]
    LineLength,
    /// The input is longer than its bound.
    #[error("the input is longer than {SURVEY_BYTES_MAX} bytes")]
    InputLength,
    /// One head has more fields than its bound.
    #[error("more than {SURVEY_FIELDS_MAX} fields in one head")]
    FieldCount,
    /// A name is longer than its bound.
    #[error("a field name longer than {SURVEY_NAME_BYTES_MAX} bytes")]
    NameLength,
    /// Neither a request line nor a field.
    #[error("neither a request line nor `Name: value`")]
    NotAField,
    /// A response begins where a request was expected.
    #[error("the head of a response; only request heads are read")]
    Response,
    /// The file began with JSON, and this line is none.
    #[error("not a JSON object, or nested too deeply")]
    NotJson,
    /// A log line has a name that no HTTP field can have.
    #[error("a header name that is no HTTP field name")]
    NotAName,
}
