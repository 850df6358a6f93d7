//! One recorded request, without the values of its fields.

use http::Method;
use http::header::HeaderName;

use crate::limits::{SURVEY_FIELDS_MAX, SURVEY_NAME_BYTES_MAX};
use crate::survey::error::LineError;

/// One recorded request: its method and the names of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedHead {
    /// The method; `GET` if the record has none.
    pub method: Method,
    /// The name of each field line, in its order.
    pub names: Vec<HeaderName>,
}

impl RecordedHead {
    pub(super) fn add(&mut self, name: &[u8]) -> Result<(), LineError> {
        // HTTP/2 writes the request line as pseudo-fields.
        if name.starts_with(b":") {
            return Ok(());
        }
        if name.len() > SURVEY_NAME_BYTES_MAX {
            return Err(LineError::NameLength);
        }
        let name = HeaderName::from_bytes(name).map_err(|_| LineError::NotAName)?;
        if self.names.len() >= SURVEY_FIELDS_MAX {
            return Err(LineError::FieldCount);
        }
        self.names.push(name);
        Ok(())
    }
}
