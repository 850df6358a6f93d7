//! The responses to operators.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

/// A response to an operator.
pub type AdminResponse = Response<Full<Bytes>>;

/// Returns a response with a JSON body.
pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> AdminResponse {
    document(status, "application/json", body)
}

/// Returns a response with this body, which no cache may store.
pub(super) fn document(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> AdminResponse {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let head = response.headers_mut();
    head.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    head.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
