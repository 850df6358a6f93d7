//! Status codes as a label.

use http::StatusCode;

crate::labels! {
    /// The class of a status code (RFC 9110 §15).
    pub enum StatusClass {
        /// Informational: only `101` ends an exchange.
        Informational => "1xx",
        /// Successful.
        Successful => "2xx",
        /// Redirection.
        Redirection => "3xx",
        /// Client error.
        ClientError => "4xx",
        /// Server error.
        ServerError => "5xx",
        /// Outside the classes.
        Other => "other",
    }
}

impl StatusClass {
    /// Returns the class of a status code.
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() / 100 {
            1 => Self::Informational,
            2 => Self::Successful,
            3 => Self::Redirection,
            4 => Self::ClientError,
            5 => Self::ServerError,
            _ => Self::Other,
        }
    }
}
