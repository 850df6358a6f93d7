//! The time limits of a client: one timer a connection, moved only when it fires.
//!
//! hyper's own `header_read_timeout` makes a boxed timer for each request. Here a request makes
//! none: [`ConnectionWatch`] keeps one alarm that is allowed to be early. When it goes off, the
//! true deadline is worked out, and the alarm is set again unless the deadline has come. What an
//! ordinary request costs is one reading of the clock, when its answer has left.
//!
//! What always holds: a limit runs only while it is the client's turn; while one runs, the alarm is
//! never set later than its end.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::activity::{ClientWait, ConnectionActivity, Output};
use super::pace::{PaceAllowance, ReaderPace};
use super::streams::UnfinishedStreams;
use crate::limits::CLIENT_PACE_SAMPLES;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientTimeouts {
    /// From the first byte of a head to its last; for a new connection, from its acceptance.
    pub(super) head: Duration,
    /// Between the last byte of an answer and the next request.
    pub(super) idle: Duration,
    /// For an answer of which the client takes nothing.
    pub(super) body: Duration,
}

impl ClientTimeouts {
    fn of(self, waiting: ClientWait) -> Duration {
        match waiting {
            ClientWait::Opening | ClientWait::Head => self.head,
            ClientWait::Request => self.idle,
            ClientWait::Reader => self.body,
        }
    }

    /// Between two looks at whether answers are being taken.
    fn sample(self) -> Duration {
        self.body / CLIENT_PACE_SAMPLES
    }
}

/// Watches one connection.
pub(super) struct ConnectionWatch {
    activity: Arc<ConnectionActivity>,
    limits: ClientTimeouts,
    /// When the client's turn began.
    since: Instant,
    alarm: Pin<Box<Sleep>>,
    /// Whether the alarm knows whom to wake. It remembers; asking it again at each poll would cost
    /// a swap of wakers.
    armed: ArmedTimer,
    /// The last look at what the client takes, and when that was.
    output: Output,
    sampled: Instant,
    allowance: PaceAllowance,
    /// The streams of an HTTP/2 connection.
    streams: Option<Rc<UnfinishedStreams>>,
    /// Streams ended and not yet reported.
    ended: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ArmedTimer {
    No,
    Yes,
}

impl ConnectionWatch {
    /// Watches a connection that was accepted now.
    pub(super) fn new(activity: Arc<ConnectionActivity>, limits: ClientTimeouts) -> Self {
        let since = Instant::now();
        let alarm = Box::pin(sleep_until(since + limits.head));
        Self {
            activity,
            limits,
            since,
            alarm,
            armed: ArmedTimer::No,
            output: Output::default(),
            sampled: since,
            allowance: PaceAllowance::new(limits.body),
            streams: None,
            ended: 0,
        }
    }

    /// Watches the streams of the connection as well; returns where they note how they are taken.
    pub(super) fn watch_streams(&mut self) -> Rc<UnfinishedStreams> {
        Rc::clone(self.streams.get_or_insert_with(|| Rc::new(UnfinishedStreams::new(self.limits.body))))
    }

    /// Streams that were ended, because their client did not take them, since this was asked last.
    pub(super) fn take_ended(&mut self) -> usize {
        std::mem::take(&mut self.ended)
    }

    /// Ready when the client has used up its time, with what it was waited for.
    ///
    /// All polls must come from one task.
    pub(super) fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<ClientWait> {
        loop {
            let due = self.due();
            if let Some((_, at)) = due
                && at < self.alarm.deadline()
            {
                self.set(at);
            }
            if self.armed == ArmedTimer::Yes && !self.alarm.is_elapsed() {
                return Poll::Pending;
            }
            self.armed = ArmedTimer::Yes;
            ready!(self.alarm.as_mut().poll(cx));

            let now = Instant::now();
            if self.sample(now) == ReaderPace::Lost {
                return Poll::Ready(ClientWait::Reader);
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

    fn due(&mut self) -> Option<(ClientWait, Instant)> {
        let waiting = self.activity.waiting()?;
        if self.activity.take_moved() {
            self.since = Instant::now();
        }
        Some((waiting, self.since + self.limits.of(waiting)))
    }

    /// Looks whether the client takes what it asked for. While the socket is full, the whole
    /// connection is charged; while it is not, each stream is.
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
        self.allowance = PaceAllowance::new(self.limits.body);
        ReaderPace::Kept
    }

    fn set(&mut self, at: Instant) {
        self.alarm.as_mut().reset(at);
        self.armed = ArmedTimer::No;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::server::framing::NextBytes;

    const LIMITS: ClientTimeouts = ClientTimeouts {
        head: Duration::from_secs(2),
        idle: Duration::from_secs(10),
        body: Duration::from_secs(20),
    };

    /// Seconds from now until the watch says something, and what.
    async fn overdue(watch: &mut ConnectionWatch) -> (u64, ClientWait) {
        let began = Instant::now();
        let waiting = poll_fn(|cx| watch.poll_overdue(cx)).await;
        (began.elapsed().as_secs(), waiting)
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_limit() {
        let activity = Arc::new(ConnectionActivity::new());
        let mut watch = ConnectionWatch::new(Arc::clone(&activity), LIMITS);
        assert_eq!(overdue(&mut watch).await, (2, ClientWait::Opening));

        activity.heard(1, NextBytes::Between);
        activity.begin();
        let busy = tokio::time::timeout(Duration::from_secs(60), overdue(&mut watch)).await;
        assert!(busy.is_err(), "the handler may take its time");

        activity.end();
        assert_eq!(overdue(&mut watch).await, (10, ClientWait::Request));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_has_its_limit_and_one_that_trickles_too() {
        for taken in [0, 100] {
            let activity = Arc::new(ConnectionActivity::new());
            let mut watch = ConnectionWatch::new(Arc::clone(&activity), LIMITS);
            activity.heard(1, NextBytes::Between);
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
            assert_eq!(waiting, ClientWait::Reader);
            assert!((20..60).contains(&waited), "{taken} bytes a second: {waited} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_all_there_is_is_not_waited_for() {
        let activity = Arc::new(ConnectionActivity::new());
        let mut watch = ConnectionWatch::new(Arc::clone(&activity), LIMITS);
        activity.heard(1, NextBytes::Between);
        activity.begin();
        activity.writes();
        activity.flushes();
        let slow_origin = tokio::time::timeout(Duration::from_secs(600), overdue(&mut watch)).await;
        assert!(slow_origin.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_begins_during_idleness_brings_the_alarm_forward() {
        let activity = Arc::new(ConnectionActivity::new());
        let mut watch = ConnectionWatch::new(Arc::clone(&activity), LIMITS);
        activity.heard(1, NextBytes::Between);
        activity.begin();
        activity.end();
        let idle = tokio::time::timeout(Duration::from_secs(5), overdue(&mut watch)).await;
        assert!(idle.is_err());

        activity.heard(1, NextBytes::Head);
        assert_eq!(overdue(&mut watch).await, (2, ClientWait::Head));
    }
}
