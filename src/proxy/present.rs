//! What of a whole response a request gets: all of it, a `304`, a part, several parts, or none (RFC 9110 §13, §14).
//!
//! The cache fetches and stores whole responses only. What the client asked for is cut from the whole at the end, in the
//! same way whether it comes from a store or is just arriving.

use std::collections::VecDeque;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::answer::Answer;
use super::ask::Ask;
use super::body::{Body, BodyError};
use super::explain::Question;
use crate::policy::{self, Multipart, Part, Piece, Precondition, Ranges};
use crate::time::Timestamp;

/// A whole response does not meet a condition of the client.
pub(super) struct NotMet(pub(super) Answer);

/// Cuts `whole` to what `ask` asks for. A body of unknown length is never cut: a server may ignore `Range`.
pub(super) async fn present(ask: &Ask, whole: Answer, received: Timestamp) -> Result<Answer, NotMet> {
    if ask.is_plain() {
        return Ok(whole);
    }
    let response = &whole.response;
    let headers = &ask.inbound.headers;
    let precondition = policy::precondition(headers, response.status(), response.headers(), received);
    if ask.is_conditional() {
        ask.note(|explanation| explanation.rule(Question::Condition, precondition));
    }
    match precondition {
        Precondition::NotModified => return Ok(not_modified(whole)),
        Precondition::Failed => return Err(NotMet(whole)),
        Precondition::Proceed => {}
    }
    let Some(bytes) = length(response) else { return Ok(whole) };
    let ranges = policy::ranges(&ask.facts, headers, response.status(), response.headers(), bytes);
    if ask.is_partial() {
        ask.note(|explanation| explanation.rule(Question::Range, &ranges));
    }
    match ranges {
        Ranges::Whole => Ok(whole),
        Ranges::One(part) => Ok(one_part(whole, part, bytes)),
        Ranges::Several(parts) => Ok(several_parts(whole, &parts, bytes).await),
        Ranges::Unsatisfiable => Ok(unsatisfiable(whole, bytes)),
    }
}

/// RFC 9110 §13.1.1: the origin's own answer to this request, and it is not the one that the client knows.
pub(super) fn failed(NotMet(mut whole): NotMet) -> Answer {
    let head = whole.response.headers_mut();
    head.remove(CONTENT_LENGTH);
    head.remove(CONTENT_TYPE);
    with(whole, StatusCode::PRECONDITION_FAILED, Body::Whole(Bytes::new()))
}

fn length(response: &Response<Body>) -> Option<usize> {
    match response.body() {
        Body::Whole(bytes) => Some(bytes.len()),
        whole @ Body::Shared(_) => usize::try_from(whole.size_hint().exact()?).ok(),
        Body::Part(_) | Body::Pieces(_) | Body::Origin(_) | Body::Broken(_) => None,
    }
}

fn not_modified(mut whole: Answer) -> Answer {
    policy::not_modified_fields(whole.response.headers_mut());
    with(whole, StatusCode::NOT_MODIFIED, Body::Whole(Bytes::new()))
}

fn one_part(mut whole: Answer, part: Part, bytes: usize) -> Answer {
    let head = whole.response.headers_mut();
    head.insert(CONTENT_RANGE, policy::content_range(part, bytes));
    head.insert(CONTENT_LENGTH, HeaderValue::from(part.len));
    let body = std::mem::replace(whole.response.body_mut(), Body::Whole(Bytes::new())).part(part);
    with(whole, StatusCode::PARTIAL_CONTENT, body)
}

/// The parts may come in any order, so the whole has to be there; its length is known and within `cache_max_body`.
async fn several_parts(mut whole: Answer, parts: &[Part], bytes: usize) -> Answer {
    let body = std::mem::replace(whole.response.body_mut(), Body::Whole(Bytes::new()));
    let runs = match collected(body).await {
        Ok(runs) => runs,
        Err(error) => return with(whole, StatusCode::OK, Body::Broken(Some(error))),
    };
    let head = whole.response.headers_mut();
    let Multipart { content_type, bytes, pieces } =
        policy::multipart(parts, bytes, head.get(CONTENT_TYPE), fastrand::u128(..));
    head.remove(CONTENT_RANGE);
    head.insert(CONTENT_TYPE, content_type);
    head.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    let mut slices_and_framing = VecDeque::new();
    for piece in pieces {
        match piece {
            Piece::Framing(framing) => slices_and_framing.push_back(framing),
            Piece::Body(part) => slices_and_framing.extend(slices(&runs, part)),
        }
    }
    with(whole, StatusCode::PARTIAL_CONTENT, Body::Pieces(slices_and_framing))
}

/// The bytes of a part: slices of the runs that the body has come in.
fn slices(runs: &[Bytes], part: Part) -> impl Iterator<Item = Bytes> {
    let mut behind = 0_usize;
    runs.iter().filter_map(move |run| {
        let start = behind;
        behind = behind.saturating_add(run.len());
        let from = part.start.saturating_sub(start).min(run.len());
        let to = part.end().saturating_sub(start).min(run.len());
        (from < to).then(|| run.slice(from..to))
    })
}

/// All of a body, in the runs that it comes in.
async fn collected(mut body: Body) -> Result<Vec<Bytes>, BodyError> {
    let mut runs = Vec::new();
    while let Some(frame) = body.frame().await {
        runs.extend(frame?.into_data());
    }
    Ok(runs)
}

fn unsatisfiable(mut whole: Answer, bytes: usize) -> Answer {
    let head = whole.response.headers_mut();
    head.insert(CONTENT_RANGE, policy::unsatisfied_range(bytes));
    head.remove(CONTENT_LENGTH);
    head.remove(CONTENT_TYPE);
    with(whole, StatusCode::RANGE_NOT_SATISFIABLE, Body::Whole(Bytes::new()))
}

fn with(mut answer: Answer, status: StatusCode, body: Body) -> Answer {
    *answer.response.status_mut() = status;
    *answer.response.body_mut() = body;
    answer
}
