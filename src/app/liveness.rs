//! Signs of life of the workers, for a supervisor with a watchdog.
//!
//! The main thread asks each worker, and tells the supervisor that the process is alive only once
//! all workers have answered: a worker whose thread is stuck answers nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// The questions to all workers, and their answers.
#[derive(Clone, Debug)]
pub(super) struct Liveness {
    asked: watch::Sender<u64>,
    answered: Arc<[AtomicU64]>,
}

impl Liveness {
    pub(super) fn of(workers: usize) -> Self {
        Self { asked: watch::Sender::new(0), answered: (0..workers).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Answers for the worker with this number, for as long as its runtime polls the future.
    pub(super) async fn answer(self, number: usize) {
        let Some(answered) = self.answered.get(number) else { return };
        // The receiver counts the current question as seen, and the first one may have come before
        // it: the worker answers before it waits.
        let mut asked = self.asked.subscribe();
        loop {
            answered.store(*asked.borrow_and_update(), Ordering::Relaxed);
            // `self` owns the sender, so the channel stays open.
            if asked.changed().await.is_err() {
                return;
            }
        }
    }

    /// Returns whether every worker has answered the last question, and asks the next one.
    pub(super) fn check(&self) -> LivenessState {
        let asked = *self.asked.borrow();
        let all = self.answered.iter().all(|answered| answered.load(Ordering::Relaxed) == asked);
        if all {
            self.asked.send_replace(asked + 1);
            LivenessState::Alive
        } else {
            LivenessState::Stuck
        }
    }
}

/// The state of all workers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LivenessState {
    /// Every worker has answered.
    Alive,
    /// A worker has not answered.
    Stuck,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_silent_worker_is_noticed() {
        let liveness = Liveness::of(2);
        let mut first = tokio::task::JoinSet::new();
        first.spawn(liveness.clone().answer(0));
        let mut second = tokio::task::JoinSet::new();
        second.spawn(liveness.clone().answer(1));
        let settled = || async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        };
        settled().await;
        assert_eq!(liveness.check(), LivenessState::Alive, "no question was asked yet");
        settled().await;
        assert_eq!(liveness.check(), LivenessState::Alive);
        second.abort_all();
        settled().await;
        assert_eq!(liveness.check(), LivenessState::Stuck);
        settled().await;
        assert_eq!(liveness.check(), LivenessState::Stuck);
    }

    #[tokio::test]
    async fn a_worker_answers_a_question_from_before_its_start() {
        let liveness = Liveness::of(1);
        assert_eq!(liveness.check(), LivenessState::Alive, "no question was asked yet");
        assert_eq!(liveness.check(), LivenessState::Stuck);
        let mut worker = tokio::task::JoinSet::new();
        worker.spawn(liveness.clone().answer(0));
        tokio::task::yield_now().await;
        assert_eq!(liveness.check(), LivenessState::Alive);
    }
}
