//! A survey of recorded request heads: the fields that keep default freshness from applying.
//!
//! `cachewarp check --explain-headers FILE` reads heads or an access log ([`heads`]), counts their
//! fields by class ([`tally`]), and prints what an operator can set ([`report`]). It opens no
//! connection.
//!
//! **Invariant:** the survey neither keeps nor prints the values of fields, and an error names a
//! line without repeating it: both can be secrets.

mod error;
mod heads;
mod json_log;
mod lines;
mod recorded_head;
mod report;
mod tally;

#[cfg(test)]
mod tests;

use std::io::BufRead;

use crate::request_fields::RequestFields;

pub use error::{LineError, SurveyError};
pub use heads::HeadReader;
pub use recorded_head::RecordedHead;
pub use report::SurveyReport;

/// Reads recorded heads to their end and reports the fields that keep default freshness from
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
