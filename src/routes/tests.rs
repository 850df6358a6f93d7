//! Tests of the routes module through its public face.

mod example;
mod faults;
mod matching;
mod properties;

use crate::routes::{RouteError, RouteTable};

/// Returns the routes of a file.
fn table(text: &str) -> RouteTable {
    RouteTable::parse(text.as_bytes()).unwrap_or_default()
}

/// Returns the errors of a file.
fn errors(text: &str) -> Vec<RouteError> {
    RouteTable::parse(text.as_bytes()).err().unwrap_or_default()
}
