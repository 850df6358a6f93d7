//! A deadline for each wait between two pieces of a body.
//!
//! A body comes in thousands of pieces and hardly ever waits long, so a timer that is set anew for
//! each of them would cost more than it guards. This one is left to run: if it rings during a wait
//! that began later than it was set for, it is set again for the rest of that wait.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::limits::CLIENT_RATE_MIN;

/// A timer that is left to run.
#[derive(Debug, Default)]
pub(super) struct ReusedTimer(Option<Pin<Box<Sleep>>>);

impl ReusedTimer {
    /// Ready once `due` is past, which must never be earlier than it was the last time.
    pub(super) fn poll_rung(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(due)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}

/// Measures waits, one after the other. Set only once somebody has really waited.
#[derive(Debug)]
pub(super) struct IdleDeadline {
    timeout: Duration,
    /// What is left of it for the next wait.
    left: Duration,
    /// When the wait began that is going on.
    waiting_since: Option<Instant>,
    alarm: ReusedTimer,
}

impl IdleDeadline {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, left: timeout, waiting_since: None, alarm: ReusedTimer::default() }
    }

    /// Something came: the wait, if there was one, is over.
    pub(super) fn progressed(&mut self) {
        self.waiting_since = None;
    }

    /// Ends the wait for a party that owes a rate. The wait uses up the timeout, and the bytes that
    /// came earn it back: short waits end all the same, if too little comes in between.
    pub(super) fn progressed_by(&mut self, bytes: usize) {
        let waited = self.waiting_since.take().map(|since| since.elapsed()).unwrap_or_default();
        let earned = u32::try_from(bytes).unwrap_or(u32::MAX) / CLIENT_RATE_MIN;
        let left = self.left.saturating_add(Duration::from_secs(u64::from(earned)));
        self.left = left.saturating_sub(waited).min(self.timeout);
    }

    /// Nothing came: ready once this wait has lasted for the timeout, or what is left of it.
    pub(super) fn poll_elapsed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = *self.waiting_since.get_or_insert_with(Instant::now) + self.left;
        self.alarm.poll_rung(cx, due)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::{advance, timeout};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    /// How long the wait lasted that the deadline ended.
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
            deadline.progressed();
            advance(LIMIT / 2).await;
        }
        let waited = elapsed(&mut deadline).await;
        assert!(waited >= LIMIT && waited < LIMIT + Duration::from_millis(5), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_a_wait_too() {
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
                deadline.progressed_by(bytes);
            }
            assert_eq!(ended, waits, "{bytes} bytes every {STEP:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_goes_on_over_several_polls() {
        let mut deadline = IdleDeadline::new(LIMIT);
        assert!(timeout(LIMIT / 2, elapsed(&mut deadline)).await.is_err());
        let rest = elapsed(&mut deadline).await;
        assert!(rest <= LIMIT / 2 + Duration::from_millis(5), "{rest:?}");
    }
}
