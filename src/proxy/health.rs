//! The checks of the client listener: `/health`, whether the proxy can serve and Redis responds,
//! and `/ready`, whether the process should get requests.
//!
//! `status` of `/health` is `ok` while the proxy can serve requests, which does not require Redis.
//! The response takes at most 100 ms: the `PING` to Redis has a timeout, and the process caches the
//! result for a second.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::proxy::answer::body::AnswerBody;
use crate::proxy::answer::outcome::Outcome;
use crate::proxy::answer::response::ProxyAnswer;
use crate::proxy::worker::Proxy;
use crate::readiness::Readiness;

pub(super) async fn answer(proxy: &Proxy) -> ProxyAnswer {
    document(StatusCode::OK, proxy.store.health().await.document())
}

/// Answers a readiness check: `200` if the process should get requests, else `503`.
pub(super) fn ready(readiness: &Readiness) -> ProxyAnswer {
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    document(status, readiness.phase().document())
}

fn document(status: StatusCode, document: &'static str) -> ProxyAnswer {
    let mut head = HeaderMap::new();
    head.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    ProxyAnswer::new(
        Outcome::Health,
        status,
        head,
        AnswerBody::Whole(Bytes::from_static(document.as_bytes())),
    )
}
