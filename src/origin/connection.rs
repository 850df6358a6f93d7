//! Connection to the origin: hyper's state machine, polled by its current user.
//!
//! ```text
//! idle ── send ──► polled by the exchange ──► polled by the body ──► idle
//!                        └── the head arrived before the request was sent ──► polled by a task
//! ```
//!
//! The steps of an exchange follow one another, so a task per connection would only be woken by its
//! user and wake it again. Only a response that begins before its request is sent has two
//! concurrent steps; then a task polls the connection, so that neither body waits for the reader of
//! the other.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::Instant;

use super::address::AddressUse;
use super::idle::ReusedTimer;
use super::interims::InterimReceiver;
use super::socket::{OriginSocket, ReceivedBytes};
use super::upload::UploadBody;
use crate::limits::{ORIGIN_HEAD_BYTES_MAX, ORIGIN_HEAD_FIELDS_MAX};
use crate::origin::error::FetchError;

/// Connection that carries one exchange at a time. Dropping it closes it in any state.
pub(super) struct OriginConnection {
    sender: SendRequest<UploadBody>,
    driver: ConnectionDriver,
    received: ReceivedBytes,
    /// Time for which the origin keeps the connection idle, as far as its head states it.
    pub(super) usable_for: Option<Duration>,
    /// Time from which it carries no other exchange, because of its age.
    pub(super) expires: Option<Instant>,
    pub(super) usage: Arc<AddressUse>,
    /// Timer of the head deadline; one for all exchanges, because it rarely expires.
    timer: ReusedTimer,
}

/// Party that polls hyper's connection.
enum ConnectionDriver {
    /// The user of the connection.
    User(Pin<Box<dyn Future<Output = hyper::Result<()>>>>),
    /// A task of its own.
    Task(OwnedTask),
    /// None: the connection has ended.
    Ended,
}

/// Poll function of a value that becomes ready while the connection is polled.
type DrivenPart<'a, T> = dyn FnMut(&mut Context<'_>) -> Poll<T> + 'a;

/// Result of hyper for a request.
type HyperOutcome = Result<Response<Incoming>, TrySendError<Request<UploadBody>>>;

impl OriginConnection {
    /// Creates a connection on the socket. Completes at once: HTTP/1.1 has no handshake.
    pub(super) async fn establish(socket: OriginSocket) -> Result<Self, FetchError> {
        let (received, usage) = (socket.received(), socket.usage());
        let (sender, connection) = Builder::new()
            .max_headers(ORIGIN_HEAD_FIELDS_MAX)
            .max_header_size(ORIGIN_HEAD_BYTES_MAX)
            // Also the number of bytes that hyper may read ahead of the body's reader.
            .max_buf_size(ORIGIN_HEAD_BYTES_MAX)
            .handshake(TokioIo::new(socket))
            .await
            .map_err(|error| FetchError::Connect(Arc::new(io::Error::other(error))))?;
        let driver = ConnectionDriver::User(Box::pin(connection.with_upgrades()));
        let timer = ReusedTimer::default();
        let mut connection = Self { sender, driver, received, usable_for: None, expires: None, usage, timer };
        connection.check();
        Ok(connection)
    }

    /// Sends the request in `request` and waits for the response head. Returns `None` if `due`
    /// passes first. An unwritten request comes back with the error. `interims` gets each interim
    /// response as it arrives.
    ///
    /// Cancel safe: after a cancel the connection can only be dropped, which closes it.
    pub(super) async fn send(
        &mut self,
        request: &mut Option<Request<UploadBody>>,
        due: impl Fn() -> Instant,
        interims: Option<&dyn InterimReceiver>,
    ) -> Option<HyperOutcome> {
        let Self { sender, driver, timer, received, .. } = self;
        let outgoing = request.as_mut()?;
        if let Some(gate) = outgoing.body().gate() {
            hyper::ext::on_informational(outgoing, move |interim| {
                if interim.status() == StatusCode::CONTINUE {
                    gate.open();
                }
            });
        }
        received.await_head(interims);
        // Taken as late as possible, because it is large.
        let mut response = pin!(sender.try_send_request(request.take()?));
        let mut is_started = false;
        let outcome = poll_fn(|cx| {
            // There is no response to a request that is not yet written.
            let poll = if is_started { ConnectionDriver::poll } else { ConnectionDriver::poll_once };
            is_started = true;
            let polled = poll(driver, cx, &mut |cx| response.as_mut().poll(cx));
            if let Some(receiver) = interims {
                received.give_interims(receiver);
            }
            if let Poll::Ready(outcome) = polled {
                return Poll::Ready(Some(outcome));
            }
            timer.poll_expired(cx, due()).map(|()| None)
        })
        .await;
        if matches!(outcome, Some(Ok(_))) {
            received.end_head();
        }
        outcome
    }

