//! Conditions and ranges: turns a whole response into the whole, a `304`, one range, several
//! ranges, or a failed precondition (RFC 9110 §13, §14).
//!
//! The cache fetches and stores whole responses only. The range that the client requested is cut
//! from the whole at the end, in one way for stored and for arriving responses.

use std::collections::VecDeque;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;

use crate::limits::RANGE_SKIPPED_BYTES_MAX;
use crate::policy::{self, ByteRange, MultipartBody, MultipartPiece, Precondition, RangeSelection};
use crate::proxy::answer::body::{AnswerBody, BodyError, unpinned};
use crate::proxy::answer::response::ProxyAnswer;
use crate::proxy::explain::notes::RuleQuestion;
use crate::proxy::request::CacheRequest;
use crate::time::Timestamp;

/// A whole response that does not meet a precondition of the client.
pub(in crate::proxy) struct PreconditionNotMet(pub(in crate::proxy) ProxyAnswer);

/// Applies the conditions and ranges of `request` to `whole`. A body of unknown length is never
/// cut, because a server may ignore `Range`.
pub(in crate::proxy) async fn present(
    request: &CacheRequest,
    whole: ProxyAnswer,
    received: Timestamp,
) -> Result<ProxyAnswer, PreconditionNotMet> {
    if request.is_plain() {
        return Ok(whole);
    }
    let response = &whole.response;
    let headers = &request.inbound.headers;
    let precondition = policy::precondition(headers, response.status(), response.headers(), received);
    if request.is_conditional() {
        request.note(|explanation| explanation.rule(RuleQuestion::Condition, precondition));
    }
    match precondition {
        Precondition::NotModified => return Ok(not_modified(whole)),
        Precondition::Failed => return Err(PreconditionNotMet(whole)),
        Precondition::Proceed => {}
    }
    let Some(bytes) = length(response) else { return Ok(whole) };
    let ranges = policy::ranges(&request.facts, headers, response.status(), response.headers(), bytes);
    if request.is_partial() {
        request.note(|explanation| explanation.rule(RuleQuestion::Range, &ranges));
    }
    match ranges {
        RangeSelection::Whole => Ok(whole),
        // RFC 9110 §14.2: a server may ignore `Range`. To cut these, the proxy would have to read
        // much that it drops, or to keep a body of any size.
        RangeSelection::One(part) if is_streamed(&whole) && part.start > RANGE_SKIPPED_BYTES_MAX => Ok(whole),
        RangeSelection::Several(_) if is_streamed(&whole) => Ok(whole),
        RangeSelection::One(part) => Ok(one_part(whole, part, bytes)),
        RangeSelection::Several(parts) => Ok(several_parts(whole, &parts, bytes).await),
        RangeSelection::Unsatisfiable => Ok(unsatisfiable(whole, bytes)),
    }
}

/// Returns the 412 for the origin's own response to this request, which does not match the client's
/// condition (RFC 9110 §13.1.1).
pub(in crate::proxy) fn failed(PreconditionNotMet(mut whole): PreconditionNotMet) -> ProxyAnswer {
    policy::refusal_fields(whole.response.headers_mut());
    with(whole, StatusCode::PRECONDITION_FAILED, AnswerBody::Whole(Bytes::new()))
}

/// Returns whether the body comes from the origin for this client alone.
fn is_streamed(whole: &ProxyAnswer) -> bool {
    matches!(whole.response.body(), AnswerBody::Origin(_))
}

fn length(response: &Response<AnswerBody>) -> Option<usize> {
    match response.body() {
        AnswerBody::Whole(bytes) => Some(bytes.len()),
        whole @ (AnswerBody::Shared(_) | AnswerBody::Origin(_)) => {
            usize::try_from(whole.size_hint().exact()?).ok()
        }
        AnswerBody::Part(_) | AnswerBody::Pieces(_) | AnswerBody::OriginPart(_) | AnswerBody::Broken(_) => {
            None
        }
    }
}

fn not_modified(mut whole: ProxyAnswer) -> ProxyAnswer {
    policy::not_modified_fields(whole.response.headers_mut());
    with(whole, StatusCode::NOT_MODIFIED, AnswerBody::Whole(Bytes::new()))
}

fn one_part(mut whole: ProxyAnswer, part: ByteRange, bytes: usize) -> ProxyAnswer {
    let head = whole.response.headers_mut();
    head.insert(CONTENT_RANGE, policy::content_range(part, bytes));
    head.insert(CONTENT_LENGTH, HeaderValue::from(part.len));
    let body = std::mem::replace(whole.response.body_mut(), AnswerBody::Whole(Bytes::new())).part(part);
    with(whole, StatusCode::PARTIAL_CONTENT, body)
}

/// Returns a multipart response. The ranges may come in any order, so the whole body is collected
/// first. Its length is known and within `cache_max_body`.
async fn several_parts(mut whole: ProxyAnswer, parts: &[ByteRange], bytes: usize) -> ProxyAnswer {
    let body = std::mem::replace(whole.response.body_mut(), AnswerBody::Whole(Bytes::new()));
    let runs = match collected(body).await {
        Ok(runs) => runs,
        Err(error) => return with(whole, StatusCode::OK, AnswerBody::Broken(Some(error))),
    };
    let head = whole.response.headers_mut();
    let whole_bytes = bytes;
    let MultipartBody { content_type, bytes, pieces } =
        policy::multipart(parts, bytes, head.get(CONTENT_TYPE), fastrand::u128(..));
    head.remove(CONTENT_RANGE);
    head.insert(CONTENT_TYPE, content_type);
    head.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    let mut slices_and_framing = VecDeque::new();
    for piece in pieces {
        match piece {
            MultipartPiece::Framing(framing) => slices_and_framing.push_back(framing),
            MultipartPiece::Body(part) => slices_and_framing.extend(slices(&runs, part)),
        }
    }
    if bytes <= whole_bytes / 2 {
        slices_and_framing =
            slices_and_framing.into_iter().map(|piece| unpinned(piece, whole_bytes)).collect();
    }
    with(whole, StatusCode::PARTIAL_CONTENT, AnswerBody::Pieces(slices_and_framing))
}

/// Returns the bytes of a range, as slices of the chunks of the body.
fn slices(runs: &[Bytes], part: ByteRange) -> impl Iterator<Item = Bytes> {
    let mut behind = 0_usize;
    runs.iter().filter_map(move |run| {
        let start = behind;
        behind = behind.saturating_add(run.len());
        let from = part.start.saturating_sub(start).min(run.len());
        let to = part.end().saturating_sub(start).min(run.len());
        (from < to).then(|| run.slice(from..to))
    })
}

/// Collects a body in the chunks in which it arrives.
async fn collected(mut body: AnswerBody) -> Result<Vec<Bytes>, BodyError> {
    let mut runs = Vec::new();
    while let Some(frame) = body.frame().await {
        runs.extend(frame?.into_data());
    }
    Ok(runs)
}

fn unsatisfiable(mut whole: ProxyAnswer, bytes: usize) -> ProxyAnswer {
    let head = whole.response.headers_mut();
    policy::refusal_fields(head);
    head.insert(CONTENT_RANGE, policy::unsatisfied_range(bytes));
    with(whole, StatusCode::RANGE_NOT_SATISFIABLE, AnswerBody::Whole(Bytes::new()))
}

fn with(mut answer: ProxyAnswer, status: StatusCode, body: AnswerBody) -> ProxyAnswer {
    *answer.response.status_mut() = status;
    *answer.response.body_mut() = body;
    answer
}
