//! The input of the gate into the store: a request and its target, the head of the origin's
//! response, and both times.

use http::{HeaderMap, StatusCode};

use crate::key::Target;
use crate::time::Timestamp;

use crate::policy::reuse::request::RequestFacts;

/// A request with the head of its response.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The request.
    pub request: &'a RequestFacts,
    /// The target of the request.
    pub target: &'a Target,
    /// The status of the final response.
    pub status: StatusCode,
    /// The fields of the response as the origin sent them.
    pub response: &'a HeaderMap,
    /// The time at which the request was sent: `request_time` of RFC 9111 §4.2.3.
    pub requested: Timestamp,
    /// The time at which the head had arrived: `response_time` of RFC 9111 §4.2.3.
    pub received: Timestamp,
}
