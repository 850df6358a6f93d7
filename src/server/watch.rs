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
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::activity::{Activity, Output, Waiting};
use super::pace::{Allowance, ReaderPace};
use super::streams::Streams;
use crate::limits::CLIENT_PACE_SAMPLES;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// From the first byte of a head to its last; for a new connection, from its acceptance.
    pub(super) head: Duration,
    /// Between the last byte of an answer and the next request.
    pub(super) idle: Duration,
    /// For an answer of which the client takes nothing.
    pub(super) body: Duration,
}

impl Limits {
    fn of(self, waiting: Waiting) -> Duration {
        match waiting {
            Waiting::Opening | Waiting::Head => self.head,
            Waiting::Request => self.idle,
            Waiting::Reader => self.body,
        }
    }

    /// Between two looks at whether answers are being taken.
    fn sample(self) -> Duration {
        self.body / CLIENT_PACE_SAMPLES
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
    /// The last look at what the client takes, and when that was.
    output: Output,
    sampled: Instant,
    allowance: Allowance,
    /// The streams of an HTTP/2 connection.
    streams: Option<Rc<Streams>>,
    /// Streams ended and not yet reported.
    ended: usize,
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
        Self {
            activity,
            limits,
            since,
            alarm,
            armed: Armed::No,
            output: Output::default(),
            sampled: since,
            allowance: Allowance::new(limits.body),
            streams: None,
            ended: 0,
        }
    }

    /// Watches the streams of the connection as well; returns where they note how they are taken.
    pub(super) fn watch_streams(&mut self) -> Rc<Streams> {
        Rc::clone(self.streams.get_or_insert_with(|| Rc::new(Streams::new(self.limits.body))))
    }

    /// Streams that were ended, because their client did not take them, since this was asked last.
    pub(super) fn take_ended(&mut self) -> usize {
        std::mem::take(&mut self.ended)
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
            if self.sample(now) == ReaderPace::Lost {
                return Poll::Ready(Waiting::Reader);
            }
            let next_sample = now + self.limits.sample();
            match due {
                Some((waiting, at)) if at <= now => return Poll::Ready(waiting),
                Some((_, at)) => self.set(at.min(next_sample)),
                // It is our turn; a limit that begins meanwhile cannot end before this.
                None => self.set(next_sample.min(now + self.limits.head.min(self.limits.idle))),
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

    /// Looks whether the client takes what it asked for. While the socket is full, the whole connection is charged; while it
    /// is not, each stream is.
    fn sample(&mut self, now: Instant) -> ReaderPace {
        let waited = now.saturating_duration_since(std::mem::replace(&mut self.sampled, now));
        let output = self.activity.output();
        let last = std::mem::replace(&mut self.output, output);
        let is_full = output.is_blocked && last.is_blocked && output.flushes == last.flushes;
        if let Some(streams) = &self.streams {
            self.ended += streams.sample(if is_full { Duration::ZERO } else { waited });
        }
        if is_full {
            return self.allowance.spend(waited, output.taken.wrapping_sub(last.taken), self.limits.body);
        }
        self.allowance = Allowance::new(self.limits.body);
        ReaderPace::Kept
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

    const LIMITS: Limits =
        Limits { head: Duration::from_secs(2), idle: Duration::from_secs(10), body: Duration::from_secs(20) };

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
    async fn a_client_that_takes_nothing_has_its_limit_and_one_that_trickles_too() {
        for taken in [0, 100] {
            let activity = Arc::new(Activity::new());
            let mut watch = Watch::new(Arc::clone(&activity), LIMITS);
            activity.heard(1, Inbound::Between);
            activity.begin();
            activity.writes();
            let trickle = async {
                loop {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    activity.wrote(taken);
                }
            };
            let (waited, waiting) = tokio::select! {
                overdue = overdue(&mut watch) => overdue,
                () = trickle => return,
            };
            assert_eq!(waiting, Waiting::Reader);
            assert!((20..60).contains(&waited), "{taken} bytes a second: {waited} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_all_there_is_is_not_waited_for() {
        let activity = Arc::new(Activity::new());
        let mut watch = Watch::new(Arc::clone(&activity), LIMITS);
        activity.heard(1, Inbound::Between);
        activity.begin();
        activity.writes();
        activity.flushes();
        let slow_origin = tokio::time::timeout(Duration::from_secs(600), overdue(&mut watch)).await;
        assert!(slow_origin.is_err());
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
