//! The reader of an operator's request body: JSON, with a limit on its size and its time.

use std::pin::pin;
use std::str;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use super::problem::AdminProblem;
use crate::limits::{OPERATOR_BODY_TIMEOUT, PURGE_BODY_BYTES_MAX};
use crate::purge::PurgeOrderError;

/// Reads the whole body as text.
pub(super) async fn text<B: Body<Data = Bytes>>(
    headers: &HeaderMap,
    body: B,
) -> Result<String, AdminProblem> {
    if !is_json(headers) {
        return Err(AdminProblem::NotJson);
    }
    let bytes_max = u64::try_from(PURGE_BODY_BYTES_MAX).unwrap_or(u64::MAX);
    if body.size_hint().lower() > bytes_max {
        return Err(AdminProblem::TooLarge);
    }
    let body = pin!(body);
    let limited = Limited::new(body.map_err(|_| AdminProblem::NoBody), PURGE_BODY_BYTES_MAX);
    match timeout(OPERATOR_BODY_TIMEOUT, limited.collect()).await {
        Ok(Ok(whole)) => {
            let bytes = whole.to_bytes();
            Ok(str::from_utf8(&bytes).map_err(|_| PurgeOrderError::NotText)?.to_owned())
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(AdminProblem::TooLarge),
        Ok(Err(_)) | Err(_) => Err(AdminProblem::NoBody),
    }
}

/// Returns whether the request has exactly one `Content-Type`, `application/json`. A web page
/// cannot make a browser send it without a CORS preflight.
fn is_json(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(CONTENT_TYPE).iter();
    let media = lines.next().and_then(|line| line.to_str().ok()?.split(';').next());
    media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json")) && lines.next().is_none()
}
