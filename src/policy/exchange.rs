//! What the gate into the store judges: who asked for what, and what the origin answered, and when.

use http::{HeaderMap, StatusCode};

use crate::time::Timestamp;

use crate::policy::reuse::request::RequestFacts;

/// A request and the head of its response.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// Who asked, and how.
    pub request: &'a RequestFacts,
    /// The status of the final response.
    pub status: StatusCode,
    /// Its fields as the origin sent them.
    pub response: &'a HeaderMap,
    /// When the request was sent: `request_time` of RFC 9111 §4.2.3.
    pub requested: Timestamp,
    /// When the head had come: `response_time` of RFC 9111 §4.2.3.
    pub received: Timestamp,
}
