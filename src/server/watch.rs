//! The time limits of a client: one timer per connection, reset only when it fires.
//!
//! hyper's own `header_read_timeout` allocates a timer for each request. [`ConnectionWatch`] keeps
//! one timer that may fire early. When it fires, the watch computes the true deadline and sets the
//! timer again unless the deadline has passed. An ordinary request costs one reading of the clock,
//! after its response is written.
//!
//! **Always:** a limit runs only while the server awaits the client; while one runs, the timer
//! never fires later than its end.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::activity::{ClientWait, ConnectionActivity, Output};
use super::pace::{PaceAllowance, ReaderPace};
use super::streams::UnfinishedStreams;
use crate::limits::{CLIENT_PACE_SAMPLES, CLIENT_PARK_AFTER};

/// The time limits of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientTimeouts {
    /// From the first byte of a head to its last; for a new connection, from its acceptance.
    pub(super) head: Duration,
    /// From the last byte of a response to the next request.
    pub(super) idle: Duration,
    /// For a response of which the client reads nothing.
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

    /// Returns the time between two samples of the client's reading.
    fn sample(self) -> Duration {
        self.body / CLIENT_PACE_SAMPLES
    }
}

/// The watch of one connection.
pub(super) struct ConnectionWatch {
    activity: Arc<ConnectionActivity>,
    limits: ClientTimeouts,
    /// The time when the server began to await the client.
    since: Instant,
    timer: Pin<Box<Sleep>>,
    /// Whether the timer has the task's waker. Registering the waker at each poll would cost a swap
    /// of wakers.
    armed: ArmedTimer,
    /// The last sample of the client's reading, and its time.
    output: Output,
    sampled: Instant,
    allowance: PaceAllowance,
    /// The streams of an HTTP/2 connection.
    streams: Option<Rc<UnfinishedStreams>>,
    /// Number of ended streams that are not reported yet.
    ended: usize,
    /// Whether the connection has just been found idle for [`CLIENT_PARK_AFTER`].
    is_parkable: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ArmedTimer {
    No,
    Yes,
}

impl ConnectionWatch {
    /// Creates the watch of a connection that was just accepted.
    pub(super) fn new(activity: Arc<ConnectionActivity>, limits: ClientTimeouts) -> Self {
        let since = Instant::now();
        // The first sample comes in time, although the timeout of a head may be much longer.
        let timer = Box::pin(sleep_until(since + limits.head.min(limits.sample())));
        Self {
            activity,
            limits,
            since,
            timer,
            armed: ArmedTimer::No,
            output: Output::default(),
            sampled: since,
            allowance: PaceAllowance::new(limits.body),
            streams: None,
            ended: 0,
            is_parkable: false,
        }
    }

    /// Starts to watch the streams of the connection, and returns their record.
    pub(super) fn watch_streams(&mut self) -> Rc<UnfinishedStreams> {
        Rc::clone(self.streams.get_or_insert_with(|| Rc::new(UnfinishedStreams::new(self.limits.body))))
    }

    /// Returns the number of streams that ended since the last call because their client did not
    /// read them.
    pub(super) fn take_ended(&mut self) -> usize {
        std::mem::take(&mut self.ended)
    }

    /// Returns whether the last poll found the connection idle for [`CLIENT_PARK_AFTER`]. The timer
    /// of the limits finds it when it fires, so a busy connection pays nothing for the question.
    pub(super) fn take_parkable(&mut self) -> bool {
        std::mem::take(&mut self.is_parkable)
    }

