//! Unsafe requests run to completion even if their client leaves.
//!
//! A client that leaves drops the future of its request, and a dropped exchange closes the
//! connection to the origin. The origin may already have applied the request, or may be about to,
//! and the stored responses must be invalidated in either case (RFC 9111 §4.4). The future
//! therefore continues in a task of its own. Its timeouts are those of any exchange:
//! `origin_head_timeout` for the response, and `origin_body_timeout` for the client's content,
//! which ends at once after the client has left.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::Response;

use crate::proxy::answer::body::AdmittedBody;
use crate::proxy::worker::Proxy;

/// Whether the origin may have a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum OriginReached {
    /// The request waits for a connection.
    No,
    /// The request is being sent, or has been sent.
    Perhaps,
}

/// The exchange of an unsafe request.
pub(in crate::proxy) struct UnsafeExchange {
    /// `None` once the exchange has ended.
    work: Option<Pin<Box<dyn Future<Output = Response<AdmittedBody>>>>>,
    reached: Rc<Cell<OriginReached>>,
    proxy: Rc<Proxy>,
}

impl UnsafeExchange {
    /// Creates an exchange that continues after a drop, if the origin may have the request by then.
    pub(in crate::proxy) fn new(
        proxy: Rc<Proxy>,
        reached: Rc<Cell<OriginReached>>,
        work: Pin<Box<dyn Future<Output = Response<AdmittedBody>>>>,
    ) -> Self {
        Self { work: Some(work), reached, proxy }
    }
}

impl Future for UnsafeExchange {
    type Output = Response<AdmittedBody>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response<AdmittedBody>> {
        let this = self.get_mut();
        // The future is taken during the poll, so that a panicking future does not continue.
        let Some(mut work) = this.work.take() else { return Poll::Pending };
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            this.work = Some(work);
        }
        polled
    }
}

impl Drop for UnsafeExchange {
    fn drop(&mut self) {
        if let Some(work) = self.work.take()
            && self.reached.get() == OriginReached::Perhaps
        {
            self.proxy.metrics.unsafe_continued();
            self.proxy.tasks.spawn(async move { drop(work.await) });
        }
    }
}