    /// Returns whether the origin sent more before its response head than the proxy reads.
    pub(super) fn exceeds_head(&self) -> bool {
        self.received.is_exceeded()
    }

    /// Moves the connection to a task of its own.
    pub(super) fn detach(&mut self) {
        self.driver.detach();
    }

    /// Polls the connection, then `part`.
    pub(super) fn poll<T>(&mut self, cx: &mut Context<'_>, part: &mut DrivenPart<'_, T>) -> Poll<T> {
        self.driver.poll(cx, part)
    }

    /// Polls the connection once, to notice bytes or a close that arrived while it was idle.
    pub(super) fn check(&mut self) {
        self.driver.drive(&mut Context::from_waker(Waker::noop()));
    }

    /// Returns whether the last exchange is complete in both directions and no byte or close has
    /// arrived since, as of the last [check](Self::check).
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Returns whether the peer or an error has closed it, as of the last [check](Self::check).
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Returns the number of bytes received over it.
    pub(super) fn received(&self) -> u64 {
        self.received.bytes()
    }

    /// Waits until hyper has released the socket, after the head of a 101.
    pub(super) async fn wait_released(mut self) {
        match &mut self.driver {
            // Only the end matters; the panic hook has reported a panic in the task.
            ConnectionDriver::Task(task) => drop((&mut task.0).await),
            ConnectionDriver::User(_) | ConnectionDriver::Ended => {
                poll_fn(|cx| {
                    self.driver.drive(cx);
                    if matches!(self.driver, ConnectionDriver::Ended) {
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
    /// Polls the connection, then `part`.
    ///
    /// Taking a value from hyper wakes the waker of the last poll, which is this task's, and would
    /// cause a useless poll. So the connection is polled with a no-op waker first, and with the
    /// caller's waker only if that read nothing.
    fn poll<T>(&mut self, cx: &mut Context<'_>, part: &mut DrivenPart<'_, T>) -> Poll<T> {
        if let Self::User(_) | Self::Ended = self
            && let Poll::Ready(value) = self.poll_once(&mut Context::from_waker(Waker::noop()), part)
        {
            return Poll::Ready(value);
        }
        self.poll_once(cx, part)
    }

    /// Polls the connection, then `part`, for a caller that knows `part` is not ready yet.
    fn poll_once<T>(&mut self, cx: &mut Context<'_>, part: &mut DrivenPart<'_, T>) -> Poll<T> {
        self.drive(cx);
        match self {
            Self::Task(_) => part(cx),
            // The poll of the connection makes the value ready in this call, or not at all.
            Self::User(_) | Self::Ended => part(&mut Context::from_waker(Waker::noop())),
        }
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Self::User(connection) = self
            && let Poll::Ready(end) = connection.as_mut().poll(cx)
        {
            log_end(end);
            *self = Self::Ended;
        }
    }

    fn detach(&mut self) {
        *self = match std::mem::replace(self, Self::Ended) {
            Self::User(connection) => Self::Task(OwnedTask::spawn(async move { log_end(connection.await) })),
            other @ (Self::Task(_) | Self::Ended) => other,
        };
    }
}

/// Logs an error of a connection in no exchange. An exchange gets an error of its own.
fn log_end(end: hyper::Result<()>) {
    if let Err(error) = end {
        tracing::debug!(%error, "connection to the origin failed outside an exchange");
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
