//! A command under way, and the second try if its reply is late.
//!
//! One connection can be in trouble alone: a lost packet holds it up for 200 ms at least (the kernel's least time before
//! it sends again), a large reply for as long as it takes. So a read whose reply is late by the recent pace is sent once
//! more, on another connection, and the first reply of the two counts. The other one is dropped in order, as that of any
//! command that was given up.
//!
//! A server that is in trouble as a whole must not be asked twice as much: each read earns a part of a hedge, as much as
//! `redis_hedge` says, and no more than [`REDIS_HEDGES_SAVED_MAX`] can be saved up. What always holds: there is one
//! hedge at most, only for a read, never on a connection that is silent itself, and both tries together end when the
//! first would have ended alone.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::ask::Ask;
use super::error::Unavailable;
use super::lanes::Lanes;
use super::link::Pending;
use super::metrics::{Hedge, Metrics};
use super::news::Reading;
use crate::limits::REDIS_HEDGES_SAVED_MAX;
use crate::resp::{Reply, Urgency};
use crate::time::instant;

/// How many hedges may be sent.
#[derive(Debug)]
pub(super) struct Budget {
    /// What a read earns of a hedge.
    share: f64,
    /// Hedges.
    saved: Cell<f64>,
}

impl Budget {
    /// With nothing saved.
    pub(super) fn new(share: f64) -> Self {
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

/// What a try needs beside itself.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) lanes: &'a Lanes,
    pub(super) budget: &'a Budget,
    pub(super) metrics: &'a Metrics,
}

/// A command that was submitted, and that may be submitted once more.
///
/// Cancel safe, as [`Pending`] is.
#[must_use = "futures do nothing unless polled"]
pub(super) struct Hedged<'a> {
    around: Around<'a>,
    ask: &'a Ask<'a>,
    first: Try,
    second: Try,
}

enum Try {
    /// Not made, or not to be made.
    Not,
    Waiting(Pending),
    Failed(Unavailable),
}

impl<'a> Hedged<'a> {
    /// Waits for `first`.
    pub(super) fn new(around: Around<'a>, ask: &'a Ask<'a>, first: Pending) -> Self {
        if ask.command.urgency() == Urgency::Pressing {
            around.budget.earn();
        }
        Self { around, ask, first: Try::Waiting(first), second: Try::Not }
    }

    /// The second try, if there has been none and there is a reason for it.
    fn hedge(&mut self) {
        let (Try::Waiting(first), Try::Not) = (&self.first, &self.second) else { return };
        if !first.is_late() {
            return;
        }
        let Around { lanes, budget, metrics } = self.around;
        let again = Ask { submitted: instant(), ..*self.ask };
        self.second = match budget.spend().map(|()| lanes.submit_apart(&again, first)) {
            Some(Ok(second)) => Try::Waiting(second),
            Some(Err(refusal)) => {
                metrics.hedge(Hedge::NoRoom);
                Try::Failed(refusal)
            }
            None => {
                metrics.hedge(Hedge::Unpaid);
                Try::Failed(Unavailable::Full)
            }
        };
    }
}

impl Try {
    /// Ready with a reply, or when nothing is to be waited for.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Reply, Reading)>> {
        let Self::Waiting(pending) = self else { return Poll::Ready(None) };
        match ready!(pending.poll_reading(cx)) {
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

impl Future for Hedged<'_> {
    type Output = Result<(Reply, Reading), Unavailable>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let first = this.first.poll(cx);
        if let Poll::Ready(Some(reply)) = first {
            if this.second.is_waiting() {
                this.around.metrics.hedge(Hedge::Lost);
            }
            return Poll::Ready(Ok(reply));
        }
        this.hedge();
        let had_second = this.second.is_waiting();
        let second = this.second.poll(cx);
        if let Poll::Ready(Some(reply)) = second {
            this.around.metrics.hedge(Hedge::Won);
            return Poll::Ready(Ok(reply));
        }
        if this.first.is_waiting() || this.second.is_waiting() {
            return Poll::Pending;
        }
        if had_second {
            this.around.metrics.hedge(Hedge::Vain);
        }
        match (&this.first, &this.second) {
            (Try::Failed(failure), _) | (_, Try::Failed(failure)) => Poll::Ready(Err(*failure)),
            _ => Poll::Ready(Err(Unavailable::Closed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hedges_are_earned_and_saved_up_to_a_limit() {
        let budget = Budget::new(0.25);
        assert_eq!(budget.spend(), None);
        (0..3).for_each(|_| budget.earn());
        assert_eq!(budget.spend(), None);
        budget.earn();
        assert_eq!((budget.spend(), budget.spend()), (Some(()), None));
        (0..1_000_000).for_each(|_| budget.earn());
        let spent = std::iter::from_fn(|| budget.spend()).count();
        assert_eq!(spent as f64, REDIS_HEDGES_SAVED_MAX);
        let none = Budget::new(0.0);
        (0..1000).for_each(|_| none.earn());
        assert_eq!(none.spend(), None);
    }
}
