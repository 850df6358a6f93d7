//! `/health`: whether the proxy can serve, and whether Redis responds.
//!
//! `status` is `ok` while requests can be served, which does not require Redis. The response takes
//! at most 100 ms: the probe has a timeout, and the process caches its result for a second.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::proxy::answer::body::AnswerBody;
use crate::proxy::answer::response::{Outcome, ProxyAnswer};
use crate::proxy::worker::Proxy;

pub(super) async fn answer(proxy: &Proxy) -> ProxyAnswer {
    let document = proxy.store.health().await.document();
    let mut head = HeaderMap::new();
    head.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    ProxyAnswer::new(
        Outcome::Health,
        StatusCode::OK,
        head,
        AnswerBody::Whole(Bytes::from_static(document.as_bytes())),
    )
}
