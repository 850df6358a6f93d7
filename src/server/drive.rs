//! Polling of one hyper connection together with its time limits and the shutdown.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::sleep;

use super::activity::ClientWait;
use super::drain::Shutdown;
use super::watch::ConnectionWatch;
use crate::limits::DRAIN_SPREAD;

/// Waits until `grace` has passed since the shutdown began. A grace other than zero gets a random
/// addition, so that not all connections end at once.
pub(super) async fn drain_begun(shutdown: &Shutdown, grace: Duration) {
    shutdown.begun().await;
    if !grace.is_zero() {
        sleep(grace + DRAIN_SPREAD.mul_f64(fastrand::f64())).await;
    }
}

/// A connection of hyper, HTTP/1.1 or HTTP/2, with a graceful shutdown.
pub(super) trait DrivableConnection: Future<Output = hyper::Result<()>> + Unpin {
    /// Lets the requests in flight finish and accepts no more.
    fn finish(self: Pin<&mut Self>);
}

/// The reason why driving a connection ended.
pub(super) enum DriveEnd {
    /// hyper finished the connection.
    Done(hyper::Result<()>),
    /// The client exceeded a time limit.
    Overdue(ClientWait),
    /// The connection has been idle for a while, and hyper's state can be dropped. HTTP/1.1 only.
    Idle,
}

/// Drives a connection until hyper finishes it or the client exceeds a time limit, and starts its
/// graceful shutdown when the process shuts down.
///
/// Checking the limits and the shutdown costs one load each, because hyper's future is polled at
/// least once for every request.
///
/// `unread` receives the number of streams that ended because their client did not read them.
///
/// `grace` is the delay between the begin of the shutdown and its notice to the connection.
pub(super) async fn drive<C: DrivableConnection>(
    connection: &mut C,
    watch: &mut ConnectionWatch,
    shutdown: &Shutdown,
    grace: Duration,
    unread: impl Fn(usize),
) -> DriveEnd {
    let mut begun = pin!(drain_begun(shutdown, grace));
    let mut notice = ShutdownNotice::Unregistered;
    poll_fn(|cx| {
        // hyper reads received bytes first: the client sent them before it could know of the
        // shutdown.
        if let Poll::Ready(result) = Pin::new(&mut *connection).poll(cx) {
            return Poll::Ready(DriveEnd::Done(result));
        }
        let mut notified = false;
        notice.update(begun.as_mut(), shutdown, cx, || {
            Pin::new(&mut *connection).finish();
            notified = true;
        });
        if notified && let Poll::Ready(result) = Pin::new(&mut *connection).poll(cx) {
            return Poll::Ready(DriveEnd::Done(result));
        }
        let overdue = watch.poll_overdue(cx).map(DriveEnd::Overdue);
        let ended = watch.take_ended();
        if ended > 0 {
            unread(ended);
            // h2 keeps the buffers of an ended stream until the connection ends, so this connection
            // accepts no more streams.
            Pin::new(&mut *connection).finish();
            if let Poll::Ready(result) = Pin::new(&mut *connection).poll(cx) {
                return Poll::Ready(DriveEnd::Done(result));
            }
        }
        // Nothing has happened since hyper's poll, so no byte can be lost.
        if overdue.is_pending() && watch.take_parkable() && !shutdown.has_begun() {
            return Poll::Ready(DriveEnd::Idle);
        }
        overdue
    })
    .await
}

/// The progress of notifying a connection of the shutdown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ShutdownNotice {
    /// No poll has registered this task's waker yet.
    Unregistered,
    /// The signal wakes this task when the shutdown begins.
    Awaited,
    /// The connection has begun its graceful shutdown.
    Given,
}

impl ShutdownNotice {
    fn update(
        &mut self,
        begun: Pin<&mut impl Future<Output = ()>>,
        shutdown: &Shutdown,
        cx: &mut Context<'_>,
        give: impl FnOnce(),
    ) {
        let is_due = match self {
            Self::Unregistered => true,
            Self::Awaited => shutdown.has_begun(),
            Self::Given => false,
        };
        if is_due {
            *self = Self::Awaited;
            if begun.poll(cx).is_ready() {
                *self = Self::Given;
                give();
            }
        }
    }
}
