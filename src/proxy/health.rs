//! `/health`: whether the proxy can serve, and whether Redis answers.
//!
//! `status` is `ok` while requests can be served, and without Redis they can. Always within 100 ms:
//! the probe is bounded, and remembered for a second by the whole process.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::Proxy;
use crate::proxy::answer::body::AnswerBody;
use crate::proxy::answer::response::{Outcome, ProxyAnswer};

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