    /// Completes when the client exceeds a limit, with the event that it missed, or when one of its
    /// answers is cut.
    ///
    /// All polls must come from one task.
    pub(super) fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<ClientWait> {
        // A parked connection does not take it, and it must not outlast this poll: hyper may have a
        // request at the next one.
        self.is_parkable = false;
        if self.activity.answers().poll_cut(cx) {
            return Poll::Ready(ClientWait::Reader);
        }
        loop {
            let due = self.due();
            if let Some((_, at)) = due
                && at < self.timer.deadline()
            {
                self.set(at);
            }
            if self.armed == ArmedTimer::Yes && !self.timer.is_elapsed() {
                return Poll::Pending;
            }
            self.armed = ArmedTimer::Yes;
            // A flood that hyper reads in this turn uses up the cooperative budget of the task, and
            // a timer that depends on the budget would never fire.
            ready!(pin!(unconstrained(self.timer.as_mut())).poll(cx));

            let now = Instant::now();
            if self.sample(now) == ReaderPace::Lost {
                return Poll::Ready(ClientWait::Reader);
            }
            let next_sample = now + self.limits.sample();
            match due {
                Some((waiting, at)) if at <= now => return Poll::Ready(waiting),
                Some((_, at)) if self.activity.is_resting() => {
                    let parks_at = self.since + CLIENT_PARK_AFTER;
                    self.is_parkable = parks_at <= now;
                    let next = if self.is_parkable { next_sample } else { parks_at.min(next_sample) };
                    self.set(at.min(next));
                }
                Some((_, at)) => self.set(at.min(next_sample)),
                // The server is at work; a limit that begins meanwhile cannot end before this.
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

    /// Samples whether the client reads its responses. While the socket is full, the sample charges
    /// the whole connection, otherwise each stream.
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
        self.timer.as_mut().reset(at);
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

    /// Waits for the watch. Returns the seconds until then and the missed event.
    async fn overdue(watch: &mut ConnectionWatch) -> (u64, ClientWait) {
        let began = Instant::now();
        let waiting = poll_fn(|cx| watch.poll_overdue(cx)).await;
        (began.elapsed().as_secs(), waiting)
    }

    #[tokio::test(start_paused = true)]
    async fn each_awaited_event_has_its_limit() {
        let activity = Arc::new(ConnectionActivity::new());
        let mut watch = ConnectionWatch::new(Arc::clone(&activity), LIMITS);
        assert_eq!(overdue(&mut watch).await, (2, ClientWait::Opening));

        activity.received(1, NextBytes::Between);
        activity.begin();
        let busy = tokio::time::timeout(Duration::from_secs(60), overdue(&mut watch)).await;
        assert!(busy.is_err(), "no limit runs while the handler works");

        activity.end();
        assert_eq!(overdue(&mut watch).await, (10, ClientWait::Request));
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_and_slow_readers_exceed_their_limit() {
        for taken in [0, 100] {
            let activity = Arc::new(ConnectionActivity::new());
            let mut watch = ConnectionWatch::new(Arc::clone(&activity), LIMITS);
            activity.received(1, NextBytes::Between);
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
    async fn a_client_that_has_read_everything_has_no_limit() {
        let activity = Arc::new(ConnectionActivity::new());
        let mut watch = ConnectionWatch::new(Arc::clone(&activity), LIMITS);
        activity.received(1, NextBytes::Between);
        activity.begin();
        activity.writes();
        activity.flushes();
        let slow_origin = tokio::time::timeout(Duration::from_secs(600), overdue(&mut watch)).await;
        assert!(slow_origin.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_after_idleness_resets_the_timer_to_its_limit() {
        let activity = Arc::new(ConnectionActivity::new());
        let mut watch = ConnectionWatch::new(Arc::clone(&activity), LIMITS);
        activity.received(1, NextBytes::Between);
        activity.begin();
        activity.end();
        let idle = tokio::time::timeout(Duration::from_secs(5), overdue(&mut watch)).await;
        assert!(idle.is_err());

        activity.received(1, NextBytes::Head);
        assert_eq!(overdue(&mut watch).await, (2, ClientWait::Head));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_timeout_of_a_head_does_not_delay_the_end_of_an_unread_stream() {
        let limits = ClientTimeouts { head: Duration::from_secs(30), body: Duration::from_secs(2), ..LIMITS };
        let activity = Arc::new(ConnectionActivity::new());
        let mut watch = ConnectionWatch::new(Arc::clone(&activity), limits);
        let streams = watch.watch_streams();
        activity.received(1, NextBytes::Between);
        activity.begin();
        let stream = streams.begin();
        let mut task = tokio::task::JoinSet::new();
        streams.runs(task.spawn(std::future::pending::<()>()));
        streams.hand_over(stream, bytes::Bytes::from_static(b"unread"));
        let begun = Instant::now();
        tokio::select! {
            _ = overdue(&mut watch) => {}
            ended = task.join_next() => assert!(ended.unwrap().unwrap_err().is_cancelled()),
        }
        assert!(begun.elapsed() <= Duration::from_secs(3), "{:?}", begun.elapsed());
    }
}
