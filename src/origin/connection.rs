//! One connection to the origin: hyper's state machine, driven by whoever uses it.
//!
//! ```text
//! idle ── send ──► driven by the exchange ──► driven by the body ──► idle
//!                        └── the head came before the request was gone ──► driven by a task of its own
//! ```
//!
//! An exchange is one thing after another, so a task for each connection would only be woken by its
//! user and wake it again. Only an answer that begins while its request is still being sent is two
//! things at a time: then neither of them may wait for whoever reads the other.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::Instant;

use super::FetchError;
use super::idle::ReusedTimer;
use super::socket::{OriginSocket, ReceivedBytes};
use super::upload::UploadBody;
use crate::limits::{HEAD_FIELDS_MAX, ORIGIN_HEAD_BYTES_MAX};

/// A connection that carries one exchange at a time. Dropping it closes it, whatever it is doing.
pub(super) struct OriginConnection {
    sender: SendRequest<UploadBody>,
    driver: ConnectionDriver,
    received: ReceivedBytes,
    /// How long the origin said that it may be idle and be used again.
    pub(super) usable_for: Option<Duration>,
    /// For the head of an answer; one for all exchanges, since it hardly ever rings.
    alarm: ReusedTimer,
}

/// Who drives it.
enum ConnectionDriver {
    /// Whoever uses it.
    User(Pin<Box<dyn Future<Output = hyper::Result<()>>>>),
    /// Itself.
    Task(OwnedTask),
    /// Nobody: it is over.
    Over,
}

/// Asks for something that a connection gives while it is driven.
type DrivenPart<'a, T> = dyn FnMut(&mut Context<'_>) -> Poll<T> + 'a;

/// What hyper gives for a request.
type HyperOutcome = Result<Response<Incoming>, TrySendError<Request<UploadBody>>>;

impl OriginConnection {
    /// Makes the socket a connection. Ends at once: HTTP/1.1 has no handshake.
    pub(super) async fn over(socket: OriginSocket) -> Result<Self, FetchError> {
        let received = socket.received();
        let (sender, connection) = Builder::new()
            .max_headers(HEAD_FIELDS_MAX)
            .max_header_size(ORIGIN_HEAD_BYTES_MAX)
            // Also what hyper may read ahead of whoever reads the body.
            .max_buf_size(ORIGIN_HEAD_BYTES_MAX)
            .handshake(TokioIo::new(socket))
            .await
            .map_err(|error| FetchError::Connect(Arc::new(io::Error::other(error))))?;
        let driver = ConnectionDriver::User(Box::pin(connection.with_upgrades()));
        let mut connection =
            Self { sender, driver, received, usable_for: None, alarm: ReusedTimer::default() };
        connection.look();
        Ok(connection)
    }

    /// Sends the request that stands there and waits for the head of its answer; nothing, if `due`
    /// is past before that. What was not even begun comes back with the error.
    ///
    /// Cancel safe: nothing can be done with the connection afterwards but to drop it, which closes
    /// it.
    pub(super) async fn send(
        &mut self,
        request: &mut Option<Request<UploadBody>>,
        due: impl Fn() -> Instant,
    ) -> Option<HyperOutcome> {
        let Self { sender, driver, alarm, .. } = self;
        // Taken as late as can be: it is large.
        let mut answer = pin!(sender.try_send_request(request.take()?));
        let mut is_begun = false;
        poll_fn(|cx| {
            // Nothing can answer what has yet to be written.
            let driven = if is_begun { ConnectionDriver::poll } else { ConnectionDriver::poll_once };
            is_begun = true;
            if let Poll::Ready(answered) = driven(driver, cx, &mut |by| answer.as_mut().poll(by)) {
                return Poll::Ready(Some(answered));
            }
            alarm.poll_rung(cx, due()).map(|()| None)
        })
        .await
    }

    /// Goes on without its user, from now on.
    pub(super) fn detach(&mut self) {
        self.driver.detach();
    }

    /// Drives it, and gives what `part` of it has then.
    pub(super) fn poll<T>(&mut self, cx: &mut Context<'_>, part: &mut DrivenPart<'_, T>) -> Poll<T> {
        self.driver.poll(cx, part)
    }

    /// Sees whether anything has come or closed while nobody drove it.
    pub(super) fn look(&mut self) {
        self.driver.drive(&mut Context::from_waker(Waker::noop()));
    }

    /// Whether the last exchange is over in both directions, and nothing has come or closed since,
    /// as far as was [looked](Self::look).
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Whether the other side, or an error, has ended it, as far as was [looked](Self::look).
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// How many bytes have come over it.
    pub(super) fn received(&self) -> u64 {
        self.received.bytes()
    }

    /// Waits until hyper has let go of the socket, after the head of a 101 was read.
    pub(super) async fn released(mut self) {
        match &mut self.driver {
            // The end is all that is to be known; a panic in it was reported where it happened.
            ConnectionDriver::Task(task) => drop((&mut task.0).await),
            ConnectionDriver::User(_) | ConnectionDriver::Over => {
                poll_fn(|cx| {
                    self.driver.drive(cx);
                    if matches!(self.driver, ConnectionDriver::Over) {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                })
                .await;
            }
        }
    }
}

impl ConnectionDriver {
    /// Drives it, and gives what `part` of it has then.
    ///
    /// Whoever takes something of hyper's wakes whoever drove the connection last, who is the same
    /// task: it would be polled again for nothing. So it is driven for nobody first, and in its
    /// user's name only if that has brought nothing.
    fn poll<T>(&mut self, cx: &mut Context<'_>, part: &mut DrivenPart<'_, T>) -> Poll<T> {
        if let Self::User(_) | Self::Over = self
            && let Poll::Ready(given) = self.poll_once(&mut Context::from_waker(Waker::noop()), part)
        {
            return Poll::Ready(given);
        }
        self.poll_once(cx, part)
    }

    /// The same, where it is known to give nothing yet.
    fn poll_once<T>(&mut self, cx: &mut Context<'_>, part: &mut DrivenPart<'_, T>) -> Poll<T> {
        self.drive(cx);
        match self {
            Self::Task(_) => part(cx),
            // What there is is put there by the driver, in this very call or not at all.
            Self::User(_) | Self::Over => part(&mut Context::from_waker(Waker::noop())),
        }
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Self::User(connection) = self
            && let Poll::Ready(end) = connection.as_mut().poll(cx)
        {
            ended(end);
            *self = Self::Over;
        }
    }

    fn detach(&mut self) {
        *self = match std::mem::replace(self, Self::Over) {
            Self::User(connection) => Self::Task(OwnedTask::spawn(async move { ended(connection.await) })),
            other @ (Self::Task(_) | Self::Over) => other,
        };
    }
}

/// Whoever used the connection got an error of its own; this one is of a connection that nobody
/// used.
fn ended(end: hyper::Result<()>) {
    if let Err(error) = end {
        tracing::debug!(%error, "a connection to the origin ended");
    }
}

/// A task that ends with its owner.
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
