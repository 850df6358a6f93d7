//! The options of the access log.

use std::time::Duration;

/// The options of the access log and of the slow log.
#[derive(Clone, Debug)]
pub struct AccessLogOptions {
    /// The format of a line; `None` writes no lines.
    pub format: Option<AccessFormat>,
    /// The part of the target that a line shows.
    pub path: LoggedPath,
    /// The duration from which a request is reported as slow; `None` reports none.
    pub slow_threshold: Option<Duration>,
}

/// The format of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// A JSON object with OpenTelemetry's attribute names.
    Json,
    /// A line for people.
    Text,
}

/// The part of a target that a line shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoggedPath {
    /// The name of the route, or the path if no route matched.
    Route,
    /// The path.
    Path,
    /// The path and the query, which may carry tokens.
    Full,
}
