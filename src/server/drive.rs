//! Driving one of hyper's connections, beside its time limits and the shutdown.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::sleep;

use super::activity::ClientWait;
use super::drain::Shutdown;
use super::watch::ConnectionWatch;
use crate::limits::DRAIN_SPREAD;

/// Ends so long after a shutdown has begun, and where that is a grace, not for all connections at
/// once.
pub(super) async fn drain_begun(shutdown: &Shutdown, grace: Duration) {
    shutdown.begun().await;
    if !grace.is_zero() {
        sleep(grace + DRAIN_SPREAD.mul_f64(fastrand::f64())).await;
    }
}

/// The two kinds of hyper's connections.
pub(super) trait DrivableConnection: Future<Output = hyper::Result<()>> + Unpin {
    /// Answers what is in flight and takes no more.
    fn finish(self: Pin<&mut Self>);
}

/// How driving a connection ended.
pub(super) enum DriveEnd {
    /// hyper has done with it.
    Done(hyper::Result<()>),
    /// The client has used up its time.
    Overdue(ClientWait),
}

/// Drives a connection, beside its time limits and the shutdown.
///
/// Both are asked in a way that costs a load each, because hyper's future is polled at least once
/// for every request.
///
/// `unread` is called with the number of streams that were ended because their client did not take
/// them.
///
/// `grace` is how long after its beginning the connection hears of the shutdown, if nothing else
/// tells it.
pub(super) async fn drive<C: DrivableConnection>(
    connection: &mut C,
    watch: &mut ConnectionWatch,
    shutdown: &Shutdown,
    grace: Duration,
    unread: impl Fn(usize),
) -> DriveEnd {
    let mut begun = pin!(drain_begun(shutdown, grace));
    let mut notice = ShutdownNotice::Unasked;
    poll_fn(|cx| {
        // First what has come already: it was sent by somebody who had not been told.
        if let Poll::Ready(result) = Pin::new(&mut *connection).poll(cx) {
            return Poll::Ready(DriveEnd::Done(result));
        }
        let mut told = false;
        notice.update(begun.as_mut(), shutdown, cx, || {
            Pin::new(&mut *connection).finish();
            told = true;
        });
        if told && let Poll::Ready(result) = Pin::new(&mut *connection).poll(cx) {
            return Poll::Ready(DriveEnd::Done(result));
        }
        let overdue = watch.poll_overdue(cx).map(DriveEnd::Overdue);
        let ended = watch.take_ended();
        if ended > 0 {
            unread(ended);
            // What h2 holds of an ended stream it holds until the connection ends: the client gets
            // no more of this one.
            Pin::new(&mut *connection).finish();
            if let Poll::Ready(result) = Pin::new(&mut *connection).poll(cx) {
                return Poll::Ready(DriveEnd::Done(result));
            }
        }
        overdue
    })
    .await
}

/// Whether a connection has heard of the shutdown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ShutdownNotice {
    /// Nobody would wake this task.
    Unasked,
    /// This task is woken when it begins.
    Awaited,
    /// The connection knows.
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
        let ask = match self {
            Self::Unasked => true,
            Self::Awaited => shutdown.has_begun(),
            Self::Given => false,
        };
        if ask {
            *self = Self::Awaited;
            if begun.poll(cx).is_ready() {
                *self = Self::Given;
                give();
            }
        }
    }
}
