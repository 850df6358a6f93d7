//! Deadline for each wait between two pieces of a body.
//!
//! A body arrives in thousands of pieces and hardly ever waits long, so resetting a timer for each
//! piece would cost more than the deadline protects. This timer keeps running. If it expires during
//! a wait that began after it was set, it is set again for the rest of that wait.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::limits::CLIENT_RATE_MIN;

/// Timer that is reset only when it expires.
#[derive(Debug, Default)]
pub(super) struct ReusedTimer(Option<Pin<Box<Sleep>>>);

impl ReusedTimer {
    /// Becomes ready once `due` is past. `due` must not be earlier than in the previous call.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(due)));
        loop {
            // A flood that is read in this turn uses up the cooperative budget of the task, and
            // a timer that depends on the budget would never fire.
            ready!(pin!(unconstrained(timer.as_mut())).poll(cx));
            if timer.deadline() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}

/// Deadline for consecutive waits. Its timer is set at the first real wait.
#[derive(Debug)]
pub(super) struct IdleDeadline {
    timeout: Duration,
    /// Remaining time for the next wait.
    left: Duration,
    /// Start of the current wait.
    waiting_since: Option<Instant>,
    timer: ReusedTimer,
}

impl IdleDeadline {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, left: timeout, waiting_since: None, timer: ReusedTimer::default() }
    }

    /// Returns the longest wait.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Ends the current wait, if there is one, without consuming the timeout.
    pub(super) fn end_wait(&mut self) {
        self.waiting_since = None;
    }

    /// Ends the current wait of a party that has to reach a minimum rate. The wait consumes the
    /// timeout and the received bytes restore it, so short waits exhaust it too if too little
    /// arrives between them.
    pub(super) fn end_wait_with(&mut self, bytes: usize) {
        let waited = self.waiting_since.take().map(|since| since.elapsed()).unwrap_or_default();
        let earned = u32::try_from(bytes).unwrap_or(u32::MAX) / CLIENT_RATE_MIN;
        let left = self.left.saturating_add(Duration::from_secs(u64::from(earned)));
        self.left = left.saturating_sub(waited).min(self.timeout);
    }

    /// Becomes ready once the current wait exceeds the timeout, or the rest of it. Begins a wait if
    /// none is running.
    pub(super) fn poll_elapsed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = *self.waiting_since.get_or_insert_with(Instant::now) + self.left;
        self.timer.poll_expired(cx, due)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::{advance, timeout};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    /// Returns the length of the wait that the deadline ended.
    async fn elapsed(deadline: &mut IdleDeadline) -> Duration {
        let began = Instant::now();
        poll_fn(|cx| deadline.poll_elapsed(cx)).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_the_whole_timeout() {
        let mut deadline = IdleDeadline::new(LIMIT);
        for _ in 0..5 {
            let waited = timeout(LIMIT * 9 / 10, elapsed(&mut deadline)).await;
            assert!(waited.is_err(), "no single wait was too long");
            deadline.end_wait();
            advance(LIMIT / 2).await;
        }
        let waited = elapsed(&mut deadline).await;
        assert!(waited >= LIMIT && waited < LIMIT + Duration::from_millis(5), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_exhausts_the_timeout() {
        const STEP: Duration = Duration::from_secs(2);
        for (bytes, waits) in
            [(1, Some(5)), (CLIENT_RATE_MIN as usize, Some(9)), (2 * CLIENT_RATE_MIN as usize, None)]
        {
            let mut deadline = IdleDeadline::new(LIMIT);
            let mut ended = None;
            for wait in 1..=100 {
                if timeout(STEP, elapsed(&mut deadline)).await.is_ok() {
                    ended = Some(wait);
                    break;
                }
                deadline.end_wait_with(bytes);
            }
            assert_eq!(ended, waits, "{bytes} bytes every {STEP:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_spans_several_polls() {
        let mut deadline = IdleDeadline::new(LIMIT);
        assert!(timeout(LIMIT / 2, elapsed(&mut deadline)).await.is_err());
        let rest = elapsed(&mut deadline).await;
        assert!(rest <= LIMIT / 2 + Duration::from_millis(5), "{rest:?}");
    }
}
