//! The time limits of a client: one timer a connection, moved only when it fires.
//!
//! hyper's own `header_read_timeout` makes a boxed timer for each request. Here a request makes none: [`Watch`]
//! keeps one alarm that is allowed to be early. When it goes off, the true deadline is worked out, and the
//! alarm is set again unless the deadline has come. What an ordinary request costs is one reading of the clock,
//! when its answer has left.
//!
//! What always holds: a limit runs only while it is the client's turn; while one runs, the alarm is never set
//! later than its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::activity::{Activity, Waiting};

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// From the first byte of a head to its last; for a new connection, from its acceptance.
    pub(super) head: Duration,
    /// Between the last byte of an answer and the next request.
    pub(super) idle: Duration,
}

impl Limits {
    fn of(self, waiting: Waiting) -> Duration {
        match waiting {
            Waiting::Opening | Waiting::Head => self.head,
            Waiting::Request => self.idle,
        }
    }
}

/// Watches one connection.
pub(super) struct Watch {
    activity: Arc<Activity>,
    limits: Limits,
    /// When the client's turn began.
    since: Instant,
    alarm: Pin<Box<Sleep>>,
    /// Whether the alarm knows whom to wake. It remembers; asking it again at each poll would cost a swap of
    /// wakers.
    armed: Armed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Armed {
    No,
    Yes,
}

impl Watch {
    /// Watches a connection that was accepted now.
    pub(super) fn new(activity: Arc<Activity>, limits: Limits) -> Self {
        let since = Instant::now();
        let alarm = Box::pin(sleep_until(since + limits.head));
        Self { activity, limits, since, alarm, armed: Armed::No }
    }

    /// Ready when the client has used up its time, with what it was waited for.
    ///
    /// All polls must come from one task.
    pub(super) fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<Waiting> {
        loop {
            let due = self.due();
            if let Some((_, at)) = due
                && at < self.alarm.deadline()
            {
                self.set(at);
            }
            if self.armed == Armed::Yes && !self.alarm.is_elapsed() {
                return Poll::Pending;
            }
            self.armed = Armed::Yes;
            ready!(self.alarm.as_mut().poll(cx));

            let now = Instant::now();
            match due {
                Some((waiting, at)) if at <= now => return Poll::Ready(waiting),
                Some((_, at)) => self.set(at),
                // It is our turn; a limit that begins meanwhile cannot end before this.
                None => self.set(now + self.limits.head.min(self.limits.idle)),
            }
        }
    }

    fn due(&mut self) -> Option<(Waiting, Instant)> {
        let waiting = self.activity.waiting()?;
        if self.activity.take_moved() {
            self.since = Instant::now();
        }
        Some((waiting, self.since + self.limits.of(waiting)))
    }

    fn set(&mut self, at: Instant) {
        self.alarm.as_mut().reset(at);
        self.armed = Armed::No;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::server::framing::Inbound;

    const LIMITS: Limits = Limits { head: Duration::from_secs(2), idle: Duration::from_secs(10) };

    /// Seconds from now until the watch says something, and what.
    async fn overdue(watch: &mut Watch) -> (u64, Waiting) {
        let began = Instant::now();
        let waiting = poll_fn(|cx| watch.poll_overdue(cx)).await;
        (began.elapsed().as_secs(), waiting)
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_limit() {
        let activity = Arc::new(Activity::new());
        let mut watch = Watch::new(Arc::clone(&activity), LIMITS);
        assert_eq!(overdue(&mut watch).await, (2, Waiting::Opening));

        activity.heard(1, Inbound::Between);
        activity.begin();
        let busy = tokio::time::timeout(Duration::from_secs(60), overdue(&mut watch)).await;
        assert!(busy.is_err(), "the handler may take its time");

        activity.end();
        assert_eq!(overdue(&mut watch).await, (10, Waiting::Request));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_begins_during_idleness_brings_the_alarm_forward() {
        let activity = Arc::new(Activity::new());
        let mut watch = Watch::new(Arc::clone(&activity), LIMITS);
        activity.heard(1, Inbound::Between);
        activity.begin();
        activity.end();
        let idle = tokio::time::timeout(Duration::from_secs(5), overdue(&mut watch)).await;
        assert!(idle.is_err());

        activity.heard(1, Inbound::Head);
        assert_eq!(overdue(&mut watch).await, (2, Waiting::Head));
    }
}
