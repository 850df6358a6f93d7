//! The errors of a survey.

use std::io;

use crate::limits::{SURVEY_BYTES_MAX, SURVEY_FIELDS_MAX, SURVEY_LINE_BYTES_MAX, SURVEY_NAME_BYTES_MAX};

/// The reason why a file of recorded heads cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// A line is invalid.
    #[error("line {line}: {problem}")]
    Line {
        /// The number of the line, counted from 1.
        line: u64,
        /// The cause.
        problem: LineError,
    },
    /// The input has no request head, and no log line with header names.
    #[error("no request head found; expected heads, `curl -v` output, or JSON lines with a `headers` member")]
    NoHeads,
}

/// The reason why a line of recorded heads cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The line is too long.
    #[error("longer than {SURVEY_LINE_BYTES_MAX} bytes")]
    LineLength,
    /// The input is too long.
    #[error("the input is longer than {SURVEY_BYTES_MAX} bytes")]
    InputLength,
    /// One head has too many fields.
    #[error("more than {SURVEY_FIELDS_MAX} fields in one head")]
    FieldCount,
    /// A name is too long.
    #[error("a field name longer than {SURVEY_NAME_BYTES_MAX} bytes")]
    NameLength,
    /// Neither a request line nor a field.
    #[error("neither a request line nor `Name: value`")]
    NotAField,
    /// A response begins where a request was expected.
    #[error("the head of a response; only request heads are read")]
    Response,
    /// The file began with JSON, and this line is not JSON.
    #[error("not a JSON object, or nested too deeply")]
    NotJson,
    /// A log line has a name that no HTTP field can have.
    #[error("a header name that is no HTTP field name")]
    NotAName,
}
