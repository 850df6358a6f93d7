//! A small JSON API as a sample origin.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::interim::InterimSink;
use crate::request_id::RequestId;
use crate::server::{ConnectionPeer, Handler, HandlerReply};
use crate::telemetry::access::RequestRecord;

/// The duration of `/slow`.
const SLOW: Duration = Duration::from_secs(1);

/// The API. Every answer carries the count of answers so far, which distinguishes a stored answer
/// from a new one.
pub(super) struct SampleApi {
    served: Cell<u64>,
    /// The rate that a `POST` raises, in hundredths.
    rate: Cell<u64>,
}

impl SampleApi {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self { served: Cell::new(0), rate: Cell::new(108) })
    }

    async fn answer(&self, method: &Method, path: &str, head: &HeaderMap) -> Response<Full<Bytes>> {
        self.served.set(self.served.get() + 1);
        let served = self.served.get();
        match path.split('/').skip(1).collect::<Vec<_>>().as_slice() {
            ["quotes", symbol]
                if symbol.len() == 6 && symbol.bytes().all(|byte| byte.is_ascii_uppercase()) =>
            {
                let pips = (served * 7) % 100;
                let body = format!(r#"{{"symbol":"{symbol}","bid":1.08{pips:02},"served":{served}}}"#);
                json(StatusCode::OK, None, body)
            }
            ["rates", pair] if pair.len() == 6 && pair.bytes().all(|byte| byte.is_ascii_uppercase()) => {
                if *method == Method::POST {
                    self.rate.set(self.rate.get() + 1);
                }
                let (whole, part) = (self.rate.get() / 100, self.rate.get() % 100);
                let body = format!(r#"{{"pair":"{pair}","rate":{whole}.{part:02},"served":{served}}}"#);
                json(StatusCode::OK, None, body)
            }
            ["accounts", id] if id.bytes().all(|byte| byte.is_ascii_digit()) => match head.get(AUTHORIZATION)
            {
                Some(_) => json(
                    StatusCode::OK,
                    None,
                    format!(r#"{{"account":{id},"balance":"1250.00","served":{served}}}"#),
                ),
                None => json(StatusCode::UNAUTHORIZED, None, r#"{"error":"unauthorized"}"#.to_owned()),
            },
            ["slow"] => {
                tokio::time::sleep(SLOW).await;
                json(StatusCode::OK, Some("max-age=60"), format!(r#"{{"slow":true,"served":{served}}}"#))
            }
            ["private"] => json(
                StatusCode::OK,
                Some("private, max-age=60"),
                format!(r#"{{"private":true,"served":{served}}}"#),
            ),
            ["broken"] => {
                json(StatusCode::OK, Some("max-age=60"), format!(r#"{{"broken":true,"served":{served}"#))
            }
            _ => json(StatusCode::NOT_FOUND, None, r#"{"error":"not found"}"#.to_owned()),
        }
    }
}

impl Handler for SampleApi {
    type Body = Full<Bytes>;

    fn handle(
        self: Rc<Self>,
        _: ConnectionPeer,
        request: Request<Incoming>,
        _: RequestRecord,
        _: Option<RequestId>,
        _: impl FnOnce() -> InterimSink,
    ) -> HandlerReply<Full<Bytes>> {
        HandlerReply::working(async move {
            self.answer(request.method(), request.uri().path(), request.headers()).await
        })
    }
}

fn json(status: StatusCode, cache_control: Option<&'static str>, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let head = response.headers_mut();
    head.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(cache_control) = cache_control {
        head.insert(CACHE_CONTROL, HeaderValue::from_static(cache_control));
    }
    response
}
