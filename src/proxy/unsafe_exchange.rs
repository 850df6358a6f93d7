//! Unsafe requests run to their end, whether or not their clients stay.
//!
//! A client that leaves drops its request's future, and a dropped exchange closes the connection to
//! the origin. The origin may have done by then what it was asked, or may be about to: what is
//! stored has to be invalidated in either case (RFC 9111 §4.4). So the future goes on in a task of
//! its own. Its deadlines are those of any exchange: `origin_head_timeout` for the answer,
//! `origin_body_timeout` for the client's own content, which ends at once for a client that has
//! left.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::Response;

use crate::proxy::Proxy;
use crate::proxy::answer::body::AdmittedBody;

/// Whether the origin may have a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum OriginReached {
    /// It waits for its turn.
    No,
    /// It is being sent, or was.
    Perhaps,
}

/// The work of an unsafe request.
pub(in crate::proxy) struct UnsafeExchange {
    /// `None` once it has ended.
    work: Option<Pin<Box<dyn Future<Output = Response<AdmittedBody>>>>>,
    reached: Rc<Cell<OriginReached>>,
    proxy: Rc<Proxy>,
}

impl UnsafeExchange {
    /// Goes on with `work` when it is dropped, if the origin may have been reached by then.
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
        // Taken for the time of the poll: work that panics is not gone on with.
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
            self.proxy.metrics.unabandoned();
            self.proxy.tasks.spawn(async move { drop(work.await) });
        }
    }
}
