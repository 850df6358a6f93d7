//! Connection to the origin, polled by its current user.
//!
//! ```text
//! idle ── send ──► polled by the exchange ──► polled by the body ──► idle
//!                        └── the head arrived before the request was sent: a task sends the rest
//! ```
//!
//! The steps of an exchange follow one another, so a task per connection would only be woken by its
//! user and wake it again. Only a response that begins before its request is sent has two
//! concurrent steps; then a task sends the request, so that neither body waits for the reader of
//! the other.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::Instant;

use super::address::AddressUse;
use super::http1::{BodyReadFailure, HeadFailure, Http1Stream, ResponseHead};
use super::idle::ReusedTimer;
use super::interims::{InterimReceiver, InterimResponse};
use super::socket::OriginSocket;
use super::tunnel::OriginTunnel;
use super::upload::UploadBody;
use crate::origin::framing::BodyFraming;

/// Connection that carries one exchange at a time. Dropping it closes it in any state.
pub(super) struct OriginConnection {
    stream: Rc<RefCell<Http1Stream>>,
    /// The task that sends the rest of a request.
    uploader: Option<OwnedTask>,
    /// Time for which the origin keeps the connection idle, as far as its head states it.
    pub(super) usable_for: Option<Duration>,
    /// Time from which it carries no other exchange, because of its age.
    pub(super) expires: Option<Instant>,
    pub(super) usage: Arc<AddressUse>,
    /// Timer of the head deadline; one for all exchanges, because it rarely expires.
    timer: ReusedTimer,
}

impl OriginConnection {
    /// Creates a connection on the socket: HTTP/1.1 has no handshake.
    pub(super) fn new(socket: OriginSocket) -> Self {
        let usage = socket.usage();
        Self {
            stream: Rc::new(RefCell::new(Http1Stream::new(socket))),
            uploader: None,
            usable_for: None,
            expires: None,
            usage,
            timer: ReusedTimer::default(),
        }
    }

    /// Sends a request and waits for the response head. Returns `None` if `due` passes first.
    /// `interims` gets each interim response as it arrives.
    ///
    /// Cancel safe: after a cancel the connection can only be dropped, which closes it.
    pub(super) async fn send(
        &mut self,
        request: Request<UploadBody>,
        due: impl Fn() -> Instant,
        interims: Option<&dyn InterimReceiver>,
    ) -> Option<Result<ResponseHead, HeadFailure>> {
        let give = |head| {
            if let Some(receiver) = interims
                && let Some(interim) = InterimResponse::of(head)
            {
                receiver.receive(interim);
            }
        };
        let Self { stream, timer, .. } = self;
        stream.borrow_mut().begin(request);
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = stream.borrow_mut().poll_head(cx, give) {
                return Poll::Ready(Some(outcome));
            }
            timer.poll_expired(cx, due()).map(|()| None)
        })
        .await
    }

    /// Lets a task send the rest of the request, if there is any.
    pub(super) fn detach_upload(&mut self) {
        if !self.stream.borrow().is_sent() {
            let stream = Rc::clone(&self.stream);
            self.uploader = Some(OwnedTask::spawn(async move {
                // The reader of the response learns of a failure.
                let _ = poll_fn(|cx| stream.borrow_mut().poll_upload(cx)).await;
            }));
        }
    }

    /// Returns whether the whole request is written.
    pub(super) fn is_sent(&self) -> bool {
        self.stream.borrow().is_sent()
    }

    /// Sets the framing of the response body.
    pub(super) fn expect_body(&mut self, framing: BodyFraming) {
        self.stream.borrow_mut().expect_body(framing);
    }

    /// Reads the next piece of the response body; `None` at its end.
    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyReadFailure>>> {
        self.stream.borrow_mut().poll_data(cx)
    }

    /// Returns whether the response body is complete.
    pub(super) fn is_complete(&self) -> bool {
        self.stream.borrow().is_complete()
    }

    /// Looks for bytes or a close that arrived while the connection was idle.
    pub(super) fn check(&mut self) {
        self.stream.borrow_mut().check();
    }

    /// Releases the memory that an idle connection does not need.
    pub(super) fn rest(&mut self) {
        self.stream.borrow_mut().rest();
    }

    /// Returns whether the last exchange is complete in both directions and no byte or close has
    /// arrived since, as of the last [check](Self::check).
    pub(super) fn is_idle(&self) -> bool {
        self.stream.borrow().is_idle()
    }

    /// Returns the number of bytes received over it.
    pub(super) fn received(&self) -> u64 {
        self.stream.borrow().received()
    }

    /// Returns the connection as a tunnel, after the head of a 101; `None` while a task still sends
    /// the request.
    pub(super) fn into_tunnel(self) -> Option<OriginTunnel> {
        let (socket, ahead) = Rc::into_inner(self.stream)?.into_inner().into_socket();
        Some(OriginTunnel::new(socket, ahead))
    }
}

/// Task that ends with its owner.
pub(super) struct OwnedTask(JoinHandle<()>);

impl OwnedTask {
    pub(super) fn spawn(future: impl Future<Output = ()> + 'static) -> Self {
        Self(spawn_local(future))
    }

    pub(super) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
