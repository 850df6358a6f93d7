//! A pending command, and its hedge if the reply is late.
//!
//! One connection can be slow alone: a lost packet delays it for at least 200 ms (the kernel's
//! minimum retransmission timeout), a large reply for its whole transfer. So a read whose reply is
//! late by the recent latency is sent again on another connection, and the first reply wins. The
//! other is dropped in order, like that of any abandoned command.
//!
//! A server that is slow as a whole must not get twice the load: each read earns `redis_hedge` of a
//! hedge, and at most [`REDIS_HEDGES_SAVED_MAX`] are saved. **Always:** a command has at most one
//! hedge, only reads have one, it never goes to a silent connection, and both attempts end when the
//! first alone would have ended.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::lanes::Lanes;
use crate::limits::REDIS_HEDGES_SAVED_MAX;
use crate::redis::connection::PendingReply;
use crate::redis::error::CommandError;
use crate::redis::health::{HedgeResult, PoolMetrics};
use crate::redis::submission::Submission;
use crate::redis::tracking::TrackedVersion;
use crate::resp::{CommandUrgency, Reply};
use crate::time::instant;

/// The hedges that may be sent.
#[derive(Debug)]
pub(in crate::redis) struct HedgeBudget {
    /// The part of a hedge that each read earns.
    share: f64,
    /// Hedges saved.
    saved: Cell<f64>,
}

impl HedgeBudget {
    /// A budget with nothing saved.
    pub(in crate::redis) fn new(share: f64) -> Self {
        Self { share, saved: Cell::new(0.0) }
    }

    fn earn(&self) {
        self.saved.set((self.saved.get() + self.share).min(REDIS_HEDGES_SAVED_MAX));
    }

    fn spend(&self) -> Option<()> {
        let saved = self.saved.get();
        (saved >= 1.0).then(|| self.saved.set(saved - 1.0))
    }
}

/// The pool's parts that an attempt uses.
#[derive(Clone, Copy)]
pub(in crate::redis) struct HedgeContext<'a> {
    pub(in crate::redis) lanes: &'a Lanes,
    pub(in crate::redis) budget: &'a HedgeBudget,
    pub(in crate::redis) metrics: &'a PoolMetrics,
}

/// A submitted command that may be submitted once more.
///
/// Cancel safe, as [`PendingReply`] is.
#[must_use = "futures do nothing unless polled"]
pub(in crate::redis) struct HedgedReply<'a> {
    context: HedgeContext<'a>,
    submission: &'a Submission<'a>,
    first: Attempt,
    second: Attempt,
}

enum Attempt {
    /// Not made, or not to be made.
    Not,
    Waiting(PendingReply),
    Failed(CommandError),
}

impl<'a> HedgedReply<'a> {
    /// Waits for `first`.
    pub(in crate::redis) fn new(
        context: HedgeContext<'a>,
        submission: &'a Submission<'a>,
        first: PendingReply,
    ) -> Self {
        if submission.command.urgency() == CommandUrgency::Interactive {
            context.budget.earn();
        }
        Self { context, submission, first: Attempt::Waiting(first), second: Attempt::Not }
    }

    /// Makes the second attempt, if there was none and the first is late.
    fn hedge(&mut self) {
        let (Attempt::Waiting(first), Attempt::Not) = (&self.first, &self.second) else { return };
        if !first.is_late() {
            return;
        }
        let HedgeContext { lanes, budget, metrics } = self.context;
        let again = Submission { submitted: instant(), ..*self.submission };
        self.second = match budget.spend().map(|()| lanes.submit_apart(&again, first)) {
            Some(Ok(second)) => Attempt::Waiting(second),
            Some(Err(refusal)) => {
                metrics.hedge(HedgeResult::NoRoom);
                Attempt::Failed(refusal)
            }
            None => {
                metrics.hedge(HedgeResult::OverBudget);
                Attempt::Failed(CommandError::Full)
            }
        };
    }
}

impl Attempt {
    /// Ready with a reply, or with `None` if the attempt has failed or was not made.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Reply, TrackedVersion)>> {
        let Self::Waiting(pending) = self else { return Poll::Ready(None) };
        match ready!(pending.poll_version(cx)) {
            Ok(reply) => Poll::Ready(Some(reply)),
            Err(failure) => {
                *self = Self::Failed(failure);
                Poll::Ready(None)
            }
        }
    }

    fn is_waiting(&self) -> bool {
        matches!(self, Self::Waiting(_))
    }
}

impl Future for HedgedReply<'_> {
    type Output = Result<(Reply, TrackedVersion), CommandError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let first = this.first.poll(cx);
        if let Poll::Ready(Some(reply)) = first {
            if this.second.is_waiting() {
                this.context.metrics.hedge(HedgeResult::Lost);
            }
            return Poll::Ready(Ok(reply));
        }
        this.hedge();
        let had_second = this.second.is_waiting();
        let second = this.second.poll(cx);
        if let Poll::Ready(Some(reply)) = second {
            this.context.metrics.hedge(HedgeResult::Won);
            return Poll::Ready(Ok(reply));
        }
        if this.first.is_waiting() || this.second.is_waiting() {
            return Poll::Pending;
        }
        if had_second {
            this.context.metrics.hedge(HedgeResult::Unused);
        }
        match (&this.first, &this.second) {
            (Attempt::Failed(failure), _) | (_, Attempt::Failed(failure)) => Poll::Ready(Err(*failure)),
            _ => Poll::Ready(Err(CommandError::Closed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hedges_are_earned_and_saved_up_to_a_limit() {
        let budget = HedgeBudget::new(0.25);
        assert_eq!(budget.spend(), None);
        (0..3).for_each(|_| budget.earn());
        assert_eq!(budget.spend(), None);
        budget.earn();
        assert_eq!((budget.spend(), budget.spend()), (Some(()), None));
        (0..1_000_000).for_each(|_| budget.earn());
        let spent = std::iter::from_fn(|| budget.spend()).count();
        assert_eq!(spent as f64, REDIS_HEDGES_SAVED_MAX);
        let none = HedgeBudget::new(0.0);
        (0..1000).for_each(|_| none.earn());
        assert_eq!(none.spend(), None);
    }
}
