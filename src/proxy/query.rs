//! `QUERY` requests (RFC 10008): a safe and idempotent method with content, cached like `GET`.
//!
//! The proxy first reads the content, up to `query_body_max`, and then looks the response up by it.
//! A request whose content is larger, or which waits for `100 Continue`, passes to the origin as it
//! arrives. A client that sends its content slowly holds memory within `max_body_memory` and a
//! permit of its own address, but no permit of other requests, and ends after
//! [`QUERY_CONTENT_TIMEOUT`].

use std::cell::Cell;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::header::EXPECT;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::client_address::AddressPermit;
use crate::limits::QUERY_CONTENT_TIMEOUT;
use crate::origin::{FetchError, RequestBody};
use crate::proxy::admission::load::{AdmittedRequest, HeldBytes};
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::response::ProxyAnswer;
use crate::proxy::lookup::cached;
use crate::proxy::pass;
use crate::proxy::query_content::QueryContent;
use crate::proxy::request::{CacheRequest, InboundRequest};
use crate::proxy::unsafe_exchange::OriginReached;
use crate::proxy::worker::Proxy;

/// An answer, and the address permit that it holds until its client has read it.
type AdmittedAnswer = (ProxyAnswer, Option<AddressPermit>);

/// The content of a request, as far as it was read.
enum ReadContent {
    /// All of it.
    Whole(Bytes, HeldBytes),
    /// More than the proxy keeps.
    Beyond(RequestBody),
}

/// Answers a `QUERY` from the store if the policy allows it, otherwise from the origin.
pub(super) async fn answer(proxy: &Rc<Proxy>, inbound: InboundRequest, body: Incoming) -> AdmittedAnswer {
    let read = if inbound.headers.contains_key(EXPECT) {
        // The origin decides whether it wants the content.
        Ok(ReadContent::Beyond(RequestBody::Streaming(body)))
    } else {
        let mut reading = pin!(timeout(QUERY_CONTENT_TIMEOUT, read(proxy, body)));
        // Most content has arrived with its head.
        let read = match poll_fn(|context| Poll::Ready(reading.as_mut().poll(context))).await {
            Poll::Ready(read) => read,
            Poll::Pending => match proxy.admit_address(proxy.client(&inbound)) {
                Ok(_permit) => reading.await,
                Err(failure) => return refused(&inbound, failure),
            },
        };
        read.unwrap_or(Err(FetchError::ClientTimeout))
    };
    match read {
        Ok(ReadContent::Whole(bytes, held)) => {
            match QueryContent::new(bytes.clone(), &inbound.headers, held) {
                Some(content) => answer_cached(proxy, inbound, content).await,
                None => answer_passed(proxy, inbound, RequestBody::Whole(bytes)).await,
            }
        }
        Ok(ReadContent::Beyond(body)) => answer_passed(proxy, inbound, body).await,
        Err(error) => {
            let failure = Failure::from(&error);
            if failure == Failure::MalformedBody {
                proxy.metrics.refused(failure);
            }
            refused(&inbound, failure)
        }
    }
}

/// Reads the content until it ends or exceeds the limit.
async fn read(proxy: &Proxy, mut body: Incoming) -> Result<ReadContent, FetchError> {
    let bytes_max = proxy.options.query_body_max;
    let is_larger = |bytes: u64| bytes > bytes_max as u64;
    if is_larger(body.size_hint().lower()) {
        return Ok(ReadContent::Beyond(RequestBody::Streaming(body)));
    }
    let mut held = proxy.shared.load.hold();
    let mut content = BytesMut::new();
    loop {
        let next = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        match next.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(piece))) => {
                content.extend_from_slice(&piece);
                held.set(content.len());
                if is_larger(content.len() as u64) || proxy.shared.load.is_full_of_bodies() {
                    return Ok(ReadContent::Beyond(RequestBody::Begun(content.freeze(), body)));
                }
            }
            // Trailers are dropped, as those of every request are.
            Some(Ok(Err(_))) => {}
            Some(Err(error)) => return Err(FetchError::of_client(&error)),
            // A stream that is reset with NO_ERROR ends as if it were complete; its length shows
            // that it is not.
            None if body.size_hint().lower() > 0 => return Err(FetchError::ClientCut),
            None => return Ok(ReadContent::Whole(content.freeze(), held)),
        }
    }
}

async fn answer_cached(
    proxy: &Rc<Proxy>,
    mut inbound: InboundRequest,
    content: QueryContent,
) -> AdmittedAnswer {
    content.mark(&mut inbound.headers);
    inbound.content = Some(Rc::new(content));
    let request = Rc::new(CacheRequest::new(inbound));
    let known = match cached::answer_from_memory(proxy, &request) {
        ControlFlow::Break(answer) => {
            return match proxy.permit_of_hit(&request.inbound, &answer) {
                Ok(permit) => (answer, permit),
                Err(failure) => refused(&request.inbound, failure),
            };
        }
        ControlFlow::Continue(known) => known,
    };
    match proxy.admit(&request.inbound) {
        Ok(AdmittedRequest { permit, address_permit }) => {
            (cached::answer(proxy, request, known, permit).await, Some(address_permit))
        }
        Err(failure) => (cached::shed(proxy, request, known, failure).await, None),
    }
}

/// Sends the request to the origin and streams the response back. Nothing of it is stored.
async fn answer_passed(proxy: &Rc<Proxy>, inbound: InboundRequest, body: RequestBody) -> AdmittedAnswer {
    match proxy.admit(&inbound) {
        Ok(AdmittedRequest { permit, address_permit }) => {
            let reached = Cell::new(OriginReached::No);
            (pass::answer(proxy, inbound, body, &reached, permit).await, Some(address_permit))
        }
        Err(failure) => refused(&inbound, failure),
    }
}

fn refused(inbound: &InboundRequest, failure: Failure) -> AdmittedAnswer {
    inbound.notes.note(|explanation| explanation.failed(failure));
    (failure.into(), None)
}
